//! The flags before the verb: where the log goes, where the containers are, and on what terms
//! cgroups are used.

use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command};

use super::argv::truth;
use super::verb::{base, help_flag, path, path_of, switch, text};
use crate::container::store::Store;
use crate::error::{Error, Result, Step};
use crate::host::{Host, in_user_namespace};
use crate::log;
use crate::plan::clean_path;
use crate::seal::Sealed;

const DEFAULT_ROOT: &str = "/run/orlop";

/// What every verb is given.
#[derive(Debug)]
pub struct Global {
    /// argv[0].
    pub program: String,
    pub store: Store,
    /// Whether `--root` was given; a default root may be missing.
    pub root_given: bool,
    pub host: Host,
    sealed: Option<Result<Sealed>>,
}

pub fn flags() -> Command {
    base("orlop")
        .arg(switch("debug").help("enable debug logging"))
        .arg(path("log", "FILE").help("set the log file to write logs to (default is stderr)"))
        .arg(text("log-format", "FORMAT").help("set the log format ('text' (default), or 'json')"))
        .arg(path("root", "DIR").help(
            "root directory for storage of container state (this should be located in tmpfs)",
        ))
        .arg(switch("systemd-cgroup").help(
            "have systemd make the cgroup, as a unit; cgroupsPath is then 'slice:prefix:name'",
        ))
        .arg(
            text("rootless", "WHEN")
                .help("ignore cgroup permission errors ('true', 'false', or 'auto')"),
        )
        // Named by old callers; criu has been found in PATH for long.
        .arg(path("criu", "PATH").hide(true))
        .arg(help_flag())
        .arg(switch("version").short('v').help("print the version"))
}

impl Global {
    /// Set the log up first, so that all that follows can be told there.
    pub fn new(
        program: String,
        matches: &ArgMatches,
        sealed: Option<Result<Sealed>>,
    ) -> Result<Self> {
        let format = matches.get_one::<String>("log-format");
        let format = log::Format::parse(format.map_or("", String::as_str))?;
        let debug = matches.get_flag("debug");
        log::init(path_of(matches, "log").as_deref(), format, debug)?;
        let rootless = parse_rootless(
            matches
                .get_one::<String>("rootless")
                .map_or("", String::as_str),
        )?;
        let root_given = matches.contains_id("root");
        let store = if root_given {
            Store::new(given_root(&path_of(matches, "root").unwrap_or_default())?)
        } else {
            default_store()?
        };
        Ok(Self {
            program,
            store,
            root_given,
            host: Host::with_rootless(rootless)
                .with_systemd_cgroups(matches.get_flag("systemd-cgroup")),
            sealed,
        })
    }

    /// Proof that this process may enter a container; see [`crate::seal`].
    pub fn sealed(&self) -> Result<&Sealed> {
        match &self.sealed {
            Some(sealed) => sealed.as_ref().map_err(Clone::clone),
            None => Err(Error::new("this verb was not run from a sealed binary")),
        }
    }
}

/// `None` is auto. Go's truth values are taken, as by the peers.
fn parse_rootless(value: &str) -> Result<Option<bool>> {
    if value.is_empty() || value.eq_ignore_ascii_case("auto") {
        return Ok(None);
    }
    match truth(value.as_bytes()) {
        Some(truth) => Ok(Some(truth)),
        None => Err(Error::invalid(format!(
            "--rootless: {value:?} is not true, false or auto"
        ))),
    }
}

/// Absolute and lexically clean; never the root of the host, where each directory would be
/// taken for a container.
fn given_root(root: &Path) -> Result<PathBuf> {
    let absolute = if root.is_absolute() {
        root.to_owned()
    } else {
        std::env::current_dir()
            .step("find the current directory")?
            .join(root)
    };
    let clean = clean_path(&absolute);
    if root.as_os_str().is_empty() || clean == Path::new("/") {
        return Err(Error::invalid(
            "Option --root argument should not be set to /",
        ));
    }
    Ok(clean)
}

/// /run/orlop, or for a user the directory of the session.
fn default_store() -> Result<Store> {
    let session = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    match session.filter(|_| uses_session()) {
        None => Ok(Store::new(DEFAULT_ROOT)),
        Some(session) => {
            let root = given_root(&Path::new(&session).join("orlop"))?;
            Ok(Store::in_session(root))
        }
    }
}

/// Not for the host's own root, whose XDG_RUNTIME_DIR is an accident of how it logged in.
fn uses_session() -> bool {
    if !nix::unistd::geteuid().is_root() {
        return true;
    }
    in_user_namespace() && std::env::var_os("USER").is_none_or(|user| user != "root")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_absolute_and_never_the_hosts() {
        assert_eq!(
            given_root(Path::new("/a/./b/../c/")).unwrap(),
            Path::new("/a/c")
        );
        let here = std::env::current_dir().unwrap();
        assert_eq!(given_root(Path::new("x")).unwrap(), here.join("x"));
        for root in ["", "/", "/..", "//", "/a/.."] {
            let error = given_root(Path::new(root)).unwrap_err();
            assert_eq!(
                error.to_string(),
                "Option --root argument should not be set to /"
            );
        }
    }

    #[test]
    fn rootless_has_three_values() {
        assert_eq!(parse_rootless("").unwrap(), None);
        assert_eq!(parse_rootless("Auto").unwrap(), None);
        assert_eq!(parse_rootless("true").unwrap(), Some(true));
        assert_eq!(parse_rootless("0").unwrap(), Some(false));
        assert!(parse_rootless("maybe").is_err());
    }
}

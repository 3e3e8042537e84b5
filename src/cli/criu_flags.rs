//! The flags that `checkpoint` and `restore` share.

use clap::{Arg, ArgMatches, Command};

use super::verb::{list, path, path_of, switch, text, text_of};
use crate::container::options::{CgroupsMode, Criu, NetworkLock};
use crate::error::{Error, Result};

/// Where the images are when no flag says it.
const IMAGES: &str = "checkpoint";

pub fn images() -> [Arg; 2] {
    [
        path("image-path", "DIR")
            .help("directory of criu's image files (default: checkpoint in the current directory)"),
        path("work-path", "DIR")
            .help("directory for criu's log and work files (default: that of the images)"),
    ]
}

pub fn flags(command: Command) -> Command {
    command
        .arg(switch("tcp-established").help("allow open TCP connections"))
        .arg(switch("ext-unix-sk").help("allow unix sockets that lead out of the container"))
        .arg(switch("shell-job").help("allow processes of a session from outside (shell jobs)"))
        .arg(switch("file-locks").help("save and restore file locks"))
        .arg(
            text("manage-cgroups-mode", "MODE")
                .help("what becomes of cgroups: soft, full, strict or ignore (default: soft)"),
        )
        .arg(
            list("empty-ns", "KIND")
                .help("make a namespace, but do not restore what is in it (network, as always)"),
        )
        .arg(switch("auto-dedup").help("drop memory from older images that newer ones have"))
        .arg(switch("lazy-pages").help("restore memory when it is used (userfaultfd)"))
        .arg(
            text("network-lock", "METHOD")
                .help("how connections are held meanwhile: iptables, nftables or skip"),
        )
}

pub fn options(matches: &ArgMatches) -> Result<Criu> {
    let kinds = matches.get_many::<String>("empty-ns").into_iter().flatten();
    for kind in kinds {
        if kind != "network" {
            return Err(Error::invalid(format!(
                "namespace {kind:?} is not supported"
            )));
        }
    }
    Ok(Criu {
        image_path: path_of(matches, "image-path").unwrap_or_else(|| IMAGES.into()),
        work_path: path_of(matches, "work-path"),
        tcp_established: matches.get_flag("tcp-established"),
        ext_unix_sk: matches.get_flag("ext-unix-sk"),
        shell_job: matches.get_flag("shell-job"),
        file_locks: matches.get_flag("file-locks"),
        auto_dedup: matches.get_flag("auto-dedup"),
        lazy_pages: matches.get_flag("lazy-pages"),
        cgroups: cgroups(text_of(matches, "manage-cgroups-mode"))?,
        network_lock: network_lock(text_of(matches, "network-lock"))?,
    })
}

fn cgroups(mode: Option<&str>) -> Result<CgroupsMode> {
    match mode {
        None => Ok(CgroupsMode::Default),
        Some("soft") => Ok(CgroupsMode::Soft),
        Some("full") => Ok(CgroupsMode::Full),
        Some("strict") => Ok(CgroupsMode::Strict),
        Some("ignore") => Ok(CgroupsMode::Ignore),
        Some(_) => Err(Error::invalid("invalid manage-cgroups-mode value")),
    }
}

fn network_lock(method: Option<&str>) -> Result<Option<NetworkLock>> {
    match method {
        None => Ok(None),
        Some("iptables") => Ok(Some(NetworkLock::Iptables)),
        Some("nftables") => Ok(Some(NetworkLock::Nftables)),
        Some("skip") => Ok(Some(NetworkLock::Skip)),
        Some(_) => Err(Error::invalid("invalid network-lock value")),
    }
}

//! `checkpoint ID`: save a running container's processes to a directory of images.

use clap::{ArgMatches, Command, value_parser};

use super::argv::FlagsEnd;
use super::criu_flags;
use super::verb::{Count, Verb, id, path, path_of, switch, text, text_of};
use crate::container::checkpoint;
use crate::container::options::Checkpoint;
use crate::error::{Error, Result};

pub const VERB: Verb = Verb {
    name: "checkpoint",
    about: "checkpoint a running container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run: |global, matches| {
        checkpoint::checkpoint(&global.store, &id(matches)?, &options(matches)?).map(|()| 0)
    },
    failure_status: 1,
};

fn flags(command: Command) -> Command {
    let command = command
        .args(criu_flags::images())
        .arg(
            path("parent-path", "DIR")
                .help("images of the last pre-dump, relative to the directory of the images"),
        )
        .arg(switch("leave-running").help("leave the container running"))
        .arg(switch("pre-dump").help("save memory only, and leave the container running"));
    criu_flags::flags(command)
        .arg(switch("tcp-skip-in-flight").help("skip TCP connections that are being made"))
        .arg(switch("link-remap").help("allow files that are open and have lost their names"))
        .arg(
            text("page-server", "ADDRESS:PORT")
                .help("page server to send memory to; with --lazy-pages, where to offer it"),
        )
        .arg(
            text("status-fd", "FD")
                .value_parser(value_parser!(i32))
                .help("fd that gets a \\0 once lazy pages can be asked for"),
        )
}

fn options(matches: &ArgMatches) -> Result<Checkpoint> {
    let parent_path = path_of(matches, "parent-path");
    if parent_path.as_ref().is_some_and(|path| path.is_absolute()) {
        return Err(Error::invalid("--parent-path must be relative"));
    }
    Ok(Checkpoint {
        criu: criu_flags::options(matches)?,
        parent_path,
        leave_running: matches.get_flag("leave-running"),
        tcp_skip_in_flight: matches.get_flag("tcp-skip-in-flight"),
        link_remap: matches.get_flag("link-remap"),
        status_fd: matches.get_one("status-fd").copied().filter(|fd| *fd != -1),
        page_server: text_of(matches, "page-server")
            .map(page_server)
            .transpose()?,
        pre_dump: matches.get_flag("pre-dump"),
    })
}

/// `ADDRESS:PORT`; an IPv6 address in brackets.
fn page_server(text: &str) -> Result<(String, u16)> {
    let usage = || Error::invalid("Use --page-server ADDRESS:PORT to specify page server");
    let (address, port) = text.rsplit_once(':').ok_or_else(usage)?;
    let address = match address.strip_prefix('[').and_then(|a| a.strip_suffix(']')) {
        Some(inner) => inner,
        None if address.contains(':') => return Err(usage()),
        None => address,
    };
    if address.is_empty() || port.is_empty() {
        return Err(usage());
    }
    let port = port
        .parse()
        .map_err(|_| Error::invalid("Invalid port number"))?;
    Ok((address.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;
    use crate::container::options::{CgroupsMode, Criu, NetworkLock};

    fn parse(words: &[&str]) -> Result<Checkpoint> {
        options(&read(flags, FlagsEnd::Never, words).unwrap())
    }

    #[test]
    fn every_flag_arrives() {
        let given = parse(&[
            "--image-path=/i",
            "--work-path",
            "/w",
            "-parent-path=../p",
            "--leave-running",
            "--tcp-established",
            "--tcp-skip-in-flight",
            "--link-remap",
            "--ext-unix-sk",
            "--shell-job",
            "--lazy-pages",
            "--status-fd",
            "7",
            "--page-server",
            "[::1]:9",
            "--file-locks",
            "--pre-dump",
            "--manage-cgroups-mode",
            "strict",
            "--empty-ns",
            "network",
            "--auto-dedup",
            "--network-lock=skip",
            "id",
        ]);
        let expected = Checkpoint {
            criu: Criu {
                image_path: "/i".into(),
                work_path: Some("/w".into()),
                tcp_established: true,
                ext_unix_sk: true,
                shell_job: true,
                file_locks: true,
                auto_dedup: true,
                lazy_pages: true,
                cgroups: CgroupsMode::Strict,
                network_lock: Some(NetworkLock::Skip),
            },
            parent_path: Some("../p".into()),
            leave_running: true,
            tcp_skip_in_flight: true,
            link_remap: true,
            status_fd: Some(7),
            page_server: Some(("::1".to_owned(), 9)),
            pre_dump: true,
        };
        assert_eq!(given.unwrap(), expected);
        let none = parse(&["id", "--status-fd", "-1"]).unwrap();
        let expected = Checkpoint {
            criu: Criu {
                image_path: "checkpoint".into(),
                ..Criu::default()
            },
            ..Checkpoint::default()
        };
        assert_eq!(none, expected);
    }

    #[test]
    fn wrong_values_are_refused_in_runcs_words() {
        for (words, error) in [
            ("--parent-path=/p", "--parent-path must be relative"),
            ("--empty-ns=pid", "namespace \"pid\" is not supported"),
            (
                "--manage-cgroups-mode=none",
                "invalid manage-cgroups-mode value",
            ),
            ("--network-lock=none", "invalid network-lock value"),
            (
                "--page-server=host",
                "Use --page-server ADDRESS:PORT to specify page server",
            ),
            (
                "--page-server=:1",
                "Use --page-server ADDRESS:PORT to specify page server",
            ),
            (
                "--page-server=::1:1",
                "Use --page-server ADDRESS:PORT to specify page server",
            ),
            ("--page-server=h:x", "Invalid port number"),
        ] {
            assert_eq!(parse(&[words]).unwrap_err().to_string(), error, "{words}");
        }
    }
}

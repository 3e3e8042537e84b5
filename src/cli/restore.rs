//! `restore ID`: a container from the images of a checkpoint, with the bundle that it had.

use clap::{ArgMatches, Command};

use super::argv::FlagsEnd;
use super::criu_flags;
use super::verb::{Count, Verb, id, path, path_of, switch, text, text_of};
use crate::container::options::{Create, Restore};
use crate::container::restore;
use crate::error::Result;

pub const VERB: Verb = Verb {
    name: "restore",
    about: "restore a container from a previous checkpoint",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run: |global, matches| {
        let options = options(matches)?;
        let id = id(matches)?;
        restore::restore(global.sealed()?, &global.host, &global.store, &id, &options)
    },
    failure_status: 1,
};

fn flags(command: Command) -> Command {
    let command = command
        .arg(
            path("bundle", "DIR")
                .short('b')
                .help("path to the root of the bundle directory (default: the current directory)"),
        )
        .args(criu_flags::images())
        .arg(
            switch("detach")
                .short('d')
                .help("detach from the container's process"),
        )
        .arg(path("pid-file", "FILE").help("specify the file to write the process id to"))
        .arg(
            path("console-socket", "SOCKET")
                .help("AF_UNIX socket which will receive the master end of the container's pty"),
        )
        .arg(
            switch("no-subreaper")
                .help("disable the use of the subreaper used to reap reparented processes"),
        )
        .arg(
            switch("no-pivot")
                .help("accepted for callers that need it for run: criu enters the root"),
        );
    criu_flags::flags(command)
        .arg(switch("tcp-close").help("close TCP connections in place of restoring them"))
        .arg(text("lsm-profile", "TYPE:NAME").help("LSM profile in place of the saved one"))
        .arg(
            text("lsm-mount-context", "CONTEXT")
                .help("LSM context of mounts in place of the saved one"),
        )
}

fn options(matches: &ArgMatches) -> Result<Restore> {
    let text = |name| text_of(matches, name).map(str::to_owned);
    Ok(Restore {
        criu: criu_flags::options(matches)?,
        create: Create {
            bundle: path_of(matches, "bundle").unwrap_or_else(|| ".".into()),
            pid_file: path_of(matches, "pid-file"),
            console_socket: path_of(matches, "console-socket"),
            detach: matches.get_flag("detach"),
            no_pivot: matches.get_flag("no-pivot"),
            ..Create::default()
        },
        no_subreaper: matches.get_flag("no-subreaper"),
        tcp_close: matches.get_flag("tcp-close"),
        lsm_profile: text("lsm-profile"),
        lsm_mount_context: text("lsm-mount-context"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;
    use crate::container::options::{CgroupsMode, Criu};

    #[test]
    fn every_flag_arrives() {
        let words = [
            "-b",
            "/b",
            "--image-path=/i",
            "--work-path=/w",
            "-d",
            "--pid-file=/p",
            "--console-socket=/c",
            "-no-subreaper",
            "--no-pivot",
            "--lsm-profile",
            "apparmor:x",
            "--lsm-mount-context",
            "ctx",
            "--tcp-established",
            "--tcp-close",
            "--ext-unix-sk",
            "--shell-job",
            "--file-locks",
            "--manage-cgroups-mode=ignore",
            "--empty-ns=network",
            "--auto-dedup",
            "--lazy-pages",
            "id",
        ];
        let given = options(&read(flags, FlagsEnd::Never, &words).unwrap()).unwrap();
        let expected = Restore {
            criu: Criu {
                image_path: "/i".into(),
                work_path: Some("/w".into()),
                tcp_established: true,
                ext_unix_sk: true,
                shell_job: true,
                file_locks: true,
                auto_dedup: true,
                lazy_pages: true,
                cgroups: CgroupsMode::Ignore,
                network_lock: None,
            },
            create: Create {
                bundle: "/b".into(),
                pid_file: Some("/p".into()),
                console_socket: Some("/c".into()),
                detach: true,
                no_pivot: true,
                ..Create::default()
            },
            no_subreaper: true,
            tcp_close: true,
            lsm_profile: Some("apparmor:x".to_owned()),
            lsm_mount_context: Some("ctx".to_owned()),
        };
        assert_eq!(given, expected);
    }

    #[test]
    fn a_flag_without_its_argument_is_told_as_podman_expects() {
        let error = read(flags, FlagsEnd::Never, &["--lsm-mount-context"]).unwrap_err();
        assert_eq!(error, "flag needs an argument: -lsm-mount-context");
    }
}

//! `create ID`: make a container of a bundle, up to where init waits for `start`. Its flags
//! are also those of `run`.

use clap::{ArgMatches, Command};

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, id, number, path, path_of, switch};
use crate::container::create;
use crate::container::options::Create;

pub const VERB: Verb = Verb {
    name: "create",
    about: "create a container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run: |global, matches| {
        let made = id(matches).and_then(|id| {
            let options = options(matches);
            create::create(global.sealed()?, &global.host, &global.store, &id, &options)
        });
        made.map(|()| 0)
            .map_err(|error| error.within("orlop create failed"))
    },
    failure_status: 1,
};

pub fn flags(command: Command) -> Command {
    command
        .arg(
            path("bundle", "DIR")
                .short('b')
                .help("path to the root of the bundle directory (default: the current directory)"),
        )
        .arg(path("pid-file", "FILE").help("specify the file to write the process id to"))
        .arg(
            path("console-socket", "SOCKET")
                .help("AF_UNIX socket which will receive the master end of the container's pty"),
        )
        .arg(
            path("pidfd-socket", "SOCKET")
                .help("AF_UNIX socket which will receive a pidfd of the init process"),
        )
        .arg(switch("no-pivot").help("do not use pivot_root, for a rootfs on a ramdisk"))
        .arg(switch("no-new-keyring").help("do not create a new session keyring for the container"))
        .arg(
            number("preserve-fds", "N")
                .help("pass N additional file descriptors (stdio + $LISTEN_FDS + N in total)"),
        )
}

pub fn options(matches: &ArgMatches) -> Create {
    Create {
        bundle: path_of(matches, "bundle").unwrap_or_else(|| ".".into()),
        pid_file: path_of(matches, "pid-file"),
        console_socket: path_of(matches, "console-socket"),
        detach: true,
        pidfd_socket: path_of(matches, "pidfd-socket"),
        no_pivot: matches.get_flag("no-pivot"),
        no_new_keyring: matches.get_flag("no-new-keyring"),
        listen_fds: listen_fds(std::process::id(), |name| std::env::var(name).ok()),
        notify_socket: notify_socket(),
        preserve_fds: matches.get_one("preserve-fds").copied().unwrap_or(0),
    }
}

/// Where a service manager wants to hear that the container is ready.
pub fn notify_socket() -> Option<String> {
    std::env::var("NOTIFY_SOCKET")
        .ok()
        .filter(|path| !path.is_empty())
}

/// LISTEN_FDS counts only when it was meant for us: for the process that LISTEN_PID names.
fn listen_fds(pid: u32, variable: impl Fn(&str) -> Option<String>) -> u32 {
    let number = |name: &str| variable(name).and_then(|text| text.parse::<u32>().ok());
    match number("LISTEN_PID") {
        Some(meant) if meant == pid => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;

    fn parse(words: &[&str]) -> Result<Create, String> {
        read(flags, FlagsEnd::Never, words).map(|matches| options(&matches))
    }

    #[test]
    fn every_flag_arrives() {
        let given = parse(&[
            "-bundle",
            "/b",
            "--pid-file=/p",
            "--console-socket=/c",
            "--pidfd-socket",
            "/s",
            "-no-pivot",
            "--no-new-keyring",
            "--preserve-fds",
            "3",
            "id",
        ]);
        let expected = Create {
            bundle: "/b".into(),
            pid_file: Some("/p".into()),
            console_socket: Some("/c".into()),
            detach: true,
            pidfd_socket: Some("/s".into()),
            no_pivot: true,
            no_new_keyring: true,
            listen_fds: 0,
            notify_socket: None,
            preserve_fds: 3,
        };
        assert_eq!(given.unwrap(), expected);
        let nothing = Create {
            bundle: ".".into(),
            detach: true,
            ..Create::default()
        };
        assert_eq!(parse(&["id", "-b", ""]).unwrap(), nothing);
    }

    #[test]
    fn what_is_not_built_is_not_a_flag() {
        assert!(parse(&["--systemd-cgroup"]).is_err());
        assert!(parse(&["--preserve-fds", "-1"]).is_err());
    }

    #[test]
    fn sockets_for_another_process_are_not_ours() {
        let environment = |pid: &'static str| {
            move |name: &str| match name {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some("2".to_owned()),
                _ => None,
            }
        };
        assert_eq!(listen_fds(7, environment("7")), 2);
        assert_eq!(listen_fds(7, environment("8")), 0);
        assert_eq!(listen_fds(7, |_| None), 0);
    }
}

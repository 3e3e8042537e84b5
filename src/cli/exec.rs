//! `exec ID COMMAND...`: one more process in a running container.

use std::ffi::OsStr;

use clap::{ArgMatches, Command};

use super::argv::FlagsEnd;
use super::verb::{
    Count, Verb, arguments, id, list, number, optional_switch, path, path_of, switch, text, text_of,
};
use crate::container::exec;
use crate::container::options::{Change, Exec};
use crate::error::{Error, Result};

/// Status of an exec that did not come to run its program: callers tell it from the program's.
const EXEC_FAILED: u8 = 255;

pub const VERB: Verb = Verb {
    name: "exec",
    about: "execute new process inside the container",
    usage: "<container-id> <command> [arguments...] | -p process.json <container-id>",
    count: Count::AtLeast(1),
    flags_end: FlagsEnd::FirstArgument,
    flags,
    run: |global, matches| {
        let status = id(matches).and_then(|id| {
            let options = options(matches)?;
            exec::exec(global.sealed()?, &global.host, &global.store, &id, &options)
        });
        status.map_err(|error| error.within("exec failed"))
    },
    failure_status: EXEC_FAILED,
};

fn flags(command: Command) -> Command {
    command
        .arg(text("cwd", "DIR").help("current working directory in the container"))
        .arg(
            list("env", "NAME=VALUE")
                .short('e')
                .help("set environment variables"),
        )
        .arg(
            text("user", "UID[:GID]")
                .short('u')
                .help("user and group, as numbers"),
        )
        .arg(
            list("additional-gids", "GID")
                .short('g')
                .value_parser(clap::value_parser!(u32))
                .help("additional gids"),
        )
        .arg(
            path("process", "FILE")
                .short('p')
                .help("path to the process.json; - is standard input"),
        )
        .arg(
            switch("detach")
                .short('d')
                .help("detach from the container's process"),
        )
        .arg(path("pid-file", "FILE").help("specify the file to write the process id to"))
        .arg(
            switch("tty")
                .short('t')
                .help("allocate a pseudo-TTY; with --detach its master goes to --console-socket"),
        )
        .arg(
            path("console-socket", "SOCKET")
                .help("AF_UNIX socket which will receive the master end of the process' pty"),
        )
        .arg(
            path("pidfd-socket", "SOCKET")
                .help("AF_UNIX socket which will receive a pidfd of the exec process"),
        )
        .arg(
            text("process-label", "LABEL")
                .help("set the label of the process, commonly used with selinux"),
        )
        .arg(text("apparmor", "PROFILE").help("set the apparmor profile for the process"))
        .arg(
            optional_switch("no-new-privs").help("set the no new privileges value for the process"),
        )
        .arg(
            list("cap", "CAP")
                .short('c')
                .help("add a capability to the bounding set for the process"),
        )
        .arg(
            number("preserve-fds", "N")
                .help("pass N additional file descriptors (stdio + N in total)"),
        )
        .arg(
            list("cgroup", "[CONTROLLER:]PATH").help("run the process in an (existing) sub-cgroup"),
        )
        .arg(switch("ignore-paused").help("allow exec in a paused container"))
}

/// With `--process` everything that describes the process is ignored, as the peers do.
fn options(matches: &ArgMatches) -> Result<Exec> {
    let process = path_of(matches, "process");
    let change = match process {
        Some(_) => Change::default(),
        None => change(matches)?,
    };
    Ok(Exec {
        process,
        change,
        tty: matches.get_flag("tty"),
        console_socket: path_of(matches, "console-socket"),
        detach: matches.get_flag("detach"),
        pid_file: path_of(matches, "pid-file"),
        pidfd_socket: path_of(matches, "pidfd-socket"),
        preserve_fds: matches.get_one("preserve-fds").copied().unwrap_or(0),
        cgroups: cgroups(&strings(matches, "cgroup"))?,
        ignore_paused: matches.get_flag("ignore-paused"),
    })
}

fn change(matches: &ArgMatches) -> Result<Change> {
    let command = arguments(matches);
    let args = match command.split_first() {
        Some((_, args)) if !args.is_empty() => args.iter().map(utf8).collect::<Result<_>>()?,
        _ => return Err(Error::invalid("exec args cannot be empty")),
    };
    let (uid, gid) = match text_of(matches, "user") {
        Some(user) => user_of(user)?,
        None => (None, None),
    };
    Ok(Change {
        args,
        cwd: text_of(matches, "cwd").map(Into::into),
        env: strings(matches, "env"),
        uid,
        gid,
        additional_gids: matches
            .get_many::<u32>("additional-gids")
            .map(|gids| gids.copied().collect())
            .unwrap_or_default(),
        selinux_label: text_of(matches, "process-label").map(Into::into),
        apparmor_profile: text_of(matches, "apparmor").map(Into::into),
        no_new_privileges: matches.get_one("no-new-privs").copied(),
        capabilities: strings(matches, "cap"),
    })
}

fn utf8(word: &&OsStr) -> Result<String> {
    word.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid(format!("exec: the argument {word:?} is not UTF-8")))
}

fn strings(matches: &ArgMatches, name: &str) -> Vec<String> {
    matches
        .get_many::<String>(name)
        .map(|all| all.cloned().collect())
        .unwrap_or_default()
}

/// `UID[:GID]`, digits only: whatever else a user could be called, it must not become another
/// user by accident.
fn user_of(text: &str) -> Result<(Option<u32>, Option<u32>)> {
    let number = |what: &str, text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| text.parse().ok())
            .flatten()
            .filter(|id| *id != u32::MAX)
            .ok_or_else(|| Error::invalid(format!("bad {what}: {text:?} is not a number")))
    };
    match text.split_once(':') {
        None => Ok((Some(number("uid", text)?), None)),
        Some((uid, gid)) => Ok((Some(number("uid", uid)?), Some(number("gid", gid)?))),
    }
}

/// `--cgroup` values: one path alone, or `controller[,controller]:path` as often as there are
/// hierarchies.
fn cgroups(values: &[String]) -> Result<Vec<(String, String)>> {
    let mut paths: Vec<(String, String)> = Vec::new();
    for value in values {
        let Some((controllers, path)) = value.split_once(':') else {
            if values.len() > 1 {
                return Err(Error::invalid(format!(
                    "invalid --cgroup argument: {value} (missing <controller>: prefix)"
                )));
            }
            return Ok(vec![(String::new(), value.clone())]);
        };
        for controller in controllers.split(',') {
            if controller.is_empty() {
                return Err(Error::invalid(format!(
                    "invalid --cgroup argument: {value} (empty <controller> prefix)"
                )));
            }
            if paths.iter().any(|(known, _)| known == controller) {
                return Err(Error::invalid(format!(
                    "invalid --cgroup argument(s): controller {controller} specified multiple times"
                )));
            }
            paths.push((controller.to_owned(), path.to_owned()));
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;

    fn parse(words: &[&str]) -> Result<Exec> {
        options(&read(flags, FlagsEnd::FirstArgument, words).unwrap())
    }

    #[test]
    fn every_flag_arrives() {
        let given = parse(&[
            "--cwd",
            "/w",
            "-e",
            "A=1,2",
            "--env=B=x\ny",
            "-u",
            "7:8",
            "-g",
            "9",
            "-g=10",
            "-d",
            "--pid-file",
            "/p",
            "-t",
            "--console-socket=/c",
            "--pidfd-socket=/s",
            "--process-label",
            "l",
            "--apparmor",
            "a",
            "--no-new-privs",
            "-c",
            "CAP_KILL",
            "--cap=CAP_CHOWN",
            "--preserve-fds=2",
            "--cgroup",
            "cpu,cpuacct:/x",
            "--cgroup=memory:/y",
            "--ignore-paused",
            "id",
            "ls",
            "-la",
            "--",
            "-d",
        ]);
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let expected = Exec {
            process: None,
            change: Change {
                args: ["ls", "-la", "--", "-d"].map(String::from).to_vec(),
                cwd: Some("/w".into()),
                env: ["A=1,2", "B=x\ny"].map(String::from).to_vec(),
                uid: Some(7),
                gid: Some(8),
                additional_gids: vec![9, 10],
                selinux_label: Some("l".into()),
                apparmor_profile: Some("a".into()),
                no_new_privileges: Some(true),
                capabilities: ["CAP_KILL", "CAP_CHOWN"].map(String::from).to_vec(),
            },
            tty: true,
            console_socket: Some("/c".into()),
            detach: true,
            pid_file: Some("/p".into()),
            pidfd_socket: Some("/s".into()),
            preserve_fds: 2,
            cgroups: vec![
                pair("cpu", "/x"),
                pair("cpuacct", "/x"),
                pair("memory", "/y"),
            ],
            ignore_paused: true,
        };
        assert_eq!(given.unwrap(), expected);
    }

    #[test]
    fn a_process_file_overrides_flags_and_arguments() {
        let given = parse(&["-p", "/f", "-u", "x", "id", "ls"]).unwrap();
        assert_eq!(given.process, Some("/f".into()));
        assert_eq!(given.change, Change::default());
    }

    #[test]
    fn a_command_is_needed() {
        let error = parse(&["id"]).unwrap_err();
        assert_eq!(error.to_string(), "exec args cannot be empty");
        assert_eq!(parse(&["id", "--", "ls"]).unwrap().change.args, ["ls"]);
    }

    #[test]
    fn users_are_numbers_and_nothing_else() {
        assert_eq!(user_of("0").unwrap(), (Some(0), None));
        assert_eq!(user_of("1000:50").unwrap(), (Some(1000), Some(50)));
        for text in [
            "root",
            "",
            "+1",
            "-1",
            " 1",
            "1:",
            ":1",
            "0x1",
            "1e3",
            "1:2:3",
            "4294967296",
            "4294967295",
            "٣",
        ] {
            let error = user_of(text).unwrap_err().to_string();
            assert!(error.starts_with("bad "), "{text}: {error}");
        }
    }

    #[test]
    fn sub_cgroups_are_named_once() {
        let of =
            |values: &[&str]| cgroups(&values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["/a"]).unwrap(), [(String::new(), "/a".to_owned())]);
        assert!(of(&[]).unwrap().is_empty());
        for (values, words) in [
            (&["a", "b"][..], "missing <controller>: prefix"),
            (&["cpu:/x", "b"], "missing <controller>: prefix"),
            (&[":/x"], "empty <controller> prefix"),
            (
                &["cpu:/x", "cpu:/y"],
                "controller cpu specified multiple times",
            ),
        ] {
            let error = of(values).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}

//! Pid files, and the sockets of a service manager: what a caller gets back and hands over.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::probe::strings;
use crate::support::{Container, Output, Probe, Test, once, wait_until};

/// Each of the three verbs that write one, in the background, from `dir`; and its pid as the
/// runtime has it.
fn each_verb(t: &Test, dir: &Path, file: &str, check: impl Fn(&str, Output, u32)) {
    let flags = ["--pid-file", file];
    for verb in ["create", "run", "exec"] {
        let bundle = t.bundle(&["sleep"], |_| {});
        let container = (verb == "exec").then(|| t.start(&bundle));
        let words = match verb {
            "create" => vec!["--bundle", bundle.path(), &bundle.id],
            "run" => vec!["--detach", "--bundle", bundle.path(), &bundle.id],
            _ => vec!["--detach", &bundle.id, "/probe", "sleep"],
        };
        let mut command = t.runtime.command(&[&[verb], &flags[..], &words].concat());
        command.current_dir(dir);
        let output = t.runtime.finish(command);
        let ok = output.code() == 0;
        let container = container
            .or_else(|| ok.then(|| Container::adopt(t, &bundle.id, t.runtime.call(&["list"]))));
        let pid = match (&container, verb) {
            (Some(container), "exec") if ok => newest(container),
            (Some(container), _) if ok => container.pid(),
            _ => 0,
        };
        check(verb, output, pid);
        if let Some(container) = container {
            let pids = || container.verb(&["ps", "--format", "json"]).stdout;
            if !ok {
                wait_until("the end of the process", || {
                    pids() == format!("[{}]\n", container.pid())
                });
            }
            container.delete_force().expect_ok();
        } else {
            t.runtime
                .call(&["state", &bundle.id])
                .expect_error("container does not exist");
        }
    }
}

/// The last process of a container.
fn newest(container: &Container) -> u32 {
    let pids: Vec<u32> =
        serde_json::from_str(&container.verb(&["ps", "--format", "json"]).stdout).unwrap();
    *pids.iter().max().unwrap()
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn own_dir(t: &Test, name: &str) -> std::path::PathBuf {
    let dir = t.dir.join(name);
    fs::create_dir(&dir).unwrap();
    dir
}

/// A verb by a shell that opens fd 3 and sets variables before.
fn with_socket(t: &Test, variables: &str, args: &[&str]) -> Output {
    let inner = t.runtime.command(args);
    let mut command = Command::new("bash");
    command.args([
        "-c",
        &format!("exec 3</dev/zero; export {variables}; exec \"$@\""),
        "bash",
    ]);
    command.arg(inner.get_program()).args(inner.get_args());
    t.runtime.finish(command)
}

fn sockets(report: &Probe) -> (Vec<String>, usize) {
    let env = strings(&report["env"]).into_iter();
    let listen = env.filter(|pair| pair.starts_with("LISTEN_")).collect();
    let fds: &Value = &report["fds"];
    (listen, fds.as_object().unwrap().len() - 3)
}

once! {
    fn it_has_the_digits_of_the_pid_and_nothing_else(t) {
        let dir = own_dir(t, "pids");
        each_verb(t, &dir, "nowhere/pid", |verb, output, pid| {
            output.expect_code(if verb == "exec" { 255 } else { 1 });
            assert_eq!(pid, 0);
        });
        each_verb(t, &dir, "pid", |verb, output, pid| {
            output.expect_ok();
            assert_eq!(fs::read_to_string(dir.join("pid")).unwrap(), pid.to_string(), "{verb}");
            assert_eq!(names(&dir), ["pid"], "{verb}");
        });
    }

    fn a_reader_sees_the_old_file_or_the_new_one(t) {
        let dir = own_dir(t, "pids");
        let file = dir.join("pid");
        let target = t.dir.join("target");
        each_verb(t, &dir, file.to_str().unwrap(), |verb, output, pid| {
            output.expect_ok();
            assert_eq!(fs::read_to_string(&file).unwrap(), pid.to_string(), "{verb}");
            // For the next verb: what is there is replaced, and a link is not followed.
            fs::remove_file(&file).unwrap();
            fs::write(&target, "old").unwrap();
            symlink(&target, &file).unwrap();
        });
        assert_eq!(fs::read_to_string(&target).unwrap(), "old");
    }

    fn a_temporary_file_that_is_there_is_not_written_to(t) {
        let dir = own_dir(t, "pids");
        let victim = t.dir.join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, dir.join(".pid")).unwrap();
        each_verb(t, &dir, "pid", |verb, output, _| {
            output.expect_code(if verb == "exec" { 255 } else { 1 }).expect_words("file exists");
            assert!(!dir.join("pid").exists(), "{verb}");
        });
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        assert_eq!(names(&dir), [".pid"], "it is not ours to remove");
    }

    fn what_was_not_written_is_no_container(t) {
        let dir = own_dir(t, "pids");
        fs::create_dir(dir.join("pid")).unwrap();
        each_verb(t, &dir, "pid", |verb, output, _| {
            output.expect_code(if verb == "exec" { 255 } else { 1 });
            if !t.runtime.is_reference {
                assert_eq!(names(&dir), ["pid"], "{verb}");
            }
        });
    }

    fn sockets_of_a_service_manager_are_handed_on_by_create_and_run(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let expected = (vec!["LISTEN_FDS=1".to_owned(), "LISTEN_PID=1".to_owned()], 1);
        let run = ["run", "--bundle", bundle.path(), &bundle.id];
        let report = Probe::parse(&with_socket(t, "LISTEN_FDS=1 LISTEN_PID=$$", &run));
        assert_eq!(sockets(&report), expected);

        let create = ["create", "--bundle", bundle.path(), &bundle.id];
        let created = with_socket(t, "LISTEN_FDS=1 LISTEN_PID=$$", &create);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        let exec = Probe::parse(&container.exec(&[], &["report"]));
        assert_eq!(sockets(&exec), (vec![], 0), "they are for init alone");
        container.start().expect_ok();
        container.wait_for_status("stopped");
        let report = Probe(serde_json::from_str(&container.output()).unwrap());
        assert_eq!(sockets(&report), expected);
        container.delete().expect_ok();
    }

    fn sockets_for_another_process_are_not(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let mut all = vec!["LISTEN_FDS=1 LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDS=x LISTEN_PID=$$", "LISTEN_PID=$$"];
        if !t.runtime.is_reference {
            all.push("LISTEN_FDS=-1 LISTEN_PID=$$");
        }
        for variables in all {
            let run = ["run", "--bundle", bundle.path(), &bundle.id];
            let report = Probe::parse(&with_socket(t, variables, &run));
            assert_eq!(sockets(&report), (vec![], 0), "{variables}");
        }
    }

    fn a_socket_that_is_not_there_is_an_error(t) {
        t.only_orlop("runc hands on what it finds");
        let bundle = t.bundle(&["report"], |_| {});
        let run = ["run", "--bundle", bundle.path(), &bundle.id];
        let output = with_socket(t, "LISTEN_FDS=2 LISTEN_PID=$$", &run);
        output.expect_error("preserved-fd 1 (of 2)");
    }
}

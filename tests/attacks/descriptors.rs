//! Descriptors of the host that the container could reach (CVE-2024-21626).

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::json;

use super::{Canary, without_pid_namespace};
use crate::support::{Container, Test, both_views, once, probe};

/// A program of the host, as it is reached from any directory of the host.
fn outside(t: &Test) -> String {
    let program = t.dir.join("outside");
    fs::copy(probe::path(), &program).unwrap();
    format!("/../../../../../../..{}", program.display())
}

/// The open files of a process, by number.
fn open_files(pid: u32) -> BTreeMap<u32, String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    entries
        .map(|entry| {
            let number = entry.file_name().to_str().unwrap().parse().unwrap();
            let to = fs::read_link(entry.path()).unwrap_or_default();
            (number, to.display().to_string())
        })
        .collect()
}

/// What init has open beside its streams and `preserved` fds, once it is created.
fn beside_the_streams(container: &Container, preserved: u32) -> Vec<String> {
    let mut open = open_files(container.pid());
    open.retain(|number, _| *number > 2 + preserved);
    open.into_values().collect()
}

once! {
    fn init_has_nothing_open_but_its_streams_and_the_start_socket(t) {
        t.only_orlop("runc waits at a pipe, with more open than that");
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        let beside = beside_the_streams(&container, 0);
        assert!(matches!(&beside[..], [one] if one.starts_with("socket:")), "{beside:?}");
        container.start().expect_ok();
        container.wait_for_output("ready");
        assert!(open_files(container.pid()).into_keys().eq(0..3), "{:?}", open_files(container.pid()));
        container.end();
    }

    fn init_keeps_preserved_fds_and_nothing_else(t) {
        t.only_orlop("runc waits at a pipe, with more open than that");
        let bundle = t.bundle(&["sleep"], |_| {});
        let args = ["create", "--preserve-fds", "2", "--bundle", bundle.path(), &bundle.id];
        let inner = t.runtime.command(&args);
        let mut command = Command::new("sh");
        command.args(["-c", "exec 3</dev/zero 4</dev/full 5</ 6</etc; exec \"$@\"", "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let created = t.runtime.finish(command);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        let beside = beside_the_streams(&container, 2);
        assert!(matches!(&beside[..], [one] if one.starts_with("socket:")), "{beside:?}");
        container.start().expect_ok();
        container.wait_for_output("ready");
        assert!(open_files(container.pid()).into_keys().eq(0..5), "{:?}", open_files(container.pid()));
        container.end();
    }

    fn a_working_directory_outside_of_the_root_is_refused(t) {
        // No leak is needed for it where the host's processes are in sight.
        let canary = Canary::new(t);
        let cwd = format!("/proc/1/root{}", canary.path(""));
        let bundle = t.bundle(&["read", "file"], |config| {
            without_pid_namespace(config);
            config["process"]["cwd"] = json!(cwd);
        });
        let output = t.run(&bundle);
        assert_ne!(output.code(), 0, "{output}");
        assert_eq!(output.stdout, "");
        let container = t.sleeper(without_pid_namespace);
        let output = container.exec(&["--cwd", &cwd], &["read", "file"]);
        assert_ne!(output.code(), 0, "{output}");
        assert_eq!(output.stdout, "");
        container.end();
    }
}

both_views! {
    fn no_fd_number_leads_out_by_the_working_directory(t) {
        // CVE-2024-21626: a directory of the host that is left open.
        for number in 3..20 {
            let bundle = t.bundle(&["read", "../../../../../../../../etc/hostname"], |config| {
                config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
            });
            let output = t.run(&bundle);
            assert_ne!(output.code(), 0, "fd {number} leads somewhere\n{output}");
        }
    }

    fn no_fd_number_leads_out_by_the_working_directory_of_exec(t) {
        let container = t.sleeper(|_| {});
        for number in 3..20 {
            let cwd = format!("/proc/self/fd/{number}");
            let output = container.exec(&["--cwd", &cwd], &["read", "../../../../../../etc/hostname"]);
            assert_ne!(output.code(), 0, "fd {number} leads somewhere\n{output}");
        }
        container.end();
    }

    fn no_fd_number_leads_to_a_program_of_the_host(t) {
        // Close-on-exec would not help: the path is walked before the fds are closed. The state
        // directory and the bundle lie on the same file system as this program.
        fs::copy(probe::path(), t.dir.join("outside")).unwrap();
        for number in 3..14 {
            for path in ["", "/probe", "/outside", "/../outside", "/../../outside"] {
                let program = format!("/proc/self/fd/{number}{path}");
                let bundle = t.bundle(&[], |config| {
                    config["process"]["args"] = json!([program, "echo", "it ran"]);
                });
                let output = t.run(&bundle);
                assert_ne!(output.code(), 0, "{program} is a program\n{output}");
                assert_eq!(output.stdout, "");
            }
        }
    }

    fn no_fd_number_is_a_hook(t) {
        // CVE-2024-21626, by the path of a hook that init runs.
        let outside = outside(t);
        for number in 3..16 {
            let path = format!("/proc/self/fd/{number}{outside}");
            let bundle = t.bundle(&["exit", "0"], |config| {
                config["hooks"] = json!({"startContainer": [
                    {"path": path, "args": ["probe", "exit", "0"]},
                ]});
            });
            assert_ne!(t.run(&bundle).code(), 0, "fd {number} leads to a program");
        }
    }

    fn no_fd_number_is_a_program_of_exec(t) {
        let outside = outside(t);
        let container = t.sleeper(|_| {});
        for number in 3..16 {
            let path = format!("/proc/self/fd/{number}{outside}");
            let output = t.runtime.call(&["exec", &container.id, &path, "echo", "it ran"]);
            assert_eq!(output.stdout, "", "fd {number} leads to a program");
        }
        container.end();
    }

    fn an_fd_that_nobody_handed_over_is_not_preserved(t) {
        // The number would be that of a directory that the runtime opened.
        t.only_orlop("runc 1.1 looks whether it has any fd of the number");
        let container = t.sleeper(|_| {});
        for count in ["1", "2", "5"] {
            let output = container.exec(&["--preserve-fds", count], &["exit", "0"]);
            output.expect_code(255).expect_words("unable to stat preserved-fd 0");
            let bundle = t.bundle(&["exit", "0"], |_| {});
            let args = ["run", "--preserve-fds", count, "--bundle", bundle.path(), &bundle.id];
            t.runtime.call(&args).expect_error("unable to stat preserved-fd 0");
        }
        container.end();
    }

    fn the_log_is_not_written_to_what_has_its_number(t) {
        // Init closes the log; a hook in it must not make it write to the start socket.
        t.only_orlop("its log is its own");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hooks"] = json!({"startContainer": [
                {"path": "/probe", "args": ["probe", "exit", "0"]},
            ]});
        });
        let log = t.dir.join("log");
        let log = log.to_str().unwrap();
        let args = ["--debug", "--log", log, "create", "--bundle", bundle.path(), &bundle.id];
        let created = t.runtime.call(&args);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        container.start().expect_ok();
        container.delete_force().expect_ok();
    }
}

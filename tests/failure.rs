//! What fails after the first side effect is undone whole.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push};
use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Output, Test, View, both_views, wait_until};

/// `create` fails, and everything is as before.
fn undone(t: &Test, bundle: &Bundle) -> Output {
    let before = Snapshot::take(t);
    let output = t.try_create(bundle);
    output.expect_code(1);
    before.assert_unchanged(t, "after a failed create");
    t.runtime
        .call(&["state", &bundle.id])
        .expect_error("container does not exist");
    output
}

/// The same for a bundle whose program is `args`.
fn undone_with(t: &Test, args: &[&str], words: &str, edit: impl FnOnce(&mut Value)) {
    let bundle = t.bundle(&[], |config| {
        config["process"]["args"] = json!(args);
        edit(config);
    });
    undone(t, &bundle).expect_words(words);
    let before = Snapshot::take(t);
    t.run(&bundle).expect_code(1).expect_words(words);
    before.assert_unchanged(t, "after a failed run");
}

both_views! {
    fn a_program_that_is_not_in_the_path(t) {
        undone_with(t, &["nowhere"], "exec: \"nowhere\": executable file not found in $PATH", |_| {});
    }

    fn a_program_that_is_not_at_its_path(t) {
        undone_with(t, &["/nowhere"], "exec: \"/nowhere\": stat /nowhere: no such file or directory", |_| {});
    }

    fn a_program_that_is_not_executable(t) {
        undone_with(t, &["/dev/null"], "exec: \"/dev/null\": permission denied", |_| {});
    }

    fn a_program_that_is_a_directory(t) {
        undone_with(t, &["/tmp"], "exec: \"/tmp\":", |_| {});
        if !t.runtime.is_reference {
            undone_with(t, &["/tmp"], "exec: \"/tmp\": is a directory", |_| {});
        }
    }

    fn a_program_that_the_user_may_not_execute(t) {
        let bundle = t.bundle(&[], |config| {
            config["process"]["args"] = json!(["/closed/program"]);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        bundle.add_file("closed/program", "#!/probe");
        fs::set_permissions(bundle.rootfs("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        undone(t, &bundle).expect_words("permission denied");
    }

    fn a_mount_that_fails_after_others_were_made(t) {
        undone_with(t, &["/probe", "exit", "0"], "error mounting", |config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &[]);
            add_mount(config, "/tmp/x", "nonsensefs", "nothing", &[]);
        });
    }

    fn a_mount_with_a_source_that_is_missing(t) {
        undone_with(t, &["/probe", "exit", "0"], "no such file or directory", |config| {
            add_mount(config, "/tmp", "bind", "/nowhere", &["bind"]);
        });
    }

    fn a_filesystem_option_that_the_kernel_refuses(t) {
        undone_with(t, &["/probe", "exit", "0"], "invalid argument", |config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["size=nonsense"]);
        });
    }

    fn a_user_outside_of_the_map(t) {
        undone_with(t, &["/probe", "exit", "0"], "", |config| {
            add_user_namespace(config, 200_000);
            config["process"]["user"]["uid"] = json!(70_000);
        });
    }

    fn a_namespace_that_cannot_be_joined(t) {
        if t.view == View::V2 {
            t.only_orlop("runc 1.1 may leave the cgroup behind on a busy machine");
        }
        undone_with(t, &["/probe", "exit", "0"], "", |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "ipc");
            push(config, "/linux/namespaces", json!({"type": "ipc", "path": "/proc/self/ns/net"}));
        });
    }

    fn a_limit_that_the_caller_may_not_raise(t) {
        let nofile = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let nr_open: u64 = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse().unwrap();
        let wanted = nr_open.max(nofile.1) + 1;
        undone_with(t, &["/probe", "exit", "0"], "", |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 10, "hard": wanted}]);
        });
    }

    fn a_pid_file_that_cannot_be_written(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let before = Snapshot::take(t);
        let args = ["create", "--pid-file", "/nowhere/pid", "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&args).expect_code(1);
        before.assert_unchanged(t, "after a failed create");
    }

    fn what_a_hook_left_in_the_container_ends_with_a_failed_create(t) {
        t.only_orlop("runc 1.1 leaves it to run on");
        let bundle = t.bundle(&["exit", "0"], |config| {
            // Without a pid namespace the end of init is not the end of all.
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
            config["hooks"]["createContainer"] = json!([
                {"path": "/bin/sh", "args": ["sh", "-c", "sleep 1000 > /dev/null 2>&1 &"], "env": ["PATH=/usr/bin:/bin"]},
                {"path": "/bin/false"}]);
        });
        undone(t, &bundle).expect_words("createContainer hook #1");
    }

    fn a_failed_create_can_be_tried_again(t) {
        let mut bundle = t.bundle(&["exit", "6"], |config| add_mount(config, "/tmp", "nonsensefs", "x", &[]));
        undone(t, &bundle);
        bundle.edit(|config| {
            config["mounts"].as_array_mut().unwrap().pop();
        });
        t.run(&bundle).expect_code(6);
    }

    fn an_error_is_one_line_in_the_log_file_and_one_on_stderr(t) {
        let bundle = t.bundle(&[], |config| config["process"]["args"] = json!(["nowhere"]));
        let log = t.dir.join("log");
        let args = ["--log", log.to_str().unwrap(), "--log-format", "json", "create", "--bundle", bundle.path(),
            &bundle.id];
        let output = t.runtime.call(&args);
        output.expect_code(1).expect_words("executable file not found in $PATH");
        assert_eq!(output.stderr.lines().count(), 1, "{output}");
        let text = fs::read_to_string(&log).unwrap();
        let records: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let errors: Vec<&Value> = records.iter().filter(|record| record["level"] == "error").collect();
        assert_eq!(errors.len(), 1, "{text}");
        assert!(errors[0]["msg"].as_str().unwrap().contains("executable file not found in $PATH"), "{text}");
        assert!(errors[0]["time"].is_string(), "{text}");
    }

    fn what_a_killed_create_leaves_is_removed_by_a_delete_with_force(t) {
        t.only_orlop("runc 1.1 has no state yet that its delete could find");
        let before = Snapshot::take(t);
        for kind in ["createRuntime", "createContainer"] {
            let pid_file = t.dir.join(format!("pid-of-{kind}"));
            let script = format!("echo $$ > {}; exec sleep 1000", pid_file.display());
            let bundle = t.bundle(&["exit", "0"], |config| {
                config["hooks"][kind] = json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}]);
            });
            let running = t.runtime.spawn(t.runtime.command(&["create", "--bundle", bundle.path(), &bundle.id]));
            let pid = || fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
            wait_until("the hook", || !pid().is_empty());
            running.signal(Signal::SIGKILL);
            running.wait().expect_code(137);
            t.runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
            if kind == "createRuntime" {
                // A hook of the host's namespaces is no process of the container.
                kill(Pid::from_raw(pid().parse().unwrap()), Signal::SIGKILL).unwrap();
            }
            before.assert_unchanged(t, &format!("after a create killed in {kind}"));
        }
    }
}

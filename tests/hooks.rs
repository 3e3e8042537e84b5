//! Hooks: when, where and with what they run, and what their failure does.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace};
use crate::support::{Bundle, Test, both_views, probe};

const HOST_HOOKS: &[&str] = &[
    "prestart",
    "createRuntime",
    "createContainer",
    "poststart",
    "poststop",
];

/// A directory that hooks write to; at the same path on the host and inside.
fn notes(t: &Test) -> String {
    let dir = t.dir.join("notes");
    if !dir.exists() {
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    }
    dir.to_str().unwrap().to_owned()
}

/// A hook that notes what it sees under `name`; the words after it make it fail or hang.
fn hook(t: &Test, kind: &str, name: &str, then: &[&str]) -> Value {
    let path = if kind == "startContainer" {
        "/probe"
    } else {
        probe::path().to_str().unwrap()
    };
    let file = format!("{}/{name}", notes(t));
    let mut args = vec!["hook-zero", "hook", &file];
    args.extend(then);
    json!({"path": path, "args": args})
}

/// A bundle with one hook of each given kind, each of which notes what it sees.
fn bundle_with(t: &Test, kinds: &[&str], args: &[&str], edit: impl FnOnce(&mut Value)) -> Bundle {
    let notes = notes(t);
    t.bundle(args, |config| {
        for kind in kinds {
            config["hooks"][kind] = json!([hook(t, kind, kind, &[])]);
        }
        add_mount(config, &notes, "bind", &notes, &["bind"]);
        edit(config);
    })
}

/// What the hook of this name noted, the last time.
fn note(t: &Test, name: &str) -> Value {
    let path = format!("{}/{name}", notes(t));
    let text =
        fs::read_to_string(&path).unwrap_or_else(|e| panic!("the hook {name} did not run: {e}"));
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn ran(t: &Test, name: &str) -> bool {
    fs::exists(format!("{}/{name}", notes(t))).unwrap()
}

fn own_mount_namespace() -> Value {
    json!(fs::read_link("/proc/self/ns/mnt").unwrap())
}

both_views! {
    fn a_hook_that_fails_may_say_anything(t) {
        let script = "head -c 30000 /dev/zero | tr '\\000' '\\001'; exit 3";
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hooks"] = json!({"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script],
                "env": ["PATH=/bin:/usr/bin"]}]});
        });
        let output = t.run(&bundle);
        output.expect_error("exit status 3");
    }

    fn each_hook_runs_in_its_namespace(t) {
        let kinds = [HOST_HOOKS, &["startContainer"]].concat();
        let bundle = bundle_with(t, &kinds, &["sleep"], |_| {});
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        let inside = json!(fs::read_link(format!("/proc/{}/ns/mnt", container.pid())).unwrap());
        container.end();
        for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
            assert_eq!(note(t, kind)["namespaces"]["mnt"], own_mount_namespace(), "{kind} is not on the host");
        }
        for kind in ["createContainer", "startContainer"] {
            assert_eq!(note(t, kind)["namespaces"]["mnt"], inside, "{kind} is not in the container");
        }
        let root = note(t, "startContainer")["root"].to_string();
        assert!(root.contains("probe"), "startContainer does not see the rootfs as its root: {root}");
        let root = note(t, "createContainer")["root"].to_string();
        assert!(!root.contains("\"probe\""), "createContainer ran after pivot_root: {root}");
    }

    fn hooks_run_at_their_point_of_the_life_cycle(t) {
        let kinds = ["prestart", "createRuntime", "createContainer", "startContainer", "poststop"];
        let container = t.create(&bundle_with(t, &kinds, &["sleep"], |_| {}));
        let seen: Vec<&&str> = kinds.iter().filter(|kind| ran(t, kind)).collect();
        assert_eq!(seen, [&"prestart", &"createRuntime", &"createContainer"], "after create");
        container.start().expect_ok();
        assert!(ran(t, "startContainer") && !ran(t, "poststop"), "after start");
        container.wait_for_output("ready");
        container.end();
        assert!(ran(t, "poststop"), "after delete");
    }

    fn a_run_in_the_foreground_runs_them_all(t) {
        let kinds = [HOST_HOOKS, &["startContainer"]].concat();
        t.run(&bundle_with(t, &kinds, &["exit", "0"], |_| {})).expect_ok();
        for kind in kinds {
            assert!(ran(t, kind), "{kind} did not run");
        }
    }

    fn each_hook_gets_the_state_on_stdin(t) {
        let kinds = [HOST_HOOKS, &["startContainer"]].concat();
        let bundle = bundle_with(t, &kinds, &["sleep"], |config| {
            config["annotations"] = json!({"org.example.key": "a value"});
        });
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        let pid = container.pid();
        container.end();
        for (kind, status, seen_pid) in [
            ("prestart", "creating", Some(pid)), ("createRuntime", "creating", Some(pid)),
            ("createContainer", "creating", Some(1)), ("startContainer", "created", Some(1)),
 ("poststop", "stopped", None),
        ] {
            let state = &note(t, kind)["state"];
            assert_eq!(state["id"], json!(bundle.id), "{kind}: {state:#}");
            assert_eq!(state["status"], status, "{kind}: {state:#}");
            assert_eq!(state["bundle"], json!(bundle.dir), "{kind}: {state:#}");
            assert_eq!(state["annotations"]["org.example.key"], "a value", "{kind}: {state:#}");
            assert!(state["ociVersion"].is_string(), "{kind}: {state:#}");
            assert_eq!(state["pid"].as_u64().filter(|pid| *pid > 0), seen_pid.map(u64::from), "{kind}: {state:#}");
        }
    }

    fn poststart_hooks_run_after_the_start(t) {
        t.only_orlop("runc 1.1 runs them after create, with the status created");
        let container = t.create(&bundle_with(t, &["poststart"], &["sleep"], |_| {}));
        assert!(!ran(t, "poststart"), "after create");
        container.start().expect_ok();
        let state = note(t, "poststart")["state"].clone();
        assert_eq!(state["status"], "running", "{state:#}");
        assert_eq!(state["pid"], json!(container.pid()), "{state:#}");
        container.wait_for_output("ready");
        container.end();
    }

    fn hooks_of_a_kind_run_in_the_order_of_the_config(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            let hook = |n: u32| {
                let script = format!("echo {n} >> {}/order", notes(t));
                json!({"path": "/bin/sh", "args": ["sh", "-c", script]})
            };
            config["hooks"] = json!({
                "prestart": [hook(1), hook(2)], "createRuntime": [hook(3), hook(4)],
                "createContainer": [hook(5)], "poststart": [hook(6)], "poststop": [hook(7), hook(8)]});
        });
        t.run(&bundle).expect_ok();
        let order = fs::read_to_string(format!("{}/order", notes(t))).unwrap();
        assert_eq!(order, "1\n2\n3\n4\n5\n6\n7\n8\n");
    }

    fn a_hook_keeps_its_first_argument(t) {
        t.run(&bundle_with(t, &["createRuntime"], &["exit", "0"], |_| {})).expect_ok();
        assert_eq!(note(t, "createRuntime")["argv"][0], "hook-zero");
    }

    fn a_hook_has_the_environment_of_the_config(t) {
        let bundle = bundle_with(t, &HOST_HOOKS[..4], &["exit", "0"], |config| {
            for kind in &HOST_HOOKS[..4] {
                config["hooks"][kind][0]["env"] = json!(["ONE=1", "TWO=2"]);
            }
        });
        t.run(&bundle).expect_ok();
        for kind in &HOST_HOOKS[..4] {
            assert_eq!(note(t, kind)["env"], json!(["ONE=1", "TWO=2"]), "{kind}");
        }
    }

    fn a_hook_without_an_environment_inherits_the_runtimes(t) {
        let bundle = bundle_with(t, &["createRuntime", "poststart"], &["exit", "0"], |_| {});
        let mut command = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        command.env("MARK", "of the caller");
        t.runtime.finish(command).expect_ok();
        for kind in ["createRuntime", "poststart"] {
            let env = note(t, kind)["env"].to_string();
            assert!(env.contains("MARK=of the caller"), "{kind}: {env}");
        }
    }

    fn a_hook_with_an_empty_environment_has_none(t) {
        let bundle = bundle_with(t, &["createRuntime"], &["exit", "0"], |config| {
            config["hooks"]["createRuntime"][0]["env"] = json!([]);
        });
        t.run(&bundle).expect_ok();
        assert_eq!(note(t, "createRuntime")["env"], json!([]));
    }

    fn hooks_start_in_the_bundle_or_in_the_rootfs(t) {
        let kinds = ["prestart", "createRuntime", "createContainer", "startContainer"];
        let bundle = bundle_with(t, &kinds, &["exit", "0"], |_| {});
        t.run(&bundle).expect_ok();
        for (kind, cwd) in [
            ("prestart", bundle.dir.clone()), ("createRuntime", bundle.dir.clone()),
            ("createContainer", bundle.rootfs("")), ("startContainer", "/".into()),
        ] {
            assert_eq!(note(t, kind)["cwd"].as_str().unwrap().trim_end_matches('/'),
                cwd.to_str().unwrap().trim_end_matches('/'), "{kind}");
        }
    }

    fn start_container_hooks_are_under_the_filter_and_the_others_are_not(t) {
        let kinds = ["createRuntime", "createContainer", "startContainer"];
        let bundle = bundle_with(t, &kinds, &["exit", "0"], |config| {
            config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
                {"names": ["reboot"], "action": "SCMP_ACT_ERRNO"}]});
        });
        t.run(&bundle).expect_ok();
        for (kind, mode) in [("createRuntime", "0"), ("createContainer", "0"), ("startContainer", "2")] {
            assert_eq!(note(t, kind)["seccomp"], mode, "{kind}");
        }
    }

    fn hooks_get_neither_files_nor_ignored_signals_of_the_caller(t) {
        t.only_orlop("runc 1.1 hands both on");
        let kinds = [HOST_HOOKS, &["startContainer"]].concat();
        let bundle = bundle_with(t, &kinds, &["exit", "0"], |_| {});
        let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        let mut command = std::process::Command::new("bash");
        command.args(["-c", "trap '' TERM HUP USR1; exec 7</etc 8</proc; exec \"$@\"", "bash"]);
        command.arg(inner.get_program()).args(inner.get_args());
        t.runtime.finish(command).expect_ok();
        for kind in kinds {
            let note = note(t, kind);
            let open: Vec<&String> = note["fds"].as_object().unwrap().keys().collect();
            assert_eq!(open, ["0", "1", "2"], "{kind}: {:#}", note["fds"]);
            assert_eq!(note["ignored"], "0000000000000000", "{kind}");
        }
    }

    fn a_hook_that_fails_before_the_start_stops_the_create(t) {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let bundle = bundle_with(t, &["poststop"], &["exit", "0"], |config| {
                config["hooks"][kind] = json!([hook(t, kind, kind, &["exit", "3"])]);
            });
            let before = crate::support::leaks::Snapshot::take(t);
            t.try_create(&bundle).expect_code(1).expect_words("hook #0").expect_words("exit status 3");
            before.assert_unchanged(t, "after a hook failed");
        }
    }

    fn the_message_names_the_kind_of_the_hook_that_failed(t) {
        t.only_orlop("runc 1.1 says only: error running hook #0");
        for kind in ["prestart", "createRuntime", "createContainer"] {
            let bundle = bundle_with(t, &[], &["exit", "0"], |config| {
                config["hooks"][kind] = json!([hook(t, kind, "fine", &[]), hook(t, kind, kind, &["exit", "3"])]);
            });
            let output = t.try_create(&bundle);
            output.expect_error(&format!("error running {kind} hook #1: exit status 3, stdout: , stderr: the hook fails as told"));
        }
    }

    fn a_failed_start_container_hook_keeps_the_program_from_running(t) {
        let bundle = bundle_with(t, &[], &["echo", "it ran"], |config| {
            config["hooks"]["startContainer"] = json!([hook(t, "startContainer", "failing", &["exit", "3"])]);
        });
        let container = t.create(&bundle);
        container.start();
        container.wait_for_status("stopped");
        assert_eq!(container.output(), "");
        container.delete().expect_ok();
    }

    fn later_hooks_do_not_run_after_one_that_failed(t) {
        let bundle = bundle_with(t, &["createContainer"], &["exit", "0"], |config| {
            config["hooks"]["createRuntime"] = json!([
                hook(t, "createRuntime", "one", &["exit", "1"]), hook(t, "createRuntime", "two", &[])]);
        });
        t.try_create(&bundle).expect_code(1);
        assert!(ran(t, "one") && !ran(t, "two") && !ran(t, "createContainer"));
    }

    fn a_hook_that_runs_past_its_timeout_is_ended(t) {
        let bundle = bundle_with(t, &[], &["exit", "0"], |config| {
            let mut hook = hook(t, "createRuntime", "hanging", &["hang"]);
            hook["timeout"] = json!(1);
            config["hooks"]["createRuntime"] = json!([hook]);
        });
        let start = Instant::now();
        t.try_create(&bundle).expect_error("hook ran past specified timeout of 1.0s");
        let took = start.elapsed();
        assert!(took > Duration::from_millis(900) && took < Duration::from_secs(5), "it took {took:?}");
    }

    fn a_hook_that_is_not_there_fails_with_its_path(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hooks"] = json!({"createRuntime": [{"path": "/nowhere/hook"}]});
        });
        t.try_create(&bundle).expect_code(1).expect_words("/nowhere/hook").expect_words("no such file or directory");
    }

    fn a_poststart_hook_that_fails_ends_the_container_and_removes_it(t) {
        t.only_orlop("runc 1.1 goes on; specification 1.3 wants an error");
        let bundle = bundle_with(t, &["poststop"], &["sleep"], |config| {
            config["hooks"]["poststart"] = json!([hook(t, "poststart", "failing", &["exit", "1"])]);
        });
        let container = t.create(&bundle);
        container.start().expect_error("error running poststart hook #0");
        container.verb(&["state"]).expect_error("container does not exist");
        assert!(ran(t, "poststop"), "the container was not removed as by delete");
    }

    fn a_poststart_hook_that_fails_ends_a_run(t) {
        t.only_orlop("runc 1.1 runs it before the program; specification 1.3 wants it after");
        let before = crate::support::leaks::Snapshot::take(t);
        for flags in [&["run"][..], &["run", "--detach"]] {
            let bundle = bundle_with(t, &["poststop"], &["sleep"], |config| {
                config["hooks"]["poststart"] = json!([hook(t, "poststart", "failing", &["exit", "1"])]);
            });
            let args = [flags, &["--bundle", bundle.path(), &bundle.id]].concat();
            t.runtime.call(&args).expect_error("error running poststart hook #0");
            assert!(ran(t, "poststop"), "{flags:?}");
            before.assert_unchanged(t, "after the hook failed");
        }
    }

    fn a_poststop_hook_that_fails_is_a_warning(t) {
        t.only_orlop("runc 1.1 fails the delete; specification 1.3 wants a warning");
        let bundle = bundle_with(t, &[], &["exit", "0"], |config| {
            config["hooks"]["poststop"] = json!([
                hook(t, "poststop", "failing", &["exit", "1"]),
                hook(t, "poststop", "second", &["exit", "1"])]);
        });
        let done = t.run(&bundle);
        done.expect_ok().expect_words("poststop hook #0").expect_words("poststop hook #1");
        assert!(ran(t, "second"), "the hooks after it must run");
    }

    fn a_failed_create_runs_the_poststop_hooks(t) {
        let bundle = bundle_with(t, &["poststop"], &["exit", "0"], |config| {
            config["hooks"]["createRuntime"] = json!([hook(t, "createRuntime", "failing", &["exit", "1"])]);
        });
        t.try_create(&bundle).expect_code(1);
        assert!(ran(t, "poststop"));
    }

    fn a_start_container_hook_runs_as_the_user_of_the_container(t) {
        let bundle = bundle_with(t, &["startContainer"], &["exit", "0"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        t.run(&bundle).expect_ok();
        assert_eq!(note(t, "startContainer")["uid"], 1000);
    }

    fn a_start_container_hook_without_an_environment_has_the_programs(t) {
        let bundle = bundle_with(t, &["startContainer"], &["exit", "0"], |config| {
            config["process"]["env"] = json!(["PATH=/", "OF=the program"]);
        });
        let mut command = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        command.env("MARK", "of the caller");
        t.runtime.finish(command).expect_ok();
        let env = note(t, "startContainer")["env"].to_string();
        assert!(env.contains("OF=the program") && !env.contains("MARK"), "{env}");
        if !t.runtime.is_reference {
            assert!(env.contains("HOME=/"), "runc 1.1 sets it later: {env}");
        }
    }

    fn a_hook_that_cannot_be_executed_is_told_from_one_that_fails(t) {
        let text = t.dir.join("text");
        fs::write(&text, "not a program").unwrap();
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
        for (path, why) in [
            ("/nowhere/hook", "no such file or directory"),
            ("/dev/null", "permission denied"),
            (text.to_str().unwrap(), "exec format error"),
        ] {
            for kind in ["createRuntime", "createContainer"] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    config["hooks"][kind] = json!([{"path": path}]);
                });
                let output = t.try_create(&bundle);
                output.expect_error(&format!("fork/exec {path}: {why}"));
                assert!(!output.stderr.contains("exit status"), "{output}");
                if !t.runtime.is_reference {
                    output.expect_words(&format!("/hooks/{kind}/0"));
                }
            }
        }
    }

    fn a_start_container_hook_that_cannot_be_executed_says_why(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hooks"]["startContainer"] = json!([{"path": "/nowhere/hook"}]);
        });
        let output = t.run(&bundle);
        output.expect_code(1).expect_words("fork/exec /nowhere/hook: no such file or directory");
        assert!(!output.stderr.contains("exit status"), "{output}");
    }

    fn in_a_user_namespace_each_hook_has_the_ids_of_its_place(t) {
        let kinds = [HOST_HOOKS, &["startContainer"]].concat();
        let bundle = bundle_with(t, &kinds, &["exit", "0"], |config| {
            add_user_namespace(config, 200_000);
            config["process"]["user"] = json!({"uid": 7, "gid": 7});
        });
        t.run(&bundle).expect_ok();
        let own = json!(fs::read_link("/proc/self/ns/user").unwrap());
        for (kind, uid, on_the_host) in [
            ("prestart", 0, true), ("createRuntime", 0, true), ("poststart", 0, true), ("poststop", 0, true),
            ("createContainer", 0, false), ("startContainer", 7, false),
        ] {
            assert_eq!(note(t, kind)["uid"], uid, "{kind}");
            assert_eq!(note(t, kind)["namespaces"]["user"] == own, on_the_host, "{kind}");
        }
    }
}

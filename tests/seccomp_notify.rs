//! Seccomp notification: an agent of the host answers for a container.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Instant;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use serde_json::{Value, json};

use crate::support::agent::{Agent, Manner};
use crate::support::bundle::add_user_namespace;
use crate::support::{Test, both_views, once};

/// A profile that notifies of these calls and allows the rest.
fn notify(path: &str, names: &[&str]) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "the \"answer\"",
        "syscalls": [{"names": names, "action": "SCMP_ACT_NOTIFY"}]})
}

/// All that a runtime or the probe may call once the filter is there, but write.
const ALL: &[&str] = &[
    "execve",
    "execveat",
    "read",
    "close",
    "close_range",
    "openat",
    "openat2",
    "mmap",
    "munmap",
    "capset",
    "prctl",
    "rt_sigaction",
    "rt_sigprocmask",
    "fcntl",
    "sendmsg",
    "recvmsg",
    "sendto",
    "recvfrom",
    "brk",
    "exit_group",
    "mkdirat",
    "chdir",
    "readlink",
    "fstat",
    "newfstatat",
    "statx",
];

fn with_profile(config: &mut Value, profile: Value) {
    config["linux"]["seccomp"] = profile;
    config["root"]["readonly"] = json!(false);
    config["annotations"] = json!({"a.b": "c"});
}

/// What the probe says of a directory that the agent has made and opened for it.
const MADE: &str = "Ok(\"/tmp/made\")\n";

fn agent(t: &Test) -> Agent {
    t.only_orlop("runc 1.1 of Debian shows the state before the start, and has no such checks");
    Agent::new(t, "agent", Manner::Answers)
}

/// The parts of a container process state that do not depend on the verb.
fn check_state(seen: &Value, id: &str, bundle: &str, status: &str) {
    assert_eq!(seen["ociVersion"], "1.3.0", "{seen}");
    assert_eq!(seen["fds"], json!(["seccompFd"]), "{seen}");
    assert_eq!(seen["metadata"], "the \"answer\"", "{seen}");
    let state = &seen["state"];
    assert_eq!(state["ociVersion"], "1.0.2", "{seen}");
    assert_eq!(state["id"], id, "{seen}");
    assert_eq!(state["status"], status, "{seen}");
    assert_eq!(state["bundle"], bundle, "{seen}");
    assert_eq!(state["annotations"], json!({"a.b": "c"}), "{seen}");
    assert!(state["pid"].as_i64().unwrap() > 1, "{seen}");
}

both_views! {
    fn an_agent_answers_for_run(t) {
        let agent = agent(t);
        for (nnp, mapped) in [(true, false), (false, false), (true, true), (false, true)] {
            let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| {
                with_profile(config, notify(agent.path(), &["mkdirat"]));
                config["process"]["noNewPrivileges"] = json!(nnp);
                if mapped {
                    add_user_namespace(config, 200_000);
                }
            });
            let output = t.run(&bundle);
            assert_eq!(output.expect_ok().stdout, MADE, "no_new_privs {nnp}, mapped {mapped}");
            let seen = agent.state();
            check_state(&seen, &bundle.id, bundle.path(), "created");
            assert_eq!(seen["pid"], seen["state"]["pid"]);
            assert!(bundle.rootfs("tmp/made").is_dir());
            agent.expect_no_more();
        }
    }

    fn an_agent_answers_for_create_and_exec(t) {
        let agent = agent(t);
        for (nnp, mapped) in [(true, false), (false, false), (true, true), (false, true)] {
            let bundle = t.bundle(&["sleep"], |config| {
                with_profile(config, notify(agent.path(), &["mkdirat"]));
                config["process"]["noNewPrivileges"] = json!(nnp);
                if mapped {
                    add_user_namespace(config, 200_000);
                }
            });
            let container = t.start(&bundle);
            container.wait_for_output("ready");
            let seen = agent.state();
            check_state(&seen, &bundle.id, bundle.path(), "created");
            assert_eq!(seen["pid"], container.pid());
            let output = container.exec(&[], &["mkdir", "/tmp/made"]);
            assert_eq!(output.expect_ok().stdout, MADE, "no_new_privs {nnp}, mapped {mapped}");
            let seen = agent.state();
            check_state(&seen, &bundle.id, bundle.path(), "running");
            assert_eq!(seen["state"]["pid"], container.pid());
            assert_ne!(seen["pid"], container.pid());
            container.end();
        }
    }

    fn all_calls_but_write_can_be_notified_of(t) {
        let agent = agent(t);
        for nnp in [true, false] {
            let bundle = t.bundle(&["sleep"], |config| {
                with_profile(config, notify(agent.path(), ALL));
                config["process"]["noNewPrivileges"] = json!(nnp);
            });
            let container = t.start(&bundle);
            container.wait_for_output("ready");
            let output = container.exec(&[], &["mkdir", "/tmp/made"]);
            assert_eq!(output.expect_ok().stdout, MADE);
            container.end();
        }
    }

    fn nothing_of_the_listener_is_left_in_the_container(t) {
        let agent = agent(t);
        let report = t.report_with(|config| with_profile(config, notify(agent.path(), &["mkdirat"])));
        let fds: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"]);
        assert_eq!(report["seccomp"], json!({"mode": "2", "filters": "1"}));
        assert_eq!(report["dumpable"], 1);
    }

    fn hooks_in_the_container_share_its_listener(t) {
        let agent = agent(t);
        let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| {
            with_profile(config, notify(agent.path(), &["mkdirat"]));
            config["hooks"] = json!({"startContainer": [
                {"path": "/probe", "args": ["probe", "mkdir", "/tmp/before"]},
                {"path": "/probe", "args": ["probe", "hook", "/tmp/seen"]}]});
        });
        let output = t.run(&bundle);
        assert_eq!(output.expect_ok().stdout, MADE);
        // The agent has made it: its mode is not what the hook asked for.
        assert!(bundle.rootfs("tmp/before").is_dir());
        agent.state();
        agent.expect_no_more();
        let seen: Value = serde_json::from_slice(&fs::read(bundle.rootfs("tmp/seen")).unwrap()).unwrap();
        assert_eq!(seen["seccomp"], "2");
        let fds: Vec<&String> = seen["fds"].as_object().unwrap().keys().collect();
        assert_eq!(fds, ["0", "1", "2"], "{seen}");
        assert_eq!(seen["ignored"], "0000000000000000");
    }

    fn an_agent_that_is_not_there_is_told(t) {
        t.only_orlop("runc looks for the agent at other times");
        let path = t.dir.join("agent");
        let path = path.to_str().unwrap();
        let profile = || notify(path, &["mkdirat"]);
        let words = "failed to connect with seccomp agent";
        // No such path, and no socket: before anything is made.
        for make in [false, true] {
            if make {
                fs::write(path, "").unwrap();
            }
            let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, profile()));
            t.run(&bundle).expect_error(words).expect_words("/linux/seccomp/listenerPath");
            t.try_create(&bundle).expect_error(words);
        }
        fs::remove_file(path).unwrap();
        // A socket that nobody listens on any more: when the filter is there.
        let listener = UnixListener::bind(path).unwrap();
        drop(listener);
        let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, profile()));
        t.run(&bundle).expect_error(words).expect_words("connection refused");
        let container = t.create(&t.bundle(&["exit", "0"], |config| with_profile(config, notify(path, ALL))));
        container.start().expect_error(words);
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn exec_says_that_the_agent_has_gone(t) {
        let agent = agent(t);
        let container = t.sleeper(|config| with_profile(config, notify(agent.path(), &["mkdirat"])));
        fs::remove_file(agent.path()).unwrap();
        let output = container.exec(&[], &["exit", "0"]);
        output.expect_code(255).expect_words("failed to connect with seccomp agent");
        drop(UnixListener::bind(agent.path()).unwrap());
        let output = container.exec(&[], &["exit", "0"]);
        output.expect_code(255).expect_words("failed to connect with seccomp agent");
        container.end();
    }

    fn an_agent_that_hangs_up_stalls_nobody(t) {
        t.only_orlop("runc leaves its own copy of the listener open");
        let agent = Agent::new(t, "agent", Manner::HangsUp);
        let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| with_profile(config, notify(agent.path(), &["mkdirat"])));
        assert_eq!(t.run(&bundle).expect_ok().stdout, "ENOSYS\n");
        let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, notify(agent.path(), &["execve"])));
        t.run(&bundle).expect_words("function not implemented");
    }

    fn what_waits_for_an_agent_can_be_ended(t) {
        t.only_orlop("runc hands over at create, and other things wait");
        let agent = Agent::new(t, "agent", Manner::IsSilent);
        let bundle = || t.bundle(&["exit", "0"], |config| with_profile(config, notify(agent.path(), &["execve"])));
        for (by_run, killed) in [(false, false), (false, true), (true, false), (true, true)] {
            let bundle = bundle();
            let created = (!by_run).then(|| t.create(&bundle));
            let args = match by_run {
                true => vec!["run", "--bundle", bundle.path(), &bundle.id],
                false => vec!["start", &bundle.id],
            };
            let waiting = t.runtime.spawn(t.runtime.command(&args));
            agent.state();
            std::thread::sleep(std::time::Duration::from_millis(100));
            let began = Instant::now();
            if killed {
                t.runtime.call(&["kill", &bundle.id, "KILL"]).expect_ok();
            } else {
                t.runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
            }
            waiting.wait();
            assert!(began.elapsed().as_secs() < 8, "by run {by_run}, killed {killed}");
            t.runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
            t.runtime.call(&["state", &bundle.id]).expect_error("does not exist");
            drop(created);
        }
    }

    fn a_path_without_notify_is_ignored(t) {
        let mut profile = notify("/no/such/agent", &["mkdirat"]);
        profile["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO");
        let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| with_profile(config, profile));
        assert_eq!(t.run(&bundle).expect_ok().stdout, "EPERM\n");
    }

    fn what_cannot_notify_is_refused_by_its_field(t) {
        t.only_orlop("runc has other words");
        let refused = |profile: Value, words: &str, field: &str| {
            let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, profile));
            for output in [t.run(&bundle), t.try_create(&bundle)] {
                output.expect_error(words).expect_words(field);
            }
        };
        let mut profile = notify("/agent", &["mkdirat"]);
        profile["defaultAction"] = json!("SCMP_ACT_NOTIFY");
        refused(profile, "SCMP_ACT_NOTIFY cannot be used as default action", "/linux/seccomp/defaultAction");
        refused(notify("/agent", &["write"]), "SCMP_ACT_NOTIFY cannot be used for the write syscall",
            "/linux/seccomp/syscalls/0/names/0");
        refused(notify("", &["read"]), "seccomp listenerPath is not set", "/linux/seccomp/listenerPath");
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"});
        refused(profile, "listenerMetadata needs a listenerPath", "/linux/seccomp/listenerMetadata");
    }

    fn a_killable_wait_can_be_asked_for(t) {
        let agent = agent(t);
        let mut profile = notify(agent.path(), &["mkdirat"]);
        profile["flags"] = json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]);
        let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| with_profile(config, profile));
        assert_eq!(t.run(&bundle).expect_ok().stdout, MADE);
    }

    fn what_the_kernel_lacks_is_named(t) {
        t.only_orlop("runc asks libseccomp what the kernel has");
        let agent = Agent::new(t, "agent", Manner::Answers);
        let flags = [("TSYNC", 1), ("LOG", 2), ("SPEC_ALLOW", 4), ("WAIT_KILLABLE_RECV", 32)];
        let mut cases: Vec<(Value, String, String)> = flags
            .iter()
            .map(|(name, bit)| {
                let mut profile = notify(agent.path(), &["mkdirat"]);
                if *name != "WAIT_KILLABLE_RECV" {
                    profile["syscalls"][0]["action"] = json!("SCMP_ACT_ERRNO");
                }
                let name = format!("SECCOMP_FILTER_FLAG_{name}");
                profile["flags"] = json!([name]);
                (profile, format!("seccomp:{bit}"), name)
            })
            .collect();
        let unsupported = "seccomp notify unsupported".to_owned();
        cases.push((notify(agent.path(), &["mkdirat"]), "seccomp:8".to_owned(), unsupported.clone()));
        cases.push((notify(agent.path(), &["mkdirat"]), "pidfd_getfd".to_owned(), unsupported));
        for (profile, lacking, words) in cases {
            let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, profile));
            let output = t.runtime.without(&lacking).call(&["run", "--bundle", bundle.path(), &bundle.id]);
            output.expect_error(&words).expect_words("/linux/seccomp");
        }
    }
}

once! {
    fn an_agent_that_accepts_nobody_is_given_up(t) {
        t.only_orlop("runc waits for ever");
        let path = t.dir.join("agent");
        let flags = SockFlag::SOCK_CLOEXEC;
        let agent = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&agent), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&agent, Backlog::new(0).unwrap()).unwrap();
        // Its queue is full from here on.
        let _first = UnixStream::connect(&path).unwrap();
        let profile = notify(path.to_str().unwrap(), &["mkdirat"]);
        let bundle = t.bundle(&["exit", "0"], |config| with_profile(config, profile));
        let start = Instant::now();
        t.run(&bundle).expect_error("failed to connect with seccomp agent");
        let took = start.elapsed().as_secs();
        assert!((9..60).contains(&took), "{took} s");
    }

    fn a_large_state_arrives_whole(t) {
        let agent = agent(t);
        let bundle = t.bundle(&["mkdir", "/tmp/made"], |config| {
            with_profile(config, notify(agent.path(), &["mkdirat"]));
            config["annotations"] = json!({"large": "x".repeat(1 << 20)});
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, MADE);
        let seen = agent.state();
        assert_eq!(seen["state"]["annotations"]["large"].as_str().unwrap().len(), 1 << 20);
    }
}

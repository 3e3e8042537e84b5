//! Looking into processes of the runtime that the container can see (CVE-2016-9962).

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::{without_mounts_at, without_pid_namespace};
use crate::support::bundle::{add_user_namespace, push, set_capabilities, set_namespaces};
use crate::support::{Bundle, Container, Test, both_views, once};

/// fs.suid_dumpable of the host, set for as long as this lives.
struct SuidDumpable(String);

const SUID_DUMPABLE: &str = "/proc/sys/fs/suid_dumpable";

impl SuidDumpable {
    fn set(value: &str) -> Self {
        let before = fs::read_to_string(SUID_DUMPABLE).unwrap();
        fs::write(SUID_DUMPABLE, value).unwrap();
        Self(before)
    }
}

impl Drop for SuidDumpable {
    fn drop(&mut self) {
        let _ = fs::write(SUID_DUMPABLE, &self.0);
    }
}

/// As often as the runtime enters the container while something in it lies in wait.
const ENTRIES: u32 = 20;

/// Id mappings of one container.
const MAPPINGS: u32 = 20;

/// What the container printed by the end of so many entries.
fn after_entries(t: &Test, attack: &[&str], edit: impl FnOnce(&mut Value)) -> String {
    let container = t.start(&t.bundle(attack, edit));
    container.wait_for_output("ready");
    for _ in 0..ENTRIES {
        container.exec(&[], &["exit", "0"]).expect_ok();
    }
    let said = container.output();
    container.end();
    said
}

/// Enter as often; a long PATH is long searched, as the container's user.
pub fn enter_slowly(t: &Test, container: &Container) {
    let path = format!("PATH={}/", "/none:".repeat(10_000));
    for _ in 0..ENTRIES {
        let args = ["exec", "--env", &path, &container.id, "probe", "exit", "0"];
        t.runtime.call(&args).expect_ok();
    }
}

pub fn may_trace(config: &mut Value) {
    set_capabilities(config, &["CAP_SYS_PTRACE"]);
}

/// A container in these namespaces of other processes, and in a new user namespace where no
/// other's is joined. Without a pid namespace it is in the host's.
fn seen_by(t: &Test, namespaces: &[(&str, String)]) -> Bundle {
    t.bundle(&["exit", "0"], |config| {
        set_namespaces(config, &["mount", "uts", "ipc", "network"]);
        for (kind, pid) in namespaces {
            let path = format!("/proc/{pid}/ns/{kind}");
            push(
                config,
                "/linux/namespaces",
                json!({"type": kind, "path": path}),
            );
        }
        if !namespaces.iter().any(|(kind, _)| *kind == "user") {
            add_user_namespace(config, 0);
        }
        // A procfs of a pid namespace that is not the new user namespace's is not its to mount.
        without_mounts_at(config, "/proc");
    })
}

once! {
    fn nobody_looks_into_a_user_namespace_that_the_hosts_root_owns(t) {
        // Whatever capabilities its processes have in it.
        t.only_orlop("runc 1.1 does not join a pid namespace from a new user namespace");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let what = format!("root{}", secret.display());
        let owner = t.sleeper(|config| add_user_namespace(config, 0));
        let spy = t.start(&t.bundle(&["grab", &what], without_pid_namespace));
        let sharer = t.start(&t.bundle(&["grab", &what], |_| {}));
        spy.wait_for_output("ready");
        sharer.wait_for_output("ready");
        let (owners, sharers) = (owner.pid().to_string(), sharer.pid().to_string());
        for _ in 0..ENTRIES / 2 {
            for namespaces in [
                vec![],
                vec![("pid", sharers.clone())],
                vec![("user", owners.clone())],
                vec![("user", owners.clone()), ("pid", sharers.clone())],
            ] {
                t.run(&seen_by(t, &namespaces));
            }
        }
        for spy in [spy, sharer] {
            assert!(!spy.output().contains("grabbed"), "{}", spy.output());
            spy.end();
        }
        owner.end();
    }

    fn nobody_looks_into_the_namespace_of_an_id_mapping(t) {
        // It is made by a process that has all that the runtime has.
        t.only_orlop("runc 1.1 does not have them");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let source = t.dir.join("source");
        fs::create_dir(&source).unwrap();
        let what = format!("root{}", secret.display());
        let spy = t.start(&t.bundle(&["grab", &what], without_pid_namespace));
        spy.wait_for_output("ready");
        let bundle = t.bundle(&["exit", "0"], |config| {
            // As many mappings as mounts; each is a chance.
            for index in 0..MAPPINGS {
                let map = json!([{"containerID": 0, "hostID": 100_000 + index, "size": 1}]);
                push(config, "/mounts", json!({
                    "destination": format!("/tmp/{index}"), "source": source,
                    "options": ["bind", "idmap"], "uidMappings": map, "gidMappings": map,
                }));
            }
        });
        for _ in 0..ENTRIES / 2 {
            t.run(&bundle).expect_ok();
        }
        assert!(!spy.output().contains("grabbed"), "{}", spy.output());
        spy.end();
    }

    fn who_may_trace_gets_no_descriptor_of_the_host(t) {
        // Such as the runtime's of the state directory, two below the secret, or of its parent.
        t.only_orlop("needs no comparison");
        let whats: Vec<String> = (3..10)
            .flat_map(|fd| [format!("fd/{fd}/../secret"), format!("fd/{fd}/../../secret")])
            .collect();
        let attack: Vec<&str> = ["grab"].into_iter().chain(whats.iter().map(String::as_str)).collect();
        fs::write(t.dir.join("secret"), "the host").unwrap();
        let container = t.start(&t.bundle(&attack, may_trace));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        assert!(!container.output().contains("grabbed"), "{}", container.output());
        container.end();
    }

    fn init_stays_closed_after_its_change_of_user(t) {
        // With this sysctl the kernel makes it dumpable when it becomes the container's user.
        t.only_orlop("runc 1.1 opens init by its change of user");
        let sysctl = SuidDumpable::set("1");
        for mapped in [false, true] {
            let container = t.create(&t.bundle(&["sleep"], |config| {
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                if mapped {
                    add_user_namespace(config, 200_000);
                }
            }));
            let owner = fs::metadata(format!("/proc/{}/environ", container.pid())).unwrap().uid();
            container.delete().expect_ok();
            assert_eq!(owner, 0, "in a user namespace: {mapped}");
        }
        drop(sysctl);
    }

    fn a_process_of_exec_cannot_be_traced_before_it_is_the_containers(t) {
        let container = t.start(&t.bundle(&["trace"], |_| {}));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        assert!(!container.output().contains("traced"), "{}", container.output());
        container.end();
    }
}

both_views! {
    fn who_may_trace_does_not_see_the_host_by_a_process_of_exec(t) {
        // The process must not be seen before it has left the host's mounts.
        t.only_orlop("needs no comparison");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let what = format!("root{}", secret.display());
        let said = after_entries(t, &["grab", &what], may_trace);
        assert!(!said.contains("grabbed"), "{said}");
    }

    fn who_may_trace_gets_no_working_directory_of_the_host(t) {
        t.only_orlop("needs no comparison");
        let bundle = t.bundle(&["grab", "cwd/secret"], may_trace);
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        fs::write(t.dir.join("secret"), "the host").unwrap();
        for _ in 0..ENTRIES {
            let mut command = t.runtime.command(&["exec", &bundle.id, "/probe", "exit", "0"]);
            command.current_dir(&t.dir);
            t.runtime.finish(command).expect_ok();
        }
        assert!(!container.output().contains("grabbed"), "{}", container.output());
        container.end();
    }

    fn a_process_of_exec_is_not_readable_before_it_is_the_users(t) {
        // CVE-2016-9962: it has the container's user and capabilities by then, so only that it
        // is not dumpable keeps others out.
        let container = t.start(&t.bundle(&["overwrite"], |_| {}));
        container.wait_for_output("ready");
        enter_slowly(t, &container);
        // After execve it is the probe, which is the container's own.
        assert!(!container.output().contains("held"), "{}", container.output());
        container.end();
    }

    fn who_shares_the_pid_namespace_cannot_look_into_a_new_user_namespace(t) {
        // Root of the host's user namespace owns the new one, whatever capabilities it lacks;
        // that init is not dumpable is all that keeps it out.
        t.only_orlop("runc 1.1 does not join a pid namespace from a new user namespace");
        let secret = t.dir.join("secret");
        fs::write(&secret, "the host").unwrap();
        let spy = t.start(&t.bundle(&["grab", &format!("root{}", secret.display())], |_| {}));
        spy.wait_for_output("ready");
        for _ in 0..ENTRIES {
            let bundle = t.bundle(&["exit", "0"], |config| {
                let path = format!("/proc/{}/ns/pid", spy.pid());
                set_namespaces(config, &["mount", "uts", "ipc", "network"]);
                push(config, "/linux/namespaces", json!({"type": "pid", "path": path}));
                add_user_namespace(config, 0);
                // A procfs of the pid namespace that is joined is not the new one's to mount.
                let mounts = config["mounts"].as_array_mut().unwrap();
                mounts.retain(|m| m["type"] != "proc");
            });
            t.run(&bundle);
        }
        assert!(!spy.output().contains("grabbed"), "{}", spy.output());
        spy.end();
    }

    fn init_cannot_be_read_or_traced_by_the_user_of_the_container(t) {
        // CVE-2016-9962: the files of a process that is not dumpable belong to root.
        for (mapped, user) in [(false, 1000), (true, 201_000)] {
            let container = t.create(&t.bundle(&["sleep"], |config| {
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                if mapped {
                    add_user_namespace(config, 200_000);
                }
            }));
            let owner = || fs::metadata(format!("/proc/{}/environ", container.pid())).unwrap().uid();
            assert_eq!(owner(), 0, "before the program runs");
            container.start().expect_ok();
            container.wait_for_output("ready");
            assert_eq!(owner(), user, "once it runs");
            container.end();
        }
    }
}

//! Namespaces: which are new, which are joined, which stay the caller's.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push, set_namespaces};
use crate::support::{Container, Test, both_views, wait_until};

/// Names of config.json and of /proc/PID/ns.
const KINDS: &[(&str, &str)] = &[
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("uts", "uts"),
];

fn namespace_of(pid: &str, file: &str) -> String {
    let link = fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap();
    link.to_string_lossy().into_owned()
}

/// A container with these new namespaces, and the rest the caller's.
fn sleeper_with<'t>(t: &'t Test, kinds: &[&str]) -> Container<'t> {
    t.start(&t.bundle(&["sleep"], |config| {
        set_namespaces(config, kinds);
        if !kinds.contains(&"network") {
            // Without a network namespace of one's own sysfs cannot be mounted everywhere.
            without_mount(config, "/sys/fs/cgroup");
            without_mount(config, "/sys");
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
        }
        if !kinds.contains(&"uts") {
            config.as_object_mut().unwrap().remove("hostname");
        }
    }))
}

fn without_mount(config: &mut Value, destination: &str) {
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| m["destination"] != destination);
}

/// A process that ends with the test that started it.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

both_views! {
    fn each_kind_that_is_asked_for_is_new_and_the_others_are_the_callers(t) {
        for (kind, file) in KINDS {
            let mut kinds = vec!["mount"];
            if *kind != "mount" {
                kinds.push(kind);
            }
            let container = sleeper_with(t, &kinds);
            let pid = container.pid().to_string();
            for (other, other_file) in KINDS {
                let new = namespace_of(&pid, other_file) != namespace_of("self", other_file);
                assert_eq!(new, kinds.contains(other), "{other} namespace, asked for were {kinds:?}");
            }
            assert_eq!(namespace_of(&pid, "user"), namespace_of("self", "user"), "with {file}");
            container.end();
        }
    }

    fn any_two_kinds_are_new_without_the_others_or_not_with_them(t) {
        t.only_orlop("runc 1.1 has no time namespaces, and a container needs a mount namespace");
        let kinds: Vec<(&str, &str)> = KINDS.iter().copied().chain([("user", "user"), ("time", "time")]).collect();
        let mut sets: Vec<u32> = vec![0];
        for a in 0..kinds.len() {
            sets.extend((a..kinds.len()).map(|b| 1 << a | 1 << b));
        }
        sets.extend(sets.clone().iter().map(|set| !set & 0xff));
        for set in sets {
            let asked: Vec<&(&str, &str)> =
                (0..).zip(&kinds).filter(|(bit, _)| set >> bit & 1 == 1).map(|(_, kind)| kind).collect();
            let has = |name: &str| asked.iter().any(|(kind, _)| *kind == name);
            let bundle = t.bundle(&["sleep"], |config| {
                let names: Vec<&str> = asked.iter().map(|(kind, _)| *kind).filter(|kind| *kind != "user").collect();
                set_namespaces(config, &names);
                if has("user") {
                    add_user_namespace(config, 200_000);
                }
                if !has("uts") {
                    config.as_object_mut().unwrap().remove("hostname");
                }
                config["mounts"] = json!([]);
                config["root"]["readonly"] = json!(false);
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                if has("mount") {
                    push(config, "/mounts", json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}));
                }
            });
            let container = t.start(&bundle);
            container.wait_for_output("ready");
            let pid = container.pid().to_string();
            for (kind, file) in &kinds {
                let new = namespace_of(&pid, file) != namespace_of("self", file);
                assert_eq!(new, has(kind), "{kind} namespace, asked for were {asked:?}");
            }
            container.exec(&[], &["exit", "7"]).expect_code(7);
            container.delete_force().expect_ok();
        }
    }

    fn the_program_is_pid_1_of_a_new_pid_namespace(t) {
        let report = t.report_with(|_| {});
        assert_eq!((&report["pid"], &report["ppid"]), (&json!(1), &json!(0)));
    }

    fn without_a_pid_namespace_the_program_has_a_pid_of_the_host(t) {
        let report = t.report_with(|config| set_namespaces(config, &["mount", "network", "uts", "ipc"]));
        assert!(report["pid"].as_u64().unwrap() > 1, "{}", report["pid"]);
    }

    fn the_hostname_is_set_and_the_hosts_is_not_changed(t) {
        let before = nix::unistd::gethostname().unwrap();
        let report = t.report_with(|config| config["hostname"] = json!("a.name.of-its-own"));
        assert_eq!(report["hostname"], "a.name.of-its-own");
        assert_eq!(nix::unistd::gethostname().unwrap(), before);
    }

    fn names_are_as_long_as_the_kernel_takes_them(t) {
        t.only_orlop("runc 1.1 ignores domainname, and names no field");
        let (longest, longer) = ("x".repeat(64), "x".repeat(65));
        let report = t.report_with(|config| {
            config["hostname"] = json!(longest);
            config["domainname"] = json!(longest);
        });
        assert_eq!((&report["hostname"], &report["domainname"]), (&json!(longest), &json!(longest)));
        for field in ["hostname", "domainname"] {
            let bundle = t.bundle(&["exit", "0"], |config| config[field] = json!(longer));
            t.run(&bundle).expect_error(&format!("/{field}")).expect_words("64 bytes");
            let bundle = t.bundle(&["exit", "0"], |config| {
                set_namespaces(config, &["mount", "pid", "network", "ipc"]);
                config.as_object_mut().unwrap().remove("hostname");
                config[field] = json!("name");
            });
            t.run(&bundle).expect_error(&format!("unable to set {field} without a private UTS namespace"));
        }
    }

    fn the_domainname_is_set(t) {
        t.only_orlop("runc 1.1 ignores domainname, which came with the specification 1.1");
        let report = t.report_with(|config| config["domainname"] = json!("example.org"));
        assert_eq!(report["domainname"], "example.org");
    }

    fn the_loopback_interface_of_a_new_network_namespace_is_up(t) {
        assert_eq!(t.report_with(|_| {})["loopback_up"], true);
    }

    fn a_cgroup_namespace_has_the_containers_cgroup_as_its_root(t) {
        let report = t.report_with(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})));
        let seen = report["cgroup"].as_str().unwrap();
        assert!(!seen.contains(&t.tag), "the host's path is visible:\n{seen}");
    }

    fn without_a_cgroup_namespace_the_hosts_path_is_seen(t) {
        let report = t.report_with(|_| {});
        let seen = report["cgroup"].as_str().unwrap();
        assert!(seen.contains(&t.tag), "not in the cgroup of the test:\n{seen}");
    }

    fn namespaces_are_joined_by_path(t) {
        let host = t.sleeper(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})));
        let pid = host.pid().to_string();
        for (kind, file) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
            let report = t.report_with(|config| {
                let path = format!("/proc/{pid}/ns/{file}");
                config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != *kind);
                push(config, "/linux/namespaces", json!({"type": kind, "path": path}));
                if *kind == "uts" {
                    config.as_object_mut().unwrap().remove("hostname");
                }
            });
            assert_eq!(report["namespaces"][file], json!(namespace_of(&pid, file)), "{kind} was not joined");
            for (other, other_file) in KINDS.iter().filter(|(other, _)| other != kind && *other != "cgroup") {
                let id = json!(namespace_of(&pid, other_file));
                assert_ne!(report["namespaces"][other_file], id, "{other} was joined with {kind}");
            }
        }
        host.end();
    }

    fn a_mount_namespace_is_joined_by_path(t) {
        t.only_orlop("runc 1.1 looks for a /proc in the rootfs, and nothing may be mounted here");
        let other = std::process::Command::new("unshare").args(["--mount", "sleep", "1000"]).spawn().unwrap();
        let other = Ended(other);
        let pid = other.0.id().to_string();
        wait_until("the namespace is there", || {
            namespace_of(&pid, "mnt") != namespace_of("self", "mnt")
        });
        let bundle = t.bundle(&["sleep"], |config| {
            let path = format!("/proc/{pid}/ns/mnt");
            config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount", "path": path}]);
            config.as_object_mut().unwrap().remove("hostname");
            config["mounts"] = json!([]);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            config["root"]["readonly"] = json!(false);
        });
        let container = t.start(&bundle);
        assert_eq!(namespace_of(&container.pid().to_string(), "mnt"), namespace_of(&pid, "mnt"));
        container.end();
    }

    fn a_time_namespace_is_joined_by_path(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        if !Path::new("/proc/self/timens_offsets").exists() {
            t.skip("this kernel has no time namespaces");
        }
        let host = t.sleeper(|config| push(config, "/linux/namespaces", json!({"type": "time"})));
        let pid = host.pid().to_string();
        let report = t.report_with(|config| {
            let path = format!("/proc/{pid}/ns/time");
            push(config, "/linux/namespaces", json!({"type": "time", "path": path}));
        });
        assert_eq!(report["namespaces"]["time"], json!(namespace_of(&pid, "time")));
        host.end();
    }

    fn two_containers_share_a_network_namespace_pinned_by_a_file(t) {
        let pinned = t.dir.join("net");
        fs::write(&pinned, "").unwrap();
        let unshare = std::process::Command::new("unshare")
            .arg(format!("--net={}", pinned.display())).arg("true").status().unwrap();
        assert!(unshare.success());
        let join = |config: &mut Value| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
            push(config, "/linux/namespaces", json!({"type": "network", "path": pinned}));
        };
        let (one, two) = (t.report_with(join), t.report_with(join));
        nix::mount::umount(&pinned).unwrap();
        assert_eq!(one["namespaces"]["net"], two["namespaces"]["net"]);
        assert_ne!(one["namespaces"]["net"], json!(namespace_of("self", "net")));
    }

    fn namespaces_of_another_owner_are_joined_beside_a_user_namespace(t) {
        t.only_orlop("runc 1.1 asks for maps even when the user namespace is joined");
        // Owned by the host's user namespace, so out of reach from within another one.
        let host = t.sleeper(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})));
        let mapped = t.sleeper(|config| {
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
            add_user_namespace(config, 200_000);
        });
        for (user, from) in [("new", &host), ("new", &mapped), ("joined", &host), ("joined", &mapped)] {
            let (pid, user_path) = (from.pid().to_string(), format!("/proc/{}/ns/user", mapped.pid()));
            let container = t.start(&t.bundle(&["sleep"], |config| {
                config.as_object_mut().unwrap().remove("hostname");
                // These are only for who has rights in the namespace that they show.
                for destination in ["/sys/fs/cgroup", "/sys", "/dev/mqueue", "/proc"] {
                    without_mount(config, destination);
                }
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                config["linux"]["namespaces"] = json!([{"type": "mount"}]);
                for (kind, file) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
                    let path = format!("/proc/{pid}/ns/{file}");
                    push(config, "/linux/namespaces", json!({"type": kind, "path": path}));
                }
                match user {
                    "new" => add_user_namespace(config, 300_000),
                    _ => push(config, "/linux/namespaces", json!({"type": "user", "path": user_path})),
                }
            }));
            let own = container.pid().to_string();
            for (_, file) in KINDS.iter().filter(|(kind, _)| *kind != "mount") {
                assert_eq!(namespace_of(&own, file), namespace_of(&pid, file), "{file}, {user} user namespace");
            }
            container.exec(&[], &["exit", "0"]).expect_ok();
            let joined = namespace_of(&own, "user") == namespace_of(&mapped.pid().to_string(), "user");
            assert_eq!(joined, user == "joined");
            container.end();
        }
        host.end();
        mapped.end();
    }

    fn a_path_that_is_no_namespace_of_the_kind_is_refused(t) {
        let pipe = t.dir.join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let pipe = pipe.to_str().unwrap();
        for (kind, path, why) in [
            ("network", "/proc/self/ns/uts", "is a namespace of type uts, not network"),
            ("pid", "/proc/self/ns/user", "is a namespace of type user, not pid"),
            ("network", "/dev/null", "is not a namespace of type network"),
            ("time", "/etc", "is not a namespace of type time"),
            ("ipc", pipe, "is not a namespace of type ipc"),
            ("user", "/nowhere", "no such file or directory"),
        ] {
            if t.runtime.is_reference && (path == pipe || kind == "time" || kind == "user") {
                // runc 1.1 waits for the pipe's writer, has no time namespaces and asks for id maps.
                continue;
            }
            let bundle = t.bundle(&["report"], |config| {
                config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != kind);
                push(config, "/linux/namespaces", json!({"type": kind, "path": path}));
            });
            let output = t.run(&bundle);
            output.expect_code(1);
            if !t.runtime.is_reference {
                let last = bundle.config["linux"]["namespaces"].as_array().unwrap().len() - 1;
                output.expect_words(why).expect_words(&format!("/linux/namespaces/{last}/path"));
            }
        }
    }

    fn a_namespace_of_a_strangers_user_namespace_says_whose_it_is(t) {
        t.only_orlop("runc 1.1 says only: failed to setns");
        let host = t.sleeper(|_| {});
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_user_namespace(config, 200_000);
            // A mount namespace of another owner is entered only with rights in both.
            let path = format!("/proc/{}/ns/user", host.pid());
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "user");
            let linux = config["linux"].as_object_mut().unwrap();
            linux.remove("uidMappings");
            linux.remove("gidMappings");
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
        });
        // It has none of its own, so it is ours.
        t.run(&bundle).expect_error("the caller is in this user namespace already");
        host.end();
    }

    fn offsets_that_no_clock_can_have_are_refused_by_name(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        for secs in [i64::MIN, -1_000_000_000, i64::MAX] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                push(config, "/linux/namespaces", json!({"type": "time"}));
                config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": secs}});
            });
            t.run(&bundle).expect_error("/linux/timeOffsets");
        }
    }

    fn a_clock_may_go_back(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        let report = t.report_with(|config| {
            push(config, "/linux/namespaces", json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": -60, "nanosecs": 999_999_999}});
        });
        let (boot, mono) = (&report["clocks"]["boottime"], &report["clocks"]["monotonic"]);
        let gap = mono.as_i64().unwrap() - boot.as_i64().unwrap();
        assert!((57..=60).contains(&gap), "{}", report["clocks"]);
    }

    fn a_time_namespace_has_its_offsets(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        if !Path::new("/proc/self/timens_offsets").exists() {
            t.skip("this kernel has no time namespaces");
        }
        let report = t.report_with(|config| {
            push(config, "/linux/namespaces", json!({"type": "time"}));
            config["linux"]["timeOffsets"] =
                json!({"monotonic": {"secs": 5000}, "boottime": {"secs": 70000, "nanosecs": 5}});
        });
        let offsets = report["timens_offsets"].as_str().unwrap();
        let words: Vec<&str> = offsets.split_whitespace().collect();
        assert_eq!(words, ["monotonic", "5000", "0", "boottime", "70000", "5"]);
        let (boot, mono) = (&report["clocks"]["boottime"], &report["clocks"]["monotonic"]);
        assert!(boot.as_i64().unwrap() - mono.as_i64().unwrap() > 60000, "{}", report["clocks"]);
        assert_ne!(report["namespaces"]["time"], json!(namespace_of("self", "time")));
    }
}

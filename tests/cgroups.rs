//! Cgroups: where the container's processes are, and what they are limited to.
//!
//! Limits are read back from the kernel's own files, while the container is created and not
//! yet started: they must be there before the program runs.

use std::ffi::OsStr;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::bundle::{push, set_capabilities};
use crate::support::view::{self, hierarchy};
use crate::support::{Container, Test, View, both_views, isolate, wait_until};

/// The text of a file in the container's cgroup of one v1 controller, or of v2.
pub fn read(container: &Container, t: &Test, controller: &str, file: &str) -> String {
    let path = dir(container, t, controller).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim_end().to_owned()
}

fn dir(container: &Container, t: &Test, controller: &str) -> PathBuf {
    hierarchy(controller)
        .expect(controller)
        .join(&t.tag)
        .join(&container.id)
}

/// Check the values of a v1 controller's files under these resources.
pub fn check_v1(t: &Test, controller: &str, resources: Value, expected: &[(&str, &str)]) {
    if t.view == View::V2 {
        t.skip("the v2 view of a hybrid host has no such controller");
    }
    let container = t.create(&t.bundle(&["exit", "0"], |config| {
        for (key, value) in resources.as_object().unwrap() {
            config["linux"]["resources"][key] = value.clone();
        }
    }));
    for (file, value) in expected {
        assert_eq!(
            read(&container, t, controller, file),
            *value,
            "{controller}'s {file}"
        );
    }
    container.delete().expect_ok();
}

/// Tests of v1 controllers, which on v2 would have nothing to look at.
macro_rules! v1_only {
    ($(fn $name:ident($t:ident) $body:block)*) => {$(
        mod $name {
            use super::*;
            fn body($t: &Test) $body
            #[test]
            fn v1() {
                isolate::run(View::V1, concat!(module_path!(), "::v1"), body);
            }
        }
    )*};
}
pub(crate) use v1_only;

v1_only! {
    fn memory_limits_are_set(t) {
        check_v1(t, "memory", json!({"memory": {"limit": 64 << 20, "reservation": 32 << 20}}), &[
            ("memory.limit_in_bytes", "67108864"), ("memory.soft_limit_in_bytes", "33554432")]);
    }

    fn memory_and_swap_are_limited_together(t) {
        if !hierarchy("memory").unwrap().join("memory.memsw.limit_in_bytes").exists() {
            t.skip("this kernel does not account swap");
        }
        check_v1(t, "memory", json!({"memory": {"limit": 64 << 20, "swap": 96 << 20, "swappiness": 7}}), &[
            ("memory.limit_in_bytes", "67108864"), ("memory.memsw.limit_in_bytes", "100663296"),
            ("memory.swappiness", "7")]);
    }

    fn the_oom_killer_can_be_disabled(t) {
        for (asked, shown) in [(true, "oom_kill_disable 1"), (false, "oom_kill_disable 0")] {
            let container = t.create(&t.bundle(&["exit", "0"], |config| {
                config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "disableOOMKiller": asked});
            }));
            let text = read(&container, t, "memory", "memory.oom_control");
            assert!(text.contains(shown), "{text}");
            container.delete().expect_ok();
        }
    }

    fn accounting_without_hierarchy_is_not_passed_over(t) {
        t.only_orlop("runc 1.1 ignores it");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "useHierarchy": false});
        });
        // Linux 5.11 and later have nothing but hierarchies.
        t.try_create(&bundle).expect_code(1).expect_words("memory.use_hierarchy");
    }

    fn limits_of_a_cgroup_that_was_there_are_raised_in_the_order_that_the_kernel_wants(t) {
        const MEMSW: &str = "memory.memsw.limit_in_bytes";
        let memory = hierarchy("memory").unwrap();
        if !memory.join(MEMSW).exists() {
            t.skip("this kernel does not account swap");
        }
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 96 << 20});
        });
        let dir = memory.join(&t.tag).join(&bundle.id);
        fs::create_dir(&dir).unwrap();
        for file in ["memory.limit_in_bytes", MEMSW] {
            fs::write(dir.join(file), "33554432").unwrap();
        }
        let container = t.create(&bundle);
        assert_eq!(read(&container, t, "memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(read(&container, t, "memory", MEMSW), "100663296");
        container.delete().expect_ok();
    }

    fn a_cgroup_can_be_idle(t) {
        t.only_orlop("runc 1.1 ignores it");
        // An idle cgroup refuses shares, so these come first.
        check_v1(t, "cpu", json!({"cpu": {"idle": 1, "shares": 512}}), &[("cpu.idle", "1")]);
    }

    fn the_memory_limit_ends_a_program_that_wants_more(t) {
        let bundle = t.bundle(&["eat", "200"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
        });
        t.run(&bundle).expect_code(137);
        let enough = t.bundle(&["eat", "8"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
        });
        assert_eq!(t.run(&enough).expect_ok().stdout, "ok\n");
    }

    fn a_create_that_the_memory_limit_ends_says_so(t) {
        t.only_orlop("runc 1.1 needs more than that itself, and says it in other words");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 32 << 10, "swap": 32 << 10});
        });
        t.try_create(&bundle).expect_code(1).expect_words("OOM-killed");
    }

    fn an_exec_that_the_memory_limit_ends_says_so(t) {
        t.only_orlop("runc 1.1 does not say it");
        let memory = hierarchy("memory").unwrap().join(&t.tag);
        // The kernel rather kills what comes of this than init.
        let script = r#"echo 1000 >/proc/self/oom_score_adj; exec "$@""#;
        let words = ["/bin/sh", "-c", script, "sh"].map(OsStr::new);
        let runtime = t.runtime.behind(&words);
        // Just how much lets the clone in and not the program is the kernel's affair.
        let said = (0..120).any(|step| {
            let container = t.sleeper(|config| {
                config["linux"]["resources"]["memory"] = json!({"limit": 8 << 20, "swap": 8 << 20});
            });
            let limit = (704 - 4 * step) << 10;
            for name in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
                // Below what cannot be freed it is refused, and then close enough.
                let _ = fs::write(memory.join(&container.id).join(name), limit.to_string());
            }
            let output = runtime.call(&["exec", &container.id, "/probe", "exit", "0"]);
            container.delete_force().expect_ok();
            let died = output.stderr.contains("the process between the runtime and init died");
            if died {
                output.expect_code(255).expect_words("possibly OOM-killed");
            }
            died
        });
        if !said {
            t.skip("no limit was met at which the clone succeeds and its program cannot begin");
        }
    }

    fn half_a_mebibyte_is_enough_to_start_in(t) {
        t.only_orlop("runc 1.1 needs some mebibytes for its own start");
        let bundle = t.bundle(&["exit", "7"], |config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 512 << 10, "swap": 512 << 10});
        });
        t.run(&bundle).expect_code(7);
        // What was killed in the cgroup before is not what a start failed of.
        let dir = hierarchy("memory").unwrap().join(&t.tag).join(&bundle.id);
        fs::create_dir(&dir).unwrap();
        let killed = std::process::Command::new("sh")
            .args(["-c", &format!("echo 1M >{0}/memory.limit_in_bytes; echo 1M >{0}/memory.memsw.limit_in_bytes; echo 0 >{0}/tasks; exec tail /dev/zero", dir.display())])
            .status().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&killed), Some(libc::SIGKILL));
        let mut bundle = bundle;
        bundle.edit(|config| {
            config["process"]["args"] = json!(["/not-there"]);
            config["linux"]["resources"]["memory"] = json!({"limit": 64 << 20, "swap": 64 << 20});
        });
        let output = t.try_create(&bundle);
        output.expect_code(1);
        assert!(!output.stderr.contains("OOM"), "{output}");
        fs::remove_dir(&dir).unwrap();
    }

    fn cpu_shares_and_quota_are_set(t) {
        check_v1(t, "cpu", json!({"cpu": {"shares": 512, "quota": 20_000, "period": 50_000}}), &[
            ("cpu.shares", "512"), ("cpu.cfs_quota_us", "20000"), ("cpu.cfs_period_us", "50000")]);
    }

    fn a_cpu_quota_of_minus_one_is_unlimited(t) {
        check_v1(t, "cpu", json!({"cpu": {"quota": -1}}), &[("cpu.cfs_quota_us", "-1")]);
    }

    fn the_number_of_processes_is_limited(t) {
        check_v1(t, "pids", json!({"pids": {"limit": 17}}), &[("pids.max", "17")]);
    }

    fn a_pids_limit_below_zero_is_unlimited(t) {
        check_v1(t, "pids", json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
    }

    fn cpus_and_memory_nodes_are_set(t) {
        check_v1(t, "cpuset", json!({"cpu": {"cpus": "0", "mems": "0"}}), &[
            ("cpuset.cpus", "0"), ("cpuset.mems", "0")]);
        let report = t.report_with(|config| config["linux"]["resources"]["cpu"] = json!({"cpus": "0"}));
        assert_eq!(report["cpus_allowed"], "0");
    }

    fn without_a_cpuset_the_parents_is_taken(t) {
        let root = hierarchy("cpuset").unwrap();
        let cpus = fs::read_to_string(root.join("cpuset.cpus")).unwrap();
        check_v1(t, "cpuset", json!({}), &[("cpuset.cpus", cpus.trim_end())]);
    }

    fn the_blkio_weight_or_its_absence_is_no_error(t) {
        let weight = ["blkio.weight", "blkio.bfq.weight"].into_iter()
            .find(|file| hierarchy("blkio").unwrap().join(file).exists());
        let Some(file) = weight else { t.skip("this kernel has no blkio weight") };
        check_v1(t, "blkio", json!({"blockIO": {"weight": 200}}), &[(file, "200")]);
    }

    fn a_limit_that_the_kernel_refuses_is_an_error_and_nothing_is_left(t) {
        let before = crate::support::leaks::Snapshot::take(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["cpu"] = json!({"cpus": "4000"});
        });
        t.try_create(&bundle).expect_code(1);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["cpu"] = json!({"mems": "1000"});
        });
        t.try_create(&bundle).expect_code(1).expect_words("cpuset.mems");
        before.assert_unchanged(t, "after a failed create");
    }

    fn init_is_in_the_cgroup_of_each_hierarchy(t) {
        let container = t.sleeper(|_| {});
        let table = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        let expected = format!("/{}/{}", t.tag, container.id);
        for line in table.lines().filter(|line| !line.starts_with("0::")) {
            assert!(line.ends_with(&expected), "not in the container's cgroup: {line}");
        }
        container.end();
    }

    fn the_default_device_rules_are_those_of_the_kernels_list(t) {
        let container = t.create(&t.bundle(&["exit", "0"], |_| {}));
        let list = read(&container, t, "devices", "devices.list");
        for rule in ["c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm",
            "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm"] {
            assert!(list.lines().any(|line| line == rule), "no rule {rule} in:\n{list}");
        }
        assert!(!list.contains("a *:*"), "everything is allowed:\n{list}");
        container.delete().expect_ok();
    }
}

both_views! {
    fn a_device_that_no_rule_allows_cannot_be_opened(t) {
        for (rule, expected) in [
            (None, "EPERM"),
            (Some(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"})), "ok"),
            (Some(json!({"allow": true, "type": "c", "major": 1, "access": "r"})), "ok"),
            (Some(json!({"allow": true, "type": "b", "major": 1, "minor": 11, "access": "rwm"})), "EPERM"),
            (Some(json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "w"})), "EPERM"),
        ] {
            let bundle = t.bundle(&["mknod", "/tmp/kmsg", "c", "1", "11"], |config| {
                config["root"]["readonly"] = json!(false);
                set_capabilities(config, &["CAP_MKNOD", "CAP_SYSLOG"]);
                if let Some(rule) = &rule {
                    push(config, "/linux/resources/devices", rule.clone());
                }
            });
            let output = t.run(&bundle);
            let seen: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
            assert_eq!(seen["mknod"], "ok", "with {rule:?}");
            assert_eq!(seen["open"], expected, "with {rule:?}");
        }
    }

    fn a_cgroup_that_was_there_gets_the_device_rules_too(t) {
        let bundle = t.bundle(&["mknod", "/tmp/kmsg", "c", "1", "11"], |config| {
            config["root"]["readonly"] = json!(false);
            set_capabilities(config, &["CAP_MKNOD", "CAP_SYSLOG"]);
        });
        for (_, point) in view::hierarchies() {
            fs::create_dir(point.join(&t.tag).join(&bundle.id)).unwrap();
        }
        let seen: Value = serde_json::from_str(&t.run(&bundle).expect_ok().stdout).unwrap();
        assert_eq!(seen, json!({"mknod": "ok", "open": "EPERM"}));
    }

    fn huge_pages_are_limited(t) {
        if t.view == View::V1 && hierarchy("hugetlb").is_none() {
            t.skip("the hugetlb controller is not on v1 here");
        }
        let asked = json!([{"pageSize": "2MB", "limit": 4 << 20}]);
        let container = t.create(&t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["hugepageLimits"] = asked;
        }));
        let file = if t.view == View::V1 { "hugetlb.2MB.limit_in_bytes" } else { "hugetlb.2MB.max" };
        assert_eq!(read(&container, t, "hugetlb", file), "4194304");
        container.delete().expect_ok();
    }

    fn a_later_device_rule_wins(t) {
        let bundle = t.bundle(&["mknod", "/tmp/kmsg", "c", "1", "11"], |config| {
            config["root"]["readonly"] = json!(false);
            set_capabilities(config, &["CAP_MKNOD", "CAP_SYSLOG"]);
            config["linux"]["resources"]["devices"] = json!([
                {"allow": true, "access": "rwm"},
                {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rw"}]);
        });
        let seen: Value = serde_json::from_str(&t.run(&bundle).expect_ok().stdout).unwrap();
        assert_eq!(seen, json!({"mknod": "ok", "open": "EPERM"}));
    }

    fn the_default_devices_are_allowed(t) {
        for device in ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"] {
            let output = t.run(&t.bundle(&["open", device], |_| {}));
            assert_eq!(output.expect_ok().stdout, "ok\n", "{device}");
        }
    }

    fn the_cgroup_is_made_where_the_config_says_and_removed_with_the_container(t) {
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        let tail = format!("{}/{}", t.tag, container.id);
        let made = view::cgroups(&container.id);
        assert!(!made.is_empty() && made.iter().all(|path| path.ends_with(&tail)), "{made:#?}");
        container.delete().expect_ok();
        assert_eq!(view::cgroups(&container.id), Vec::<PathBuf>::new());
    }

    fn without_a_path_the_cgroup_is_named_after_the_container(t) {
        let container = t.create(&t.bundle(&["sleep"], |config| {
            config["linux"].as_object_mut().unwrap().remove("cgroupsPath");
        }));
        let made = view::cgroups(&container.id);
        assert!(!made.is_empty() && made.iter().all(|path| path.ends_with(&container.id)), "{made:#?}");
        container.delete().expect_ok();
    }

    fn a_relative_path_is_taken_too(t) {
        let name = format!("{}-relative", t.tag);
        let container = t.create(&t.bundle(&["sleep"], |config| config["linux"]["cgroupsPath"] = json!(name)));
        assert!(!view::cgroups(&name).is_empty());
        container.delete().expect_ok();
    }

    fn a_path_cannot_climb_out(t) {
        let name = format!("{}-climbed", t.tag);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/../../{name}"));
        });
        // Refused, or cleaned to a path below the hierarchy's root: both are safe.
        let output = t.run(&bundle);
        assert!(output.code() == 0 || output.code() == 1, "{output}");
        assert!(!std::path::Path::new("/sys/fs").join(&name).exists());
        assert!(!std::path::Path::new("/sys").join(&name).exists());
    }

    fn cgroups_that_the_container_made_below_its_own_are_removed_too(t) {
        let container = t.sleeper(|_| {});
        for dir in view::cgroups(&container.id) {
            fs::create_dir_all(dir.join("inner/innermost")).unwrap();
        }
        container.end();
    }

    fn processes_that_are_left_in_the_cgroup_are_killed_by_delete(t) {
        if t.view == View::V2 {
            t.only_orlop("runc 1.1 leaves the cgroup behind");
        }
        let container = t.start(&t.bundle(&["spawn"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }));
        container.wait_for_output("ready");
        container.delete_force().expect_ok();
    }

    fn processes_that_outlive_init_are_killed_by_delete(t) {
        if t.view == View::V2 {
            t.only_orlop("runc 1.1 leaves the cgroup behind");
        }
        let container = t.start(&t.bundle(&["spawn"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }));
        container.wait_for_output("ready");
        let init = nix::unistd::Pid::from_raw(i32::try_from(container.pid()).unwrap());
        nix::sys::signal::kill(init, nix::sys::signal::Signal::SIGKILL).unwrap();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn a_cgroup_that_holds_a_process_is_refused(t) {
        t.only_orlop("runc 1.1 only warns");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let dir = hierarchy(if t.view == View::V1 { "pids" } else { "" }).unwrap().join(&t.tag).join(&bundle.id);
        fs::create_dir(&dir).unwrap();
        let mut stranger = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(dir.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        let output = t.try_create(&bundle);
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        wait_until("an empty cgroup", || fs::remove_dir(&dir).is_ok());
        output.expect_error("container's cgroup is not empty");
    }

    fn a_cgroup_that_is_frozen_is_refused(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let v1 = t.view == View::V1;
        let dir = hierarchy(if v1 { "freezer" } else { "" }).unwrap().join(&t.tag).join(&bundle.id);
        fs::create_dir(&dir).unwrap();
        let (file, frozen) = if v1 { ("freezer.state", "FROZEN") } else { ("cgroup.freeze", "1") };
        fs::write(dir.join(file), frozen).unwrap();
        let output = t.try_create(&bundle);
        if dir.exists() {
            fs::remove_dir(&dir).unwrap();
        }
        output.expect_error("container's cgroup unexpectedly frozen");
    }
}

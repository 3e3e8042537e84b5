//! Cgroup v2: each flag and field where all controllers are, and what hosts with few can show.

use std::fs;

use serde_json::json;

use super::{MIB, add, check, created, needs, remembered, rounds, update, update_by};
use crate::cgroups::read;
use crate::limits::disk;
use crate::support::view::hierarchy;
use crate::support::{Container, Test, once, wait_until};

/// Skip without these controllers.
fn with_controllers(t: &Test, wanted: &[&str]) {
    let path = hierarchy("").unwrap().join("cgroup.controllers");
    let text = fs::read_to_string(path).unwrap();
    let has = |name: &str| text.split_whitespace().any(|known| known == name);
    if let Some(name) = wanted.iter().find(|name| !has(name)) {
        t.skip(&format!("this host has no {name} controller on v2"));
    }
}

/// Whether the container's cgroup has this file.
fn has_file(container: &Container, t: &Test, file: &str) -> bool {
    let dir = hierarchy("").unwrap().join(&t.tag).join(&container.id);
    dir.join(file).exists()
}

#[track_caller]
fn shows(container: &Container, t: &Test, files: &[(&str, &str)]) {
    for (file, value) in files {
        check(container, t, &[("", file, value)]);
    }
}

once! {
    fn each_flag_of_cpu_and_pids_is_written(t) {
        with_controllers(t, &["cpu", "pids", "cpuset"]);
        let container = created(t, json!({}));
        for (flag, value, file, shown) in [
            ("--cpu-share", "512", "cpu.weight", "59"),
            ("--cpu-quota", "40000", "cpu.max", "40000 100000"),
            ("--cpu-period", "50000", "cpu.max", "40000 50000"),
            ("--cpu-quota", "-1", "cpu.max", "max 50000"),
            ("--cpuset-cpus", "0", "cpuset.cpus", "0"),
            ("--cpuset-mems", "0", "cpuset.mems", "0"),
            ("--pids-limit", "10", "pids.max", "10"),
            ("--pids-limit", "-1", "pids.max", "max"),
        ] {
            update(&container, &[flag, value]).expect_ok();
            shows(&container, t, &[(file, shown)]);
        }
        shows(&container, t, &[("cpu.weight", "59"), ("cpu.max", "max 50000")]);
        container.delete_force().expect_ok();
    }

    fn bursts_and_idleness_are_written(t) {
        with_controllers(t, &["cpu"]);
        let container = created(t, json!({"cpu": {"shares": 512, "quota": 50_000, "burst": 50_000}}));
        update(&container, &["--cpu-quota=1000", "--cpu-period=10000", "--cpu-burst=500"]).expect_ok();
        shows(&container, t, &[("cpu.max", "1000 10000"), ("cpu.max.burst", "500")]);
        update(&container, &["--cpu-quota=50000", "--cpu-burst=40000"]).expect_ok();
        shows(&container, t, &[("cpu.max", "50000 10000"), ("cpu.max.burst", "40000")]);
        t.only_orlop("runc forgets the shares of an idle cgroup");
        update(&container, &["--cpu-idle", "1"]).expect_ok();
        shows(&container, t, &[("cpu.idle", "1")]);
        update(&container, &["--cpu-share", "700"]).expect_error("an idle cgroup has no share");
        update(&container, &["--cpu-idle", "0"]).expect_ok();
        shows(&container, t, &[("cpu.idle", "0"), ("cpu.weight", "59")]);
        container.delete_force().expect_ok();
    }

    fn each_flag_of_memory_is_written_and_swap_follows_memory(t) {
        with_controllers(t, &["memory"]);
        let container = created(t, json!({}));
        update(&container, &["--memory", "64m"]).expect_ok();
        update(&container, &["--memory-reservation", "32m"]).expect_ok();
        shows(&container, t, &[("memory.max", "67108864"), ("memory.low", "33554432")]);
        if !has_file(&container, t, "memory.swap.max") {
            t.skip("this kernel does not account swap");
        }
        for (flags, memory, swap) in [
            (&["--memory-swap=96m"][..], "67108864", "33554432"),
            (&["--memory=80m"], "83886080", "16777216"),
            (&["--memory=32m", "--memory-swap=32m"], "33554432", "0"),
            (&["--memory-swap=-1"], "33554432", "max"),
            (&["--memory=64m", "--memory-swap=128m"], "67108864", "67108864"),
            (&["--memory=-1"], "max", "max"),
        ] {
            update(&container, flags).expect_ok();
            shows(&container, t, &[("memory.max", memory), ("memory.swap.max", swap)]);
        }
        update(&container, &["--memory=64m", "--memory-swap=96m"]).expect_ok();
        update(&container, &["--memory=128m"]).expect_error("memory+swap limit should be >= memory limit");
        shows(&container, t, &[("memory.max", "67108864"), ("memory.swap.max", "33554432")]);
        container.delete_force().expect_ok();
    }

    fn a_limit_below_what_is_in_use_is_rejected_where_that_is_asked_for(t) {
        with_controllers(t, &["memory"]);
        let container = t.start(&t.bundle(&["churn", "16"], |config| {
            add(config, json!({"memory": {"limit": 64 * MIB}}));
        }));
        container.wait_for_output("ready");
        let memory = |limit: u64, swap: u64| {
            json!({"memory": {"limit": limit, "swap": swap, "checkBeforeUpdate": true}})
        };
        update_by(t, &container, &memory(MIB, 128 * MIB)).expect_error("rejecting memory limit 1048576 <= usage ");
        update_by(t, &container, &memory(MIB, MIB)).expect_error("rejecting memory+swap limit 1048576 <= usage ");
        shows(&container, t, &[("memory.max", "67108864")]);
        update_by(t, &container, &memory(60 * MIB, 60 * MIB)).expect_ok();
        shows(&container, t, &[("memory.max", "62914560")]);
        container.end();
    }

    fn throttles_and_weights_of_block_io_are_written(t) {
        with_controllers(t, &["io"]);
        t.only_orlop("runc keeps weights of devices to itself without bfq");
        let container = created(t, json!({}));
        let Some((major, minor)) = disk() else { t.skip("no whole disk") };
        let entry = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
        for (field, rate, shown) in [
            ("throttleReadBpsDevice", 4096, format!("{major}:{minor} rbps=4096 wbps=max riops=max wiops=max")),
            ("throttleWriteIOPSDevice", 50, format!("{major}:{minor} rbps=4096 wbps=max riops=max wiops=50")),
            ("throttleReadBpsDevice", 0, format!("{major}:{minor} rbps=max wbps=max riops=max wiops=50")),
            ("throttleWriteIOPSDevice", 0, String::new()),
        ] {
            update_by(t, &container, &json!({"blockIO": {field: entry(rate)}})).expect_ok();
            shows(&container, t, &[("io.max", &shown)]);
        }
        let weight = [("io.bfq.weight", "300"), ("io.weight", "2930")];
        if let Some((file, shown)) = weight.into_iter().find(|(file, _)| has_file(&container, t, file)) {
            update(&container, &["--blkio-weight", "300"]).expect_ok();
            let text = read(&container, t, "", file);
            assert_eq!(text.trim_start_matches("default "), shown);
        } else {
            update(&container, &["--blkio-weight", "300"]).expect_error("--blkio-weight");
        }
        container.delete_force().expect_ok();
    }

    fn an_update_that_fails_on_v2_leaves_everything_as_it_was(t) {
        with_controllers(t, &["memory", "cpu", "pids", "io"]);
        t.only_orlop("runc 1.3 puts nothing back: what it remembers is what it has just changed");
        let container = created(t, json!({"memory": {"limit": 64 * MIB}, "cpu": {"shares": 512}}));
        let Some((major, minor)) = disk() else { t.skip("no whole disk") };
        let asked = json!({
            "memory": {"limit": 80 * MIB, "reservation": 32 * MIB}, "pids": {"limit": 9},
            "cpu": {"shares": 700, "quota": 9000, "idle": 1},
            "blockIO": {"throttleReadBpsDevice": [{"major": major, "minor": minor, "rate": 4096}]},
            "unified": {"memory.high": "many"},
        });
        update_by(t, &container, &asked).expect_code(1);
        shows(&container, t, &[("memory.max", "67108864"), ("cpu.weight", "59"), ("cpu.idle", "0"), ("cpu.max", "max 100000"), ("pids.max", "max"),
            ("memory.low", "0"), ("io.max", "")]);
        container.delete_force().expect_ok();
    }

    fn limits_of_v2_change_while_a_process_allocates_and_forks(t) {
        with_controllers(t, &["memory", "cpu", "pids"]);
        t.only_orlop("a thousand calls of a slow runtime");
        let bundle = t.bundle(&["churn", "8"], |config| {
            add(config, json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 50}}));
        });
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        for round in rounds() {
            let bytes = (48 + round % 16) * MIB;
            let pids = 40 + round % 10;
            let flags = [format!("--memory={bytes}"), format!("--pids-limit={pids}"), format!("--cpu-share={}", 500 + pids)];
            update(&container, &[&flags[0], &flags[1], &flags[2]]).expect_ok();
            shows(&container, t, &[("memory.max", &bytes.to_string()), ("pids.max", &pids.to_string())]);
        }
        super::end_of_work(&bundle.rootfs("/tmp/enough"), &container);
    }

    fn files_of_v2_are_written_as_they_are(t) {
        needs(t, "", "hugetlb.2MB.max");
        let container = created(t, json!({"unified": {"hugetlb.2MB.max": "2097152"}}));
        let huge = |value: &str| json!({"unified": {"hugetlb.2MB.max": value}});
        update_by(t, &container, &huge("4194304")).expect_ok();
        shows(&container, t, &[("hugetlb.2MB.max", "4194304")]);
        t.only_orlop("runc names what it lacks otherwise, and cannot take it back");
        assert_eq!(remembered(t, &container), huge("4194304"));
        for (file, words) in [
            ("nothing.max", "controller \"nothing\" not available"),
            ("a/b.c", "must be a file name (no slashes)"),
        ] {
            update_by(t, &container, &json!({"unified": {file: "1", "hugetlb.2MB.max": "0"}})).expect_error(words);
        }
        // The first of the two works, and is taken back.
        let both = json!({"unified": {"hugetlb.2MB.max": "0", "hugetlb.2MB.nothing": "1"}});
        update_by(t, &container, &both).expect_error("/unified/hugetlb.2MB.nothing");
        shows(&container, t, &[("hugetlb.2MB.max", "4194304")]);
        container.delete_force().expect_ok();
    }

    fn what_can_only_be_written_is_no_obstacle(t) {
        t.only_orlop("what it kills, runc calls a failure");
        let container = t.sleeper(|_| {});
        update_by(t, &container, &json!({"unified": {"cgroup.kill": "1"}})).expect_ok();
        wait_until("the end", || container.status() == "stopped");
        container.delete().expect_ok();
    }
}

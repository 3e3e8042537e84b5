//! Each flag, and the fields that have none, read back from the kernel's own files.

use std::fs;

use serde_json::json;

use super::{LIMIT, MIB, SOFT, add, check, created, has, needs, remembered, update, update_by};
use crate::cgroups::{read, v1_only};
use crate::limits::disk;
use crate::support::view::hierarchy;
use crate::support::{Test, View, isolate};

const MEMSW: &str = "memory.memsw.limit_in_bytes";

v1_only! {
    fn each_flag_of_memory_is_written(t) {
        needs(t, "memory", MEMSW);
        let container = created(t, json!({}));
        for (flag, value, file, shown) in [
            ("--memory", "64m", LIMIT, "67108864"),
            ("--memory-swap", "96 MiB", MEMSW, "100663296"),
            ("--memory-reservation", "32768k", SOFT, "33554432"),
            ("--memory", "67112960", LIMIT, "67112960"),
        ] {
            update(&container, &[flag, value]).expect_ok();
            check(&container, t, &[("memory", file, shown)]);
        }
        container.delete_force().expect_ok();
    }

    fn memory_with_and_without_swap_goes_up_and_down(t) {
        needs(t, "memory", MEMSW);
        let container = created(t, json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}));
        for (memory, swap) in [(128, 192), (32, 48), (200, 200), (16, 300), (64, 96)] {
            let sizes = [format!("--memory={memory}m"), format!("--memory-swap={swap}m")];
            update(&container, &[&sizes[0], &sizes[1]]).expect_ok();
            let bytes = [memory * MIB, swap * MIB].map(|bytes| bytes.to_string());
            check(&container, t, &[("memory", LIMIT, &bytes[0]), ("memory", MEMSW, &bytes[1])]);
        }
        container.delete_force().expect_ok();
    }

    fn memory_without_bounds_is_so_with_swap(t) {
        needs(t, "memory", MEMSW);
        let container = created(t, json!({}));
        let unlimited = read(&container, t, "memory", LIMIT);
        update(&container, &["--memory", "64m", "--memory-swap", "96m"]).expect_ok();
        update(&container, &["--memory", "-1"]).expect_ok();
        check(&container, t, &[("memory", LIMIT, &unlimited), ("memory", MEMSW, &unlimited)]);
        update(&container, &["--memory", "64m", "--memory-swap", "-1", "--memory-reservation=-1"]).expect_ok();
        check(&container, t, &[
            ("memory", LIMIT, "67108864"), ("memory", MEMSW, &unlimited), ("memory", SOFT, &unlimited)]);
        container.delete_force().expect_ok();
    }

    fn memory_above_the_limit_of_memory_with_swap_is_refused(t) {
        needs(t, "memory", MEMSW);
        let container = created(t, json!({"memory": {"limit": 64 * MIB, "swap": 96 * MIB}}));
        update(&container, &["--memory", "128m"]).expect_error("invalid argument");
        check(&container, t, &[("memory", LIMIT, "67108864"), ("memory", MEMSW, "100663296")]);
        container.delete_force().expect_ok();
    }

    fn a_limit_below_what_is_in_use_is_refused_with_its_reason(t) {
        let container = t.start(&t.bundle(&["churn", "16"], |config| {
            add(config, json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}}));
        }));
        container.wait_for_output("ready");
        let before = read(&container, t, "memory", LIMIT);
        update(&container, &["--memory", "1m"])
            .expect_error("unable to set memory limit to 1048576 (current usage: ")
            .expect_words(", peak usage: ");
        check(&container, t, &[("memory", LIMIT, &before)]);
        container.end();
    }

    fn each_flag_of_cpu_is_written(t) {
        let container = created(t, json!({}));
        for (flag, value, file, shown) in [
            ("--cpu-share", "512", "cpu.shares", "512"),
            ("--cpu-quota", "40000", "cpu.cfs_quota_us", "40000"),
            ("--cpu-period", "50000", "cpu.cfs_period_us", "50000"),
            ("--cpu-quota", "-1", "cpu.cfs_quota_us", "-1"),
        ] {
            update(&container, &[flag, value]).expect_ok();
            check(&container, t, &[("cpu", file, shown)]);
        }
        check(&container, t, &[("cpu", "cpu.shares", "512"), ("cpu", "cpu.cfs_period_us", "50000")]);
        container.delete_force().expect_ok();
    }

    fn quota_burst_and_period_go_up_and_down_together(t) {
        t.only_orlop("runc 1.1 knows no bursts");
        needs(t, "cpu", "cpu.cfs_burst_us");
        // The parent's quota bounds the share that the three come to.
        let parent = hierarchy("cpu").unwrap().join(&t.tag);
        fs::write(parent.join("cpu.cfs_quota_us"), "50000").unwrap();
        let container = created(t, json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 50_000}}));
        for (quota, period, burst) in [(1000, 10_000, 0), (50_000, 100_000, 50_000), (5000, 10_000, 5000)] {
            let flags = [format!("--cpu-quota={quota}"), format!("--cpu-period={period}"), format!("--cpu-burst={burst}")];
            update(&container, &[&flags[0], &flags[1], &flags[2]]).expect_ok();
            let shown = [quota, period, burst].map(|number| number.to_string());
            check(&container, t, &[("cpu", "cpu.cfs_quota_us", &shown[0]),
                ("cpu", "cpu.cfs_period_us", &shown[1]), ("cpu", "cpu.cfs_burst_us", &shown[2])]);
        }
        container.delete_force().expect_ok();
    }

    fn a_cgroup_becomes_idle_and_gets_its_shares_again(t) {
        t.only_orlop("runc 1.1 has no such flag");
        needs(t, "cpu", "cpu.idle");
        let container = created(t, json!({"cpu": {"shares": 512}}));
        update(&container, &["--cpu-idle", "1"]).expect_ok();
        check(&container, t, &[("cpu", "cpu.idle", "1")]);
        update(&container, &["--cpu-share", "700"]).expect_error("invalid argument")
            .expect_words("an idle cgroup has no share").expect_words("--cpu-share");
        update(&container, &["--cpu-idle", "0"]).expect_ok();
        check(&container, t, &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "512")]);
        container.delete_force().expect_ok();
    }

    fn real_time_is_shared_out(t) {
        needs(t, "cpu", "cpu.rt_runtime_us");
        let parent = hierarchy("cpu").unwrap().join(&t.tag);
        if fs::write(parent.join("cpu.rt_runtime_us"), "20000").is_err() {
            t.skip("no real time to share out here");
        }
        let container = created(t, json!({}));
        update(&container, &["--cpu-rt-period", "500000", "--cpu-rt-runtime", "5000"]).expect_ok();
        check(&container, t, &[("cpu", "cpu.rt_period_us", "500000"), ("cpu", "cpu.rt_runtime_us", "5000")]);
        container.delete_force().expect_ok();
    }

    fn cpus_and_memory_nodes_are_written(t) {
        let container = t.sleeper(|_| {});
        update(&container, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]).expect_ok();
        check(&container, t, &[("cpuset", "cpuset.cpus", "0"), ("cpuset", "cpuset.mems", "0")]);
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        assert!(status.contains("Cpus_allowed_list:\t0\n"), "{status}");
        container.end();
    }

    fn the_number_of_processes_is_limited(t) {
        let container = created(t, json!({"pids": {"limit": 20}}));
        update(&container, &["--pids-limit", "10"]).expect_ok();
        check(&container, t, &[("pids", "pids.max", "10")]);
        update(&container, &["--pids-limit", "-1"]).expect_ok();
        check(&container, t, &[("pids", "pids.max", "max")]);
        container.delete_force().expect_ok();
    }

    fn a_pids_limit_of_zero_is_one_and_none_is_no_change(t) {
        t.only_orlop("runc 1.1 takes 0 for unlimited");
        let container = created(t, json!({"pids": {"limit": 20}}));
        for (asked, shown) in [
            (json!({"pids": {"limit": 0}}), "1"),
            (json!({"pids": {"limit": 7}}), "7"),
            (json!({"pids": {}}), "7"),
            (json!({"pids": null}), "7"),
        ] {
            update_by(t, &container, &asked).expect_ok();
            check(&container, t, &[("pids", "pids.max", shown)]);
        }
        update(&container, &["--pids-limit", "0"]).expect_ok();
        check(&container, t, &[("pids", "pids.max", "1")]);
        container.delete_force().expect_ok();
    }

    fn throttles_of_devices_are_added_changed_and_lifted(t) {
        t.only_orlop("runc 1.1 ignores them in an update");
        let Some((major, minor)) = disk() else { t.skip("no whole disk") };
        let file = "blkio.throttle.read_bps_device";
        needs(t, "blkio", file);
        let container = created(t, json!({}));
        for (rate, shown) in [(600_u64, format!("{major}:{minor} 600")), (700, format!("{major}:{minor} 700")), (0, String::new())] {
            let entry = json!([{"major": major, "minor": minor, "rate": rate}]);
            update_by(t, &container, &json!({"blockIO": {"throttleReadBpsDevice": entry}})).expect_ok();
            check(&container, t, &[("blkio", file, &shown)]);
            let kept = remembered(t, &container)["blockIO"]["throttleReadBpsDevice"].clone();
            assert_eq!(kept, entry);
        }
        let entry = json!([{"major": major, "minor": minor, "rate": 9}]);
        update_by(t, &container, &json!({"blockIO": {"throttleWriteIOPSDevice": entry}})).expect_ok();
        check(&container, t, &[("blkio", "blkio.throttle.write_iops_device", &format!("{major}:{minor} 9"))]);
        container.delete_force().expect_ok();
    }

    fn the_weight_of_block_io_is_written_or_refused_by_its_flag(t) {
        let file = ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|file| has(t, "blkio", file));
        let container = created(t, json!({}));
        match file {
            Some(file) => {
                update(&container, &["--blkio-weight", "200"]).expect_ok();
                check(&container, t, &[("blkio", file, "200")]);
            }
            None => {
                t.only_orlop("runc names no flag");
                update(&container, &["--blkio-weight", "200"]).expect_error("--blkio-weight");
            }
        }
        container.delete_force().expect_ok();
    }
}

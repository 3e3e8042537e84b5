//! Limits that few configs have, and those that this machine may lack a controller for: they
//! are set, or refused by the name of their field, and never passed over.

use std::fs;

use serde_json::{Value, json};

use crate::cgroups::{check_v1, read, v1_only};
use crate::support::leaks::Snapshot;
use crate::support::view::hierarchy;
use crate::support::{Output, Test, View, both_views, isolate};

/// Major and minor of some whole disk.
pub fn disk() -> Option<(u64, u64)> {
    let disks = fs::read_dir("/sys/block").ok()?.flatten();
    let number = disks.filter_map(|disk| {
        let name = disk.file_name().into_string().ok()?;
        let text = fs::read_to_string(disk.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        let virtual_one = ["loop", "zram", "ram"]
            .iter()
            .any(|start| name.starts_with(start));
        (!virtual_one).then_some((major.parse().ok()?, minor.parse().ok()?))
    });
    number.min()
}

/// create refuses these resources by the pointer of a field of theirs; what it says.
fn refused(t: &Test, resources: &Value, pointer: &str) -> Output {
    let bundle = t.bundle(&["exit", "0"], |config| {
        for (key, value) in resources.as_object().unwrap() {
            config["linux"]["resources"][key] = value.clone();
        }
    });
    let before = Snapshot::take(t);
    let output = t.try_create(&bundle);
    output
        .expect_code(1)
        .expect_words(&format!("(config.json: /linux/resources{pointer})"));
    before.assert_unchanged(t, "after a limit that cannot be set");
    output
}

/// Whether the hierarchy of a v1 controller, or of v2, has this file in the test's cgroup.
fn has(t: &Test, controller: &str, file: &str) -> bool {
    hierarchy(controller).is_some_and(|dir| dir.join(&t.tag).join(file).exists())
}

v1_only! {
    fn a_cpu_burst_is_set(t) {
        if !has(t, "cpu", "cpu.cfs_burst_us") {
            t.skip("this kernel knows no bursts");
        }
        t.only_orlop("runc 1.1 does not know it");
        let cpu = json!({"quota": 20_000, "period": 50_000, "burst": 10_000});
        check_v1(t, "cpu", json!({ "cpu": cpu }), &[("cpu.cfs_burst_us", "10000")]);
    }

    fn real_time_is_shared_out(t) {
        if !has(t, "cpu", "cpu.rt_runtime_us") {
            t.skip("this kernel does not group real-time tasks");
        }
        let parent = hierarchy("cpu").unwrap().join(&t.tag);
        fs::write(parent.join("cpu.rt_runtime_us"), "50000").unwrap();
        let cpu = json!({"realtimeRuntime": 9000, "realtimePeriod": 900_000});
        check_v1(t, "cpu", json!({ "cpu": cpu }), &[
            ("cpu.rt_runtime_us", "9000"), ("cpu.rt_period_us", "900000")]);
    }

    fn reads_and_writes_of_a_disk_are_throttled(t) {
        let Some((major, minor)) = disk() else { t.skip("this machine has no disk") };
        let rate = |rate: u32| json!([{"major": major, "minor": minor, "rate": rate}]);
        let line = |rate: u32| format!("{major}:{minor} {rate}");
        let block_io = json!({
            "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
            "throttleReadIOPSDevice": rate(1000), "throttleWriteIOPSDevice": rate(2000)});
        check_v1(t, "blkio", json!({ "blockIO": block_io }), &[
            ("blkio.throttle.read_bps_device", &line(1 << 20)),
            ("blkio.throttle.write_bps_device", &line(2 << 20)),
            ("blkio.throttle.read_iops_device", &line(1000)),
            ("blkio.throttle.write_iops_device", &line(2000))]);
    }

    fn a_weight_that_the_kernel_has_no_file_for_is_refused(t) {
        t.only_orlop("runc 1.1 passes over some");
        for (file, block_io, pointer) in [
            ("blkio.weight", json!({"weight": 300}), "/weight"),
            ("blkio.leaf_weight", json!({"leafWeight": 300}), "/leafWeight"),
            ("blkio.weight_device", json!({"weightDevice": [{"major": 8, "minor": 16, "weight": 300}]}),
                "/weightDevice/0"),
            ("blkio.leaf_weight_device", json!({"weightDevice": [{"major": 8, "minor": 16, "leafWeight": 300}]}),
                "/weightDevice/0"),
        ] {
            let modern = file.replace("blkio.", "blkio.bfq.");
            if !has(t, "blkio", file) && !has(t, "blkio", &modern) {
                refused(t, &json!({ "blockIO": block_io }), &format!("/blockIO{pointer}"));
            }
        }
    }

    fn pids_without_a_limit_are_not_limited(t) {
        t.only_orlop("runc 1.1 writes no limit for 0 either");
        check_v1(t, "pids", json!({"pids": {}}), &[("pids.max", "max")]);
        check_v1(t, "pids", json!({"pids": {"limit": 0}}), &[("pids.max", "1")]);
    }
}

both_views! {
    fn a_limit_without_its_controller_is_refused_by_its_field(t) {
        t.only_orlop("runc passes over some of them");
        for (controller, resources, pointer) in [
            ("net_cls", json!({"network": {"classID": 1_048_577}}), "/network/classID"),
            ("net_prio", json!({"network": {"priorities": [{"name": "lo", "priority": 5}]}}),
                "/network/priorities/0"),
            ("rdma", json!({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10_000}}}), "/rdma/mlx5_1"),
        ] {
            if t.view == View::V2 || hierarchy(controller).is_none() {
                let words = format!("this host has no {controller} controller");
                refused(t, &resources, pointer).expect_words(&words);
            }
        }
    }

    fn what_only_cgroup_v1_has_is_refused_on_v2(t) {
        t.only_orlop("runc passes over some of them");
        if t.view == View::V1 {
            t.skip("this is cgroup v1");
        }
        for (resources, pointer) in [
            (json!({"memory": {"swappiness": 10}}), "/memory/swappiness"),
            (json!({"memory": {"disableOOMKiller": true}}), "/memory/disableOOMKiller"),
            (json!({"memory": {"useHierarchy": false}}), "/memory/useHierarchy"),
            (json!({"cpu": {"realtimeRuntime": 9000}}), "/cpu/realtimeRuntime"),
            (json!({"cpu": {"realtimePeriod": 900_000}}), "/cpu/realtimePeriod"),
            (json!({"blockIO": {"leafWeight": 300}}), "/blockIO/leafWeight"),
        ] {
            refused(t, &resources, pointer);
        }
    }

    fn unified_files_are_written_on_v2_and_refused_on_v1(t) {
        let resources = json!({"unified": {"hugetlb.2MB.max": "4194304"}});
        if t.view == View::V1 {
            t.only_orlop("runc has other words for it");
            refused(t, &resources, "/unified/hugetlb.2MB.max");
            return;
        }
        if !has(t, "", "hugetlb.2MB.max") {
            t.skip("the unified hierarchy has no hugetlb controller");
        }
        let container = t.create(&t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["unified"] = resources["unified"].clone();
        }));
        assert_eq!(read(&container, t, "", "hugetlb.2MB.max"), "4194304");
        container.delete().expect_ok();
    }
}

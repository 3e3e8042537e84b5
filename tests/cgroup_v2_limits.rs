//! Limits on cgroup v2, each read back from the kernel's own file while the container is
//! created and not yet started, as the limit must be there before the program runs.
//!
//! A hybrid host has few of these controllers on v2, or none; `make test-vm` has them all.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::cgroups::read;
use crate::limits::disk;
use crate::support::leaks::Snapshot;
use crate::support::view::hierarchy;
use crate::support::{Bundle, Container, Test, once, wait_until};

/// Skip unless the v2 hierarchy has these controllers.
fn require(t: &Test, controllers: &[&str]) {
    let root = hierarchy("").unwrap();
    let here = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
    for controller in controllers {
        if !here.split_whitespace().any(|c| c == *controller) {
            t.skip(&format!("the {controller} controller is not on v2 here"));
        }
    }
}

fn bundle(t: &Test, args: &[&str], resources: &Value) -> Bundle {
    t.bundle(args, |config| {
        for (key, value) in resources.as_object().unwrap() {
            config["linux"]["resources"][key] = value.clone();
        }
    })
}

/// Create a container with these resources.
fn create<'t>(t: &'t Test, resources: &Value) -> Container<'t> {
    t.create(&bundle(t, &["exit", "0"], resources))
}

/// What the files must say under these resources.
fn check(t: &Test, resources: Value, expected: &[(&str, &str)]) {
    let container = create(t, &resources);
    for (file, value) in expected {
        assert_eq!(
            read(&container, t, "", file),
            *value,
            "{file} with {resources}"
        );
    }
    container.delete().expect_ok();
}

/// create refuses these resources by the pointer of a field of theirs, and leaves nothing.
fn refused(t: &Test, resources: &Value, pointer: &str) {
    let bundle = bundle(t, &["exit", "0"], resources);
    let before = Snapshot::take(t);
    let output = t.try_create(&bundle);
    output
        .expect_code(1)
        .expect_words(&format!("/linux/resources{pointer}"));
    before.assert_unchanged(t, "after a limit that cannot be set");
}

/// Whether the test's own cgroup has this file.
fn has(t: &Test, file: &str) -> bool {
    hierarchy("").unwrap().join(&t.tag).join(file).exists()
}

once! {
    fn memory_is_limited_and_reserved(t) {
        require(t, &["memory"]);
        check(t, json!({"memory": {"limit": 64 << 20, "reservation": 32 << 20}}), &[
            ("memory.max", "67108864"), ("memory.low", "33554432"), ("memory.swap.max", "max")]);
        check(t, json!({"memory": {"limit": -1, "reservation": -1}}), &[
            ("memory.max", "max"), ("memory.low", "max"), ("memory.swap.max", "max")]);
    }

    fn swap_is_what_the_config_allows_beyond_memory(t) {
        require(t, &["memory"]);
        for (swap, shown) in [(96 << 20, "33554432"), (64 << 20, "0"), (-1, "max")] {
            check(t, json!({"memory": {"limit": 64 << 20, "swap": swap}}), &[
                ("memory.max", "67108864"), ("memory.swap.max", shown)]);
        }
        refused(t, &json!({"memory": {"limit": 64 << 20, "swap": 32 << 20}}), "/memory/swap");
    }

    fn a_program_that_wants_more_memory_is_ended(t) {
        require(t, &["memory"]);
        let resources = json!({"memory": {"limit": 32 << 20, "swap": 32 << 20}});
        t.run(&bundle(t, &["eat", "200"], &resources)).expect_code(137);
        let enough = t.run(&bundle(t, &["eat", "8"], &resources));
        assert_eq!(enough.expect_ok().stdout, "ok\n");
    }

    fn a_create_that_the_memory_limit_ends_says_so(t) {
        t.only_orlop("runc says it in other words");
        require(t, &["memory"]);
        let bundle = bundle(t, &["exit", "0"], &json!({"memory": {"limit": 32 << 10, "swap": 32 << 10}}));
        t.try_create(&bundle).expect_code(1).expect_words("OOM-killed");
    }

    fn cpu_time_is_shared_and_bounded(t) {
        require(t, &["cpu"]);
        t.only_orlop("runc 1.1 has a linear formula for the weight");
        check(t, json!({"cpu": {"shares": 512, "quota": 20_000, "period": 50_000}}), &[
            ("cpu.weight", "59"), ("cpu.max", "20000 50000")]);
        check(t, json!({"cpu": {"shares": 2}}), &[("cpu.weight", "1"), ("cpu.max", "max 100000")]);
        check(t, json!({"cpu": {"shares": 262_144}}), &[("cpu.weight", "10000")]);
    }

    fn half_a_bound_of_cpu_time_is_completed(t) {
        require(t, &["cpu"]);
        check(t, json!({"cpu": {"period": 50_000}}), &[("cpu.max", "max 50000")]);
        check(t, json!({"cpu": {"quota": 20_000}}), &[("cpu.max", "20000 100000")]);
        check(t, json!({"cpu": {"quota": -1}}), &[("cpu.max", "max 100000")]);
    }

    fn a_burst_of_cpu_time_is_allowed(t) {
        require(t, &["cpu"]);
        t.only_orlop("runc 1.1 does not know it");
        check(t, json!({"cpu": {"quota": 20_000, "period": 50_000, "burst": 10_000}}), &[
            ("cpu.max", "20000 50000"), ("cpu.max.burst", "10000")]);
    }

    fn a_cgroup_can_be_idle(t) {
        require(t, &["cpu"]);
        t.only_orlop("runc 1.1 does not know it");
        check(t, json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")]);
        check(t, json!({"cpu": {"idle": 0, "shares": 1024}}), &[("cpu.idle", "0"), ("cpu.weight", "100")]);
        // Idle has the last word: an idle cgroup weighs nothing.
        check(t, json!({"cpu": {"idle": 1, "shares": 1024}}), &[("cpu.idle", "1")]);
    }

    fn cpus_and_memory_nodes_are_set(t) {
        require(t, &["cpuset"]);
        let resources = json!({"cpu": {"cpus": "0", "mems": "0"}});
        check(t, resources.clone(), &[("cpuset.cpus", "0"), ("cpuset.mems", "0"),
            ("cpuset.cpus.effective", "0"), ("cpuset.mems.effective", "0")]);
        let report = t.report(&bundle(t, &["report"], &resources));
        assert_eq!(report["cpus_allowed"], "0");
    }

    fn cpus_that_are_not_there_are_refused(t) {
        require(t, &["cpuset"]);
        t.only_orlop("runc does not name the field");
        refused(t, &json!({"cpu": {"cpus": "4000000"}}), "/cpu/cpus");
        refused(t, &json!({"cpu": {"mems": "4000000"}}), "/cpu/mems");
    }

    fn the_number_of_processes_is_limited(t) {
        require(t, &["pids"]);
        check(t, json!({"pids": {"limit": 17}}), &[("pids.max", "17")]);
        check(t, json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
        check(t, json!({"memory": {}}), &[("pids.max", "max")]);
        t.only_orlop("runc 1.1 writes no limit for 0");
        check(t, json!({"pids": {"limit": 0}}), &[("pids.max", "1")]);
    }

    fn disks_are_weighed(t) {
        require(t, &["io"]);
        let (file, shown) = match (has(t, "io.bfq.weight"), has(t, "io.weight")) {
            (true, _) => ("io.bfq.weight", "default 500"),
            (_, true) => ("io.weight", "default 4950"),
            _ => t.skip("this kernel weighs no disks"),
        };
        check(t, json!({"blockIO": {"weight": 500}}), &[(file, shown)]);
    }

    fn one_disk_has_a_weight_of_its_own(t) {
        require(t, &["io"]);
        let Some((major, minor)) = disk() else { t.skip("this machine has no disk") };
        let costs = fs::read_to_string(hierarchy("").unwrap().join("io.cost.qos")).unwrap_or_default();
        let costed = format!("{major}:{minor} enable=1");
        if !costs.lines().any(|line| line.starts_with(&costed)) {
            t.skip("io.cost.qos is not enabled for the disk");
        }
        let device = json!([{"major": major, "minor": minor, "weight": 10}]);
        let container = create(t, &json!({"blockIO": {"weight": 1000, "weightDevice": device}}));
        let text = read(&container, t, "", "io.weight");
        assert_eq!(text, format!("default 10000\n{major}:{minor} 1"));
        container.delete().expect_ok();
    }

    fn reads_and_writes_of_a_disk_are_throttled(t) {
        require(t, &["io"]);
        let Some((major, minor)) = disk() else { t.skip("this machine has no disk") };
        let rate = |rate: u32| json!([{"major": major, "minor": minor, "rate": rate}]);
        let line = |rest: &str| format!("{major}:{minor} {rest}");
        check(t, json!({"blockIO": {
            "throttleReadBpsDevice": rate(1 << 20), "throttleWriteBpsDevice": rate(2 << 20),
            "throttleReadIOPSDevice": rate(1000), "throttleWriteIOPSDevice": rate(2000)}}),
            &[("io.max", &line("rbps=1048576 wbps=2097152 riops=1000 wiops=2000"))]);
        check(t, json!({"blockIO": {"throttleWriteBpsDevice": rate(4096)}}),
            &[("io.max", &line("rbps=max wbps=4096 riops=max wiops=max"))]);
        t.only_orlop("runc writes a rate of 0, which the kernel refuses");
        check(t, json!({"blockIO": {"throttleReadBpsDevice": rate(0)}}), &[("io.max", "")]);
    }

    fn a_disk_that_is_not_there_is_refused(t) {
        require(t, &["io"]);
        t.only_orlop("runc does not name the field");
        let device = json!([{"major": 4000, "minor": 1, "rate": 1000}]);
        refused(t, &json!({"blockIO": {"throttleReadIOPSDevice": device}}), "/blockIO/throttleReadIOPSDevice/0");
    }

    fn huge_pages_and_their_reservations_are_limited(t) {
        t.only_orlop("runc 1.1 does not limit reservations");
        require(t, &["hugetlb"]);
        let container = create(t, &json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}));
        assert_eq!(read(&container, t, "", "hugetlb.2MB.max"), "4194304");
        assert_eq!(read(&container, t, "", "hugetlb.2MB.rsvd.max"), "4194304");
        container.delete().expect_ok();
    }

    fn handles_of_rdma_devices_are_limited(t) {
        require(t, &["rdma"]);
        let devices = fs::read_dir("/sys/class/infiniband").into_iter().flatten().flatten();
        let Some(device) = devices.map(|entry| entry.file_name().into_string().unwrap()).next() else {
            t.skip("this machine has no RDMA device")
        };
        for (limit, shown) in [
            (json!({"hcaHandles": 3, "hcaObjects": 10_000}), "hca_handle=3 hca_object=10000"),
            (json!({"hcaObjects": 5}), "hca_handle=max hca_object=5"),
        ] {
            check(t, json!({"rdma": {&device: limit}}), &[("rdma.max", &format!("{device} {shown}"))]);
        }
    }

    fn an_rdma_device_that_is_not_there_is_refused(t) {
        require(t, &["rdma"]);
        t.only_orlop("runc does not name the field");
        refused(t, &json!({"rdma": {"nothing7": {"hcaHandles": 3}}}), "/rdma/nothing7");
    }

    fn unified_files_override_what_other_fields_say(t) {
        require(t, &["memory", "cpu", "pids"]);
        check(t, json!({
            "memory": {"limit": 64 << 20, "swap": 96 << 20},
            "cpu": {"shares": 512},
            "pids": {"limit": 100},
            "unified": {
                "memory.max": "33554432", "memory.high": "16777216", "memory.swap.max": "4194304",
                "memory.oom.group": "1", "cpu.weight": "7", "pids.max": "max",
            },
        }), &[
            ("memory.max", "33554432"), ("memory.high", "16777216"), ("memory.swap.max", "4194304"),
            ("memory.oom.group", "1"), ("cpu.weight", "7"), ("pids.max", "max")]);
    }

    fn each_line_of_a_unified_value_is_written(t) {
        require(t, &["io"]);
        t.only_orlop("runc 1.1 writes the value at once");
        let Some((major, minor)) = disk() else { t.skip("this machine has no disk") };
        let value = format!("{major}:{minor} rbps=4096\n{major}:{minor} wiops=7\n");
        check(t, json!({"unified": {"io.max": value}}), &[
            ("io.max", &format!("{major}:{minor} rbps=4096 wbps=max riops=max wiops=7"))]);
    }

    fn a_unified_value_that_the_kernel_refuses_is_named(t) {
        require(t, &["memory", "misc"]);
        t.only_orlop("runc does not name the field");
        refused(t, &json!({"unified": {"misc.max": "nothing7 1"}}), "/unified/misc.max");
        refused(t, &json!({"unified": {"memory.nothing": "1"}}), "/unified/memory.nothing");
        refused(t, &json!({"unified": {"memory.max": "much"}}), "/unified/memory.max");
    }

    fn parents_hand_the_controllers_down(t) {
        require(t, &["memory", "pids"]);
        let mut bundle = bundle(t, &["exit", "0"], &json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 17}}));
        let inner = format!("{}/outer/inner/{}", t.tag, bundle.id);
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{inner}")));
        let root = hierarchy("").unwrap();
        let container = t.create(&bundle);
        let value = |file: &str| fs::read_to_string(root.join(&inner).join(file)).unwrap();
        assert_eq!((value("memory.max").as_str(), value("pids.max").as_str()), ("67108864\n", "17\n"));
        container.delete().expect_ok();
        for parent in ["outer/inner", "outer"] {
            // Another container may live there: parents stay, unless the runtime knows better.
            let _ = fs::remove_dir(root.join(&t.tag).join(parent));
        }
    }

    fn a_limit_below_a_cgroup_with_processes_is_refused_by_its_field(t) {
        require(t, &["memory"]);
        t.only_orlop("runc does not name the field");
        let parent = hierarchy("").unwrap().join(&t.tag).join("busy");
        fs::create_dir(&parent).unwrap();
        let mut stranger = Command::new("sleep").arg("1000").spawn().unwrap();
        fs::write(parent.join("cgroup.procs"), stranger.id().to_string()).unwrap();
        let mut bundle = bundle(t, &["exit", "0"], &json!({"memory": {"limit": 64 << 20}}));
        bundle.edit(|config| config["linux"]["cgroupsPath"] = json!(format!("/{}/busy/below", t.tag)));
        let output = t.try_create(&bundle);
        let left = parent.join("below").exists();
        stranger.kill().unwrap();
        stranger.wait().unwrap();
        wait_until("an empty cgroup", || fs::remove_dir(&parent).is_ok());
        output.expect_code(1).expect_words("/linux/resources/memory/limit");
        assert!(!left, "the cgroup of a failed create is there");
    }
}

use oci_spec::runtime::Linux;
use serde_json::{Value, json};

use super::*;
use crate::error::Target;
use crate::plan::{CgroupWrite, Missing};

fn hierarchy(controllers: &[&str], mount: &str, own: &str) -> Hierarchy {
    Hierarchy {
        controllers: controllers.iter().map(|c| (*c).to_owned()).collect(),
        mount: Path::new("/sys/fs/cgroup").join(mount),
        own: own.into(),
    }
}

pub fn v1() -> Layout {
    let single = ["cpuset", "devices", "memory", "pids", "blkio", "freezer"];
    let mut v1: Vec<Hierarchy> = single.map(|c| hierarchy(&[c], c, "/me")).into();
    v1.push(hierarchy(&["cpu", "cpuacct"], "cpu,cpuacct", "/"));
    v1.push(hierarchy(&["name=systemd"], "systemd", "/"));
    Layout { v1, v2: None }
}

pub fn hybrid() -> Layout {
    Layout {
        v2: Some(hierarchy(&["hugetlb"], "unified", "/somewhere")),
        ..v1()
    }
}

pub fn v2() -> Layout {
    let all = ["cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma"];
    Layout {
        v1: Vec::new(),
        v2: Some(hierarchy(&all, "", "/user.slice/shell")),
    }
}

fn plan_on(layout: Layout, linux: Value) -> Result<(Cgroup, Vec<String>)> {
    let linux: Linux = serde_json::from_value(linux).unwrap();
    let host = Host::fixed(layout, 40, u64::MAX, false);
    let mut warnings = Vec::new();
    let cgroup = plan(
        Some(&linux),
        "box",
        Path::new("/b"),
        &BTreeMap::new(),
        &host,
        &mut warnings,
    )?;
    Ok((cgroup, warnings))
}

fn dir_of(cgroup: &Cgroup, key: &str) -> String {
    let dir = cgroup
        .dirs
        .iter()
        .find(|d| d.controllers.iter().any(|c| c == key));
    dir.unwrap().dir.display().to_string()
}

/// `controller file value` of each write.
fn writes(layout: Layout, resources: Value) -> Vec<String> {
    let (cgroup, _) = plan_on(layout, json!({ "resources": resources })).unwrap();
    let line = |w: &CgroupWrite| format!("{} {} {}", w.controller, w.file, w.value);
    cgroup.writes.iter().map(line).collect()
}

/// Pointer and text of the refusal.
fn refusal(layout: Layout, linux: Value) -> (String, String) {
    let error = plan_on(layout, linux).unwrap_err();
    match error.target {
        Some(Target::Field(field)) => (field, error.step),
        other => panic!("{other:?}"),
    }
}

#[test]
fn paths_are_resolved_from_the_callers_place() {
    let (absent, _) = plan_on(hybrid(), json!({})).unwrap();
    assert_eq!(dir_of(&absent, "memory"), "/sys/fs/cgroup/memory/me/box");
    assert_eq!(dir_of(&absent, "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct/box");
    assert_eq!(dir_of(&absent, ""), "/sys/fs/cgroup/unified/box");

    let (relative, _) = plan_on(hybrid(), json!({"cgroupsPath": "a/./b//c"})).unwrap();
    assert_eq!(
        dir_of(&relative, "memory"),
        "/sys/fs/cgroup/memory/me/a/b/c"
    );
    assert_eq!(dir_of(&relative, ""), "/sys/fs/cgroup/unified/a/b/c");

    let (absolute, _) = plan_on(hybrid(), json!({"cgroupsPath": "/a/b"})).unwrap();
    assert_eq!(dir_of(&absolute, "memory"), "/sys/fs/cgroup/memory/a/b");
    assert_eq!(
        dir_of(&absolute, "name=systemd"),
        "/sys/fs/cgroup/systemd/a/b"
    );
}

#[test]
fn with_systemd_paths_are_below_its_own() {
    let planned_below = |control_group: &str, layout, rootless| {
        let host = Host::fixed(layout, 40, u64::MAX, rootless);
        let host = host.with_systemd(crate::plan::SystemdHost {
            version: 255,
            control_group: control_group.into(),
        });
        let linux: Linux = serde_json::from_value(json!({"cgroupsPath": "a-b.slice:p:n"})).unwrap();
        let none = BTreeMap::new();
        plan(
            Some(&linux),
            "box",
            Path::new("/b"),
            &none,
            &host,
            &mut Vec::new(),
        )
    };
    let planned = |layout, rootless| planned_below("/manager", layout, rootless);
    for none in ["", "/"] {
        let cgroup = planned_below(none, v2(), false).unwrap();
        assert_eq!(
            dir_of(&cgroup, ""),
            "/sys/fs/cgroup/a.slice/a-b.slice/p-n.scope"
        );
    }
    const UNIT: &str = "manager/a.slice/a-b.slice/p-n.scope";
    for (layout, key, mount) in [
        (v2(), "", "/sys/fs/cgroup"),
        (hybrid(), "", "/sys/fs/cgroup/unified"),
        (hybrid(), "memory", "/sys/fs/cgroup/memory"),
    ] {
        let cgroup = planned(layout, false).unwrap();
        assert_eq!(dir_of(&cgroup, key), format!("{mount}/{UNIT}"));
        let unit = cgroup.unit.unwrap();
        assert_eq!((unit.name.as_str(), unit.user), ("p-n.scope", false));
    }
    assert!(planned(v2(), true).unwrap().unit.unwrap().user);
    let error = planned(hybrid(), true).unwrap_err();
    assert_eq!(
        error.step,
        "cannot use rootless systemd cgroups manager on cgroup v1"
    );
}

#[test]
fn v2_paths_are_beside_the_callers_own() {
    let path = |linux| dir_of(&plan_on(v2(), linux).unwrap().0, "");
    assert_eq!(path(json!({})), "/sys/fs/cgroup/user.slice/box");
    assert_eq!(
        path(json!({"cgroupsPath": "a"})),
        "/sys/fs/cgroup/user.slice/a"
    );
    assert_eq!(path(json!({"cgroupsPath": "/a"})), "/sys/fs/cgroup/a");
    // Without the systemd driver that is just a name.
    assert_eq!(
        path(json!({"cgroupsPath": "/s.slice:p:n"})),
        "/sys/fs/cgroup/s.slice:p:n"
    );
}

#[test]
fn a_way_up_is_refused() {
    for path in ["../x", "/a/../../b", "a/..", "/.."] {
        let (field, text) = refusal(v2(), json!({"cgroupsPath": path}));
        assert_eq!(field, "/linux/cgroupsPath");
        assert!(text.contains(path), "{text}");
    }
}

#[test]
fn memory_on_v1() {
    let memory = json!({"memory": {
        "limit": 100, "swap": 300, "reservation": 50, "swappiness": 0,
        "disableOOMKiller": true, "useHierarchy": true
    }});
    assert_eq!(
        writes(v1(), memory),
        [
            "memory memory.use_hierarchy 1",
            "memory memory.limit_in_bytes 100",
            "memory memory.memsw.limit_in_bytes 300",
            "memory memory.soft_limit_in_bytes 50",
            "memory memory.oom_control 1",
            "memory memory.swappiness 0",
        ]
    );
    let (unlimited, _) = plan_on(v1(), json!({"resources": {"memory": {"limit": -1}}})).unwrap();
    assert_eq!(unlimited.writes[1].file, "memory.memsw.limit_in_bytes");
    assert_eq!(unlimited.writes[1].missing, Missing::Skip);
    assert_eq!(unlimited.writes[0].field, "/linux/resources/memory/limit");
}

#[test]
fn memory_on_v2() {
    let memory = json!({"memory": {"limit": 100, "swap": 300, "reservation": -1}});
    assert_eq!(
        writes(v2(), memory),
        [" memory.swap.max 200", " memory.max 100", " memory.low max"]
    );
    let (field, _) = refusal(v2(), json!({"resources": {"memory": {"swap": 5}}}));
    assert_eq!(field, "/linux/resources/memory/swap");
    for (name, value) in [
        ("swappiness", json!(10)),
        ("disableOOMKiller", json!(true)),
        ("useHierarchy", json!(false)),
        ("limit", json!(-2)),
    ] {
        let (field, _) = refusal(v2(), json!({"resources": {"memory": {name: value}}}));
        assert_eq!(field, format!("/linux/resources/memory/{name}"));
    }
}

#[test]
fn cpu_on_v1() {
    let cpu = json!({"cpu": {
        "shares": 512, "quota": 50_000, "period": 100_000, "burst": 10, "idle": 1,
        "realtimePeriod": 7, "realtimeRuntime": 6, "cpus": "0-1", "mems": "0"
    }});
    assert_eq!(
        writes(v1(), cpu),
        [
            "cpu cpu.shares 512",
            "cpu cpu.idle 1",
            "cpu cpu.cfs_period_us 100000",
            "cpu cpu.cfs_quota_us 50000",
            "cpu cpu.cfs_burst_us 10",
            "cpu cpu.rt_period_us 7",
            "cpu cpu.rt_runtime_us 6",
            "cpuset cpuset.cpus 0-1",
            "cpuset cpuset.mems 0",
        ]
    );
    for shares in [1, 262_145] {
        let (field, _) = refusal(v1(), json!({"resources": {"cpu": {"shares": shares}}}));
        assert_eq!(field, "/linux/resources/cpu/shares");
    }
    let (field, _) = refusal(v1(), json!({"resources": {"cpu": {"cpus": "all of them"}}}));
    assert_eq!(field, "/linux/resources/cpu/cpus");
}

#[test]
fn cpu_on_v2() {
    let cpu = |cpu| writes(v2(), json!({ "cpu": cpu }));
    assert_eq!(
        cpu(json!({"shares": 1024, "idle": 0, "quota": -1, "burst": 0})),
        [
            " cpu.idle 0",
            " cpu.weight 100",
            " cpu.max max 100000",
            " cpu.max.burst 0"
        ]
    );
    assert_eq!(
        cpu(json!({"quota": 5000, "period": 9000})),
        [" cpu.max 5000 9000"]
    );
    assert_eq!(cpu(json!({"shares": 0, "quota": 0, "cpus": ""})), [""; 0]);
    let (field, _) = refusal(v2(), json!({"resources": {"cpu": {"realtimeRuntime": 5}}}));
    assert_eq!(field, "/linux/resources/cpu/realtimeRuntime");
}

#[test]
fn pids_zero_and_unlimited_are_told_apart() {
    for (limit, value) in [(0, "1"), (-1, "max"), (7, "7")] {
        let resources = json!({"pids": {"limit": limit}});
        assert_eq!(
            writes(v1(), resources.clone()),
            [format!("pids pids.max {value}")]
        );
        assert_eq!(writes(v2(), resources), [format!(" pids.max {value}")]);
    }
}

#[test]
fn block_io() {
    let block_io = json!({"blockIO": {
        "weight": 500,
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]
    }});
    assert_eq!(
        writes(v1(), block_io.clone()),
        [
            "blkio blkio.weight 500",
            "blkio blkio.weight_device 8:0 10",
            "blkio blkio.throttle.read_bps_device 8:0 600",
            "blkio blkio.throttle.write_iops_device 8:16 0",
        ]
    );
    let (cgroup, _) = plan_on(v2(), json!({ "resources": block_io })).unwrap();
    let instead = |value: &str| Missing::Instead {
        file: "io.weight".into(),
        value: value.into(),
    };
    assert_eq!(cgroup.writes[0].missing, instead("4950"));
    assert_eq!(cgroup.writes[1].missing, instead("8:0 1"));
    assert_eq!(cgroup.writes[2].value, "8:0 rbps=600");
    assert_eq!(cgroup.writes[3].value, "8:16 wiops=max");
    let leaf = json!({"resources": {"blockIO": {"leafWeight": 10}}});
    assert_eq!(refusal(v2(), leaf).0, "/linux/resources/blockIO/leafWeight");
}

#[test]
fn hybrid_hosts_limit_huge_pages_in_the_unified_hierarchy() {
    let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4096}]});
    assert_eq!(
        writes(hybrid(), limits.clone()),
        [" hugetlb.2MB.max 4096", " hugetlb.2MB.rsvd.max 4096"]
    );
    let (field, text) = refusal(v1(), json!({ "resources": limits }));
    assert_eq!(field, "/linux/resources/hugepageLimits/0");
    assert_eq!(
        text,
        "cannot set hugetlb limit: container could not join or create cgroup"
    );
    for size in ["../2MB", "2M", "MB", "2MB/x"] {
        let limits = json!({"resources": {"hugepageLimits": [{"pageSize": size, "limit": 1}]}});
        assert_eq!(
            refusal(hybrid(), limits).0,
            "/linux/resources/hugepageLimits/0/pageSize"
        );
    }
}

#[test]
fn rdma_and_network() {
    let rdma = json!({"rdma": {"mlx5": {"hcaHandles": 3}, "b": {"hcaObjects": 1}}});
    assert_eq!(
        writes(v2(), rdma),
        [" rdma.max b hca_object=1", " rdma.max mlx5 hca_handle=3"]
    );
    let class = json!({"resources": {"network": {"classID": 1}}});
    assert_eq!(refusal(v1(), class).0, "/linux/resources/network/classID");
    let mut layout = v1();
    layout
        .v1
        .push(hierarchy(&["net_cls", "net_prio"], "net_cls,net_prio", "/"));
    let network = json!({"network": {"classID": 1, "priorities": [{"name": "lo", "priority": 4}]}});
    assert_eq!(
        writes(layout, network),
        [
            "net_cls net_cls.classid 1",
            "net_prio net_prio.ifpriomap lo 4"
        ]
    );
}

#[test]
fn unified_files_come_last_and_only_on_v2() {
    let resources = json!({
        "unified": {"memory.high": "9", "io.max": "8:0 rbps=1\n8:16 rbps=2"},
        "memory": {"limit": 100}
    });
    assert_eq!(
        writes(v2(), resources.clone()),
        [
            " memory.max 100",
            " io.max 8:0 rbps=1",
            " io.max 8:16 rbps=2",
            " memory.high 9"
        ]
    );
    let (_, text) = refusal(hybrid(), json!({ "resources": resources }));
    assert_eq!(
        text,
        "invalid configuration: cannot use unified on cgroup v1"
    );
    for (file, field) in [
        ("a/b.c", "a~1b.c"),
        ("memory", "memory"),
        ("misc.max", "misc.max"),
    ] {
        let unified = json!({"resources": {"unified": {file: "1"}}});
        assert_eq!(
            refusal(v2(), unified).0,
            format!("/linux/resources/unified/{field}")
        );
    }
}

#[test]
fn every_container_gets_the_default_rules() {
    let deny_all = json!({"devices": [{"allow": false, "access": "rwm"}]});
    let (cgroup, _) = plan_on(v1(), json!({ "resources": deny_all })).unwrap();
    let table = crate::cgroup::devices::Table::new(&cgroup.devices).unwrap();
    assert_eq!(
        table.v1_lines(),
        [
            "c *:* m",
            "c 1:3 rwm",
            "c 1:5 rwm",
            "c 1:7 rwm",
            "c 1:8 rwm",
            "c 1:9 rwm",
            "c 5:0 rwm",
            "c 5:2 rwm",
            "c 10:200 rwm",
            "c 136:* rwm",
            "b *:* m",
        ]
    );
    // A node of the config's own takes the place of the default one, rule included.
    let null = json!({"devices": [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3}]});
    let (cgroup, _) = plan_on(v1(), null).unwrap();
    assert_eq!(cgroup.devices.len(), 10);
}

#[test]
fn wrong_device_rules_are_named() {
    for (rule, field) in [
        (
            json!({"allow": true, "type": "p", "access": "r"}),
            "/0/type",
        ),
        (json!({"allow": true, "type": "c"}), "/0/access"),
        (
            json!({"allow": true, "type": "c", "access": "rx"}),
            "/0/access",
        ),
        (
            json!({"allow": true, "type": "c", "major": -2, "access": "r"}),
            "/0/major",
        ),
        (
            json!({"allow": true, "type": "c", "minor": 4_294_967_296_u64, "access": "r"}),
            "/0/minor",
        ),
    ] {
        let linux = json!({"resources": {"devices": [rule]}});
        assert_eq!(
            refusal(v1(), linux).0,
            format!("/linux/resources/devices{field}")
        );
    }
}

#[test]
fn kernel_memory_is_warned_of() {
    for name in ["kernel", "kernelTCP"] {
        let memory = json!({"resources": {"memory": {name: 5}}});
        let (cgroup, warnings) = plan_on(v1(), memory).unwrap();
        assert!(cgroup.writes.is_empty());
        assert_eq!(
            warnings,
            ["Kernel memory settings are ignored and will be removed"]
        );
    }
}

#[test]
fn a_new_cgroup_has_no_use_to_check_a_limit_against() {
    let writes = |check: bool| {
        let memory = json!({"memory": {"limit": 100, "checkBeforeUpdate": check}});
        writes(v1(), memory)
    };
    assert_eq!(writes(true), writes(false));
}

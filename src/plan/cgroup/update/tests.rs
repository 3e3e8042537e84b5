use serde_json::{Value, json};

use super::super::tests::{hybrid, v1, v2};
use super::*;

fn read(resources: Value) -> LinuxResources {
    serde_json::from_value(resources).unwrap()
}

fn update(layout: &Layout, given: Value, asked: Value) -> Result<Update> {
    plan(Some(&read(given)), &read(asked), layout, &mut Vec::new())
}

/// `file value` of each write.
fn writes(layout: Layout, given: Value, asked: Value) -> Vec<String> {
    let update = update(&layout, given, asked).unwrap();
    let line = |write: &CgroupWrite| format!("{} {}", write.file, write.value);
    update.writes.iter().map(line).collect()
}

fn merged(given: Value, asked: Value) -> Value {
    serde_json::to_value(update(&v1(), given, asked).unwrap().resources).unwrap()
}

fn pointer(layout: Layout, given: Value, asked: Value) -> String {
    match update(&layout, given, asked).unwrap_err().target {
        Some(Target::Field(field)) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_what_is_asked_for_is_written() {
    let given = json!({
        "memory": {"limit": 100, "swap": 300, "reservation": 50, "swappiness": 7},
        "cpu": {"shares": 512, "quota": 5000, "period": 10_000, "cpus": "0", "idle": 1},
        "pids": {"limit": 5}, "blockIO": {"weight": 10},
    });
    for (asked, lines) in [
        (json!({}), &[][..]),
        (json!({"pids": {"limit": 9}}), &["pids.max 9"]),
        (
            json!({"memory": {"limit": 200}}),
            &["memory.limit_in_bytes 200"],
        ),
        (
            json!({"cpu": {"period": 20_000}}),
            &["cpu.cfs_period_us 20000"],
        ),
        (json!({"cpu": {"quota": -1}}), &["cpu.cfs_quota_us -1"]),
        (json!({"cpu": {"mems": "0"}}), &["cpuset.mems 0"]),
        (
            json!({"memory": {"disableOOMKiller": false}}),
            &["memory.oom_control 0"],
        ),
    ] {
        assert_eq!(writes(v1(), given.clone(), asked.clone()), lines, "{asked}");
    }
}

#[test]
fn zeros_and_empty_lists_ask_for_nothing() {
    let given = json!({"memory": {"limit": 100}, "cpu": {"shares": 512, "cpus": "0"}});
    let zeros = json!({
        "memory": {"limit": 0, "swap": 0, "reservation": 0},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "realtimePeriod": 0,
            "realtimeRuntime": 0, "cpus": "", "mems": ""},
        "blockIO": {"weight": 0, "leafWeight": 0},
    });
    for layout in [v1(), v2()] {
        let nothing: [&str; 0] = [];
        assert_eq!(writes(layout, given.clone(), zeros.clone()), nothing);
    }
    let kept = merged(given.clone(), zeros);
    assert_eq!(kept["memory"], given["memory"]);
    assert_eq!(kept["cpu"], given["cpu"]);
    // These can be 0.
    let zeros = json!({"cpu": {"burst": 0, "idle": 0}, "pids": {"limit": 0}});
    assert_eq!(
        writes(v2(), json!({}), zeros),
        ["cpu.idle 0", "cpu.max.burst 0", "pids.max 1"]
    );
}

#[test]
fn on_v2_quota_and_period_keep_each_other() {
    let given = json!({"cpu": {"quota": 5000, "period": 10_000}});
    let cpu = |asked| writes(v2(), given.clone(), json!({ "cpu": asked }));
    assert_eq!(cpu(json!({"quota": 6000})), ["cpu.max 6000 10000"]);
    assert_eq!(cpu(json!({"period": 20_000})), ["cpu.max 5000 20000"]);
    assert_eq!(cpu(json!({"quota": -1})), ["cpu.max max 10000"]);
    // Two updates in a row.
    let first = update(&v2(), given.clone(), json!({"cpu": {"quota": 7000}})).unwrap();
    let given = serde_json::to_value(first.resources).unwrap();
    assert_eq!(
        writes(v2(), given, json!({"cpu": {"period": 9000}})),
        ["cpu.max 7000 9000"]
    );
    assert_eq!(
        writes(v2(), json!({}), json!({"cpu": {"period": 9000}})),
        ["cpu.max max 9000"]
    );
}

#[test]
fn on_v2_swap_follows_memory() {
    let given = json!({"memory": {"limit": 100, "swap": 300}});
    let memory = |asked| writes(v2(), given.clone(), json!({ "memory": asked }));
    assert_eq!(
        memory(json!({"limit": 200})),
        ["memory.swap.max 100", "memory.max 200"]
    );
    assert_eq!(memory(json!({"swap": 150})), ["memory.swap.max 50"]);
    assert_eq!(
        memory(json!({"limit": 200, "swap": 200})),
        ["memory.swap.max 0", "memory.max 200"]
    );
    assert_eq!(
        memory(json!({"limit": -1})),
        ["memory.swap.max max", "memory.max max"]
    );
    assert_eq!(memory(json!({"reservation": 5})), ["memory.low 5"]);
    let too_much = json!({"memory": {"limit": 400}});
    assert_eq!(pointer(v2(), given, too_much), "/memory/swap");
    let alone = json!({"memory": {"swap": 400}});
    assert_eq!(pointer(v2(), json!({}), alone), "/memory/swap");
}

#[test]
fn unlimited_memory_forgets_the_limit_of_swap() {
    let given = json!({"memory": {"limit": 100, "swap": 300}});
    let asked = json!({"memory": {"limit": -1}});
    assert_eq!(
        writes(v1(), given.clone(), asked.clone()),
        ["memory.limit_in_bytes -1", "memory.memsw.limit_in_bytes -1"]
    );
    assert_eq!(merged(given, asked), json!({"memory": {"limit": -1}}));
}

#[test]
fn who_leaves_idleness_gets_its_shares_again() {
    let given = json!({"cpu": {"shares": 1024, "idle": 1}});
    let cpu = |asked| writes(v2(), given.clone(), json!({ "cpu": asked }));
    assert_eq!(cpu(json!({"idle": 0})), ["cpu.idle 0", "cpu.weight 100"]);
    assert_eq!(cpu(json!({"idle": 1})), ["cpu.idle 1"]);
}

#[test]
fn entries_of_lists_replace_those_of_the_same_thing() {
    let given = json!({"blockIO": {
        "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [
            {"major": 8, "minor": 0, "rate": 1}, {"major": 8, "minor": 16, "rate": 2}],
    }, "unified": {"a.b": "1", "a.c": "2"},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2}],
    "rdma": {"x": {"hcaHandles": 1, "hcaObjects": 2}}});
    let asked = json!({"blockIO": {
        "weightDevice": [{"major": 8, "minor": 0, "weight": 20}, {"major": 8, "minor": 0, "leafWeight": 5}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 3}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
    }, "unified": {"a.c": "3"}, "hugepageLimits": [{"pageSize": "2MB", "limit": 5}],
    "rdma": {"x": {"hcaHandles": 3}, "y": {"hcaObjects": 4}}});
    let mut into = read(given);
    merge(&mut into, &read(asked));
    assert_eq!(
        serde_json::to_value(into).unwrap(),
        json!({"blockIO": {
            "weightDevice": [{"major": 8, "minor": 0, "weight": 20}, {"major": 8, "minor": 0, "leafWeight": 5}],
            "throttleReadBpsDevice": [
                {"major": 8, "minor": 16, "rate": 2}, {"major": 8, "minor": 0, "rate": 3}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
        }, "unified": {"a.b": "1", "a.c": "3"},
        "hugepageLimits": [{"pageSize": "1GB", "limit": 2}, {"pageSize": "2MB", "limit": 5}],
        "rdma": {"x": {"hcaHandles": 3, "hcaObjects": 2}, "y": {"hcaObjects": 4}}})
    );
}

#[test]
fn devices_are_neither_written_nor_remembered() {
    let devices = json!({"devices": [{"allow": true, "access": "rwm"}]});
    let update = update(&v1(), json!({"pids": {"limit": 1}}), devices.clone()).unwrap();
    assert!(update.writes.is_empty());
    assert_eq!(update.resources, read(json!({"pids": {"limit": 1}})));
    assert_eq!(remembered(&read(devices)), LinuxResources::default());
}

#[test]
fn the_check_is_for_v2_and_stays_on_once_it_is() {
    let check = |layout: Layout, given: bool, asked: Value| {
        let given = json!({"memory": {"checkBeforeUpdate": given}});
        update(&layout, given, json!({ "memory": asked }))
            .unwrap()
            .check
    };
    let both = json!({"limit": 100, "swap": 300});
    let expected = Some(MemoryCheck {
        limit: Some(100),
        swap: Some(300),
    });
    assert_eq!(check(v2(), true, both.clone()), expected);
    assert_eq!(check(v2(), false, both.clone()), None);
    assert_eq!(check(hybrid(), true, both), None);
    let off = json!({"limit": 100, "checkBeforeUpdate": false});
    assert_eq!(check(v2(), true, off), None);
    assert_eq!(check(v2(), true, json!({"limit": -1})), None);
    assert_eq!(check(v2(), true, json!({"reservation": 5})), None);
}

#[test]
fn controllers_are_handed_down_where_a_write_needs_them() {
    let pages = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 1}]});
    let enable = |layout: Layout, asked| update(&layout, json!({}), asked).unwrap().enable;
    assert_eq!(enable(hybrid(), pages), ["hugetlb"]);
    assert!(enable(hybrid(), json!({"pids": {"limit": 1}})).is_empty());
}

#[test]
fn errors_name_a_field_of_the_resources() {
    for (asked, field) in [
        (json!({"memory": {"limit": -2}}), "/memory/limit"),
        (json!({"cpu": {"shares": 1}}), "/cpu/shares"),
        (
            json!({"unified": {"memory.max": "1"}}),
            "/unified/memory.max",
        ),
    ] {
        assert_eq!(pointer(v1(), json!({}), asked), field);
    }
    let update = update(&v1(), json!({}), json!({"pids": {"limit": 3}})).unwrap();
    assert_eq!(update.writes[0].field, "/pids/limit");
}

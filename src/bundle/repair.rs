//! What the specification allows and oci-spec 0.10 refuses, or takes for something else, put
//! right in untyped JSON.
//!
//! Called only after a parse has failed or when its outcome is in doubt, so a config that
//! oci-spec can read costs nothing here. One function a gap, each with a test below that first
//! sees the gap: when that fails after an update of the crate, the function can go. A value of
//! a wrong type is never touched: the parse that follows names it.

use oci_spec::runtime::{Capability, Linux, LinuxResources, Process};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::config::Config;

/// How to read a text into a `T`.
pub struct Repair<T> {
    /// The pointer of what the text is the value of: empty for a config.json.
    pub within: &'static str,
    /// What oci-spec has read may not be what is written.
    pub doubts: fn(&T) -> bool,
    pub mend: fn(&mut Value, &mut Vec<String>),
}

pub const CONFIG: Repair<Config> = Repair {
    within: "",
    doubts: |config| {
        let linux = config.spec.linux().as_ref();
        if config.spec.process().as_ref().is_some_and(process_in_doubt)
            || linux.is_some_and(linux_in_doubt)
        {
            return true;
        }
        let resources = linux.and_then(|linux| linux.resources().as_ref());
        let rdt = linux.is_some_and(|linux| linux.intel_rdt().is_some());
        rdt || resources.is_some_and(resources_in_doubt)
    },
    mend: config,
};

pub const RESOURCES: Repair<LinuxResources> = Repair {
    within: "/linux/resources",
    doubts: resources_in_doubt,
    mend: |value, _| {
        nulls(value);
        if let Some(object) = value.as_object_mut() {
            resources(object);
        }
    },
};

pub const PROCESS: Repair<Process> = Repair {
    within: "/process",
    doubts: process_in_doubt,
    mend: |value, warnings| {
        nulls(value);
        process(value, warnings);
    },
};

/// Whether a number that must be there may not be: oci-spec then reads 0.
fn linux_in_doubt(linux: &Linux) -> bool {
    let mut devices = linux.devices().iter().flatten();
    // Each user namespace has a container's id of 0, so that is no reason to read twice.
    let mut maps = [linux.uid_mappings(), linux.gid_mappings()]
        .into_iter()
        .flatten()
        .flatten();
    devices.any(|device| device.major() == 0 || device.minor() == 0)
        || maps.any(|map| map.host_id() == 0)
}

/// The same, and an ioPriority, whose class it makes up.
fn process_in_doubt(process: &Process) -> bool {
    let mut limits = process.rlimits().iter().flatten();
    process.io_priority().is_some() || limits.any(|limit| limit.soft() == 0 || limit.hard() == 0)
}

/// Whether a limit of 0 may be no limit.
fn resources_in_doubt(resources: &LinuxResources) -> bool {
    resources
        .pids()
        .as_ref()
        .is_some_and(|pids| pids.limit() == 0)
}

/// Mend a config.json.
fn config(config: &mut Value, warnings: &mut Vec<String>) {
    nulls(config);
    if let Some(entry) = config.get_mut("process") {
        process(entry, warnings);
    }
    for device in list_at(config, "/linux/devices") {
        // Both REQUIRED unless it is a FIFO.
        if device.get("type").is_none_or(|kind| kind != "p") {
            require(device, &["major", "minor"]);
        }
    }
    for list in ["/linux/uidMappings", "/linux/gidMappings"] {
        for map in list_at(config, list) {
            require(map, &["containerID", "hostID", "size"]);
        }
    }
    if let Some(object) = config
        .pointer_mut("/linux/resources")
        .and_then(Value::as_object_mut)
    {
        resources(object);
    }
    if let Some(rdt) = config
        .pointer_mut("/linux/intelRdt")
        .and_then(Value::as_object_mut)
    {
        monitoring_of_old(rdt);
    }
}

/// Mend a resources object.
fn resources(resources: &mut Map<String, Value>) {
    pids_without_limit(resources);
    device_rules_without_type(resources);
    huge_page_limits(resources);
}

/// `enableCMT` and `enableMBM` of the specification's 1.1 and 1.2, which oci-spec spells in
/// another way and so passes over. Each asked for a part of what a monitoring group has; it
/// cannot be had in parts, which is why 1.3 has one word for it.
fn monitoring_of_old(rdt: &mut Map<String, Value>) {
    let asks = |name: &&str| rdt.get(*name).is_some_and(|value| *value == true);
    if ["enableCMT", "enableMBM"].iter().any(asks) {
        rdt.insert("enableMonitoring".to_owned(), json!(true));
    }
}

/// Mend a process object.
fn process(process: &mut Value, warnings: &mut Vec<String>) {
    for limit in list_at(process, "/rlimits") {
        require(limit, &["soft", "hard"]);
    }
    if let Some(priority) = process.get_mut("ioPriority") {
        // The idle class has no levels; engines and the peers' tests leave theirs out.
        let idle = priority
            .get("class")
            .is_some_and(|class| class == "IOPRIO_CLASS_IDLE");
        require(priority, if idle { &[] } else { &["class", "priority"] });
    }
    if let Some(process) = process.as_object_mut() {
        missing_user_and_cwd(process);
        unknown_capabilities(process, warnings);
        scheduler_flags(process);
    }
}

/// A name that is in no list of ours MUST be a warning (config.md, "Linux Process").
fn unknown_capabilities(process: &mut Map<String, Value>, warnings: &mut Vec<String>) {
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            let unknown = name.is_string() && Capability::deserialize(name).is_err();
            if unknown {
                warnings.push(format!(
                    "left out unknown capability {name} of the {set} set"
                ));
            }
            !unknown
        });
    }
}

/// The peers take a missing user for root, and say in their own words that cwd is missing.
fn missing_user_and_cwd(process: &mut Map<String, Value>) {
    for (name, value) in [("user", json!({})), ("cwd", json!(""))] {
        let entry = process.entry(name).or_insert(Value::Null);
        if entry.is_null() {
            *entry = value;
        }
    }
}

/// Two flags have other names in oci-spec than in the specification.
fn scheduler_flags(process: &mut Map<String, Value>) {
    let flags = process
        .get_mut("scheduler")
        .and_then(|scheduler| scheduler.get_mut("flags"))
        .and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        match flag.as_str() {
            Some("SCHED_FLAG_RESET_ON_FORK") => *flag = json!("SCHED_RESET_ON_FORK"),
            Some("SCHED_FLAG_DL_OVERRUN") => *flag = json!("SCHED_FLAG_D_L_OVERRUN"),
            _ => {}
        }
    }
}

/// A key whose value is null counts as not there, as for the peers; oci-spec takes null only
/// for some fields. In a list null stays, and is an error.
fn nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(nulls),
        _ => {}
    }
}

/// A limit of 0 is one, and none at all is no limit (config-linux.md, "PIDs", since 1.3.0);
/// oci-spec reads both as 0.
fn pids_without_limit(resources: &mut Map<String, Value>) {
    let pids = resources.get("pids").and_then(Value::as_object);
    if pids.is_some_and(|pids| !pids.contains_key("limit")) {
        resources.remove("pids");
    }
}

fn list_at<'a>(value: &'a mut Value, pointer: &str) -> impl Iterator<Item = &'a mut Value> {
    let list = value.pointer_mut(pointer).and_then(Value::as_array_mut);
    list.into_iter().flatten()
}

/// What the specification calls REQUIRED, and oci-spec makes up where it is missing. Null is
/// what the parse that follows then names.
fn require(object: &mut Value, names: &[&str]) {
    if let Some(object) = object.as_object_mut() {
        for name in names {
            object.entry(*name).or_insert(Value::Null);
        }
    }
}

/// `"type": ""` in a rule of the device cgroup is any type, like no type at all.
fn device_rules_without_type(resources: &mut Map<String, Value>) {
    let rules = resources.get_mut("devices").and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten().filter_map(Value::as_object_mut) {
        if rule.get("type").is_some_and(|kind| kind == "") {
            rule.remove("type");
        }
    }
}

/// The limit is a u64 in the specification and an i64 in oci-spec; what is between them is
/// more memory than there is, so the largest i64 says the same.
fn huge_page_limits(resources: &mut Map<String, Value>) {
    let limits = resources
        .get_mut("hugepageLimits")
        .and_then(Value::as_array_mut);
    for limit in limits.into_iter().flatten() {
        if let Some(limit) = limit.get_mut("limit")
            && limit.as_u64().is_some_and(|bytes| bytes > i64::MAX as u64)
        {
            *limit = json!(i64::MAX);
        }
    }
}

#[cfg(test)]
mod tests;

//! Limits and device rules as properties of a systemd unit.
//!
//! systemd writes some of the files that we write, at the unit's start and whenever it reloads
//! itself. It must know the same values, or it would undo ours. So the properties are made from
//! the planned writes. What systemd has no property for, or not in this version, it leaves
//! alone, and the file has it from us. The list is runc's (its docs/systemd.md).

use crate::cgroup::devices::{Devices, MKNOD, READ, Table, WRITE};
use crate::dbus::Value;
use crate::plan::{CgroupWrite, DeviceRule, Property, cpulist};

/// Versions of systemd that brought something.
const MAJOR_WILDCARDS: u32 = 240;
const QUOTA_PERIOD: u32 = 242;
const CPUSETS: u32 = 244;
const IDLE: u32 = 252;
const OOM_POLICY: u32 = 253;

const UNLIMITED: u64 = u64::MAX;
/// Microseconds, the kernel's.
const DEFAULT_PERIOD: u64 = 100_000;

/// What the choice of properties depends on.
#[derive(Debug, Clone, Copy)]
pub struct Host {
    /// cgroup v2 alone.
    pub v2: bool,
    /// systemd's.
    pub version: u32,
}

/// The properties of the planned limits, each at most once.
pub fn of_writes(writes: &[CgroupWrite], host: Host) -> Vec<Property> {
    let last = |file: &str| {
        let of_file = |write: &&CgroupWrite| write.file == file && is_ours(write, host);
        let write = writes.iter().rev().find(of_file)?;
        Some(write.value.trim())
    };
    let mut list = Vec::new();
    let mut push = |name: &str, value: Option<Value>| {
        list.extend(value.map(|value| Property::new(name, value)));
    };
    let number = |file: &str| last(file).and_then(limit).map(Value::Uint64);
    if host.v2 {
        for (file, name) in [
            ("memory.max", "MemoryMax"),
            ("memory.high", "MemoryHigh"),
            ("memory.low", "MemoryLow"),
            ("memory.min", "MemoryMin"),
            ("memory.swap.max", "MemorySwapMax"),
        ] {
            push(name, number(file));
        }
        // A weight of 0 is systemd's word for idle.
        match last("cpu.idle") {
            Some("1") if host.version >= IDLE => push("CPUWeight", Some(Value::Uint64(0))),
            _ => push("CPUWeight", number("cpu.weight")),
        }
    } else {
        push("MemoryLimit", number("memory.limit_in_bytes"));
        push("CPUShares", number("cpu.shares"));
        let weight = number("blkio.weight").or_else(|| number("blkio.bfq.weight"));
        push("BlockIOWeight", weight);
    }
    // systemd takes no 0, and a process that is there already is one.
    let tasks = last("pids.max").and_then(limit).map(|n| n.max(1));
    push("TasksMax", tasks.map(Value::Uint64));
    if host.version >= CPUSETS {
        let set = |file: &str| last(file).and_then(bits).map(Value::bytes);
        push("AllowedCPUs", set("cpuset.cpus"));
        push("AllowedMemoryNodes", set("cpuset.mems"));
    }
    let quota = match last("cpu.max") {
        Some(both) => Quota::of_v2(both),
        None => Quota::of_v1(last("cpu.cfs_quota_us"), last("cpu.cfs_period_us")),
    };
    if let Some(quota) = quota {
        let period = quota.period.filter(|_| host.version >= QUOTA_PERIOD);
        push("CPUQuotaPeriodUSec", period.map(Value::Uint64));
        push(
            "CPUQuotaPerSecUSec",
            Some(Value::Uint64(quota.per_second())),
        );
    }
    list
}

/// On a hybrid host systemd sets what v1 has.
fn is_ours(write: &CgroupWrite, host: Host) -> bool {
    host.v2 || !write.controller.is_empty()
}

/// `max` and -1 are no limit.
fn limit(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(UNLIMITED),
        text => text.parse().ok(),
    }
}

/// A share of the CPU, in microseconds.
struct Quota {
    /// `None` is no limit.
    quota: Option<u64>,
    period: Option<u64>,
}

impl Quota {
    /// `QUOTA [PERIOD]` of cpu.max.
    fn of_v2(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let quota = match words.next()? {
            "max" => None,
            number => Some(number.parse().ok()?),
        };
        let period = match words.next() {
            Some(number) => number.parse().ok()?,
            None => DEFAULT_PERIOD,
        };
        Some(Self {
            quota,
            period: Some(period),
        })
    }

    fn of_v1(quota: Option<&str>, period: Option<&str>) -> Option<Self> {
        if quota.is_none() && period.is_none() {
            return None;
        }
        Some(Self {
            quota: quota.and_then(|text| text.parse().ok()),
            period: period.and_then(|text| text.parse().ok()),
        })
    }

    /// Microseconds in each second. systemd counts in whole percents; rounded up, as a child
    /// cgroup must not be refused what the container was promised.
    fn per_second(&self) -> u64 {
        let period = self.period.unwrap_or(DEFAULT_PERIOD).max(1);
        match self.quota {
            None => UNLIMITED,
            Some(quota) => {
                let exact = u128::from(quota) * 1_000_000 / u128::from(period);
                u64::try_from(exact.next_multiple_of(10_000)).unwrap_or(UNLIMITED)
            }
        }
    }
}

/// A list of CPUs or memory nodes as systemd has it: bit by bit, the lowest first.
fn bits(list: &str) -> Option<Vec<u8>> {
    let numbers = cpulist::parse(list).ok()?;
    let highest = *numbers.iter().max()?;
    let mut bytes = vec![0; highest as usize / 8 + 1];
    for number in numbers {
        bytes[number as usize / 8] |= 1 << (number % 8);
    }
    Some(bytes)
}

/// What systemd does when the kernel has killed a process for want of memory; only the start of
/// a unit takes it.
pub fn oom_policy(writes: &[CgroupWrite], host: Host) -> Option<Property> {
    let write = writes.iter().rev().find(|w| w.file == "memory.oom.group")?;
    let policy = match write.value.trim() {
        "0" => "continue",
        "1" => "kill",
        _ => return None,
    };
    let known = host.v2 && host.version >= OOM_POLICY;
    known.then(|| Property::new("OOMPolicy", policy.into()))
}

/// The device rules. systemd only knows what is allowed, and no major number that is any. Rules
/// that it cannot have whole are ours alone on v2, where our program stays beside systemd's. On
/// v1 there is one list, which systemd writes again when it reloads itself: there it gets the
/// part that it can have, and denies the rest, rather than allow all.
pub fn of_devices(rules: &[DeviceRule], host: Host) -> Vec<Property> {
    if rules.is_empty() {
        return Vec::new();
    }
    let table = Table::new(rules).unwrap_or_default();
    let entries = || {
        table
            .exceptions
            .iter()
            .map(|(d, access)| entry(d, *access, host))
    };
    let whole = !table.allow && entries().all(|entry| entry.is_some());
    let open = table.allow && table.exceptions.is_empty();
    let (policy, allowed) = match (whole, host.v2 || open) {
        (false, true) => ("auto", Vec::new()),
        (false, false) if table.allow => ("strict", Vec::new()),
        _ => ("strict", entries().flatten().collect()),
    };
    vec![
        Property::new("DevicePolicy", policy.into()),
        Property::new("DeviceAllow", Value::Array("(ss)".to_owned(), allowed)),
    ]
}

/// One line of DeviceAllow; `None`: systemd cannot say it.
fn entry(devices: &Devices, access: u8, host: Host) -> Option<Value> {
    let kind = if devices.block { "block" } else { "char" };
    let path = match (devices.major, devices.minor) {
        // By number, so that the device need not be there.
        _ if host.version < MAJOR_WILDCARDS => return None,
        (None, None) => format!("{kind}-*"),
        (None, Some(_)) => return None,
        (Some(major), None) => format!("{kind}-{major}"),
        (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
    };
    let letters = [(READ, "r"), (WRITE, "w"), (MKNOD, "m")];
    let held = letters.iter().filter(|(bit, _)| access & bit != 0);
    let access: String = held.map(|(_, letter)| *letter).collect();
    Some(Value::Struct(vec![
        path.as_str().into(),
        access.as_str().into(),
    ]))
}

#[cfg(test)]
mod tests;

//! `cpu`: the share of CPU time, its bounds, and the CPUs and memory nodes.

use oci_spec::runtime::LinuxCpu;

use super::{Version, Writes, convert, only_v1, refuse};
use crate::error::Result;

pub fn writes(writes: &mut Writes, cpu: &LinuxCpu) -> Result<()> {
    const SHARES: &str = "/cpu/shares";
    const QUOTA: &str = "/cpu/quota";
    const PERIOD: &str = "/cpu/period";
    const BURST: &str = "/cpu/burst";
    const IDLE: &str = "/cpu/idle";
    const RT_PERIOD: &str = "/cpu/realtimePeriod";
    const RT_RUNTIME: &str = "/cpu/realtimeRuntime";

    let shares = cpu.shares().filter(|shares| *shares != 0);
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let period = cpu.period().filter(|period| *period != 0);
    let rt_period = cpu.realtime_period().filter(|period| *period != 0);
    let rt_runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);

    let first = [
        (shares.is_some(), SHARES),
        (quota.is_some(), QUOTA),
        (period.is_some(), PERIOD),
        (cpu.burst().is_some(), BURST),
        (cpu.idle().is_some(), IDLE),
        (rt_period.is_some(), RT_PERIOD),
        (rt_runtime.is_some(), RT_RUNTIME),
    ];
    let Some((_, field)) = first.into_iter().find(|(set, _)| *set) else {
        return Ok(());
    };
    let place = writes.place("cpu", "cpu", field)?;
    let v2 = place.version == Version::V2;

    match shares {
        // The kernel would quietly write another number.
        Some(value) if !v2 && value > convert::MAX_SHARES => {
            let problem = format!("the maximum allowed cpu-shares is {}", convert::MAX_SHARES);
            return refuse(SHARES, problem);
        }
        Some(value) if !v2 && value < convert::MIN_SHARES => {
            let problem = format!("the minimum allowed cpu-shares is {}", convert::MIN_SHARES);
            return refuse(SHARES, problem);
        }
        _ => {}
    }
    let (weight_file, weight) = match v2 {
        true => ("cpu.weight", shares.map(convert::cpu_weight)),
        false => ("cpu.shares", shares),
    };
    if let Some(idle) = cpu.idle().filter(|idle| !matches!(idle, 0 | 1)) {
        return refuse(IDLE, format!("idle is 0 or 1, not {idle}"));
    }
    // An idle cgroup refuses a weight: leave idleness first, enter it last.
    let idle_last = cpu.idle() == Some(1);
    if let Some(idle) = cpu.idle().filter(|_| !idle_last) {
        writes.push(&place, IDLE, "cpu.idle", idle);
    }
    if let Some(value) = weight {
        writes.push(&place, SHARES, weight_file, value);
    }
    if idle_last {
        writes.push(&place, IDLE, "cpu.idle", 1);
    }

    if v2 {
        if quota.is_some() || period.is_some() {
            let field = if quota.is_some() { QUOTA } else { PERIOD };
            let quota = quota
                .filter(|quota| *quota > 0)
                .map_or("max".to_owned(), |q| q.to_string());
            // The kernel's default period.
            let period = period.unwrap_or(100_000);
            writes.push(&place, field, "cpu.max", format!("{quota} {period}"));
        }
        if let Some(value) = cpu.burst() {
            writes.push(&place, BURST, "cpu.max.burst", value);
        }
        if rt_period.is_some() {
            return only_v1(RT_PERIOD, "realtime period");
        }
        if rt_runtime.is_some() {
            return only_v1(RT_RUNTIME, "realtime runtime");
        }
        return Ok(());
    }
    if let Some(value) = period {
        writes.push(&place, PERIOD, "cpu.cfs_period_us", value);
    }
    if let Some(value) = quota {
        writes.push(&place, QUOTA, "cpu.cfs_quota_us", value);
    }
    if let Some(value) = cpu.burst() {
        writes.push(&place, BURST, "cpu.cfs_burst_us", value);
    }
    if let Some(value) = rt_period {
        writes.push(&place, RT_PERIOD, "cpu.rt_period_us", value);
    }
    if let Some(value) = rt_runtime {
        writes.push(&place, RT_RUNTIME, "cpu.rt_runtime_us", value);
    }
    Ok(())
}

/// The CPUs and memory nodes.
pub fn set_writes(writes: &mut Writes, cpu: &LinuxCpu) -> Result<()> {
    for (value, field, file) in [
        (cpu.cpus(), "/cpu/cpus", "cpuset.cpus"),
        (cpu.mems(), "/cpu/mems", "cpuset.mems"),
    ] {
        let Some(list) = value.as_deref().filter(|list| !list.is_empty()) else {
            continue;
        };
        let known = |c: char| c.is_ascii_digit() || ",-:/ \n".contains(c);
        if !list.chars().all(known) {
            return refuse(field, format!("not a list of numbers and ranges: {list:?}"));
        }
        let place = writes.place("cpuset", "cpuset", field)?;
        writes.push(&place, field, file, list);
    }
    Ok(())
}

//! CPU time and throttling.

use serde::Serialize;

use super::files::{Files, number};
use super::is_zero;
use super::psi::{self, Psi};
use crate::error::Result;

/// cpuacct.stat counts in USER_HZ, which is 100 on every Linux.
const TICK: u64 = 1_000_000_000 / 100;
const MICRO: u64 = 1000;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpu {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: Usage,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

/// Nanoseconds since the cgroup was made.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Usage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// By CPU; only v1 has these three.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which the quota was watched.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Those in which it was used up.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Of the directory of the cpu controller.
pub fn throttling_v1(files: &Files) -> Result<Throttling> {
    let mut throttling = Throttling::default();
    for (key, value) in files.pairs("cpu.stat")?.unwrap_or_default() {
        match key.as_str() {
            "nr_periods" => throttling.periods = value,
            "nr_throttled" => throttling.throttled_periods = value,
            "throttled_time" => throttling.throttled_time = value,
            _ => {}
        }
    }
    Ok(throttling)
}

/// Of the directory of cpuacct.
pub fn usage_v1(files: &Files) -> Result<Usage> {
    let mut usage = Usage::default();
    for (key, ticks) in files.pairs("cpuacct.stat")?.unwrap_or_default() {
        match key.as_str() {
            "user" => usage.user = ticks.saturating_mul(TICK),
            "system" => usage.kernel = ticks.saturating_mul(TICK),
            _ => {}
        }
    }
    usage.total = files.number_or_zero("cpuacct.usage")?;

    let name = "cpuacct.usage_percpu";
    let text = files.text(name)?.unwrap_or_default();
    for word in text.split_whitespace() {
        let time = number(word).ok_or_else(|| files.malformed(name, word))?;
        usage.percpu.push(time);
    }

    let name = "cpuacct.usage_all";
    let text = files.text(name)?.unwrap_or_default();
    let mut lines = text.lines();
    if lines
        .next()
        .is_some_and(|h| !h.starts_with("cpu user system"))
    {
        return Err(files.malformed(name, &text));
    }
    for line in lines {
        let mut times = line.split(' ').skip(1).map(number);
        let (Some(Some(user)), Some(Some(kernel))) = (times.next(), times.next()) else {
            return Err(files.malformed(name, line));
        };
        usage.percpu_user.push(user);
        usage.percpu_kernel.push(kernel);
    }
    Ok(usage)
}

/// cpu.stat is in every v2 cgroup; without the controller it has the usage alone.
pub fn v2(files: &Files) -> Result<Cpu> {
    let mut cpu = Cpu {
        psi: psi::read(files, "cpu.pressure")?,
        ..Cpu::default()
    };
    for (key, value) in files.pairs("cpu.stat")?.unwrap_or_default() {
        let nanos = value.saturating_mul(MICRO);
        match key.as_str() {
            "usage_usec" => cpu.usage.total = nanos,
            "user_usec" => cpu.usage.user = nanos,
            "system_usec" => cpu.usage.kernel = nanos,
            "nr_periods" => cpu.throttling.periods = value,
            "nr_throttled" => cpu.throttling.throttled_periods = value,
            "throttled_usec" => cpu.throttling.throttled_time = nanos,
            _ => {}
        }
    }
    Ok(cpu)
}

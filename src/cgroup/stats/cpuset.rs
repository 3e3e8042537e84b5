//! The CPUs and memory nodes of a cpuset, which runc tells of v1 alone.

use serde::Serialize;

use super::files::Files;
use crate::error::Result;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

pub fn v1(files: &Files) -> Result<Cpuset> {
    Ok(Cpuset {
        cpus: list(files, "cpuset.cpus")?,
        cpu_exclusive: files.number_or_zero("cpuset.cpu_exclusive")?,
        mems: list(files, "cpuset.mems")?,
        mem_hardwall: files.number_or_zero("cpuset.mem_hardwall")?,
        mem_exclusive: files.number_or_zero("cpuset.mem_exclusive")?,
        memory_migrate: files.number_or_zero("cpuset.memory_migrate")?,
        memory_spread_page: files.number_or_zero("cpuset.memory_spread_page")?,
        memory_spread_slab: files.number_or_zero("cpuset.memory_spread_slab")?,
        memory_pressure: files.number_or_zero("cpuset.memory_pressure")?,
        sched_load_balance: files.number_or_zero("cpuset.sched_load_balance")?,
        sched_relax_domain_level: level(files)?,
    })
}

/// -1 is the kernel's own choice.
fn level(files: &Files) -> Result<i64> {
    let name = "cpuset.sched_relax_domain_level";
    match files.text(name)? {
        None => Ok(0),
        Some(text) => text
            .trim()
            .parse()
            .map_err(|_| files.malformed(name, &text)),
    }
}

/// `0-2,5` as numbers.
fn list(files: &Files, name: &str) -> Result<Vec<u16>> {
    let text = files.text(name)?.unwrap_or_default();
    let mut numbers = Vec::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last => numbers.extend(first..=last),
            _ => return Err(files.malformed(name, &text)),
        }
    }
    Ok(numbers)
}

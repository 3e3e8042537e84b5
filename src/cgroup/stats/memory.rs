//! Memory, in bytes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::Files;
use super::is_zero;
use super::psi::{self, Psi};
use crate::error::Result;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: Entry,
    /// Memory and swap together, on v2 too.
    #[serde(skip_serializing_if = "is_zero")]
    pub swap: Entry,
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel: Entry,
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_zero")]
    pub kernel_tcp: Entry,
    /// memory.stat as it is.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Psi>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Entry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The highest that the usage has been.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

pub fn v1(files: &Files) -> Result<Memory> {
    let raw = raw(files)?;
    Ok(Memory {
        cache: raw.get("cache").copied().unwrap_or(0),
        usage: entry_v1(files, "memory")?,
        swap: entry_v1(files, "memory.memsw")?,
        kernel: entry_v1(files, "memory.kmem")?,
        kernel_tcp: entry_v1(files, "memory.kmem.tcp")?,
        raw,
        psi: None,
    })
}

fn entry_v1(files: &Files, kind: &str) -> Result<Entry> {
    Ok(Entry {
        usage: files.number_or_zero(&format!("{kind}.usage_in_bytes"))?,
        max: files.number_or_zero(&format!("{kind}.max_usage_in_bytes"))?,
        failcnt: files.number_or_zero(&format!("{kind}.failcnt"))?,
        limit: files.number_or_zero(&format!("{kind}.limit_in_bytes"))?,
    })
}

pub fn v2(files: &Files) -> Result<Memory> {
    let psi = psi::read(files, "memory.pressure")?;
    let raw = raw(files)?;
    if raw.is_empty() {
        return Ok(Memory {
            psi,
            ..Memory::default()
        });
    }
    let usage = entry_v2(files, "memory")?;
    let swap = entry_v2(files, "memory.swap")?;
    Ok(Memory {
        cache: raw.get("file").copied().unwrap_or(0),
        usage,
        // In the manner of v1's memsw. A sum of two highest values means nothing.
        swap: Entry {
            usage: swap.usage.saturating_add(usage.usage),
            limit: swap.limit.saturating_add(usage.limit),
            max: 0,
            failcnt: 0,
        },
        kernel: Entry::default(),
        kernel_tcp: Entry::default(),
        raw,
        psi,
    })
}

fn entry_v2(files: &Files, kind: &str) -> Result<Entry> {
    Ok(Entry {
        usage: files.number_or_zero(&format!("{kind}.current"))?,
        limit: files.number_or_zero(&format!("{kind}.max"))?,
        max: files.number_or_zero(&format!("{kind}.peak"))?,
        failcnt: 0,
    })
}

fn raw(files: &Files) -> Result<BTreeMap<String, u64>> {
    let pairs = files.pairs("memory.stat")?.unwrap_or_default();
    Ok(pairs.into_iter().collect())
}

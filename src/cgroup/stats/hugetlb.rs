//! Huge pages, by their size.

use std::collections::BTreeMap;

use serde::Serialize;

use super::files::Files;
use super::is_zero;
use crate::error::Result;

/// By the kernel's names of sizes, `2MB` and the like.
pub type ByPageSize = BTreeMap<String, Hugetlb>;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    /// Bytes.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// The highest that the usage has been; v2 does not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was met.
    pub failcnt: u64,
}

/// The sizes that this machine has.
pub fn page_sizes() -> Vec<String> {
    let entries = std::fs::read_dir("/sys/kernel/mm/hugepages");
    let names = entries.into_iter().flatten().flatten();
    names
        .filter_map(|entry| page_size(entry.file_name().to_str()?))
        .collect()
}

/// `hugepages-2048kB` is what the controller calls `2MB`.
pub fn page_size(name: &str) -> Option<String> {
    let kilobytes = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
    let kilobytes: u64 = kilobytes.parse().ok()?;
    Some(if kilobytes >= 1 << 20 {
        format!("{}GB", kilobytes >> 20)
    } else if kilobytes >= 1 << 10 {
        format!("{}MB", kilobytes >> 10)
    } else {
        format!("{kilobytes}KB")
    })
}

/// What is reserved counts, where the kernel tells it (5.7 and later).
pub fn v1(files: &Files, sizes: &[String]) -> Result<ByPageSize> {
    by_size(sizes, |size| {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            if let Some(usage) = files.number(&format!("{prefix}.usage_in_bytes"))? {
                return Ok(Some(Hugetlb {
                    usage,
                    max: files.number_or_zero(&format!("{prefix}.max_usage_in_bytes"))?,
                    failcnt: files.number_or_zero(&format!("{prefix}.failcnt"))?,
                }));
            }
        }
        Ok(None)
    })
}

/// The same on v2.
pub fn v2(files: &Files, sizes: &[String]) -> Result<ByPageSize> {
    by_size(sizes, |size| {
        for prefix in [format!("hugetlb.{size}.rsvd"), format!("hugetlb.{size}")] {
            if let Some(usage) = files.number(&format!("{prefix}.current"))? {
                let events = files.pairs(&format!("hugetlb.{size}.events"))?;
                let max = events
                    .into_iter()
                    .flatten()
                    .find_map(|(key, count)| (key == "max").then_some(count));
                return Ok(Some(Hugetlb {
                    usage,
                    max: 0,
                    failcnt: max.unwrap_or(0),
                }));
            }
        }
        Ok(None)
    })
}

fn by_size(sizes: &[String], read: impl Fn(&str) -> Result<Option<Hugetlb>>) -> Result<ByPageSize> {
    let mut found = ByPageSize::new();
    for size in sizes {
        if let Some(stats) = read(size)? {
            found.insert(size.clone(), stats);
        }
    }
    Ok(found)
}

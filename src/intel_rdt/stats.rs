//! What a container's group of resctrl has, and what it uses.
//!
//! Named and shaped as `runc events` shows it: each part is there when the host has the feature,
//! which the directories below `info` tell.

use std::path::Path;

use serde::Serialize;

use super::resctrl::Resctrl;
use crate::error::{Error, Result, Step};

/// All absent for a container that is in no group of its own.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    l3_cache_schema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema_root: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    mem_bw_schema: String,
    /// The lines of the group's file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    schemata: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_stats: Option<Vec<Bandwidth>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cmt_stats: Option<Vec<Occupancy>>,
}

#[derive(Debug, PartialEq, Serialize)]
struct CacheInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    cbm_mask: String,
    #[serde(skip_serializing_if = "is_zero")]
    min_cbm_bits: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct BandwidthInfo {
    #[serde(skip_serializing_if = "is_zero")]
    bandwidth_gran: u64,
    #[serde(skip_serializing_if = "is_zero")]
    delay_linear: u64,
    #[serde(skip_serializing_if = "is_zero")]
    min_bandwidth: u64,
    #[serde(skip_serializing_if = "is_zero")]
    num_closids: u64,
}

/// Of one domain (a cache, in general that of a socket).
#[derive(Debug, PartialEq, Serialize)]
struct Bandwidth {
    mbm_total_bytes: u64,
    mbm_local_bytes: u64,
}

/// The same; bytes.
#[derive(Debug, PartialEq, Serialize)]
struct Occupancy {
    llc_occupancy: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Of the group `dir`, and of the monitoring group `monitor` in it, where the container has one;
/// an empty `dir` is none.
pub fn read(dir: &str, monitor: &str) -> Result<Stats> {
    if dir.is_empty() {
        return Ok(Stats::default());
    }
    let monitor = if monitor.is_empty() { dir } else { monitor };
    Resctrl::find()
        .and_then(|resctrl| below(&resctrl.root, Path::new(dir), Path::new(monitor)))
        .map_err(|error| error.within("unable to get container Intel RDT stats"))
}

fn below(root: &Path, dir: &Path, monitor: &Path) -> Result<Stats> {
    let info = root.join("info");
    let of_host = text(&root.join("schemata"))?;
    let of_group = text(&dir.join("schemata"))?;
    let mut stats = Stats {
        schemata: of_group.split('\n').map(str::to_owned).collect(),
        ..Stats::default()
    };
    let cache = info.join("L3");
    if cache.exists() {
        stats.l3_cache_info = Some(CacheInfo {
            cbm_mask: text(&cache.join("cbm_mask"))?,
            min_cbm_bits: number(&cache.join("min_cbm_bits"))?,
            num_closids: number(&cache.join("num_closids"))?,
        });
        stats.l3_cache_schema_root = line_of("L3", &of_host);
        stats.l3_cache_schema = line_of("L3", &of_group);
    }
    let bandwidth = info.join("MB");
    if bandwidth.exists() {
        stats.mem_bw_info = Some(BandwidthInfo {
            bandwidth_gran: number(&bandwidth.join("bandwidth_gran"))?,
            delay_linear: number(&bandwidth.join("delay_linear"))?,
            min_bandwidth: number(&bandwidth.join("min_bandwidth"))?,
            num_closids: number(&bandwidth.join("num_closids"))?,
        });
        stats.mem_bw_schema_root = line_of("MB", &of_host);
        stats.mem_bw_schema = line_of("MB", &of_group);
    }
    monitored(&info.join("L3_MON/mon_features"), monitor, &mut stats)?;
    Ok(stats)
}

/// The counters of each domain, in the order of their names.
fn monitored(features: &Path, monitor: &Path, stats: &mut Stats) -> Result<()> {
    let features = match features.exists() {
        true => text(features)?,
        false => return Ok(()),
    };
    let has = |name: &str| features.lines().any(|line| line == name);
    let (total, local) = (has("mbm_total_bytes"), has("mbm_local_bytes"));
    let occupancy = has("llc_occupancy");
    if !(total || local || occupancy) {
        return Ok(());
    }
    let dir = monitor.join("mon_data");
    let entries = std::fs::read_dir(&dir).step_on("list", &dir)?;
    let mut domains: Vec<_> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    domains.sort();
    let count = |there: bool, domain: &Path, name: &str| match there {
        true => number(&domain.join(name)),
        false => Ok(0),
    };
    let mut moved = Vec::new();
    let mut kept = Vec::new();
    for domain in &domains {
        moved.push(Bandwidth {
            mbm_total_bytes: count(total, domain, "mbm_total_bytes")?,
            mbm_local_bytes: count(local, domain, "mbm_local_bytes")?,
        });
        kept.push(Occupancy {
            llc_occupancy: count(occupancy, domain, "llc_occupancy")?,
        });
    }
    stats.mbm_stats = (total || local).then_some(moved);
    stats.cmt_stats = occupancy.then_some(kept);
    Ok(())
}

/// The last line that speaks of a resource.
fn line_of(resource: &str, schemata: &str) -> String {
    let mut lines = schemata.split('\n').rev();
    let line = lines.find(|line| line.contains(resource));
    line.unwrap_or_default().trim().to_owned()
}

fn text(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).step_on("read", path)?;
    Ok(text.trim().to_owned())
}

fn number(path: &Path) -> Result<u64> {
    let text = text(path)?;
    text.parse()
        .map_err(|_| Error::new(format!("not a number: {text:?}")).with_path(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn statistics_have_runcs_names() {
        let root = std::env::temp_dir().join(format!("orlop-rdt-stats-{}", std::process::id()));
        let put = |path: &str, text: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n");
        put("gold/schemata", "    L3:0=f;1=f\n    MB:0=20;1=70\n");
        let read = || {
            let (dir, monitor) = (root.join("gold"), root.join("gold/mon_groups/box"));
            serde_json::to_value(below(&root, &dir, &monitor).unwrap()).unwrap()
        };
        let schemata = json!(["L3:0=f;1=f", "    MB:0=20;1=70"]);
        assert_eq!(read(), json!({"schemata": schemata}));

        for (path, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            (
                "info/L3_MON/mon_features",
                "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n",
            ),
        ] {
            put(path, text);
        }
        for (domain, unit) in [("mon_L3_01", 1000), ("mon_L3_00", 1)] {
            for (name, value) in [
                ("llc_occupancy", 1),
                ("mbm_total_bytes", 2),
                ("mbm_local_bytes", 3),
            ] {
                let path = format!("gold/mon_groups/box/mon_data/{domain}/{name}");
                put(&path, &format!("{}\n", value * unit));
            }
        }
        assert_eq!(
            read(),
            json!({
                "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16},
                "l3_cache_schema_root": "L3:0=fffff;1=fffff",
                "l3_cache_schema": "L3:0=f;1=f",
                "mem_bw_info":
                    {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
                "mem_bw_schema_root": "MB:0=100;1=100",
                "mem_bw_schema": "MB:0=20;1=70",
                "schemata": schemata,
                "mbm_stats": [
                    {"mbm_total_bytes": 2, "mbm_local_bytes": 3},
                    {"mbm_total_bytes": 2000, "mbm_local_bytes": 3000},
                ],
                "cmt_stats": [{"llc_occupancy": 1}, {"llc_occupancy": 1000}],
            })
        );
        put(
            "gold/mon_groups/box/mon_data/mon_L3_00/llc_occupancy",
            "Unavailable\n",
        );
        let broken = below(&root, &root.join("gold"), &root.join("gold/mon_groups/box"));
        assert!(broken.unwrap_err().to_string().contains("llc_occupancy"));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_container_without_a_group_has_none() {
        assert_eq!(read("", "").unwrap(), Stats::default());
        assert_eq!(serde_json::to_string(&Stats::default()).unwrap(), "{}");
    }
}

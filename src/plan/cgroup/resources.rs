//! `linux.resources` as writes to the files of the container's cgroup.
//!
//! The config speaks the language of v1; on v2 values are converted as runc converts them. On
//! a hybrid host a controller that v1 does not have is looked for in the unified hierarchy.
//! A limit that nothing on this host can enforce is refused by its field, never dropped.

use oci_spec::runtime::{LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources};

use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::plan::{CgroupWrite, Missing, escape};

mod block_io;
mod convert;
mod cpu;
mod memory;

pub const FIELD: &str = "/linux/resources";

/// The writes of all resources but devices, in order, for a new cgroup or for one that is in
/// use and may have limits already.
pub fn writes(
    resources: &LinuxResources,
    layout: &Layout,
    in_use: bool,
    warnings: &mut Vec<String>,
) -> Result<Vec<CgroupWrite>> {
    let mut writes = Writes {
        layout,
        in_use,
        list: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        memory::writes(&mut writes, memory, warnings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu::writes(&mut writes, cpu)?;
        cpu::set_writes(&mut writes, cpu)?;
    }
    if let Some(pids) = resources.pids() {
        pids_write(&mut writes, pids)?;
    }
    if let Some(block_io) = resources.block_io() {
        block_io::writes(&mut writes, block_io)?;
    }
    for (index, limit) in resources.hugepage_limits().iter().flatten().enumerate() {
        hugepage_writes(&mut writes, index, limit.page_size(), limit.limit())?;
    }
    if let Some(network) = resources.network() {
        network_writes(&mut writes, network)?;
    }
    let mut rdma: Vec<_> = resources.rdma().iter().flatten().collect();
    rdma.sort_by_key(|(device, _)| *device);
    for (device, limit) in rdma {
        rdma_write(&mut writes, device, limit)?;
    }
    let mut unified: Vec<_> = resources.unified().iter().flatten().collect();
    unified.sort();
    for (file, value) in unified {
        unified_writes(&mut writes, file, value)?;
    }
    Ok(writes.list)
}

/// The two languages of the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

struct Writes<'a> {
    layout: &'a Layout,
    in_use: bool,
    list: Vec<CgroupWrite>,
}

/// A controller on this host, for one group of fields.
struct Place {
    version: Version,
    /// Key of its directory.
    key: &'static str,
}

impl Writes<'_> {
    /// Where a controller is; v1 and v2 may call it differently. `field` is what needs it.
    fn place(&self, v1: &'static str, v2: &'static str, field: &str) -> Result<Place> {
        if self.layout.v1_with(v1).is_some() {
            return Ok(Place {
                version: Version::V1,
                key: v1,
            });
        }
        let unified = self.layout.v2.as_ref();
        if unified.is_some_and(|unified| unified.controllers.iter().any(|c| c == v2)) {
            return Ok(Place {
                version: Version::V2,
                key: "",
            });
        }
        let name = if self.layout.is_v2_only() { v2 } else { v1 };
        Err(Error::field(
            format!("{FIELD}{field}"),
            format!("cannot set {name} limit: container could not join or create cgroup"),
        )
        .with_hint(format!("this host has no {name} controller")))
    }

    fn push(&mut self, place: &Place, field: &str, file: &str, value: impl ToString) {
        self.push_or(place, field, file, value, Missing::Refuse);
    }

    fn push_or(
        &mut self,
        place: &Place,
        field: &str,
        file: &str,
        value: impl ToString,
        missing: Missing,
    ) {
        self.list.push(CgroupWrite {
            field: format!("{FIELD}{field}"),
            controller: place.key.to_owned(),
            file: file.to_owned(),
            value: value.to_string(),
            missing,
        });
    }
}

fn refuse<T>(field: &str, problem: impl Into<String>) -> Result<T> {
    Err(Error::field(format!("{FIELD}{field}"), problem))
}

/// A field of v1 that v2 has nothing for.
fn only_v1<T>(field: &str, what: &str) -> Result<T> {
    refuse(field, format!("cgroup v2 has no {what}"))
}

/// 0 is unset, -1 is unlimited.
fn limit(value: Option<i64>, field: &str) -> Result<Option<i64>> {
    match value {
        Some(value) if value < -1 => refuse(field, format!("invalid limit {value}")),
        value => Ok(value.filter(|value| *value != 0)),
    }
}

fn max(value: i64) -> String {
    match value {
        -1 => "max".to_owned(),
        value => value.to_string(),
    }
}

fn pids_write(writes: &mut Writes, pids: &LinuxPids) -> Result<()> {
    const FIELD: &str = "/pids/limit";
    let value = match pids.limit() {
        // As with systemd, whose TasksMax cannot be 0: one, which a container has anyway.
        0 => "1".to_owned(),
        value if value < 0 => "max".to_owned(),
        value => value.to_string(),
    };
    let place = writes.place("pids", "pids", FIELD)?;
    writes.push(&place, FIELD, "pids.max", value);
    Ok(())
}

fn hugepage_writes(writes: &mut Writes, index: usize, size: &str, limit: i64) -> Result<()> {
    let field = format!("/hugepageLimits/{index}");
    let digits = size.trim_end_matches(|c: char| c.is_ascii_uppercase());
    let unit = &size[digits.len()..];
    let number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !number || !["KB", "MB", "GB"].contains(&unit) {
        return refuse(
            &format!("{field}/pageSize"),
            format!("not a page size: {size:?}"),
        );
    }
    if limit < 0 {
        return refuse(&format!("{field}/limit"), format!("invalid limit {limit}"));
    }
    let place = writes.place("hugetlb", "hugetlb", &field)?;
    let (suffix, value) = match place.version {
        Version::V1 => ("limit_in_bytes", limit.to_string()),
        Version::V2 => ("max", limit.to_string()),
    };
    writes.push(&place, &field, &format!("hugetlb.{size}.{suffix}"), &value);
    // Reservations are accounted since Linux 5.7.
    let reserved = format!("hugetlb.{size}.rsvd.{suffix}");
    writes.push_or(&place, &field, &reserved, &value, Missing::Skip);
    Ok(())
}

fn network_writes(writes: &mut Writes, network: &LinuxNetwork) -> Result<()> {
    const CLASS: &str = "/network/classID";
    if let Some(class) = network.class_id().filter(|class| *class != 0) {
        let place = writes.place("net_cls", "net_cls", CLASS)?;
        writes.push(&place, CLASS, "net_cls.classid", class);
    }
    for (index, priority) in network.priorities().iter().flatten().enumerate() {
        let field = format!("/network/priorities/{index}");
        let name = priority.name();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '\0') {
            let problem = format!("not the name of a network interface: {name:?}");
            return refuse(&format!("{field}/name"), problem);
        }
        let place = writes.place("net_prio", "net_prio", &field)?;
        let value = format!("{name} {}", priority.priority());
        writes.push(&place, &field, "net_prio.ifpriomap", value);
    }
    Ok(())
}

fn rdma_write(writes: &mut Writes, device: &str, limit: &LinuxRdma) -> Result<()> {
    let field = format!("/rdma/{}", escape(device));
    if device.contains(char::is_whitespace) || device.is_empty() {
        return refuse(&field, format!("not a device name: {device:?}"));
    }
    let mut value = device.to_owned();
    for (name, limit) in [
        ("hca_handle", limit.hca_handles()),
        ("hca_object", limit.hca_objects()),
    ] {
        if let Some(limit) = limit {
            value.push_str(&format!(" {name}={limit}"));
        }
    }
    let place = writes.place("rdma", "rdma", &field)?;
    writes.push(&place, &field, "rdma.max", value);
    Ok(())
}

/// Files of v2 by name; they come last and so override what the other fields say.
fn unified_writes(writes: &mut Writes, file: &str, value: &str) -> Result<()> {
    let field = format!("/unified/{}", escape(file));
    let Some(unified) = writes
        .layout
        .v2
        .as_ref()
        .filter(|_| writes.layout.is_v2_only())
    else {
        return refuse(
            &field,
            "invalid configuration: cannot use unified on cgroup v1",
        );
    };
    if file.contains('/') {
        let problem = format!("unified resource {file:?} must be a file name (no slashes)");
        return refuse(&field, problem);
    }
    let Some((controller, _)) = file.split_once('.').filter(|(c, _)| !c.is_empty()) else {
        let problem = format!("unified resource {file:?} must be in the form CONTROLLER.PARAMETER");
        return refuse(&field, problem);
    };
    if controller != "cgroup" && !unified.controllers.iter().any(|c| c == controller) {
        let problem = format!(
            "unified resource {file:?} can't be set: controller {controller:?} not available"
        );
        return refuse(&field, problem);
    }
    if value.contains('\0') {
        return refuse(&field, "a NUL character is not allowed");
    }
    let place = Place {
        version: Version::V2,
        key: "",
    };
    // The kernel takes one line a write.
    for line in value.lines().filter(|line| !line.is_empty()) {
        writes.push(&place, &field, file, line);
    }
    Ok(())
}

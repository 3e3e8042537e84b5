//! `linux.resources` as writes to the files of the container's cgroup.
//!
//! The config speaks the language of v1; on v2 values are converted as runc converts them. On
//! a hybrid host a controller that v1 does not have is looked for in the unified hierarchy.
//! A limit that nothing on this host can enforce is refused by its field, never dropped.

use oci_spec::runtime::{
    LinuxCpu, LinuxMemory, LinuxNetwork, LinuxPids, LinuxRdma, LinuxResources,
};

use crate::cgroup::Layout;
use crate::error::{Error, Result};
use crate::plan::{CgroupWrite, Missing, escape};

mod block_io;
mod convert;

const FIELD: &str = "/linux/resources";

/// The writes of all resources but devices, in order.
pub fn writes(
    resources: &LinuxResources,
    layout: &Layout,
    warnings: &mut Vec<String>,
) -> Result<Vec<CgroupWrite>> {
    let mut writes = Writes {
        layout,
        list: Vec::new(),
    };
    if let Some(memory) = resources.memory() {
        memory_writes(&mut writes, memory, warnings)?;
    }
    if let Some(cpu) = resources.cpu() {
        cpu_writes(&mut writes, cpu)?;
        cpuset_writes(&mut writes, cpu)?;
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

fn memory_writes(
    writes: &mut Writes,
    memory: &LinuxMemory,
    warnings: &mut Vec<String>,
) -> Result<()> {
    const LIMIT: &str = "/memory/limit";
    const SWAP: &str = "/memory/swap";
    const SOFT: &str = "/memory/reservation";
    const SWAPPINESS: &str = "/memory/swappiness";
    const NO_KILLER: &str = "/memory/disableOOMKiller";
    const HIERARCHY: &str = "/memory/useHierarchy";

    // checkBeforeUpdate speaks of a cgroup in use; the one that we fill now must be empty.
    if memory.kernel().is_some() || memory.kernel_tcp().is_some() {
        // The kernel took these limits out, and every runtime goes on with this warning.
        warnings.push("Kernel memory settings are ignored and will be removed".to_owned());
    }
    let total = limit(memory.limit(), LIMIT)?;
    let swap = limit(memory.swap(), SWAP)?;
    let soft = limit(memory.reservation(), SOFT)?;
    let killer_off = memory.disable_oom_killer() == Some(true);

    let first = [
        (total.is_some(), LIMIT),
        (swap.is_some(), SWAP),
        (soft.is_some(), SOFT),
        (memory.swappiness().is_some(), SWAPPINESS),
        (killer_off, NO_KILLER),
        (memory.use_hierarchy().is_some(), HIERARCHY),
    ];
    let Some((_, field)) = first.into_iter().find(|(set, _)| *set) else {
        return Ok(());
    };
    let place = writes.place("memory", "memory", field)?;

    if place.version == Version::V2 {
        let swap_max = match convert::swap_max(swap.unwrap_or(0), total.unwrap_or(0)) {
            Ok(value) => value,
            Err(problem) => return refuse(SWAP, problem),
        };
        if let Some(value) = swap_max {
            // Without swap in the kernel there is none to limit or to forbid.
            let missing = match value {
                -1 | 0 => Missing::Skip,
                _ => Missing::Refuse,
            };
            writes.push_or(&place, SWAP, "memory.swap.max", max(value), missing);
        }
        if let Some(value) = total {
            writes.push(&place, LIMIT, "memory.max", max(value));
        }
        if let Some(value) = soft {
            writes.push(&place, SOFT, "memory.low", max(value));
        }
        if memory.swappiness().is_some() {
            return only_v1(SWAPPINESS, "swappiness of a cgroup");
        }
        if killer_off {
            return only_v1(NO_KILLER, "switch for the OOM killer");
        }
        if memory.use_hierarchy() == Some(false) {
            return only_v1(HIERARCHY, "accounting without hierarchy");
        }
        return Ok(());
    }

    // use_hierarchy could only be changed before anything is charged.
    if let Some(on) = memory.use_hierarchy() {
        writes.push(&place, HIERARCHY, "memory.use_hierarchy", u8::from(on));
    }
    const MEMSW: &str = "memory.memsw.limit_in_bytes";
    // The kernel keeps limit <= memory and swap together; whichever of the two it refuses for
    // that comes again after the other.
    if let Some(value) = total {
        writes.push(&place, LIMIT, "memory.limit_in_bytes", value);
    }
    match (swap, total) {
        (Some(value), _) => writes.push(&place, SWAP, MEMSW, value),
        // Unlimited memory is meant to be just that, where swap is accounted at all.
        (None, Some(-1)) => writes.push_or(&place, LIMIT, MEMSW, -1, Missing::Skip),
        (None, _) => {}
    }
    if let Some(value) = soft {
        writes.push(&place, SOFT, "memory.soft_limit_in_bytes", value);
    }
    if killer_off {
        writes.push(&place, NO_KILLER, "memory.oom_control", 1);
    }
    match memory.swappiness() {
        // What -1 comes to in an unsigned field: unset.
        None | Some(u64::MAX) => {}
        Some(value @ 0..=100) => writes.push(&place, SWAPPINESS, "memory.swappiness", value),
        Some(value) => {
            let problem =
                format!("invalid memory swappiness value: {value} (valid range is 0-100)");
            return refuse(SWAPPINESS, problem);
        }
    }
    Ok(())
}

fn cpu_writes(writes: &mut Writes, cpu: &LinuxCpu) -> Result<()> {
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

fn cpuset_writes(writes: &mut Writes, cpu: &LinuxCpu) -> Result<()> {
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

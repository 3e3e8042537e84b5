//! `update`: new limits for a container that has limits already.
//!
//! What is asked for is merged into what the container has been given so far, so that the next
//! update knows it all. But only what is asked for is written: a limit that somebody has changed
//! by hand, or that was never set, stays as it is. Two pairs go together, since one file of the
//! kernel holds both or one value follows from the other: on v2 quota with period, and swap with
//! memory. Of these the half that was not asked for is the one that is remembered.
//!
//! A number that is 0 where the specification knows no such limit counts as not given, as it
//! does at create; engines send whole objects of zeros. Devices are never looked at: the rules
//! stay what create has made them.

use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxRdma, LinuxRdmaBuilder, LinuxResources,
    LinuxThrottleDevice, LinuxWeightDevice,
};

use super::resources::{self, FIELD};
use crate::cgroup::Layout;
use crate::error::{Error, Result, Target};
use crate::plan::CgroupWrite;

/// What an update does. JSON pointers, also those of errors, begin at the resources.
#[derive(Debug, PartialEq)]
pub struct Update {
    /// Controllers that the unified hierarchy hands down, for `writes` to find their files.
    pub enable: Vec<String>,
    /// In order.
    pub writes: Vec<CgroupWrite>,
    /// Limits that use of memory must be below before anything is written.
    pub check: Option<MemoryCheck>,
    /// What the container has been given from then on.
    pub resources: LinuxResources,
}

/// `checkBeforeUpdate` on v2, where the kernel would make room by its OOM killer. On v1 it
/// refuses by itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct MemoryCheck {
    /// Bytes.
    pub limit: Option<u64>,
    /// Bytes of memory and swap together.
    pub swap: Option<u64>,
}

/// What is kept of a container's resources.
pub fn remembered(resources: &LinuxResources) -> LinuxResources {
    let mut kept = resources.clone();
    kept.set_devices(None);
    kept
}

/// Plan the change from what the container has been given to what is asked for.
///
/// # Errors
/// A field that is wrong, or that nothing on this host can enforce.
pub fn plan(
    given: Option<&LinuxResources>,
    asked: &LinuxResources,
    layout: &Layout,
    warnings: &mut Vec<String>,
) -> Result<Update> {
    let mut asked = remembered(asked);
    drop_unset(&mut asked);
    let mut resources = given.cloned().unwrap_or_default();
    merge(&mut resources, &asked);

    let apply = with_other_halves(&asked, &resources, layout);
    let writes = resources::writes(&apply, layout, true, warnings);
    let mut writes = writes.map_err(from_the_resources)?;
    let limit_asked = asked.memory().is_some_and(|m| m.limit().is_some());
    writes.retain(|write| limit_asked || write.file != "memory.max" || is_unified(write));
    for write in &mut writes {
        shorten(&mut write.field);
    }
    Ok(Update {
        enable: super::enable(layout, &writes),
        check: check(&asked, &resources, layout),
        writes,
        resources,
    })
}

fn is_unified(write: &CgroupWrite) -> bool {
    write.field.contains("/unified/")
}

fn shorten(field: &mut String) {
    if let Some(rest) = field.strip_prefix(FIELD) {
        *field = rest.to_owned();
    }
}

fn from_the_resources(mut error: Error) -> Error {
    if let Some(Target::Field(field)) = &mut error.target {
        shorten(field);
    }
    error
}

/// Take out what says nothing.
fn drop_unset(asked: &mut LinuxResources) {
    if let Some(memory) = asked.memory_mut() {
        let given = |value: Option<i64>| value.filter(|value| *value != 0);
        memory.set_limit(given(memory.limit()));
        memory.set_swap(given(memory.swap()));
        memory.set_reservation(given(memory.reservation()));
    }
    if let Some(cpu) = asked.cpu_mut() {
        cpu.set_shares(cpu.shares().filter(|value| *value != 0));
        cpu.set_quota(cpu.quota().filter(|value| *value != 0));
        cpu.set_period(cpu.period().filter(|value| *value != 0));
        cpu.set_realtime_period(cpu.realtime_period().filter(|value| *value != 0));
        cpu.set_realtime_runtime(cpu.realtime_runtime().filter(|value| *value != 0));
        cpu.set_cpus(cpu.cpus().clone().filter(|list| !list.is_empty()));
        cpu.set_mems(cpu.mems().clone().filter(|list| !list.is_empty()));
    }
    if let Some(block_io) = asked.block_io_mut() {
        block_io.set_weight(block_io.weight().filter(|value| *value != 0));
        block_io.set_leaf_weight(block_io.leaf_weight().filter(|value| *value != 0));
    }
}

/// What is asked for, and of what it goes together with the half that is remembered.
fn with_other_halves(
    asked: &LinuxResources,
    merged: &LinuxResources,
    layout: &Layout,
) -> LinuxResources {
    let mut apply = asked.clone();
    let on_v2 = |controller| layout.v1_with(controller).is_none();
    if let (Some(memory), Some(all)) = (apply.memory_mut(), merged.memory())
        && (memory.limit().is_some() || memory.swap().is_some())
        && on_v2("memory")
    {
        memory.set_limit(all.limit());
        memory.set_swap(all.swap());
    }
    if let (Some(cpu), Some(all)) = (apply.cpu_mut(), merged.cpu()) {
        if (cpu.quota().is_some() || cpu.period().is_some()) && on_v2("cpu") {
            cpu.set_quota(all.quota());
            cpu.set_period(all.period());
        }
        // Who leaves idleness has the kernel's default of shares, and had others before.
        if cpu.idle() == Some(0) && cpu.shares().is_none() {
            cpu.set_shares(all.shares().filter(|shares| *shares != 0));
        }
    }
    apply
}

fn check(asked: &LinuxResources, merged: &LinuxResources, layout: &Layout) -> Option<MemoryCheck> {
    let memory = asked.memory().as_ref()?;
    let wanted = merged.memory().as_ref()?.check_before_update() == Some(true);
    if !wanted || layout.v1_with("memory").is_some() {
        return None;
    }
    let positive = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
    let check = MemoryCheck {
        limit: positive(memory.limit()),
        swap: positive(memory.swap()),
    };
    (check != MemoryCheck::default()).then_some(check)
}

/// Copy each of these fields that is there.
macro_rules! take {
    ($from:expr => $to:expr; $($get:ident $set:ident),+ $(,)?) => {$(
        if let Some(value) = $from.$get().clone() {
            $to.$set(Some(value));
        }
    )+};
}

/// What is asked for takes the place of what was given; entries of lists by what they are of.
fn merge(into: &mut LinuxResources, asked: &LinuxResources) {
    if let Some(memory) = asked.memory() {
        merge_memory(into.memory_mut().get_or_insert_default(), memory);
    }
    if let Some(cpu) = asked.cpu() {
        merge_cpu(into.cpu_mut().get_or_insert_default(), cpu);
    }
    if let Some(block_io) = asked.block_io() {
        merge_block_io(into.block_io_mut().get_or_insert_default(), block_io);
    }
    if let Some(pids) = asked.pids() {
        into.set_pids(Some(*pids));
    }
    for limit in asked.hugepage_limits().iter().flatten() {
        let list = into.hugepage_limits_mut().get_or_insert_default();
        upsert(list, limit, |limit| limit.page_size().clone());
    }
    if let Some(network) = asked.network() {
        merge_network(into.network_mut().get_or_insert_default(), network);
    }
    for (device, limit) in asked.rdma().iter().flatten() {
        let map = into.rdma_mut().get_or_insert_default();
        let known = map.entry(device.clone()).or_default();
        *known = merge_rdma(known, limit);
    }
    for (file, value) in asked.unified().iter().flatten() {
        let map = into.unified_mut().get_or_insert_default();
        map.insert(file.clone(), value.clone());
    }
}

fn merge_rdma(known: &LinuxRdma, asked: &LinuxRdma) -> LinuxRdma {
    let mut both = LinuxRdmaBuilder::default();
    if let Some(number) = asked.hca_handles().or(known.hca_handles()) {
        both = both.hca_handles(number);
    }
    if let Some(number) = asked.hca_objects().or(known.hca_objects()) {
        both = both.hca_objects(number);
    }
    // It has no field that must be there.
    both.build().unwrap_or(*asked)
}

fn merge_memory(into: &mut LinuxMemory, asked: &LinuxMemory) {
    take!(asked => into; limit set_limit, swap set_swap, reservation set_reservation,
        swappiness set_swappiness, disable_oom_killer set_disable_oom_killer,
        use_hierarchy set_use_hierarchy, check_before_update set_check_before_update);
    // Memory without bounds is meant to be so with swap.
    if asked.limit() == Some(-1) && asked.swap().is_none() {
        into.set_swap(None);
    }
}

fn merge_cpu(into: &mut LinuxCpu, asked: &LinuxCpu) {
    take!(asked => into; shares set_shares, quota set_quota, period set_period, burst set_burst,
        idle set_idle, realtime_period set_realtime_period,
        realtime_runtime set_realtime_runtime, cpus set_cpus, mems set_mems);
}

fn merge_network(into: &mut LinuxNetwork, asked: &LinuxNetwork) {
    take!(asked => into; class_id set_class_id);
    for priority in asked.priorities().iter().flatten() {
        let mut list = into.priorities().clone().unwrap_or_default();
        upsert(&mut list, priority, |priority| priority.name().clone());
        into.set_priorities(Some(list));
    }
}

fn merge_block_io(into: &mut LinuxBlockIo, asked: &LinuxBlockIo) {
    take!(asked => into; weight set_weight, leaf_weight set_leaf_weight);
    for entry in asked.weight_device().iter().flatten() {
        let mut list = into.weight_device().clone().unwrap_or_default();
        // An entry with one of the two weights says nothing of the other.
        let of = |entry: &LinuxWeightDevice| {
            let has = (entry.weight().is_some(), entry.leaf_weight().is_some());
            (entry.major(), entry.minor(), has)
        };
        upsert(&mut list, entry, of);
        into.set_weight_device(Some(list));
    }
    macro_rules! throttles {
        ($($get:ident $set:ident),+) => {$(
            for entry in asked.$get().iter().flatten() {
                let mut list = into.$get().clone().unwrap_or_default();
                let of = |entry: &LinuxThrottleDevice| (entry.major(), entry.minor());
                upsert(&mut list, entry, of);
                into.$set(Some(list));
            }
        )+};
    }
    throttles!(
        throttle_read_bps_device set_throttle_read_bps_device,
        throttle_write_bps_device set_throttle_write_bps_device,
        throttle_read_iops_device set_throttle_read_iops_device,
        throttle_write_iops_device set_throttle_write_iops_device
    );
}

/// In the place of an entry of the same key, at the end: the last one that speaks of a thing
/// counts.
fn upsert<T: Clone, K: PartialEq>(list: &mut Vec<T>, entry: &T, key: impl Fn(&T) -> K) {
    list.retain(|known| key(known) != key(entry));
    list.push(entry.clone());
}

#[cfg(test)]
mod tests;

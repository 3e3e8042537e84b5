//! `memory`: v1 limits memory, and memory with swap; v2 limits memory, and swap alone.

use oci_spec::runtime::LinuxMemory;

use super::{Version, Writes, convert, limit, max, only_v1, refuse};
use crate::error::Result;
use crate::plan::Missing;

pub fn writes(writes: &mut Writes, memory: &LinuxMemory, warnings: &mut Vec<String>) -> Result<()> {
    const LIMIT: &str = "/memory/limit";
    const SWAP: &str = "/memory/swap";
    const SOFT: &str = "/memory/reservation";
    const SWAPPINESS: &str = "/memory/swappiness";
    const NO_KILLER: &str = "/memory/disableOOMKiller";
    const HIERARCHY: &str = "/memory/useHierarchy";

    // checkBeforeUpdate speaks of a cgroup in use: see `plan::cgroup::update`.
    if memory.kernel().is_some() || memory.kernel_tcp().is_some() {
        // The kernel took these limits out, and every runtime goes on with this warning.
        warnings.push("Kernel memory settings are ignored and will be removed".to_owned());
    }
    let total = limit(memory.limit(), LIMIT)?;
    let swap = limit(memory.swap(), SWAP)?;
    let soft = limit(memory.reservation(), SOFT)?;
    // In a new cgroup the killer is on.
    let killer_off = memory
        .disable_oom_killer()
        .filter(|off| *off || writes.in_use);

    let first = [
        (total.is_some(), LIMIT),
        (swap.is_some(), SWAP),
        (soft.is_some(), SOFT),
        (memory.swappiness().is_some(), SWAPPINESS),
        (killer_off.is_some(), NO_KILLER),
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
        if killer_off == Some(true) {
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
    if let Some(off) = killer_off {
        writes.push(&place, NO_KILLER, "memory.oom_control", u8::from(off));
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

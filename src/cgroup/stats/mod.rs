//! What a cgroup has used, and what it may use.
//!
//! One file a controller, with a function for each version of cgroups. A controller is read where
//! the host has it: in its v1 hierarchy, else in the unified one, which on a hybrid host carries
//! what v1 does not. The values are shaped as `runc events` shows them, whose names (types/events.go
//! of runc) scripts know: v2 is told in the words of v1, and what is zero is often left out. What a
//! controller does not offer stays at zero, which is no error.

use serde::Serialize;

use super::Cgroup;
use crate::error::Result;

mod block_io;
mod cpu;
mod cpuset;
mod files;
mod hugetlb;
mod memory;
mod pids;
mod psi;

use files::Files;

/// A cgroup's statistics, in the order of runc's.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    cpu: cpu::Cpu,
    cpuset: cpuset::Cpuset,
    memory: memory::Memory,
    pids: pids::Pids,
    blkio: block_io::BlockIo,
    hugetlb: hugetlb::ByPageSize,
}

impl Cgroup {
    /// Read all of it. A cgroup that is going away meanwhile gives what is still there.
    pub fn stats(&self) -> Result<Stats> {
        self.read_stats()
            .map_err(|error| error.within("unable to get container cgroup stats"))
    }

    fn read_stats(&self) -> Result<Stats> {
        let v1 = |controller| self.v1_dir(controller).map(Files::new);
        let unified = || self.unified_dir().map(Files::new);
        let mut stats = Stats::default();
        if let Some(cpuacct) = v1("cpuacct") {
            stats.cpu.usage = cpu::usage_v1(&cpuacct)?;
        } else if let Some(unified) = unified() {
            stats.cpu = cpu::v2(&unified)?;
        }
        if let Some(cpu) = v1("cpu") {
            stats.cpu.throttling = cpu::throttling_v1(&cpu)?;
        }
        if let Some(cpuset) = v1("cpuset") {
            stats.cpuset = cpuset::v1(&cpuset)?;
        }
        if let Some(memory) = v1("memory") {
            stats.memory = memory::v1(&memory)?;
        } else if let Some(unified) = unified() {
            stats.memory = memory::v2(&unified)?;
        }
        if let Some(pids) = v1("pids") {
            stats.pids = pids::read(&pids)?;
        } else if let Some(unified) = unified() {
            stats.pids = pids::read(&unified)?;
        }
        if let Some(blkio) = v1("blkio") {
            stats.blkio = block_io::v1(&blkio)?;
        } else if let Some(unified) = unified() {
            stats.blkio = block_io::v2(&unified)?;
        }
        let sizes = hugetlb::page_sizes();
        if let Some(hugetlb) = v1("hugetlb") {
            stats.hugetlb = hugetlb::v1(&hugetlb, &sizes)?;
        } else if let Some(unified) = unified() {
            stats.hugetlb = hugetlb::v2(&unified, &sizes)?;
        }
        Ok(stats)
    }
}

/// Go's `omitempty` and `omitzero`, which are the same for what is used here.
fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;

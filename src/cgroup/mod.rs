//! Control groups: where they are, how a container gets into its own, what limits it there.
//!
//! `layout` finds the host's arrangement once (v1, v2 or hybrid). The plan computes paths and
//! writes from it; this room makes the directories (`create`), writes the files (`limits`, and
//! `update` for a cgroup in use), tells the kernel the device rules (`devices`, and `program` for
//! v2), freezes (`freezer`), signals (`processes`), reads what has been used (`stats`), watches
//! (`watch`) and removes (`remove`). With the systemd driver, systemd makes the directories, as
//! those of a unit (`systemd`). It knows nothing of bundles.
//!
//! A process enters by itself: on v1 it writes `0` to each `tasks` file, on v2 it is born there
//! (CLONE_INTO_CGROUP). To name another process in cgroup.procs would take a lock for writing
//! and wait for an RCU grace period in each hierarchy, some milliseconds in all.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::error::{Error, Result, Step};

mod create;
mod delegate;
pub mod devices;
mod domain;
mod exec;
mod file;
mod freezer;
mod layout;
mod limits;
mod processes;
mod program;
mod remove;
mod stats;
pub mod systemd;
mod update;
mod watch;

pub use layout::{Hierarchy, Layout, join};
pub use stats::Stats;
pub use watch::Watch;

/// Key of the unified hierarchy in state.json and in the plan.
const UNIFIED: &str = "";

/// A container's cgroup: its directory in each hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    dirs: Vec<Dir>,
    /// The directories that `create` made, parents first; `undo` removes just these.
    made: Vec<PathBuf>,
    /// The directory of the unified hierarchy, opened by O_PATH.
    unified: Option<OwnedFd>,
    /// The unit of systemd that `place` started; `undo` stops it.
    unit: Option<systemd::UnitName>,
    /// What the OOM killer had killed in a cgroup that was there before `create`.
    oom_before: u64,
}

#[derive(Debug, Clone)]
struct Dir {
    /// Keys in state.json: controllers, or the empty string.
    keys: Vec<String>,
    path: PathBuf,
}

impl Dir {
    fn is_unified(&self) -> bool {
        self.keys.iter().any(|key| key == UNIFIED)
    }
}

impl Cgroup {
    /// The cgroup that state.json remembers, by its `cgroup_paths`. Asks the kernel nothing.
    pub fn open(paths: &BTreeMap<String, PathBuf>) -> Self {
        let mut dirs: Vec<Dir> = Vec::new();
        for (key, path) in paths {
            match dirs.iter_mut().find(|dir| dir.path == *path) {
                Some(dir) => dir.keys.push(key.clone()),
                None => dirs.push(Dir {
                    keys: vec![key.clone()],
                    path: path.clone(),
                }),
            }
        }
        Self {
            dirs,
            made: Vec::new(),
            unified: None,
            unit: None,
            oom_before: 0,
        }
    }

    /// `cgroup_paths` for state.json: a directory for each controller, `name=systemd`, and the
    /// empty string for v2.
    pub fn paths(&self) -> BTreeMap<String, PathBuf> {
        let pairs = |dir: &Dir| {
            let path = dir.path.clone();
            let keys = dir.keys.clone();
            keys.into_iter().map(move |key| (key, path.clone()))
        };
        self.dirs.iter().flat_map(pairs).collect()
    }

    /// The calling thread, which is its process's only one, joins the v1 hierarchies. For the
    /// cloned child: no locks, nothing that another thread could hold.
    pub fn enter(&self) -> Result<()> {
        for dir in self.dirs.iter().filter(|dir| !dir.is_unified()) {
            let tasks = dir.path.join("tasks");
            file::write(&tasks, "0").step_on("join the cgroup", &tasks)?;
        }
        Ok(())
    }

    /// The directory for CLONE_INTO_CGROUP: of the only hierarchy on v2, of the unified one on
    /// a hybrid host. None when the container has no cgroup there. `create` may have opened it
    /// already; it is needed once.
    pub fn take_v2_fd(&mut self) -> Result<Option<OwnedFd>> {
        match (self.unified.take(), self.unified_dir()) {
            (None, Some(dir)) => open_dir(dir).step_on("open the cgroup", dir).map(Some),
            (opened, _) => Ok(opened),
        }
    }

    /// Whether there is no v1 hierarchy, so that who is born in the v2 directory has entered.
    pub fn is_unified_only(&self) -> bool {
        self.dirs.iter().all(Dir::is_unified)
    }

    /// What the kernel means when it refuses to let a process be born in the cgroup.
    pub fn explain_clone(&self, error: Error) -> Error {
        match (error.errno(), self.unified_dir()) {
            (Some(Errno::EOPNOTSUPP), Some(dir)) => domain::check(dir).err().unwrap_or(error),
            _ => error,
        }
    }

    /// Whether the OOM killer has killed anything in the cgroup since we have it. Read it before
    /// the cgroup is removed.
    pub fn oom_killed(&self) -> bool {
        self.oom_kills() > self.oom_before
    }

    fn oom_kills(&self) -> u64 {
        let count = match self.v1_dir("memory") {
            Some(dir) => file::read_key(&dir.join("memory.oom_control"), "oom_kill"),
            None => self
                .unified_dir()
                .and_then(|dir| file::read_key(&dir.join("memory.events"), "oom_kill")),
        };
        count.unwrap_or(0)
    }

    /// In how many hierarchies its directory is there.
    pub fn present(&self) -> usize {
        self.dirs.iter().filter(|dir| dir.path.exists()).count()
    }

    fn v1_dir(&self, controller: &str) -> Option<&Path> {
        let has = |dir: &&Dir| dir.keys.iter().any(|key| key == controller);
        self.dirs.iter().find(has).map(|dir| dir.path.as_path())
    }

    /// The directory by which the container is frozen, on v1 or v2.
    pub fn freezer_dir(&self) -> Option<&Path> {
        self.v1_dir("freezer").or_else(|| self.unified_dir())
    }

    fn unified_dir(&self) -> Option<&Path> {
        self.v1_dir(UNIFIED)
    }

    /// The directory that stands for all when processes are listed: that of the devices
    /// controller, which a container cannot do without, or of the unified hierarchy.
    fn main_dir(&self) -> Option<&Path> {
        self.v1_dir("devices")
            .or_else(|| self.unified_dir())
            .or_else(|| self.dirs.first().map(|dir| dir.path.as_path()))
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty())
}

/// No directory of the kind that an operation needs.
fn no_cgroup(what: &str) -> Error {
    Error::new(format!("{what}: container has no cgroup for that"))
}

#[cfg(test)]
mod tests;

//! The systemd driver: the container's cgroup is that of a transient unit.
//!
//! systemd takes processes that are there, so the order is another one than without it. Init is
//! cloned first and waits. We ask systemd for the unit with init in it and wait until the unit
//! is up; then limits and device rules are written by file as well, since systemd does not have
//! them all; on v1 init is put into the hierarchies that systemd does not know; then init goes
//! on. All of it happens before the namespaces, so that a cgroup namespace begins in the unit.
//!
//! From then on the cgroup is used by its files, as without systemd, and systemd is asked once
//! more: to stop the unit when the container is removed.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::{Cgroup, Dir, file};
use crate::dbus::Value;
use crate::error::{Error, Result, Step};
use crate::plan::cgroup::properties;
use crate::plan::{self, CgroupWrite, Property, SystemdUnit};

mod manager;

pub use manager::Manager;

/// By what a unit is found again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitName {
    pub name: String,
    /// It is one of the user's systemd.
    pub user: bool,
    /// What it is described as, by which it is told from another's of the same name. States of
    /// earlier versions have none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// Whose a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// There is no such unit.
    Nobody,
    Us,
    SomebodyElse,
}

/// The process for which a unit is started.
#[derive(Debug, Clone, Copy)]
pub struct Init<'a> {
    pub pid: Pid,
    pub pidfd: BorrowedFd<'a>,
}

impl UnitName {
    pub fn of(unit: &SystemdUnit) -> Self {
        Self {
            name: unit.name.clone(),
            user: unit.user,
            description: unit.description().to_owned(),
        }
    }

    /// Whose the unit of this name is now. A create that was killed may not have started it, and
    /// one that has ended leaves its name to the next.
    pub fn holder(&self) -> Result<Holder> {
        let there = Manager::connect(self.user)?.description(&self.name)?;
        Ok(match there {
            None => Holder::Nobody,
            Some(text) if self.description.is_empty() || text == self.description => Holder::Us,
            Some(_) => Holder::SomebodyElse,
        })
    }

    /// Stop the unit and wait for its end. That it is gone, or has failed, is no error.
    pub fn stop(&self) -> Result<()> {
        Manager::connect(self.user)?.stop(&self.name)
    }

    /// Have systemd put a process into the unit's cgroup, or into one below it.
    pub fn attach(&self, process: Pid, below: &Path) -> Result<()> {
        Manager::connect(self.user)?.attach(&self.name, process.as_raw().unsigned_abs(), below)
    }

    /// Tell systemd of new limits. `v2`: the host has cgroup v2 alone.
    pub fn update(&self, writes: &[CgroupWrite], v2: bool) -> Result<()> {
        let mut manager = Manager::connect(self.user)?;
        let version = manager.facts()?.version;
        match properties::of_writes(writes, properties::Host { v2, version }) {
            none if none.is_empty() => Ok(()),
            list => manager.set_properties(&self.name, &list),
        }
    }
}

impl Cgroup {
    /// A cgroup that is nowhere yet: what init is cloned with before [`place`](Self::place).
    pub fn nowhere() -> Self {
        Self::open(&Default::default())
    }

    pub fn is_nowhere(&self) -> bool {
        self.dirs.is_empty()
    }

    /// Where the v2 cgroup is below that of another, as a path from `/`; `None`: elsewhere.
    pub fn v2_below(&self, other: &Self) -> Option<PathBuf> {
        let below = self.unified_dir()?.strip_prefix(other.unified_dir()?);
        below.ok().map(|below| Path::new("/").join(below))
    }

    /// Start the unit with the process in it, and set all limits. What has been made is
    /// remembered for `undo` also when this fails. A unit of this name that lives is somebody
    /// else's, and stays.
    pub fn place(&mut self, plan: &plan::Cgroup, unit: &SystemdUnit, init: Init) -> Result<()> {
        let mut manager = Manager::connect(unit.user)?;
        let mut properties = unit.properties.clone();
        let mut fds = Vec::new();
        if unit.is_slice {
            // It has no processes of its own for systemd.
        } else if unit.by_pidfd && manager.takes_fds() {
            // It cannot mean another process, and holds also where our numbers are not systemd's.
            fds.push(init.pidfd);
            let list = Value::Array("h".to_owned(), vec![Value::UnixFd(0)]);
            properties.push(Property::new("PIDFDs", list));
        } else {
            let pids = vec![Value::Uint32(init.pid.as_raw().unsigned_abs())];
            properties.push(Property::new("PIDs", Value::Array("u".to_owned(), pids)));
        }
        let job = manager.start(&unit.name, &properties, &fds)?;
        self.unit = Some(UnitName::of(unit));
        manager.wait_started(&unit.name, &job)?;
        self.adopt(plan, unit, init.pid)
    }

    fn adopt(&mut self, plan: &plan::Cgroup, unit: &SystemdUnit, init: Pid) -> Result<()> {
        let only_v2 = plan.dirs.len() == 1;
        let mut to_enter = Vec::new();
        for planned in &plan.dirs {
            let dir = Dir {
                keys: planned.controllers.clone(),
                path: planned.dir.clone(),
            };
            let systemds = dir.is_unified() || dir.keys.iter().any(|key| key == "name=systemd");
            let is_new = super::create::make_or_find(plan, &planned.dir)?;
            if is_new && systemds && only_v2 {
                let _ = std::fs::remove_dir(&dir.path);
                return Err(Error::new(format!(
                    "systemd did not make the cgroup of {} where its name says",
                    unit.name
                ))
                .with_path(&dir.path));
            }
            if unit.is_slice || is_new || !systemds {
                to_enter.push(dir.path.clone());
            }
            self.dirs.push(dir);
        }
        self.set_limits(plan, &[])?;
        to_enter.iter().try_for_each(|dir| enter(dir, init))
    }
}

/// Another process moves, not we: by its number.
fn enter(dir: &Path, pid: Pid) -> Result<()> {
    let path = dir.join("cgroup.procs");
    let written: Result<(), Errno> = file::write(&path, &pid.to_string());
    written.step_on("put init into the cgroup", &path)
}

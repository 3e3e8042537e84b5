//! What create has done to the host so far, to be reversed unless all of it succeeds.

use super::delete;
use super::net_devices::NetDevices;
use super::process::{KILL_TIME, Process};
use super::state::State;
use super::store::Dir;
use crate::cgroup::Cgroup;
use crate::error::Error;
use crate::intel_rdt::Group;
use crate::plan::Plan;

/// Dropped uncommitted, it takes back in reverse order: init and whatever it started, the
/// network devices that it got, the cgroup, the resctrl group, the state
/// directory. What cannot be undone is logged, since the error that led here
/// is the one that the caller must see.
#[derive(Debug)]
pub struct Undo {
    pub dir: Dir,
    pub cgroup: Option<Cgroup>,
    pub intel_rdt: Option<Group>,
    pub init: Option<Process>,
    pub net_devices: Option<NetDevices>,
    committed: bool,
}

impl Undo {
    /// The state directory is the first thing that create makes.
    pub fn new(dir: Dir) -> Self {
        Self {
            dir,
            cgroup: None,
            intel_rdt: None,
            init: None,
            net_devices: None,
            committed: false,
        }
    }

    /// Undo now, before init became the user's: if there was one, with the poststop hooks, as
    /// the specification wants it of a failed create. Gives the error that led here, with what
    /// the kernel knows of its cause.
    pub fn failed(self, plan: &Plan, state: &State, error: Error) -> Error {
        let killed = self.cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        let had_init = self.init.is_some();
        drop(self);
        if had_init && !plan.hooks.poststop.is_empty() {
            delete::poststop(state);
        }
        if killed {
            error.with_hint("possibly OOM-killed: is the memory limit too small to start in?")
        } else {
            error
        }
    }

    /// From here on everything stays.
    pub fn commit(&mut self) {
        self.committed = true;
        // Who holds the container's network namespace keeps it from ending.
        self.net_devices = None;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let note = |done: crate::error::Result<()>| {
            if let Err(error) = done {
                log::warn!("undo: {error}");
            }
        };
        if let Some(init) = &self.init {
            // It may have ended by itself; that is why we are here.
            let _ = init.signal(libc::SIGKILL);
            note(init.wait_end(KILL_TIME).map(drop));
            init.reap();
        }
        if let Some(devices) = &mut self.net_devices {
            devices.put_back();
        }
        if let Some(cgroup) = &mut self.cgroup {
            note(cgroup.kill_all(libc::SIGKILL));
            note(cgroup.undo());
        }
        if let Some(group) = &mut self.intel_rdt {
            note(group.undo());
        }
        note(self.dir.remove());
    }
}

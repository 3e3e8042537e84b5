//! `kill`: a signal for init, or for everybody.

use super::id::ContainerId;
use super::process::Process;
use super::status::Status;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::plan::NamespaceKind;

/// The verb. `all` only makes a container that has stopped a success, as in runc.
pub fn kill(store: &Store, id: &ContainerId, signal: i32, all: bool) -> Result<()> {
    let dir = store.open(id)?;
    let state = dir.load()?;
    let status = Status::of(&state, &dir)?;
    let cgroup = Cgroup::open(&state.cgroup_paths);
    let own_pids = state.orlop.namespaces.contains(&NamespaceKind::Pid);
    if status == Status::Stopped {
        // Without a pid namespace, init's end is not everybody's end.
        if all && !own_pids {
            cgroup.kill_all(signal)?;
        }
        return if all {
            Ok(())
        } else {
            Err(Error::not_running())
        };
    }
    if signal == libc::SIGKILL && !own_pids {
        return cgroup.kill_all(signal);
    }
    let sent = match Process::find(state.init_process_pid, state.init_process_start)? {
        Some(init) => init.signal(signal),
        None => Err(Error::not_running()),
    };
    // What is frozen on v1 dies only when it is thawed, and init not before those that it froze.
    if signal == libc::SIGKILL {
        if status == Status::Paused {
            cgroup.thaw()?;
        }
        cgroup.thaw_below()?;
    }
    match sent {
        Err(error) if all && error.kind == Kind::WrongState => Ok(()),
        other => other,
    }
}

//! `delete`: what a container has left on the host goes away.

use super::id::ContainerId;
use super::process::{KILL_TIME, Process};
use super::state::{Phase, State};
use super::status::Status;
use super::store::{Dir, Store};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Holder;
use crate::error::{Error, Kind, Result};
use crate::hooks;
use crate::intel_rdt;
use crate::plan::NamespaceKind;

/// The verb. With `force` whatever is there goes, and nothing being there is fine.
pub fn delete(store: &Store, id: &ContainerId, force: bool) -> Result<()> {
    let dir = match store.open(id) {
        Err(error) if force && error.kind == Kind::NoContainer => return Ok(()),
        other => other?,
    };
    let _lock = match dir.try_lock()? {
        Some(lock) => lock,
        None => {
            if force {
                end_before_lock(&dir)?;
            }
            match dir.lock() {
                // Whoever held it has removed the container: a run whose program we killed.
                Err(error) if force && error.kind == Kind::NoContainer => return Ok(()),
                other => other?,
            }
        }
    };
    let state = match dir.load() {
        // Made half: killed before its state was written, so before anything else was done. A
        // state that cannot be read is no such thing: what it names may be alive.
        Err(error) if force && error.kind == Kind::NoContainer => {
            log::debug!("removing a directory without a state: {error}");
            return dir.remove();
        }
        other => other?,
    };
    match Status::of(&state, &dir)? {
        Status::Stopped => {}
        // A created container runs nothing of the user's yet, so this needs no force:
        // containerd relies on it.
        Status::Created => kill_everything(&state)?,
        _ if force => kill_everything(&state)?,
        status => {
            return Err(Error::new(format!(
                "cannot delete container {id} that is not stopped: {status}"
            ))
            .with_kind(Kind::WrongState));
        }
    }
    destroy(&dir, &state)
}

/// Kill the container while somebody else holds its lock: a start that waits for the program may
/// wait for ever, for a seccomp agent that does not answer or a hook that does not end. Once init
/// is dead it lets go. A create at work is left to itself: its hooks may have called us.
fn end_before_lock(dir: &Dir) -> Result<()> {
    match dir.load() {
        Ok(state) if state.orlop.phase != Phase::Creating => kill_everything(&state),
        Ok(_) => Ok(()),
        Err(error) if error.kind == Kind::NoContainer => Ok(()),
        Err(error) => Err(error),
    }
}

/// The container's cgroup; none of its own when the unit that it would be in is another's.
fn own_cgroup(state: &State) -> Cgroup {
    let Some(unit) = &state.orlop.unit else {
        return Cgroup::open(&state.cgroup_paths);
    };
    let ours = match unit.holder() {
        Ok(holder) => holder != Holder::SomebodyElse,
        Err(error) => {
            log::warn!("{error}");
            // A create that was killed may not have got to the unit; all others have had it.
            state.orlop.phase != Phase::Creating
        }
    };
    if ours {
        return Cgroup::open(&state.cgroup_paths);
    }
    log::warn!("the unit {} is not this container's, and stays", unit.name);
    Cgroup::nowhere()
}

/// Kill init and all that lives in the container's cgroup, and wait for init's end.
pub fn kill_everything(state: &State) -> Result<()> {
    // Where init lives, it lives in our unit.
    let cgroup = match state.orlop.phase {
        Phase::Creating => own_cgroup(state),
        _ => Cgroup::open(&state.cgroup_paths),
    };
    let init = Process::find(state.init_process_pid, state.init_process_start)?;
    if let Some(init) = &init {
        match init.signal(libc::SIGKILL) {
            Err(error) if error.kind == Kind::WrongState => {}
            other => other?,
        }
    }
    // Also thaws: a frozen v1 cgroup does not take the signal.
    cgroup.kill_all(libc::SIGKILL)?;
    match init {
        Some(init) if !init.wait_end(KILL_TIME)? => Err(Error::new(format!(
            "init {} did not end after SIGKILL",
            init.pid()
        ))),
        _ => Ok(()),
    }
}

/// Remove a stopped container: the processes that a shared pid namespace left, the cgroup, the
/// resctrl group, the directory; then its poststop hooks.
pub fn destroy(dir: &Dir, state: &State) -> Result<()> {
    let cgroup = own_cgroup(state);
    // A create that was killed has not written down who init is; it may still wait for a hook.
    let half_made = state.orlop.phase == Phase::Creating;
    if half_made || !state.orlop.namespaces.contains(&NamespaceKind::Pid) {
        cgroup.kill_all(libc::SIGKILL)?;
    }
    if let Some(unit) = &state.orlop.unit {
        // An empty unit ends by itself; one that cannot be asked for is no reason to keep the rest.
        if !cgroup.is_nowhere()
            && let Err(error) = unit.stop()
        {
            log::warn!("{error}");
        }
    }
    cgroup.remove()?;
    intel_rdt::remove(&state.orlop.intel_rdt_groups)?;
    poststop(state);
    dir.remove()
}

/// Failures only warn: the container is gone either way (runtime.md, lifecycle step 13).
pub fn poststop(state: &State) {
    let row = &state.orlop.hooks.poststop;
    if row.is_empty() {
        return;
    }
    let enter = hooks::in_bundle(&state.orlop.bundle);
    // Each is run whether or not the one before it failed.
    for index in 0..row.len() {
        let done = state
            .oci(Status::Stopped, None)
            .to_text()
            .and_then(|text| hooks::run_nth("poststop", row, index, &text, &enter));
        if let Err(error) = done {
            log::warn!("{error}");
        }
    }
}

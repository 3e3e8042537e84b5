//! `pause` and `resume`: the freezer.

use super::id::ContainerId;
use super::status::Status;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};

/// Freeze all processes of a container.
pub fn pause(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock()?;
    let state = dir.load()?;
    match Status::of(&state, &dir)? {
        Status::Running | Status::Created => Cgroup::open(&state.cgroup_paths).freeze(),
        _ => Err(Error::not_running()),
    }
}

/// Thaw them.
pub fn resume(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock()?;
    let state = dir.load()?;
    match Status::of(&state, &dir)? {
        Status::Paused => Cgroup::open(&state.cgroup_paths).thaw(),
        _ => Err(Error::new("container not paused").with_kind(Kind::WrongState)),
    }
}

//! `pause` and `resume`: the freezer of the container's cgroup.

use super::id::ContainerId;
use super::status::Status;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};

/// Stop every process of a created or running container.
pub fn pause(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock_made()?;
    let state = dir.load()?;
    match Status::of(&state, &dir)? {
        Status::Created | Status::Running => Cgroup::open(&state.cgroup_paths).freeze(),
        Status::Creating | Status::Paused | Status::Stopped => Err(Error::not_running()),
    }
}

/// Let the processes of a paused container run again.
pub fn resume(store: &Store, id: &ContainerId) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock_made()?;
    let state = dir.load()?;
    match Status::of(&state, &dir)? {
        Status::Paused => Cgroup::open(&state.cgroup_paths).thaw(),
        _ => Err(Error::new("container not paused").with_kind(Kind::WrongState)),
    }
}

//! `run`: create, start, wait and delete in one go.

use super::create::{self, StartBy};
use super::delete;
use super::foreground::Foreground;
use super::foreground::stdio::Prepared;
use super::id::ContainerId;
use super::options::Run;
use super::start;
use super::store::Store;
use crate::error::Result;
use crate::host::Host;
use crate::seal::Sealed;

/// The verb; gives the exit status of the container's process (0 when detached).
pub fn run(
    sealed: &Sealed,
    host: &Host,
    store: &Store,
    id: &ContainerId,
    options: &Run,
) -> Result<u8> {
    let foreground = if options.create.detach {
        None
    } else {
        Some(Foreground::begin(!options.no_subreaper)?)
    };
    let made = create::make(sealed, host, store, id, &options.create, StartBy::Channel)?;
    let create::Made {
        plan,
        state,
        mut undo,
        channel,
        lock,
        notify,
        stdio,
    } = made;
    let copies = match stdio.map(Prepared::attach).transpose() {
        Ok(copies) => copies.unwrap_or_default(),
        Err(error) => return Err(undo.failed(&plan, &state, error)),
    };
    if let Err(error) = start::go(&channel, &state) {
        return Err(undo.failed(&plan, &state, error));
    }
    drop((channel, lock));
    if let Err(error) = start::poststart(&state) {
        return Err(undo.failed(&plan, &state, error));
    }
    undo.commit();
    let Some(init) = &undo.init else {
        return Ok(0);
    };
    let Some(foreground) = foreground else {
        return notify
            .map_or(Ok(()), |notify| notify.wait(init))
            .map(|()| 0);
    };
    let status = foreground.wait(init, notify, copies)?;
    if !options.keep {
        let _lock = undo.dir.lock()?;
        delete::destroy(&undo.dir, &state)?;
    }
    Ok(status)
}

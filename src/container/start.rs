//! `start`: the word that a created container waits for.

use super::id::ContainerId;
use super::notify::Notify;
use super::process::Process;
use super::state::State;
use super::status::Status;
use super::store::Store;
use super::{agent, delete, start_socket};
use crate::error::{Error, Kind, Result};
use crate::hooks;
use crate::init::channel::{Channel, Message};

/// The verb. With a service manager's socket it returns when the container says that it is ready,
/// or has ended.
pub fn start(store: &Store, id: &ContainerId, notify_socket: Option<&str>) -> Result<()> {
    let dir = store.open(id)?;
    let lock = dir.lock()?;
    let state = dir.load()?;
    let wrong = |text: &str| Err(Error::new(text).with_kind(Kind::WrongState));
    match Status::of(&state, &dir)? {
        Status::Created => {}
        Status::Stopped => return wrong("cannot start a container that has stopped"),
        Status::Running => return wrong("cannot start an already running container"),
        Status::Paused => return wrong("cannot start a container in the paused state"),
        Status::Creating => return wrong("cannot start a container in the creating state"),
    }
    let Some(channel) = start_socket::connect_to(&dir)? else {
        start_socket::remove(&dir)?;
        return wrong("cannot start an already running container");
    };
    let notify = match notify_socket {
        Some(manager) => Notify::listen(&dir, manager)?,
        None => None,
    };
    go(&channel, &state)?;
    start_socket::remove(&dir)?;
    // Hooks may call us for this very container.
    drop(lock);
    poststart(&state).inspect_err(|_| {
        let destroyed = dir.lock().and_then(|_lock| delete::destroy(&dir, &state));
        if let Err(error) = destroyed {
            log::warn!("remove the container whose poststart hook failed: {error}");
        }
    })?;
    let Some(notify) = notify else {
        return Ok(());
    };
    match Process::find(state.init_process_pid, state.init_process_start)? {
        Some(init) => notify.wait(&init),
        None => Ok(()),
    }
}

/// Say go, and wait until the program runs (its execve closes the line) or init says why not.
/// In between its seccomp listener goes to the agent, if there is one.
pub fn go(channel: &Channel, state: &State) -> Result<()> {
    channel.send(&Message::Go)?;
    let mut agent = state.orlop.process.listener();
    loop {
        match (channel.receive()?, agent) {
            (None, _) => return Ok(()),
            (Some(Message::Failed(error)), _) => return Err(error),
            (Some(Message::Listener(number)), Some(listener)) => {
                agent = None;
                let (pid, start) = (state.init_process_pid, state.init_process_start);
                let init = Process::find(pid, start)?.ok_or_else(Error::not_running)?;
                agent::hand_over(number, &init, listener, state, Status::Created)?;
                channel.send(&Message::Go)?;
            }
            (Some(other), _) => {
                return Err(Error::new(format!("init said {other:?} out of turn")));
            }
        }
    }
}

/// The hooks after the start; a container whose hooks fail is killed, and is then for the caller
/// to remove (runtime.md, lifecycle step 9: an error, a stop, and on with step 12).
pub fn poststart(state: &State) -> Result<()> {
    let row = &state.orlop.hooks.poststart;
    if row.is_empty() {
        return Ok(());
    }
    let text = state
        .oci(Status::Running, Some(state.init_process_pid))
        .to_text()?;
    let enter = hooks::in_bundle(&state.orlop.bundle);
    hooks::run("poststart", row, &text, &enter).inspect_err(|_| {
        if let Err(error) = delete::kill_everything(state) {
            log::warn!("kill the container whose poststart hook failed: {error}");
        }
    })
}

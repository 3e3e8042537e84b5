//! Fds for a caller, over an AF_UNIX stream socket that it listens on: one message with one fd
//! (SCM_RIGHTS) and a payload that says what it is.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};

use crate::error::{Result, Step};
use crate::init::stdio::Stdio;

/// Connect to the socket that a flag names; `what` says which, for the error.
pub fn connect_to(path: &Path, what: &str) -> Result<OwnedFd> {
    let step = format!("connect to the {what} socket");
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        // With its queue full, a listener that accepts nobody would have us wait for ever.
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )
    .step(step.as_str())?;
    let address = UnixAddr::new(path).step_on(step.as_str(), path)?;
    connect(socket.as_raw_fd(), &address).step_on(step, path)?;
    Ok(socket)
}

/// The same for a flag that need not be given.
pub fn connect_if_given(path: Option<&Path>, what: &str) -> Result<Option<OwnedFd>> {
    path.map(|path| connect_to(path, what)).transpose()
}

/// Stdio of a process that nobody waits for: the runtime's own, or a terminal whose master goes
/// to the socket of `--console-socket`.
pub fn console(path: Option<&Path>) -> Result<Stdio> {
    let console = connect_if_given(path, "console")?;
    Ok(Stdio {
        console,
        ..Stdio::default()
    })
}

/// Send one fd.
pub fn send(socket: &OwnedFd, fd: BorrowedFd, payload: &str) -> Result<()> {
    let fds = [fd.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(payload.as_bytes())],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
    .step("send an fd to the caller's socket")
}

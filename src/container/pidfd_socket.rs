//! `--pidfd-socket`: a pidfd for a caller that does not want to trust numbers.

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg, socket,
};

use crate::error::{Result, Step};

/// Send the pidfd by SCM_RIGHTS; the payload says whose it is: `standard` for init, `setns` for
/// a process of exec.
pub fn send(path: &Path, pidfd: BorrowedFd, payload: &str) -> Result<()> {
    let step = "send the pidfd";
    let socket = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .step(step)?;
    let address = UnixAddr::new(path).step_on(step, path)?;
    connect(socket.as_raw_fd(), &address).step_on(step, path)?;
    let fds = [pidfd.as_raw_fd()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(payload.as_bytes())],
        &[ControlMessage::ScmRights(&fds)],
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .map(drop)
    .step_on(step, path)
}

//! The seccomp agent: a program of the host that answers the system calls of a container for
//! which its profile says NOTIFY.
//!
//! A process loads its filter itself, as the last thing before its program, and has the
//! listener under a number of its own. It cannot send it, as the filter may stop sendmsg(2). So
//! it writes the number on its line to us, we fetch the fd out of the process by its pidfd,
//! and send it to the agent with the container process state (config-linux.md, "The Container
//! Process State"). The process waits for our word; nothing of the user's runs before it.

use std::fs::read_link;
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde::Serialize;

use super::process::Process;
use super::state::{OciState, State};
use super::status::Status;
use crate::cli::SPEC_VERSION;
use crate::error::{Error, Result, Step};
use crate::plan;
use crate::procfs::fd_path;
use crate::seccomp::{Listener, unsupported};
use crate::sys::{pidfd, seccomp};

/// How long an agent may take to accept a connection, and to make room for what is sent.
const PATIENCE: TimeVal = TimeVal::new(10, 0);

const NOT_CONNECTED: &str = "failed to connect with seccomp agent";
const FIELD: &str = "/linux/seccomp/listenerPath";

/// The name that the specification gives to the fd.
const FDS: [&str; 1] = ["seccompFd"];

/// In the order of the specification.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ContainerProcessState<'a> {
    oci_version: &'a str,
    fds: &'a [&'a str],
    pid: i32,
    #[serde(skip_serializing_if = "str::is_empty")]
    metadata: &'a str,
    state: OciState<'a>,
}

/// Before anything is made for a process that notifies: the kernel knows how, and a socket is
/// there. It is not connected to, as an agent takes a connection for a container.
pub fn check(process: &plan::Process) -> Result<()> {
    let (Some(filter), Some(listener)) = (&process.seccomp, process.listener()) else {
        return Ok(());
    };
    if let Some(flag) = seccomp::unknown_flag(filter.flags) {
        return Err(unsupported(flag));
    }
    let path = &listener.path;
    // A name that no socket can have.
    UnixAddr::new(path)
        .step_on(NOT_CONNECTED, path)
        .map_err(|error| error.with_field(FIELD))?;
    let found = std::fs::metadata(path).step_on(NOT_CONNECTED, path);
    let found = found.map_err(|error| error.with_field(FIELD))?;
    if found.file_type().is_socket() {
        Ok(())
    } else {
        let error = Error::sys(NOT_CONNECTED, Errno::ENOTSOCK).with_path(path);
        Err(error.with_field(FIELD))
    }
}

/// Fetch the listener that `process` has as `number` and hand it to the agent. `status` is the
/// container's. On failure the process is killed: it may be caught in its own filter, with
/// nobody to answer for it.
pub fn hand_over(
    number: RawFd,
    process: &Process,
    listener: &Listener,
    state: &State,
    status: Status,
) -> Result<()> {
    let done = fetch(process, number).and_then(|fd| {
        let text = serde_json::to_string(&ContainerProcessState {
            oci_version: SPEC_VERSION,
            fds: &FDS,
            pid: process.pid().as_raw(),
            metadata: &listener.metadata,
            state: state.oci(status, Some(state.init_process_pid)),
        });
        let text = text.map_err(|e| Error::new(format!("encode the state: {e}")))?;
        let agent = connect_to(&listener.path)?;
        send(&agent, fd.as_fd(), text.as_bytes())
            .step_on("send the listener to the seccomp agent", &listener.path)
    });
    done.map_err(|error| {
        let _ = process.signal(libc::SIGKILL);
        error.with_field(FIELD)
    })
}

/// The number comes from the process, so what it names is looked at.
fn fetch(process: &Process, number: RawFd) -> Result<OwnedFd> {
    let fd = match pidfd::get_fd(process.pidfd(), number) {
        Err(Errno::ENOSYS) => {
            return Err(unsupported(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER));
        }
        other => other.step("fetch the seccomp listener")?,
    };
    let path = fd_path(fd.as_fd());
    let kind = read_link(&path).step_on("look at the seccomp listener", path)?;
    if kind == Path::new("anon_inode:seccomp notify") {
        Ok(fd)
    } else {
        Err(Error::new("what was handed over is no seccomp listener"))
    }
}

/// Blocking, but not for ever.
fn connect_to(path: &Path) -> Result<OwnedFd> {
    let connected = || -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        // Holds for connect(2), too: an agent that accepts nobody has a queue that fills up.
        setsockopt(&socket, sockopt::SendTimeout, &PATIENCE)?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(socket)
    };
    connected().step_on(NOT_CONNECTED, path)
}

/// The fd goes with the first byte; a stream may take the rest in parts.
fn send(agent: &OwnedFd, fd: BorrowedFd, mut text: &[u8]) -> nix::Result<()> {
    let fds = [fd.as_raw_fd()];
    let mut control: &[ControlMessage] = &[ControlMessage::ScmRights(&fds)];
    while !text.is_empty() {
        let part = [IoSlice::new(text)];
        let flags = MsgFlags::MSG_NOSIGNAL;
        match sendmsg::<()>(agent.as_raw_fd(), &part, control, flags, None) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(length) => {
                text = text.get(length..).unwrap_or_default();
                control = &[];
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_seccomp_listener_is_fetched() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let start = super::super::process::stat(pid).unwrap().unwrap().start;
        let process = Process::find(pid, start).unwrap().unwrap();
        let error = fetch(&process, 0).unwrap_err();
        assert_eq!(error.step, "what was handed over is no seccomp listener");
        let error = fetch(&process, 900).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::EBADF));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

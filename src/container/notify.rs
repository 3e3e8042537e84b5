//! NOTIFY_SOCKET: the container tells the service manager that it is ready (sd_notify(3)).
//!
//! The manager believes only processes of its unit, and the container does not see its socket.
//! So the container gets one of ours, in a directory of the container's state that is mounted
//! read-only and holds nothing else, and we say one thing for it: READY=1, and after it who is
//! to be watched, which we know and it does not. Then comes a barrier: BARRIER=1 with one end of
//! a pipe, which the manager closes when it has taken in what came before; until then we must
//! not end, or it would not know whose messages these are.
//!
//! Whatever else the container says ends here. Its datagrams are cut at a fixed size and read
//! without room for fds, which closes those that come along: no fd of the container reaches us or
//! the manager. That serves the barrier of the container as well. It waits for the end of the fd
//! that it sends, and we read no further before the manager has answered.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, bind, connect, recv,
    send, sendmsg, socket,
};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{UnlinkatFlags, pipe2, unlinkat};

use super::process::Process;
use super::store::Dir;
use crate::error::{Result, Step};
use crate::plan::NOTIFY_SOCKET;
use crate::procfs::fd_path;

/// As much of a datagram as is looked at; what is longer is not for us.
const LONGEST: usize = 4096;
/// How long the service manager may take for a barrier; old ones know none.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between the container and the service manager.
#[derive(Debug)]
pub struct Notify {
    /// The container's socket.
    inside: OwnedFd,
    /// Connected to the service manager's.
    manager: OwnedFd,
    phase: Phase,
}

#[derive(Debug)]
enum Phase {
    /// Nothing has been heard that matters.
    Listening,
    /// The manager has been told, and closes its end of this pipe.
    Told(OwnedFd, Instant),
    /// There is nothing more to tell.
    Done,
}

impl Notify {
    /// Listen for a container whose program does not run yet. `None`: it was created without
    /// such a socket, or nobody listens on the manager's, which is no reason not to start it.
    pub fn listen(dir: &Dir, manager: &str) -> Result<Option<Self>> {
        let Some(place) = dir.open_notify()? else {
            return Ok(None);
        };
        let manager = match connect_to(manager) {
            Ok(manager) => manager,
            Err(error) => {
                log::warn!("{error}");
                return Ok(None);
            }
        };
        let inside = new_socket()?;
        let path = format!("{}/{NOTIFY_SOCKET}", fd_path(&place));
        let address = UnixAddr::new(path.as_str()).step("name the notify socket")?;
        // Whoever is the user in the container may send.
        let own = umask(Mode::empty());
        let mut bound = bind(inside.as_raw_fd(), &address);
        if bound == Err(Errno::EADDRINUSE) {
            // Of a start that failed.
            let _ = unlinkat(&place, NOTIFY_SOCKET, UnlinkatFlags::NoRemoveDir);
            bound = bind(inside.as_raw_fd(), &address);
        }
        umask(own);
        bound.step("bind the notify socket")?;
        Ok(Some(Self {
            inside,
            manager,
            phase: Phase::Listening,
        }))
    }

    /// Wait until the container is ready and the manager has taken that in, or the container has
    /// ended. `init` is then what the manager watches.
    pub fn wait(mut self, init: &Process) -> Result<()> {
        loop {
            let (fd, timeout) = self.next();
            let mut fds = [
                PollFd::new(fd, PollFlags::POLLIN),
                PollFd::new(init.pidfd(), PollFlags::POLLIN),
            ];
            // Once the manager has been told, only its answer counts.
            let watched = match self.phase {
                Phase::Listening => &mut fds[..],
                _ => &mut fds[..1],
            };
            match poll(watched, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno).step("wait for the container to be ready"),
            }
            let ended = fds[1].any().unwrap_or(false);
            self.act(init.pid().as_raw());
            match self.phase {
                Phase::Done => return Ok(()),
                // What it sent before its end has been read.
                Phase::Listening if ended => return Ok(()),
                _ => {}
            }
        }
    }

    /// What to poll for input before the next [`act`](Self::act), and how long.
    pub fn next(&self) -> (BorrowedFd<'_>, PollTimeout) {
        match &self.phase {
            Phase::Listening | Phase::Done => (self.inside.as_fd(), PollTimeout::NONE),
            Phase::Told(pipe, since) => {
                let left = PATIENCE.saturating_sub(since.elapsed());
                let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                (pipe.as_fd(), timeout)
            }
        }
    }

    /// Do what can be done without waiting for the container; `main` is the process that the
    /// manager is to watch.
    pub fn act(&mut self, main: i32) {
        match &self.phase {
            Phase::Listening => {
                if self.hear_ready() {
                    self.phase = match self.tell(main) {
                        Ok(pipe) => Phase::Told(pipe, Instant::now()),
                        Err(error) => {
                            log::warn!("{error}");
                            Phase::Done
                        }
                    };
                }
            }
            Phase::Told(pipe, since) => {
                let late = since.elapsed() >= PATIENCE;
                if late {
                    log::warn!("the service manager has not answered for 30 seconds");
                }
                if late || has_ended(pipe) {
                    self.phase = Phase::Done;
                }
            }
            // Read on, or the container's sends would block.
            Phase::Done => drop(self.hear_ready()),
        }
    }

    /// Read what has come up to READY=1, or all.
    fn hear_ready(&self) -> bool {
        let mut bytes = [0; LONGEST];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
        // Not without an end: a container can send faster than we read.
        for _ in 0..64 {
            match recv(self.inside.as_raw_fd(), &mut bytes, flags) {
                Ok(length) => {
                    if bytes.get(..length).is_some_and(says_ready) {
                        return true;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// In messages of their own, as runc sends them. Gives the end of the barrier's pipe.
    fn tell(&self, main: i32) -> Result<OwnedFd> {
        let step = "tell the service manager";
        for text in ["READY=1\n".to_owned(), format!("MAINPID={main}\n")] {
            send(
                self.manager.as_raw_fd(),
                text.as_bytes(),
                MsgFlags::MSG_NOSIGNAL,
            )
            .step(step)?;
        }
        let (ours, theirs) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).step(step)?;
        let fds: [RawFd; 1] = [theirs.as_raw_fd()];
        sendmsg::<()>(
            self.manager.as_raw_fd(),
            &[IoSlice::new(b"BARRIER=1")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .step(step)?;
        Ok(ours)
    }
}

/// One of the datagram's lines.
fn says_ready(datagram: &[u8]) -> bool {
    datagram
        .split(|byte| *byte == b'\n')
        .any(|line| line == b"READY=1")
}

/// Whether the other end of the pipe is closed. What is written there means nothing.
fn has_ended(pipe: &OwnedFd) -> bool {
    let mut bytes = [0; 64];
    matches!(nix::unistd::read(pipe, &mut bytes), Ok(0))
}

/// A path, or `@` and a name in the abstract namespace.
fn connect_to(text: &str) -> Result<OwnedFd> {
    let step = "connect to NOTIFY_SOCKET";
    let address = match text.strip_prefix('@') {
        Some(name) => UnixAddr::new_abstract(name.as_bytes()),
        None => UnixAddr::new(text),
    };
    let socket = new_socket()?;
    connect(socket.as_raw_fd(), &address.step_on(step, text)?).step_on(step, text)?;
    Ok(socket)
}

fn new_socket() -> Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC;
    socket(AddressFamily::Unix, SockType::Datagram, flags, None).step("make a socket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_is_a_line_of_its_own() {
        for text in [
            "READY=1",
            "READY=1\n",
            "STATUS=up\nREADY=1\nMAINPID=1",
            "READY=1\nREADY=0",
        ] {
            assert!(says_ready(text.as_bytes()), "{text:?}");
        }
        for text in [
            "",
            "READY=0",
            "READY=11",
            "XREADY=1",
            "STATUS=READY=1",
            "ready=1",
            "READY=1\r\n",
        ] {
            assert!(!says_ready(text.as_bytes()), "{text:?}");
        }
    }
}

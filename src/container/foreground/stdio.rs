//! What the container has for stdin, stdout and stderr while we are in the foreground.
//!
//! With a terminal of its own, the master of that comes to us, and we copy between it and what
//! we were called with. Without one, the container is given the caller's pipes, files and
//! sockets as they are: nothing is faster, and no byte can be lost on the way. But not the
//! caller's terminal: whoever holds that can type into it (TIOCSTI), in the caller's name,
//! and take or change it. In the place of each of the three that is a terminal the container
//! gets a pipe, and we copy. (runc copies in all cases.)

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{isatty, pipe2};

use super::host_terminal::HostTerminal;
use super::relay::{End, Outcome, Relay};
use crate::error::{Error, Result, Step};
use crate::init::stdio::Stdio;
use crate::sys::{pty, socket};

/// Our side, before the container's process is there.
#[derive(Debug)]
pub enum Prepared {
    /// The master will come on the socket.
    Terminal(HostTerminal, OwnedFd),
    Pipes(Copies),
}

/// Both sides of stdio for a process in the foreground; nothing is changed on the caller's
/// terminal yet.
pub fn prepare(terminal: bool) -> Result<(Prepared, Stdio)> {
    if terminal {
        let host = HostTerminal::find()?;
        let flags = SockFlag::SOCK_CLOEXEC;
        let pair = socketpair(AddressFamily::Unix, SockType::Stream, None, flags);
        let (ours, theirs) = pair.step("make a socket pair")?;
        let stdio = Stdio {
            console: Some(theirs),
            is_copied: true,
            ..Stdio::default()
        };
        return Ok((Prepared::Terminal(host, ours), stdio));
    }
    let mut copies = Copies::default();
    let mut stdio = Stdio::default();
    let callers = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let callers = [callers.0.as_fd(), callers.1.as_fd(), callers.2.as_fd()];
    for (index, (caller, pipe)) in callers.into_iter().zip(&mut stdio.pipes).enumerate() {
        if isatty(caller) == Ok(true) {
            *pipe = Some(copies.add_pipe(caller, index == 0)?);
        }
    }
    Ok((Prepared::Pipes(copies), stdio))
}

impl Prepared {
    /// Rows and columns of the caller's terminal, where that is copied.
    pub fn size(&self) -> Option<(u16, u16)> {
        match self {
            Self::Terminal(host, _) => host.size(),
            Self::Pipes(_) => None,
        }
    }

    /// When the process has its stdio, and before it runs its program: all that is left to do
    /// to copy. The caller's terminal is raw from here on, until what this gives is dropped.
    pub fn attach(self) -> Result<Copies> {
        match self {
            Self::Pipes(copies) => Ok(copies),
            Self::Terminal(host, socket) => {
                let master = socket::receive_fd(socket.as_fd()).step("receive the terminal")?;
                Copies::with_terminal(host, master)
            }
        }
    }
}

/// What is copied between the caller and the container.
#[derive(Debug, Default)]
pub struct Copies {
    /// To the container.
    inputs: Vec<Relay>,
    /// From the container.
    outputs: Vec<Relay>,
    terminal: Option<Terminal>,
}

/// The container's, and the one before it.
#[derive(Debug)]
struct Terminal {
    host: HostTerminal,
    master: OwnedFd,
    /// Held, so that the container can close the terminal and open /dev/console again, as an
    /// init does: without anybody on the other side the master reports an end.
    _peer: Option<OwnedFd>,
}

impl Copies {
    /// Between the caller's stdin and stdout and this master, whose description is ours alone.
    /// The caller's terminal becomes raw, and the container's gets its size.
    pub fn with_terminal(mut host: HostTerminal, master: OwnedFd) -> Result<Self> {
        let step = "set up the container's terminal";
        set_nonblocking(&master)?;
        let duplicate = || master.try_clone().step(step).map(End::ours);
        let stdin = End::of_caller(std::io::stdin().as_fd(), OFlag::O_RDONLY)?;
        let stdout = End::of_caller(std::io::stdout().as_fd(), OFlag::O_WRONLY)?;
        let inputs = vec![Relay::into_terminal(stdin, duplicate()?)];
        let outputs = vec![Relay::new(duplicate()?, stdout)];
        host.resize(master.as_fd());
        host.make_raw()?;
        let peer = pty::peer(master.as_fd()).ok();
        let terminal = Some(Terminal {
            host,
            master,
            _peer: peer,
        });
        Ok(Self {
            inputs,
            outputs,
            terminal,
        })
    }

    /// Gives the container's end.
    fn add_pipe(&mut self, caller: BorrowedFd, is_input: bool) -> Result<OwnedFd> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).step("make a pipe for stdio")?;
        let (ours, theirs) = if is_input {
            (write, read)
        } else {
            (read, write)
        };
        set_nonblocking(&ours)?;
        if is_input {
            let stdin = End::of_caller(caller, OFlag::O_RDONLY)?;
            self.inputs.push(Relay::new(stdin, End::ours(ours)));
        } else {
            let sink = End::of_caller(caller, OFlag::O_WRONLY)?;
            self.outputs.push(Relay::new(End::ours(ours), sink));
        }
        Ok(theirs)
    }

    /// Whether there is nothing to copy.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty() && self.outputs.is_empty() && self.terminal.is_none()
    }

    /// What to poll for: the caller's terminal, for its end, and the next step of each copy.
    pub fn next(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let host = self.terminal.iter();
        let host = host.map(|terminal| (terminal.host.as_fd(), PollFlags::empty()));
        host.chain(self.inputs.iter().chain(&self.outputs).map(Relay::next))
    }

    /// Copy; `ready` says what came of each of [`next`](Self::next).
    pub fn act(&mut self, ready: &[bool]) {
        let mut ready = ready.iter().copied();
        let mut next = || ready.next().unwrap_or(false);
        let mut hung_up = self.terminal.is_some() && next();
        let is_terminal = self.terminal.is_some();
        self.inputs.retain_mut(|relay| relay_goes_on(relay, next()));
        self.outputs.retain_mut(|relay| {
            let goes_on = relay_goes_on(relay, next());
            hung_up |= is_terminal && !goes_on;
            goes_on
        });
        if hung_up {
            self.hang_up();
        }
    }

    /// The caller's terminal is gone, or nobody reads what we write: so is the container's. With
    /// the last fd of the master closed the kernel sends SIGHUP there, and reads see the end.
    fn hang_up(&mut self) {
        *self = Self::default();
    }

    /// SIGWINCH.
    pub fn resize(&self) {
        if let Some(terminal) = &self.terminal {
            terminal.host.resize(terminal.master.as_fd());
        }
    }

    /// SIGCONT: we were stopped, or are in the foreground of the shell again.
    pub fn resume(&mut self) {
        if let Some(terminal) = &mut self.terminal {
            terminal.host.make_raw_again();
        }
        self.resize();
        self.inputs.iter_mut().for_each(Relay::resume);
    }

    /// The process has ended: nothing goes in any more, and of what comes out only what it has
    /// left. Another process that holds the terminal or a pipe is not waited for.
    pub fn finish(&mut self) {
        self.inputs.clear();
        self.outputs.iter_mut().for_each(Relay::finish);
        // What has been written since may be ready, and what blocks is asked for by poll.
        self.outputs.retain_mut(|relay| relay_goes_on(relay, false));
    }

    /// After [`finish`](Self::finish): whether there is something left to write.
    pub fn is_finished(&self) -> bool {
        self.outputs.is_empty()
    }

    /// Whether a copy can go on without poll: it has nothing to write, and reading never waits.
    pub fn can_read(&self) -> bool {
        !self.outputs.iter().all(Relay::has_bytes)
    }
}

fn relay_goes_on(relay: &mut Relay, ready: bool) -> bool {
    relay.act(ready) == Outcome::Open
}

/// Only for descriptions that nobody shares with us.
fn set_nonblocking(fd: &OwnedFd) -> Result<()> {
    let step = "make our end of stdio not block";
    let flags = fcntl(fd, FcntlArg::F_GETFL).step(step)?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags))
        .map(drop)
        .map_err(|errno| Error::sys(step, errno))
}

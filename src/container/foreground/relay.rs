//! One direction of a copy: bytes that have been read are written before more are read, so that
//! a slow sink slows its source down.
//!
//! A relay never waits: poll says when to act. Ends of our own (pipes, the master) do not block.
//! Those of the caller are shared with other processes, a shell perhaps, and O_NONBLOCK would
//! be set for them all; so a terminal or a pipe is opened anew by /proc/self/fd, which gives
//! a description of our own. Where that is not possible (a socket, a terminal of another user)
//! it is used as it is, once for each time that poll finds it ready, and with no more than a
//! ready pipe takes.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::PollFlags;
use nix::sys::stat::{Mode, SFlag, fstat, major, minor};
use nix::sys::termios::{LocalFlags, SpecialCharacterIndices, tcgetattr};
use nix::unistd::{getpgrp, isatty, read, tcgetpgrp, write};

use crate::error::{Result, Step};
use crate::procfs::fd_path;

/// As much as a pipe holds by default.
const BUFFER: usize = 64 * 1024;
/// PIPE_BUF: a pipe that is ready for writing takes this much without waiting.
const READY_CHUNK: usize = 4096;
/// More than what a pipe, or a terminal with its line discipline, holds at a time.
const IN_THE_KERNEL: usize = 256 * 1024;
/// So many turns before others have theirs.
const TURNS: usize = 16;

/// One end.
#[derive(Debug)]
pub struct End {
    fd: OwnedFd,
    /// It may make us wait, unless poll has just found it ready.
    blocks: bool,
}

impl End {
    /// Of a description that is ours alone and does not block.
    pub fn ours(fd: OwnedFd) -> Self {
        Self { fd, blocks: false }
    }

    /// Of the caller, opened anew if that can be; `mode` is O_RDONLY or O_WRONLY.
    pub fn of_caller(fd: BorrowedFd, mode: OFlag) -> Result<Self> {
        if can_be_reopened(fd) {
            let flags = mode | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            if let Ok(fd) = open(fd_path(fd).as_str(), flags, Mode::empty()) {
                return Ok(Self::ours(fd));
            }
        }
        let fd = fd.try_clone_to_owned().step("duplicate stdio")?;
        Ok(Self { fd, blocks: true })
    }
}

/// A terminal or a pipe; not the multiplexer, which would give another pair.
fn can_be_reopened(fd: BorrowedFd) -> bool {
    let Ok(stat) = fstat(fd) else { return false };
    match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFIFO => true,
        SFlag::S_IFCHR => {
            (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2) && isatty(fd) == Ok(true)
        }
        _ => false,
    }
}

/// What became of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Open,
    /// The source has ended, and all that it gave is written.
    SourceEnded,
    /// Nobody takes what is written any more.
    SinkEnded,
}

/// See the module.
#[derive(Debug)]
pub struct Relay {
    from: End,
    to: End,
    buffer: Vec<u8>,
    /// Read and not yet written: `buffer[start..end]`.
    start: usize,
    end: usize,
    last: u8,
    /// The source is a terminal that another process group has just now.
    paused: bool,
    /// The source has ended.
    ended: bool,
    /// The end of the source is to be said on a terminal, by its character for that.
    says_end: bool,
    /// Whoever wrote has ended: this much may be left, and what is not there now never comes.
    left: Option<usize>,
}

impl Relay {
    pub fn new(from: End, to: End) -> Self {
        Self {
            from,
            to,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            last: b'\n',
            paused: false,
            ended: false,
            says_end: false,
            left: None,
        }
    }

    /// To a terminal, which has no end of its own for readers to see.
    pub fn into_terminal(from: End, master: End) -> Self {
        Self {
            says_end: true,
            ..Self::new(from, master)
        }
    }

    /// What to poll before the next [`act`](Self::act).
    pub fn next(&self) -> (BorrowedFd<'_>, PollFlags) {
        if self.has_bytes() {
            (self.to.fd.as_fd(), PollFlags::POLLOUT)
        } else if self.paused {
            (self.from.fd.as_fd(), PollFlags::empty())
        } else {
            (self.from.fd.as_fd(), PollFlags::POLLIN)
        }
    }

    /// Whether something is read and not yet written.
    pub fn has_bytes(&self) -> bool {
        self.start < self.end
    }

    /// The terminal may be ours again.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// From now on take what is there, and end.
    pub fn finish(&mut self) {
        self.left = Some(IN_THE_KERNEL);
    }

    /// Read and write until one would wait. `ready`: poll has found ready what
    /// [`next`](Self::next) asked for.
    pub fn act(&mut self, ready: bool) -> Outcome {
        let mut ready = ready;
        let mut turns = 0;
        loop {
            let reads = !self.has_bytes();
            if reads && self.ended {
                return Outcome::SourceEnded;
            }
            let end = if reads { &self.from } else { &self.to };
            if end.blocks && !ready {
                return Outcome::Open;
            }
            ready = false;
            let done = if reads { self.read() } else { self.write() };
            match done {
                Ok(true) | Err(Errno::EINTR) => {}
                Ok(false) => self.end_source(),
                Err(Errno::EAGAIN) if reads && self.left.is_some() => self.ended = true,
                Err(Errno::EAGAIN) => return Outcome::Open,
                Err(Errno::EIO) if reads && is_in_background(self.from.fd.as_fd()) => {
                    self.paused = true;
                    return Outcome::Open;
                }
                Err(_) if reads => self.end_source(),
                Err(_) => return Outcome::SinkEnded,
            }
            turns += 1;
            if turns >= TURNS && self.left.is_none() {
                return Outcome::Open;
            }
        }
    }

    /// `false` at the end.
    fn read(&mut self) -> Result<bool, Errno> {
        let room = self.left.unwrap_or(BUFFER).min(BUFFER);
        let Some(room) = self.buffer.get_mut(..room).filter(|room| !room.is_empty()) else {
            return Ok(false);
        };
        let count = read(&self.from.fd, room)?;
        if let Some(last) = count.checked_sub(1).and_then(|last| self.buffer.get(last)) {
            self.last = *last;
        }
        self.left = self.left.map(|left| left.saturating_sub(count));
        (self.start, self.end) = (0, count);
        Ok(count > 0)
    }

    fn write(&mut self) -> Result<bool, Errno> {
        let end = if self.to.blocks {
            self.end.min(self.start.saturating_add(READY_CHUNK))
        } else {
            self.end
        };
        let bytes = self.buffer.get(self.start..end).unwrap_or_default();
        self.start += write(&self.to.fd, bytes)?;
        Ok(true)
    }

    /// A terminal in canonical mode takes its end-of-file character for what its reader sees as
    /// the end; after half a line the first one only hands over that half.
    fn end_source(&mut self) {
        self.ended = true;
        if !self.says_end {
            return;
        }
        let Ok(modes) = tcgetattr(&self.to.fd) else {
            return;
        };
        if !modes.local_flags.contains(LocalFlags::ICANON) {
            return;
        }
        let end = modes.control_chars[SpecialCharacterIndices::VEOF as usize];
        let count = if self.last == b'\n' { 1 } else { 2 };
        self.buffer.truncate(0);
        self.buffer.resize(count, end);
        (self.start, self.end) = (0, count);
    }
}

/// A shell has put us there, and reading is for whom it has put in the foreground (with SIGTTIN
/// held back, a read gets EIO).
fn is_in_background(terminal: BorrowedFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group != getpgrp())
}

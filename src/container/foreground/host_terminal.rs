//! The terminal that we were called on, while the container has one of its own behind it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::termios::{OutputFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

use crate::error::{Result, Step};
use crate::sys::pty;

/// Given back as it was when dropped. No signal but SIGKILL and SIGSTOP ends or stops us while
/// it is in raw mode: they are all held back, and read (see the parent module).
#[derive(Debug)]
pub struct HostTerminal {
    fd: OwnedFd,
    modes: Termios,
    is_raw: bool,
}

impl HostTerminal {
    /// Found as runc finds it: stderr, stdout or stdin, and where all three lead elsewhere, our
    /// controlling terminal. Nothing is changed yet.
    pub fn find() -> Result<Self> {
        let stdio = (std::io::stderr(), std::io::stdout(), std::io::stdin());
        for fd in [stdio.0.as_fd(), stdio.1.as_fd(), stdio.2.as_fd()] {
            if let Ok(modes) = tcgetattr(fd) {
                let fd = fd.try_clone_to_owned().step("duplicate stdio")?;
                return Ok(Self::new(fd, modes));
            }
        }
        let path = "/dev/tty";
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty())
            .step_on("open the caller's terminal", path)
            .map_err(|error| error.with_hint("a terminal in the foreground needs one outside"))?;
        let modes = tcgetattr(&fd).step_on("look at the caller's terminal", path)?;
        Ok(Self::new(fd, modes))
    }

    fn new(fd: OwnedFd, modes: Termios) -> Self {
        Self {
            fd,
            modes,
            is_raw: false,
        }
    }

    /// Each key goes to the container as it is: line editing, echo and Ctrl-C are for its
    /// terminal to do. Output is left as it was, so that a line end of the container, whose
    /// terminal makes none, and one of our own messages go back to the left margin.
    pub fn make_raw(&mut self) -> Result<()> {
        let mut raw = self.modes.clone();
        cfmakeraw(&mut raw);
        raw.output_flags.set(OutputFlags::OPOST, true);
        self.is_raw = true;
        tcsetattr(&self.fd, SetArg::TCSANOW, &raw).step("make the caller's terminal raw")
    }

    /// After a stop, in which the shell has set its own modes; unless we go on in the background.
    pub fn make_raw_again(&mut self) {
        if tcgetpgrp(&self.fd).is_ok_and(|group| group == getpgrp()) {
            // It may be gone by now, which poll tells.
            let _ = self.make_raw();
        }
    }

    /// Rows and columns, where they are known.
    pub fn size(&self) -> Option<(u16, u16)> {
        let size = pty::size(self.fd.as_fd()).ok();
        size.filter(|size| *size != (0, 0))
    }

    /// Give the container's terminal our size. A failure is none of the container's business:
    /// ours may have just hung up.
    pub fn resize(&self, master: BorrowedFd) {
        if let Some((rows, columns)) = self.size() {
            let _ = pty::set_size(master, rows, columns);
        }
    }

    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for HostTerminal {
    fn drop(&mut self) {
        if self.is_raw {
            // Now, not when all output is through: a terminal that is stuck must not hold us.
            let _ = tcsetattr(&self.fd, SetArg::TCSANOW, &self.modes);
        }
    }
}

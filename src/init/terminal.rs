//! The container's terminal: a pty of its own devpts, whose master goes to the caller.
//!
//! The image may have put anything at /dev/pts, and a process of the container may be at work
//! there while exec opens a terminal (CVE-2025-52565). So the multiplexer is looked at by fd
//! before it is trusted, the peer is opened by ioctl from the master and not by its name, and
//! /dev/console is a mount attached by fd.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::sys::statfs::{FsType, fstatfs};
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Uid, dup2_stderr, dup2_stdin, dup2_stdout, fchown};

use super::rootfs::{Make, RootFs};
use super::trees;
use crate::error::{Error, Result, Step};
use crate::fd_socket;
use crate::plan::Process;
use crate::sys::pty;

const MULTIPLEXER: &str = "/dev/pts/ptmx";
/// DEVPTS_SUPER_MAGIC of linux/magic.h.
const DEVPTS_MAGIC: FsType = FsType(0x1cd1);
/// The inode that each devpts gives to its multiplexer (fs/devpts/inode.c).
const MULTIPLEXER_INODE: u64 = 2;

/// Both ends of a new pty.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    peer: OwnedFd,
}

impl Terminal {
    /// Open one for `process`: of its size, owned by its user. For `is_copied` see [`Stdio`].
    ///
    /// [`Stdio`]: super::stdio::Stdio
    pub fn open(root: &RootFs, process: &Process, is_copied: bool) -> Result<Self> {
        let step = "open a terminal";
        let path = Path::new(MULTIPLEXER);
        // Looked at before it is opened, as to open a device may do something, and after, as
        // it may be another by then.
        let seen = root.find(path)?;
        let is_there = seen.is_some_and(|seen| is_multiplexer(seen.as_fd()));
        let master = if is_there {
            root.open(path, OFlag::O_RDWR | OFlag::O_NOCTTY)?
        } else {
            return Err(no_devpts());
        };
        if !is_multiplexer(master.as_fd()) {
            return Err(no_devpts());
        }
        pty::unlock(master.as_fd()).step(step)?;
        let peer = pty::peer(master.as_fd()).step(step)?;
        if let Some((height, width)) = process.console_size {
            pty::set_size(master.as_fd(), height, width)
                .step("set the size of the terminal")
                .map_err(|e| e.with_field(process.pointer("consoleSize")))?;
        }
        if is_copied {
            let mut modes = tcgetattr(&master).step(step)?;
            modes.output_flags.remove(OutputFlags::ONLCR);
            tcsetattr(&master, SetArg::TCSANOW, &modes).step(step)?;
        }
        fchown(&peer, Some(Uid::from_raw(process.user.uid)), None)
            .step("give the terminal to the container's user")?;
        Ok(Self { master, peer })
    }

    /// Bind it to /dev/console.
    pub fn bind_console(&self, root: &RootFs) -> Result<()> {
        let step = "bind the terminal to /dev/console";
        let target = root.find_or_make(Path::new("/dev/console"), Make::File)?;
        trees::bind(self.peer.as_fd(), target.as_fd()).step(step)
    }

    /// Open the peer anew by its name in `root`, if that is the one: opened by way of a mount
    /// that the container does not have, it would have no name there (ttyname(3)).
    pub fn name_in(&mut self, root: &RootFs) -> Result<()> {
        let step = "open the terminal by its name";
        let number = pty::number(self.master.as_fd()).step(step)?;
        let path = format!("/dev/pts/{number}");
        let own = fstat(&self.peer).step(step)?;
        let is_own = |fd: &OwnedFd| {
            fstat(fd).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
        };
        if root
            .find(Path::new(&path))?
            .is_some_and(|seen| is_own(&seen))
        {
            let peer = root.open(Path::new(&path), OFlag::O_RDWR | OFlag::O_NOCTTY)?;
            if is_own(&peer) {
                self.peer = peer;
            }
        }
        Ok(())
    }

    /// Hand the master over, with the peer's name for a payload; keep the peer for stdin,
    /// stdout and stderr, and for our controlling terminal.
    pub fn hand_over(self, socket: &OwnedFd) -> Result<()> {
        let number = pty::number(self.master.as_fd()).step("name the terminal")?;
        fd_socket::send(socket, self.master.as_fd(), &format!("/dev/pts/{number}"))?;
        let step = "take the terminal for stdio";
        dup2_stdin(&self.peer).step(step)?;
        dup2_stdout(&self.peer).step(step)?;
        dup2_stderr(&self.peer).step(step)?;
        pty::take_control(self.peer.as_fd()).step("take control of the terminal")
    }
}

fn no_devpts() -> Error {
    Error::new("open a terminal: no pty multiplexer of a devpts is there")
        .with_path(MULTIPLEXER)
        .with_hint("does the config mount a devpts at /dev/pts?")
}

fn is_multiplexer(fd: BorrowedFd) -> bool {
    let (Ok(system), Ok(stat)) = (fstatfs(fd), fstat(fd)) else {
        return false;
    };
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    system.filesystem_type() == DEVPTS_MAGIC
        && stat.st_ino == MULTIPLEXER_INODE
        && kind == SFlag::S_IFCHR
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2)
}

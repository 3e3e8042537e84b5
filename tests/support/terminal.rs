//! A terminal for the runtime to be called on: a pty of the test's, whose master the test has,
//! as a terminal emulator would.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{OutputFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;

use super::Test;

/// The runtime on a terminal.
pub struct OnTerminal {
    /// `None`: hung up.
    master: Option<File>,
    slave: OwnedFd,
    modes: Termios,
    child: Child,
    /// All that has come.
    pub output: Vec<u8>,
}

impl OnTerminal {
    /// Call the runtime with the terminal as its controlling one, 24 by 80.
    pub fn call(t: &Test, args: &[&str]) -> Self {
        Self::call_by(t, &["setsid".as_ref(), "--ctty".as_ref()], args, None)
    }

    /// With a file for stdin, and the terminal as no controlling one.
    pub fn call_with_stdin(t: &Test, args: &[&str], stdin: File) -> Self {
        Self::call_by(t, &[], args, Some(stdin))
    }

    fn call_by(t: &Test, before: &[&OsStr], args: &[&str], stdin: Option<File>) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: 80,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).unwrap();
        // A runtime that had the master, too, would see no hang-up.
        for fd in [&pair.master, &pair.slave] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        }
        let mut modes = tcgetattr(&pair.slave).unwrap();
        // So that what arrives is what was sent.
        modes.output_flags.remove(OutputFlags::ONLCR);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &modes).unwrap();
        let modes = tcgetattr(&pair.slave).unwrap();
        let runtime = t.runtime.behind(before);
        let mut command = runtime.command(args);
        let slave = || Stdio::from(pair.slave.try_clone().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        if let Some(stdin) = stdin {
            command.stdin(stdin);
        }
        let child = command.spawn().unwrap();
        Self {
            master: Some(File::from(pair.master)),
            slave: pair.slave,
            modes,
            child,
            output: Vec::new(),
        }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    #[allow(unsafe_code)]
    pub fn resize(&self, rows: u16, columns: u16) {
        use std::os::fd::AsRawFd;
        nix::ioctl_write_ptr_bad!(set_size, libc::TIOCSWINSZ, libc::winsize);
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let master = self.master.as_ref().unwrap();
        // SAFETY: the fd is open, and the kernel reads one `winsize`.
        unsafe { set_size(master.as_raw_fd(), &raw const size) }.unwrap();
    }

    /// As if typed.
    pub fn type_in(&mut self, bytes: &[u8]) {
        self.master.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// Close the emulator's window.
    pub fn hang_up(&mut self) {
        self.master = None;
    }

    /// Read what comes for up to `patience`; `false` when nothing did.
    fn read_some(&mut self, patience: Duration) -> bool {
        let Some(master) = &self.master else {
            return false;
        };
        let mut fds = [PollFd::new(master.as_fd(), PollFlags::POLLIN)];
        let patience = u16::try_from(patience.as_millis()).unwrap();
        if poll(&mut fds, patience).unwrap() == 0 {
            return false;
        }
        let mut some = [0; 65536];
        let count = read(master, &mut some).unwrap_or(0);
        self.output.extend_from_slice(&some[..count]);
        count > 0
    }

    fn wait_until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(self) {
            assert!(
                Instant::now() < deadline,
                "waited in vain: {what}; so far: {:?}",
                String::from_utf8_lossy(&self.output[..self.output.len().min(2000)])
            );
            self.read_some(Duration::from_millis(20));
        }
    }

    pub fn wait_for(&mut self, words: &str) {
        self.wait_until(words, |on| on.text().contains(words));
    }

    pub fn wait_for_bytes(&mut self, count: usize) {
        self.wait_until("enough bytes", |on| on.output.len() >= count);
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    /// Whether the terminal is as the caller had it.
    pub fn is_restored(&self) -> bool {
        tcgetattr(&self.slave).unwrap() == self.modes
    }

    /// Wait for the runtime to end, and take what is left; its status, or 128 and the signal.
    pub fn end(&mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let mut status = None;
        self.wait_until("the runtime's end", |on| {
            status = on.child.try_wait().unwrap();
            status.is_some()
        });
        while self.read_some(Duration::from_millis(20)) {}
        let status = status.unwrap();
        status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for OnTerminal {
    /// A test that fails must not leave it behind.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

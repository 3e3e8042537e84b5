//! While the container runs in the foreground: signals go in, the exit status comes out, and
//! between the caller's terminal and the container's stdio we copy.
//!
//! All signals are held back, before there is anybody to forward them to, and read from a
//! signalfd; so none is lost, and none ends us with the caller's terminal in raw mode. One poll
//! waits for them, for the service manager's affairs and for each copy, and no other call of the
//! loop waits. Where there is nothing but signals to wait for, we just read the next one.
//!
//! SIGCHLD and SIGURG are ours, SIGWINCH gives the container's terminal the new size of the
//! caller's, and all others are forwarded, SIGTSTP included. Whatever ends is reaped. When the
//! container's process has, what it has left in its terminal or pipes is still written out; a
//! process that lives on and holds them is not waited for.

mod host_terminal;
mod relay;
pub mod stdio;

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

use self::stdio::Copies;
use super::notify::Notify;
use super::process::Process;
use crate::error::{Error, Result, Step};
use crate::sys::process;
use crate::sys::wait::{End, reap_any};

/// Signals are held back from here on, so that none is lost before there is somebody to
/// forward it to. The container's process starts with an empty mask all the same.
#[derive(Debug)]
pub struct Foreground {
    signals: SignalFd,
}

impl Foreground {
    /// `subreaper`: what the container's processes orphan becomes ours to reap.
    pub fn begin(subreaper: bool) -> Result<Self> {
        let all = SigSet::all();
        sigprocmask(SigmaskHow::SIG_BLOCK, Some(&all), None).step("block signals")?;
        if subreaper {
            process::set_subreaper(true).step("become a subreaper")?;
        }
        let signals = SignalFd::with_flags(&all, SfdFlags::SFD_CLOEXEC).step("make a signalfd")?;
        Ok(Self { signals })
    }

    /// Forward signals to `child`, copy, and reap whatever ends, until `child` does; its exit
    /// status, or 128 and the signal that killed it. On the way a service manager is told that
    /// the container is ready; it goes on watching us.
    pub fn wait(
        &self,
        child: &Process,
        mut notify: Option<Notify>,
        mut copies: Copies,
    ) -> Result<u8> {
        loop {
            if let Some(status) = reap(child.pid())? {
                self.finish(copies)?;
                return Ok(status);
            }
            while !self.is_next(notify.as_mut(), &mut copies)? {}
            let Some(info) = self.signals.read_signal().step("read a signal")? else {
                continue;
            };
            match info.ssi_signo as i32 {
                // SIGURG is how Go preempts goroutines; callers in Go send it at random.
                libc::SIGCHLD | libc::SIGURG => {}
                libc::SIGWINCH => copies.resize(),
                signal => {
                    if signal == libc::SIGCONT {
                        copies.resume();
                    }
                    // It may have ended just now, which the next round sees.
                    drop(child.signal(signal));
                }
            }
        }
    }

    /// Wait until something is to be done, and do it; whether it is a signal that is there.
    fn is_next(&self, notify: Option<&mut Notify>, copies: &mut Copies) -> Result<bool> {
        if notify.is_none() && copies.is_empty() {
            return Ok(true);
        }
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut timeout = PollTimeout::NONE;
        if let Some(notify) = &notify {
            let (fd, patience) = notify.next();
            fds.push(PollFd::new(fd, PollFlags::POLLIN));
            timeout = patience;
        }
        let first_copy = fds.len();
        fds.extend(copies.next().map(|(fd, flags)| PollFd::new(fd, flags)));
        wait_for(&mut fds, timeout)?;
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        let is_signal = ready.first() == Some(&true);
        if let Some(notify) = notify
            && (ready.get(1) == Some(&true) || timeout != PollTimeout::NONE)
        {
            notify.act(nix::unistd::getpid().as_raw());
        }
        copies.act(ready.get(first_copy..).unwrap_or_default());
        Ok(is_signal)
    }

    /// Write out what the ended process has left; a signal that ends programs ends that, as
    /// there is nobody any more to forward it to.
    fn finish(&self, mut copies: Copies) -> Result<()> {
        copies.finish();
        while !copies.is_finished() {
            let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(copies.next().map(|(fd, flags)| PollFd::new(fd, flags)));
            let timeout = match copies.can_read() {
                true => PollTimeout::ZERO,
                false => PollTimeout::NONE,
            };
            wait_for(&mut fds, timeout)?;
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            copies.act(ready.get(1..).unwrap_or_default());
            if ready.first() == Some(&true)
                && let Some(info) = self.signals.read_signal().step("read a signal")?
                && matches!(
                    info.ssi_signo as i32,
                    libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM
                )
            {
                break;
            }
        }
        Ok(())
    }
}

fn wait_for(fds: &mut [PollFd], timeout: PollTimeout) -> Result<()> {
    match poll(fds, timeout) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno).step("wait for the container"),
    }
}

fn reap(child: Pid) -> Result<Option<u8>> {
    loop {
        match reap_any() {
            Ok(Some((pid, End::Exited(code)))) if pid == child => return Ok(Some(code)),
            Ok(Some((pid, End::Killed(signal)))) if pid == child => {
                return Ok(Some(signal.saturating_add(128)));
            }
            Ok(None) => return Ok(None),
            Ok(Some(_)) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::sys("wait for the container", errno)),
        }
    }
}

//! While the container runs in the foreground: signals go in, the exit status comes out.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

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

    /// Forward signals to `child` and reap whatever ends, until `child` does; its exit status,
    /// or 128 and the signal that killed it. On the way a service manager is told that it is
    /// ready; it goes on watching us.
    pub fn wait(&self, child: &Process, mut notify: Option<Notify>) -> Result<u8> {
        loop {
            if let Some(status) = reap(child.pid())? {
                return Ok(status);
            }
            if let Some(notify) = &mut notify
                && !self.is_next(notify)?
            {
                notify.act(nix::unistd::getpid().as_raw());
                continue;
            }
            let Some(info) = self.signals.read_signal().step("read a signal")? else {
                continue;
            };
            match info.ssi_signo as i32 {
                // SIGURG is how Go preempts goroutines; callers in Go send it at random.
                libc::SIGCHLD | libc::SIGURG => {}
                // It may have ended just now, which the next round sees.
                signal => drop(child.signal(signal)),
            }
        }
    }

    /// Wait for a signal or for something to do for `notify`; whether it is a signal.
    fn is_next(&self, notify: &Notify) -> Result<bool> {
        let (fd, timeout) = notify.next();
        let mut fds = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(fd, PollFlags::POLLIN),
        ];
        wait_for(&mut fds, timeout)?;
        Ok(fds[0].any().unwrap_or(false))
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

//! While the container runs in the foreground: signals go in, the exit status comes out.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::Pid;

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
    /// or 128 and the signal that killed it.
    pub fn wait(&self, child: &Process) -> Result<u8> {
        loop {
            if let Some(status) = reap(child.pid())? {
                return Ok(status);
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

//! Processes of the host, named so that a number that is used again is never mistaken.
//!
//! state.json remembers a process as pid and start time; [`Process::find`] opens a pidfd for
//! the pid and only then compares the start time. If it is the one we know, the pidfd is of
//! that very process: it lived before the pidfd was opened and still had its number after.
//! All signals that the runtime sends go through here.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::PollTimeout;
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::error::{Error, Result, Step};
use crate::sys::pidfd;

/// How long a killed process may take to end: milliseconds, unless it is stuck in the kernel.
pub const KILL_TIME: Duration = Duration::from_secs(10);

/// A process that was alive when it was looked up.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    start: u64,
    pidfd: OwnedFd,
}

/// What /proc/PID/stat says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// The letter of proc(5): `R`, `S`, `Z` and so on.
    pub state: u8,
    /// Field 22: clock ticks after the boot.
    pub start: u64,
}

impl Process {
    /// The process that had this pid and start time; `None` when it has ended, be it that it
    /// is not reaped yet.
    pub fn find(pid: i32, start: u64) -> Result<Option<Self>> {
        if pid <= 0 {
            return Ok(None);
        }
        let pid = Pid::from_raw(pid);
        let pidfd = match pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            // EINVAL: the number now belongs to a thread of somebody else.
            Err(Errno::ESRCH | Errno::EINVAL) => return Ok(None),
            Err(errno) => return Err(Error::sys(format!("open process {pid}"), errno)),
        };
        Ok(is_alive(pid.as_raw(), start)?.then_some(Self { pid, start, pidfd }))
    }

    /// A child of ours, whose pidfd came from clone3.
    pub fn child(pid: Pid, pidfd: OwnedFd) -> Result<Self> {
        let start = match stat(pid.as_raw())? {
            Some(stat) => stat.start,
            None => return Err(Error::sys(format!("look at child {pid}"), Errno::ESRCH)),
        };
        Ok(Self { pid, start, pidfd })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Clock ticks after the boot at which it was started.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// For setns(2), poll(2) and to be handed over.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its root directory; `None` when it has ended.
    pub fn root(&self) -> Result<Option<OwnedFd>> {
        let path = format!("/proc/{}/root", self.pid);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(&*path, flags, Mode::empty());
        // If it lives now, the number was its own when the path was opened.
        if !is_alive(self.pid.as_raw(), self.start)? {
            return Ok(None);
        }
        root.step_on("open the root of a process", path).map(Some)
    }

    /// Send a signal by number; that it has ended meanwhile is "container not running".
    pub fn signal(&self, signal: i32) -> Result<()> {
        match pidfd::send_signal(self.pidfd(), signal) {
            Ok(()) => Ok(()),
            Err(Errno::ESRCH) => Err(Error::not_running()),
            Err(errno) => Err(Error::sys(
                format!("send signal {signal} to process {}", self.pid),
                errno,
            )),
        }
    }

    /// Reap it, if it is a child of ours that has ended.
    pub fn reap(&self) {
        let _ = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
    }

    /// Wait until it has ended (reaped or not), at most for `limit`; says whether it has.
    pub fn wait_end(&self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, so that the last wait is not a busy loop of zero milliseconds.
            let millis = left.as_micros().div_ceil(1000);
            let timeout = PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX);
            match pidfd::wait(self.pidfd(), timeout) {
                Ok(true) => return Ok(true),
                Ok(false) if left.is_zero() => return Ok(false),
                Ok(false) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(Error::sys(format!("wait for process {}", self.pid), errno));
                }
            }
        }
    }
}

/// Whether the process with this pid and start time lives. A zombie does not.
pub fn is_alive(pid: i32, start: u64) -> Result<bool> {
    if pid <= 0 {
        return Ok(false);
    }
    Ok(stat(pid)?.is_some_and(|s| s.start == start && !matches!(s.state, b'Z' | b'X' | b'x')))
}

/// Read /proc/PID/stat; `None` when there is no such process.
pub fn stat(pid: i32) -> Result<Option<Stat>> {
    let path = format!("/proc/{pid}/stat");
    // One read: the file is made anew at each, and is a few hundred bytes long.
    let mut buffer = [0; 1024];
    let length = match File::open(&path).and_then(|mut file| file.read(&mut buffer)) {
        Ok(length) => length,
        // ENOENT: never there or reaped; ESRCH: reaped between open and read.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => {
            return Ok(None);
        }
        Err(error) => return Err(error).step_on("look at a process", path),
    };
    match buffer.get(..length).and_then(parse_stat) {
        Some(stat) => Ok(Some(stat)),
        None => Err(Error::new("unexpected text of a process' stat").with_path(path)),
    }
}

/// The name in field 2 may hold anything, brackets and spaces included, so the fields are
/// counted from its last bracket.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let name_end = bytes.iter().rposition(|b| *b == b')')?;
    let rest = std::str::from_utf8(bytes.get(name_end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.bytes().next()?;
    // Field 3 is behind us, field 22 is the nineteenth after it.
    let start = fields.nth(18)?.parse().ok()?;
    Some(Stat { state, start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_behind_any_name() {
        let text = b"42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 69435 9 9 9";
        assert_eq!(
            parse_stat(text),
            Some(Stat {
                state: b'S',
                start: 69435
            })
        );
        assert_eq!(parse_stat(b"42 (a) S 1 42"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn pid_alone_is_not_trusted() {
        let me = std::process::id() as i32;
        let start = stat(me).unwrap().unwrap().start;
        assert!(Process::find(me, start).unwrap().is_some());
        assert!(Process::find(me, start + 1).unwrap().is_none());
        assert!(Process::find(0, start).unwrap().is_none());
        assert!(Process::find(-1, start).unwrap().is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let start = stat(pid).unwrap().unwrap().start;
        let process = Process::find(pid, start).unwrap().unwrap();
        assert!(!process.wait_end(Duration::from_millis(10)).unwrap());
        process.signal(libc::SIGKILL).unwrap();
        assert!(process.wait_end(Duration::from_secs(5)).unwrap());
        assert!(!is_alive(pid, start).unwrap());
        assert!(Process::find(pid, start).unwrap().is_none());
        child.wait().unwrap();
        assert_eq!(
            process.signal(libc::SIGTERM).unwrap_err(),
            Error::not_running()
        );
    }
}

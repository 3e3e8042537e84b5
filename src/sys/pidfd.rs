//! pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2) and waiting for a pidfd. A pidfd names one process for
//! ever, whatever becomes of its number.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::Result;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::owned_fd;

/// A pidfd (close-on-exec) of the process `pid`. ESRCH: there is none; EINVAL: `pid` is a
/// thread that leads no group.
pub fn open(pid: Pid) -> Result<OwnedFd> {
    // SAFETY: pidfd_open takes a number and flags and touches no memory of ours.
    owned_fd(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// Send `signal` (0 only probes). ESRCH: the process is gone.
pub fn send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: a null siginfo asks the kernel to fill it in as kill(2) does.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    };
    Errno::result(sent).map(drop)
}

/// A duplicate (close-on-exec) of the fd that the process has under this number. Needs the right
/// to trace it: EPERM without. ENOSYS before Linux 5.6.
pub fn get_fd(pidfd: BorrowedFd<'_>, number: RawFd) -> Result<OwnedFd> {
    // SAFETY: integers only.
    owned_fd(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

/// Wait until the process has ended (it may still be a zombie) or the time is over. Says
/// whether it has ended. Interrupted waits are the caller's: EINTR.
pub fn wait(pidfd: BorrowedFd<'_>, timeout: PollTimeout) -> Result<bool> {
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut fds, timeout)? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_signalled_and_waited_for() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pidfd = open(Pid::from_raw(child.id() as i32)).unwrap();
        assert!(!wait(pidfd.as_fd(), PollTimeout::ZERO).unwrap());
        send_signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
        assert!(wait(pidfd.as_fd(), PollTimeout::from(5000u16)).unwrap());
        child.wait().unwrap();
        assert_eq!(
            send_signal(pidfd.as_fd(), 0).unwrap_err(),
            Errno::ESRCH,
            "a pidfd of a reaped process reaches nobody"
        );
    }
}

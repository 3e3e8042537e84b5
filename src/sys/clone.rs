//! clone3(2): one new process that goes on with a copy of our memory.

use std::convert::Infallible;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::unistd::Pid;

/// struct clone_args of linux/sched.h, as of Linux 5.7.
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Of linux/sched.h; libc's constant is an i32, which it overflows, and is not there for musl.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Clone the process; `flags` are CLONE_NEW* bits, perhaps with CLONE_PARENT. With `cgroup`,
/// the child is born in that v2 cgroup (CLONE_INTO_CGROUP).
///
/// The child runs `child` on a copy of the caller's memory and never returns: whatever the
/// caller's frames would drop, flush or unlock stays undone there, on purpose.
pub fn clone3(
    flags: u64,
    cgroup: Option<BorrowedFd>,
    child: impl FnOnce() -> Infallible,
) -> Result<(Pid, OwnedFd), Errno> {
    let mut pidfd: RawFd = -1;
    let mut args = CloneArgs {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        // With CLONE_PARENT the kernel takes the exit signal of the caller and wants 0 here.
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        ..CloneArgs::default()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is a fork: the child has memory of its own, and we are
    // single-threaded, so no lock of another thread is copied. `pidfd` outlives the call.
    let rc = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match Errno::result(rc)? {
        #[expect(unreachable_code, reason = "that the child never returns is the point")]
        0 => match child() {},
        pid => {
            // SAFETY: CLONE_PIDFD has just stored a new fd there, which is ours.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok((Pid::from_raw(pid as i32), pidfd))
        }
    }
}

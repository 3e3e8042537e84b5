//! wait4(2). nix turns the signal that killed a child into an enum that has no realtime
//! signals: such a child would be reaped and reported as EINVAL.

use nix::errno::Errno;
use nix::unistd::Pid;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal.
    Killed(u8),
}

/// Reap `child` once it has ended; waits until then.
pub fn reap(child: Pid) -> Result<End, Errno> {
    loop {
        match wait4(child.as_raw(), 0) {
            Ok(Some((_, end))) => return Ok(end),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Reap a child that has ended already; `None` when there is none.
pub fn reap_any() -> Result<Option<(Pid, End)>, Errno> {
    wait4(-1, libc::WNOHANG)
}

fn wait4(pid: libc::pid_t, options: libc::c_int) -> Result<Option<(Pid, End)>, Errno> {
    let mut status = 0;
    // SAFETY: `status` outlives the call; the resource usage is not asked for.
    let pid = unsafe { libc::wait4(pid, &raw mut status, options, std::ptr::null_mut()) };
    let pid = Pid::from_raw(Errno::result(pid)?);
    Ok(if pid.as_raw() == 0 {
        None
    } else if libc::WIFEXITED(status) {
        Some((pid, End::Exited(libc::WEXITSTATUS(status) as u8)))
    } else if libc::WIFSIGNALED(status) {
        Some((pid, End::Killed(libc::WTERMSIG(status) as u8)))
    } else {
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::zombie_processes, reason = "reaping is what is tested")]
    fn end_of(script: &str) -> End {
        let child = std::process::Command::new("sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        reap(Pid::from_raw(child.id() as i32)).unwrap()
    }

    #[test]
    fn a_realtime_signal_is_an_end_like_any_other() {
        assert_eq!(end_of("exit 255"), End::Exited(255));
        assert_eq!(end_of("kill -9 $$"), End::Killed(9));
        assert_eq!(end_of("kill -37 $$"), End::Killed(37));
    }
}

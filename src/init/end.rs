//! What init and the processes of exec have in common: from the runtime's process to the user's
//! program, and how a failure on the way is told.

use std::convert::Infallible;
use std::os::fd::RawFd;

use super::channel::{self, Channel, Message};
use super::process::{self, Cwd};
use super::program::{self, Program};
use crate::error::{Error, Result, Step};
use crate::plan::Process;
use crate::sys;

/// From the runtime's process to the user's, and a look for its program. Init and exec alike.
pub fn become_process(process: &Process, cwd: Cwd, channel: &Channel) -> Result<Program> {
    process::scheduling::set(process)?;
    process::set_labels(process)?;
    let env = program::environment(process);
    for warning in process::become_user(process, cwd)? {
        channel.send(&Message::Warn(warning))?;
    }
    Program::find(process, &env)
}

/// The end of init and of exec alike: filter, fds, execve.
pub fn execute(
    process: &Process,
    program: &Program,
    line: &Channel,
    preserve: u32,
) -> Result<Infallible> {
    sys::process::reset_signals();
    // Closed, not only close-on-exec: execve of /proc/self/fd/N works on a directory that is
    // only marked (CVE-2024-21626). The line alone stays, for the error below.
    close_all_but(preserve, &[line.raw_fd()])?;
    process::last_restrictions(process)?;
    Err(program.exec())
}

/// Close every fd but stdio, the preserved ones and `kept`.
pub fn close_all_but(preserve: u32, kept: &[RawFd]) -> Result<()> {
    // The log's fd is among them, and its number will soon belong to something else.
    log::set_max_level(log::LevelFilter::Off);
    let first = RawFd::try_from(preserve).map_or(RawFd::MAX, |count| count.saturating_add(3));
    let mut kept: Vec<RawFd> = kept.iter().copied().filter(|fd| *fd >= first).collect();
    kept.sort_unstable();
    let mut from = first;
    for fd in kept {
        if fd > from {
            sys::process::close_range(from, fd - 1).step("close fds")?;
        }
        from = fd + 1;
    }
    sys::process::close_range(from, RawFd::MAX).step("close fds")
}

/// A bug must not look like a hang, and must not run the abort of a process that it is not:
/// the C library's idea of our thread is the parent's.
pub fn report_panics_on(fd: RawFd) {
    std::panic::set_hook(Box::new(move |info| {
        let error = Error::new(format!("bug in init: {info}").replace('\n', " "));
        channel::send_failure(fd, &error);
        sys::process::exit_now(1);
    }));
}

/// Tell whoever is at the other end of `line`, and end: with 255 where there is no such program,
/// as runc does, else with 1.
pub fn fail(line: &Channel, error: Error) -> ! {
    channel::send_failure(line.raw_fd(), &error);
    sys::process::exit_now(if error.kind == crate::error::Kind::NoProgram {
        255
    } else {
        1
    })
}

/// Nobody is at the other end any more.
pub fn fail_unheard(error: &Error) -> ! {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{error}");
    sys::process::exit_now(1)
}

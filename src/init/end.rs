//! What init and the processes of exec have in common: from the runtime's process to the user's
//! program, and how a failure on the way is told.

use std::convert::Infallible;
use std::os::fd::{AsFd, IntoRawFd, RawFd};

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

/// What is left when the program may start.
pub struct Last<'a> {
    /// To whoever said that it may.
    pub line: &'a Channel,
    /// This many fds from 3 on belong to the user's program.
    pub preserve_fds: u32,
    /// The other half has no CAP_SYS_PTRACE: it may fetch an fd only from what is dumpable.
    pub open_to_fetch: bool,
}

/// The end of init and of exec alike: fds, filter, execve.
pub fn execute(process: &Process, program: &Program, last: &Last) -> Result<Infallible> {
    sys::process::reset_signals();
    confine(process, last)?;
    Err(program.exec())
}

/// Close the fds, load the filter, and have its listener handed to the agent.
pub fn confine(process: &Process, last: &Last) -> Result<()> {
    // Closed, not only close-on-exec: execve of /proc/self/fd/N works on a directory that is
    // only marked (CVE-2024-21626). The line alone stays, for the error of execve.
    close_all_but(last.preserve_fds, &[last.line.raw_fd()])?;
    if last.open_to_fetch && process.listener().is_some() {
        // Whoever shares our user namespace can look at us from here on; nothing of the host is
        // left in our hands, and nothing of the caller's secrets in our memory.
        sys::process::forget_environment();
        sys::process::set_dumpable(true).step("become dumpable")?;
    }
    process::last_restrictions(process, |listener| {
        last.line.have_fetched(listener.as_fd())?;
        // The agent's must be the last one, so that its end is seen. By the call that we have
        // used before: each more is one that a profile would have to allow.
        let number = listener.into_raw_fd();
        sys::process::close_range(number, number).step("close the seccomp listener")
    })
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

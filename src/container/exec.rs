//! `exec`: one more process in a running container.
//!
//! The process is the one that config.json describes, changed by flags, or one from a file. It
//! gets the container's namespaces, cgroup, seccomp filter and credentials; everything it needs
//! is in state.json, so that config.json is not read again.

use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::PollTimeout;
use nix::unistd::Pid;

use super::agent;
use super::checks;
use super::exec_process;
use super::foreground::Foreground;
use super::foreground::stdio::{self, Prepared};
use super::id::ContainerId;
use super::middle::{Place, clone_through};
use super::options::Exec;
use super::process::{KILL_TIME, Process};
use super::publish;
use super::state::State;
use super::status::Status;
use super::store::Store;
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::UnitName;
use crate::error::{Error, Kind, Result, Step};
use crate::fd_socket;
use crate::host::Host;
use crate::init::channel::{Channel, Message};
use crate::init::exec::{self as inside, Chroot};
use crate::intel_rdt::Running;
use crate::plan::capabilities::{SYS_ADMIN, SYS_PTRACE};
use crate::plan::{self, NamespaceKind};
use crate::seal::Sealed;
use crate::sys::pidfd;
use crate::sys::process::set_affinity;

/// The verb; gives the exit status of the process (0 when detached).
pub fn exec(
    _: &Sealed,
    host: &Host,
    store: &Store,
    id: &ContainerId,
    options: &Exec,
) -> Result<u8> {
    let dir = store.open(id)?;
    let state = dir.load()?;
    check_status(Status::of(&state, &dir)?, options.ignore_paused)?;
    checks::preserved_fds(options.preserve_fds)?;
    let mut process = exec_process::plan(&state, options, host)?;
    agent::check(&process)?;
    checks::terminal(
        process.terminal,
        options.detach,
        options.console_socket.as_deref(),
    )?;
    let init =
        Process::find(state.init_process_pid, state.init_process_start)?.ok_or_else(stopped)?;
    let foreground = if options.detach {
        None
    } else {
        Some(Foreground::begin(false)?)
    };
    let (prepared, stdio) = match options.detach {
        true => (None, fd_socket::console(options.console_socket.as_deref())?),
        false => {
            let (prepared, stdio) = stdio::prepare(process.terminal)?;
            // By the time that we have the master the program runs, and may have asked.
            process.console_size = prepared.size().or(process.console_size);
            (Some(prepared), stdio)
        }
    };
    let own = Cgroup::open(&state.cgroup_paths);
    let mut cgroup = own.for_exec(&options.cgroups)?;
    // Unless the caller has named another.
    let instead = |error| match options.cgroups.is_empty() {
        true => own.instead(&error, init.pid())?.ok_or(error),
        false => Err(error),
    };
    let born_in = cgroup.take_v2_fd().or_else(|e| instead(e).map(Some))?;
    let below = cgroup.v2_below(&own);
    let unit = state.orlop.unit.as_ref().filter(|unit| unit.user);
    let (channel, theirs) = Channel::pair()?;
    let handed = inside::Handed {
        channel: theirs,
        cgroup: &cgroup,
        intel_rdt: Running::of(&state.intel_rdt_path, &state.intel_rdt_mon_path),
        init: init
            .pidfd()
            .try_clone_to_owned()
            .step("duplicate a pidfd")?,
        namespaces: &state.orlop.namespaces,
        chroot: chroot(&state, &init)?,
        privileged: host.capabilities() & SYS_ADMIN != 0,
        container_id: &state.id,
        stdio,
        preserve_fds: options.preserve_fds,
        open_to_fetch: host.capabilities() & SYS_PTRACE == 0,
        new_keyring: !state.orlop.no_new_keyring,
    };
    let (pid, pidfd) = spawn(
        &process,
        handed,
        born_in,
        unit.zip(below.as_deref()),
        instead,
    )
    .map_err(|error| may_be_oom(error, &own))
    .map_err(|error| exec_process::in_its_file(error.start_failed(), options))?;
    let child = Process::child(pid, pidfd)?;
    let attended = attend(&channel, |number| match process.listener() {
        Some(listener) => agent::hand_over(number, &child, listener, &state, Status::Running),
        None => Err(Error::new("exec has a listener that it was not to have")),
    })
    .map_err(|error| exec_process::in_its_file(error.start_failed(), options));
    let attached = attended.and_then(|()| prepared.map(Prepared::attach).transpose());
    let published = attached.and_then(|copies| {
        publish::process(
            &child,
            options.pid_file.as_deref(),
            options.pidfd_socket.as_deref(),
            "setns",
        )
        .map(|()| copies)
    });
    let copies = match published {
        Ok(copies) => copies.unwrap_or_default(),
        Err(error) => {
            // The caller is told that nothing runs, so nothing may.
            let _ = child.signal(libc::SIGKILL);
            child.wait_end(KILL_TIME)?;
            child.reap();
            return Err(error);
        }
    };
    match foreground {
        Some(foreground) => foreground.wait(&child, None, copies),
        None => Ok(0),
    }
}

/// Where the mount namespace is shared, init's root is one that no path leads to; in a user
/// namespace it is the rootfs as it is.
fn chroot<'a>(state: &'a State, init: &Process) -> Result<Option<Chroot<'a>>> {
    match state.chroot() {
        Some(path) if state.orlop.namespaces.contains(&NamespaceKind::User) => {
            Ok(Some(Chroot::Path(path)))
        }
        Some(_) => Ok(Some(Chroot::Held(init.root()?.ok_or_else(stopped)?))),
        None => Ok(None),
    }
}

fn stopped() -> Error {
    Error::new("cannot exec in a stopped container").with_kind(Kind::WrongState)
}

/// The count is not read before each exec, so the kill may have been another; but a process that
/// died without a word, or that the kernel had no memory for, speaks for itself.
fn may_be_oom(error: Error, cgroup: &Cgroup) -> Error {
    let lacked = error.kind == Kind::Died || error.errno() == Some(Errno::ENOMEM);
    match lacked && cgroup.oom_killed() {
        true => error.with_hint("possibly OOM-killed: is the memory limit too small for one more?"),
        false => error,
    }
}

fn check_status(status: Status, ignore_paused: bool) -> Result<()> {
    match status {
        Status::Stopped => Err(stopped()),
        Status::Paused if !ignore_paused => Err(Error::new(
            "cannot exec in a paused container (use --ignore-paused to override)",
        )
        .with_kind(Kind::WrongState)),
        Status::Creating => Err(
            Error::new("cannot exec in a container that is being created")
                .with_kind(Kind::WrongState),
        ),
        _ => Ok(()),
    }
}

/// A middle process is born in the container's v2 cgroup and joins the rest; its child is what
/// the container sees. `instead` is another cgroup for what could not be born in the first.
fn spawn(
    process: &plan::Process,
    handed: inside::Handed,
    born_in: Option<OwnedFd>,
    in_unit: Option<(&UnitName, &Path)>,
    instead: impl FnOnce(Error) -> Result<OwnedFd>,
) -> Result<(Pid, OwnedFd)> {
    if let Some(cpus) = process
        .exec_cpu_affinity
        .as_ref()
        .and_then(|a| a.initial.as_deref())
    {
        // Inherited by the clone, so that it holds before the cgroup is joined.
        set_affinity(cpus)
            .step("set the initial CPU affinity")
            .map_err(|e| e.with_field(process.pointer("execCPUAffinity/initial")))?;
    }
    let born_in = born_in.as_ref().map(AsFd::as_fd);
    // In the container's pid namespace its processes see us, and one with CAP_SYS_PTRACE may
    // look at what we hold. So what is born there has left the host's files behind already.
    let join = |line: &Channel| inside::join_namespaces(process, &handed, line);
    let child = || inside::run(process, &handed);
    let born = clone_through(0, Place::BornIn(born_in), join, child, clone_error);
    let cloned = match (born, in_unit) {
        // A user may not move a process here from where we are; systemd may.
        (Err(error), Some((unit, below))) if error.errno() == Some(Errno::EACCES) => {
            let place = Place::AttachedTo(unit, below);
            clone_through(0, place, join, child, clone_error)
        }
        (Err(error), _) => instead(error).and_then(|dir| {
            let place = Place::BornIn(Some(dir.as_fd()));
            clone_through(0, place, join, child, clone_error)
        }),
        (born, _) => born,
    };
    cloned.map_err(|error| match error.errno() {
        Some(Errno::ESRCH) => stopped(),
        // The pid namespace has no init any more; or there is no memory indeed.
        Some(Errno::ENOMEM) if has_ended(&handed.init) => stopped(),
        _ => error,
    })
}

fn has_ended(process: &OwnedFd) -> bool {
    pidfd::wait(process.as_fd(), PollTimeout::ZERO).unwrap_or(false)
}

fn clone_error(errno: Errno) -> Error {
    Error::sys("clone the process", errno)
}

/// Until execve closes the line. `hand_over` gives the listener to the seccomp agent.
fn attend(channel: &Channel, hand_over: impl FnOnce(RawFd) -> Result<()>) -> Result<()> {
    let mut hand_over = Some(hand_over);
    loop {
        match channel.receive()? {
            None => return Ok(()),
            Some(Message::Warn(warning)) => log::warn!("{warning}"),
            Some(Message::Failed(error)) => return Err(error),
            Some(Message::Listener(number)) if hand_over.is_some() => {
                hand_over
                    .take()
                    .map_or(Ok(()), |hand_over| hand_over(number))?;
                channel.send(&Message::Go)?;
            }
            Some(other) => return Err(Error::new(format!("exec said {other:?} out of turn"))),
        }
    }
}

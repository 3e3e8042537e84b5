//! The life of a process that exec starts: into the container that init has made, and from
//! there on as init's own end.
//!
//! Two processes take part. The one in the middle ([`join_namespaces`]) leaves the host; what
//! it clones ([`run`]) is born inside, so that the container's processes never see anything
//! that still holds something of the host.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::unistd::setsid;

use super::channel::Channel;
use super::end::{Last, become_process, close_all_but, execute, fail, report_panics_on};
use super::process::Cwd;
use super::program::Program;
use super::rootfs::RootFs;
use super::stdio::Stdio;
use super::terminal::Terminal;
use super::{namespaces, process, root};
use crate::cgroup::Cgroup;
use crate::error::{Result, Step};
use crate::intel_rdt::Running;
use crate::plan::{NamespaceKind, Process};
use crate::sys::process as sys;

/// Init's root, where that is not the root of a mount namespace of the container's own.
pub enum Chroot<'a> {
    /// The rootfs, as it is.
    Path(&'a Path),
    /// What init has built aside of it (see `init::aside`), which no path leads to.
    Held(OwnedFd),
}

impl Chroot<'_> {
    fn enter(&self) -> Result<()> {
        match self {
            Self::Path(path) => root::change_root(path),
            Self::Held(fd) => root::change_root_to(fd.as_fd()),
        }
    }

    fn held(&self) -> Option<RawFd> {
        match self {
            Self::Path(_) => None,
            Self::Held(fd) => Some(fd.as_raw_fd()),
        }
    }
}

/// What the parent gives to a process that joins a running container.
pub struct Handed<'a> {
    pub channel: Channel,
    pub cgroup: &'a Cgroup,
    pub intel_rdt: Running,
    /// The container's init, whose namespaces are joined.
    pub init: OwnedFd,
    pub namespaces: &'a [NamespaceKind],
    pub chroot: Option<Chroot<'a>>,
    /// Whether we have privileges on the host, or get them only inside the container's user
    /// namespace.
    pub privileged: bool,
    pub stdio: Stdio,
    pub container_id: &'a str,
    pub preserve_fds: u32,
    /// See [`Last`].
    pub open_to_fetch: bool,
    pub new_keyring: bool,
}

/// What the process between the runtime and exec's does, unseen by the container: it lets go
/// of the host's files, enters the cgroup and joins the namespaces, of which the pid namespace
/// is for who is cloned next. `line` is its own to the runtime.
pub fn join_namespaces(process: &Process, handed: &Handed, line: &Channel) -> Result<()> {
    let mut kept = vec![
        handed.channel.raw_fd(),
        handed.init.as_raw_fd(),
        line.raw_fd(),
    ];
    kept.extend(handed.stdio.raw_fds());
    kept.extend(handed.chroot.iter().filter_map(Chroot::held));
    close_all_but(handed.preserve_fds, &kept)?;
    handed.stdio.take_pipes()?;
    handed.cgroup.enter()?;
    handed.intel_rdt.enter()?;
    process::scheduling::set_exec_affinity(process)?;
    set_oom_score(process, handed)?;
    let joins_mounts = handed.namespaces.contains(&NamespaceKind::Mount);
    // With the host's privileges, while we have them; but to join mounts is to leave it again.
    if let Some(root) = handed.chroot.as_ref().filter(|_| !joins_mounts) {
        root.enter()?;
    }
    if handed.namespaces.contains(&NamespaceKind::User) {
        process::raise_hard_limits(0, &process.rlimits);
    }
    namespaces::join_all_of(&handed.init, handed.namespaces.iter().copied())?;
    if let Some(root) = handed.chroot.as_ref().filter(|_| joins_mounts) {
        root.enter()?;
    }
    if handed.namespaces.contains(&NamespaceKind::User) {
        namespaces::become_root()?;
    }
    Ok(())
}

/// Without privileges only a dumpable process owns its files in procfs; nothing of the container
/// sees us yet.
fn set_oom_score(process: &Process, handed: &Handed) -> Result<()> {
    if handed.privileged || process.oom_score_adj.is_none() {
        return process::set_oom_score(process);
    }
    sys::set_dumpable(true).step("become dumpable")?;
    process::set_oom_score(process)?;
    sys::set_dumpable(false).step("become undumpable")
}

/// The whole life of a process that exec starts, up to the user's program.
pub fn run(process: &Process, handed: &Handed) -> Infallible {
    report_panics_on(handed.channel.raw_fd());
    let last = Last {
        line: &handed.channel,
        preserve_fds: handed.preserve_fds,
        open_to_fetch: handed.open_to_fetch,
    };
    let error = match prepare(process, handed) {
        Ok(program) => match execute(process, &program, &last) {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => error,
    };
    fail(&handed.channel, error)
}

/// Undumpable since before the clone: the container's processes can see us, but not touch us
/// (CVE-2016-9962).
fn prepare(process: &Process, handed: &Handed) -> Result<Program> {
    let mut kept = vec![handed.channel.raw_fd()];
    kept.extend(handed.stdio.raw_fds());
    close_all_but(handed.preserve_fds, &kept)?;
    setsid().map(drop).step("start a session")?;
    if let Some(socket) = &handed.stdio.console {
        Terminal::open(&RootFs::current()?, process, handed.stdio.is_copied)?.hand_over(socket)?;
    }
    if handed.new_keyring {
        let mapped = handed.namespaces.contains(&NamespaceKind::User);
        process::join_keyring(handed.container_id, mapped)?;
    }
    become_process(process, Cwd::There, &handed.channel)
}

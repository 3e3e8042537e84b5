//! The namespaces that clone3 could not give: joined ones, and those that must come later.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::channel::{Channel, Message};
use crate::error::{Error, Result, Step};
use crate::plan::{JoinNamespace, NamespaceKind, Namespaces};
use crate::procfs::ProcFs;
use crate::sys::process;

/// CLONE_NEWTIME of linux/sched.h, which nix does not have.
const CLONE_NEWTIME: i32 = 0x80;

/// The CLONE_NEW* bit of a kind.
pub fn clone_flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::User => libc::CLONE_NEWUSER,
        NamespaceKind::Mount => libc::CLONE_NEWNS,
        NamespaceKind::Pid => libc::CLONE_NEWPID,
        NamespaceKind::Network => libc::CLONE_NEWNET,
        NamespaceKind::Ipc => libc::CLONE_NEWIPC,
        NamespaceKind::Uts => libc::CLONE_NEWUTS,
        NamespaceKind::Cgroup => libc::CLONE_NEWCGROUP,
        NamespaceKind::Time => CLONE_NEWTIME,
    }
}

/// A namespace to join, opened and seen to be of its kind before anything was cloned.
#[derive(Debug)]
pub struct Opened {
    pub kind: NamespaceKind,
    pub fd: OwnedFd,
    /// For messages.
    pub join: JoinNamespace,
}

/// Join one namespace.
pub fn join(opened: &Opened) -> Result<()> {
    let flag = CloneFlags::from_bits_retain(clone_flag(opened.kind));
    setns(opened.fd.as_fd(), flag).map_err(|errno| {
        let error = Error::sys(
            format!("join the {:?} namespace", opened.kind).to_lowercase(),
            errno,
        );
        let error = error.with_field(&opened.join.field);
        match errno {
            Errno::EINVAL if opened.kind == NamespaceKind::User => {
                error.with_hint("the caller is in this user namespace already")
            }
            Errno::EPERM => {
                error.with_hint("it is owned by a user namespace in which we have no rights")
            }
            _ => error,
        }
    })
}

/// Join namespaces of a container's init all at once (setns(2) on a pidfd, Linux 5.8; the
/// kernel finds the right order). A pid namespace among them is for who is cloned next.
pub fn join_all_of(init: &OwnedFd, kinds: impl Iterator<Item = NamespaceKind>) -> Result<()> {
    let flags = kinds.fold(0, |flags, kind| flags | clone_flag(kind));
    if flags == 0 {
        return Ok(());
    }
    setns(init.as_fd(), CloneFlags::from_bits_retain(flags)).step("join the container's namespaces")
}

/// In a new user namespace: make its time namespace, have the parent write the id maps, then
/// become its root. Nothing may be mounted or made before.
pub fn become_root_of_user_namespace(
    namespaces: &Namespaces,
    channel: &Channel,
    rootless: bool,
) -> Result<()> {
    // A rootless parent may write the maps only of a process that it could ptrace. So could
    // others then, if they see us: whoever has our uid owns the new namespace.
    if rootless {
        process::set_dumpable(true).step("become dumpable")?;
    }
    new_time_namespace(namespaces)?;
    channel.send(&Message::MapIds)?;
    channel.wait_for_go()?;
    become_root()?;
    process::set_dumpable(false).step("become undumpable")
}

/// 0:0 in the current user namespace; its ids then own what init makes.
pub fn become_root() -> Result<()> {
    process::set_gid(0).step("become group 0 of the user namespace")?;
    process::set_uid(0).step("become user 0 of the user namespace")
}

/// Ipc (in a user namespace, `mapped`) and cgroup namespaces. The cgroup namespace has its root
/// where the caller is, so this comes after the cgroups are joined.
pub fn unshare_late(namespaces: &Namespaces, cgroup_is_new: bool, mapped: bool) -> Result<()> {
    if namespaces.new.contains(&NamespaceKind::Ipc) && mapped {
        unshare(CloneFlags::CLONE_NEWIPC).step("unshare the ipc namespace")?;
    }
    if namespaces.new.contains(&NamespaceKind::Cgroup) && !cgroup_is_new {
        unshare(CloneFlags::CLONE_NEWCGROUP).step("unshare the cgroup namespace")?;
    }
    Ok(())
}

/// The offsets of a new time namespace are written before anything enters it, which the execve
/// at the end does. In procfs our files are the host's root's, as we are undumpable: so this
/// comes while we still are that user, and not the root of a user namespace.
pub fn new_time_namespace(namespaces: &Namespaces) -> Result<()> {
    if !namespaces.new.contains(&NamespaceKind::Time) {
        return Ok(());
    }
    unshare(CloneFlags::from_bits_retain(CLONE_NEWTIME))
        .step("unshare the time namespace")
        .map_err(|e| e.with_hint("time namespaces need Linux 5.6"))?;
    if namespaces.time_offsets.is_empty() {
        return Ok(());
    }
    let lines: String = namespaces
        .time_offsets
        .iter()
        .map(|o| format!("{} {} {}\n", o.clock, o.secs, o.nanosecs))
        .collect();
    ProcFs::host()?
        .write("self/timens_offsets", &lines)
        .map_err(|e| e.with_field("/linux/timeOffsets"))
}

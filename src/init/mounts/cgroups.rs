//! `type: cgroup`, which is another thing on each version of cgroups.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use super::{
    Around, attach, bind, bind_attr, changes_after, clone_path, finish, mount_here, new_tree,
    set_attr,
};
use crate::error::{Result, Step};
use crate::init::proc_targets;
use crate::init::rootfs::{Make, RootFs};
use crate::init::trees;
use crate::plan::{Cgroup1Mount, Mount, labelled};

/// Where v2 is the only hierarchy: a cgroup2 filesystem, which shows the root of the cgroup
/// namespace.
pub fn v2(
    root: &mut RootFs,
    mount: &Mount,
    dirs: [&Path; 2],
    data: &str,
) -> Result<Option<OwnedFd>> {
    let target = root.find_or_make(&mount.target, Make::Directory)?;
    proc_targets::check(root, mount, target.as_fd(), || Ok(false))?;
    if changes_after(mount) {
        let tree = match new_tree("cgroup2", "cgroup", 0, data) {
            Err(error) if error.errno().is_some_and(is_foreign) => {
                return bind(root, mount, clone_cgroup(dirs)?);
            }
            tree => tree?,
        };
        set_attr(tree.as_fd(), &bind_attr(mount.flags, 0), false)?;
        attach(tree.as_fd(), target.as_fd())?;
        finish(tree.as_fd(), mount)?;
        return Ok(None);
    }
    match mount_here(&target, "cgroup", "cgroup2", mount.flags, data) {
        Err(errno) if is_foreign(errno) => bind(root, mount, clone_cgroup(dirs)?),
        other => other.step("mount a cgroup2").map(|()| None),
    }
}

/// In a user namespace that does not own the cgroup namespace: then the container's own directory
/// is bound. Its options would have had no effect (the plan has said so).
fn is_foreign(errno: Errno) -> bool {
    matches!(errno, Errno::EPERM | Errno::EBUSY)
}

/// The container's cgroup; where it could not have one, the caller's, in which it is.
fn clone_cgroup([own, callers]: [&Path; 2]) -> Result<OwnedFd> {
    match clone_path(own, false) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => clone_path(callers, false),
        other => other,
    }
}

/// On v1: a tmpfs, and on it one mount a hierarchy and a link for each name of a joined one.
/// With a cgroup namespace each is a cgroup filesystem (it shows the namespace's root);
/// without, the container's own directory is bound, so that it sees no other. All of them are
/// nosuid, nodev and noexec, if no option says otherwise.
pub fn v1(
    root: &mut RootFs,
    mount: &Mount,
    entries: &[Cgroup1Mount],
    links: &[(String, String)],
    around: &Around,
) -> Result<Option<OwnedFd>> {
    let target = root.find_or_make(&mount.target, Make::Directory)?;
    proc_targets::check(root, mount, target.as_fd(), || Ok(false))?;
    let hardened = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    let flags = mount.flags | hardened & !mount.cleared;
    let writable = flags & !libc::MS_RDONLY;
    let data = labelled("mode=755".to_owned(), around.label);
    let top = new_tree("tmpfs", "tmpfs", 0, &data)?;
    attach(top.as_fd(), target.as_fd())?;
    for entry in entries {
        let name = entry.name.as_str();
        mkdirat(&top, name, Mode::from_bits_truncate(0o755)).step_on("make a directory", name)?;
        let place = open(&top, name)?;
        if around.cgroup_ns {
            mount_here(&place, "cgroup", &entry.fstype, writable, &entry.data)
                .step(format!("mount cgroup {name}"))?;
        } else {
            let tree = clone_cgroup([&entry.host_dir, &entry.own_dir])?;
            attach(tree.as_fd(), place.as_fd())?;
        }
    }
    for (name, to) in links {
        symlinkat(to.as_str(), &top, name.as_str()).step_on("make a link", name)?;
    }
    // One call for the whole tree, in place of a remount each.
    let attr = bind_attr(flags, mount.cleared);
    match trees::set_attr(top.as_fd(), &attr, true) {
        Err(Errno::ENOSYS) => {
            for entry in entries {
                set_attr(open(&top, &entry.name)?.as_fd(), &attr, false)?;
            }
            set_attr(top.as_fd(), &attr, false)?;
        }
        other => other.step("change a mount's attributes")?,
    }
    finish(top.as_fd(), mount)?;
    Ok(None)
}

/// What is in the tmpfs, which nobody but us can reach yet.
fn open(top: &OwnedFd, name: &str) -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(top, name, flags, Mode::empty()).step_on("open", name)
}

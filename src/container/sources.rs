//! The host's files that only the runtime can reach for a container.
//!
//! With a user namespace, init has no rights over the host's paths any more: the rootfs or a
//! source of a bind may lie below a directory that only the host's root may enter. Init says
//! so, and we open the path for it.
//!
//! Not in our mount namespace but in init's, by way of /proc/PID/root: the kernel has locked the
//! flags of the mounts there when it copied them for another user namespace. A clone of one of
//! ours would be without those locks, and a container with CAP_SYS_ADMIN could make a source
//! writable that the host has mounted read-only.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::error::{Error, Result, Step};
use crate::init::mounts::failed;
use crate::plan::{Links, Mount, MountKind, Plan};
use crate::sys::mount::{self, MountAttr};

/// Open, as an O_PATH fd, the source of the bind that has this place in the plan, or with
/// `None` the rootfs.
///
/// # Errors
/// The path cannot be opened, or init has asked for what the plan does not have.
pub fn open_for(plan: &Plan, init: i32, index: Option<usize>) -> Result<OwnedFd> {
    let Some(index) = index else {
        return open_inside(init, &plan.rootfs.path, Links::FOLLOWED)
            .step_on("open the rootfs", &plan.rootfs.path)
            .map_err(|e| e.with_field("/root/path"));
    };
    let (mount, source) = source_of(plan, index)?;
    open_inside(init, source, mount.links)
        .step_on("bind source", source)
        .map_err(|e| failed(mount, e))
}

/// A detached clone of a source of the host, without what is mounted below it: init may not
/// uncover that. Nothing is locked here, so it is refused where there is something to lock.
///
/// # Errors
/// As above.
pub fn clone_for(plan: &Plan, index: usize) -> Result<OwnedFd> {
    let (mount, source) = source_of(plan, index)?;
    slave_clone(source, mount.links)
        .step_on("clone the source", source)
        .and_then(|tree| {
            let lockable =
                FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
            let flags = fstatvfs(&tree).step_on("look at", source)?.flags();
            if flags.intersects(lockable) {
                return Err(Error::sys("clone the source", Errno::EINVAL)
                    .with_path(source)
                    .with_hint(
                        "in a user namespace, what lies below other mounts stays hidden: is it \
                         rbind that is meant?",
                    ));
            }
            Ok(tree)
        })
        .map_err(|e| failed(mount, e))
}

fn slave_clone(path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    let text = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let here = nix::fcntl::AT_FDCWD;
    let tree = if links.keeps_source() {
        mount::clone_link(here, &text, false)?
    } else {
        mount::clone_tree(here, &text, false)?
    };
    // As everything else in the container's mount namespace.
    let attr = MountAttr {
        propagation: libc::MS_SLAVE,
        ..MountAttr::default()
    };
    mount::set_attr(tree.as_fd(), &attr, false)?;
    Ok(tree)
}

fn source_of(plan: &Plan, index: usize) -> Result<(&Mount, &Path)> {
    match plan.mounts.get(index).map(|mount| (mount, &mount.what)) {
        Some((mount, MountKind::Bind { source, .. })) => Ok((mount, source)),
        _ => Err(Error::new(format!("mount {index} has no source to open"))),
    }
}

fn open_inside(init: i32, path: &Path, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = format!("/proc/{init}/root");
    let root = open(root.as_str(), flags | OFlag::O_DIRECTORY, Mode::empty())?;
    let nofollow = if links.keeps_source() {
        OFlag::O_NOFOLLOW
    } else {
        OFlag::empty()
    };
    let how = OpenHow::new()
        .flags(flags | nofollow)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT);
    openat2(root.as_fd(), path, how)
}

//! The rootfs becomes `/`: its mount is prepared first, and entered last.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{chdir, chroot, fchdir};

use super::channel::{Channel, Message};
use super::mounts::{attach, clone_path};
use super::rootfs::RootFs;
use super::trees;
use crate::error::{Error, Result, Step};
use crate::mountinfo;
use crate::plan::Rootfs;
use crate::sys::mount::{self as sys, MountAttr};

/// Cut this mount namespace off from the host's and put a mount of the rootfs at its path.
///
/// The default is rslave: nothing that is done here reaches the host, and an umount on the
/// host reaches us, so that we pin nothing. The parent opens the rootfs where only it can.
pub fn prepare(rootfs: &Rootfs, parent: &Channel) -> Result<RootFs> {
    let flags = rootfs.propagation.unwrap_or(libc::MS_SLAVE | libc::MS_REC);
    propagation("/", flags).step("set the propagation of all mounts")?;
    // Private or slave all the way down, the parent is already.
    let cut_off = flags & libc::MS_REC != 0 && flags & (libc::MS_PRIVATE | libc::MS_SLAVE) != 0;
    if !cut_off {
        make_parent_private(&rootfs.path)?;
    }
    let tree = match clone_path(&rootfs.path, true) {
        Err(error) if error.errno() == Some(Errno::EACCES) => trees::clone(
            parent.ask_for_source(&Message::OpenSource(None))?.as_fd(),
            c"",
            true,
        )
        .step_on("clone the rootfs", &rootfs.path),
        other => other,
    };
    let tree = tree.map_err(|e| e.with_field("/root/path"))?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let target = match open(&rootfs.path, flags, Mode::empty()) {
        // Inside a user namespace the way to the rootfs may be closed to us.
        Err(Errno::EACCES) => place_on_top(flags),
        other => other,
    };
    let target = target.step_on("open the rootfs", &rootfs.path)?;
    attach(tree.as_fd(), target.as_fd())?;
    Ok(RootFs::new(tree))
}

/// A directory for the rootfs on top of `/`, which hides nothing of the host: paths begin below it.
///
/// The rootfs itself may not lie there: `/..` is what is on top, so that a source with one `..`
/// too many would be looked for in the image, and the image's links be followed on the host.
fn place_on_top(flags: OFlag) -> Result<OwnedFd, Errno> {
    const NAME: &str = ".orlop-rootfs";
    let options = [(c"source", Some(c"place")), (c"mode", Some(c"0700"))];
    let top = trees::new_filesystem(c"tmpfs", &options, 0)?;
    trees::attach(top.as_fd(), open("/", flags, Mode::empty())?.as_fd())?;
    mkdirat(&top, NAME, Mode::S_IRWXU)?;
    openat(&top, NAME, flags, Mode::empty())
}

fn propagation(path: &str, flags: u64) -> Result<(), Errno> {
    let flags = MsFlags::from_bits_truncate(flags);
    nix::mount::mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
}

/// Without `r` in front, or with shared propagation, the mount that holds the rootfs is still a
/// peer of the host's: made private, so that our mount of the rootfs is not seen there.
/// pivot_root(2) wants it so, too.
fn make_parent_private(path: &Path) -> Result<()> {
    let private = MountAttr {
        propagation: libc::MS_PRIVATE,
        ..MountAttr::default()
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    for dir in path.ancestors() {
        let fd = match open(dir, flags, Mode::empty()) {
            // Closed to a user namespace: the rootfs goes to a place on top of `/` then.
            Err(Errno::EACCES) => continue,
            other => other.step_on("open", dir)?,
        };
        match trees::set_attr(fd.as_fd(), &private, false) {
            // Not where a mount begins.
            Err(Errno::EINVAL | Errno::ENOSYS) => {}
            other => other.step_on("make the parent mount private", dir)?,
        }
    }
    Ok(())
}

/// Make the root mount read-only, once everything in it is made.
pub fn make_readonly(root: &RootFs) -> Result<()> {
    let attr = MountAttr {
        set: sys::ATTR_RDONLY,
        ..MountAttr::default()
    };
    trees::set_attr(root.as_fd(), &attr, false).step("make the rootfs read-only")
}

/// Enter: pivot_root onto the spot, and detach the old root that then lies on top of us
/// (pivot_root(2), "pivot_root(\".\", \".\")").
pub fn pivot(root: &RootFs, propagation_flags: Option<u64>) -> Result<()> {
    fchdir(root.as_fd()).step("enter the rootfs")?;
    nix::unistd::pivot_root(".", ".")
        .step("pivot_root")
        .map_err(|error| error.with_hint("on a ramfs, --no-pivot is needed"))?;
    // If the old root is shared with the host, taking it apart would take the host apart.
    if propagation_flags.is_some_and(|flags| flags & libc::MS_SLAVE == 0) {
        propagation(".", libc::MS_SLAVE | libc::MS_REC).step("cut the old root off")?;
    }
    umount2(".", MntFlags::MNT_DETACH).step("detach the old root")?;
    chdir("/").step("enter the new root")?;
    set_propagation(propagation_flags)
}

fn set_propagation(flags: Option<u64>) -> Result<()> {
    match flags {
        Some(flags) => propagation("/", flags)
            .step("set the propagation of the root")
            .map_err(|e| e.with_field("/linux/rootfsPropagation")),
        None => Ok(()),
    }
}

/// `--no-pivot`: for a host whose root is a ramfs, where pivot_root is refused. The host's
/// proc and sysfs are hidden first: whoever can chroot out would find them.
pub fn move_root(root: &RootFs, propagation_flags: Option<u64>) -> Result<()> {
    hide_host_filesystems(root)?;
    fchdir(root.as_fd()).step("enter the rootfs")?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)
        .step("move the rootfs to /")?;
    chroot(".").step("chroot")?;
    chdir("/").step("enter the new root")?;
    set_propagation(propagation_flags)
}

/// Without a mount namespace of the container's own there is nothing to pivot in.
pub fn change_root(path: &Path) -> Result<()> {
    chdir(path).step_on("enter the rootfs", path)?;
    chroot(".").step_on("chroot", path)?;
    chdir("/").step("enter the new root")
}

/// The same, to a directory that is held open.
pub fn change_root_to(dir: BorrowedFd) -> Result<()> {
    fchdir(dir).step("enter the rootfs")?;
    chroot(".").step("chroot")?;
    chdir("/").step("enter the new root")
}

fn hide_host_filesystems(root: &RootFs) -> Result<()> {
    let mounts = mountinfo::read(|fstype| matches!(fstype, "proc" | "sysfs"))
        .step("read the mount table")?;
    let own = std::fs::read_link(crate::procfs::fd_path(root)).step("look up the rootfs")?;
    let targets = mounts.iter().map(|mount| mount.target.as_path());
    let targets = targets.filter(|target| !target.starts_with(&own));
    let mut covered: Vec<&Path> = Vec::new();
    for target in targets.rev() {
        // To unmount there now would be to uncover it.
        if covered.iter().any(|path| target.starts_with(path)) {
            continue;
        }
        match umount2(target, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::ENOENT) => {}
            // Locked, in a user namespace: covered instead. A file is by what it lies in.
            Err(Errno::EPERM | Errno::EINVAL) => match cover(target) {
                Err(Errno::ENOTDIR | Errno::ENOENT) => {}
                other => {
                    other.step_on("hide the host's filesystem", target)?;
                    covered.push(target);
                }
            },
            Err(errno) => {
                return Err(Error::sys("hide the host's filesystem", errno).with_path(target));
            }
        }
    }
    Ok(())
}

fn cover(target: &Path) -> Result<(), Errno> {
    let (none, tmpfs) = (None::<&str>, Some("tmpfs"));
    nix::mount::mount(none, target, tmpfs, MsFlags::MS_RDONLY, none)
}

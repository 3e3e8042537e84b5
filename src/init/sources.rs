//! The trees of binds: where they come from, and who maps their ids.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{FileStat, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use super::channel::{Channel, Message};
use super::lookup;
use super::mounts::clone_source;
use super::rootfs::RootFs;
use super::trees;
use crate::error::{Error, Result, Step};
use crate::plan::Mount;

/// Where one mount's tree comes from, if it is a bind.
pub struct Source<'a> {
    /// To the parent, which opens what only it can.
    pub channel: &'a Channel,
    /// The place of the mount in the plan.
    pub index: usize,
}

impl Source<'_> {
    /// The source of `mount`, which is the host's `path` or lies `inside` the rootfs, as a
    /// detached tree with its ids mapped.
    pub fn tree(
        self,
        root: &RootFs,
        mount: &Mount,
        path: &Path,
        inside: Option<&Path>,
        recursive: bool,
    ) -> Result<OwnedFd> {
        let tree = match inside {
            Some(inside) => {
                let source = in_rootfs(root, inside, mount)?
                    .ok_or_else(|| Error::sys("bind source", Errno::ENOENT).with_path(path))?;
                trees::clone(source.as_fd(), c"", recursive).step_on("clone the source", path)?
            }
            None => self.of_host(path, recursive, mount)?,
        };
        if mount.idmap.is_some() {
            self.channel.have_mapped(self.index, tree.as_fd())?;
        }
        Ok(tree)
    }

    /// The parent opens what only it can, and clones what the kernel lets nobody uncover in a
    /// user namespace: a source without the mounts below it.
    fn of_host(&self, path: &Path, recursive: bool, mount: &Mount) -> Result<OwnedFd> {
        let tree = match clone_source(path, recursive, mount.links) {
            Err(error) if error.errno() == Some(Errno::EACCES) => {
                let question = Message::OpenSource(Some(self.index));
                let source = self.channel.ask_for_source(&question)?;
                trees::clone(source.as_fd(), c"", recursive).step_on("clone the source", path)
            }
            other => other,
        };
        match tree {
            Err(error) if error.errno() == Some(Errno::EINVAL) && !recursive => self
                .channel
                .ask_for_source(&Message::CloneSource(self.index)),
            other => other,
        }
    }
}

/// The source of a bind in the rootfs. A link of the image may lead to an earlier mount, but not
/// round what keeps that closed.
fn in_rootfs(root: &RootFs, inside: &Path, mount: &Mount) -> Result<Option<OwnedFd>> {
    match root.find_without_links(inside) {
        Err(error) if error.errno() == Some(Errno::ELOOP) => {}
        other => return other,
    }
    let found = if mount.links.keeps_source() {
        root.find_nofollow(inside)?
    } else {
        root.find(inside)?
    };
    let refused = match &found {
        Some(found) => why_not(found.as_fd(), root.as_fd(), mount).step_on("look at", inside)?,
        None => None,
    };
    match refused {
        Some(reason) => Err(Error::sys("bind source", Errno::ELOOP)
            .with_path(inside)
            .with_hint(format!("a link in the rootfs leads from it to {reason}"))),
        None => Ok(found),
    }
}

/// Where the image may not lead: to the kernel's filesystems, or to the root, which has them
/// below it, as they are neither masked nor read-only yet; nor to a mount with flags that the
/// options of this one take away.
fn why_not(
    found: BorrowedFd,
    root: BorrowedFd,
    mount: &Mount,
) -> Result<Option<&'static str>, Errno> {
    let place = |stat: FileStat| (stat.st_dev, stat.st_ino);
    // These four are the same bits as MS_* and as MOUNT_ATTR_*.
    let flags = FsFlags::ST_RDONLY | FsFlags::ST_NOSUID | FsFlags::ST_NODEV | FsFlags::ST_NOEXEC;
    let has = (fstatvfs(found)?.flags() & flags).bits();
    Ok(if lookup::is_kernels(found)? {
        Some("a procfs or sysfs")
    } else if place(fstat(found)?) == place(fstat(root)?) {
        Some("the root")
    } else if has & (mount.cleared | mount.recursive_clear) != 0 {
        Some("a mount with flags that the options clear")
    } else {
        None
    })
}

//! Where a masked or a read-only path is looked for.
//!
//! Below /proc and /sys that is the filesystem that has been mounted there, opened once and
//! seen to be the kernel's. The directory under it is the image's, and a container that shares
//! the rootfs may exchange its name for another while the list is worked on. Resolved from the
//! root each time, what is to be masked would be looked for elsewhere, and be bare once the
//! name is back (as in CVE-2019-19921).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::statfs::{FsType, fstatfs};

use super::rootfs::{Make, RootFs};
use crate::error::{Error, Result, Step};
use crate::plan::{Mount, MountKind, Plan};
use crate::procfs::PROC_MAGIC;

/// SYSFS_MAGIC of linux/magic.h.
const SYSFS_MAGIC: FsType = FsType(0x6265_6572);

const KERNELS: [(&str, &str, FsType); 2] = [
    ("/proc", "proc", PROC_MAGIC),
    ("/sys", "sysfs", SYSFS_MAGIC),
];

/// The rootfs, and the kernel's filesystems in it.
pub struct Lookup<'a> {
    pub root: &'a RootFs,
    kernels: Vec<(&'static str, RootFs)>,
}

impl<'a> Lookup<'a> {
    /// Open those that the plan has mounted and that its lists go into.
    pub fn new(root: &'a RootFs, plan: &Plan) -> Result<Self> {
        let mut kernels = Vec::new();
        for (dir, fstype, magic) in KERNELS {
            let mut paths = plan.masked_paths.iter().chain(&plan.readonly_paths);
            let last = plan.mounts.iter().rfind(|m| m.target == Path::new(dir));
            if paths.any(|path| path.starts_with(dir)) && last.is_some_and(|m| shows(m, fstype)) {
                kernels.push((dir, open(root, dir, magic)?));
            }
        }
        Ok(Self { root, kernels })
    }

    /// The object at `path`, or `None` when there is none; links are followed inside.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        for (dir, kernel) in &self.kernels {
            if let Ok(rest) = path.strip_prefix(dir) {
                let found = kernel.find(&Path::new("/").join(rest));
                return found.map_err(|error| error.with_path(path));
            }
        }
        self.root.find(path)
    }
}

/// Whether an open file lies on one of them.
pub fn is_kernels(fd: BorrowedFd) -> Result<bool, Errno> {
    let seen = fstatfs(fd)?.filesystem_type();
    Ok(KERNELS.iter().any(|(_, _, magic)| *magic == seen))
}

/// Whether the mount brings the filesystem of its target: a new one, or the host's.
fn shows(mount: &Mount, kind: &str) -> bool {
    match &mount.what {
        MountKind::Filesystem { fstype, .. } => fstype == kind,
        MountKind::Bind { source, .. } => *source == mount.target,
        _ => false,
    }
}

fn open(root: &RootFs, dir: &str, magic: FsType) -> Result<RootFs> {
    let fd = root.find_or_make_nofollow(Path::new(dir), Make::Nothing)?;
    let seen = fstatfs(fd.as_fd()).step_on("look at", dir)?;
    if seen.filesystem_type() != magic {
        return Err(Error::new("what has been mounted is not there any more")
            .with_path(dir)
            .with_hint("does somebody else change the rootfs?"));
    }
    Ok(RootFs::new(fd))
}

//! A verified procfs, the only way to write under /proc.
//!
//! A write to `/proc/self/attr/exec` or to a sysctl is only as good as the file that it really
//! goes to. A container that shares a volume with us could have put a link, a tmpfs or another
//! procfs file in its place. So the procfs is a new, private and detached mount where the
//! kernel gives us one, and files in it are opened without crossing mounts or following magic
//! links.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, fstatfs};

use crate::error::{Error, Result, Step};
use crate::sys::mount;

/// PROC_SUPER_MAGIC of linux/magic.h.
pub const PROC_MAGIC: FsType = FsType(0x9fa0);
/// PROC_ROOT_INO of linux/proc_ns.h.
const ROOT_INODE: u64 = 1;

/// A procfs of the current pid namespace, held as an fd.
#[derive(Debug)]
pub struct ProcFs {
    root: OwnedFd,
}

impl ProcFs {
    /// A new procfs of our own; where the kernel refuses one (an old kernel, or a user
    /// namespace in which only a masked procfs is visible), the mounted /proc, verified.
    pub fn open() -> Result<Self> {
        match mount::new_filesystem(c"proc", &[], 0) {
            Ok(root) => Self::verified(root),
            Err(_) => Self::host(),
        }
    }

    /// The procfs at /proc, verified, without making one: for the host's /proc, which no
    /// container can change.
    pub fn host() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open("/proc", flags, Mode::empty()).step_on("open", "/proc")?;
        Self::verified(root)
    }

    /// Its root directory.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    fn verified(root: OwnedFd) -> Result<Self> {
        if !is_whole_procfs(root.as_fd()).step_on("look at", "/proc")? {
            return Err(Error::new("not a procfs").with_path("/proc"));
        }
        Ok(Self { root })
    }

    /// Write `text` to `path`, relative to the root of the procfs, in one write(2).
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        self.write_file(path, text)
            .step_on("write", Path::new("/proc").join(path))
    }

    /// The namespace that the caller is in, by its name below `/proc/self/ns`.
    pub fn own_namespace(&self, name: &str) -> Result<OwnedFd> {
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(
            &self.root,
            &*format!("self/ns/{name}"),
            flags,
            Mode::empty(),
        )
        .step_on("open", Path::new("/proc/self/ns").join(name))
    }

    fn write_file(&self, path: &str, text: &str) -> Result<(), Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY)
            .resolve(
                ResolveFlag::RESOLVE_BENEATH
                    | ResolveFlag::RESOLVE_NO_XDEV
                    | ResolveFlag::RESOLVE_NO_MAGICLINKS,
            );
        let fd = match openat2(self.root.as_fd(), path, how) {
            // Linux before 5.6: the procfs itself has been verified.
            Err(Errno::ENOSYS) => nix::fcntl::openat(
                &self.root,
                path,
                OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW,
                Mode::empty(),
            )?,
            other => other?,
        };
        nix::unistd::write(&fd, text.as_bytes()).map(drop)
    }
}

/// Whether an open file lies on a procfs.
pub fn is_procfs(fd: BorrowedFd) -> Result<bool, Errno> {
    fstatfs(fd).map(|stat| stat.filesystem_type() == PROC_MAGIC)
}

/// Whether an open directory is the root of a procfs: a part of one, bound to /proc, has other
/// files by the names that everybody trusts.
pub fn is_whole_procfs(fd: BorrowedFd) -> Result<bool, Errno> {
    Ok(fstat(fd)?.st_ino == ROOT_INODE && is_procfs(fd)?)
}

/// The file at /proc/self/fd for an fd, for calls that take only paths.
pub fn fd_path(fd: impl AsFd) -> String {
    use std::os::fd::AsRawFd;
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

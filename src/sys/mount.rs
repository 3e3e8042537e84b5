//! The mount interface that works on file descriptors (Linux 5.2, mount_setattr 5.12).
//!
//! On a kernel without it each call answers ENOSYS, and nothing more; what init does then is
//! told in `init::trees`.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::owned_fd;

// MOUNT_ATTR_* of linux/mount.h.
pub const ATTR_RDONLY: u64 = 0x1;
pub const ATTR_NOSUID: u64 = 0x2;
pub const ATTR_NODEV: u64 = 0x4;
pub const ATTR_NOEXEC: u64 = 0x8;
/// The three atime modes are values of one field, not bits; relatime is zero.
pub const ATTR_ATIME: u64 = 0x70;
pub const ATTR_NOATIME: u64 = 0x10;
pub const ATTR_STRICTATIME: u64 = 0x20;
pub const ATTR_NODIRATIME: u64 = 0x80;
pub const ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;

const ATTR_IDMAP: u64 = 0x0010_0000;

const OPEN_TREE_CLONE: u32 = 1;
const OPEN_TREE_CLOEXEC: u32 = libc::O_CLOEXEC as u32;
const AT_RECURSIVE: u32 = 0x8000;
const AT_EMPTY_PATH: u32 = libc::AT_EMPTY_PATH as u32;
const MOVE_MOUNT_F_EMPTY_PATH: u32 = 0x4;
const MOVE_MOUNT_T_EMPTY_PATH: u32 = 0x40;
const FSOPEN_CLOEXEC: u32 = 1;
const FSMOUNT_CLOEXEC: u32 = 1;
const FSCONFIG_SET_FLAG: u32 = 0;
const FSCONFIG_SET_STRING: u32 = 1;
const FSCONFIG_CMD_CREATE: u32 = 6;
const FSCONFIG_CMD_RECONFIGURE: u32 = 7;
const FSPICK_CLOEXEC: u32 = 1;
const FSPICK_EMPTY_PATH: u32 = 8;
const AT_SYMLINK_NOFOLLOW: u32 = libc::AT_SYMLINK_NOFOLLOW as u32;

/// A mount option of fsconfig(2): key and value, or a key alone.
pub type FsOption<'a> = (&'a CStr, Option<&'a CStr>);

/// struct mount_attr of linux/mount.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MountAttr {
    /// ATTR_* bits to set and to clear.
    pub set: u64,
    pub clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, or 0 for no change.
    pub propagation: u64,
    /// A user namespace fd, for id-mapped mounts; 0 otherwise.
    pub userns_fd: u64,
}

/// A detached copy of the mount at `path` (relative to `dir`; an empty path is `dir` itself),
/// with `recursive` of all mounts below it.
pub fn clone_tree(dir: BorrowedFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let mut flags = 0;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    if path.is_empty() {
        flags |= AT_EMPTY_PATH;
    }
    open_tree(dir, path, flags)
}

/// The same without following `path` if it is a link: the mount's root is the link then.
pub fn clone_link(dir: BorrowedFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    let recursive = if recursive { AT_RECURSIVE } else { 0 };
    open_tree(dir, path, AT_SYMLINK_NOFOLLOW | recursive)
}

fn open_tree(dir: BorrowedFd, path: &CStr, flags: u32) -> Result<OwnedFd, Errno> {
    let flags = flags | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    // SAFETY: the path is a string that outlives the call.
    owned_fd(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags) })
}

/// Attach the mount `from` on top of what `to` refers to.
pub fn move_mount(from: BorrowedFd, to: BorrowedFd) -> Result<(), Errno> {
    let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are static strings.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            from.as_raw_fd(),
            c"".as_ptr(),
            to.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    Errno::result(rc).map(drop)
}

/// Change the mount that `mount` is the root of, with `recursive` all mounts below it too.
pub fn set_attr(mount: BorrowedFd, attr: &MountAttr, recursive: bool) -> Result<(), Errno> {
    let mut flags = AT_EMPTY_PATH;
    if recursive {
        flags |= AT_RECURSIVE;
    }
    // SAFETY: the kernel reads `size_of::<MountAttr>()` bytes of `attr`.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// Map the ids of a detached mount as the user namespace `namespace` does, with `recursive` of
/// all mounts below it too (Linux 5.12). EINVAL: one of their filesystems does not take part.
pub fn set_id_map(mount: BorrowedFd, namespace: BorrowedFd, recursive: bool) -> Result<(), Errno> {
    let attr = MountAttr {
        set: ATTR_IDMAP,
        userns_fd: namespace.as_raw_fd() as u64,
        ..MountAttr::default()
    };
    set_attr(mount, &attr, recursive)
}

/// A new filesystem as a detached mount.
pub fn new_filesystem(fstype: &CStr, options: &[FsOption], attr: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: the type is a string that outlives the call.
    let context =
        owned_fd(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), FSOPEN_CLOEXEC) })?;
    set_options(&context, options)?;
    fsconfig(&context, FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: fsmount takes integers only.
    owned_fd(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            FSMOUNT_CLOEXEC,
            attr,
        )
    })
}

/// Change the filesystem, not only the mount, that `mount` is the root of; what no option
/// names stays as it is.
pub fn reconfigure(mount: BorrowedFd, options: &[FsOption]) -> Result<(), Errno> {
    let flags = FSPICK_CLOEXEC | FSPICK_EMPTY_PATH;
    // SAFETY: the path is a static string.
    let context = owned_fd(unsafe {
        libc::syscall(libc::SYS_fspick, mount.as_raw_fd(), c"".as_ptr(), flags)
    })?;
    set_options(&context, options)?;
    fsconfig(&context, FSCONFIG_CMD_RECONFIGURE, None, None)
}

fn set_options(context: &OwnedFd, options: &[FsOption]) -> Result<(), Errno> {
    for (key, value) in options {
        let command = match value {
            Some(_) => FSCONFIG_SET_STRING,
            None => FSCONFIG_SET_FLAG,
        };
        fsconfig(context, command, Some(key), *value)?;
    }
    Ok(())
}

fn fsconfig(
    context: &OwnedFd,
    command: u32,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> Result<(), Errno> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are null or strings that outlive the call, as the command wants.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    };
    Errno::result(rc).map(drop)
}

/// Flags of [`statfs_flags`] (the kernel's include/linux/statfs.h).
pub const ST_RDONLY: u64 = 0x1;
pub const ST_NOSUID: u64 = 0x2;
pub const ST_NODEV: u64 = 0x4;
pub const ST_NOEXEC: u64 = 0x8;
pub const ST_NOATIME: u64 = 0x400;
pub const ST_NODIRATIME: u64 = 0x800;
pub const ST_RELATIME: u64 = 0x1000;
pub const ST_NOSYMFOLLOW: u64 = 0x2000;

/// All the flags of a mount. nix drops ST_NOSYMFOLLOW, and with musl it has no ST_RELATIME.
pub fn statfs_flags(mount: BorrowedFd) -> Result<u64, Errno> {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: there is room for the whole struct.
    Errno::result(unsafe { libc::fstatvfs(mount.as_raw_fd(), stat.as_mut_ptr()) })?;
    // SAFETY: a call that succeeds fills it.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_flag)
}

//! Mounts as trees that are held by fd: cloned or made detached, changed, and then attached to
//! a target that is held by fd, too. No call here resolves a path inside the rootfs.
//!
//! Each function is one call of the kernel's interface for that (Linux 5.2, attributes 5.12).
//! A kernel that lacks it answers ENOSYS, which costs the others nothing, and the same is then
//! done by mount(2) on `/proc/self/fd/N`, in `trees::old`. What mount(2) cannot do at all, a
//! change of attributes on a whole tree, stays ENOSYS; callers name the option that needs it.

mod old;

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::sys::mount::{self as sys, FsOption, MountAttr};

pub use old::{forget, strike};

/// A detached clone of the mount at `path`, relative to `dir` and itself when empty; with
/// `recursive` of all mounts below it.
pub fn clone(dir: BorrowedFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    match sys::clone_tree(dir, path, recursive) {
        Err(Errno::ENOSYS) => old::clone(dir, path, recursive, true),
        other => other,
    }
}

/// The same without following `path` if it is a link.
pub fn clone_link(dir: BorrowedFd, path: &CStr, recursive: bool) -> Result<OwnedFd, Errno> {
    match sys::clone_link(dir, path, recursive) {
        Err(Errno::ENOSYS) => old::clone(dir, path, recursive, false),
        other => other,
    }
}

/// Attach a tree on top of what `target` holds.
pub fn attach(tree: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    match sys::move_mount(tree, target) {
        Err(Errno::ENOSYS) => old::attach(tree, target),
        other => other,
    }
}

/// Bind what `source` holds on top of what `target` holds.
pub fn bind(source: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    match sys::clone_tree(source, c"", false) {
        Err(Errno::ENOSYS) => old::bind(source, target),
        other => sys::move_mount(other?.as_fd(), target),
    }
}

/// Change the mount that `mount` is the root of, with `recursive` all mounts below it too.
///
/// # Errors
/// ENOSYS: this kernel cannot change the attributes of a whole tree.
pub fn set_attr(mount: BorrowedFd, attr: &MountAttr, recursive: bool) -> Result<(), Errno> {
    match sys::set_attr(mount, attr, recursive) {
        Err(Errno::ENOSYS) => old::set_attr(mount, attr, recursive),
        other => other,
    }
}

/// A new filesystem, detached.
pub fn new_filesystem(fstype: &CStr, options: &[FsOption], attr: u64) -> Result<OwnedFd, Errno> {
    match sys::new_filesystem(fstype, options, attr) {
        Err(Errno::ENOSYS) => old::new_filesystem(fstype, options, attr),
        other => other,
    }
}

/// Change the filesystem that `mount` is the root of.
pub fn reconfigure(mount: BorrowedFd, options: &[FsOption]) -> Result<(), Errno> {
    match sys::reconfigure(mount, options) {
        Err(Errno::ENOSYS) => old::reconfigure(mount, options),
        other => other,
    }
}

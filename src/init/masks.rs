//! Masked and read-only paths.
//!
//! A masked file is covered by the null device, a masked directory by an empty read-only
//! tmpfs; one of each is made and cloned for all. A path that is not there is skipped, as the
//! list names what some kernel may have.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::devices;
use super::lookup::Lookup;
use super::mounts::attach;
use super::rootfs::is;
use super::trees;
use crate::error::{Error, Result, Step};
use crate::sys::mount::{self as sys, FsOption, MountAttr};

/// Cover each of `paths`; `label` is the SELinux label of the directories.
pub fn mask(lookup: &Lookup, paths: &[PathBuf], label: Option<&str>) -> Result<()> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    let mut one = |path: &Path| -> Result<()> {
        let Some(target) = lookup.find(path)? else {
            return Ok(());
        };
        if is(target.as_fd(), SFlag::S_IFDIR).step("look at it")? {
            cover(target.as_fd(), &mut empty, || empty_directory(label))
        } else {
            cover(target.as_fd(), &mut null, || devices::null(lookup.root))
        }
    };
    paths
        .iter()
        .try_for_each(|path| one(path).map_err(|e| failed(e, "mask", path, "maskedPaths")))
}

/// Say which path of which list it was.
fn failed(error: Error, what: &str, path: &Path, list: &str) -> Error {
    error
        .within(&format!("{what} {}", path.display()))
        .with_field(format!("/linux/{list}"))
}

fn empty_directory(label: Option<&str>) -> Result<OwnedFd> {
    let step = "make an empty tmpfs";
    let label = label.map(CString::new).transpose();
    let label = label.map_err(|_| Error::invalid("a label holds a zero byte"))?;
    let mut options: Vec<FsOption> = vec![(c"source", Some(c"tmpfs")), (c"ro", None)];
    options.extend(label.as_deref().map(|label| (c"context", Some(label))));
    trees::new_filesystem(c"tmpfs", &options, sys::ATTR_RDONLY).step(step)
}

/// Attach what `make` gives, and from then on clones of it. All of them are attached: to close
/// the fd of a detached mount is to unmount it, and that waits for an RCU grace period.
fn cover(
    target: BorrowedFd,
    first: &mut Option<OwnedFd>,
    make: impl FnOnce() -> Result<OwnedFd>,
) -> Result<()> {
    match first {
        Some(first) => {
            let clone = trees::clone(first.as_fd(), c"", false).step("clone a mount")?;
            attach(clone.as_fd(), target)
        }
        None => attach(first.insert(make()?).as_fd(), target),
    }
}

/// Bind each of `paths` over itself, read-only.
pub fn make_readonly(lookup: &Lookup, paths: &[PathBuf]) -> Result<()> {
    let one = |path: &Path| -> Result<()> {
        let Some(target) = lookup.find(path)? else {
            return Ok(());
        };
        let tree = trees::clone(target.as_fd(), c"", true).step("clone its mount")?;
        let attr = MountAttr {
            set: sys::ATTR_RDONLY,
            ..MountAttr::default()
        };
        match trees::set_attr(tree.as_fd(), &attr, true) {
            // A tree with a mount that may not change (locked in a user namespace), or a kernel
            // that changes no trees: the top is what the config names.
            Err(Errno::EPERM | Errno::ENOSYS) => trees::set_attr(tree.as_fd(), &attr, false),
            other => other,
        }
        .step("change its mount")?;
        attach(tree.as_fd(), target.as_fd())
    };
    paths.iter().try_for_each(|path| {
        one(path).map_err(|e| failed(e, "make read-only", path, "readonlyPaths"))
    })
}

/// Make mounts read-only that had to stay writable until now.
pub fn finish_readonly(mounts: &[OwnedFd]) -> Result<()> {
    let attr = MountAttr {
        set: sys::ATTR_RDONLY,
        ..MountAttr::default()
    };
    mounts.iter().try_for_each(|mount| {
        trees::set_attr(mount.as_fd(), &attr, false).step("make a mount read-only")
    })
}

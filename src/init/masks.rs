//! Masked and read-only paths.
//!
//! A masked file is covered by the null device, a masked directory by an empty read-only
//! tmpfs; one of each is made and cloned for all. A path that is not there is skipped, as the
//! list names what some kernel may have.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::devices;
use super::mounts::attach;
use super::rootfs::{RootFs, is};
use crate::error::{Result, Step};
use crate::sys::mount::{self as sys, MountAttr};

/// Cover each of `paths`.
pub fn mask(root: &RootFs, paths: &[PathBuf]) -> Result<()> {
    let mut null: Option<OwnedFd> = None;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = root.find(path)? else {
            continue;
        };
        let covered = if is(target.as_fd(), SFlag::S_IFDIR).step_on("look at", path)? {
            cover(target.as_fd(), &mut empty, empty_directory)
        } else {
            cover(target.as_fd(), &mut null, || devices::null(root))
        };
        covered.map_err(|error| error.within("mask a path").with_path(path))?;
    }
    Ok(())
}

fn empty_directory() -> Result<OwnedFd> {
    let options: &[_] = &[(c"source", Some(c"tmpfs")), (c"ro", None)];
    sys::new_filesystem(c"tmpfs", options, sys::ATTR_RDONLY).step("make an empty tmpfs")
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
            let clone = sys::clone_tree(first.as_fd(), c"", false).step("clone a mount")?;
            attach(clone.as_fd(), target)
        }
        None => attach(first.insert(make()?).as_fd(), target),
    }
}

/// Bind each of `paths` over itself, read-only.
pub fn make_readonly(root: &RootFs, paths: &[PathBuf]) -> Result<()> {
    for path in paths {
        let Some(target) = root.find(path)? else {
            continue;
        };
        let step = "make a path read-only";
        let tree = sys::clone_tree(target.as_fd(), c"", true).step_on(step, path)?;
        let attr = MountAttr {
            set: sys::ATTR_RDONLY,
            ..MountAttr::default()
        };
        match sys::set_attr(tree.as_fd(), &attr, true) {
            // A tree with a mount that may not change (locked in a user namespace): the top is
            // what the config names.
            Err(Errno::EPERM) => sys::set_attr(tree.as_fd(), &attr, false),
            other => other,
        }
        .step_on(step, path)?;
        attach(tree.as_fd(), target.as_fd()).map_err(|e| e.within(step).with_path(path))?;
    }
    Ok(())
}

//! The rootfs of a container that shares a mount namespace: the caller's, or one joined by path.
//!
//! Others live in that namespace, the host perhaps. So nothing is mounted in it, and a
//! pivot_root would be theirs, too. The rootfs is built aside instead, in a mount namespace
//! that exists for that while and for nobody else. What has been built is cloned as a detached
//! tree, and entered by chroot(2) once we are back in the shared namespace. Its mounts are in no
//! mount table then, `..` ends at its top as at any root of the host's, and all of it goes with
//! the last process that is in it.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use super::root;
use super::rootfs::RootFs;
use crate::error::{Result, Step};
use crate::procfs::ProcFs;
use crate::sys::mount as sys;

/// We are aside; this is the way back.
pub struct Aside {
    shared: OwnedFd,
}

impl Aside {
    /// Step aside, into a copy of the mount namespace that we are in.
    pub fn step() -> Result<Self> {
        // Not by the /proc that is mounted, which in a joined namespace may be anything.
        let shared = ProcFs::open()?.own_namespace("mnt")?;
        unshare(CloneFlags::CLONE_NEWNS).step("step aside into a mount namespace")?;
        Ok(Self { shared })
    }

    /// Go back, and enter what has been built.
    pub fn enter(self, built: &RootFs) -> Result<()> {
        let tree = sys::clone_tree(built.as_fd(), c"", true)
            .step("clone what was built aside")
            .map_err(|error| match error.errno() {
                Some(Errno::ENOSYS) => {
                    error.with_hint("without a new mount namespace it takes Linux 5.2")
                }
                _ => error,
            })?;
        setns(&self.shared, CloneFlags::CLONE_NEWNS).step("return to the mount namespace")?;
        root::change_root_to(tree.as_fd())
    }
}

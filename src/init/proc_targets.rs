//! Mounts on /proc and below it, judged by what was opened and not by its name.
//!
//! The plan has refused what is below /proc by its text. A link in the image may still lead
//! there, and only here can be seen whether the source of a bind is a procfs. A false file
//! below /proc would take what is meant for the kernel, a security label above all
//! (CVE-2019-16884, CVE-2023-28642).

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use super::rootfs::RootFs;
use crate::error::{Error, Result, Step};
use crate::plan::{Mount, ProcRule, proc_rule};
use crate::procfs::{fd_path, is_procfs};

/// Refuse a mount that would land on a procfs and may not. `target` is what has been opened
/// for it; `brings_procfs` says whether the new mount is a procfs itself, and is only asked
/// when that matters.
pub fn check(
    root: &RootFs,
    mount: &Mount,
    target: BorrowedFd,
    brings_procfs: impl FnOnce() -> Result<bool>,
) -> Result<()> {
    let path = if is_procfs(target).step("look at the target")? {
        inside(root, target)?
    } else {
        mount.target.clone()
    };
    let problem = match proc_rule(&path) {
        ProcRule::Outside | ProcRule::Known => return Ok(()),
        ProcRule::Procfs if brings_procfs()? => return Ok(()),
        ProcRule::Procfs => "it is not of type proc",
        ProcRule::Refused => "it is inside /proc",
    };
    Err(Error::invalid(format!(
        "{:?} cannot be mounted because {problem}",
        path.display()
    )))
}

/// Where in the rootfs an opened file is. /proc is still the host's here.
fn inside(root: &RootFs, target: BorrowedFd) -> Result<PathBuf> {
    let path = |fd: BorrowedFd| std::fs::read_link(fd_path(fd)).step("look up a mount's target");
    let (root, target) = (path(root.as_fd())?, path(target)?);
    target
        .strip_prefix(&root)
        .map(|rest| Path::new("/").join(rest))
        .map_err(|_| Error::new("the target of a mount is not in the rootfs").with_path(&target))
}

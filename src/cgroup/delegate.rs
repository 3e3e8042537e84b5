//! Giving a v2 cgroup to the container's user: the directory and the files that the kernel
//! lists for it (cgroups(7), "Cgroup delegation"). All other files stay ours, limits above all.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{Uid, fchownat};

use super::file;
use crate::error::{Result, Step};

const LIST: &str = "/sys/kernel/cgroup/delegate";
/// Of kernels before 4.15, which have no list.
const USUAL: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads";

/// A listed file that this cgroup does not have is none that could be given.
pub fn give(dir: &Path, owner: u32) -> Result<()> {
    let list = file::read(Path::new(LIST)).unwrap_or_else(|_| USUAL.to_owned());
    change_owner(dir, owner)?;
    list.lines()
        .filter(|name| !name.is_empty())
        .try_for_each(|name| match change_owner(&dir.join(name), owner) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(()),
            done => done,
        })
}

fn change_owner(path: &Path, owner: u32) -> Result<()> {
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(AT_FDCWD, path, Some(Uid::from_raw(owner)), None, flags)
        .step_on("give the cgroup to the container's user", path)
}

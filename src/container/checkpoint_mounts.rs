//! Where the mounts are in the container that a checkpoint leaves to the host.
//!
//! criu wants to know them by their places in the mount table of init, and by names. The state has
//! the targets that the config gave, which are their names. A link of the image may have led
//! elsewhere when they were mounted, so each is looked up again, inside the container's root, and
//! the mount that is found there is looked for in the table.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::stat::{SFlag, fstat};

use super::process::Process;
use super::state::State;
use crate::error::{Error, Result, Step};
use crate::init::rootfs::RootFs;
use crate::mountinfo::{self, MountLine};
use crate::procfs::fd_path;

/// What is bound over a masked file, here and on restore.
pub const NULL: &str = "/dev/null";

/// Pairs of place and name.
pub fn find(state: &State, init: &Process) -> Result<Vec<(PathBuf, PathBuf)>> {
    let root = init.root()?.ok_or_else(Error::not_running)?;
    let root = RootFs::new(root);
    let pid = init.pid().as_raw();
    let table = mountinfo::of_process(pid).step("read the container's mount table")?;
    let mut found = Vec::new();
    for target in &state.orlop.external_mounts {
        // What has been unmounted inside is nobody's concern.
        if let Some(line) = mount_at(&root, &table, target, true)? {
            found.push((line.target.clone(), target.clone()));
        }
    }
    for path in &state.orlop.masked_paths {
        if let Some(line) = mount_at(&root, &table, path, false)? {
            found.push((line.target.clone(), NULL.into()));
        }
    }
    Ok(found)
}

/// The mount that begins at `path`; `directories`: or else only if it is of a file.
fn mount_at<'a>(
    root: &RootFs,
    table: &'a [MountLine],
    path: &Path,
    directories: bool,
) -> Result<Option<&'a MountLine>> {
    let Some(fd) = root.find(path)? else {
        return Ok(None);
    };
    let stat = fstat(&fd).step_on("look at", path)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    if !directories && kind == SFlag::S_IFDIR {
        return Ok(None);
    }
    let id = mount_id(fd.as_fd()).step_on("look at the mount of", path)?;
    let place = std::fs::read_link(fd_path(&fd)).step_on("look at the mount of", path)?;
    Ok(table.iter().find(|line| {
        let below = line.target.strip_prefix("/").unwrap_or(&line.target);
        Some(line.id) == id
            && line.target != Path::new("/")
            && place.ends_with(below)
            && !is_whole_cgroup2(line)
    }))
}

/// A bind of the hierarchy's root cannot be told from a mount of it, and criu makes it as one.
fn is_whole_cgroup2(line: &MountLine) -> bool {
    line.fstype == "cgroup2" && line.root == Path::new("/")
}

/// `mnt_id` of proc(5), /proc/PID/fdinfo.
fn mount_id(fd: std::os::fd::BorrowedFd) -> std::io::Result<Option<u32>> {
    use std::os::fd::AsRawFd;
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    Ok(id.and_then(|id| id.trim().parse().ok()))
}

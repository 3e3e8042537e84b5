//! Removing a container's cgroup.
//!
//! Usually that is one rmdir a hierarchy, as soon as the last process is reaped. When the
//! kernel says busy, there are child cgroups, or processes that are still dying: the children
//! go first, a frozen cgroup is thawed so that its processes can die, and we wait some seconds.
//! Who is left then is named.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::AT_FDCWD;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Cgroup, file, freezer, processes};
use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Remove the cgroup and those below it. Its processes must be dead or dying; it signals
    /// nobody. What is gone already is not an error.
    pub fn remove(&self) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        let mut thawed = false;
        let mut first = Ok(());
        for dir in &self.dirs {
            match rmdir(&dir.path) {
                Ok(()) => continue,
                Err(_) if !thawed => {
                    let _ = self.thaw_all();
                    thawed = true;
                }
                Err(_) => {}
            }
            // The other hierarchies are tried all the same.
            first = first.and(remove_busy(&dir.path, dir.is_unified(), end));
        }
        first
    }

    /// Take back what `create` did: remove only the directories that it made. As with
    /// `remove`, the processes must be dead or dying.
    pub fn undo(&mut self) -> Result<()> {
        if let Some(unit) = self.unit.take() {
            // All of it is the unit's.
            let stopped = unit.stop();
            return self.remove().and(stopped);
        }
        let end = Instant::now() + PATIENCE;
        let mut first = Ok(());
        while let Some(path) = self.made.pop() {
            let busy = rmdir(&path).is_err();
            // A parent that we made may have got another container's cgroup meanwhile.
            if let Some(own) = self.dirs.iter().find(|own| busy && own.path == path) {
                let _ = self.thaw_all();
                first = first.and(remove_busy(&path, own.is_unified(), end));
            }
        }
        first
    }
}

/// ENOENT is success.
fn rmdir(path: &Path) -> Result<(), Errno> {
    loop {
        match unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir) {
            Err(Errno::EINTR) => {}
            Err(Errno::ENOENT) => return Ok(()),
            result => return result,
        }
    }
}

/// The children, then the cgroup itself, as long as it is only busy.
fn remove_busy(path: &Path, unified: bool, end: Instant) -> Result<()> {
    for child in file::children(path) {
        remove_busy(&child, unified, end)?;
    }
    let mut pause = Duration::from_millis(1);
    loop {
        let errno = match rmdir(path) {
            Ok(()) => return Ok(()),
            Err(errno) => errno,
        };
        let left = end.saturating_duration_since(Instant::now());
        if errno != Errno::EBUSY || left.is_zero() {
            return Err(left_over(path, errno));
        }
        if unified && freezer::wait_for_event(path, "populated", 0, left) == Ok(true) {
            // Nobody is left, but the kernel may need a moment more, or there is a new child.
            for child in file::children(path) {
                remove_busy(&child, unified, end)?;
            }
        }
        sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn left_over(path: &Path, errno: Errno) -> Error {
    let error = Error::sys("remove the cgroup", errno).with_path(path);
    match processes::pids_below(path) {
        Ok(pids) if !pids.is_empty() => {
            error.with_hint(format!("still in it: pids {}", processes::list(&pids)))
        }
        _ => error,
    }
}

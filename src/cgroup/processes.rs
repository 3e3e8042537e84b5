//! The processes of a cgroup, and signals to all of them.

use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::{Cgroup, file};
use crate::error::{Result, Step};
use crate::sys::pidfd;

/// Without a freezer, new processes may appear while the old are signalled: look this often.
const ROUNDS: usize = 100;

impl Cgroup {
    /// The processes of the cgroup and of those below it, in ascending order, as our pid
    /// namespace numbers them. None when the cgroup is gone.
    pub fn pids(&self) -> Result<Vec<Pid>> {
        let Some(dir) = self.main_dir() else {
            return Ok(Vec::new());
        };
        match pids_below(dir) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(Vec::new()),
            result => result.step_on("list the container's processes", dir),
        }
    }

    /// Send a signal to every process of the cgroup and below, so that none escapes by
    /// forking. SIGKILL is also for those that are frozen, by us or by the container in cgroups
    /// of its own making: they are thawed and die.
    pub fn kill_all(&self, signal: i32) -> Result<()> {
        let deadly = signal == libc::SIGKILL;
        if deadly && let Some(dir) = self.unified_dir() {
            let all = file::write(&dir.join("cgroup.kill"), "1");
            if all.is_ok() && self.dirs.len() == 1 {
                return self.thaw();
            }
            // Linux before 5.14, or v1 beside it, where not all need be in the unified one.
        }
        let was_frozen = self.is_frozen()?;
        let frozen = was_frozen || self.freeze().is_ok();
        let result = self.signal_each(signal, deadly && !frozen);
        if deadly && frozen {
            self.thaw_all()?;
        } else if frozen && !was_frozen {
            self.thaw()?;
        }
        result
    }

    /// `again`: until nobody new is found.
    fn signal_each(&self, signal: i32, again: bool) -> Result<()> {
        let mut known: Vec<Pid> = Vec::new();
        for _ in 0..ROUNDS {
            let pids = self.pids()?;
            let new: Vec<Pid> = pids
                .into_iter()
                .filter(|pid| !known.contains(pid))
                .collect();
            for &pid in &new {
                let sent = pidfd::open(pid).and_then(|fd| pidfd::send_signal(fd.as_fd(), signal));
                match sent {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(errno) => Err(errno).step(format!("signal process {pid}"))?,
                }
            }
            if !again || new.is_empty() {
                break;
            }
            known.extend(new);
        }
        Ok(())
    }
}

/// The processes of a cgroup and of those below it.
pub fn pids_below(dir: &Path) -> Result<Vec<Pid>, Errno> {
    let mut pids = pids_in(dir)?;
    for child in file::children(dir) {
        match pids_below(&child) {
            Ok(more) => pids.extend(more),
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            Err(errno) => return Err(errno),
        }
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn pids_in(dir: &Path) -> Result<Vec<Pid>, Errno> {
    let text = match file::read(&dir.join("cgroup.procs")) {
        // A threaded cgroup does not list processes.
        Err(Errno::EOPNOTSUPP) => file::read(&dir.join("cgroup.threads"))?,
        result => result?,
    };
    // 0 is a process that our pid namespace does not see; a signal to 0 would be for us.
    let numbers = text.lines().filter_map(|line| line.parse().ok());
    Ok(numbers.filter(|pid| *pid > 0).map(Pid::from_raw).collect())
}

/// `12, 13, 14`, for messages; a few of many.
pub fn list(pids: &[Pid]) -> String {
    let some: Vec<String> = pids.iter().take(10).map(Pid::to_string).collect();
    match pids.len() - some.len() {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

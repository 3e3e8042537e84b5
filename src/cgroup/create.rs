//! Making a container's cgroup, in this order: the directories; a look at those that were
//! there before; cpusets, without which nothing can enter; the device rules; the limits; the
//! owner. What was made is removed again when a step fails.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, access, geteuid, mkdir};

use super::devices::Table;
use super::{Cgroup, Dir, UNIFIED, delegate, file, freezer, limits, open_dir, processes, program};
use crate::error::{Error, Result, Step};
use crate::plan;

/// What callers match when a directory cannot be made or a limit has none.
const APPLY: &str = "unable to apply cgroup configuration";

impl Cgroup {
    /// Make the planned cgroup with all its limits. It must be new, or empty and not frozen.
    pub fn create(plan: &plan::Cgroup) -> Result<Self> {
        let mut cgroup = Self {
            dirs: Vec::new(),
            made: Vec::new(),
            unified: None,
            unit: None,
            oom_before: 0,
        };
        match cgroup.fill(plan) {
            Ok(()) => Ok(cgroup),
            Err(error) => {
                // What is left is empty; the reason to fail says more than that.
                let _ = cgroup.undo();
                Err(error)
            }
        }
    }

    fn fill(&mut self, plan: &plan::Cgroup) -> Result<()> {
        let mut old = Vec::new();
        for dir in &plan.dirs {
            match make(&dir.dir, &mut self.made) {
                Ok(Made::New) => {}
                Ok(Made::Old) if plan.optional && !may_enter(dir) => continue,
                Ok(Made::Old) => old.push(self.dirs.len()),
                Err(errno) if may_lack(plan, dir, errno) => continue,
                Err(errno) => return Err(denied(plan, &dir.dir, errno)),
            }
            self.dirs.push(Dir {
                keys: dir.controllers.clone(),
                path: dir.dir.clone(),
            });
        }
        refuse_used(&self.dirs, &old)?;
        if !old.is_empty() {
            self.oom_before = self.oom_kills();
        }
        self.set_limits(plan, &old)
    }

    /// What is done with directories that are there; `old` are those that may have device rules
    /// of ours already.
    pub(super) fn set_limits(&mut self, plan: &plan::Cgroup, old: &[usize]) -> Result<()> {
        self.require_dirs(&plan.writes)?;
        if let Some(dir) = plan.dirs.iter().find(|dir| is_unified(dir)) {
            enable_controllers(&dir.mount, &dir.dir, &plan.enable);
        }
        limits::fill_cpuset(plan, self.v1_dir("cpuset"))?;
        self.set_devices(plan, old)?;
        limits::write(&plan.writes, |key| self.v1_dir(key), file::write)?;
        self.delegate(plan, old)
    }

    /// Give the cgroup to the container's user, once all that is ours is done. A new one has
    /// been the caller's from the start.
    fn delegate(&self, plan: &plan::Cgroup, old: &[usize]) -> Result<()> {
        let (Some(owner), Some(dir)) = (plan.owner, self.unified_dir()) else {
            return Ok(());
        };
        if old.is_empty() && owner == geteuid().as_raw() {
            return Ok(());
        }
        match delegate::give(dir, owner) {
            // Who has no right to give it away has a container all the same.
            Err(error) if plan.rootless && error.errno() == Some(Errno::EPERM) => {
                log::warn!("{error}");
                Ok(())
            }
            done => done,
        }
    }

    /// A limit needs its directory, whatever else may be done without.
    pub(super) fn require_dirs(&self, writes: &[plan::CgroupWrite]) -> Result<()> {
        let lacks = |write: &&plan::CgroupWrite| self.v1_dir(&write.controller).is_none();
        match writes.iter().find(lacks) {
            None => Ok(()),
            Some(write) if write.controller == UNIFIED => Err(Error::new(
                "rootless needs no limits + no cgrouppath when no permission is granted for cgroups",
            )
            .with_field(&write.field)
            .with_errno(Errno::EACCES)
            .within(APPLY)),
            Some(write) => Err(Error::new(format!(
                "cannot set {} limit: container could not join or create cgroup",
                write.controller
            ))
            .with_field(&write.field)),
        }
    }

    fn set_devices(&mut self, plan: &plan::Cgroup, old: &[usize]) -> Result<()> {
        if plan.devices.is_empty() {
            return Ok(());
        }
        let result = self.try_devices(plan, old);
        // The rules need the host's root. Without it, no device can be made either.
        if plan.rootless { Ok(()) } else { result }
    }

    fn try_devices(&mut self, plan: &plan::Cgroup, old: &[usize]) -> Result<()> {
        const STEP: &str = "set the device rules";
        let table = Table::new(&plan.devices)
            .map_err(|refused| Error::new(format!("{STEP}: {}", refused.reason)))?;
        if let Some(dir) = self.v1_dir("devices") {
            return limits::set_devices_v1(dir, &table);
        }
        let Some(at) = self.dirs.iter().position(Dir::is_unified) else {
            return Err(Error::new("devices cgroup not mounted")
                .with_hint("device rules need the v1 devices controller, or cgroup v2"));
        };
        let path = &self.dirs[at].path;
        let fd = open_dir(path).step_on("open the cgroup", path)?;
        let result = match old.contains(&at) {
            true => program::replace(fd.as_fd(), &table),
            false => program::attach(fd.as_fd(), &table),
        };
        result.step_on(STEP, path)?;
        self.unified = Some(fd);
        Ok(())
    }
}

enum Made {
    New,
    Old,
}

/// mkdir -p, which is one mkdir when the parent is there.
fn make(dir: &Path, made: &mut Vec<PathBuf>) -> Result<Made, Errno> {
    match mkdir(dir, Mode::from_bits_truncate(0o755)) {
        Ok(()) => {
            made.push(dir.to_owned());
            Ok(Made::New)
        }
        Err(Errno::EEXIST) => Ok(Made::Old),
        Err(Errno::ENOENT) => {
            make(dir.parent().ok_or(Errno::ENOENT)?, made)?;
            // Somebody may have removed the parent meanwhile: then this fails for good.
            match mkdir(dir, Mode::from_bits_truncate(0o755)) {
                Ok(()) => made.push(dir.to_owned()),
                Err(Errno::EEXIST) => return Ok(Made::Old),
                Err(errno) => return Err(errno),
            }
            Ok(Made::New)
        }
        Err(errno) => Err(errno),
    }
}

/// Make a directory of a unit that systemd has not made; whether it is new.
pub(super) fn make_or_find(plan: &plan::Cgroup, dir: &Path) -> Result<bool> {
    match make(dir, &mut Vec::new()) {
        Ok(Made::New) => Ok(true),
        Ok(Made::Old) => Ok(false),
        Err(errno) => Err(denied(plan, dir, errno)),
    }
}

fn is_unified(dir: &plan::CgroupDir) -> bool {
    dir.controllers.iter().any(|key| key == UNIFIED)
}

/// Whether the container goes without this directory: nobody asked for any and we are
/// rootless; or it limits nothing (a named hierarchy, the unified one beside v1).
fn may_lack(plan: &plan::Cgroup, dir: &plan::CgroupDir, errno: Errno) -> bool {
    let denied = matches!(errno, Errno::EACCES | Errno::EPERM | Errno::EROFS);
    let named = dir.controllers.iter().all(|key| key.starts_with("name="));
    let beside = is_unified(dir) && plan.dirs.len() > 1;
    denied && (plan.optional || named || beside)
}

/// Whether the caller may put a process into a directory that was there before.
fn may_enter(dir: &plan::CgroupDir) -> bool {
    let file = if is_unified(dir) {
        "cgroup.procs"
    } else {
        "tasks"
    };
    access(&dir.dir.join(file), AccessFlags::W_OK).is_ok()
}

fn denied(plan: &plan::Cgroup, dir: &Path, errno: Errno) -> Error {
    let error = Error::sys("mkdir", errno).with_path(dir).within(APPLY);
    if plan.rootless {
        return error.with_hint("a rootless container needs a cgroupsPath that its user may use");
    }
    error
}

/// Directories that were there before must have no processes, and not be frozen: ours would
/// share a dead container's fate, or hang.
fn refuse_used(dirs: &[Dir], old: &[usize]) -> Result<()> {
    for &at in old {
        let pids = processes::pids_below(&dirs[at].path).unwrap_or_default();
        if !pids.is_empty() {
            return Err(Error::new(format!(
                "container's cgroup is not empty: {} process(es) found",
                pids.len()
            ))
            .with_path(&dirs[at].path)
            .with_hint(format!("pids {}", processes::list(&pids))));
        }
    }
    for &at in old {
        let Dir { keys, path } = &dirs[at];
        let frozen = match keys.iter().find(|key| *key == "freezer" || *key == UNIFIED) {
            Some(key) if key == UNIFIED => freezer::is_frozen_v2(path),
            Some(_) => freezer::is_frozen_v1(path),
            None => Ok(false),
        };
        if frozen.unwrap_or(false) {
            return Err(Error::new("container's cgroup unexpectedly frozen").with_path(path));
        }
    }
    Ok(())
}

/// v2: a controller works in a cgroup, `dir`, when its parent hands it down, and so on up to
/// the root, `mount`. The usual parent does it already, which one read tells. A cgroup that has
/// processes cannot (EBUSY): then the limit that needs it will fail with the name of its file.
pub fn enable_controllers(mount: &Path, dir: &Path, controllers: &[String]) {
    let Some(parent) = dir.parent().filter(|_| !controllers.is_empty()) else {
        return;
    };
    let handed = file::read_value(&parent.join("cgroup.subtree_control")).unwrap_or_default();
    let handed: Vec<&str> = handed.split(' ').collect();
    if controllers
        .iter()
        .all(|name| handed.contains(&name.as_str()))
    {
        return;
    }
    let below = parent.strip_prefix(mount).unwrap_or(Path::new(""));
    let mut ancestor = mount.to_owned();
    hand_down(&ancestor, controllers);
    for name in below {
        ancestor.push(name);
        hand_down(&ancestor, controllers);
    }
}

/// All at once, else each that can be. A cgroup with processes refuses memory and its like, and
/// would take cpu and pids, but become a threaded one by that, below which nothing can live.
fn hand_down(dir: &Path, controllers: &[String]) {
    let control = dir.join("cgroup.subtree_control");
    let all: Vec<String> = controllers.iter().map(|c| format!("+{c}")).collect();
    if all.is_empty() || !file::write(&control, &all.join(" ")).is_err_and(|e| e != Errno::EBUSY) {
        return;
    }
    for one in all {
        let _ = file::write(&control, &one);
    }
}

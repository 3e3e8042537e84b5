//! Groups of the resctrl file system, by which processors share cache and memory bandwidth
//! (config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/resctrl.rst).
//!
//! Create finds the file system and sees that it has what the config asks for, before anything
//! is touched. Then, under the file system's own lock, the group is made, or found and compared;
//! its `schemata` is written, and a monitoring group is made in it. Init enters both by writing
//! `0` to their `tasks`, as it enters cgroups; so does a process that exec starts. A group that
//! was made for this container alone goes with it; one that has a name of its own stays.
//!
//! Only a config that asks for it costs anything. The root is a parameter, since few machines
//! have the hardware: the tests use a directory of the same shape.

mod resctrl;
mod schemata;
pub mod stats;
mod update;

use std::io::Write;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::Mode;

use self::resctrl::{Resctrl, tasks};
use crate::error::{Error, Result, Step};
use crate::plan::intel_rdt::{AT, L3, MB, MONITORING};
use crate::plan::{IntelRdt, SchemataLine};

pub use update::Change;

/// The group that a container's processes are in.
#[derive(Debug)]
pub struct Group {
    resctrl: Resctrl,
    plan: IntelRdt,
    dir: PathBuf,
    monitor: Option<PathBuf>,
    /// What `create` has made, outer first.
    made: Vec<PathBuf>,
}

impl Group {
    /// The group that the plan asks for. Looks at the host and changes nothing.
    pub fn find(plan: &IntelRdt, id: &str) -> Result<Self> {
        let resctrl = Resctrl::find()?;
        resctrl.check(plan)?;
        Ok(Self::below(resctrl, plan, id))
    }

    fn below(resctrl: Resctrl, plan: &IntelRdt, id: &str) -> Self {
        let dir = match plan.clos.as_deref() {
            Some("/") => resctrl.root.clone(),
            Some(clos) => resctrl.root.join(clos),
            None => resctrl.root.join(id),
        };
        let monitor = || dir.join("mon_groups").join(id);
        Self {
            monitor: plan.monitoring.then(monitor),
            resctrl,
            plan: plan.clone(),
            dir,
            made: Vec::new(),
        }
    }

    /// Absolute path.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Absolute path of the container's monitoring group.
    pub fn monitor(&self) -> Option<&Path> {
        self.monitor.as_deref()
    }

    /// Make or take the group. `record` is told, before anything is made, which directories
    /// are to go with the container; inner ones come last.
    pub fn create(&mut self, record: impl FnOnce(&Self, Vec<PathBuf>) -> Result<()>) -> Result<()> {
        let _lock = self.resctrl.lock().map_err(|e| e.with_field(AT))?;
        let exists = self.look()?;
        let own = (!exists && self.plan.clos.is_none()).then(|| self.dir.clone());
        let owned = own.into_iter().chain(self.monitor.clone()).collect();
        record(self, owned)?;
        if !exists {
            self.make(self.dir.clone(), AT)?;
        }
        self.write_schemata()?;
        match self.monitor.clone() {
            Some(dir) => self.make(dir, MONITORING),
            None => Ok(()),
        }
    }

    /// Whether the group is there; when it has a name, it must be as the config describes it.
    fn look(&self) -> Result<bool> {
        let exists = self.dir.is_dir();
        if self.plan.clos.is_none() {
            return Ok(exists);
        }
        if !exists && self.plan.schemata.is_empty() {
            let text = "clos dir not accessible (must be pre-created when schemata, \
                l3CacheSchema and memBwSchema are empty)";
            return Err(Error::sys(text, Errno::ENOENT)
                .with_path(&self.dir)
                .with_field(format!("{AT}/closID")));
        }
        if exists {
            self.compare()?;
        }
        Ok(exists)
    }

    /// Others may be in the group: it is not for us to give it another share.
    fn compare(&self) -> Result<()> {
        let of_cache_or_bandwidth = |line: &&SchemataLine| [L3, MB].contains(&line.field.as_str());
        let mut lines = self
            .plan
            .schemata
            .iter()
            .filter(of_cache_or_bandwidth)
            .peekable();
        if lines.peek().is_none() {
            return Ok(());
        }
        let path = self.dir.join("schemata");
        let file = std::fs::read_to_string(&path)
            .step_on("read schemata", &path)
            .map_err(|e| e.with_field(AT))?;
        let granularity = self.resctrl.granularity();
        let missing = |line: &SchemataLine| {
            schemata::missing(&line.line, &file, granularity).map(|part| (line.field.clone(), part))
        };
        match lines.find_map(missing) {
            None => Ok(()),
            Some((field, part)) => Err(Error::new("the group is there, with another schemata")
                .with_path(&self.dir)
                .with_field(field)
                .with_hint(format!("it does not have {part}"))),
        }
    }

    fn make(&mut self, dir: PathBuf, field: &str) -> Result<()> {
        let made = nix::unistd::mkdir(&dir, Mode::from_bits_truncate(0o755));
        made.step_on("make the resctrl group", &dir)
            .map_err(|error| self.explain(error, field))?;
        self.made.push(dir);
        Ok(())
    }

    /// All lines in one write: the kernel checks them all before it takes any.
    fn write_schemata(&self) -> Result<()> {
        let lines = &self.plan.schemata;
        if lines.is_empty() {
            return Ok(());
        }
        let text: String = lines
            .iter()
            .map(|line| format!("{}\n", line.line))
            .collect();
        // Who has one field alone is told which.
        let field = match lines.as_slice() {
            [only] => only.field.as_str(),
            _ => AT,
        };
        write(&self.dir.join("schemata"), &text).map_err(|error| self.explain(error, field))
    }

    /// The calling process, which has one thread, joins the group and its monitoring group.
    pub fn enter(&self) -> Result<()> {
        let groups = std::iter::once(&self.dir).chain(&self.monitor);
        for dir in groups {
            write(&tasks(dir), "0").map_err(|error| self.explain(error, AT))?;
        }
        Ok(())
    }

    /// Take back what `create` did; the container's processes are gone.
    pub fn undo(&mut self) -> Result<()> {
        let made = std::mem::take(&mut self.made);
        remove(&made)
    }

    fn explain(&self, error: Error, field: &str) -> Error {
        let error = error.with_field(field);
        match self.resctrl.last_status() {
            Some(status) => error.with_hint(format!("last_cmd_status: {status}")),
            None => error,
        }
    }
}

/// The group of a running container, as its state remembers it; for exec.
#[derive(Debug)]
pub struct Running {
    groups: Vec<PathBuf>,
}

impl Running {
    /// `dir` may have been taken away by an administrator; then its processes are back in the
    /// default group, and a new one has no other place either.
    pub fn of(dir: &str, monitor: &str) -> Self {
        let there = |path: &&str| !path.is_empty() && tasks(Path::new(path)).exists();
        let groups = [dir, monitor].into_iter().filter(there);
        Self {
            groups: groups.map(PathBuf::from).collect(),
        }
    }

    /// See [`Group::enter`].
    pub fn enter(&self) -> Result<()> {
        let enter = |dir: &PathBuf| write(&tasks(dir), "0").map_err(|e| e.with_field(AT));
        self.groups.iter().try_for_each(enter)
    }
}

/// Remove groups, the last one first. What is gone already is fine; processes that are still in
/// one go to the group above.
pub fn remove(dirs: &[PathBuf]) -> Result<()> {
    let mut first = Ok(());
    for dir in dirs.iter().rev() {
        let done = match std::fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.step_on("remove the resctrl group", dir),
        };
        first = first.and(done);
    }
    first
}

/// One write(2); never makes a file.
fn write(path: &Path, text: &str) -> Result<()> {
    let file = std::fs::OpenOptions::new().write(true).open(path);
    let written = file.and_then(|mut file| file.write(text.as_bytes()));
    match written.step_on("write", path)? {
        length if length == text.len() => Ok(()),
        _ => Err(Error::new("write: the kernel took only a part").with_path(path)),
    }
}

#[cfg(test)]
mod tests;

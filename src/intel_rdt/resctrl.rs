//! The host's resctrl file system: where it is, what it offers, and its lock.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{FsType, statfs};

use crate::error::{Error, Result, Step};
use crate::mountinfo;
use crate::plan::IntelRdt;
use crate::plan::intel_rdt::{AT, L3, MB, MONITORING};

/// Where it belongs.
const USUAL: &str = "/sys/fs/resctrl";
/// RDTGROUP_SUPER_MAGIC of linux/magic.h.
const MAGIC: FsType = FsType(0x0765_5821);

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Resctrl {
    pub root: PathBuf,
}

impl Resctrl {
    /// Where it is mounted: at its usual place, or, as mountinfo has it, elsewhere.
    pub fn find() -> Result<Self> {
        if statfs(USUAL).is_ok_and(|fs| fs.filesystem_type() == MAGIC) {
            return Ok(Self { root: USUAL.into() });
        }
        let found = mountinfo::read(|fstype| fstype == "resctrl").step("read the mount table")?;
        let mount = found.into_iter().next().ok_or_else(|| {
            let text = "intelRdt is specified in config, but Intel RDT is not enabled";
            Error::field(AT, text).with_hint(format!(
                "a processor with it and `mount -t resctrl resctrl {USUAL}` are needed"
            ))
        })?;
        Ok(Self { root: mount.target })
    }

    /// Refuse what the hardware, or the kernel's command line, does not have.
    pub fn check(&self, plan: &IntelRdt) -> Result<()> {
        let has = |name: &str| self.root.join("info").join(name).exists();
        let asks = |field: &str| plan.schemata.iter().any(|line| line.field == field);
        let wrong = |field: &str, text: &str| Err(Error::field(field, text));
        // With code and data apart, the directories are L3CODE and L3DATA.
        if asks(L3) && !has("L3") && !has("L3CODE") {
            return wrong(
                L3,
                "intelRdt.l3CacheSchema is specified in config, but Intel RDT/CAT is not enabled",
            );
        }
        if asks(MB) && !has("MB") {
            return wrong(
                MB,
                "intelRdt.memBwSchema is specified in config, but Intel RDT/MBA is not enabled",
            );
        }
        if plan.monitoring && !has("L3_MON") {
            return wrong(
                MONITORING,
                "intelRdt.enableMonitoring is specified in config, but the host cannot monitor",
            );
        }
        Ok(())
    }

    /// Held while a group is made, as resctrl.rst asks of whoever looks first and then writes.
    pub fn lock(&self) -> Result<Flock<File>> {
        let dir = File::open(&self.root).step_on("open resctrl", &self.root)?;
        Flock::lock(dir, FlockArg::LockExclusive)
            .map_err(|(_, errno)| errno)
            .step_on("lock resctrl", &self.root)
    }

    /// What shares of the memory bandwidth are rounded up to, in percent.
    pub fn granularity(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("info/MB/bandwidth_gran")).ok()?;
        text.trim().parse().ok().filter(|number| *number > 0)
    }

    /// Why the kernel refused the last thing that was asked of it.
    pub fn last_status(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join("info/last_cmd_status")).ok()?;
        let text = text.trim().replace('\n', " ");
        (!text.is_empty() && text != "ok").then_some(text)
    }
}

/// The name of a group's or a monitoring group's file of processes.
pub fn tasks(dir: &Path) -> PathBuf {
    dir.join("tasks")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::SchemataLine;
    use crate::plan::tests::pointer_of;

    #[test]
    fn what_the_host_lacks_is_refused_by_name() {
        let root = std::env::temp_dir().join(format!("orlop-resctrl-{}", std::process::id()));
        let resctrl = Resctrl { root: root.clone() };
        let line = |field: &str| SchemataLine {
            field: field.to_owned(),
            line: String::new(),
        };
        for (field, name) in [
            (L3, "L3"),
            (L3, "L3CODE"),
            (MB, "MB"),
            (MONITORING, "L3_MON"),
        ] {
            let plan = IntelRdt {
                clos: None,
                schemata: vec![line(field)],
                monitoring: field == MONITORING,
            };
            assert_eq!(pointer_of(&resctrl.check(&plan).unwrap_err()), field);
            std::fs::create_dir_all(root.join("info").join(name)).unwrap();
            assert_eq!(resctrl.check(&plan), Ok(()));
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}

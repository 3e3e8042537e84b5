//! Where nothing may be mounted: below /proc, where it would pass for what the kernel says.

use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::MountKind;

/// What may be mounted at a path, as far as /proc is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProcRule {
    /// Not below /proc: anything.
    Outside,
    /// /proc itself: a new procfs, or a bind of one.
    Procfs,
    /// A file below /proc that lxcfs and its like stand in for: anything.
    Known,
    /// Else below /proc: nothing, as a program that trusts the file would be lied to
    /// (CVE-2019-16884 and its kin).
    Refused,
}

/// Files that lxcfs emulates, or that engines hide or fake.
const KNOWN: [&str; 10] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "slabinfo",
    "stat",
    "swaps",
    "uptime",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
];

/// The rule for `path`, absolute inside the rootfs, clean and, at the time of mounting, with
/// its symbolic links resolved.
pub fn proc_rule(path: &Path) -> ProcRule {
    match path.strip_prefix("/proc") {
        Err(_) => ProcRule::Outside,
        Ok(rest) if rest.as_os_str().is_empty() => ProcRule::Procfs,
        Ok(rest) if KNOWN.iter().any(|known| rest == Path::new(known)) => ProcRule::Known,
        Ok(_) => ProcRule::Refused,
    }
}

/// The rule for the target as the config has it; links are followed when it is mounted.
pub fn check(target: &Path, what: &MountKind, field: &str) -> Result<()> {
    let fstype = match what {
        MountKind::Filesystem { fstype, .. } => fstype.as_str(),
        _ => "",
    };
    let cgroup = matches!(what, MountKind::Cgroup1 { .. } | MountKind::Cgroup2 { .. });
    let problem = match proc_rule(target) {
        // It brings nothing that could pass for a file of procfs.
        _ if matches!(what, MountKind::Remount { .. }) => return Ok(()),
        ProcRule::Outside if cgroup && target == Path::new("/") => "it is of type cgroup",
        ProcRule::Outside | ProcRule::Known => return Ok(()),
        // Whether the source of a bind is a procfs is seen when it is opened.
        ProcRule::Procfs if fstype == "proc" || matches!(what, MountKind::Bind { .. }) => {
            return Ok(());
        }
        ProcRule::Procfs => "it is not of type proc",
        ProcRule::Refused => "it is inside /proc",
    };
    Err(Error::field(
        format!("{field}/destination"),
        format!("{:?} cannot be mounted because {problem}", target.display()),
    ))
}

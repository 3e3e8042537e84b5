//! Writing limits, device rules of v1, and cpusets.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd;

use super::devices::Table;
use super::{UNIFIED, domain, file};
use crate::error::{Error, Result, Step};
use crate::plan::{self, CgroupWrite, Missing};

/// Write the limits in order, each by `put`. Some bound each other (memory and swap; period,
/// quota and burst), and which has to go first depends on what is set already: those that the
/// kernel refuses come again after the others, as long as that gets any further.
pub fn write<'a>(
    writes: &[CgroupWrite],
    dir_of: impl Fn(&str) -> Option<&'a Path>,
    mut put: impl FnMut(&Path, &str) -> Result<(), Errno>,
) -> Result<()> {
    let mut again = Vec::new();
    for write in writes {
        let Some(dir) = dir_of(&write.controller) else {
            return Err(refused(write, &write.file, Errno::ENOENT));
        };
        match write_one(dir, write, &mut put) {
            Ok(()) => {}
            Err((_, Errno::EINVAL | Errno::EBUSY)) => again.push((dir, write)),
            Err((file, errno)) => return Err(missing(dir, write, file, errno)),
        }
    }
    while !again.is_empty() {
        let mut first = None;
        let left: Vec<_> = again
            .iter()
            .copied()
            .filter(|(dir, write)| match write_one(dir, write, &mut put) {
                Ok(()) => false,
                Err((file, errno)) => {
                    first.get_or_insert((*dir, *write, file, errno));
                    true
                }
            })
            .collect();
        if let Some((dir, write, file, errno)) = first
            && left.len() == again.len()
        {
            return Err(explain(dir, write, file, errno));
        }
        again = left;
    }
    Ok(())
}

fn write_one<'a>(
    dir: &Path,
    write: &'a CgroupWrite,
    put: &mut impl FnMut(&Path, &str) -> Result<(), Errno>,
) -> Result<(), (&'a str, Errno)> {
    let first = put(&dir.join(&write.file), &write.value);
    // cgroup filesystems say EACCES or EPERM where a file would have to be made, too.
    let missing = match first {
        Ok(()) => return Ok(()),
        Err(errno) if errno == Errno::ENOENT => errno,
        Err(errno) => return Err((&write.file, errno)),
    };
    match &write.missing {
        Missing::Refuse => Err((&write.file, missing)),
        Missing::Skip => Ok(()),
        Missing::Instead { file, value } => {
            put(&dir.join(file), value).map_err(|errno| (file.as_str(), errno))
        }
    }
}

/// A file of v2 that is not there: the whole controller may be missing from the cgroup.
fn missing(dir: &Path, write: &CgroupWrite, file: &str, errno: Errno) -> Error {
    let absent = matches!(errno, Errno::ENOENT | Errno::EOPNOTSUPP);
    if absent && write.controller == UNIFIED {
        if let Err(error) = domain::check(dir) {
            return error.with_field(&write.field);
        }
        let controller = file.split('.').next().unwrap_or(file);
        if let Some(reason) = domain::why_not_enabled(dir, controller) {
            return Error::sys(format!("write {:?} to {file}", write.value), errno)
                .with_field(&write.field)
                .with_hint(reason);
        }
    }
    refused(write, file, errno)
}

fn refused(write: &CgroupWrite, file: &str, errno: Errno) -> Error {
    let step = format!("write {:?} to {file}", write.value);
    let error = Error::sys(step, errno).with_field(&write.field);
    let controller = match write.controller.as_str() {
        "" => file.split('.').next().unwrap_or(file),
        name => name,
    };
    match errno {
        Errno::ENOENT => error.with_hint(format!(
            "the kernel's {controller} controller has no such file here"
        )),
        _ => error,
    }
}

/// What the kernel's errno does not tell.
fn explain(dir: &Path, write: &CgroupWrite, file: &str, errno: Errno) -> Error {
    let number = |file: &str| file::read_value(&dir.join(file)).unwrap_or_default();
    match (file, errno) {
        // v1 refuses a limit below what is in use, once it has freed what it can.
        ("memory.limit_in_bytes", Errno::EBUSY) => Error::new(format!(
            "unable to set memory limit to {} (current usage: {}, peak usage: {})",
            write.value,
            number("memory.usage_in_bytes"),
            number("memory.max_usage_in_bytes"),
        ))
        .with_field(&write.field)
        .with_hint("the kernel cannot free enough of what is in use"),
        ("memory.memsw.limit_in_bytes", Errno::EBUSY) => refused(write, file, errno).with_hint(
            format!("{} bytes are in use", number("memory.memsw.usage_in_bytes")),
        ),
        ("memory.limit_in_bytes", Errno::EINVAL) => refused(write, file, errno).with_hint(format!(
            "the limit of memory with swap is {}",
            number("memory.memsw.limit_in_bytes")
        )),
        ("memory.memsw.limit_in_bytes", Errno::EINVAL) => refused(write, file, errno).with_hint(
            format!("the limit of memory is {}", number("memory.limit_in_bytes")),
        ),
        ("cpu.shares" | "cpu.weight", Errno::EINVAL) if number("cpu.idle") == "1" => {
            refused(write, file, errno).with_hint("an idle cgroup has no share of its own")
        }
        _ => refused(write, file, errno),
    }
}

/// Tell a v1 devices cgroup its rules, from the ground up. What was there before is not asked
/// for: nobody is in the cgroup yet.
pub fn set_devices_v1(dir: &Path, table: &Table) -> Result<()> {
    const STEP: &str = "set the device rules";
    let (start, exceptions) = match table.allow {
        true => ("devices.allow", "devices.deny"),
        false => ("devices.deny", "devices.allow"),
    };
    let start = dir.join(start);
    file::write(&start, "a").step_on(STEP, &start)?;
    if table.exceptions.is_empty() {
        return Ok(());
    }
    let path = dir.join(exceptions);
    let fd = open(&path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty()).step_on(STEP, &path)?;
    for line in table.v1_lines() {
        // One rule a write.
        unistd::write(&fd, line.as_bytes())
            .map_err(|errno| Error::sys(format!("{STEP}: {line:?}"), errno).with_path(&path))?;
    }
    Ok(())
}

/// On v1 a new cpuset has no CPUs and no memory nodes, and nothing can enter it. What the
/// config does not set is copied from the parent, and the parent's from its own if it has none.
pub fn fill_cpuset(plan: &plan::Cgroup, dir: Option<&Path>) -> Result<()> {
    let Some(dir) = dir else { return Ok(()) };
    let has = |d: &&plan::CgroupDir| d.dir == *dir;
    let Some(mount) = plan.dirs.iter().find(has).map(|d| d.mount.as_path()) else {
        return Ok(());
    };
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let set = plan.writes.iter().any(|write| write.file == name);
        if set {
            // It comes with the limits, but the parent must have it to give.
            if let Some(parent) = dir.parent().filter(|_| dir != mount) {
                inherited(parent, name, mount)?;
            }
        } else if dir != mount {
            inherit(dir, name, mount)?;
        }
    }
    Ok(())
}

/// The value of a cpuset file, filled in if it was empty.
fn inherited(dir: &Path, name: &str, mount: &Path) -> Result<String> {
    let path = dir.join(name);
    let value = file::read_value(&path).step_on("read the cpuset", &path)?;
    if !value.is_empty() || dir == mount {
        return Ok(value);
    }
    inherit(dir, name, mount)
}

fn inherit(dir: &Path, name: &str, mount: &Path) -> Result<String> {
    let parent = dir.parent().unwrap_or(mount);
    let value = inherited(parent, name, mount)?;
    let path = dir.join(name);
    file::write(&path, &value).step_on("fill the cpuset", &path)?;
    Ok(value)
}

//! New limits for a cgroup in use.
//!
//! Each file is read before it is written, so that an update that fails halfway can put back
//! what the kernel said before, be it what this runtime once wrote or not. A file that was
//! never set says its default, which goes back as well. The device rules are left alone.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::{Cgroup, Layout, create, file, limits};
use crate::error::{Error, Result};
use crate::plan::cgroup::update::{MemoryCheck, Update};

/// What files said before they were written, in the order of the writes.
#[derive(Debug, Default)]
#[must_use = "it is needed when a later step fails"]
pub struct Before(Vec<(PathBuf, String)>);

impl Cgroup {
    /// Write the limits of an update: all of them, or, when one fails, none. Gives what is
    /// needed to take them back.
    pub fn update(&self, update: &Update, layout: &Layout) -> Result<Before> {
        self.require_dirs(&update.writes)?;
        if let Some(check) = update.check {
            self.check_memory(check)?;
        }
        if let (Some(v2), Some(dir)) = (&layout.v2, self.unified_dir()) {
            create::enable_controllers(&v2.mount, dir, &update.enable);
        }
        let mut before = Before::default();
        let dir_of = |key: &str| self.v1_dir(key);
        match limits::write(&update.writes, dir_of, |path, value| {
            before.put(path, value)
        }) {
            Ok(()) => Ok(before),
            Err(error) => {
                before.put_back();
                Err(error)
            }
        }
    }

    /// A limit of v2 that is not above what is in use would end in the OOM killer. That the use
    /// cannot be told is no reason to refuse.
    fn check_memory(&self, check: MemoryCheck) -> Result<()> {
        let current = self.unified_dir().map(|dir| dir.join("memory.current"));
        let usage = current.and_then(|path| file::read_value(&path).ok()?.parse::<u64>().ok());
        match usage {
            Some(usage) => fits(check, usage),
            None => Ok(()),
        }
    }
}

fn fits(check: MemoryCheck, usage: u64) -> Result<()> {
    for (limit, what, field) in [
        (check.swap, "memory+swap", "/memory/swap"),
        (check.limit, "memory", "/memory/limit"),
    ] {
        if let Some(limit) = limit.filter(|limit| *limit <= usage) {
            let text = format!("rejecting {what} limit {limit} <= usage {usage}");
            return Err(Error::field(field, text));
        }
    }
    Ok(())
}

impl Before {
    /// Write a file and note what it said.
    fn put(&mut self, path: &Path, value: &str) -> Result<(), Errno> {
        let text = match file::read(path) {
            Err(Errno::ENOENT) => return Err(Errno::ENOENT),
            // Some can only be written (cgroup.kill); there is nothing to put back then.
            text => text.ok(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Who becomes idle loses its share, and does not get it again by leaving idleness.
        let share = (name == "cpu.idle" && text.as_deref() == Some("0\n")).then(|| share(path));
        file::write(path, value)?;
        let old = text.and_then(|text| old_value(&name, &text, value));
        self.0.extend(share.flatten());
        self.0.extend(old.map(|old| (path.to_owned(), old)));
        Ok(())
    }

    /// Put back what was there, the last first. What bounds another comes again after it. That
    /// it fails is told in the log alone: why it had to be done says more.
    pub fn put_back(self) {
        let mut left = self.0;
        left.reverse();
        loop {
            let count = left.len();
            let mut reason = None;
            left.retain(|(path, old)| match file::write(path, old) {
                Ok(()) => false,
                Err(errno) => {
                    reason.get_or_insert((path.clone(), errno));
                    true
                }
            });
            match reason {
                None => return,
                Some((path, errno)) if left.len() == count => {
                    let error = Error::sys("put back the limits", errno).with_path(path);
                    return log::warn!("{error}");
                }
                Some(_) => {}
            }
        }
    }
}

/// The file beside cpu.idle that has the share, and what it says.
fn share(idle: &Path) -> Option<(PathBuf, String)> {
    ["cpu.shares", "cpu.weight"].iter().find_map(|name| {
        let path = idle.with_file_name(name);
        let value = file::read_value(&path).ok()?;
        Some((path, value))
    })
}

/// What has to be written to a file that said `text` to undo the write of `written`; `None`
/// where that cannot be told.
fn old_value(name: &str, text: &str, written: &str) -> Option<String> {
    let line_of = |key: &str| {
        let has = |line: &&str| line.split_whitespace().next() == Some(key);
        text.lines().find(has).map(str::to_owned)
    };
    if let Some(key) = key(name, written) {
        return line_of(key).or_else(|| Some(format!("{key} {}", unset(name)?)));
    }
    if name == "memory.oom_control" {
        return Some(line_of("oom_kill_disable")?.split_once(' ')?.1.to_owned());
    }
    if let Some(line) = line_of("default") {
        return Some(line.split_once(' ')?.1.to_owned());
    }
    let mut lines = text.lines();
    match (lines.next(), lines.next()) {
        // A write of nothing would be none.
        (None | Some(""), None) => Some("\n".to_owned()),
        (Some(line), None) => Some(line.to_owned()),
        _ => None,
    }
}

/// What the line is of that was written to a file with a line a device.
fn key<'a>(name: &str, written: &'a str) -> Option<&'a str> {
    let (first, _) = written.trim_start().split_once(' ')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let is_device = |(major, minor)| is_number(major) && is_number(minor);
    let by_name = ["rdma.max", "misc.max", "net_prio.ifpriomap"].contains(&name);
    (by_name || first.split_once(':').is_some_and(is_device)).then_some(first)
}

/// How a file is told that it has no line for a device.
fn unset(name: &str) -> Option<&'static str> {
    match name {
        "io.max" => Some("rbps=max wbps=max riops=max wiops=max"),
        "rdma.max" => Some("hca_handle=max hca_object=max"),
        "net_prio.ifpriomap" => Some("0"),
        name if name.starts_with("blkio.throttle.") => Some("0"),
        name if name.contains("weight") => Some("default"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_said_can_be_written_to_it_again() {
        for (name, text, written, old) in [
            ("pids.max", "max\n", "5", "max"),
            ("cpuset.cpus", "0-1\n", "0", "0-1"),
            ("cpuset.cpus", "\n", "0", "\n"),
            ("cpuset.cpus", "", "0", "\n"),
            ("cpu.max", "max 100000\n", "5000 10000", "max 100000"),
            ("cpuset.mems", "0\n", "0 1", "0"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
                "1",
                "0",
            ),
            ("io.weight", "default 100\n8:0 50\n", "200", "100"),
            ("io.weight", "default 100\n8:0 50\n", "8:0 70", "8:0 50"),
            ("io.bfq.weight", "default 100\n", "8:0 70", "8:0 default"),
            ("blkio.bfq.weight_device", "", "8:0 70", "8:0 default"),
            (
                "blkio.throttle.read_bps_device",
                "8:16 5\n",
                "8:0 7",
                "8:0 0",
            ),
            (
                "blkio.throttle.read_bps_device",
                "8:0 5\n",
                "8:0 7",
                "8:0 5",
            ),
            (
                "io.max",
                "8:0 rbps=1 wbps=max riops=max wiops=2\n",
                "8:0 rbps=7",
                "8:0 rbps=1 wbps=max riops=max wiops=2",
            ),
            (
                "io.max",
                "",
                "8:0 rbps=7",
                "8:0 rbps=max wbps=max riops=max wiops=max",
            ),
            ("net_prio.ifpriomap", "lo 0\neth0 3\n", "eth0 5", "eth0 3"),
            (
                "rdma.max",
                "",
                "mlx hca_handle=1",
                "mlx hca_handle=max hca_object=max",
            ),
        ] {
            assert_eq!(
                old_value(name, text, written).as_deref(),
                Some(old),
                "{name}"
            );
        }
        assert_eq!(old_value("memory.stat", "anon 1\nfile 2\n", "1"), None);
        assert_eq!(old_value("misc.max", "a max\nb 2\n", "b 5").unwrap(), "b 2");
        assert_eq!(old_value("some.list", "a 1\nb 2\n", "8:0 1"), None);
    }

    #[test]
    fn limits_that_are_not_above_the_use_are_rejected() {
        let check = |limit, swap| fits(MemoryCheck { limit, swap }, 100).map_err(|e| e.step);
        assert_eq!(check(Some(101), Some(101)), Ok(()));
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(
            check(Some(100), None),
            Err("rejecting memory limit 100 <= usage 100".to_owned())
        );
        assert_eq!(
            check(Some(50), Some(99)),
            Err("rejecting memory+swap limit 99 <= usage 100".to_owned())
        );
    }
}

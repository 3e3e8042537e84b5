//! The table of mounts, `/proc/self/mountinfo` (proc(5)).
//!
//! It is long on busy hosts, so it is read only where nothing shorter tells what is needed, and
//! nothing is kept of lines that nobody wants.

use std::path::PathBuf;

/// What one line says.
#[derive(Debug, PartialEq, Eq)]
pub struct MountLine {
    /// Number of the mount, as `mnt_id` of /proc/PID/fdinfo has it.
    pub id: u32,
    /// The directory of the filesystem that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    pub fstype: String,
    /// Options of the filesystem, not of the mount.
    pub options: Vec<String>,
}

/// The mounts of our namespace whose type is `wanted`, in the order of the table.
///
/// # Errors
/// Where the table cannot be read.
pub fn read(wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<MountLine>> {
    read_file("/proc/self/mountinfo", wanted)
}

/// All mounts that a process sees, by their paths below its root.
///
/// # Errors
/// Where the table cannot be read.
pub fn of_process(pid: i32) -> std::io::Result<Vec<MountLine>> {
    read_file(&format!("/proc/{pid}/mountinfo"), |_| true)
}

fn read_file(path: &str, wanted: impl Fn(&str) -> bool) -> std::io::Result<Vec<MountLine>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter_map(|line| parse(line, &wanted))
        .collect())
}

fn parse(line: &str, wanted: impl Fn(&str) -> bool) -> Option<MountLine> {
    let (left, right) = line.split_once(" - ")?;
    let mut right = right.split(' ');
    let fstype = right.next().filter(|fstype| wanted(fstype))?;
    let options = right.nth(1).unwrap_or("");
    let mut left = left.split(' ');
    let id = left.next()?.parse().ok()?;
    let mut left = left.skip(2);
    Some(MountLine {
        id,
        root: unescape(left.next()?),
        target: unescape(left.next()?),
        fstype: fstype.to_owned(),
        options: options.split(',').map(str::to_owned).collect(),
    })
}

/// A path without its octal escapes of space, tab, newline and backslash.
fn unescape(text: &str) -> PathBuf {
    let plain = text
        .replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\");
    PathBuf::from(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn a_mount_line_is_read() {
        let line =
            "35 27 0:30 /docker/x /my\\040cg/cpu rw,nosuid shared:5 - cgroup cgroup rw,cpu,cpuacct";
        let cgroups = |fstype: &str| fstype.starts_with("cgroup");
        let mount = parse(line, cgroups).unwrap();
        assert_eq!(mount.id, 35);
        assert_eq!(mount.root, Path::new("/docker/x"));
        assert_eq!(mount.target, Path::new("/my cg/cpu"));
        assert_eq!(mount.options, ["rw", "cpu", "cpuacct"]);
        assert!(parse("1 0 0:1 / / rw - tmpfs tmpfs rw", cgroups).is_none());
    }

    #[test]
    fn a_mount_is_found_by_its_type() {
        let resctrl = |fstype: &str| fstype == "resctrl";
        let target = |line| parse(line, resctrl).map(|mount| mount.target);
        let line = "40 25 0:35 / /my\\040resctrl rw,relatime shared:7 - resctrl none rw,mba_MBps";
        assert_eq!(target(line), Some("/my resctrl".into()));
        assert_eq!(
            target("40 25 0:35 / /sys/fs/resctrl rw - tmpfs resctrl rw"),
            None
        );
        assert_eq!(target(""), None);
    }
}

//! The two views of cgroups that each test runs in.
//!
//! A hybrid host has both: v1 as it is, and v2 in a private mount namespace where the unified
//! hierarchy lies at /sys/fs/cgroup. A host with v2 alone has no v1 to offer.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    V1,
    V2,
}

const CGROUP: &str = "/sys/fs/cgroup";

impl View {
    /// Why this machine cannot show the view; `None` when it can.
    pub fn missing(self) -> Option<&'static str> {
        match self {
            Self::V1 if hierarchies().iter().any(|(kind, _)| kind == "cgroup") => None,
            Self::V1 => Some("no cgroup v1 hierarchy is mounted here"),
            Self::V2
                if fs::read_to_string("/proc/filesystems").is_ok_and(|t| t.contains("cgroup2")) =>
            {
                None
            }
            Self::V2 => Some("this kernel has no cgroup v2"),
        }
    }

    /// Make the view in the mount namespace of the caller, which must be private.
    pub fn enter(self, scratch: &Path) {
        if self == Self::V1 || hierarchies().iter().all(|(kind, _)| kind == "cgroup2") {
            return;
        }
        let aside = scratch.join("cgroup2");
        fs::create_dir(&aside).unwrap();
        let none: Option<&str> = None;
        match hierarchies()
            .into_iter()
            .find(|(kind, _)| kind == "cgroup2")
        {
            Some((_, unified)) => mount(Some(&unified), &aside, none, MsFlags::MS_BIND, none),
            None => mount(
                Some("cgroup2"),
                &aside,
                Some("cgroup2"),
                MsFlags::empty(),
                none,
            ),
        }
        .expect("mount cgroup v2 aside");
        umount2(CGROUP, MntFlags::MNT_DETACH).expect("unmount the v1 hierarchies");
        mount(Some(&aside), CGROUP, none, MsFlags::MS_BIND, none).expect("mount cgroup v2");
        umount2(&aside, MntFlags::MNT_DETACH).expect("unmount the place aside");
        fs::remove_dir(&aside).unwrap();
    }
}

/// Type and mount point of each cgroup hierarchy in sight.
pub fn hierarchies() -> Vec<(String, PathBuf)> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let entry = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let kind = right.split(' ').next()?;
        let point = left.split(' ').nth(4)?;
        let ours = kind.starts_with("cgroup") && point.starts_with(CGROUP);
        ours.then(|| (kind.to_owned(), PathBuf::from(point)))
    };
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for (kind, point) in table.lines().filter_map(entry) {
        // What is mounted later at the same place hides the earlier one.
        found.retain(|(_, earlier)| *earlier != point);
        found.push((kind, point));
    }
    found
}

/// The mount point of the v1 hierarchy of `controller`, or of v2.
pub fn hierarchy(controller: &str) -> Option<PathBuf> {
    hierarchies().into_iter().find_map(|(kind, point)| {
        let named = point
            .file_name()?
            .to_str()?
            .split(',')
            .any(|name| name == controller);
        (kind == "cgroup2" && point == Path::new(CGROUP) || named).then_some(point)
    })
}

/// Thaw every cgroup whose path has `tag` in it: what is frozen on v1 does not even die.
pub fn thaw(tag: &str) {
    for dir in cgroups(tag) {
        let _ = fs::write(dir.join("freezer.state"), "THAWED");
        let _ = fs::write(dir.join("cgroup.freeze"), "0");
    }
}

/// Every cgroup directory whose path has `tag` in it, parents first.
pub fn cgroups(tag: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, tag: &str, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(dir) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(tag) {
                    found.push(path.clone());
                }
                walk(&path, tag, found);
            }
        }
    }
    let mut found = Vec::new();
    for (_, point) in hierarchies() {
        walk(&point, tag, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

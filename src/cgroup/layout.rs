//! How the host arranges its cgroups, found with a handful of system calls.
//!
//! One statfs tells a pure v2 host. Otherwise /proc/self/cgroup names the v1 hierarchies, and
//! each is looked for where every distribution mounts it, /sys/fs/cgroup/NAME, and verified by
//! the type of its filesystem. Only a hierarchy that is somewhere else, or a mount that shows
//! just a part of its hierarchy, makes us read mountinfo, which is long on busy hosts.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC, FsType, statfs};
use nix::unistd::{AccessFlags, access};

use super::file;
use crate::error::{Result, Step};
use crate::mountinfo::{self, MountLine};

/// Where cgroup filesystems are mounted by convention.
pub const ROOT: &str = "/sys/fs/cgroup";
const HYBRID: &str = "/sys/fs/cgroup/unified";

/// The order in which hierarchies are listed and joined: cpuset first, as it must be filled
/// before anything can enter, and devices early, as it guards the rest.
const ORDER: [&str; 13] = [
    "cpuset",
    "devices",
    "memory",
    "cpu",
    "cpuacct",
    "pids",
    "blkio",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "freezer",
    "rdma",
];

/// The host's hierarchies. `v1` is empty on a pure v2 host; `v2` is the unified hierarchy,
/// which on a hybrid host carries what v1 does not have. Both empty: cgroups are not mounted.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub v1: Vec<Hierarchy>,
    pub v2: Option<Hierarchy>,
}

/// One hierarchy.
#[derive(Debug, Clone, PartialEq)]
pub struct Hierarchy {
    /// `cpu`, `cpuacct`, `name=systemd`; for v2 what `cgroup.controllers` of its root lists.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The caller's own cgroup, relative to the mount, with a leading slash.
    pub own: PathBuf,
}

impl Layout {
    /// Ask the kernel.
    pub fn probe() -> Result<Self> {
        let own = Path::new("/proc/self/cgroup");
        let text = file::read(own).step_on("read the caller's cgroups", own)?;
        let mut named = Vec::new();
        let mut unified = None;
        for (controllers, own) in parse_own(&text) {
            if controllers.is_empty() {
                unified = Some(own);
            } else {
                named.push((controllers, own));
            }
        }

        let mounts = Mounts::default();
        if is(ROOT, CGROUP2_SUPER_MAGIC) {
            let own = unified.unwrap_or_else(|| "/".into());
            let v2 = unified_at(PathBuf::from(ROOT), own, &mounts);
            return Ok(Self {
                v1: Vec::new(),
                v2: Some(v2),
            });
        }

        let mut v1: Vec<Hierarchy> = named
            .into_iter()
            .filter_map(|(controllers, own)| v1_hierarchy(controllers, own, &mounts))
            .collect();
        v1.sort_by_key(|hierarchy| rank(&hierarchy.controllers));
        let v2 = unified.and_then(|own| {
            let mount = if is(HYBRID, CGROUP2_SUPER_MAGIC) {
                PathBuf::from(HYBRID)
            } else if v1.is_empty() {
                mounts.find(|m| m.fstype == "cgroup2")?.target.clone()
            } else {
                return None;
            };
            Some(unified_at(mount, own, &mounts))
        });
        Ok(Self { v1, v2 })
    }

    /// Whether v2 is the only hierarchy.
    pub fn is_v2_only(&self) -> bool {
        self.v1.is_empty() && self.v2.is_some()
    }

    /// The v1 hierarchy that has this controller.
    pub fn v1_with(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1
            .iter()
            .find(|hierarchy| hierarchy.controllers.iter().any(|c| c == controller))
    }
}

/// Place of a hierarchy in [`ORDER`]; named ones come last, by name.
fn rank(controllers: &[String]) -> (usize, String) {
    let first = controllers
        .iter()
        .filter_map(|c| ORDER.iter().position(|known| known == c))
        .min();
    match first {
        Some(place) => (place, String::new()),
        None => (ORDER.len(), controllers.join(",")),
    }
}

fn is(path: impl AsRef<Path>, magic: FsType) -> bool {
    statfs(path.as_ref()).is_ok_and(|fs| fs.filesystem_type() == magic)
}

fn unified_at(mount: PathBuf, own: PathBuf, mounts: &Mounts) -> Hierarchy {
    let controllers = file::read_value(&mount.join("cgroup.controllers"))
        .map(|text| text.split_whitespace().map(str::to_owned).collect())
        .unwrap_or_default();
    let own = seen_from(&mount, own, mounts);
    Hierarchy {
        controllers,
        mount,
        own,
    }
}

fn v1_hierarchy(controllers: Vec<String>, own: PathBuf, mounts: &Mounts) -> Option<Hierarchy> {
    let mount = usual_place(&controllers).or_else(|| {
        let found = mounts.find(|m| {
            m.fstype == "cgroup" && controllers.iter().all(|c| m.options.iter().any(|o| o == c))
        })?;
        Some(found.target.clone())
    })?;
    let own = seen_from(&mount, own, mounts);
    Some(Hierarchy {
        controllers,
        mount,
        own,
    })
}

/// /sys/fs/cgroup/cpu,cpuacct, or where the link /sys/fs/cgroup/cpu leads.
fn usual_place(controllers: &[String]) -> Option<PathBuf> {
    let bare = |c: &String| c.strip_prefix("name=").unwrap_or(c).to_owned();
    let names: Vec<String> = controllers.iter().map(bare).collect();
    let joined = Path::new(ROOT).join(names.join(","));
    if is(&joined, CGROUP_SUPER_MAGIC) {
        return Some(joined);
    }
    if names.len() < 2 {
        return None;
    }
    let link = names
        .iter()
        .map(|name| Path::new(ROOT).join(name))
        .find(|path| is(path, CGROUP_SUPER_MAGIC))?;
    std::fs::canonicalize(link).ok()
}

/// The kernel tells the caller's cgroup from the root of the hierarchy, but inside a container
/// without a cgroup namespace the mount shows only a part of it. Then mountinfo has the part.
fn seen_from(mount: &Path, own: PathBuf, mounts: &Mounts) -> PathBuf {
    if own == Path::new("/") || access(&join(mount, &own), AccessFlags::F_OK).is_ok() {
        return own;
    }
    let root = mounts.find(|m| m.target == mount).map(|m| m.root.clone());
    match root.as_deref().map(|root| own.strip_prefix(root)) {
        Some(Ok(rest)) => Path::new("/").join(rest),
        _ => "/".into(),
    }
}

/// A path with a leading slash below a mount.
pub fn join(mount: &Path, inner: &Path) -> PathBuf {
    match inner.strip_prefix("/").unwrap_or(inner) {
        rest if rest.as_os_str().is_empty() => mount.to_owned(),
        rest => mount.join(rest),
    }
}

/// The lines of /proc/self/cgroup: controllers (none for v2) and path. `..`, which the kernel
/// shows for what is above a cgroup namespace's root, is the root for us.
fn parse_own(text: &str) -> Vec<(Vec<String>, PathBuf)> {
    text.lines()
        .filter_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let controllers = controllers
                .split(',')
                .filter(|c| !c.is_empty())
                .map(str::to_owned)
                .collect();
            let above = path.split('/').any(|part| part == "..");
            let path = if above { "/" } else { path };
            Some((controllers, PathBuf::from(path)))
        })
        .collect()
}

/// Its lines of cgroups, read when it is first needed.
#[derive(Default)]
struct Mounts(OnceCell<Vec<MountLine>>);

impl Mounts {
    fn find(&self, wanted: impl Fn(&MountLine) -> bool) -> Option<&MountLine> {
        let lines = self.0.get_or_init(|| {
            mountinfo::read(|fstype| fstype.starts_with("cgroup")).unwrap_or_default()
        });
        lines.iter().find(|line| wanted(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        let text = "12:cpu,cpuacct:/user.slice\n2:name=systemd:/a:b\n0::/../..\n";
        assert_eq!(
            parse_own(text),
            [
                (vec!["cpu".into(), "cpuacct".into()], "/user.slice".into()),
                (vec!["name=systemd".into()], "/a:b".into()),
                (vec![], "/".into()),
            ]
        );
    }

    #[test]
    fn hierarchies_are_ranked() {
        let rank =
            |names: &[&str]| rank(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>());
        assert!(rank(&["cpuset"]) < rank(&["devices"]));
        assert!(rank(&["cpuacct", "cpu"]) < rank(&["pids"]));
        assert!(rank(&["freezer"]) < rank(&["name=systemd"]));
    }

    #[test]
    fn this_hosts_hierarchies_are_where_the_probe_says() {
        let layout = Layout::probe().unwrap();
        for hierarchy in layout.v1.iter().chain(&layout.v2) {
            let own = join(&hierarchy.mount, &hierarchy.own);
            assert!(own.join("cgroup.procs").exists(), "{}", own.display());
        }
    }
}

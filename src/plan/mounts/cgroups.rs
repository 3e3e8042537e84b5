//! Mounts of type `cgroup`: what the container sees of its own cgroups, by the host's version.

use std::path::PathBuf;

use super::{Around, labelled};
use crate::cgroup::{Hierarchy, join};
use crate::error::{Error, Result};
use crate::plan::mount_options::Options;
use crate::plan::{Cgroup1Mount, MountKind, NamespaceKind};

/// The caller's own cgroup, absolute.
fn own_dir(hierarchy: Option<&Hierarchy>) -> PathBuf {
    hierarchy.map_or_else(PathBuf::new, |h| join(&h.mount, &h.own))
}

/// Where the container shares the runtime's cgroup namespace, a new cgroup2 filesystem shows
/// just what the host's mount shows, since there is only one. To bind that is to be spared what
/// the kernel does for a mount from the first cgroup namespace: it waits for an RCU grace
/// period, some 10 ms on an idle machine.
pub fn v2(around: &Around, options: &Options) -> MountKind {
    let data = labelled(options.data(), around.label);
    let shared = !around.namespaces.has(NamespaceKind::Cgroup)
        && !around.namespaces.has(NamespaceKind::User);
    if let Some(hierarchy) = around
        .layout
        .v2
        .as_ref()
        .filter(|_| shared && data.is_empty())
    {
        return MountKind::Bind {
            source: hierarchy.mount.clone(),
            inside: None,
            recursive: false,
        };
    }
    let dir = around.cgroup.dirs.first();
    MountKind::Cgroup2 {
        host_dir: dir.map(|dir| dir.dir.clone()).unwrap_or_default(),
        own_dir: own_dir(around.layout.v2.as_ref()),
        data,
    }
}

pub fn v1(around: &Around, options: &Options, field: &str) -> Result<MountKind> {
    if let Some((index, word)) = options.data.first() {
        return Err(Error::field(
            format!("{field}/options/{index}"),
            format!("{word:?} cannot be set on a cgroup mount of cgroup v1"),
        )
        .with_hint("the hierarchies are mounted already, with the options of the host"));
    }
    let dirs = &around.cgroup.dirs;
    let mut entries = Vec::with_capacity(dirs.len());
    let mut links = Vec::new();
    // The unified hierarchy of a hybrid host (key "") is not shown to the container: programs
    // that find it take the host for one with v2.
    for dir in dirs
        .iter()
        .filter(|dir| dir.controllers.iter().all(|key| !key.is_empty()))
    {
        let name = dir
            .mount
            .file_name()
            .and_then(|name| name.to_str())
            .map_or_else(|| dir.controllers.join(","), str::to_owned);
        // Joined hierarchies are found by each of their names, as on the host.
        if dir.controllers.len() > 1 {
            for controller in dir.controllers.iter().filter(|key| **key != name) {
                links.push((controller.clone(), name.clone()));
            }
        }
        entries.push(Cgroup1Mount {
            name,
            host_dir: dir.dir.clone(),
            own_dir: own_dir(around.layout.v1.iter().find(|h| h.mount == dir.mount)),
            fstype: "cgroup".to_owned(),
            data: dir.controllers.join(","),
        });
    }
    Ok(MountKind::Cgroup1 { entries, links })
}

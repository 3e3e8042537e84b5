//! The container's cgroup: its directory in each hierarchy, the limits written there, and the
//! device rules.
//!
//! Paths are resolved as runc resolves them, since engines and monitors build the same paths
//! themselves. An absolute `cgroupsPath` is below each hierarchy's mount. A relative one, or
//! the container's id when there is none, is below the caller's own cgroup on v1, and on v2
//! below that one's parent: a v2 cgroup that has processes, as the caller's has, cannot hand
//! controllers to its children. On a hybrid host the unified hierarchy takes it from its mount.
//! With the systemd driver, a unit has the cgroup, and `cgroupsPath` names that (`systemd`).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Linux;

use super::{Cgroup, CgroupDir, CgroupWrite};
use crate::cgroup::{Hierarchy, Layout, join};
use crate::error::{Error, Result};
use crate::host::Host;

mod devices;
mod owner;
pub mod properties;
mod resources;
mod systemd;
pub mod update;

pub use owner::owner;

const PATH: &str = "/linux/cgroupsPath";

/// Plan the cgroup of the container `id`. What a person should know goes to `warnings`.
pub fn plan(
    linux: Option<&Linux>,
    id: &str,
    bundle: &Path,
    annotations: &BTreeMap<String, String>,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Cgroup> {
    let layout = host.layout()?;
    let asked = linux
        .and_then(|linux| linux.cgroups_path().as_deref())
        .filter(|path| !path.as_os_str().is_empty());
    let rootless = host.is_rootless();
    let place = match host.uses_systemd() {
        true => Some(systemd::place(asked, id, rootless)?),
        false => None,
    };
    let path = match (&place, asked) {
        (Some(place), _) => {
            if rootless && !layout.is_v2_only() {
                return Err(Error::new(
                    "cannot use rootless systemd cgroups manager on cgroup v1",
                ));
            }
            // The manager says "" where its units are below the root.
            let manager = join(Path::new("/"), &host.systemd()?.control_group);
            join(&manager, &place.path)
        }
        (None, Some(path)) => clean(path)?,
        (None, None) => PathBuf::from(id),
    };
    let dirs = dirs(layout, &path);
    if dirs.is_empty() && !rootless {
        return Err(Error::new("no cgroup hierarchy is mounted")
            .with_hint("mount cgroup2 at /sys/fs/cgroup"));
    }
    let resources = linux.and_then(|linux| linux.resources().as_ref());
    let writes = match resources {
        Some(resources) => resources::writes(resources, layout, false, warnings)?,
        None => Vec::new(),
    };
    let devices = devices::rules(linux)?;
    let unit = match &place {
        Some(place) => Some(systemd::unit(
            place,
            &systemd::Wanted {
                id,
                bundle,
                user: rootless,
                v2: layout.is_v2_only(),
                version: host.systemd()?.version,
                annotations,
                writes: &writes,
                devices: &devices,
            },
        )?),
        None => None,
    };
    Ok(Cgroup {
        path,
        dirs,
        enable: enable(layout, &writes),
        writes,
        devices,
        resources: resources.map(update::remembered),
        optional: rootless && asked.is_none() && unit.is_none(),
        rootless,
        unit,
        owner: None,
    })
}

/// `cgroupsPath` without empty and `.` components. `..` is refused: whatever it was meant to
/// reach, it is not below what the caller named.
fn clean(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::field(PATH, "cgroupsPath has a NUL in it"));
    }
    let mut cleaned = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                return Err(Error::field(
                    PATH,
                    format!("cgroupsPath must not have \"..\" in it: {}", path.display()),
                ));
            }
            Component::CurDir => {}
            component => cleaned.push(component),
        }
    }
    Ok(cleaned)
}

/// One directory a hierarchy, v1 first.
fn dirs(layout: &Layout, path: &Path) -> Vec<CgroupDir> {
    let dir = |hierarchy: &Hierarchy, base: &Path, controllers: Vec<String>| CgroupDir {
        controllers,
        mount: hierarchy.mount.clone(),
        dir: join(&hierarchy.mount, &base.join(path)),
    };
    let v1 = layout
        .v1
        .iter()
        .map(|hierarchy| dir(hierarchy, &hierarchy.own, hierarchy.controllers.clone()));
    let v2 = layout.v2.iter().map(|hierarchy| {
        let base = match layout.is_v2_only() {
            true => hierarchy.own.parent().unwrap_or(Path::new("/")),
            false => Path::new("/"),
        };
        dir(hierarchy, base, vec![String::new()])
    });
    v1.chain(v2).collect()
}

/// On v2 all controllers, limits or not, since statistics need them. Beside v1 the unified
/// hierarchy has only what v1 lacks, and limits alone are a reason to touch it.
fn enable(layout: &Layout, writes: &[CgroupWrite]) -> Vec<String> {
    match &layout.v2 {
        Some(v2) if layout.is_v2_only() || writes.iter().any(|w| w.controller.is_empty()) => {
            v2.controllers.clone()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;

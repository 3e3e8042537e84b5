//! The mounts of a container that a checkpoint does not hold, since what they show is the host's:
//! binds, the directories of a v1 cgroup mount, device nodes that are bound. Each has a name in the
//! images, its target in the config, by which it is found again on restore.

use std::path::{Path, PathBuf};

use super::{MountKind, NamespaceKind, Plan};

/// One such mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalMount {
    /// Its name: absolute and clean, inside the rootfs as the config has it.
    pub target: PathBuf,
    pub from: Origin,
}

/// What is mounted on restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The source of the bind with this place in the plan's mounts.
    Bind(usize),
    /// A directory of the host, the container's cgroup.
    Cgroup(PathBuf),
    /// The node of the device with this place in the plan's devices.
    Device(usize),
}

/// In the order in which `create` makes them.
pub fn external_mounts(plan: &Plan) -> Vec<ExternalMount> {
    let has_cgroup_namespace = plan.namespaces.has(NamespaceKind::Cgroup);
    let mut found = Vec::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        match &mount.what {
            MountKind::Bind { .. } if mount.target != Path::new("/") => found.push(ExternalMount {
                target: mount.target.clone(),
                from: Origin::Bind(index),
            }),
            // Filesystems of their own otherwise, which criu knows.
            MountKind::Cgroup1 { entries, .. } if !has_cgroup_namespace => {
                found.extend(entries.iter().map(|entry| ExternalMount {
                    target: mount.target.join(&entry.name),
                    from: Origin::Cgroup(entry.host_dir.clone()),
                }));
            }
            _ => {}
        }
    }
    // Elsewhere they are nodes, not mounts.
    if plan.namespaces.has(NamespaceKind::User) {
        let nodes = plan.devices.iter().enumerate();
        found.extend(nodes.map(|(index, device)| ExternalMount {
            target: device.path.clone(),
            from: Origin::Device(index),
        }));
    }
    found
}

/// Whether a target lies on a tmpfs of the container, whose content a checkpoint holds: nothing
/// has to be made there for a mount to be put on.
pub fn lies_on_tmpfs(plan: &Plan, target: &Path) -> bool {
    plan.mounts.iter().any(|mount| {
        let is_tmpfs =
            matches!(&mount.what, MountKind::Filesystem { fstype, .. } if fstype == "tmpfs");
        is_tmpfs && target != mount.target && target.starts_with(&mount.target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;
    use crate::plan::tests::{fixed_host, hybrid, plan_on, with_linux};
    use serde_json::{Value, json};

    fn config(namespaces: Value) -> Value {
        let mut config = with_linux(json!({"namespaces": namespaces}));
        config["mounts"] = json!([
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"},
            {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]},
            {"destination": "/dev/x", "type": "bind", "source": "/x", "options": ["bind"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
        ]);
        config
    }

    fn targets(config: &Value, host: &Host) -> Vec<String> {
        external_mounts(&plan_on(config, host).unwrap())
            .iter()
            .map(|mount| mount.target.display().to_string())
            .collect()
    }

    #[test]
    fn what_is_the_hosts_is_external() {
        let config = config(json!([{"type": "mount"}]));
        let v2 = targets(&config, &fixed_host());
        assert_eq!(v2, ["/data", "/dev/x", "/sys/fs/cgroup"]);
        let v1 = targets(&config, &hybrid());
        assert_eq!(v1[..2], ["/data", "/dev/x"]);
        assert!(v1.contains(&"/sys/fs/cgroup/memory".to_owned()), "{v1:?}");
        assert!(!v1.contains(&"/sys/fs/cgroup".to_owned()), "{v1:?}");
    }

    #[test]
    fn a_cgroup_namespace_has_filesystems_of_its_own() {
        let config = config(json!([{"type": "mount"}, {"type": "cgroup"}]));
        for host in [fixed_host(), hybrid()] {
            assert_eq!(targets(&config, &host), ["/data", "/dev/x"]);
        }
    }

    #[test]
    fn nodes_are_bound_in_a_user_namespace() {
        let mut config = config(json!([{"type": "mount"}, {"type": "user"}, {"type": "cgroup"}]));
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let found = targets(&config, &fixed_host());
        assert!(found.contains(&"/dev/null".to_owned()), "{found:?}");
    }

    #[test]
    fn a_target_on_a_tmpfs_is_seen() {
        let plan = plan_on(&config(json!([{"type": "mount"}])), &fixed_host()).unwrap();
        let lies = |target: &str| lies_on_tmpfs(&plan, Path::new(target));
        assert!(lies("/dev/x") && lies("/dev/shm"));
        assert!(!lies("/dev") && !lies("/data") && !lies("/devices"));
    }
}

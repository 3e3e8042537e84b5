//! `linux.namespaces`, the id maps of a new user namespace, and its clock offsets.
//!
//! An entry without a path is made anew, one with a path is joined, a kind that is not named
//! stays the caller's (config-linux.md, "Namespaces"). What belongs to a namespace is refused
//! where that namespace is not the container's own: an id map without a new user namespace, a
//! clock offset without a new time namespace.

use std::collections::HashMap;

use oci_spec::runtime as oci;

use super::{JoinNamespace, NamespaceKind, Namespaces, TimeOffset, idmap, paths};
use crate::error::{Error, Result};

impl NamespaceKind {
    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Mount => "mount",
            Self::Pid => "pid",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The name of its file below /proc/PID/ns.
    pub fn proc_name(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }
}

impl From<oci::LinuxNamespaceType> for NamespaceKind {
    fn from(kind: oci::LinuxNamespaceType) -> Self {
        match kind {
            oci::LinuxNamespaceType::User => Self::User,
            oci::LinuxNamespaceType::Mount => Self::Mount,
            oci::LinuxNamespaceType::Pid => Self::Pid,
            oci::LinuxNamespaceType::Network => Self::Network,
            oci::LinuxNamespaceType::Ipc => Self::Ipc,
            oci::LinuxNamespaceType::Uts => Self::Uts,
            oci::LinuxNamespaceType::Cgroup => Self::Cgroup,
            oci::LinuxNamespaceType::Time => Self::Time,
        }
    }
}

impl Namespaces {
    /// Whether the container gets a new namespace of this kind.
    pub fn is_new(&self, kind: NamespaceKind) -> bool {
        self.new.contains(&kind)
    }

    /// The path by which a namespace of this kind is joined.
    pub fn joined(&self, kind: NamespaceKind) -> Option<&JoinNamespace> {
        self.join.iter().find(|join| join.kind == kind)
    }

    /// Whether the container is in another namespace of this kind than the caller, as far as
    /// the config says: new, or joined by path.
    pub fn has(&self, kind: NamespaceKind) -> bool {
        self.is_new(kind) || self.joined(kind).is_some()
    }

    /// Whether something can be mounted for this container alone: in a mount namespace of its
    /// own, or beside one that it shares (see `init::aside`), to which a user namespace could
    /// not come back.
    pub fn can_mount(&self) -> bool {
        self.is_new(NamespaceKind::Mount) || !self.has(NamespaceKind::User)
    }
}

/// Plan the namespaces of `linux`; without that section there are none.
pub fn plan(linux: Option<&oci::Linux>) -> Result<Namespaces> {
    let mut plan = Namespaces::default();
    let Some(linux) = linux else {
        return Ok(plan);
    };
    for (index, entry) in linux.namespaces().iter().flatten().enumerate() {
        let kind = NamespaceKind::from(entry.typ());
        if plan.has(kind) {
            return Err(Error::field(
                format!("/linux/namespaces/{index}/type"),
                format!("duplicated namespace {:?}", kind.name()),
            ));
        }
        match entry.path() {
            Some(path) if !path.as_os_str().is_empty() => {
                let pointer = || format!("/linux/namespaces/{index}/path");
                paths::no_nul_path(path, pointer)?;
                if !path.is_absolute() {
                    return Err(Error::field(
                        pointer(),
                        format!("namespace path {} must be absolute", path.display()),
                    ));
                }
                plan.join.push(JoinNamespace {
                    kind,
                    path: path.clone(),
                    field: format!("/linux/namespaces/{index}"),
                });
            }
            _ => plan.new.push(kind),
        }
    }
    plan.new.sort_unstable();
    plan.join.sort_by_key(|join| join.kind);
    id_maps(linux, &mut plan)?;
    if let Some(offsets) = linux.time_offsets().as_ref().filter(|map| !map.is_empty()) {
        plan.time_offsets = time_offsets(offsets, &plan)?;
    }
    Ok(plan)
}

fn id_maps(linux: &oci::Linux, plan: &mut Namespaces) -> Result<()> {
    for (list, at, maps) in [
        (
            linux.uid_mappings(),
            "/linux/uidMappings",
            &mut plan.uid_mappings,
        ),
        (
            linux.gid_mappings(),
            "/linux/gidMappings",
            &mut plan.gid_mappings,
        ),
    ] {
        *maps = idmap::plan(list.as_deref().unwrap_or_default(), at)?;
    }
    let user = NamespaceKind::User;
    for (maps, at) in [
        (&plan.uid_mappings, "/linux/uidMappings"),
        (&plan.gid_mappings, "/linux/gidMappings"),
    ] {
        if plan.is_new(user) && maps.is_empty() {
            return Err(Error::field(
                at,
                "a new user namespace needs id mappings for users and for groups",
            ));
        }
        if !plan.is_new(user) && !maps.is_empty() {
            let problem = if plan.joined(user).is_some() {
                "user namespace enabled, but both a namespace path and id mappings are given"
            } else {
                "id mappings are given, but no user namespace is"
            };
            return Err(Error::field(at, problem));
        }
    }
    Ok(())
}

fn time_offsets(
    offsets: &HashMap<String, oci::LinuxTimeOffset>,
    plan: &Namespaces,
) -> Result<Vec<TimeOffset>> {
    let time = NamespaceKind::Time;
    if !plan.is_new(time) {
        let problem = if plan.joined(time).is_some() {
            "offsets cannot be set in a time namespace that is joined"
        } else {
            "time offsets are given, but no time namespace is"
        };
        return Err(Error::field("/linux/timeOffsets", problem));
    }
    let mut clocks: Vec<_> = offsets.iter().collect();
    clocks.sort_by_key(|(clock, _)| *clock);
    clocks
        .into_iter()
        .map(|(clock, offset)| {
            let at = || format!("/linux/timeOffsets/{}", super::escape(clock));
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return Err(Error::field(
                    at(),
                    format!("clock {clock:?} has no offset; only monotonic and boottime have"),
                ));
            }
            let nanosecs = offset.nanosecs().unwrap_or(0);
            if nanosecs >= 1_000_000_000 {
                return Err(Error::field(
                    format!("{}/nanosecs", at()),
                    format!("{nanosecs} ns are more than a second"),
                ));
            }
            Ok(TimeOffset {
                clock: clock.clone(),
                secs: offset.secs().unwrap_or(0),
                nanosecs,
            })
        })
        .collect()
}

/// `hostname` or `domainname`: set only in a UTS namespace of the container.
pub fn host_name(name: Option<&String>, at: &str, plan: &Namespaces) -> Result<Option<String>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if !plan.has(NamespaceKind::Uts) {
        return Err(Error::field(
            at,
            format!(
                "unable to set {} without a private UTS namespace",
                at.trim_start_matches('/')
            ),
        ));
    }
    // __NEW_UTS_LEN of the kernel.
    if name.len() > 64 {
        return Err(Error::field(
            at,
            "longer than the 64 bytes that the kernel takes",
        ));
    }
    paths::no_nul(name.as_bytes(), || at.to_owned())?;
    Ok(Some(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{pointer_of, with_linux};
    use serde_json::json;

    fn of(linux: serde_json::Value) -> Result<Namespaces> {
        plan(Some(&serde_json::from_value(linux).unwrap()))
    }

    #[test]
    fn new_and_joined_are_told_apart_and_sorted() {
        let plan = of(json!({"namespaces": [
            {"type": "network", "path": "/proc/7/ns/net"},
            {"type": "pid"}, {"type": "mount", "path": ""},
            {"type": "user", "path": "/proc/7/ns/user"}
        ]}))
        .unwrap();
        assert_eq!(plan.new, [NamespaceKind::Mount, NamespaceKind::Pid]);
        let joined: Vec<_> = plan.join.iter().map(|join| join.kind).collect();
        assert_eq!(joined, [NamespaceKind::User, NamespaceKind::Network]);
        assert_eq!(plan.join[1].field, "/linux/namespaces/0");
        assert!(!plan.has(NamespaceKind::Uts));
    }

    #[test]
    fn bad_lists_are_refused_by_name() {
        let map = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
        for (linux, pointer) in [
            (
                json!({"namespaces": [{"type": "pid"}, {"type": "pid", "path": "/x"}]}),
                "/linux/namespaces/1/type",
            ),
            (
                json!({"namespaces": [{"type": "pid", "path": "proc/1/ns/pid"}]}),
                "/linux/namespaces/0/path",
            ),
            (
                json!({"namespaces": [{"type": "user"}]}),
                "/linux/uidMappings",
            ),
            (
                json!({"namespaces": [{"type": "user"}], "uidMappings": map}),
                "/linux/gidMappings",
            ),
            (json!({"uidMappings": map}), "/linux/uidMappings"),
            (
                json!({"namespaces": [{"type": "user", "path": "/x"}], "gidMappings": map}),
                "/linux/gidMappings",
            ),
            (
                json!({"timeOffsets": {"monotonic": {"secs": 1}}}),
                "/linux/timeOffsets",
            ),
            (
                json!({"namespaces": [{"type": "time", "path": "/x"}],
                    "timeOffsets": {"monotonic": {"secs": 1}}}),
                "/linux/timeOffsets",
            ),
            (
                json!({"namespaces": [{"type": "time"}],
                    "timeOffsets": {"realtime": {"secs": 1}}}),
                "/linux/timeOffsets/realtime",
            ),
            (
                json!({"namespaces": [{"type": "time"}],
                    "timeOffsets": {"boottime": {"nanosecs": 1_000_000_000}}}),
                "/linux/timeOffsets/boottime/nanosecs",
            ),
        ] {
            let error = of(linux.clone()).unwrap_err();
            assert_eq!(pointer_of(&error), pointer, "{linux}");
        }
    }

    #[test]
    fn clock_offsets_come_sorted() {
        let plan = of(json!({"namespaces": [{"type": "time"}], "timeOffsets": {
            "monotonic": {"secs": -5, "nanosecs": 7}, "boottime": {"secs": 86400}
        }}))
        .unwrap();
        let lines: Vec<_> = plan
            .time_offsets
            .iter()
            .map(|offset| (offset.clock.as_str(), offset.secs, offset.nanosecs))
            .collect();
        assert_eq!(lines, [("boottime", 86400, 0), ("monotonic", -5, 7)]);
    }

    #[test]
    fn a_host_name_needs_a_uts_namespace() {
        let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
        spec["hostname"] = json!("box");
        let error = crate::plan::tests::plan_of(&spec).unwrap_err();
        assert_eq!(pointer_of(&error), "/hostname");
        spec["linux"]["namespaces"] = json!([{"type": "mount"}, {"type": "uts"}]);
        let plan = crate::plan::tests::plan_of(&spec).unwrap();
        assert_eq!(plan.hostname.as_deref(), Some("box"));
    }
}

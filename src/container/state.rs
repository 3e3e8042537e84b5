//! `state.json`: what is remembered of a container between two calls of the runtime.
//!
//! The outer fields are named and shaped as runc's, because tools read them (cgroup paths,
//! namespace paths, the pid of init). What runc has no field for, or keeps in a form of its
//! own, is in one object `orlop`: it is all that later verbs need, so that none of them reads
//! config.json again. A state is written whole at each transition, see
//! [`Dir::save`](super::store::Dir::save).
//!
//! A state outlives the binary that wrote it. So a field that is added has a default, for
//! states that are older than it; fields that we do not know are passed over, for those that
//! are newer; and what cannot be read that way gets a new [`VERSION`], by which an older orlop
//! knows that it must not guess.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::status::Status;
use crate::cgroup::systemd::UnitName;
use crate::error::{Error, Result};
use crate::intel_rdt::Group;
use crate::plan::checkpoint::external_mounts;
use crate::plan::{Hooks, IdMapping, NamespaceKind, Plan, Process};

/// Shape of the object `orlop`; a state with a higher number is refused, not guessed at.
pub const VERSION: u32 = 1;

/// See the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub id: String,
    /// In the runtime's pid namespace; 0 while there is none.
    pub init_process_pid: i32,
    /// Clock ticks after the boot (field 22 of /proc/PID/stat).
    pub init_process_start: u64,
    /// RFC 3339, UTC, nanoseconds without the zeros at their end, as Go writes it.
    pub created: String,
    pub config: Config,
    pub rootless: bool,
    /// Absolute directories by controller; `name=systemd`, and the empty string for v2.
    pub cgroup_paths: BTreeMap<String, PathBuf>,
    /// By runc's names, `NEWNS` and so on; empty while there is no init.
    pub namespace_paths: BTreeMap<String, PathBuf>,
    /// What the first three fds of init were, which nobody can tell later; for checkpoint.
    pub external_descriptors: Vec<String>,
    pub intel_rdt_path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub intel_rdt_mon_path: String,
    pub orlop: Own,
}

/// The part of runc's `config` that other programs look at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub rootfs: PathBuf,
    pub readonlyfs: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    pub namespaces: Vec<Namespace>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uid_mappings: Vec<Mapping>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gid_mappings: Vec<Mapping>,
    pub cgroups: Cgroups,
    pub no_new_privileges: bool,
    /// `ociVersion` of config.json.
    pub version: String,
    /// `bundle=/path`, then each annotation as `key=value`.
    pub labels: Vec<String>,
}

/// One namespace that the container does not share with the runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// `NEWNS` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// Empty for one that was made anew.
    pub path: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    pub container_id: u32,
    pub host_id: u32,
    pub size: u32,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cgroups {
    /// With the systemd driver the unit is `SCOPE_PREFIX-NAME.scope`, or the slice of this name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default)]
    pub scope_prefix: String,
    /// Relative to each hierarchy's mount.
    pub path: PathBuf,
    /// The cgroup is that of a unit.
    #[serde(rename = "Systemd")]
    pub systemd: bool,
    #[serde(rename = "Rootless")]
    pub rootless: bool,
    // Limits, 0 or empty where there is none. Programs built on runc's library refuse a state
    // without any of them.
    #[serde(default)]
    pub memory: i64,
    #[serde(default)]
    pub memory_reservation: i64,
    #[serde(default)]
    pub memory_swap: i64,
    #[serde(default)]
    pub cpu_shares: u64,
    #[serde(default)]
    pub cpu_quota: i64,
    #[serde(default)]
    pub cpu_period: u64,
    #[serde(default)]
    pub cpuset_cpus: String,
    #[serde(default)]
    pub cpuset_mems: String,
    /// `None` where there is none: to newer ones 0 is a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids_limit: Option<i64>,
}

impl Cgroups {
    /// The two parts of a unit's name. Where there are more hyphens it may not be where the config
    /// has it, but to join them gives the same unit.
    fn set_unit(&mut self, unit: &str) {
        let parts = unit.strip_suffix(".scope").and_then(|s| s.split_once('-'));
        let (prefix, name) = parts.unwrap_or(("", unit));
        (self.scope_prefix, self.name) = (prefix.to_owned(), name.to_owned());
    }

    fn set_limits(&mut self, resources: &LinuxResources) {
        let memory = resources.memory().unwrap_or_default();
        self.memory = memory.limit().unwrap_or(0);
        self.memory_reservation = memory.reservation().unwrap_or(0);
        self.memory_swap = memory.swap().unwrap_or(0);
        let cpu = resources.cpu().clone().unwrap_or_default();
        self.cpu_shares = cpu.shares().unwrap_or(0);
        self.cpu_quota = cpu.quota().unwrap_or(0);
        self.cpu_period = cpu.period().unwrap_or(0);
        self.cpuset_cpus = cpu.cpus().clone().unwrap_or_default();
        self.cpuset_mems = cpu.mems().clone().unwrap_or_default();
        self.pids_limit = resources.pids().as_ref().map(|pids| pids.limit());
    }
}

/// What only this runtime reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// See [`VERSION`].
    pub version: u32,
    pub phase: Phase,
    /// Absolute path.
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
    /// Who called create.
    pub owner: u32,
    /// Hooks that later verbs run.
    pub hooks: Hooks,
    /// Where exec begins: init's process, its seccomp program compiled.
    pub process: Process,
    /// The namespaces that exec joins: made anew, or joined by path at create.
    pub namespaces: Vec<NamespaceKind>,
    /// `--no-new-keyring` of create: exec does not make one either.
    pub no_new_keyring: bool,
    /// `linux.resources` without its devices, as create or the last update has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<LinuxResources>,
    /// Groups of resctrl that go with the container, inner ones last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intel_rdt_groups: Vec<PathBuf>,
    /// With the systemd driver, the unit that has the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// Targets of the mounts that a checkpoint does not hold, see [`external_mounts`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_mounts: Vec<PathBuf>,
    /// `linux.maskedPaths`, whose files have a null device of the host bound over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked_paths: Vec<PathBuf>,
}

/// How far the runtime has got. What the container is doing now is a [`Status`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// create is at work, or was killed at it.
    Creating,
    /// Init waits for start.
    Created,
    /// start has been told that the program runs.
    Running,
}

impl State {
    /// The state before the first side effect: all names by which traces can be found, and no
    /// init yet.
    pub fn new(plan: &Plan, owner: u32, rootless: bool, created: std::time::SystemTime) -> Self {
        let kinds = plan.namespaces.new.iter().copied();
        let joined = plan.namespaces.join.iter();
        let mut labels = vec![format!("bundle={}", plan.bundle.display())];
        labels.extend(plan.annotations.iter().map(|(k, v)| format!("{k}={v}")));
        let mut cgroups = Cgroups {
            path: plan.cgroup.path.clone(),
            systemd: plan.cgroup.unit.is_some(),
            rootless,
            ..Cgroups::default()
        };
        if let Some(unit) = &plan.cgroup.unit {
            cgroups.set_unit(&unit.name);
        }
        if let Some(resources) = &plan.cgroup.resources {
            cgroups.set_limits(resources);
        }
        Self {
            id: plan.id.clone(),
            init_process_pid: 0,
            init_process_start: 0,
            created: rfc3339(created),
            config: Config {
                rootfs: plan.rootfs.path.clone(),
                readonlyfs: plan.rootfs.readonly,
                hostname: plan.hostname.clone(),
                namespaces: kinds
                    .clone()
                    .map(|kind| Namespace {
                        kind: runc_name(kind).to_owned(),
                        path: PathBuf::new(),
                    })
                    .chain(joined.clone().map(|join| Namespace {
                        kind: runc_name(join.kind).to_owned(),
                        path: join.path.clone(),
                    }))
                    .collect(),
                uid_mappings: mappings(&plan.namespaces.uid_mappings),
                gid_mappings: mappings(&plan.namespaces.gid_mappings),
                cgroups,
                no_new_privileges: plan.process.no_new_privileges,
                version: plan.oci_version.clone(),
                labels,
            },
            rootless,
            cgroup_paths: plan
                .cgroup
                .dirs
                .iter()
                .flat_map(|dir| dir.controllers.iter().map(|c| (c.clone(), dir.dir.clone())))
                .collect(),
            namespace_paths: BTreeMap::new(),
            external_descriptors: Vec::new(),
            intel_rdt_path: String::new(),
            intel_rdt_mon_path: String::new(),
            orlop: Own {
                version: VERSION,
                phase: Phase::Creating,
                bundle: plan.bundle.clone(),
                annotations: plan.annotations.clone(),
                owner,
                hooks: plan.hooks.clone(),
                process: plan.process.clone(),
                namespaces: kinds.chain(joined.map(|join| join.kind)).collect(),
                no_new_keyring: false,
                resources: plan.cgroup.resources.clone(),
                intel_rdt_groups: Vec::new(),
                unit: plan.cgroup.unit.as_ref().map(UnitName::of),
                external_mounts: external_mounts(plan)
                    .into_iter()
                    .map(|mount| mount.target)
                    .collect(),
                masked_paths: plan.masked_paths.clone(),
            },
        }
    }

    /// Note init, from then on the process that decides whether the container lives.
    pub fn set_init(&mut self, pid: i32, start: u64) {
        self.init_process_pid = pid;
        self.init_process_start = start;
        self.namespace_paths = NamespaceKind::ALL
            .iter()
            .map(|kind| {
                let path = PathBuf::from(format!("/proc/{pid}/ns/{}", kind.proc_name()));
                (runc_name(*kind).to_owned(), path)
            })
            .collect();
        for joined in &self.config.namespaces {
            if !joined.path.as_os_str().is_empty() {
                self.namespace_paths
                    .insert(joined.kind.clone(), joined.path.clone());
            }
        }
    }

    /// Note what limits the container has now.
    pub fn set_resources(&mut self, resources: LinuxResources) {
        self.config.cgroups.set_limits(&resources);
        self.orlop.resources = Some(resources);
    }

    /// Note what the first three fds of init are, while they are those that it was given.
    pub fn set_descriptors(&mut self) {
        let pid = self.init_process_pid;
        let target = |fd| match std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
            Ok(target) => target.to_string_lossy().into_owned(),
            // Closed, or not ours to look at.
            Err(_) => String::new(),
        };
        self.external_descriptors = (0..3).map(target).collect();
    }

    /// Note the resctrl group, and which groups are to go with the container.
    pub fn set_intel_rdt(&mut self, group: &Group, owned: Vec<PathBuf>) {
        let text = |path: Option<&std::path::Path>| {
            path.map(|path| path.to_string_lossy().into_owned())
                .unwrap_or_default()
        };
        self.intel_rdt_path = text(Some(group.dir()));
        self.intel_rdt_mon_path = text(group.monitor());
        self.orlop.intel_rdt_groups = owned;
    }

    /// The rootfs, where init has entered it by chroot(2): without a mount namespace made for
    /// the container.
    pub fn chroot(&self) -> Option<&std::path::Path> {
        let mount = runc_name(NamespaceKind::Mount);
        let made = |n: &Namespace| n.kind == mount && n.path.as_os_str().is_empty();
        let has_own = self.config.namespaces.iter().any(made);
        (!has_own).then_some(self.config.rootfs.as_path())
    }

    /// What the specification calls the state, for hooks and for a seccomp agent. `pid` is
    /// how the reader sees init, `None` once it is gone.
    pub fn oci(&self, status: Status, pid: Option<i32>) -> OciState<'_> {
        OciState {
            oci_version: &self.config.version,
            id: &self.id,
            status: status.as_str(),
            pid,
            bundle: self.orlop.bundle.to_string_lossy().into_owned(),
            annotations: &self.orlop.annotations,
        }
    }
}

/// The state of the specification (runtime.md), in its order.
#[derive(Debug, Serialize)]
pub struct OciState<'a> {
    #[serde(rename = "ociVersion")]
    pub oci_version: &'a str,
    pub id: &'a str,
    pub status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    pub bundle: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: &'a BTreeMap<String, String>,
}

impl OciState<'_> {
    /// The JSON text that hooks read.
    pub fn to_text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|e| Error::new(format!("encode the state: {e}")))
    }
}

/// What runc calls a kind in its states.
pub fn runc_name(kind: NamespaceKind) -> &'static str {
    match kind {
        NamespaceKind::User => "NEWUSER",
        NamespaceKind::Mount => "NEWNS",
        NamespaceKind::Pid => "NEWPID",
        NamespaceKind::Network => "NEWNET",
        NamespaceKind::Ipc => "NEWIPC",
        NamespaceKind::Uts => "NEWUTS",
        NamespaceKind::Cgroup => "NEWCGROUP",
        NamespaceKind::Time => "NEWTIME",
    }
}

fn rfc3339(time: std::time::SystemTime) -> String {
    let text = humantime::format_rfc3339_nanos(time).to_string();
    let short = text.trim_end_matches('Z').trim_end_matches('0');
    format!("{}Z", short.trim_end_matches('.'))
}

fn mappings(maps: &[IdMapping]) -> Vec<Mapping> {
    let as_runc = |map: &IdMapping| Mapping {
        container_id: map.container,
        host_id: map.host,
        size: map.size,
    };
    maps.iter().map(as_runc).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::{Capabilities, Cgroup, CgroupDir, JoinNamespace, Namespaces, Rootfs, User};

    /// A small plan, for tests of whatever keeps or shows states.
    pub(crate) fn plan(id: &str) -> Plan {
        Plan {
            id: id.to_owned(),
            bundle: "/b".into(),
            oci_version: "1.2.0".to_owned(),
            annotations: BTreeMap::from([("k".to_owned(), "v=w".to_owned())]),
            namespaces: Namespaces {
                new: vec![NamespaceKind::Mount, NamespaceKind::Pid],
                join: vec![JoinNamespace {
                    kind: NamespaceKind::Network,
                    path: "/run/netns/x".into(),
                    field: "/linux/namespaces/2".to_owned(),
                }],
                ..Namespaces::default()
            },
            rootfs: Rootfs {
                path: "/b/rootfs".into(),
                readonly: true,
                propagation: None,
                mount_label: None,
            },
            mounts: Vec::new(),
            devices: Vec::new(),
            masked_paths: Vec::new(),
            readonly_paths: Vec::new(),
            hostname: Some("h".to_owned()),
            domainname: None,
            sysctl: Vec::new(),
            net_devices: Vec::new(),
            intel_rdt: None,
            process: Process {
                field: crate::plan::IN_CONFIG.to_owned(),
                args: vec!["sh".to_owned()],
                env: Vec::new(),
                cwd: "/".into(),
                terminal: false,
                console_size: None,
                user: User::default(),
                capabilities: Capabilities::default(),
                no_new_privileges: true,
                rlimits: Vec::new(),
                oom_score_adj: None,
                apparmor_profile: None,
                selinux_label: None,
                io_priority: None,
                scheduler: None,
                exec_cpu_affinity: None,
                personality: None,
                memory_policy: None,
                seccomp: None,
            },
            cgroup: Cgroup {
                path: "/c".into(),
                dirs: vec![
                    CgroupDir {
                        controllers: vec!["cpu".to_owned(), "cpuacct".to_owned()],
                        mount: "/sys/fs/cgroup/cpu".into(),
                        dir: "/sys/fs/cgroup/cpu/c".into(),
                    },
                    CgroupDir {
                        controllers: vec![String::new()],
                        mount: "/sys/fs/cgroup/unified".into(),
                        dir: "/sys/fs/cgroup/unified/c".into(),
                    },
                ],
                enable: Vec::new(),
                writes: Vec::new(),
                devices: Vec::new(),
                resources: None,
                optional: false,
                rootless: false,
                unit: None,
                owner: None,
            },
            hooks: Hooks::default(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn state(id: &str) -> State {
        let created = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 42);
        State::new(&plan(id), 0, false, created)
    }

    #[test]
    fn a_state_has_the_fields_of_runc() {
        let mut state = state("x");
        state.set_init(77, 5);
        let json = serde_json::to_value(&state).unwrap();
        let keys: Vec<_> = json.as_object().unwrap().keys().cloned().collect();
        for key in [
            "id",
            "init_process_pid",
            "init_process_start",
            "created",
            "config",
            "rootless",
            "cgroup_paths",
            "namespace_paths",
            "external_descriptors",
            "intel_rdt_path",
        ] {
            assert!(keys.iter().any(|k| k == key), "{key}");
        }
        assert_eq!(json["created"], "2001-09-09T01:46:40.000000042Z");
        assert_eq!(json["cgroup_paths"]["cpuacct"], "/sys/fs/cgroup/cpu/c");
        assert_eq!(json["cgroup_paths"][""], "/sys/fs/cgroup/unified/c");
        assert_eq!(json["namespace_paths"]["NEWNS"], "/proc/77/ns/mnt");
        assert_eq!(json["namespace_paths"]["NEWNET"], "/run/netns/x");
        assert_eq!(json["namespace_paths"].as_object().unwrap().len(), 8);
        assert_eq!(json["config"]["rootfs"], "/b/rootfs");
        assert_eq!(json["config"]["labels"][0], "bundle=/b");
        assert_eq!(json["config"]["labels"][1], "k=v=w");
        assert_eq!(
            json["config"]["namespaces"][2],
            serde_json::json!({"type": "NEWNET", "path": "/run/netns/x"})
        );
    }

    #[test]
    fn a_unit_is_told_in_the_parts_of_its_name() {
        let of = |unit: &str| {
            let mut cgroups = Cgroups::default();
            cgroups.set_unit(unit);
            (cgroups.scope_prefix, cgroups.name)
        };
        let pair = |prefix: &str, name: &str| (prefix.to_owned(), name.to_owned());
        assert_eq!(of("runc-x.scope"), pair("runc", "x"));
        assert_eq!(of("cri-containerd-0a.scope"), pair("cri", "containerd-0a"));
        assert_eq!(of("-x.scope"), pair("", "x"));
        assert_eq!(of("a-b.slice"), pair("", "a-b.slice"));
    }

    #[test]
    fn a_time_is_as_long_as_it_must_be() {
        let text = |nanos| rfc3339(std::time::UNIX_EPOCH + std::time::Duration::new(10, nanos));
        assert_eq!(text(0), "1970-01-01T00:00:10Z");
        assert_eq!(text(120), "1970-01-01T00:00:10.00000012Z");
        assert_eq!(text(123_456_789), "1970-01-01T00:00:10.123456789Z");
    }

    #[test]
    fn a_state_survives_the_disk() {
        let mut state = state("x");
        state.set_init(77, 5);
        state.orlop.phase = Phase::Running;
        let bytes = serde_json::to_vec(&state).unwrap();
        assert_eq!(serde_json::from_slice::<State>(&bytes).unwrap(), state);
    }

    #[test]
    fn hooks_see_the_state_of_the_specification() {
        let mut state = state("x");
        let text = serde_json::to_string(&state.oci(Status::Creating, Some(1))).unwrap();
        assert_eq!(
            text,
            r#"{"ociVersion":"1.2.0","id":"x","status":"creating","pid":1,"bundle":"/b","annotations":{"k":"v=w"}}"#
        );
        state.orlop.annotations.clear();
        let text = serde_json::to_string(&state.oci(Status::Stopped, None)).unwrap();
        assert_eq!(
            text,
            r#"{"ociVersion":"1.2.0","id":"x","status":"stopped","bundle":"/b"}"#
        );
    }
}

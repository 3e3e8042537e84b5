//! From config.json to a [`Plan`]: what will be done, in order, with nothing left to decide.
//!
//! `Plan::new` is pure: the same config, context and [`Host`](crate::host::Host) give the same
//! plan, and no system call is made. Every field is checked, parsed and resolved here, so that
//! bad input is refused before the first side effect; each error carries the JSON pointer of
//! its field. Where only trying can settle something (a kernel that lacks an interface, a
//! filesystem that refuses a mount) the plan names the fallback.
//!
//! The types below and in `types` are the border between the two halves of the runtime:
//! `container` acts on them on the host, `init` inside the container. `orlop plan` prints them
//! as JSON.
//!
//! One file a topic; each takes its part of the oci-spec types and gives its part of the plan.

mod assemble;
pub mod capabilities;
pub mod cgroup;
pub mod checkpoint;
mod cpulist;
mod devices;
mod hooks;
pub mod idmap;
pub mod intel_rdt;
mod mount_idmap;
mod mount_options;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod paths;
mod process;
mod rlimits;
mod scheduling;
mod sysctl;
mod types;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use assemble::Context;
pub use capabilities::NAMES as CAPABILITIES;
pub use mount_options::known as mount_options;
pub use mounts::{ProcRule, labelled, proc_rule};
pub use net_devices::no_namespace as no_network_namespace;
pub use notify::SOCKET as NOTIFY_SOCKET;
pub use paths::clean as clean_path;
pub use process::plan as plan_process;
pub use types::mounts::{Cgroup1Mount, Links, Mount, MountIdMap, MountKind, Rootfs};
pub use types::process::{
    Capabilities, CpuAffinity, IN_CONFIG, KEEP_GROUPS, MemoryPolicy, Process, Rlimit, Scheduler,
    User,
};
pub use types::systemd::{Property, SystemdHost, SystemdUnit};

/// Everything that create, run and start will do. See the module's text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub id: String,
    /// Absolute path of the bundle directory.
    pub bundle: PathBuf,
    /// `ociVersion` of the config, as given.
    pub oci_version: String,
    pub annotations: BTreeMap<String, String>,
    pub namespaces: Namespaces,
    pub rootfs: Rootfs,
    /// In the order of config.json.
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub masked_paths: Vec<PathBuf>,
    pub readonly_paths: Vec<PathBuf>,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctl: Vec<Sysctl>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub net_devices: Vec<NetDevice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intel_rdt: Option<IntelRdt>,
    pub process: Process,
    pub cgroup: Cgroup,
    pub hooks: Hooks,
    /// What a person should know but what does not stop the start (an unknown capability, a
    /// relative mount destination). Logged once, before the first side effect.
    pub warnings: Vec<String>,
}

// ---- namespaces ---------------------------------------------------------------------------

/// The eight kinds of namespaces, in the order in which they are listed in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    User,
    Mount,
    Pid,
    Network,
    Ipc,
    Uts,
    Cgroup,
    Time,
}

impl NamespaceKind {
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Mount,
        Self::Pid,
        Self::Network,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
    ];
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Namespaces {
    /// Made anew for this container. Kinds in neither list are the caller's own.
    pub new: Vec<NamespaceKind>,
    /// Joined by path.
    pub join: Vec<JoinNamespace>,
    /// For a new user namespace; empty otherwise.
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
    /// Lines for /proc/PID/timens_offsets of a new time namespace.
    pub time_offsets: Vec<TimeOffset>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JoinNamespace {
    pub kind: NamespaceKind,
    pub path: PathBuf,
    /// JSON pointer of the entry.
    pub field: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub container: u32,
    pub host: u32,
    pub size: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeOffset {
    /// `monotonic` or `boottime`.
    pub clock: String,
    pub secs: i64,
    pub nanosecs: u32,
}
// ---- devices, sysctl, network devices, resctrl --------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// JSON pointer of the entry; empty for a default device.
    pub field: String,
    pub path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits, 0666 for the default devices.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    Char,
    Block,
    Fifo,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sysctl {
    /// JSON pointer of the entry.
    pub field: String,
    /// Path below /proc/sys, with slashes.
    pub path: String,
    pub value: String,
    /// The kind of namespace that owns it.
    pub owner: NamespaceKind,
}

/// A network device that moves into the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDevice {
    /// JSON pointer of the entry.
    pub field: String,
    /// Its name on the host.
    pub host: String,
    /// Its name inside; with `%d` once, a number that makes it unique goes there.
    pub name: String,
}

/// The group of the resctrl file system that the container's processes go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntelRdt {
    /// `closID`: a directory below the root of resctrl, or `/` for the root itself. `None`: a
    /// group of the container's own, by its id.
    pub clos: Option<String>,
    /// Lines for the group's `schemata`, in order, each with the field that has it.
    pub schemata: Vec<SchemataLine>,
    /// A monitoring group of the container's own, by its id, below the group.
    pub monitoring: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemataLine {
    /// JSON pointer.
    pub field: String,
    /// Without its newline.
    pub line: String,
}

// ---- cgroup -------------------------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cgroup {
    /// `linux.cgroupsPath`, cleaned, or the container's id. A relative path is taken from the
    /// caller's own cgroup; `dirs` has the outcome.
    pub path: PathBuf,
    /// One directory a hierarchy; on v2 just one.
    pub dirs: Vec<CgroupDir>,
    /// Controllers that the unified hierarchy hands down to the container's cgroup.
    pub enable: Vec<String>,
    /// Limits, in the order in which they are written, all before the program runs.
    pub writes: Vec<CgroupWrite>,
    /// Device rules in order, the default ones included. Empty: no device control.
    pub devices: Vec<DeviceRule>,
    /// `linux.resources` without its devices, for [`cgroup::update`] to begin with. `writes`
    /// says the same, so a printed plan goes without.
    #[serde(skip)]
    pub resources: Option<oci_spec::runtime::LinuxResources>,
    /// A directory that may not be made is done without, as nobody asked for one: we are
    /// rootless, and the config has no cgroupsPath. Limits still need theirs.
    pub optional: bool,
    /// We are rootless, so device rules are applied only where we may.
    pub rootless: bool,
    /// With the systemd driver, the unit that has the cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<SystemdUnit>,
    /// The user of the host to whom the cgroup is given: see [`cgroup::owner`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CgroupDir {
    /// Key in `cgroup_paths` of state.json for each controller: `memory`, `name=systemd`, and
    /// the empty string for v2.
    pub controllers: Vec<String>,
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// Absolute directory on the host.
    pub dir: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CgroupWrite {
    /// JSON pointer of the field that asks for it.
    pub field: String,
    /// Key of the directory (see [`CgroupDir::controllers`]).
    pub controller: String,
    pub file: String,
    pub value: String,
    pub missing: Missing,
}

/// What to do when the kernel has no such file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The limit cannot be had: an error that names field and controller.
    Refuse,
    /// There is nothing to limit.
    Skip,
    /// Another file of the same controller has the same meaning.
    Instead { file: String, value: String },
}

/// One rule of the device cgroup; `None` is the wildcard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub allow: bool,
    pub kind: DeviceRuleKind,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceRuleKind {
    All,
    Char,
    Block,
}

// ---- hooks --------------------------------------------------------------------------------

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Hooks {
    pub prestart: Vec<Hook>,
    pub create_runtime: Vec<Hook>,
    pub create_container: Vec<Hook>,
    pub start_container: Vec<Hook>,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute path of the program.
    pub path: PathBuf,
    /// argv, args[0] included; just the path when the config has none.
    pub args: Vec<String>,
    /// `None`: the environment is inherited; `Some(vec![])`: it is empty.
    pub env: Option<Vec<String>>,
    /// Seconds, above zero.
    pub timeout: Option<u64>,
}

/// One reference token of a JSON pointer, escaped as RFC 6901 wants it.
pub(crate) fn escape(token: &str) -> std::borrow::Cow<'_, str> {
    if token.contains(['~', '/']) {
        return token.replace('~', "~0").replace('/', "~1").into();
    }
    token.into()
}

#[cfg(test)]
pub(crate) mod tests;

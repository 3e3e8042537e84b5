//! From config.json to a [`Plan`]: what will be done, in order, with nothing left to decide.
//!
//! `Plan::new` is pure: the same config, context and [`Host`](crate::host::Host) give the same
//! plan, and no system call is made. Every field is checked, parsed and resolved here, so that
//! bad input is refused before the first side effect; each error carries the JSON pointer of
//! its field. Where only trying can settle something (a kernel that lacks an interface, a
//! filesystem that refuses a mount) the plan names the fallback.
//!
//! The types below are the border between the two halves of the runtime: `container` acts on
//! them on the host, `init` inside the container. `orlop plan` prints them as JSON.
//!
//! One file a topic; each takes its part of the oci-spec types and gives its part of the plan.

mod assemble;
pub mod capabilities;
pub mod cgroup;
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
mod paths;
mod process;
mod scheduling;
mod sysctl;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use assemble::Context;
pub use capabilities::NAMES as CAPABILITIES;
pub use mount_options::known as mount_options;
pub use mounts::{ProcRule, labelled, proc_rule};
pub use net_devices::no_namespace as no_network_namespace;
pub use paths::clean as clean_path;
pub use process::plan as plan_process;

use crate::seccomp::Filter;

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

// ---- rootfs, mounts, devices --------------------------------------------------------------

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rootfs {
    /// Absolute path on the host.
    pub path: PathBuf,
    pub readonly: bool,
    /// `linux.rootfsPropagation` as mount(2) flags (MS_SLAVE | MS_REC and so on).
    pub propagation: Option<u64>,
    /// `linux.mountLabel`, an SELinux context.
    pub mount_label: Option<String>,
}

/// One entry of `mounts`, with its text options resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// JSON pointer of the entry (`/mounts/3`).
    pub field: String,
    /// Absolute and lexically clean path inside the rootfs.
    pub target: PathBuf,
    /// The source as the config has it, for messages and as the source of a new filesystem.
    pub source: String,
    pub what: MountKind,
    /// mount(2) flags (MS_*) for a new filesystem, and what a bind asks to have set.
    pub flags: u64,
    /// MS_* flags that an option such as `rw`, `suid` or `exec` cleared by name.
    pub cleared: u64,
    /// MOUNT_ATTR_* bits to set and clear on the whole tree by one recursive mount_setattr
    /// (`rro`, `rnosuid`, `rsuid`, ...).
    pub recursive_set: u64,
    pub recursive_clear: u64,
    /// MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE, each perhaps with MS_REC; applied in
    /// this order after the mount is attached.
    pub propagation: Vec<u64>,
    /// `tmpcopyup`: what the rootfs has at the target is copied into the new tmpfs.
    pub copy_up: bool,
    /// `copy-symlink`, `src-nofollow` and `dest-nofollow`.
    #[serde(default, skip_serializing_if = "Links::are_followed")]
    pub links: Links,
    /// `idmap`, `ridmap` or mappings of the mount's own.
    pub idmap: Option<MountIdMap>,
}

/// What becomes of symbolic links at the ends of a bind. All false: they are followed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// A source that is a link is made anew at the target; nothing is mounted.
    pub copy: bool,
    /// A source that is a link is itself what is mounted.
    pub mount_itself: bool,
    /// A target that is a link is itself what is mounted over.
    pub mount_over: bool,
}

impl Links {
    pub const FOLLOWED: Self = Self {
        copy: false,
        mount_itself: false,
        mount_over: false,
    };

    /// Whether a source that is a link is not followed.
    pub fn keeps_source(self) -> bool {
        self.copy || self.mount_itself
    }

    #[allow(clippy::trivially_copy_pass_by_ref)] // as serde wants it
    fn are_followed(&self) -> bool {
        *self == Self::FOLLOWED
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum MountKind {
    /// A new filesystem; `data` is the comma-separated rest of the options.
    Filesystem { fstype: String, data: String },
    /// A bind of `source` (absolute host path, relative ones resolved against the bundle).
    Bind {
        source: PathBuf,
        recursive: bool,
        /// Where the source is in the rootfs, if it is: then it may lie on an earlier mount,
        /// and its links belong to the image, so it is resolved inside, when it is its turn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inside: Option<PathBuf>,
    },
    /// `remount`: what is mounted at the target is changed. With `bind` only that mount is, else
    /// the filesystem too; what no option names stays as it is.
    Remount { bind: bool, data: String },
    /// `type: cgroup` on a host with cgroup v2 at /sys/fs/cgroup: a cgroup2 filesystem (with a
    /// fallback to a bind of `host_dir` where it may not be mounted, and of `own_dir`, the
    /// caller's own cgroup, where the container may not have one of its own). `data` is the rest of the
    /// options, such as `nsdelegate`.
    Cgroup2 {
        host_dir: PathBuf,
        own_dir: PathBuf,
        data: String,
    },
    /// `type: cgroup` on v1 or hybrid: a tmpfs with one entry a hierarchy and links for the
    /// joined names.
    Cgroup1 {
        entries: Vec<Cgroup1Mount>,
        links: Vec<(String, String)>,
    },
}

/// One hierarchy inside a v1 cgroup mount.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cgroup1Mount {
    /// Directory name below the mount (`cpu,cpuacct`, `memory`, `systemd`, `unified`).
    pub name: String,
    /// The container's cgroup of this hierarchy on the host; what is bound when the container
    /// has no cgroup namespace of its own.
    pub host_dir: PathBuf,
    /// The caller's own, bound where the container may not have one (rootless).
    pub own_dir: PathBuf,
    /// Type and data of a new cgroup filesystem, used with a cgroup namespace.
    pub fstype: String,
    pub data: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MountIdMap {
    pub recursive: bool,
    /// Both empty: the mappings of the container's user namespace.
    pub uid_mappings: Vec<IdMapping>,
    pub gid_mappings: Vec<IdMapping>,
}

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

// ---- process ------------------------------------------------------------------------------

/// What becomes of the init process, or of one that exec starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// JSON pointer of the whole: [`IN_CONFIG`], or empty where exec has it from a file of its
    /// own. What `linux` gives to a process is in config.json for both.
    #[serde(default = "in_config", skip_serializing_if = "is_in_config")]
    pub field: String,
    pub args: Vec<String>,
    /// `NAME=value`, later entries win over earlier ones; already without duplicates.
    pub env: Vec<String>,
    pub cwd: PathBuf,
    pub terminal: bool,
    /// Height and width.
    pub console_size: Option<(u16, u16)>,
    pub user: User,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub rlimits: Vec<Rlimit>,
    pub oom_score_adj: Option<i32>,
    pub apparmor_profile: Option<String>,
    pub selinux_label: Option<String>,
    /// ioprio_set(2) value, class and data joined.
    pub io_priority: Option<i32>,
    pub scheduler: Option<Scheduler>,
    /// CPU lists (`0-3,7`), checked; before and after the process joins its cgroup.
    pub exec_cpu_affinity: Option<CpuAffinity>,
    /// personality(2) value.
    pub personality: Option<u64>,
    pub memory_policy: Option<MemoryPolicy>,
    pub seccomp: Option<Filter>,
}

/// JSON pointer of the process that config.json describes.
pub const IN_CONFIG: &str = "/process";

fn in_config() -> String {
    IN_CONFIG.to_owned()
}

fn is_in_config(field: &str) -> bool {
    field == IN_CONFIG
}

impl Process {
    /// JSON pointer of one of its fields, in the document that it is from.
    pub fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.field)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// The supplementary groups stay those of the runtime's caller, by [`KEEP_GROUPS`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_groups: bool,
    pub umask: Option<u32>,
}

/// Five sets as bit masks (bit N is capability number N), already cut to what this kernel
/// knows and the caller holds; what was cut is in the plan's warnings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rlimit {
    pub field: String,
    /// `RLIMIT_NOFILE` and so on.
    pub name: String,
    /// RLIMIT_* number of setrlimit(2).
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scheduler {
    /// SCHED_* number.
    pub policy: u32,
    /// SCHED_FLAG_* bits.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CpuAffinity {
    pub initial: Option<Vec<u32>>,
    pub last: Option<Vec<u32>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// MPOL_* mode with its MPOL_F_* flags.
    pub mode: i32,
    pub nodes: Vec<u32>,
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

/// crun's annotation, which Podman sets for `--group-add keep-groups`; its value is `1`.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

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

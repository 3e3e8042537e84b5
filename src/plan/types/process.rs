//! A process: init's, or one that exec starts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::seccomp::{Filter, Listener};

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

    /// The agent that is notified of its system calls.
    pub fn listener(&self) -> Option<&Listener> {
        self.seccomp.as_ref()?.listener.as_ref()
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

/// crun's annotation, which Podman sets for `--group-add keep-groups`; its value is `1`.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

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

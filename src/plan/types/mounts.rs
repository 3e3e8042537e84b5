//! The rootfs and what is mounted in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::plan::IdMapping;

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

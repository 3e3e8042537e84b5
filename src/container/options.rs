//! What the caller asked of a verb: the flags, checked and typed, as plain data. `cli` makes
//! them, the verbs of this room act on them.

use std::path::PathBuf;

/// `create`, and the first half of `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Create {
    /// As given; the current directory when it was not.
    pub bundle: PathBuf,
    /// Relative to the caller's current directory.
    pub pid_file: Option<PathBuf>,
    /// AF_UNIX socket that gets the master of the container's terminal.
    pub console_socket: Option<PathBuf>,
    /// Nobody waits for the container: `create`, or `run --detach`.
    pub detach: bool,
    /// AF_UNIX socket that gets a pidfd of init.
    pub pidfd_socket: Option<PathBuf>,
    pub no_pivot: bool,
    pub no_new_keyring: bool,
    /// Sockets of a service manager, from fd 3 on (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// The service manager's socket, to be told when the container is ready (sd_notify(3)).
    pub notify_socket: Option<String>,
    /// Fds after stdio and those sockets that the container's process inherits.
    pub preserve_fds: u32,
}

impl Create {
    /// This many fds from 3 on are handed over.
    pub fn inherited_fds(&self) -> u32 {
        self.listen_fds.saturating_add(self.preserve_fds)
    }
}

/// `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    pub create: Create,
    /// Leave the stopped container for `delete`.
    pub keep: bool,
    pub no_subreaper: bool,
}

/// `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exec {
    /// A process.json. With it `change` is empty and stays unused.
    pub process: Option<PathBuf>,
    pub change: Change,
    /// The process gets a terminal (with `process`, that file says it).
    pub tty: bool,
    pub console_socket: Option<PathBuf>,
    pub detach: bool,
    pub pid_file: Option<PathBuf>,
    pub pidfd_socket: Option<PathBuf>,
    pub preserve_fds: u32,
    /// Sub-cgroups of the container: controller and path; the controller is empty for a single
    /// path (v2).
    pub cgroups: Vec<(String, String)>,
    pub ignore_paused: bool,
}

/// How exec's process differs from init's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    pub args: Vec<String>,
    pub cwd: Option<PathBuf>,
    /// Appended to init's; later entries win.
    pub env: Vec<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Appended to init's.
    pub additional_gids: Vec<u32>,
    pub selinux_label: Option<String>,
    pub apparmor_profile: Option<String>,
    /// `None` leaves init's.
    pub no_new_privileges: Option<bool>,
    /// Names of capabilities to add.
    pub capabilities: Vec<String>,
}

/// What `checkpoint` and `restore` tell criu alike.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Criu {
    pub image_path: PathBuf,
    /// Where criu works and writes its log; in the directory of the images when not given.
    pub work_path: Option<PathBuf>,
    pub tcp_established: bool,
    pub ext_unix_sk: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
    pub cgroups: CgroupsMode,
    /// How connections are held while they are saved; `None`: criu's own choice.
    pub network_lock: Option<NetworkLock>,
}

/// `--manage-cgroups-mode`, by the numbers of criu's `criu_cg_mode`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CgroupsMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    #[default]
    Default = 6,
}

/// By the numbers of criu's `criu_network_lock_method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// `checkpoint`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub criu: Criu,
    /// The images of the last pre-dump, relative to those of this one.
    pub parent_path: Option<PathBuf>,
    pub leave_running: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// Gets a zero byte when the lazy pages can be asked for, and is closed then.
    pub status_fd: Option<i32>,
    /// Address and port to which memory is sent, or with `lazy_pages` where it is asked for.
    pub page_server: Option<(String, u16)>,
    /// Memory alone; the container goes on.
    pub pre_dump: bool,
}

/// `restore`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restore {
    pub criu: Criu,
    /// Bundle, pid file, console socket, detach and no-pivot.
    pub create: Create,
    pub no_subreaper: bool,
    /// Connections are closed in place of restored.
    pub tcp_close: bool,
    /// `TYPE:NAME`.
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

//! The messages: requests and their options, answers and notifications. Numbers and names are
//! those of criu's images/rpc.proto.

use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::wire::{self, Value};
use crate::error::{Error, Result};

/// What is asked of criu (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

impl Kind {
    /// As criu's messages have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dump => "DUMP",
            Self::Restore => "RESTORE",
            Self::PreDump => "PRE_DUMP",
            Self::Notify => "NOTIFY",
            Self::FeatureCheck => "FEATURE_CHECK",
            Self::Version => "VERSION",
        }
    }
}

/// An option: its number in `criu_opts`, and its name for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field(u32, &'static str);

/// The options that we set.
pub mod field {
    use super::Field;

    pub const IMAGES_DIR_FD: Field = Field(1, "images_dir_fd");
    pub const PID: Field = Field(2, "pid");
    pub const LEAVE_RUNNING: Field = Field(3, "leave_running");
    pub const EXT_UNIX_SK: Field = Field(4, "ext_unix_sk");
    pub const TCP_ESTABLISHED: Field = Field(5, "tcp_established");
    pub const EVASIVE_DEVICES: Field = Field(6, "evasive_devices");
    pub const SHELL_JOB: Field = Field(7, "shell_job");
    pub const FILE_LOCKS: Field = Field(8, "file_locks");
    pub const LOG_LEVEL: Field = Field(9, "log_level");
    pub const LOG_FILE: Field = Field(10, "log_file");
    pub(super) const PS: Field = Field(11, "ps");
    pub const NOTIFY_SCRIPTS: Field = Field(12, "notify_scripts");
    pub const ROOT: Field = Field(13, "root");
    pub const PARENT_IMG: Field = Field(14, "parent_img");
    pub const TRACK_MEM: Field = Field(15, "track_mem");
    pub const AUTO_DEDUP: Field = Field(16, "auto_dedup");
    pub const WORK_DIR_FD: Field = Field(17, "work_dir_fd");
    pub const LINK_REMAP: Field = Field(18, "link_remap");
    pub(super) const EXT_MNT: Field = Field(23, "ext_mnt");
    pub const MANAGE_CGROUPS: Field = Field(24, "manage_cgroups");
    pub(super) const CG_ROOT: Field = Field(25, "cg_root");
    pub const RST_SIBLING: Field = Field(26, "rst_sibling");
    pub(super) const INHERIT_FD: Field = Field(27, "inherit_fd");
    pub const MANAGE_CGROUPS_MODE: Field = Field(34, "manage_cgroups_mode");
    pub const EXTERNAL: Field = Field(37, "external");
    pub const EMPTY_NS: Field = Field(38, "empty_ns");
    pub(super) const JOIN_NS: Field = Field(39, "join_ns");
    pub const FREEZE_CGROUP: Field = Field(44, "freeze_cgroup");
    pub const TCP_SKIP_IN_FLIGHT: Field = Field(46, "tcp_skip_in_flight");
    pub const LAZY_PAGES: Field = Field(48, "lazy_pages");
    pub const STATUS_FD: Field = Field(49, "status_fd");
    pub const ORPHAN_PTS_MASTER: Field = Field(50, "orphan_pts_master");
    pub const CONFIG_FILE: Field = Field(51, "config_file");
    pub const TCP_CLOSE: Field = Field(52, "tcp_close");
    pub const LSM_PROFILE: Field = Field(53, "lsm_profile");
    pub const LSM_MOUNT_CONTEXT: Field = Field(63, "lsm_mount_context");
    pub const NETWORK_LOCK: Field = Field(64, "network_lock");
}

/// `criu_opts`, in the order in which they were given.
#[derive(Debug, Clone, Default)]
pub struct Options {
    message: wire::Message,
}

impl Options {
    pub fn number(&mut self, field: Field, value: i64) {
        log::debug!("criu option {}: {value}", field.1);
        self.message.number(field.0, value);
    }

    /// A switch that is off is not sent.
    pub fn switch(&mut self, field: Field, on: bool) {
        if on {
            self.number(field, 1);
        }
    }

    pub fn fd(&mut self, field: Field, fd: RawFd) {
        self.number(field, fd.into());
    }

    pub fn text(&mut self, field: Field, value: &str) {
        self.path(field, Path::new(value));
    }

    pub fn path(&mut self, field: Field, value: &Path) {
        log::debug!("criu option {}: {}", field.1, value.display());
        self.message.bytes(field.0, value.as_os_str().as_bytes());
    }

    /// A mount that is not criu's to save or to make. On dump `key` is where it is and `value`
    /// its name in the images; on restore `key` is that name and `value` what is mounted.
    pub fn external_mount(&mut self, key: &Path, value: &Path) {
        self.pair(
            field::EXT_MNT,
            key.as_os_str().as_bytes(),
            value.as_os_str().as_bytes(),
        );
    }

    /// The cgroup that stands for the root of a controller's hierarchy.
    pub fn cgroup_root(&mut self, controller: &str, path: &str) {
        self.pair(field::CG_ROOT, controller.as_bytes(), path.as_bytes());
    }

    /// A namespace to join in place of the one that was dumped; `kind` as setns(2) users call
    /// it: `ipc`, `uts`.
    pub fn join_namespace(&mut self, kind: &str, path: &Path) {
        self.pair(field::JOIN_NS, kind.as_bytes(), path.as_os_str().as_bytes());
    }

    /// What the images call `key` is this fd of criu's process.
    pub fn inherit_fd(&mut self, key: &str, fd: RawFd) {
        log::debug!("criu option {}: fd {fd} as {key}", field::INHERIT_FD.1);
        let mut inner = wire::Message::default();
        inner.bytes(1, key.as_bytes());
        inner.number(2, fd.into());
        self.message.message(field::INHERIT_FD.0, &inner);
    }

    pub fn page_server(&mut self, address: &str, port: u16) {
        log::debug!("criu option {}: {address}, port {port}", field::PS.1);
        let mut inner = wire::Message::default();
        inner.bytes(1, address.as_bytes());
        inner.number(2, port.into());
        self.message.message(field::PS.0, &inner);
    }

    fn pair(&mut self, field: Field, first: &[u8], second: &[u8]) {
        let shown = String::from_utf8_lossy;
        log::debug!(
            "criu option {}: {} = {}",
            field.1,
            shown(first),
            shown(second)
        );
        let mut inner = wire::Message::default();
        inner.bytes(1, first);
        inner.bytes(2, second);
        self.message.message(field.0, &inner);
    }
}

/// A feature of criu and the kernel together, by its number in `criu_features`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    MemTrack = 1,
    LazyPages = 2,
}

/// `criu_req` with options, or without.
pub fn request(kind: Kind, options: Option<&Options>) -> Vec<u8> {
    let mut message = wire::Message::default();
    message.number(1, kind as i64);
    if let Some(options) = options {
        message.message(2, &options.message);
    }
    message.as_bytes().to_vec()
}

/// Whether there is such a feature; see [`Response::has`].
pub fn feature_check(feature: Feature) -> Vec<u8> {
    let mut features = wire::Message::default();
    features.number(feature as u32, 1);
    let mut message = wire::Message::default();
    message.number(1, Kind::FeatureCheck as i64);
    message.message(5, &features);
    message.as_bytes().to_vec()
}

/// The answer to a notification: go on.
pub fn notified() -> Vec<u8> {
    let mut message = wire::Message::default();
    message.number(1, Kind::Notify as i64);
    message.number(3, 1);
    message.as_bytes().to_vec()
}

/// `criu_resp`, as far as we look at it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    pub kind: i64,
    pub success: bool,
    /// Present in a notification.
    pub notify: Option<Notify>,
    /// `cr_errno` and `cr_errmsg`.
    pub errno: i32,
    pub message: String,
    /// As criu counts it: 31701 is 3.17.1. A build from git counts as the next minor version.
    pub version: u32,
    features: Vec<u32>,
}

/// `criu_notify`: criu has come to a point and waits for us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notify {
    /// Name of the point.
    pub script: String,
    /// The root of the restored processes, in our pid namespace; 0 where it is of no concern.
    pub pid: i32,
}

impl Response {
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&(feature as u32))
    }

    /// # Errors
    /// The bytes are no such message.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| Error::new("read criu's answer: it is malformed"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        for field in wire::fields(bytes) {
            match field? {
                (1, Value::Number(kind)) => response.kind = kind,
                (2, Value::Number(success)) => response.success = success != 0,
                (5, Value::Bytes(inner)) => response.notify = Some(notify(inner)?),
                (7, Value::Number(errno)) => response.errno = errno as i32,
                (8, Value::Bytes(inner)) => {
                    for field in wire::fields(inner) {
                        if let (number, Value::Number(1)) = field? {
                            response.features.push(number);
                        }
                    }
                }
                (9, Value::Bytes(text)) => response.message = lossy(text),
                (10, Value::Bytes(inner)) => response.version = version(inner)?,
                _ => {}
            }
        }
        Some(response)
    }
}

fn notify(bytes: &[u8]) -> Option<Notify> {
    let mut notify = Notify::default();
    for field in wire::fields(bytes) {
        match field? {
            (1, Value::Bytes(script)) => notify.script = lossy(script),
            (2, Value::Number(pid)) => notify.pid = pid as i32,
            _ => {}
        }
    }
    Some(notify)
}

fn version(bytes: &[u8]) -> Option<u32> {
    let mut parts = [0u32; 3];
    let mut from_git = false;
    for field in wire::fields(bytes) {
        match field? {
            (1, Value::Number(major)) => parts[0] = u32::try_from(major).ok()?,
            (2, Value::Number(minor)) => parts[1] = u32::try_from(minor).ok()?,
            (3, Value::Bytes(git)) => from_git = !git.is_empty(),
            (4, Value::Number(sublevel)) => parts[2] = u32::try_from(sublevel).ok()?,
            _ => {}
        }
    }
    let [major, minor, sublevel] = parts.map(|part| part.min(1000));
    Some(if from_git {
        major * 10_000 + (minor + 1) * 100
    } else {
        major * 10_000 + minor * 100 + sublevel
    })
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_its_kind_and_its_options() {
        assert_eq!(request(Kind::Version, None), [0x08, 10]);
        let mut options = Options::default();
        options.fd(field::IMAGES_DIR_FD, 7);
        options.switch(field::SHELL_JOB, false);
        options.switch(field::LEAVE_RUNNING, true);
        options.inherit_fd("pipe:[1]", 0);
        let bytes = request(Kind::Dump, Some(&options));
        let expected = b"\x08\x01\x12\x13\x08\x07\x18\x01\xda\x01\x0c\x0a\x08pipe:[1]\x10\x00";
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_feature_is_asked_for_and_found() {
        assert_eq!(feature_check(Feature::LazyPages), [8, 9, 0x2a, 2, 0x10, 1]);
        let response = Response::parse(&[8, 9, 16, 1, 0x42, 4, 8, 1, 0x10, 0]).unwrap();
        assert!(response.success && response.has(Feature::MemTrack));
        assert!(!response.has(Feature::LazyPages));
    }

    #[test]
    fn a_notification_is_read() {
        let bytes = b"\x08\x06\x10\x01\x2a\x11\x0a\x0cpost-restore\x10\xac\x02";
        let response = Response::parse(bytes).unwrap();
        assert_eq!(response.kind, Kind::Notify as i64);
        let expected = Notify {
            script: "post-restore".to_owned(),
            pid: 300,
        };
        assert_eq!(response.notify, Some(expected));
        assert_eq!(notified(), [8, 6, 0x18, 1]);
    }

    #[test]
    fn a_failure_has_criu_s_words() {
        let response = Response::parse(b"\x08\x01\x10\x00\x38\x0d\x4a\x02no").unwrap();
        assert!(!response.success);
        assert_eq!((response.errno, response.message.as_str()), (13, "no"));
        assert!(Response::parse(&[8]).is_err());
    }

    #[test]
    fn versions_are_counted_as_criu_counts_them() {
        let of = |inner: &[u8]| {
            let mut bytes = vec![8, 10, 16, 1, 0x52, inner.len() as u8];
            bytes.extend_from_slice(inner);
            Response::parse(&bytes).unwrap().version
        };
        assert_eq!(of(&[8, 3, 16, 17, 0x20, 1]), 31701);
        assert_eq!(of(&[8, 4, 16, 2]), 40200);
        assert_eq!(of(b"\x08\x03\x10\x12\x1a\x01v"), 31900);
    }
}

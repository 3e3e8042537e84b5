//! Bundles: a root file system whose only program is the probe, and a config.json.
//!
//! The default config asks for what `spec` writes: five namespaces, the usual mounts, few
//! capabilities, masked and read-only paths; without a terminal, and with a cgroup below the
//! test's own parent.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Test, probe};

pub struct Bundle {
    pub dir: PathBuf,
    /// The id that the test's containers of this bundle have.
    pub id: String,
    pub config: Value,
}

impl Bundle {
    pub(super) fn new(test: &Test, n: u32, args: &[&str], edit: impl FnOnce(&mut Value)) -> Self {
        let id = format!("{}-{n}", test.tag);
        let dir = test.dir.join(format!("bundle-{n}"));
        let rootfs = dir.join("rootfs");
        fs::create_dir_all(&rootfs).unwrap();
        fs::copy(probe::path(), rootfs.join("probe")).unwrap();
        for name in ["dev", "proc", "sys", "tmp"] {
            fs::create_dir(rootfs.join(name)).unwrap();
        }
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        let mut config = default_config();
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{id}", test.tag));
        let mut argv = vec!["/probe"];
        argv.extend(args);
        config["process"]["args"] = json!(argv);
        edit(&mut config);
        let bundle = Self { dir, id, config };
        bundle.save();
        bundle
    }

    /// Change the config further.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.config);
        self.save();
    }

    fn save(&self) {
        let text = serde_json::to_vec_pretty(&self.config).unwrap();
        fs::write(self.dir.join("config.json"), text).unwrap();
    }

    pub fn path(&self) -> &str {
        self.dir.to_str().unwrap()
    }

    /// A path inside the rootfs, as the host has it.
    pub fn rootfs(&self, inside: &str) -> PathBuf {
        self.dir.join("rootfs").join(inside.trim_start_matches('/'))
    }

    /// Write a file into the rootfs, with its directories.
    pub fn add_file(&self, inside: &str, text: &str) {
        let path = self.rootfs(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Add an element to the list at a JSON pointer, which is made when it is not there.
pub fn push(config: &mut Value, pointer: &str, element: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let list = &mut config.pointer_mut(parent).unwrap()[key];
    match list {
        Value::Array(list) => list.push(element),
        _ => *list = json!([element]),
    }
}

/// Add a mount at the end of the list.
pub fn add_mount(
    config: &mut Value,
    destination: &str,
    fstype: &str,
    source: &str,
    options: &[&str],
) {
    let entry =
        json!({"destination": destination, "type": fstype, "source": source, "options": options});
    push(config, "/mounts", entry);
}

/// Replace the namespaces by new ones of these kinds.
pub fn set_namespaces(config: &mut Value, kinds: &[&str]) {
    config["linux"]["namespaces"] = kinds.iter().map(|kind| json!({"type": kind})).collect();
}

/// A new user namespace in which 0 to 65535 are the host's `first` and what follows.
pub fn add_user_namespace(config: &mut Value, first: u32) {
    push(config, "/linux/namespaces", json!({"type": "user"}));
    let map = json!([{"containerID": 0, "hostID": first, "size": 65536}]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
}

/// Give all five sets the same capabilities.
pub fn set_capabilities(config: &mut Value, names: &[&str]) {
    for set in [
        "bounding",
        "effective",
        "permitted",
        "inheritable",
        "ambient",
    ] {
        config["process"]["capabilities"][set] = json!(names);
    }
}

fn default_config() -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": {"uid": 0, "gid": 0},
            "args": [],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs", "readonly": true},
        "hostname": "probed",
        "mounts": [
            mount("/proc", "proc", "proc", &[]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}

fn mount(destination: &str, fstype: &str, source: &str, options: &[&str]) -> Value {
    json!({"destination": destination, "type": fstype, "source": source, "options": options})
}

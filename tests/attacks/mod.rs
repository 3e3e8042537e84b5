//! Attacks that are known from the field, a file a kind; each must come to nothing.
//!
//! The image, its config and every process in the container are the attacker's; the caller,
//! the bundle's own directory and the host are not. A test names the attack by its CVE where
//! it has one, and fails when the defence is taken out of the runtime: what must not be
//! touched on the host is compared before and after, and where a link is to be followed inside
//! the rootfs its target is there ([`Canary::twin`]), so that "nothing happened" is no success.

mod binary;
mod cgroup_and_ids;
mod console;
mod descriptors;
mod devices;
mod masks;
mod network;
mod privileges;
mod procfs;
mod races;
mod resources;
mod rootfs_links;
mod text;
mod tracing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::bundle::set_namespaces;
use crate::support::{Bundle, Test};

/// A directory of the host that nothing may be written to.
struct Canary {
    dir: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

/// What lies in the canary: whatever a runtime could be led to.
const DIRECTORIES: [&str; 6] = ["pts", "shm", "mqueue", "attr", "net", "fs/cgroup"];

impl Canary {
    fn new(t: &Test) -> Self {
        let dir = t.dir.join("canary");
        Self::fill(&dir);
        let before = listing(&dir);
        Self { dir, before }
    }

    fn fill(dir: &Path) {
        for name in DIRECTORIES {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("file"), "alive").unwrap();
    }

    /// The same files at the same path inside the rootfs: where a link to the canary leads
    /// when it is followed as it should be.
    fn twin(&self, bundle: &Bundle) -> PathBuf {
        let twin = bundle.rootfs(self.dir.to_str().unwrap());
        Self::fill(&twin);
        twin
    }

    fn path(&self, below: &str) -> String {
        self.dir.join(below).to_str().unwrap().to_owned()
    }

    #[track_caller]
    fn assert_untouched(&self, when: &str) {
        assert_eq!(listing(&self.dir), self.before, "on the host, {when}");
    }
}

/// Each file below `dir` with its type, mode, owner, size, device and text.
fn listing(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let text = meta.is_file().then(|| fs::read(&path).unwrap());
        let seen = format!(
            "{:o} {}:{} {} {:?}",
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            text.as_deref().map(String::from_utf8_lossy)
        );
        if meta.is_dir() {
            found.extend(listing(&path));
        }
        found.insert(path, seen);
    }
    found
}

/// Leave out the mounts of the default config at `dir` and below it.
fn without_mounts_at(config: &mut Value, dir: &str) {
    let below = format!("{dir}/");
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| {
        let target = mount["destination"].as_str().unwrap();
        target != dir && !target.starts_with(&below)
    });
}

/// No mounts, and none needed.
fn without_mount_namespace(config: &mut Value) {
    set_namespaces(config, &["pid"]);
    config["mounts"] = json!([]);
    config["root"]["readonly"] = json!(false);
    config.as_object_mut().unwrap().remove("hostname");
    let linux = config["linux"].as_object_mut().unwrap();
    linux.remove("maskedPaths");
    linux.remove("readonlyPaths");
}

/// The host's processes in sight of the container.
fn without_pid_namespace(config: &mut Value) {
    set_namespaces(config, &["mount", "uts", "ipc", "network"]);
}

//! The bundles that are run: captured configs, with `true` as the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

pub struct Bundle {
    pub name: &'static str,
    /// Its program is `true`.
    pub dir: PathBuf,
    /// The same with a program that stays for a moment, to be looked at.
    pub waiting: PathBuf,
}

impl Bundle {
    /// `tests/bundles/NAME` with `rootfs` for its root, below `work`.
    pub fn new(repository: &Path, name: &'static str, rootfs: &Path, work: &Path) -> Self {
        let captured = repository
            .join("tests/bundles")
            .join(name)
            .join("config.json");
        let captured: Value = serde_json::from_slice(&fs::read(captured).unwrap()).unwrap();
        let lay = |name: String, args: Value| {
            let dir = work.join(name);
            let mut config = captured.clone();
            config["process"]["args"] = args;
            config["process"]["terminal"] = json!(false);
            config["root"]["path"] = json!(rootfs);
            // Each runtime's own default: a cgroup named by the container's id.
            remove(&mut config, "/linux", "cgroupsPath");
            // Docker writes a weight of 0 for "none"; crun asks for the io controller then.
            remove(&mut config, "/linux/resources", "blockIO");
            place_files(&mut config, &dir);
            fs::write(dir.join("config.json"), config.to_string()).unwrap();
            dir
        };
        Self {
            name,
            dir: lay(name.to_owned(), json!(["/bin/true"])),
            waiting: lay(format!("{name}-waiting"), json!(["/bin/sleep", "0.3"])),
        }
    }
}

fn remove(config: &mut Value, parent: &str, key: &str) {
    if let Some(parent) = config.pointer_mut(parent).and_then(Value::as_object_mut) {
        parent.remove(key);
    }
}

/// Make the files that the config binds, and let its sources name them.
fn place_files(config: &mut Value, dir: &Path) {
    fs::create_dir_all(dir.join("files")).unwrap();
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        let Some(name) = mount["source"]
            .as_str()
            .and_then(|s| s.strip_prefix("/bundle/files/"))
        else {
            continue;
        };
        let file = dir.join("files").join(name);
        fs::write(&file, "").unwrap();
        mount["source"] = json!(file);
    }
}

pub fn make_rootfs(repository: &Path, dir: &Path) {
    let status = Command::new(repository.join("integration/rootfs.sh"))
        .arg(dir)
        .status()
        .expect("start integration/rootfs.sh");
    assert!(status.success(), "no root file system");
}

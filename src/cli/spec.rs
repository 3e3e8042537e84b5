//! `spec`: a config.json to start from, the same as the peers write.
//!
//! The two templates are the files themselves. What depends on the machine is put in: on
//! cgroup v1 there is no cgroup namespace, and a rootless config maps the caller.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, path, path_of, switch};
use crate::error::{Error, Result, Step};

const CONFIG: &str = "config.json";
const TEMPLATE: &str = include_str!("spec.json");
const ROOTLESS_TEMPLATE: &str = include_str!("spec-rootless.json");
/// As it stands in both templates, never as their first namespace.
const CGROUP_NAMESPACE: &str = ",\n\t\t\t{\n\t\t\t\t\"type\": \"cgroup\"\n\t\t\t}";

pub const VERB: Verb = Verb {
    name: "spec",
    about: "create a new specification file",
    usage: "",
    count: Count::Exactly(0),
    flags_end: FlagsEnd::Never,
    flags: |command| {
        command
            .arg(
                path("bundle", "DIR")
                    .short('b')
                    .help("path to the root of the bundle directory"),
            )
            .arg(switch("rootless").help("generate a configuration for a rootless container"))
    },
    run: |global, matches| {
        let v2 = global.host.layout()?.is_v2_only();
        let ids = matches.get_flag("rootless").then(|| {
            let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
            (uid.as_raw(), gid.as_raw())
        });
        let path = path_of(matches, "bundle").unwrap_or_default().join(CONFIG);
        write_new(path, &config(v2, ids)).map(|()| 0)
    },
    failure_status: 1,
};

/// `ids`: the user and group that a rootless container's root is.
fn config(v2: bool, ids: Option<(u32, u32)>) -> String {
    let text = match ids {
        None => TEMPLATE.to_owned(),
        Some((uid, gid)) => ROOTLESS_TEMPLATE
            .replace("\"caller uid\"", &uid.to_string())
            .replace("\"caller gid\"", &gid.to_string()),
    };
    match v2 {
        true => text,
        false => text.replace(CGROUP_NAMESPACE, ""),
    }
}

fn write_new(path: PathBuf, text: &str) -> Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(&path) {
        Ok(mut file) => file.write_all(text.as_bytes()).step_on("write", path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::invalid(format!(
            "File {CONFIG} exists. Remove it first"
        ))),
        Err(error) => Err(error).step_on("make", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed(v2: bool, ids: Option<(u32, u32)>) -> Value {
        serde_json::from_str(&config(v2, ids)).unwrap()
    }

    fn namespaces(config: &Value) -> Vec<&str> {
        let list = config["linux"]["namespaces"].as_array().unwrap();
        list.iter().map(|n| n["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn the_cgroup_namespace_is_for_v2() {
        let v1 = parsed(false, None);
        assert_eq!(namespaces(&v1), ["pid", "network", "ipc", "uts", "mount"]);
        let v2 = parsed(true, None);
        assert_eq!(
            namespaces(&v2),
            ["pid", "network", "ipc", "uts", "mount", "cgroup"]
        );
        assert_eq!(v1["process"]["user"], json!({"uid": 0, "gid": 0}));
        assert_eq!(v1["process"]["user"]["uid"], 0);
    }

    #[test]
    fn a_rootless_config_maps_the_caller() {
        let config = parsed(false, Some((1000, 100)));
        let linux = &config["linux"];
        let one = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
        assert_eq!(linux["uidMappings"], one(1000));
        assert_eq!(linux["gidMappings"], one(100));
        assert_eq!(namespaces(&config), ["pid", "ipc", "uts", "mount", "user"]);
        assert_eq!(linux.get("resources"), None);
        let all = config["mounts"].to_string();
        assert!(!all.contains("gid="), "{all}");
        assert!(all.contains("\"rbind\""), "{all}");
    }

    #[test]
    fn an_existing_file_is_kept() {
        let dir = std::env::temp_dir().join(format!("orlop-spec-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        write_new(dir.join(CONFIG), "a").unwrap();
        let error = write_new(dir.join(CONFIG), "b").unwrap_err();
        assert_eq!(
            error.to_string(),
            "File config.json exists. Remove it first"
        );
        assert_eq!(std::fs::read_to_string(dir.join(CONFIG)).unwrap(), "a");
        std::fs::remove_dir_all(dir).unwrap();
    }
}

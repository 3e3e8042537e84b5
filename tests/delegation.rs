//! Who owns the container's cgroup: its user when it may divide it further, else the runtime's.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push};
use crate::support::view::{self, hierarchy};
use crate::support::{Test, View, both_views};

/// A cgroup namespace of its own, and the cgroup filesystem writable.
fn delegate(config: &mut Value) {
    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
    let mounts = config["mounts"].as_array_mut().unwrap();
    let cgroup = mounts
        .iter_mut()
        .find(|m| m["type"] == "cgroup")
        .expect("a cgroup mount");
    let options = cgroup["options"].as_array_mut().unwrap();
    options.retain(|option| option != "ro");
}

/// Owners of the created container's cgroup: of the directory with its delegated files, and of
/// all other files.
fn owners(t: &Test, edit: impl FnOnce(&mut Value)) -> (Vec<u32>, Vec<u32>) {
    let container = t.create(&t.bundle(&["exit", "0"], edit));
    let list = fs::read_to_string("/sys/kernel/cgroup/delegate").unwrap();
    let uid = |path: &Path| fs::metadata(path).unwrap().uid();
    let (mut given, mut kept) = (Vec::new(), Vec::new());
    for dir in view::cgroups(&container.id) {
        given.push(uid(&dir));
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let delegated = list.lines().any(|line| line == name);
            (if delegated { &mut given } else { &mut kept }).push(uid(&entry.path()));
        }
    }
    container.delete().expect_ok();
    for list in [&mut given, &mut kept] {
        list.sort_unstable();
        list.dedup();
    }
    (given, kept)
}

both_views! {
    fn a_cgroup_that_the_container_may_divide_is_its_users(t) {
        t.only_orlop("runc gives it only with the systemd driver");
        let owner = |user: u32| if t.view == View::V2 { user } else { 0 };
        let both = |config: &mut Value| {
            delegate(config);
            add_user_namespace(config, 200_000);
        };
        assert_eq!(owners(t, both), (vec![owner(200_000)], vec![0]));
        let as_user = |config: &mut Value| {
            both(config);
            config["process"]["user"] = json!({"uid": 5, "gid": 5});
        };
        assert_eq!(owners(t, as_user), (vec![owner(200_005)], vec![0]));
        let on_the_host = |config: &mut Value| {
            delegate(config);
            config["process"]["user"] = json!({"uid": 1000, "gid": 5});
        };
        assert_eq!(owners(t, on_the_host), (vec![owner(1000)], vec![0]));
    }

    fn a_cgroup_that_it_may_not_divide_stays_ours(t) {
        let read_only = |config: &mut Value| {
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
            add_user_namespace(config, 200_000);
        };
        assert_eq!(owners(t, read_only), (vec![0], vec![0]));
        let shared = |config: &mut Value| {
            delegate(config);
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "cgroup");
            config["process"]["user"] = json!({"uid": 1000, "gid": 5});
        };
        assert_eq!(owners(t, shared), (vec![0], vec![0]));
    }

    fn a_cgroup_that_was_there_is_given_too(t) {
        t.only_orlop("runc gives it only with the systemd driver");
        if t.view == View::V1 {
            t.skip("on cgroup v1 nothing is given");
        }
        let bundle = t.bundle(&["exit", "0"], |config| {
            delegate(config);
            add_user_namespace(config, 200_000);
        });
        let dir = hierarchy("").unwrap().join(&t.tag).join(&bundle.id);
        fs::create_dir(&dir).unwrap();
        let container = t.create(&bundle);
        assert_eq!(fs::metadata(&dir).unwrap().uid(), 200_000);
        container.delete().expect_ok();
    }

    fn what_is_given_can_be_used_and_nothing_more(t) {
        t.only_orlop("runc gives it only with the systemd driver");
        if t.view == View::V1 {
            t.skip("on cgroup v1 nothing is given");
        }
        for (file, value, code) in [("cgroup.procs", "0", 0), ("cgroup.max.depth", "5", 1)] {
            let path = format!("/sys/fs/cgroup/{file}");
            let bundle = t.bundle(&["write", &path, value], |config| {
                delegate(config);
                add_user_namespace(config, 200_000);
            });
            let output = t.run(&bundle);
            assert_eq!(output.code() == 0, code == 0, "{file}: {output}");
        }
    }
}

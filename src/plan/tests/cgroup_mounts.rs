//! A mount of type `cgroup` depends on the host more than any other.

use serde_json::{Value, json};

use super::stored::hybrid;
use super::{fixed_host, plan_on, pointer_of, with_linux};
use crate::error::Result;
use crate::host::Host;
use crate::plan::MountKind;

fn mount(options: &[&str], host: &Host) -> Result<MountKind> {
    let mut spec: Value = with_linux(json!({"namespaces": [{"type": "mount"}]}));
    spec["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup",
        "source": "cgroup", "options": options}]);
    plan_on(&spec, host).map(|mut plan| plan.mounts.remove(0).what)
}

#[test]
fn v2_is_one_filesystem_with_its_options() {
    let what = mount(&["ro", "nsdelegate", "memory_recursiveprot"], &fixed_host()).unwrap();
    let MountKind::Cgroup2 { host_dir, data, .. } = what else {
        panic!("{what:?}");
    };
    assert_eq!(host_dir, std::path::Path::new("/sys/fs/cgroup/box"));
    assert_eq!(data, "nsdelegate,memory_recursiveprot");
}

#[test]
fn options_of_v2_that_the_kernel_takes_from_the_host_alone_are_warned_of() {
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
    for (linux, warned) in [
        (
            json!({"namespaces": [{"type": "mount"}, {"type": "cgroup"}]}),
            true,
        ),
        (
            json!({"namespaces": [{"type": "mount"}, {"type": "user"}],
                "uidMappings": map, "gidMappings": map}),
            true,
        ),
        (json!({"namespaces": [{"type": "mount"}]}), false),
    ] {
        let mut spec: Value = with_linux(linux.clone());
        spec["mounts"] = json!([{"destination": "/sys/fs/cgroup", "type": "cgroup",
            "source": "cgroup", "options": ["ro", "nsdelegate"]}]);
        let warnings = plan_on(&spec, &fixed_host()).unwrap().warnings;
        let about = |w: &String| {
            w.contains("\"nsdelegate\" has no effect") && w.contains("/mounts/0/options/1")
        };
        assert_eq!(warnings.iter().any(about), warned, "{linux}: {warnings:?}");
    }
}

#[test]
fn v2_that_is_shared_is_bound() {
    let what = mount(&["ro"], &fixed_host()).unwrap();
    let MountKind::Bind {
        source, recursive, ..
    } = what
    else {
        panic!("{what:?}");
    };
    assert_eq!(source, std::path::Path::new("/sys/fs/cgroup"));
    assert!(!recursive);
}

#[test]
fn v1_is_one_entry_a_hierarchy_with_links_for_joined_names() {
    let what = mount(&["ro"], &hybrid()).unwrap();
    let MountKind::Cgroup1 { entries, links } = what else {
        panic!("{what:?}");
    };
    let names: Vec<_> = entries.iter().map(|entry| entry.name.as_str()).collect();
    // The unified hierarchy is not shown.
    assert_eq!(
        names,
        [
            "blkio",
            "cpu,cpuacct",
            "cpuset",
            "devices",
            "freezer",
            "memory",
            "pids",
            "systemd"
        ]
    );
    let joined = |name: &str| (name.to_owned(), "cpu,cpuacct".to_owned());
    assert_eq!(links, [joined("cpu"), joined("cpuacct")]);
    assert_eq!(entries[7].data, "name=systemd");
    assert_eq!(
        entries[5].host_dir,
        std::path::Path::new("/sys/fs/cgroup/memory/caller/box")
    );
}

#[test]
fn v1_takes_no_options_of_the_filesystem() {
    let error = mount(&["ro", "nsdelegate"], &hybrid()).unwrap_err();
    assert_eq!(pointer_of(&error), "/mounts/0/options/1");
}

/// The owner of the cgroup on a host, with these namespaces, mount options and user.
fn owner(host: &Host, namespaces: &[&str], options: &[&str], user: u32) -> Option<u32> {
    let kinds: Vec<Value> = namespaces
        .iter()
        .map(|kind| json!({"type": kind}))
        .collect();
    let map = json!([{"containerID": 0, "hostID": 200_000, "size": 100}]);
    let mut linux = json!({ "namespaces": kinds });
    if namespaces.contains(&"user") {
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    let mut spec = with_linux(linux);
    spec["process"]["user"]["uid"] = json!(user);
    spec["mounts"] = json!([{"destination": "/sys//fs/cgroup/", "type": "cgroup",
        "source": "cgroup", "options": options}]);
    plan_on(&spec, host).unwrap().cgroup.owner
}

#[test]
fn a_cgroup_is_given_away_where_it_may_be_divided() {
    let v2 = fixed_host();
    let private = ["mount", "cgroup"];
    let mapped = ["mount", "cgroup", "user"];
    assert_eq!(owner(&v2, &private, &[], 0), Some(0));
    assert_eq!(owner(&v2, &private, &["nosuid", "ro", "rw"], 7), Some(7));
    assert_eq!(owner(&v2, &mapped, &[], 7), Some(200_007));
    for options in [["ro"], ["rro"]] {
        assert_eq!(owner(&v2, &mapped, &options, 0), None);
    }
    assert_eq!(owner(&v2, &["mount", "user"], &[], 0), None);
    assert_eq!(owner(&hybrid(), &mapped, &[], 0), None);
}

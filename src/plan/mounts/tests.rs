use super::*;
use crate::plan::tests::{plan_of, pointer_of, with_linux};
use serde_json::{Value, json};

fn of(mount: Value) -> Result<Mount> {
    let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
    spec["mounts"] = json!([mount]);
    plan_of(&spec).map(|mut plan| plan.mounts.remove(0))
}

#[test]
fn a_new_filesystem_keeps_its_data_apart_from_its_flags() {
    let mount = of(
        json!({"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
        "options": ["nosuid", "mode=1777", "ro", "size=64k"]}),
    )
    .unwrap();
    assert_eq!(mount.flags, libc::MS_NOSUID | libc::MS_RDONLY);
    assert_eq!(mount.source, "shm");
    assert_eq!(
        mount.what,
        MountKind::Filesystem {
            fstype: "tmpfs".into(),
            data: "mode=1777,size=64k".into()
        }
    );
}

#[test]
fn a_relative_bind_source_counts_from_the_bundle() {
    let mount = of(
        json!({"destination": "/d", "source": "data", "type": "none",
        "options": ["rbind", "rslave"]}),
    )
    .unwrap();
    assert_eq!(
        mount.what,
        MountKind::Bind {
            source: "/bundle/data".into(),
            inside: None,
            recursive: true
        }
    );
    assert_eq!(mount.propagation, [libc::MS_SLAVE | libc::MS_REC]);
    assert_eq!(mount.flags, 0);
}

#[test]
fn a_relative_destination_is_warned_of_and_made_absolute() {
    let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
    spec["mounts"] = json!([{"destination": "data/../srv", "type": "tmpfs"}]);
    let plan = plan_of(&spec).unwrap();
    assert_eq!(plan.mounts[0].target, Path::new("/srv"));
    assert!(plan.warnings[0].contains("/mounts/0/destination"));
}

#[test]
fn what_cannot_be_mounted_is_refused_by_name() {
    for (mount, pointer, words) in [
        (
            json!({"destination": "/d", "source": "/s", "options": ["bind", "acl=1"]}),
            "/mounts/0/options/1",
            "bind mounts cannot have any filesystem-specific options applied",
        ),
        (
            json!({"destination": "/d"}),
            "/mounts/0/type",
            "needs a type",
        ),
        (
            json!({"destination": "/d", "options": ["bind"]}),
            "/mounts/0/source",
            "needs a source",
        ),
        (
            json!({"destination": "", "type": "tmpfs"}),
            "/mounts/0/destination",
            "empty",
        ),
        (
            json!({"destination": "/proc", "type": "tmpfs"}),
            "/mounts/0/destination",
            "\"/proc\" cannot be mounted because it is not of type proc",
        ),
        (
            json!({"destination": "/proc/self/attr", "source": "/s", "options": ["bind"]}),
            "/mounts/0/destination",
            "cannot be mounted because it is inside /proc",
        ),
        (
            json!({"destination": "/x/../proc/self", "type": "tmpfs"}),
            "/mounts/0/destination",
            "inside /proc",
        ),
        (
            json!({"destination": "/d", "source": "/s", "options": ["bind", "tmpcopyup"]}),
            "/mounts/0/options",
            "tmpfs only",
        ),
        (
            json!({"destination": "/d", "type": "tmpfs", "options": ["ro", "a\0b"]}),
            "/mounts/0/options/1",
            "NUL",
        ),
    ] {
        let error = of(mount.clone()).unwrap_err();
        assert_eq!(pointer_of(&error), pointer, "{mount}");
        assert!(error.step.contains(words), "{mount}: {error}");
    }
}

#[test]
fn the_known_files_below_proc_may_be_stood_in_for() {
    for (path, rule) in [
        ("/proc", ProcRule::Procfs),
        ("/proc/uptime", ProcRule::Known),
        ("/proc/sys/kernel/ns_last_pid", ProcRule::Known),
        ("/proc/uptime/x", ProcRule::Refused),
        ("/proc/sys", ProcRule::Refused),
        ("/process", ProcRule::Outside),
        ("/srv/proc", ProcRule::Outside),
    ] {
        assert_eq!(proc_rule(Path::new(path)), rule, "{path}");
    }
    let bind = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
    assert!(of(bind).is_ok());
}

#[test]
fn a_source_in_the_rootfs_is_known_by_its_text() {
    for (source, expected) in [
        ("rootfs/tmp", Some("/tmp")),
        ("/bundle/./rootfs//a/../b", Some("/b")),
        ("/bundle/rootfs", Some("/")),
        ("/bundle/rootfs2", None),
        ("/bundle/rootfs/../data", None),
        ("/tmp", None),
    ] {
        let mount = of(json!({"destination": "/d", "source": source, "options": ["bind"]}));
        let MountKind::Bind { inside, .. } = mount.unwrap().what else {
            panic!("{source} is no bind");
        };
        assert_eq!(inside.as_deref(), expected.map(Path::new), "{source}");
    }
    assert_eq!(inside(Path::new("/tmp"), Path::new("/")), None);
}

#[test]
fn an_owner_that_is_not_mapped_is_refused() {
    let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
    let mut spec = with_linux(json!({"uidMappings": map, "gidMappings": map,
        "namespaces": [{"type": "mount"}, {"type": "user"}]}));
    spec["mounts"] = json!([{"destination": "/dev/pts", "type": "devpts",
        "options": ["nosuid", "gid=5"]}]);
    assert_eq!(
        pointer_of(&plan_of(&spec).unwrap_err()),
        "/mounts/0/options/1"
    );
    spec["mounts"][0]["options"][1] = json!("gid=0");
    assert!(plan_of(&spec).is_ok());
}

#[test]
fn a_user_namespace_has_no_mounts_in_the_mount_namespace_of_others() {
    let user = json!({"type": "user", "path": "/proc/1/ns/user"});
    for mut namespaces in [
        json!([]),
        json!([{"type": "mount", "path": "/proc/1/ns/mnt"}]),
    ] {
        let mounts = json!([{"destination": "/d", "type": "tmpfs"}]);
        let mut spec = with_linux(json!({"namespaces": namespaces}));
        spec["mounts"] = mounts.clone();
        assert!(plan_of(&spec).is_ok());
        namespaces.as_array_mut().unwrap().push(user.clone());
        let mut spec = with_linux(json!({"namespaces": namespaces}));
        spec["mounts"] = mounts;
        assert_eq!(pointer_of(&plan_of(&spec).unwrap_err()), "/mounts");
    }
}

#[test]
fn remount_needs_neither_source_nor_type() {
    let mount = of(json!({"destination": "/d", "options": ["remount", "bind", "ro"]})).unwrap();
    let data = String::new();
    assert_eq!(mount.what, MountKind::Remount { bind: true, data });
    assert_eq!(mount.flags, libc::MS_RDONLY);
    let mount =
        of(json!({"destination": "/d", "type": "tmpfs", "options": ["remount", "size=1m"]}));
    let data = "size=1m".to_owned();
    assert_eq!(
        mount.unwrap().what,
        MountKind::Remount { bind: false, data }
    );
    // Nothing new is put below /proc.
    assert!(of(json!({"destination": "/proc/sys", "options": ["remount", "bind", "ro"]})).is_ok());
}

#[test]
fn what_a_bind_cannot_have_is_warned_of() {
    let warnings = |options: Value| {
        let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
        spec["mounts"] = json!([{"destination": "/d", "source": "/s", "type": "tmpfs",
            "options": options}]);
        plan_of(&spec).unwrap().warnings
    };
    for word in [
        "sync",
        "async",
        "dirsync",
        "lazytime",
        "nolazytime",
        "mand",
        "iversion",
        "mode=755",
        "size=1k",
    ] {
        let told = warnings(json!(["bind", word]));
        assert_eq!(told.len(), 1, "{word}");
        assert!(told[0].contains(word) && told[0].contains("/mounts/0/options/1"));
        assert_eq!(warnings(json!([word])), [""; 0], "{word}");
    }
    assert_eq!(
        warnings(json!(["bind", "silent", "loud", "ro", "noatime"])),
        [""; 0]
    );
}

#[test]
fn links_are_followed_if_no_option_says_otherwise() {
    let bind =
        |options: Value| of(json!({"destination": "/d", "source": "/s", "options": options}));
    assert_eq!(bind(json!(["bind"])).unwrap().links, Links::FOLLOWED);
    assert!(bind(json!(["bind", "copy-symlink"])).unwrap().links.copy);
    let both = bind(json!(["bind", "src-nofollow", "dest-nofollow"]))
        .unwrap()
        .links;
    assert!(both.mount_itself && both.mount_over && !both.copy);
    for options in [
        json!(["bind", "copy-symlink", "src-nofollow"]),
        json!(["remount", "dest-nofollow"]),
    ] {
        assert_eq!(pointer_of(&bind(options).unwrap_err()), "/mounts/0/options");
    }
}

#[test]
fn a_mount_label_goes_to_new_filesystems() {
    let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}],
        "mountLabel": "u:r:t:s0:c1,c2"}));
    spec["mounts"] = json!([
        {"destination": "/a", "type": "tmpfs", "options": ["size=1m"]},
        {"destination": "/b", "type": "tmpfs"},
        {"destination": "/proc", "type": "proc"},
        {"destination": "/sys", "type": "sysfs"},
        {"destination": "/m", "type": "mqueue"},
    ]);
    let host = crate::plan::tests::fixed_host().with_selinux();
    let plan = crate::plan::tests::plan_on(&spec, &host).unwrap();
    let data: Vec<_> = plan
        .mounts
        .iter()
        .map(|mount| match &mount.what {
            MountKind::Filesystem { data, .. } => data.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    let label = "context=\"u:r:t:s0:c1,c2\"";
    assert_eq!(data, [&format!("size=1m,{label}"), label, "", "", ""]);
    spec["linux"]["mountLabel"] = json!("a\"b");
    let error = crate::plan::tests::plan_on(&spec, &host).unwrap_err();
    assert_eq!(pointer_of(&error), "/linux/mountLabel");
}

#[test]
fn labels_are_refused_where_selinux_is_not() {
    for (parent, name) in [("/linux", "mountLabel"), ("/process", "selinuxLabel")] {
        let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
        spec.pointer_mut(parent).unwrap()[name] = json!("u:r:t:s0");
        let error = plan_of(&spec).unwrap_err();
        assert_eq!(pointer_of(&error), format!("{parent}/{name}"));
        assert!(error.step.contains("selinux is disabled or not supported"));
    }
}

#[test]
fn what_is_built_beside_a_shared_namespace_can_be_cloned() {
    let mut spec = with_linux(json!({"namespaces": []}));
    spec["mounts"] = json!([{"destination": "/d", "type": "tmpfs", "options": ["unbindable"]}]);
    let error = plan_of(&spec).unwrap_err();
    assert_eq!(pointer_of(&error), "/mounts/0/options");
    spec["mounts"][0]["options"] = json!(["runbindable", "private"]);
    assert!(plan_of(&spec).is_ok());
}

//! Paths of cgroups, and names of containers, that climb; cgroups that are not the container's.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::{listing, without_mounts_at};
use crate::support::bundle::{add_mount, set_namespaces};
use crate::support::probe::strings;
use crate::support::{Output, Probe, Test, View, both_views, once, view};

/// A user without privileges, who owns the test's cgroups as one does whom systemd serves.
const USER: u32 = 61_234;

/// Run the probe's report as that user, in a user namespace and the host's cgroup and network
/// namespaces.
fn report_as_user(t: &Test, edit: impl FnOnce(&mut Value)) -> Output {
    let bundle = t.bundle(&["report"], |config| {
        set_namespaces(config, &["pid", "ipc", "uts", "mount", "user"]);
        let map = json!([{"containerID": 0, "hostID": USER, "size": 1}]);
        let linux = config["linux"].as_object_mut().unwrap();
        linux.insert("uidMappings".to_owned(), map.clone());
        linux.insert("gidMappings".to_owned(), map);
        linux.remove("cgroupsPath");
        linux.remove("resources");
        for mount in config["mounts"].as_array_mut().unwrap() {
            mount["options"]
                .as_array_mut()
                .unwrap()
                .retain(|option| option != "gid=5");
        }
        edit(config);
    });
    let (state, program) = (
        t.dir.join("user-state"),
        t.dir.join(t.runtime.program.file_name().unwrap()),
    );
    fs::create_dir_all(&state).unwrap();
    fs::copy(&t.runtime.program, &program).unwrap();
    fs::set_permissions(&t.dir, fs::Permissions::from_mode(0o755)).unwrap();
    for (_, point) in view::hierarchies() {
        chown(point.join(&t.tag), Some(USER), Some(USER)).unwrap();
    }
    for path in [
        "",
        "rootfs",
        "rootfs/dev",
        "rootfs/proc",
        "rootfs/sys",
        "rootfs/tmp",
        "rootfs/probe",
        "config.json",
    ] {
        chown(bundle.dir.join(path), Some(USER), Some(USER)).unwrap();
    }
    chown(&state, Some(USER), Some(USER)).unwrap();
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("XDG_RUNTIME_DIR", &state);
    command
        .arg("--root")
        .arg(&state)
        .args(["run", "--bundle", bundle.path(), &bundle.id]);
    command.uid(USER).gid(USER);
    t.runtime.finish(command)
}

/// The mounts of cgroups that can be written to. What a later mount covers nobody can reach, as
/// root of a user namespace cannot take that away.
fn writable_cgroups(report: &Probe) -> Vec<&Value> {
    let mounts = report["mounts"].as_array().unwrap();
    let covered = |at: usize| {
        let target = Path::new(mounts[at]["target"].as_str().unwrap());
        mounts[at + 1..]
            .iter()
            .any(|later| target.starts_with(later["target"].as_str().unwrap()))
    };
    let writable = |at: &usize| {
        let mount = &mounts[*at];
        mount["fstype"].as_str().unwrap().starts_with("cgroup")
            && !strings(&mount["options"]).contains(&"ro".to_owned())
    };
    (0..mounts.len())
        .filter(|at| writable(at) && !covered(*at))
        .map(|at| &mounts[at])
        .collect()
}

both_views! {
    fn a_user_gets_no_cgroup_of_the_host_to_write_to(t) {
        // CVE-2023-25809.
        t.only_orlop("runc mounts no sysfs in a user namespace with the host's network");
        let sysfs_alone = |config: &mut Value| without_mounts_at(config, "/sys/fs/cgroup");
        let bound = |config: &mut Value| {
            without_mounts_at(config, "/sys");
            let options = ["rbind", "nosuid", "noexec", "nodev", "ro"];
            add_mount(config, "/sys", "none", "/sys", &options);
            add_mount(config, "/sys/fs/cgroup", "cgroup", "cgroup", &["ro"]);
        };
        for (what, edit) in [("default", &(|_: &mut Value| {}) as &dyn Fn(&mut Value)),
            ("no cgroup mount", &sysfs_alone), ("rbind", &bound)] {
            let report = Probe::parse(&report_as_user(t, edit));
            assert!(writable_cgroups(&report).is_empty(), "{what}: {:#?}", writable_cgroups(&report));
            assert_eq!(report["setgroups"], "deny", "CVE-2014-8989");
        }
    }

    fn cgroups_that_climb_are_refused_wherever_they_are_named(t) {
        t.only_orlop("runc 1.1 cleans some of them");
        let climbed = |t: &Test| view::cgroups("climbed").iter().filter(|p| !p.to_string_lossy().contains(&t.tag)).count();
        for path in ["../climbed", "/../climbed", "/TAG/../climbed", "/TAG/x/../../../climbed", "TAG/../../climbed", ".."] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                config["linux"]["cgroupsPath"] = json!(path.replace("TAG", &t.tag));
            });
            t.try_create(&bundle).expect_error("/linux/cgroupsPath");
        }
        let container = t.sleeper(|_| {});
        let controller = if t.view == View::V1 { "pids" } else { "" };
        for path in ["..", "../..", "/..", "a/../..", "./../x"] {
            let named = format!("{controller}:{path}");
            let flag = if controller.is_empty() { path } else { &named };
            container.exec(&["--cgroup", flag], &["exit", "0"]).expect_code(255).expect_words("sub cgroup path");
        }
        container.end();
        assert_eq!(climbed(t), 0);
    }
}

once! {
    fn ids_that_climb_are_refused_by_every_verb(t) {
        let precious = t.dir.join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("state.json"), "{}").unwrap();
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let before = listing(&t.dir);
        let long = "x".repeat(300);
        for id in ["../precious", "..", ".", "a/../../precious", "/", "", "a\n", "a b", &long] {
            for args in [
                &["state"][..], &["start"], &["pause"], &["resume"], &["delete"], &["delete", "--force"], &["kill"],
                &["ps"], &["create", "--bundle", bundle.path()], &["run", "--bundle", bundle.path()],
            ] {
                let output = t.runtime.call(&[args, &[id]].concat());
                assert_ne!(output.code(), 0, "{output}");
            }
            let output = t.runtime.call(&["exec", id, "/probe", "exit", "0"]);
            assert_ne!(output.code(), 0, "{output}");
        }
        let mut after = listing(&t.dir);
        after.retain(|path, _| !path.starts_with(t.dir.join("outputs")));
        let mut before = before;
        before.retain(|path, _| !path.starts_with(t.dir.join("outputs")));
        assert_eq!(after, before);
    }
}

both_views! {
    fn a_cgroup_path_does_not_climb(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["cgroupsPath"] = json!(format!("/{}/../../climbed", t.tag));
        });
        if !t.runtime.is_reference {
            t.try_create(&bundle).expect_error("/linux/cgroupsPath");
        }
        let container = t.sleeper(|_| {});
        let output = container.exec(&["--cgroup", "../.."], &["exit", "0"]);
        output.expect_code(255).expect_words("sub cgroup path");
        container.end();
    }
}

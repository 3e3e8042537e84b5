//! What a program sees under the runtime and under runc is the same, key by key.
//!
//! The bundles are those that real tools wrote (`tests/bundles`), with the probe as their
//! program. Each is run by both runtimes, one after the other, from the same directory, with
//! the same id and in the same cgroup; the two reports may differ only in what [`EXCEPTIONS`]
//! names, each with its reason. With runc as the runtime under test the comparison shows that
//! a report does not change from run to run.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::support::compare;
use crate::support::{Bundle, Runtime, Test, View, both_views, wait_until};

/// Where the reports may differ: the beginning of a JSON pointer, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "/signals/ignored",
        "glibc's posix_spawn, by which the tests start it, ignores a signal; runc hands it on",
    ),
    (
        "/mounts/~1sys~1fs~1cgroup/options/0",
        "with v1, runc leaves the tmpfs writable although `ro` is asked for",
    ),
    (
        "/mounts/~1sys~1fs~1cgroup again/options/0",
        "the same, where /sys is bound with all that is on it",
    ),
    ("/paths/~1sys~1fs~1cgroup/create", "the same, tried"),
    (
        "/mounts/~1sys~1fs~1cgroup/root",
        "where cgroup2 cannot be mounted, runc binds the host's whole hierarchy",
    ),
    (
        "/mounts/~1sys~1fs~1cgroup/source",
        "without a cgroup namespace, the host's one cgroup2 is bound and keeps its name",
    ),
    (
        "/mounts/~1sys~1fs~1cgroup again/source",
        "the same, where /sys is bound with all that is on it",
    ),
    (
        "/mounts/~1dev~1full/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1dev~1null/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1dev~1random/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1dev~1tty/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1dev~1urandom/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1dev~1zero/options",
        "nodes that are bound are nosuid and noexec, as /dev is",
    ),
    (
        "/mounts/~1proc~1keys/options",
        "what masks a file is such a node",
    ),
    (
        "/mounts/~1proc~1timer_list/options",
        "what masks a file is such a node",
    ),
    (
        "/dev/~1dev~1mqueue/gid",
        "in a user namespace, runc makes it as a group that is not mapped",
    ),
    (
        "/mounts/~1sys~1fs~1cgroup again/root",
        "the same, where /sys is bound with all that is on it",
    ),
];

/// One of the captured bundles, with the probe as its program.
fn captured(t: &Test, name: &str) -> Bundle {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/bundles")
        .join(name)
        .join("config.json");
    let text = fs::read_to_string(path).unwrap();
    let mut bundle = t.bundle(&["report"], |_| {});
    // The stored configs say /bundle where they mean their own directory.
    let text = text.replace("\"/bundle/", &format!("\"{}/", bundle.path()));
    let config: Value = serde_json::from_str(&text).unwrap();
    let cgroup = bundle.config["linux"]["cgroupsPath"].clone();
    bundle.edit(|current| {
        *current = config;
        current["process"]["args"] = json!(["/probe", "report"]);
        current["process"]["terminal"] = json!(false);
        current["linux"]["cgroupsPath"] = cgroup;
        // They name the engine's own programs.
        current.as_object_mut().unwrap().remove("hooks");
        if t.view == View::V2 {
            // A hybrid host has no controller for the limits in its unified hierarchy.
            let resources = current["linux"]["resources"].as_object_mut();
            resources
                .into_iter()
                .for_each(|limits| limits.retain(|kind, _| kind == "devices"));
        }
    });
    lay_out(&bundle);
    bundle
}

/// Make the sources of bind mounts, and their targets: in a user namespace the runtime may not.
fn lay_out(bundle: &Bundle) {
    for mount in bundle.config["mounts"].as_array().unwrap() {
        let source = Path::new(mount["source"].as_str().unwrap_or_default());
        if !source.starts_with(&bundle.dir) {
            continue;
        }
        let target = bundle.rootfs(mount["destination"].as_str().unwrap());
        let is_dir = matches!(
            source.file_name().and_then(|name| name.to_str()),
            Some("data" | "shm")
        );
        for path in [source, &target] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if is_dir {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::write(path, "").unwrap();
            }
        }
    }
}

/// The report of a bundle's program, created and started by one runtime.
fn report(runtime: &Runtime, bundle: &Bundle) -> Value {
    let created = runtime.call(&["create", "--bundle", bundle.path(), &bundle.id]);
    created.expect_ok();
    let stdout = created.stdout_path.clone();
    let cleanup = Cleanup(runtime, &bundle.id);
    runtime.call(&["start", &bundle.id]).expect_ok();
    wait_until("a whole report", || {
        let text = fs::read(&stdout).unwrap();
        serde_json::from_slice::<Value>(&text).is_ok()
    });
    drop(cleanup);
    let text = fs::read(&stdout).unwrap();
    comparable(serde_json::from_slice(&text).unwrap())
}

struct Cleanup<'r>(&'r Runtime, &'r str);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        self.0.call(&["delete", "--force", self.1]);
    }
}

/// Leave out what differs from run to run, and put the mounts under their targets.
fn comparable(mut report: Value) -> Value {
    for (kind, id) in report["namespaces"].as_object_mut().unwrap() {
        let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
        *id = json!(if *id == json!(own) {
            "the host's"
        } else {
            "new"
        });
    }
    report.as_object_mut().unwrap().remove("clocks");
    // Other tests make and remove cgroups at the same time.
    if let Some(access) = report["paths"]["/sys/fs/cgroup"].as_object_mut() {
        access.remove("entries");
    }
    for target in report["fds"].as_object_mut().unwrap().values_mut() {
        // The files that take the output are numbered.
        let name = target
            .as_str()
            .unwrap()
            .replace(|c: char| c.is_ascii_digit(), "");
        *target = json!(name);
    }
    let mut mounts = Map::new();
    for mount in report["mounts"].as_array().unwrap() {
        let target = mount["target"].as_str().unwrap();
        let mut key = target.to_owned();
        while mounts.contains_key(&key) {
            key += " again";
        }
        mounts.insert(key, mount.clone());
    }
    report["mounts"] = Value::Object(mounts);
    report
}

fn same_as_under_runc(t: &Test, bundle: &Bundle) {
    if !Path::new("/usr/sbin/runc").exists() && !Path::new("/usr/bin/runc").exists() {
        t.skip("runc is not installed, so there is nothing to compare with");
    }
    let runc = Runtime::new(Path::new("runc"), &t.dir, "state-of-runc");
    let expected = report(&runc, bundle);
    let seen = report(&t.runtime, bundle);
    let mut differences = compare::values(("runc", &t.runtime.name), &expected, &seen);
    differences.retain(|line| {
        !EXCEPTIONS
            .iter()
            .any(|(pointer, _)| line.starts_with(pointer))
    });
    assert!(
        differences.is_empty(),
        "the reports differ:\n{}",
        differences.join("\n")
    );
}

both_views! {
    fn the_default_bundle_of_these_tests(t) {
        same_as_under_runc(t, &t.bundle(&["report"], |_| {}));
    }

    fn the_bundle_of_spec(t) {
        same_as_under_runc(t, &captured(t, "spec"));
    }

    fn the_bundle_of_spec_rootless(t) {
        same_as_under_runc(t, &captured(t, "spec-rootless"));
    }

    fn a_bundle_of_docker(t) {
        same_as_under_runc(t, &captured(t, "docker"));
    }

    fn a_bundle_of_docker_with_limits(t) {
        same_as_under_runc(t, &captured(t, "docker-limits"));
    }

    fn a_bundle_of_docker_with_a_user_namespace(t) {
        same_as_under_runc(t, &captured(t, "docker-userns"));
    }

    fn a_bundle_of_containerd(t) {
        same_as_under_runc(t, &captured(t, "containerd"));
    }

    fn a_bundle_of_podman(t) {
        same_as_under_runc(t, &captured(t, "podman"));
    }

    fn a_bundle_of_umoci(t) {
        same_as_under_runc(t, &captured(t, "umoci"));
    }
}

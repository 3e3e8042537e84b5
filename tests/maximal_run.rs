//! Nearly every field at once: the maximal config, made to fit this machine, runs, and the
//! program sees what it asks for. Fields that each work alone may get into each other's way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::maximal;
use crate::support::{Bundle, Container, Test, View, both_views};

/// The maximal config with paths and names of this test, less what needs hardware or a
/// security module.
fn adapted(t: &Test, bundle: &Bundle, ipc: &str) -> Value {
    let view = match t.view {
        View::V1 => "v1",
        View::V2 => "v2",
    };
    let variant = maximal::variants().into_iter().find(|v| v.name == view);
    let mut config = variant.unwrap().config;
    for (pointer, value) in [
        (
            "/process/args",
            json!([
                "/probe",
                "report",
                "--stat",
                "/dev/fuse",
                "--read",
                "/proc/sys/net/ipv4/ip_forward"
            ]),
        ),
        ("/process/terminal", json!(false)),
        // Real time is not for the root of a user namespace to give.
        ("/process/ioPriority/class", json!("IOPRIO_CLASS_BE")),
        (
            "/process/scheduler",
            json!({"policy": "SCHED_BATCH", "nice": 5}),
        ),
        ("/linux/namespaces/4/path", json!(ipc)),
        (
            "/linux/uidMappings",
            json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]),
        ),
        (
            "/linux/gidMappings",
            json!([{"containerID": 0, "hostID": 200_000, "size": 65536}]),
        ),
        (
            "/linux/cgroupsPath",
            json!(format!("/{}/{}", t.tag, bundle.id)),
        ),
        ("/linux/memoryPolicy/nodes", json!("0")),
        ("/linux/seccomp/defaultAction", json!("SCMP_ACT_ALLOW")),
    ] {
        *config.pointer_mut(pointer).unwrap() = value;
    }
    for pointer in [
        "/process/apparmorProfile",
        "/process/selinuxLabel",
        "/linux/mountLabel",
        "/linux/netDevices",
        "/linux/intelRdt",
        "/linux/seccomp/defaultErrnoRet",
        "/process/consoleSize",
    ] {
        maximal::remove(&mut config, pointer);
    }
    // The maximal config's own come after those that a program needs. The message queues of
    // an IPC namespace that is another user namespace's cannot be mounted.
    let needed = bundle.config["mounts"].as_array().unwrap().iter();
    let needed = needed.filter(|mount| mount["type"] != "mqueue");
    let own = config["mounts"].as_array().unwrap().iter().skip(1);
    config["mounts"] = needed.chain(own).cloned().collect();
    let probe = bundle.rootfs("/probe");
    for (kind, hooks) in config["hooks"].as_object_mut().unwrap() {
        hooks[0]["args"] = json!(["probe", "exit", "0"]);
        hooks[0]["path"] = match kind.as_str() {
            "startContainer" => json!("/probe"),
            _ => json!(probe),
        };
    }
    config
}

/// Create, without the limits that this host has no controller or no file for.
fn create<'t>(t: &'t Test, bundle: &Bundle, mut config: Value) -> Container<'t> {
    loop {
        fs::write(bundle.dir.join("config.json"), config.to_string()).unwrap();
        let output = t.try_create(bundle);
        if output.status.success() {
            return Container::adopt(t, &bundle.id, output);
        }
        let place = output.stderr.rsplit_once("config.json: ");
        let place = place.unwrap_or_else(|| panic!("{output}")).1;
        let place = &place[..place.find(')').unwrap()];
        assert!(place.starts_with("/linux/resources/"), "{output}");
        maximal::remove(&mut config, place);
    }
}

both_views! {
    fn nearly_every_field_is_in_force_at_once(t) {
        t.only_orlop("runc 1.1 does not know half of it");
        let other = t.sleeper(|_| {});
        let bundle = t.bundle(&["report"], |_| {});
        for dir in ["data", "rootfs/data", "rootfs/scratch"] {
            fs::create_dir(bundle.dir.join(dir)).unwrap();
        }
        fs::set_permissions(bundle.dir.join("data"), fs::Permissions::from_mode(0o777)).unwrap();
        let config = adapted(t, &bundle, &format!("/proc/{}/ns/ipc", other.pid()));
        let container = create(t, &bundle, config);
        let ipc = fs::read_link(format!("/proc/{}/ns/ipc", container.pid())).unwrap();
        assert_eq!(ipc, fs::read_link(format!("/proc/{}/ns/ipc", other.pid())).unwrap());
        container.start().expect_ok();
        container.wait_for_status("stopped");
        let report: Value = serde_json::from_str(&container.output()).unwrap();
        for (pointer, value) in [
            ("/argv/1", json!("report")),
            ("/env/1", json!("TERM=xterm")),
            ("/cwd", json!("/data")),
            ("/umask", json!("0077")),
            ("/uid", json!([1000, 1000, 1000, 1000])),
            ("/gid", json!([1001, 1001, 1001, 1001])),
            ("/groups", json!([1002])),
            ("/capabilities", json!({
                "bounding": "0000000000002020", "permitted": "0000000000000020",
                "effective": "0000000000000020", "inheritable": "0000000000000020",
                "ambient": "0000000000000020"})),
            ("/rlimits/RLIMIT_NOFILE", json!([512, 1024])),
            ("/no_new_privs", json!(1)),
            ("/oom_score_adj", json!("100")),
            ("/io_priority", json!(2 << 13 | 6)),
            ("/scheduler", json!({"policy": 3, "nice": 5})),
            ("/hostname", json!("maximal")),
            ("/domainname", json!("example")),
            ("/uid_map", json!(["0 100000 65536"])),
            ("/gid_map", json!(["0 200000 65536"])),
            ("/namespaces/ipc", json!(ipc)),
            ("/memory_policy", json!({"mode": 1 << 15 | 2, "nodes": 1})),
            ("/personality", json!(8)),
            ("/seccomp/mode", json!("2")),
            ("/read/~1proc~1sys~1net~1ipv4~1ip_forward", json!("1")),
            ("/stat/~1dev~1fuse", json!({
                "type": "char", "device": "10:229", "mode": "0660", "uid": 1000, "gid": 1001})),
        ] {
            assert_eq!(report.pointer(pointer), Some(&value), "{pointer} of {report:#}");
        }
        let offsets = report["timens_offsets"].as_str().unwrap();
        let offsets: Vec<&str> = offsets.split_whitespace().collect();
        assert_eq!(offsets, ["monotonic", "172800", "7", "boottime", "86400", "5"]);
        let mount = |target: &str| {
            let mounts = report["mounts"].as_array().unwrap();
            let found = mounts.iter().find(|mount| mount["target"] == target);
            found.unwrap_or_else(|| panic!("no mount at {target}: {report:#}")).to_string()
        };
        assert!(mount("/scratch").contains("size=64k"), "{}", mount("/scratch"));
        assert!(mount("/data").contains("\"ro\""), "{}", mount("/data"));
        assert!(mount("/proc/sys").contains("\"ro\""), "{}", mount("/proc/sys"));
        assert!(mount("/").contains("\"ro\""), "{}", mount("/"));
        container.delete().expect_ok();
        other.end();
    }
}

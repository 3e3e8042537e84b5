//! What the tests of the topics share, and the tests of the whole.

mod cgroup_mounts;
mod fields;
mod mutated;
mod stored;

pub(crate) use stored::hybrid;

use std::path::Path;

use serde_json::{Value, json};

use super::{Context, Plan};
use crate::cgroup::Layout;
use crate::error::{Error, Result, Target};
use crate::host::Host;

/// A v2 host whose caller has every capability.
pub fn fixed_host() -> Host {
    let layout = Layout {
        v1: Vec::new(),
        v2: Some(crate::cgroup::Hierarchy {
            controllers: ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"]
                .map(String::from)
                .to_vec(),
            mount: "/sys/fs/cgroup".into(),
            own: "/".into(),
        }),
    };
    Host::fixed(layout, 40, u64::MAX >> 23, false)
}

/// The least config that makes a plan, with this `linux` section.
pub fn with_linux(linux: Value) -> Value {
    json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {"args": ["sh"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
        "linux": linux
    })
}

/// Plan a config on [`fixed_host`].
pub fn plan_of(spec: &Value) -> Result<Plan> {
    plan_on(spec, &fixed_host())
}

/// Plan a config on some host.
pub fn plan_on(spec: &Value, host: &Host) -> Result<Plan> {
    let spec = serde_json::from_value(spec.clone()).unwrap();
    let context = Context {
        id: "box",
        bundle: Path::new("/bundle"),
        no_pivot: false,
    };
    Plan::new(&spec, &context, host)
}

/// The JSON pointer that an error names.
pub fn pointer_of(error: &Error) -> &str {
    match &error.target {
        Some(Target::Field(pointer)) => pointer,
        other => panic!("no field in {error}: {other:?}"),
    }
}

/// The least config with one value changed, by its JSON pointer.
fn changed(pointer: &str, value: Value) -> Value {
    let mut spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    spec.pointer_mut(parent).unwrap()[name] = value;
    spec
}

#[test]
fn the_least_config_makes_a_plan() {
    let plan = plan_of(&with_linux(json!({"namespaces": [{"type": "mount"}]}))).unwrap();
    assert_eq!(plan.rootfs.path, Path::new("/bundle/rootfs"));
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn an_absolute_root_is_kept() {
    let plan = plan_of(&changed("/root/path", json!("/srv/./root/"))).unwrap();
    assert_eq!(plan.rootfs.path, Path::new("/srv/root"));
}

#[test]
fn a_config_without_its_main_parts_is_refused() {
    for (pointer, words) in [
        ("/root", "root must be specified"),
        ("/process", "process property must not be empty"),
    ] {
        let error = plan_of(&changed(pointer, json!(null))).unwrap_err();
        assert_eq!((pointer_of(&error), error.step.as_str()), (pointer, words));
    }
    let error = plan_of(&changed("/root", json!({}))).unwrap_err();
    assert_eq!(pointer_of(&error), "/root/path");
}

#[test]
fn what_this_build_cannot_do_is_refused_by_name() {
    for (pointer, value) in [
        ("/solaris", json!({})),
        ("/windows", json!({"layerFolders": ["x"]})),
        ("/vm", json!({"kernel": {"path": "/k"}})),
        ("/zos", json!({})),
        ("/ociVersion", json!("2.0.0")),
        ("/annotations", json!({"": "x"})),
    ] {
        let error = plan_of(&changed(pointer, value)).unwrap_err();
        assert!(pointer_of(&error).starts_with(pointer), "{error}");
    }
}

#[test]
fn root_propagation_is_a_flag() {
    let of = |word: &str| plan_of(&changed("/linux/rootfsPropagation", json!(word)));
    assert_eq!(of("").unwrap().rootfs.propagation, None);
    assert_eq!(
        of("rslave").unwrap().rootfs.propagation,
        Some(libc::MS_SLAVE | libc::MS_REC)
    );
    assert_eq!(
        of("shared").unwrap().rootfs.propagation,
        Some(libc::MS_SHARED)
    );
    assert_eq!(
        pointer_of(&of("rrslave").unwrap_err()),
        "/linux/rootfsPropagation"
    );
}

#[test]
fn a_private_root_needs_pivot_root() {
    let spec = changed("/linux/rootfsPropagation", json!("rprivate"));
    let spec = serde_json::from_value(spec).unwrap();
    let context = Context {
        id: "box",
        bundle: Path::new("/bundle"),
        no_pivot: true,
    };
    let error = Plan::new(&spec, &context, &fixed_host()).unwrap_err();
    assert_eq!(pointer_of(&error), "/linux/rootfsPropagation");
}

#[test]
fn a_user_namespace_touches_no_mounts_of_others() {
    for (pointer, value) in [
        ("/linux/maskedPaths", json!(["/proc/kcore"])),
        ("/linux/readonlyPaths", json!(["/proc/sys"])),
        ("/linux/rootfsPropagation", json!("slave")),
        ("/root/readonly", json!(true)),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "p"}])),
    ] {
        let mut spec = changed(pointer, value);
        spec["linux"]["namespaces"] = json!([]);
        // What is for the caller's mounts is for nobody; the rest is built aside of them.
        let of_callers = pointer == "/linux/rootfsPropagation";
        assert_eq!(plan_of(&spec).is_err(), of_callers, "{pointer}");
        spec["linux"]["namespaces"] = json!([{"type": "user", "path": "/proc/1/ns/user"}]);
        assert_eq!(pointer_of(&plan_of(&spec).unwrap_err()), pointer);
    }
    let spec = with_linux(json!({"namespaces": [{"type": "user", "path": "/proc/1/ns/user"}]}));
    assert!(plan_of(&spec).unwrap().devices.is_empty());
}

#[test]
fn a_caller_without_root_needs_a_user_namespace() {
    let host = Host::fixed(
        Layout {
            v1: Vec::new(),
            v2: None,
        },
        40,
        0,
        true,
    );
    let spec = with_linux(json!({"namespaces": [{"type": "mount"}]}));
    let error = plan_on(&spec, &host).unwrap_err();
    assert_eq!(pointer_of(&error), "/linux/namespaces");
}

#[test]
fn a_plan_survives_its_json() {
    let plan = plan_of(&with_linux(json!({"namespaces": [{"type": "mount"}]}))).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

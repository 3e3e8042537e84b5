//! state.json: by it tools that know runc's find a container, and later versions of the runtime
//! those of earlier ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::compare::leaves;
use crate::support::probe::strings;
use crate::support::{Container, Probe, Runtime, Test, View, both_views, once};

/// Written by real versions of the runtime for one bundle; the first figure is that of the
/// state's version. A file is added when the state changes, none is ever changed.
const SAMPLES: [(&str, &str); 2] = [
    ("1-first.json", include_str!("data/state/1-first.json")),
    ("1-limits.json", include_str!("data/state/1-limits.json")),
];

fn state_path(t: &Test, id: &str) -> PathBuf {
    t.runtime.root.join(id).join("state.json")
}

fn read_state(t: &Test, id: &str) -> Value {
    serde_json::from_slice(&fs::read(state_path(t, id)).unwrap()).unwrap()
}

fn write_state(t: &Test, id: &str, state: &Value) {
    fs::write(state_path(t, id), state.to_string()).unwrap();
}

/// Another runtime on the same state directory.
fn runc_beside(t: &Test) -> Test {
    if t.runtime.is_reference || !Path::new("/usr/sbin/runc").exists() {
        t.skip("it takes two: orlop, and Debian's runc beside it");
    }
    t.with_runtime(Runtime::new(Path::new("runc"), &t.dir, "state"))
}

/// The sample as if it were of `container`, a running one: its names in place of the sample's.
fn adopted(sample: &str, now: &Value) -> Value {
    let mut state: Value = serde_json::from_str(sample).unwrap();
    for key in [
        "id",
        "init_process_pid",
        "init_process_start",
        "cgroup_paths",
        "namespace_paths",
    ] {
        state[key] = now[key].clone();
    }
    state["config"]["rootfs"] = now["config"]["rootfs"].clone();
    state["config"]["cgroups"]["path"] = now["config"]["cgroups"]["path"].clone();
    state["orlop"]["bundle"] = now["orlop"]["bundle"].clone();
    state["config"]["labels"][0] = now["config"]["labels"][0].clone();
    state
}

/// A JSON value by the kinds of its leaves; the elements of a list are one.
fn kinds(value: &Value) -> Vec<(String, &'static str)> {
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    let mut all: Vec<_> = leaves(value)
        .iter()
        .map(|(pointer, leaf)| {
            let words = pointer.split('/').map(|word| match word.parse::<u32>() {
                Ok(_) => "*",
                Err(_) => word,
            });
            (words.collect::<Vec<_>>().join("/"), kind(leaf))
        })
        .collect();
    all.dedup();
    all
}

both_views! {
    fn runc_reads_and_rules_what_orlop_has_made(t) {
        let runc = runc_beside(t);
        let container = t.sleeper(|config| config["annotations"] = json!({"org.example": "value"}));
        let by_runc = |verb: &[&str]| {
            let output = runc.runtime.call(&[verb, &[container.id.as_str()]].concat());
            output.expect_ok();
            output
        };
        let (ours, theirs) = (container.state(), by_runc(&["state"]).stdout);
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        assert_eq!(theirs, ours);
        let listed = runc.runtime.call(&["list", "--format", "json"]).stdout;
        assert!(listed.contains(&format!("\"id\":\"{}\"", container.id)), "{listed}");
        let table = runc.runtime.call(&["list"]);
        assert!(table.expect_ok().stdout.contains(&container.id), "{table}");
        let pids = by_runc(&["ps", "--format", "json"]).stdout;
        assert_eq!(pids.trim_end().trim_end_matches("null"), format!("[{}]", container.pid()));
        by_runc(&["events", "--stats"]);
        let report = runc.runtime.call(&["exec", &container.id, "/probe", "report"]);
        assert_eq!(Probe::parse(&report)["cgroup"], container_cgroup(&container));
        by_runc(&["pause"]);
        assert_eq!(container.status(), "paused");
        by_runc(&["resume"]);
        runc.runtime.call(&["kill", &container.id, "KILL"]).expect_ok();
        container.wait_for_status("stopped");
        by_runc(&["delete"]);
        container.verb(&["state"]).expect_error("container does not exist");
    }

    fn a_state_of_an_earlier_version_is_read_by_each_verb(t) {
        t.only_orlop("the samples are orlop's");
        for (name, sample) in SAMPLES {
            let bundle = t.bundle(&["sleep"], |config| {
                config["linux"]["resources"]["memory"] = json!({});
            });
            let container = t.start(&bundle);
            container.wait_for_output("ready");
            let now = read_state(t, &container.id);
            write_state(t, &container.id, &adopted(sample, &now));

            let state = container.state();
            assert_eq!(state["annotations"]["org.example.key"], "value", "{name}");
            assert_eq!(state["pid"], now["init_process_pid"], "{name}");
            assert_eq!(state["bundle"], json!(bundle.path()), "{name}");
            let report = Probe::parse(&container.exec(&[], &["report"]));
            assert_eq!((&report["uid"][1], &report["gid"][1]), (&json!(1000), &json!(2000)));
            assert_eq!((&report["groups"], &report["umask"]), (&json!([3000]), &json!("0027")));
            assert_eq!((&report["cwd"], &report["oom_score_adj"]), (&json!("/dev"), &json!("123")));
            assert!(strings(&report["env"]).contains(&"FROM=sample".to_owned()), "{name}");
            assert_eq!(report.capabilities("bounding"), 1 << 5, "{name}");
            assert_eq!(report["seccomp"]["mode"], "2", "{name}: its filter");
            container.verb(&["pause"]).expect_ok();
            container.verb(&["resume"]).expect_ok();
            let pids = container.verb(&["ps", "--format", "json"]).stdout;
            assert_eq!(pids, format!("[{}]\n", container.pid()), "{name}");
            let listed = t.runtime.call(&["list", "--quiet"]).stdout;
            assert!(listed.contains(&container.id), "{name}: {listed}");
            container.end();
            let told = fs::read_to_string(bundle.dir.join("poststop")).unwrap();
            assert!(told.contains("\"stopped\""), "{name}: the poststop hook was told {told:?}");
        }
    }

    fn its_fields_are_shaped_as_runcs(t) {
        let runc = runc_beside(t);
        let edit = |config: &mut Value| {
            if t.view == View::V1 {
                config["linux"]["resources"]["pids"] = json!({"limit": 20});
            }
            config["annotations"] = json!({"org.example": "value"});
            crate::support::bundle::add_user_namespace(config, 200_000);
        };
        let bundle = t.bundle(&["sleep"], edit);
        let [ours, theirs] = [t, &runc].map(|t| {
            let container = t.start(&bundle);
            let state = read_state(t, &container.id);
            container.delete_force().expect_ok();
            state
        });
        // Newer ones leave out what is zero.
        let is_zero = |leaf: &Value| [json!(0), json!(false), json!("")].contains(leaf);
        let zeros: Vec<String> = leaves(&ours)
            .into_iter()
            .filter(|(pointer, leaf)| is_zero(leaf) && theirs.pointer(pointer).is_none())
            .map(|(pointer, _)| pointer)
            .collect();
        let theirs = kinds(&theirs);
        for (pointer, kind) in kinds(&ours) {
            // Newer than that runc, or our own.
            let ours_alone = ["/orlop/", "/namespace_paths/NEWTIME"];
            let of_cgroups = pointer.starts_with("/config/cgroups/");
            if of_cgroups && zeros.contains(&pointer) {
                continue;
            }
            if !ours_alone.iter().any(|start| pointer.starts_with(start)) {
                let known = theirs.contains(&(pointer.clone(), kind));
                assert!(known, "{pointer}, a {kind}, is not in runc's:\n{theirs:#?}");
            }
        }
        for key in ["id", "init_process_pid", "init_process_start", "created", "config", "rootless",
            "cgroup_paths", "namespace_paths", "external_descriptors", "intel_rdt_path"] {
            assert!(ours.get(key).is_some(), "{key} is missing");
        }
        let limit = if t.view == View::V1 { json!(20) } else { Value::Null };
        assert_eq!(ours["config"]["cgroups"]["pids_limit"], limit);
    }
}

fn container_cgroup(container: &Container) -> Value {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    json!(text.trim_end())
}

once! {
    fn what_is_unknown_is_passed_over_and_a_later_version_is_refused(t) {
        t.only_orlop("the version is orlop's");
        let container = t.sleeper(|_| {});
        let good = read_state(t, &container.id);
        let mut state = good.clone();
        for pointer in ["", "/config", "/config/cgroups", "/orlop", "/orlop/process"] {
            state.pointer_mut(pointer).unwrap()["from_the_future"] = json!({"deep": [1]});
        }
        write_state(t, &container.id, &state);
        container.exec(&[], &["exit", "7"]).expect_code(7);
        state["orlop"]["version"] = json!(2);
        write_state(t, &container.id, &state);
        for verb in [&["state"][..], &["start"], &["kill"], &["delete"], &["pause"], &["ps"], &["delete", "--force"]] {
            container.verb(verb).expect_error("its version 2 is newer than ours");
        }
        container.exec(&[], &["exit", "0"]).expect_code(255).expect_words("it was made by a newer orlop");
        write_state(t, &container.id, &good);
        container.end();
    }

    fn its_descriptors_are_those_of_the_caller(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let container = t.start(&bundle);
        let output = container.created.stdout_path.to_str().unwrap().to_owned();
        let descriptors = strings(&read_state(t, &container.id)["external_descriptors"]);
        assert_eq!(descriptors[..2], ["/dev/null".to_owned(), output]);
        assert_eq!(descriptors.len(), 3);
        container.end();
    }

    fn who_may_read_what(t) {
        let container = t.sleeper(|_| {});
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(&t.runtime.root.join(&container.id)), 0o711);
        assert_eq!(mode(&state_path(t, &container.id)), 0o600);
        container.end();

        // A root that is not there yet is for its owner alone.
        let root = t.dir.join("new/root");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let runtime = t.runtime.with_flags(&["--root", root.to_str().unwrap()]);
        runtime.call(&["run", "--bundle", bundle.path(), &bundle.id]).expect_ok();
        assert_eq!(mode(&t.dir.join("new/root")), 0o700);
    }
}

use super::*;
use crate::plan::NamespaceKind;
use crate::plan::tests::{fixed_host, pointer_of};
use serde_json::{Value, json};

fn of(change: impl FnOnce(&mut Value)) -> Result<Process> {
    let mut process = json!({"args": ["/bin/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
    change(&mut process);
    let process = serde_json::from_value(process).unwrap();
    plan(
        &process,
        "/process",
        &Namespaces::default(),
        &fixed_host(),
        &mut Vec::new(),
    )
}

#[test]
fn the_least_process_gets_nothing_that_it_did_not_ask_for() {
    let process = of(|_| {}).unwrap();
    assert_eq!(process.args, ["/bin/x"]);
    assert_eq!(process.capabilities, Default::default());
    assert!(!process.no_new_privileges && !process.terminal);
    assert!(process.env.is_empty() && process.oom_score_adj.is_none());
}

#[test]
fn the_last_of_a_name_wins() {
    let process = of(|p| p["env"] = json!(["A=1", "B=2", "A=3=4", "C=\n"])).unwrap();
    assert_eq!(process.env, ["B=2", "A=3=4", "C=\n"]);
}

#[test]
fn bad_values_are_refused_by_name() {
    for (name, value, pointer) in [
        ("args", json!([]), "args"),
        ("args", json!(null), "args"),
        ("args", json!(["x", "\0"]), "args/1"),
        ("cwd", json!("tmp"), "cwd"),
        ("cwd", json!(""), "cwd"),
        ("env", json!(["A=1", "A"]), "env/1"),
        ("env", json!(["=1"]), "env/0"),
        ("user", json!({"uid": u32::MAX}), "user/uid"),
        ("user", json!({"gid": u32::MAX}), "user/gid"),
        (
            "user",
            json!({"additionalGids": [1, u32::MAX]}),
            "user/additionalGids/1",
        ),
        ("user", json!({"umask": 512}), "user/umask"),
        ("oomScoreAdj", json!(1001), "oomScoreAdj"),
        ("oomScoreAdj", json!(-1001), "oomScoreAdj"),
        (
            "consoleSize",
            json!({"height": 65536, "width": 1}),
            "consoleSize/height",
        ),
        (
            "rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
            "rlimits/0/soft",
        ),
        (
            "rlimits",
            json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
                {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]),
            "rlimits/1/type",
        ),
    ] {
        let error = of(|p| p[name] = value.clone()).unwrap_err();
        assert_eq!(pointer_of(&error), format!("/process/{pointer}"), "{value}");
    }
}

#[test]
fn what_is_of_windows_is_warned_of() {
    let mut process = json!({"args": ["/bin/x"], "cwd": "/", "commandLine": "cmd.exe",
        "user": {"username": "ContainerUser"}});
    let warnings_of = |process: &Value| {
        let process = serde_json::from_value(process.clone()).unwrap();
        let mut warnings = Vec::new();
        let none = Namespaces::default();
        plan(&process, "/process", &none, &fixed_host(), &mut warnings).unwrap();
        warnings
    };
    let warnings = warnings_of(&process);
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("/process/commandLine"), "{warnings:?}");
    assert!(
        warnings[1].contains("/process/user/username"),
        "{warnings:?}"
    );
    process["commandLine"] = json!("");
    process["user"] = json!({});
    assert_eq!(warnings_of(&process), [""; 0]);
}

#[test]
fn the_words_that_callers_match() {
    let error = of(|p| p["args"] = json!([])).unwrap_err();
    assert_eq!(error.step, "args must not be empty");
    let error = of(|p| p["cwd"] = json!("tmp")).unwrap_err();
    assert_eq!(error.step, "Cwd must be an absolute path");
}

#[test]
fn limits_have_the_kernels_numbers() {
    let process = of(|p| {
        p["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
            {"type": "RLIMIT_RTTIME", "soft": 3, "hard": u64::MAX}
        ]);
    })
    .unwrap();
    let numbers: Vec<_> = process.rlimits.iter().map(|limit| limit.resource).collect();
    assert_eq!(numbers, [7, 15]);
    assert_eq!(process.rlimits[0].name, "RLIMIT_NOFILE");
    assert_eq!(process.rlimits[1].hard, u64::MAX);
}

#[test]
fn ids_must_be_mapped_in_a_new_user_namespace() {
    let map = IdMapping {
        container: 0,
        host: 1000,
        size: 10,
    };
    let namespaces = Namespaces {
        new: vec![NamespaceKind::User],
        uid_mappings: vec![map],
        gid_mappings: vec![map],
        ..Namespaces::default()
    };
    let of = |value: Value| user(&serde_json::from_value(value).unwrap(), "/u", &namespaces);
    assert!(of(json!({"uid": 9, "gid": 9, "additionalGids": [1]})).is_ok());
    for (value, pointer) in [
        (json!({"uid": 10}), "/u/uid"),
        (json!({"gid": 10}), "/u/gid"),
        (json!({"additionalGids": [10]}), "/u/additionalGids/0"),
    ] {
        assert_eq!(pointer_of(&of(value).unwrap_err()), pointer);
    }
}

#[test]
fn ids_of_a_joined_user_namespace_are_not_judged() {
    let namespaces = Namespaces {
        new: vec![NamespaceKind::User],
        ..Namespaces::default()
    };
    let value = serde_json::from_value(json!({"uid": 10, "gid": 10})).unwrap();
    assert!(user(&value, "/u", &namespaces).is_ok());
}

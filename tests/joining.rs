//! How processes get into cgroups, as strace(1) sees it: by themselves. Whoever names a pid in
//! cgroup.procs makes the kernel wait for an RCU grace period in each hierarchy.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::json;

use crate::support::bundle::push;
use crate::support::view::hierarchies;
use crate::support::{Test, View, both_views};

/// Writes and clones of a call of the runtime, files by their paths.
fn traced(t: &Test, args: &[&str]) -> String {
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        t.skip("strace is not installed");
    }
    let file = t.dir.join("trace");
    let words: [&OsStr; 7] = [
        strace.as_ref(),
        "-f".as_ref(),
        "-y".as_ref(),
        "-o".as_ref(),
        file.as_ref(),
        "-e".as_ref(),
        "trace=clone3,write,pwrite64,writev".as_ref(),
    ];
    t.runtime.behind(&words).call(args).expect_ok();
    fs::read_to_string(file).unwrap()
}

/// Everybody went in by himself.
fn check(t: &Test, trace: &str) {
    let procs: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("cgroup.procs>"))
        .collect();
    assert!(
        procs.is_empty(),
        "written to cgroup.procs:\n{}",
        procs.join("\n")
    );
    let tasks: Vec<&str> = trace
        .lines()
        .filter(|line| line.contains("/tasks>"))
        .collect();
    let v1 = hierarchies()
        .iter()
        .filter(|(kind, _)| kind == "cgroup")
        .count();
    assert_eq!(tasks.len(), v1, "of {v1} hierarchies:\n{trace}");
    assert!(
        // The line may end here: another process was on the other CPU.
        tasks.iter().all(|line| line.contains("/tasks>, \"0\", 1")),
        "a pid:\n{}",
        tasks.join("\n")
    );
    if t.view == View::V2 {
        let born = trace
            .lines()
            .any(|line| line.contains("clone3(") && line.contains("CLONE_INTO_CGROUP"));
        assert!(born, "nobody was born in the cgroup:\n{trace}");
    }
}

both_views! {
    fn joining_cgroups_takes_no_rcu_wait(t) {
        t.only_orlop("runc moves processes by their pids");
        for cgroup_namespace in [false, true] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                if cgroup_namespace {
                    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
                }
            });
            check(t, &traced(t, &["run", "--bundle", bundle.path(), &bundle.id]));
        }
    }

    fn so_it_is_for_exec(t) {
        t.only_orlop("runc moves processes by their pids");
        let container = t.sleeper(|_| {});
        check(t, &traced(t, &["exec", &container.id, "/probe", "exit", "0"]));
        container.end();
    }
}

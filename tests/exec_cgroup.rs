//! In which cgroup exec's process is: the container's, one below it, or where init is now.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::support::bundle::push;
use crate::support::{Container, Output, Test, View, both_views, once, view, wait_until};

/// The container's cgroup on v2.
fn unified(container: &Container) -> PathBuf {
    view::cgroups(&container.id).into_iter().next().unwrap()
}

fn move_to(dir: &Path, pid: u32) {
    fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
}

/// The v2 line of a process's cgroup file.
fn seen(output: &Output) -> String {
    let text = &output.expect_ok().stdout;
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.unwrap_or_else(|| panic!("no v2 line\n{output}"))
        .to_owned()
}

fn own(container: &Container, flags: &[&str]) -> Output {
    container.exec(flags, &["read", "/proc/self/cgroup"])
}

/// A cgroup below each of the container's.
fn make_below(t: &Test, container: &Container, name: &str) {
    let own = view::cgroups(&container.id).into_iter();
    for dir in own.filter(|dir| dir.ends_with(&container.id)) {
        fs::create_dir(dir.join(name)).unwrap();
        // A cpuset takes nobody in before it has both.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (Ok(text), true) = (fs::read(dir.join(file)), t.view == View::V1) {
                fs::write(dir.join(name).join(file), text).unwrap();
            }
        }
    }
}

once! {
    fn where_init_has_made_its_cgroup_an_inner_one_exec_goes_to_init(t) {
        let container = t.sleeper(|_| {});
        let dir = unified(&container);
        let controllers = fs::read_to_string(dir.join("cgroup.controllers")).unwrap();
        let Some(controller) = controllers.split_whitespace().next() else {
            t.skip("no controller of cgroup v2 is handed down here");
        };
        make_below(t, &container, "init");
        make_below(t, &container, "sub");
        move_to(&dir.join("init"), container.pid());
        fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}")).unwrap();
        let path = seen(&own(&container, &[]));
        assert!(path.ends_with(&format!("{}/init", container.id)), "{path}");
        let path = seen(&own(&container, &["--cgroup", "sub"]));
        assert!(path.ends_with(&format!("{}/sub", container.id)), "{path}");
        // It was asked for, so nothing takes its place.
        assert_ne!(own(&container, &["--cgroup", "/"]).code(), 0);
        container.end();
    }

    fn where_the_cgroup_is_gone_exec_goes_to_init(t) {
        let container = t.sleeper(|_| {});
        let dir = unified(&container);
        let aside = dir.with_file_name(format!("{}-aside", container.id));
        fs::create_dir(&aside).unwrap();
        move_to(&aside, container.pid());
        wait_until("the end of the cgroup", || fs::remove_dir(&dir).is_ok());
        let path = seen(&own(&container, &[]));
        assert!(path.ends_with(&format!("{}-aside", container.id)), "{path}");
        assert_ne!(own(&container, &["--cgroup", "sub"]).code(), 0);
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
        wait_until("the end of the other cgroup", || fs::remove_dir(&aside).is_ok());
    }
}

both_views! {
    fn a_path_below_may_be_deep_and_is_the_containers_alone(t) {
        let container = t.sleeper(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})));
        make_below(t, &container, "a");
        make_below(t, &container, "a/b");
        for sub in ["a/b", "/a/b"] {
            let output = own(&container, &["--cgroup", sub]);
            // The container's cgroup is the root of its namespace.
            let lines = output.expect_ok().stdout.lines();
            let mut counted = lines.filter(|line| t.view == View::V1 || line.starts_with("0::"));
            assert!(counted.all(|line| line.ends_with(":/a/b")), "{output}");
        }
        for sub in ["..", "../", "a/../..", "a/../../x", "/../a"] {
            let output = own(&container, &["--cgroup", sub]);
            // Newer ones have the words of ours.
            let words = if t.runtime.is_reference { "sub cgroup path" } else { "bad sub cgroup path: " };
            output.expect_code(255).expect_words(words);
        }
        assert_ne!(own(&container, &["--cgroup", "nowhere"]).code(), 0);
        container.end();
    }

    fn controllers_are_named_once_and_must_be_there(t) {
        t.only_orlop("runc 1.1 takes the last of two");
        let container = t.sleeper(|_| {});
        for (flags, words) in [
            (&["--cgroup", "pids:a", "--cgroup", "pids:b"][..], "controller pids specified multiple times"),
            (&["--cgroup", "a", "--cgroup", "b"], "missing <controller>: prefix"),
            (&["--cgroup", ":a"], "empty <controller> prefix"),
        ] {
            own(&container, flags).expect_code(255).expect_words(words);
        }
        if t.view == View::V1 {
            own(&container, &["--cgroup", "nothing:a"]).expect_code(255).expect_words("unknown controller nothing");
        }
        container.end();
    }

    fn one_hierarchy_may_be_named_and_the_others_stay(t) {
        if t.view == View::V2 {
            t.skip("cgroup v2 has one");
        }
        let container = t.sleeper(|_| {});
        make_below(t, &container, "sub");
        let output = own(&container, &["--cgroup", "pids,memory:sub"]);
        for line in output.expect_ok().stdout.lines() {
            let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            if view::hierarchy(controllers).is_some() {
                let expected = if matches!(controllers, "pids" | "memory") { "/sub" } else { &container.id };
                assert!(path.ends_with(expected), "{line}");
            }
        }
        container.end();
    }

    fn the_callers_cpus_are_not_those_of_exec(t) {
        t.only_orlop("runc 1.1 leaves the process on the caller's CPUs");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let own = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        if own == "0" {
            t.skip("there is but one CPU");
        }
        let container = t.sleeper(|_| {});
        let runtime = t.runtime.behind(&["taskset".as_ref(), "-c".as_ref(), "0".as_ref()]);
        let output = runtime.call(&["exec", &container.id, "/probe", "report"]);
        assert_eq!(crate::support::Probe::parse(&output)["cpus_allowed"], own);
        container.end();
    }
}

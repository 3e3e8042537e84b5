//! `--systemd-cgroup`: the container in a unit of systemd, which here is one that records what
//! it is asked for (`support::systemd`).

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::support::leaks::Snapshot;
use crate::support::systemd::{self, Manner, Systemd, Value, property_of};
use crate::support::{Container, Probe, Test, View, both_views, isolate, once, view};

/// As it is without a cgroupsPath.
fn by_default(config: &mut Json) {
    config["linux"]
        .as_object_mut()
        .unwrap()
        .remove("cgroupsPath");
}

fn at(path: &str) -> impl FnOnce(&mut Json) {
    move |config| config["linux"]["cgroupsPath"] = json!(path)
}

/// The cgroups that a process is in, by the last part of the mount's name.
fn cgroups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

fn state(t: &Test, id: &str) -> Json {
    let text = fs::read(t.runtime.root.join(id).join("state.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn text(value: Option<Value>) -> String {
    value
        .and_then(|v| v.text().map(str::to_owned))
        .unwrap_or_default()
}

both_views! {
    fn a_container_lives_in_a_scope_and_takes_it_along(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.create(&t.bundle(&["sleep"], by_default));
        let unit = format!("runc-{}.scope", container.id);
        assert_eq!(systemd.units(), std::slice::from_ref(&unit));
        assert_eq!(text(systemd.property("Slice")), "system.slice");
        assert_eq!(systemd.property("Delegate"), Some(Value::Bool(true)));
        assert_eq!(systemd.property("DefaultDependencies"), Some(Value::Bool(false)));
        for name in ["MemoryAccounting", "CPUAccounting", "TasksAccounting"] {
            assert_eq!(systemd.property(name), Some(Value::Bool(true)), "{name}");
        }
        assert_eq!(text(systemd.property("DevicePolicy")), "strict");

        let place = format!("{}/system.slice/{unit}", t.tag);
        let state = state(t, &container.id);
        assert_eq!(state["config"]["cgroups"]["Systemd"], json!(true));
        assert_eq!(state["orlop"]["unit"]["name"], json!(unit));
        for (key, dir) in state["cgroup_paths"].as_object().unwrap() {
            let dir = dir.as_str().unwrap();
            assert!(dir.ends_with(&place), "{key}: {dir}");
            let procs = fs::read_to_string(format!("{dir}/cgroup.procs")).unwrap();
            assert_eq!(procs.trim(), container.pid().to_string(), "{key}");
        }

        container.start().expect_ok();
        container.wait_for_output("ready");
        let exec = container.exec(&[], &["report"]);
        exec.expect_ok();
        container.verb(&["pause"]).expect_ok();
        assert_eq!(container.status(), "paused");
        container.verb(&["resume"]).expect_ok();
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        assert_eq!(systemd.units(), [unit]);
        container.delete().expect_ok();
        assert_eq!(systemd.units(), Vec::<String>::new());
        assert_eq!(systemd.calls("ResetFailedUnit").len(), 1);
        fs_remove_slices(t);
    }

    fn a_run_in_the_foreground_ends_with_its_unit(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let bundle = t.bundle(&["exit", "7"], at("a-b.slice:box:one"));
        t.run(&bundle).expect_code(7);
        let starts = systemd.calls("StartTransientUnit");
        assert_eq!(starts.len(), 1);
        assert_eq!(starts[0].body[0].text(), Some("box-one.scope"));
        assert_eq!(text(systemd.property("Slice")), "a-b.slice");
        assert_eq!(systemd.units(), Vec::<String>::new());
        fs_remove_slices(t);
    }

    fn a_cgroup_namespace_begins_in_the_unit(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.sleeper(|config| {
            by_default(config);
            config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "cgroup"}));
        });
        let seen = container.exec(&[], &["report"]);
        let seen = Probe::parse(&seen);
        for line in seen["cgroup"].as_str().unwrap().lines() {
            assert!(line.ends_with(":/"), "{line}");
        }
        container.end();
        fs_remove_slices(t);
    }

    fn a_unit_that_ended_by_itself_is_no_hindrance(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.sleeper(at("a.slice:box:two"));
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        systemd.forget("box-two.scope");
        container.delete().expect_ok();
        fs_remove_slices(t);
    }

    fn a_unit_that_got_another_holder_is_left_alone_by_delete(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.sleeper(at("a.slice:box:given"));
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        systemd.give_away("box-given.scope");
        container.delete().expect_ok().expect_words("is not this container's, and stays");
        assert_eq!(systemd.units(), ["box-given.scope"]);
        remove_unit(t, "a.slice/box-given.scope");
        fs_remove_slices(t);
    }

    fn a_create_that_was_killed_before_its_unit_takes_no_others(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let lives = t.sleeper(at("a.slice:box:shared"));
        delete_what_was_killed_before_its_unit(t, &lives);
        assert_eq!(systemd.units(), ["box-shared.scope"]);
        lives.end();
        fs_remove_slices(t);
    }

    fn processes_are_told_by_number_before_255(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner { version: "254.9", ..Manner::default() });
        let t = &systemd.test;
        let container = t.create(&t.bundle(&["sleep"], at("a.slice:box:old")));
        let pids = vec![Value::Uint32(container.pid())];
        assert_eq!(systemd.property("PIDs"), Some(Value::Array("u".to_owned(), pids)));
        assert_eq!(systemd.property("PIDFDs"), None);
        container.delete().expect_ok();
        fs_remove_slices(t);
    }

    fn a_unit_that_failed_before_is_reset_and_started_again(t) {
        t.only_orlop("tells systemd itself");
        let unit = Some(("box-three.scope".to_owned(), true));
        let systemd = Systemd::start(t, Manner { unit, ..Manner::default() });
        let t = &systemd.test;
        t.run(&t.bundle(&["exit", "0"], at("a.slice:box:three"))).expect_ok();
        assert_eq!(systemd.calls("StartTransientUnit").len(), 2);
        fs_remove_slices(t);
    }

    fn a_unit_that_lives_is_left_alone(t) {
        t.only_orlop("tells systemd itself");
        let unit = Some(("box-four.scope".to_owned(), false));
        let systemd = Systemd::start(t, Manner { unit, ..Manner::default() });
        let t = &systemd.test;
        let before = Snapshot::take(t);
        let refused = t.try_create(&t.bundle(&["exit", "0"], at("a.slice:box:four")));
        refused.expect_error("unable to start unit \"box-four.scope\"");
        refused.expect_words("Unit box-four.scope was already loaded or has a fragment file.");
        assert_eq!(systemd.calls("StopUnit").len(), 0);
        before.assert_unchanged(t, "after the create that failed");
    }

    fn a_job_that_fails_leaves_nothing(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner { result: "failed", ..Manner::default() });
        let t = &systemd.test;
        let bundle = t.bundle(&["exit", "0"], at("a.slice:box:five"));
        let refused = t.try_create(&bundle);
        refused.expect_error("error creating systemd unit `box-five.scope`: got `failed`");
        assert_eq!(systemd.units(), Vec::<String>::new());
        fs_remove_slices(t);
    }

    fn a_property_that_systemd_refuses_is_told(t) {
        t.only_orlop("tells systemd itself");
        let refuses = Some("Cannot set property Nonsense, or unknown property.");
        let systemd = Systemd::start(t, Manner { refuses, ..Manner::default() });
        let t = &systemd.test;
        let before = Snapshot::take(t);
        t.try_create(&t.bundle(&["exit", "0"], by_default))
            .expect_error("Cannot set property Nonsense, or unknown property.");
        before.assert_unchanged(t, "after the create that failed");
    }

    fn a_slow_job_is_waited_for(t) {
        t.only_orlop("tells systemd itself");
        let delay = Duration::from_millis(700);
        let systemd = Systemd::start(t, Manner { delay, ..Manner::default() });
        let t = &systemd.test;
        let began = Instant::now();
        let container = t.create(&t.bundle(&["sleep"], at("a.slice:box:six")));
        assert!(began.elapsed() >= delay);
        container.delete().expect_ok();
        fs_remove_slices(t);
    }

    fn a_slice_has_the_container_too(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.create(&t.bundle(&["sleep"], at("a.slice:ignored:a-b.slice")));
        assert_eq!(systemd.units(), ["a-b.slice"]);
        assert_eq!(systemd.property("PIDs"), None);
        assert_eq!(systemd.property("PIDFDs"), None);
        assert_eq!(systemd.property("Slice"), None);
        let place = format!("{}/a.slice/a-b.slice", t.tag);
        assert!(cgroups_of(container.pid()).lines().any(|line| line.ends_with(&place)));
        container.delete().expect_ok();
        fs_remove_slices(t);
    }

    fn a_missing_bus_is_told_at_once(t) {
        t.only_orlop("other words");
        let socket = t.dir.join("nobody");
        let without = t.with_runtime(systemd::runtime(t, &socket));
        let before = Snapshot::take(t);
        let began = Instant::now();
        let refused = without.try_create(&without.bundle(&["exit", "0"], by_default));
        assert!(began.elapsed() < Duration::from_secs(5));
        refused.expect_error(
            "systemd not running on this host, cannot use systemd as cgroups manager",
        );
        refused.expect_words(socket.to_str().unwrap());
        before.assert_unchanged(t, "after the create that failed");
    }

    fn a_bus_that_is_gone_does_not_keep_a_container(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let container = systemd.test.create(&systemd.test.bundle(&["sleep"], at("a.slice:box:seven")));
        fs::remove_file(t.dir.join("bus")).unwrap();
        let deleted = container.delete();
        deleted.expect_ok().expect_words("systemd not running");
        fs_remove_slices(t);
    }

    fn a_path_of_another_form_is_refused(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        for (path, words) in [
            ("/a/b", "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got \"/a/b\" instead (config.json: /linux/cgroupsPath)"),
            ("a--b.slice:p:n", "invalid slice name: a--b.slice (config.json: /linux/cgroupsPath)"),
            ("a.slice:p:../../x", "cannot be the name of a systemd unit (config.json: /linux/cgroupsPath)"),
        ] {
            t.try_create(&t.bundle(&["exit", "0"], at(path))).expect_error(words);
        }
        assert_eq!(systemd.calls("StartTransientUnit").len(), 0);
    }

    fn annotations_are_properties(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let annotated = |name: &'static str, value: &'static str| move |config: &mut Json| {
            by_default(config);
            config["annotations"] = json!({format!("org.systemd.property.{name}"): value});
        };
        t.run(&t.bundle(&["exit", "0"], annotated("TimeoutStopSec", "5"))).expect_ok();
        assert_eq!(systemd.property("TimeoutStopUSec"), Some(Value::Uint64(5_000_000)));
        t.try_create(&t.bundle(&["exit", "0"], annotated("After", "[nonsense"))).expect_error(
            "annotation org.systemd.property.After=[nonsense value parse error",
        );
        fs_remove_slices(t);
    }
}

once! {
    fn a_unit_that_is_elsewhere_is_noticed(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner { misplaces: true, ..Manner::default() });
        let t = &systemd.test;
        let bundle = t.bundle(&["exit", "0"], at("a.slice:box:eight"));
        t.try_create(&bundle).expect_error("systemd did not make the cgroup of box-eight.scope");
        assert_eq!(systemd.units(), Vec::<String>::new());
        fs_remove_slices(t);
    }

    fn what_is_planned_can_be_looked_at(t) {
        t.only_orlop("has no plan");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let bundle = t.bundle(&["exit", "0"], at("a.slice:box:nine"));
        let plan = t.runtime.call(&["plan", "--bundle", bundle.path(), &bundle.id]);
        plan.expect_ok();
        let plan: Json = serde_json::from_str(&plan.stdout).unwrap();
        assert_eq!(plan["cgroup"]["unit"]["name"], json!("box-nine.scope"));
        let properties = plan["cgroup"]["unit"]["properties"].as_array().unwrap();
        assert!(properties.contains(&json!({"name": "Slice", "value": {"string": "a.slice"}})));
        assert_eq!(systemd.calls("StartTransientUnit").len(), 0);
    }
}

crate::cgroups::v1_only! {
    fn limits_are_properties_and_files(t) {
        t.only_orlop("tells systemd itself");
        let systemd = Systemd::start(t, Manner::default());
        let t = &systemd.test;
        let container = t.create(&t.bundle(&["sleep"], |config| {
            by_default(config);
            config["linux"]["resources"] = json!({
                "memory": {"limit": 64 << 20},
                "cpu": {"shares": 512, "quota": 25_000, "period": 50_000, "cpus": "0"},
                "pids": {"limit": 20},
            });
        }));
        let number = |name: &str| match systemd.property(name) {
            Some(Value::Uint64(number)) => number,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(number("MemoryLimit"), 64 << 20);
        assert_eq!(number("CPUShares"), 512);
        assert_eq!(number("CPUQuotaPeriodUSec"), 50_000);
        assert_eq!(number("CPUQuotaPerSecUSec"), 500_000);
        assert_eq!(number("TasksMax"), 20);
        assert_eq!(systemd.property("AllowedCPUs"), Some(Value::Array("y".to_owned(), vec![Value::Byte(1)])));

        let state = state(t, &container.id);
        let read = |controller: &str, file: &str| {
            let dir = state["cgroup_paths"][controller].as_str().unwrap();
            fs::read_to_string(format!("{dir}/{file}")).unwrap().trim().to_owned()
        };
        assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
        assert_eq!(read("cpu", "cpu.shares"), "512");
        assert_eq!(read("pids", "pids.max"), "20");

        container.verb(&["update", "--pids-limit", "30"]).expect_ok();
        assert_eq!(read("pids", "pids.max"), "30");
        let told = systemd.calls("SetUnitProperties");
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].body[0].text(), Some(format!("runc-{}.scope", container.id).as_str()));
        assert_eq!(told[0].body[1], Value::Bool(true));
        assert_eq!(property_of(&told[0].body[2], "TasksMax"), Some(Value::Uint64(30)));
        assert_eq!(property_of(&told[0].body[2], "CPUShares"), None);
        container.delete().expect_ok();
        fs_remove_slices(t);
    }

    fn a_rootless_caller_has_no_systemd_driver_on_v1(t) {
        t.only_orlop("other words");
        let systemd = Systemd::start(t, Manner::default());
        let t = systemd.test.with_runtime(systemd.test.runtime.with_flags(&["--rootless=true"]));
        t.try_create(&t.bundle(&["exit", "0"], by_default))
            .expect_error("cannot use rootless systemd cgroups manager on cgroup v1");
    }
}

/// Delete what a create leaves that is killed after it has written its state and before it asks for
/// its unit, whose name a living container has.
pub fn delete_what_was_killed_before_its_unit(t: &Test, lives: &Container) {
    let mut half = state(t, &lives.id);
    let id = format!("{}-half", t.tag);
    half["id"] = json!(id);
    half["init_process_pid"] = json!(0);
    half["init_process_start"] = json!(0);
    half["orlop"]["phase"] = json!("creating");
    half["orlop"]["unit"]["description"] = json!(format!("libcontainer container {id} of /b"));
    let dir = t.runtime.root.join(&id);
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("state.json"), half.to_string()).unwrap();
    let deleted = t.runtime.call(&["delete", "--force", &id]);
    deleted
        .expect_ok()
        .expect_words("is not this container's, and stays");
    assert_eq!(lives.status(), "running");
}

/// What the stand-in has made and not removed.
fn remove_unit(t: &Test, path: &str) {
    for (_, point) in view::hierarchies() {
        let _ = fs::remove_dir(point.join(&t.tag).join(path));
    }
}

/// systemd keeps slices for a while; here they go when the test does.
fn fs_remove_slices(t: &Test) {
    let point = |path: &std::path::Path| path.ends_with(&t.tag);
    for dir in view::cgroups(&t.tag).iter().rev().filter(|dir| !point(dir)) {
        assert!(
            dir.extension().is_some_and(|kind| kind == "slice"),
            "left: {}",
            dir.display()
        );
        fs::remove_dir(dir).unwrap();
    }
}

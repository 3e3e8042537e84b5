//! events: statistics once and again, OOM events, and when they end.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::cgroups::read;
use crate::support::bundle::push;
use crate::support::runtime::Running;
use crate::support::view::{self, hierarchy};
use crate::support::{
    Bundle, Container, Output, Runtime, Test, View, both_views, compare, wait_until,
};

/// The data of a statistics event, which a line is.
fn data(line: &str, id: &str) -> Value {
    let mut event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    assert_eq!(event["type"], "stats", "{line}");
    assert_eq!(event["id"], id, "{line}");
    event["data"].take()
}

fn stats(container: &Container) -> Value {
    let output = container.verb(&["events", "--stats"]);
    let lines: Vec<&str> = output.expect_ok().stdout.lines().collect();
    assert_eq!(lines.len(), 1, "{output}");
    data(lines[0], &container.id)
}

/// Events that are being followed, of which the first has come.
fn follow(t: &Test, container: &Container, interval: &str) -> Running {
    let args = ["events", "--interval", interval, &container.id];
    let running = t.runtime.spawn(t.runtime.command(&args));
    wait_until("the first event", || running.stdout().contains('\n'));
    running
}

/// Skip where the runtime cannot follow events.
fn follows(t: &Test) {
    if !has_memory(t) {
        t.only_orlop("without a memory controller, runc has no events at all");
    }
}

fn has_memory(t: &Test) -> bool {
    view::cgroups(&t.tag)
        .iter()
        .any(|dir| dir.join("memory.stat").exists())
}

/// They have come to their end by themselves, in whole lines.
fn expect_end(running: Running, id: &str) -> Output {
    let output = running.wait();
    output.expect_ok();
    assert!(output.stdout.ends_with('\n'), "{output}");
    for line in output
        .stdout
        .lines()
        .filter(|line| !line.contains("\"oom\""))
    {
        data(line, id);
    }
    output
}

/// Limits that this view has controllers for.
fn limit(t: &Test, config: &mut Value) {
    let resources = &mut config["linux"]["resources"];
    if t.view == View::V1 {
        resources["memory"] = json!({"limit": 64 << 20});
        resources["pids"] = json!({"limit": 20});
        resources["cpu"] = json!({"quota": 20_000, "period": 100_000, "cpus": "0", "mems": "0"});
    }
}

fn runc(t: &Test) -> Runtime {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if !std::env::split_paths(&path).any(|dir| dir.join("runc").is_file()) {
        t.skip("runc is not installed, so there is nothing to compare with");
    }
    Runtime::new(Path::new("runc"), &t.dir, "state-of-runc")
}

/// `--stats` of a container of this runtime that has worked for a while, and has met its limit
/// when it is `limited`; every key.
fn keys_of(runtime: &Runtime, bundle: &Bundle, limited: bool) -> BTreeSet<String> {
    let created = runtime.call(&["create", "--bundle", bundle.path(), &bundle.id]);
    created.expect_ok();
    runtime.call(&["start", &bundle.id]).expect_ok();
    let mut seen = Value::Null;
    wait_until("time in user mode, and too much of it", || {
        let output = runtime.call(&["events", "--stats", &bundle.id]);
        seen = data(output.expect_ok().stdout.trim_end(), &bundle.id);
        let cpu = &seen["cpu"];
        cpu["usage"]["user"] != 0 && (!limited || cpu["throttling"]["throttledTime"] != Value::Null)
    });
    runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
    let mut data = seen;
    // Newer versions than 1.1 leave out what has no value at all, and tell pressure.
    let has_value = |entry: &Value| {
        let entry = entry.as_object();
        !entry.is_some_and(|entry| entry.values().all(|value| *value == 0))
    };
    for part in ["cpu", "memory", "blkio"] {
        let part = data[part].as_object_mut().unwrap();
        part.retain(|key, entry| key != "psi" && has_value(entry));
    }
    compare::leaves(&data).into_keys().collect()
}

fn resident_pages(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// How often a process has gone to sleep.
fn sleeps(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.unwrap().trim().parse().unwrap()
}

both_views! {
    fn statistics_are_those_of_the_kernel(t) {
        let container = t.sleeper(|config| limit(t, config));
        let data = stats(&container);
        let keys: Vec<&String> = data.as_object().unwrap().keys().collect();
        let all = ["blkio", "cpu", "cpuset", "hugetlb", "intel_rdt", "memory", "network_interfaces", "pids"];
        assert_eq!(keys, all);
        assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0, "{data}");
        assert_eq!(data["pids"]["current"], 1);
        assert_eq!(data["network_interfaces"], Value::Null);
        assert_eq!(data["intel_rdt"], json!({}));
        if t.view == View::V1 {
            assert_eq!(data["pids"]["limit"], 20);
            assert_eq!(data["cpuset"]["cpus"], json!([0]));
            assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
            let limit = read(&container, t, "memory", "memory.memsw.limit_in_bytes");
            assert_eq!(data["memory"]["swap"]["limit"], json!(limit.parse::<u64>().unwrap()));
            assert_eq!(data["memory"]["raw"]["hierarchical_memory_limit"], 64 << 20);
            let cpus = fs::read_to_string("/sys/fs/cgroup/cpuacct/cpuacct.usage_percpu").unwrap();
            let count = cpus.split_whitespace().count();
            for list in ["percpu", "percpu_kernel", "percpu_user"] {
                assert_eq!(data["cpu"]["usage"][list].as_array().unwrap().len(), count);
            }
        }
        container.end();
    }

    fn pressure_is_told_where_there_is_cgroup_v2(t) {
        t.only_orlop("runc 1.1 does not tell it");
        if t.view == View::V1 || !hierarchy("").is_some_and(|dir| dir.join("cpu.pressure").exists()) {
            t.skip("needs cgroup v2 and a kernel that keeps an account of pressure");
        }
        let container = t.start(&t.bundle(&["spin"], |_| {}));
        wait_until("some pressure", || {
            // At last there is one more than CPUs.
            container.exec(&["--detach"], &["spin"]).expect_ok();
            stats(&container)["cpu"]["psi"]["some"]["total"].as_u64().is_some_and(|total| total > 0)
        });
        let psi = &stats(&container)["cpu"]["psi"]["some"];
        let keys: Vec<&String> = psi.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["avg10", "avg300", "avg60", "total"]);
        container.end();
    }

    fn huge_pages_are_told_by_the_hierarchy_that_limits_them(t) {
        if t.view == View::V1 {
            t.only_orlop("runc takes a hybrid host for one with cgroup v1 alone");
        }
        let file = view::cgroups(&t.tag).into_iter().find(|dir| dir.join("hugetlb.2MB.max").exists());
        if file.is_none() {
            t.skip("the unified hierarchy has no hugetlb controller");
        }
        let container = t.sleeper(|config| {
            config["linux"]["resources"]["hugepageLimits"] = json!([{"pageSize": "2MB", "limit": 4_194_304}]);
        });
        assert_eq!(stats(&container)["hugetlb"]["2MB"], json!({"failcnt": 0}));
        container.end();
    }

    fn every_key_is_one_of_runcs(t) {
        t.only_orlop("it compares orlop with runc");
        let peer = runc(t);
        let bundle = t.bundle(&["spin"], |config| {
            limit(t, config);
            // Without its own, runc mounts cgroup2 anew and so takes the options of the host's away.
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
        });
        // On a hybrid host, runc does not tell of the unified hierarchy.
        let hybrid = t.view == View::V1 && hierarchy("hugetlb").is_none();
        let shared = |keys: BTreeSet<String>| -> BTreeSet<String> {
            keys.into_iter().filter(|key| !hybrid || !key.starts_with("/hugetlb")).collect()
        };
        let limited = t.view == View::V1;
        // Who runs first reads the disk, and the memory for that is its own.
        keys_of(&peer, &bundle, limited);
        let theirs = shared(keys_of(&peer, &bundle, limited));
        let ours = shared(keys_of(&t.runtime, &bundle, limited));
        let differ = compare::sets("key", &theirs, &ours);
        assert!(differ.is_empty(), "\n{differ}");
        if t.view == View::V1 {
            for key in ["/cpu/throttling/throttledPeriods", "/memory/kernelTCP/failcnt", "/cpu/usage/percpu_user/0"] {
                assert!(theirs.contains(key), "the comparison has lost {key}");
            }
        }
    }

    fn events_go_on_until_the_cgroup_goes(t) {
        follows(t);
        let container = t.sleeper(|_| {});
        let events = follow(t, &container, "10ms");
        wait_until("more events", || events.stdout().lines().count() > 3);
        let id = container.id.clone();
        container.end();
        let output = expect_end(events, &id);
        assert_eq!(output.stderr, "");
    }

    fn events_end_with_the_last_process_on_v2_and_with_the_cgroup_on_v1(t) {
        follows(t);
        let container = t.sleeper(|_| {});
        let events = follow(t, &container, "20ms");
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        if t.view == View::V1 {
            let count = events.stdout().lines().count();
            wait_until("events of the cgroup that is still there", || events.stdout().lines().count() > count + 1);
            container.delete().expect_ok();
        }
        expect_end(events, &container.id);
        if t.view == View::V2 {
            container.delete().expect_ok();
        }
    }

    fn a_paused_container_has_events_too(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        assert_eq!(stats(&container)["pids"]["current"], 1);
        if has_memory(t) || !t.runtime.is_reference {
            let events = follow(t, &container, "10ms");
            container.delete_force().expect_ok();
            expect_end(events, &container.id);
        }
    }

    fn a_process_that_takes_too_much_memory_is_told(t) {
        if !has_memory(t) {
            t.skip("the unified hierarchy of this host has no memory controller");
        }
        let container = t.sleeper(|config| {
            config["linux"]["resources"]["memory"] = json!({"limit": 32 << 20, "swap": 32 << 20});
        });
        let events = follow(t, &container, "20ms");
        assert_ne!(container.exec(&[], &["eat", "100"]).code(), 0);
        let oom = format!("{{\"type\":\"oom\",\"id\":\"{}\"}}\n", container.id);
        wait_until("an OOM event", || events.stdout().contains(&oom));
        assert_eq!(container.status(), "running");
        let id = container.id.clone();
        container.end();
        expect_end(events, &id);
    }

    fn a_container_that_does_not_run_has_no_events(t) {
        t.runtime.call(&["events", "--stats", &t.tag]).expect_error("container does not exist");
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        for flags in [&["events", "--stats"][..], &["events"]] {
            let words = format!("container with id {} is not running", container.id);
            let output = container.verb(flags);
            output.expect_error(&words);
            assert_eq!(output.stdout, "");
        }
        container.delete().expect_ok();
    }

    fn an_interval_is_a_duration_above_zero(t) {
        let container = t.sleeper(|_| {});
        for zero in ["0", "0ms", "-1s"] {
            let output = container.verb(&["events", "--interval", zero]);
            output.expect_error("duration interval must be greater than 0");
        }
        for none in ["abc", "5"] {
            let output = container.verb(&["events", "-interval", none]);
            output.expect_error(&format!("invalid value \"{none}\" for flag -interval: parse error"));
        }
        container.end();
    }

    fn events_that_nobody_reads_end(t) {
        t.only_orlop("runc ends by SIGPIPE, and only when there is something to write");
        let container = t.sleeper(|_| {});
        for (reader, interval) in [("head -n 1 >/dev/null", "10ms"), ("true", "1h")] {
            let inner = t.runtime.command(&["events", "--interval", interval, &container.id]);
            let mut command = std::process::Command::new("bash");
            command.args(["-c", &format!("\"$@\" | {reader}; exit ${{PIPESTATUS[0]}}"), "bash"]);
            command.arg(inner.get_program()).args(inner.get_args());
            let output = t.runtime.finish(command);
            assert_eq!(output.expect_ok().stderr, "", "{output}");
        }
        container.end();
    }

    fn an_interrupt_ends_events_between_two_lines(t) {
        follows(t);
        let container = t.sleeper(|_| {});
        for signal in [Signal::SIGINT, Signal::SIGTERM] {
            let events = follow(t, &container, "1ms");
            events.signal(signal);
            let output = events.wait();
            output.expect_code(128 + signal as i32);
            assert!(output.stdout.ends_with('\n'), "{output}");
        }
        container.end();
    }

    fn waiting_costs_nothing(t) {
        t.only_orlop("what it is about is how orlop waits");
        let container = t.sleeper(|_| {});
        let events = t.runtime.spawn(t.runtime.command(&["events", "--interval", "1h", &container.id]));
        let asleep = || {
            let stat = fs::read_to_string(format!("/proc/{}/wchan", events.pid())).unwrap();
            stat.contains("poll")
        };
        wait_until("a process that waits", asleep);
        let before = sleeps(events.pid());
        for _ in 0..3 {
            // What happens to others wakes it, and does not keep it awake.
            let other = view::cgroups(&t.tag)[0].join("other");
            fs::create_dir(&other).unwrap();
            fs::remove_dir(&other).unwrap();
            thread::sleep(Duration::from_millis(100));
            wait_until("a process that waits again", asleep);
        }
        let count = sleeps(events.pid()) - before;
        assert!(count < 20, "it has woken {count} times");
        let id = container.id.clone();
        container.end();
        assert_eq!(events.wait().expect_ok().stdout, "", "{id} had nothing to tell");
    }

    fn memory_does_not_grow_with_the_events(t) {
        t.only_orlop("what it is about is orlop's allocator");
        let container = t.sleeper(|config| limit(t, config));
        let events = follow(t, &container, "1ms");
        let events_after = |count: usize| {
            for count in (20..=count).step_by(20) {
                wait_until("many events", || events.stdout().lines().count() >= count);
            }
            resident_pages(events.pid())
        };
        let before = events_after(20);
        let after = events_after(200);
        assert!(after <= before + 64, "{before} pages after 20 events, {after} after 200");
        let id = container.id.clone();
        container.end();
        expect_end(events, &id);
    }
}

//! update: what must not change does not, what fails changes nothing, and what goes on in the
//! container meanwhile goes on. Each flag and each field is in `limits`.

mod limits;
mod unified;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cgroups::{read, v1_only};
use crate::support::bundle::push;
use crate::support::view::hierarchy;
use crate::support::{Container, Output, Test, View, both_views, isolate};

const MIB: u64 = 1 << 20;
const LIMIT: &str = "memory.limit_in_bytes";
const SOFT: &str = "memory.soft_limit_in_bytes";

/// A created container with these resources, beside its default ones.
fn created(t: &Test, resources: Value) -> Container<'_> {
    t.create(&t.bundle(&["sleep"], |config| add(config, resources)))
}

fn add(config: &mut Value, resources: Value) {
    for (key, value) in resources.as_object().unwrap() {
        config["linux"]["resources"][key] = value.clone();
    }
}

/// `update` with flags.
fn update(container: &Container, flags: &[&str]) -> Output {
    container.verb(&[&["update"], flags].concat())
}

/// `update --resources -`.
fn update_by(t: &Test, container: &Container, resources: &Value) -> Output {
    let file = t.dir.join("resources.json");
    fs::write(&file, resources.to_string()).unwrap();
    update(container, &["--resources", file.to_str().unwrap()])
}

/// What the state file says that the container has been given.
fn remembered(t: &Test, container: &Container) -> Value {
    let path = t.runtime.root.join(&container.id).join("state.json");
    let state: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    state["orlop"]["resources"].clone()
}

/// Whether a v1 controller, or v2, has this file here.
fn has(t: &Test, controller: &str, file: &str) -> bool {
    hierarchy(controller).is_some_and(|dir| dir.join(&t.tag).join(file).exists())
}

fn needs(t: &Test, controller: &str, file: &str) {
    if !has(t, controller, file) {
        t.skip(&format!("this kernel has no {file}"));
    }
}

#[track_caller]
fn check(container: &Container, t: &Test, expected: &[(&str, &str, &str)]) {
    for (controller, file, value) in expected {
        assert_eq!(read(container, t, controller, file), *value, "{file}");
    }
}

v1_only! {
    fn what_a_file_of_resources_leaves_out_stays(t) {
        let container = created(t, json!({
            "memory": {"limit": 64 * MIB, "reservation": 32 * MIB},
            "cpu": {"shares": 512, "quota": 40_000, "period": 50_000}, "pids": {"limit": 20}}));
        let asked = json!({"memory": {"limit": 80 * MIB}, "cpu": {"quota": 45_000}});
        update_by(t, &container, &asked).expect_ok();
        check(&container, t, &[
            ("memory", LIMIT, "83886080"), ("memory", SOFT, "33554432"), ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "45000"), ("cpu", "cpu.cfs_period_us", "50000"),
            ("pids", "pids.max", "20")]);
        container.delete_force().expect_ok();
    }

    fn a_limit_that_others_have_changed_stays_as_they_have_it(t) {
        t.only_orlop("runc writes all that it remembers");
        let container = created(t, json!({"memory": {"limit": 64 * MIB}, "cpu": {"shares": 512}}));
        let dir = hierarchy("memory").unwrap().join(&t.tag).join(&container.id);
        fs::write(dir.join(LIMIT), "33554432").unwrap();
        update(&container, &["--cpu-share", "600"]).expect_ok();
        check(&container, t, &[("memory", LIMIT, "33554432"), ("cpu", "cpu.shares", "600")]);
        container.delete_force().expect_ok();
    }

    fn an_update_that_fails_leaves_everything_as_it_was(t) {
        let container = created(t, json!({
            "memory": {"limit": 64 * MIB, "reservation": 32 * MIB}, "cpu": {"shares": 512}}));
        let state = t.runtime.root.join(&container.id).join("state.json");
        let before = fs::read_to_string(&state).unwrap();
        update(&container, &["--memory", "80m", "--memory-reservation=40m", "--cpu-share=700",
            "--cpu-quota=20000", "--cpuset-cpus", "4000"]).expect_code(1);
        check(&container, t, &[
            ("memory", LIMIT, "67108864"), ("cpu", "cpu.shares", "512")]);
        if !t.runtime.is_reference {
            // runc puts back only what it remembers.
            check(&container, t, &[("memory", SOFT, "33554432"), ("cpu", "cpu.cfs_quota_us", "-1")]);
            assert_eq!(fs::read_to_string(&state).unwrap(), before);
        }
        container.delete_force().expect_ok();
    }

    fn idleness_that_is_put_back_brings_the_share_with_it(t) {
        t.only_orlop("runc 1.1 has no such flag");
        needs(t, "cpu", "cpu.idle");
        let container = created(t, json!({"cpu": {"shares": 512}}));
        update(&container, &["--cpu-idle=1", "--cpuset-cpus=4000"]).expect_code(1);
        check(&container, t, &[("cpu", "cpu.idle", "0"), ("cpu", "cpu.shares", "512")]);
        container.delete_force().expect_ok();
    }

    fn what_has_taken_effect_is_remembered(t) {
        t.only_orlop("runc keeps it in a form of its own");
        let container = created(t, json!({"memory": {"limit": 64 * MIB}, "pids": {"limit": 5}}));
        update(&container, &["--memory=80m", "--cpu-share=512"]).expect_ok();
        let given = json!({"memory": {"limit": 80 * MIB}, "pids": {"limit": 5}, "cpu": {"shares": 512}});
        assert_eq!(remembered(t, &container), given);
        // Start writes the state anew.
        container.start().expect_ok();
        container.wait_for_output("ready");
        assert_eq!(remembered(t, &container), given);
        container.end();
    }

    fn with_a_file_the_other_flags_are_ignored(t) {
        let container = created(t, json!({"pids": {"limit": 20}}));
        let file = t.dir.join("r.json");
        fs::write(&file, json!({"pids": {"limit": 9}}).to_string()).unwrap();
        update(&container, &["-r", file.to_str().unwrap(), "--pids-limit=4", "--memory=nonsense"]).expect_ok();
        check(&container, t, &[("pids", "pids.max", "9")]);
        container.delete_force().expect_ok();
    }

    fn resources_come_by_standard_input(t) {
        let container = created(t, json!({}));
        for flag in ["--resources=-", "-r=-"] {
            let mut command = t.runtime.command(&["update", flag, &container.id]);
            let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
            let text = json!({"pids": {"limit": 9}, "cpu": {"shares": 300}}).to_string();
            std::io::Write::write_all(child.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success());
            check(&container, t, &[("pids", "pids.max", "9"), ("cpu", "cpu.shares", "300")]);
        }
        container.delete_force().expect_ok();
    }

    fn what_docker_sends_changes_what_was_asked_for(t) {
        let container = created(t, json!({"memory": {"limit": 64 * MIB, "swap": 128 * MIB}, "cpu": {"shares": 512}}));
        let zeros = json!({
            "memory": {"limit": 80 * MIB, "reservation": 0, "kernel": 0},
            "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""},
            "blockIO": {"weight": 0}});
        update_by(t, &container, &zeros).expect_ok();
        check(&container, t, &[("memory", LIMIT, "83886080"), ("cpu", "cpu.shares", "512")]);
        container.delete_force().expect_ok();
    }

    fn kernel_memory_is_accepted_and_warned_of(t) {
        let container = created(t, json!({}));
        let output = update(&container, &["--kernel-memory=50m", "--kernel-memory-tcp=-1", "--pids-limit=5"]);
        output.expect_ok().expect_words("Kernel memory settings are ignored and will be removed");
        check(&container, t, &[("pids", "pids.max", "5")]);
        container.delete_force().expect_ok();
    }

    fn files_of_v2_are_refused_on_v1(t) {
        let container = created(t, json!({}));
        update_by(t, &container, &json!({"unified": {"memory.high": "5"}})).expect_code(1);
        container.delete_force().expect_ok();
    }

    fn limits_change_while_a_process_allocates_and_forks(t) {
        t.only_orlop("a thousand calls of a slow runtime");
        let bundle = t.bundle(&["churn", "8"], |config| {
            add(config, json!({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}, "pids": {"limit": 50}}));
        });
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        let mut known = 64 * MIB;
        let mut busy = 0;
        for round in rounds() {
            let too_low = round % 4 == 3;
            let bytes = if too_low { 4 * MIB } else { (48 + round % 16) * MIB };
            let pids = 40 + round % 10;
            let flags = [format!("--memory={bytes}"), format!("--pids-limit={pids}"), format!("--cpu-share={}", 500 + pids)];
            let output = update(&container, &[&flags[0], &flags[1], &flags[2]]);
            if too_low {
                output.expect_error("unable to set memory limit to 4194304 (current usage: ");
                busy += 1;
            } else {
                output.expect_ok();
                known = bytes;
                check(&container, t, &[("pids", "pids.max", &pids.to_string())]);
            }
            check(&container, t, &[("memory", LIMIT, &known.to_string())]);
        }
        assert!(busy > 0);
        end_of_work(&bundle.rootfs("/tmp/enough"), &container);
    }
}

/// Tell the probe that it is enough, and see that it had nothing to complain of.
fn end_of_work(enough: &std::path::Path, container: &Container) {
    fs::write(enough, "").unwrap();
    container.wait_for_status("stopped");
    let output = container.output();
    assert!(output.ends_with(" rounds\n"), "{output}");
    container.delete_force().expect_ok();
}

/// A thousand, or on an emulated machine as many as there is time for.
fn rounds() -> impl Iterator<Item = u64> {
    let end = Instant::now() + Duration::from_secs(45);
    (0..1000).take_while(move |round| *round < 10 || Instant::now() < end)
}

/// A limit that can be changed in this view.
fn harmless(t: &Test, round: u64) -> Value {
    match t.view {
        View::V1 => json!({"pids": {"limit": 100 + round}, "cpu": {"shares": 200 + round}}),
        View::V2 => json!({"hugepageLimits": [{"pageSize": "2MB", "limit": round << 21}]}),
    }
}

both_views! {
    fn devices_have_no_gap(t) {
        t.only_orlop("a thousand calls of a slow runtime");
        if t.view == View::V2 {
            needs(t, "", "hugetlb.2MB.max");
        }
        // /dev/kmsg can be opened for writing without any capability, but for the device rules.
        let bundle = t.bundle(&["doors", "/dev/null", "/dev/shut"], |config| {
            push(config, "/linux/devices", json!({"path": "/dev/shut", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}));
        });
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        let allow_all = json!([{"allow": true, "access": "rwm"}]);
        for round in rounds() {
            let mut resources = harmless(t, round % 7);
            // As containerd has it, which sends all that the config has.
            resources["devices"] = allow_all.clone();
            update_by(t, &container, &resources).expect_ok();
        }
        end_of_work(&bundle.rootfs("/tmp/enough"), &container);
    }

    fn huge_pages_are_limited_where_the_kernel_can(t) {
        t.only_orlop("runc does not update them");
        let container = created(t, json!({}));
        let limits = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]});
        let output = update_by(t, &container, &limits);
        let Some(root) = hierarchy("unified").or_else(|| hierarchy("")) else { t.skip("no unified hierarchy") };
        let controllers = fs::read_to_string(root.join("cgroup.controllers")).unwrap();
        if !controllers.contains("hugetlb") {
            t.skip("no hugetlb controller in the unified hierarchy");
        }
        output.expect_ok();
        let dir = root.join(&t.tag).join(&container.id);
        assert_eq!(fs::read_to_string(dir.join("hugetlb.2MB.max")).unwrap(), "4194304\n");
        assert_eq!(fs::read_to_string(dir.join("hugetlb.2MB.rsvd.max")).unwrap(), "4194304\n");
        container.delete_force().expect_ok();
    }

    fn a_paused_container_is_updated_and_stays_paused(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        update_by(t, &container, &harmless(t, 3)).expect_ok();
        if t.view == View::V1 {
            check(&container, t, &[("pids", "pids.max", "103"), ("cpu", "cpu.shares", "203")]);
        }
        assert_eq!(container.status(), "paused");
        container.verb(&["resume"]).expect_ok();
        container.end();
    }

    fn a_stopped_container_is_not_updated(t) {
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        update_by(t, &container, &harmless(t, 3)).expect_error("container not running");
        container.delete().expect_ok();
    }

    fn a_container_that_does_not_exist_is_not_updated(t) {
        t.runtime.call(&["update", "--pids-limit=5", &t.tag]).expect_error("container does not exist");
        t.runtime.call(&["update", "--pids-limit=5"]).expect_error("requires exactly 1 argument");
    }

    fn hooks_may_update_their_container(t) {
        let out = t.dir.join("out");
        let hook = |name: &str, id: &str, flags: &str| {
            let (program, root) = (t.runtime.program().display(), t.runtime.root.display());
            let line = format!("{program} --root {root} update {flags} {id} >{}.{name} 2>&1 || true", out.display());
            json!([{"path": "/bin/sh", "args": ["sh", "-c", line], "env": ["PATH=/bin:/usr/bin"], "timeout": 10}])
        };
        let mut bundle = t.bundle(&["sleep"], |_| {});
        let id = bundle.id.clone();
        let flags = if t.view == View::V1 { "--pids-limit=7" } else { "" };
        bundle.edit(|config| {
            config["hooks"] = json!({
                "createRuntime": hook("create", &id, flags), "poststart": hook("start", &id, flags)});
        });
        let container = t.start(&bundle);
        let said = |name: &str| fs::read_to_string(format!("{}.{name}", out.display())).unwrap();
        // The container is not there yet.
        assert!(said("create").contains("container "), "{}", said("create"));
        assert_eq!(said("start"), "");
        if t.view == View::V1 {
            check(&container, t, &[("pids", "pids.max", "7")]);
        }
        container.end();
    }

    fn without_anything_to_change_nothing_changes(t) {
        let container = t.sleeper(|_| {});
        update(&container, &[]).expect_ok();
        update_by(t, &container, &json!({})).expect_ok();
        assert_eq!(container.status(), "running");
        container.end();
    }

    fn what_is_wrong_is_told_with_its_place(t) {
        t.only_orlop("runc names no place");
        let container = t.sleeper(|_| {});
        let missing = t.dir.join("missing.json");
        update(&container, &["-r", missing.to_str().unwrap()]).expect_error("no such file or directory");
        let file = t.dir.join("resources.json");
        let place = |pointer: &str| format!("({}: {pointer})", file.display());
        for (resources, pointer) in [
            (json!({"memory": {"limit": "5"}}), "/memory/limit"),
            (json!({"memory": {"limit": -5}}), "/memory/limit"),
            (json!({"cpu": {"idle": 2}}), "/cpu/idle"),
            (json!({"network": {"priorities": [{"name": "", "priority": 1}]}}), "/network/priorities/0/name"),
        ] {
            // A controller that is not here is named by its field alone.
            let output = update_by(t, &container, &resources);
            output.expect_code(1);
            let field = pointer.trim_end_matches("/name");
            assert!(output.stderr.contains(&place(pointer)) || output.stderr.contains(&place(field)), "{output}");
        }
        for (flag, word) in [("--memory", "5x"), ("--cpu-quota", "much"), ("--cpu-burst", "-1")] {
            update(&container, &[flag, word]).expect_error(&format!("invalid value for {}", &flag[2..]));
        }
        update(&container, &["--pids-limit", "many"]).expect_error("Incorrect Usage: ").expect_words("pids-limit");
        update(&container, &["--blkio-weight", "70000"]).expect_error("blkio-weight");
        container.end();
    }

    fn schemas_need_the_hardware_and_a_group(t) {
        t.only_orlop("runc 1.1 has other words");
        if std::path::Path::new("/sys/fs/resctrl/info").exists() {
            t.skip("this machine has resctrl");
        }
        let container = t.sleeper(|_| {});
        for (flag, value, words) in [
            ("--l3-cache-schema", "L3:0=f", "Intel RDT/CAT: l3 cache schema is not enabled (--l3-cache-schema)"),
            ("--mem-bw-schema", "MB:0=20", "Intel RDT/MBA: memory bandwidth schema is not enabled (--mem-bw-schema)"),
            ("--mem-bw-schema", "0=20", "memBwSchema must start with MB: (--mem-bw-schema)"),
        ] {
            update(&container, &[flag, value]).expect_error(words);
        }
        container.end();
    }
}

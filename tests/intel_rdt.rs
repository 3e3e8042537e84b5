//! Groups of resctrl, where the hardware has none: in the mount namespace of each call a
//! directory of the same shape lies at /sys/fs/resctrl, and strace answers the one question that
//! it cannot answer itself, of which type it is. On cgroup v1 that directory is a cgroup, in
//! which the kernel makes a `tasks` file for each new group, as resctrl does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push, set_namespaces};
use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Container, Output, Test, View, both_views, view, wait_until};

/// $1 comes to lie at /sys/fs/resctrl, by way of the directory $2.
const MOUNT: &str = r#"set -e
mount --rbind /sys/fs/cgroup "$2/aside"
mount --bind "$2/fs" /sys/fs
mount --rbind "$2/aside" /sys/fs/cgroup
mount --bind "$1" /sys/fs/resctrl
shift 2; exec "$@""#;

/// RDTGROUP_SUPER_MAGIC, the first field of what statfs gives, as it lies in memory.
const FAKE: &str = "inject=statfs:retval=0:poke_exit=@arg2=2158650700000000";

struct Resctrl<'t> {
    test: &'t Test,
    /// What the calls see at /sys/fs/resctrl.
    root: PathBuf,
    scratch: PathBuf,
}

impl<'t> Resctrl<'t> {
    fn new(test: &'t Test, root: PathBuf) -> Self {
        test.only_orlop("runc looks for resctrl in the mount table, where it cannot be feigned");
        let scratch = test.dir.join("sys");
        for dir in ["fs/cgroup", "fs/resctrl", "aside"] {
            fs::create_dir_all(scratch.join(dir)).unwrap();
        }
        for dir in ["info/L3", "info/MB", "info/L3_MON"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let resctrl = Self {
            test,
            root,
            scratch,
        };
        let strace = Command::new("strace").arg("-V").output();
        let feigns = strace.is_ok()
            && resctrl
                .command(&["stat", "-f", "-c", "%t", "/sys/fs/resctrl"])
                .output()
                .is_ok_and(|output| output.stdout == b"7655821\n");
        if !feigns {
            test.skip("needs an strace that can write into what a call gives (5.11)");
        }
        resctrl
    }

    /// Of plain files. What the kernel makes in a new group is not made.
    fn of_files(test: &'t Test) -> Self {
        let resctrl = Self::new(test, test.dir.join("resctrl"));
        fs::create_dir_all(resctrl.root.join("gold/mon_groups")).unwrap();
        resctrl.write("gold/tasks", "");
        resctrl.write("gold/schemata", "    L3:0=fffff;1=fffff\n    MB:0=100\n");
        resctrl
    }

    /// Of cgroups.
    fn of_cgroups(test: &'t Test) -> Self {
        if test.view == View::V2 {
            test.skip("only cgroup v1 has tasks files");
        }
        let Some(freezer) = view::hierarchy("freezer") else {
            test.skip("needs the freezer of cgroup v1");
        };
        let resctrl = Self::new(test, freezer.join(&test.tag).join("resctrl"));
        fs::create_dir_all(resctrl.root.join("gold/mon_groups")).unwrap();
        resctrl
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", MOUNT, "sh"])
            .args([&self.root, &self.scratch])
            .args(["strace", "-o", "/dev/null", "-P", "/sys/fs/resctrl"])
            .args(["-e", "trace=statfs", "-e", FAKE])
            .args(words);
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        let runtime = self.test.runtime.command(args);
        let mut command = self.command(&[]);
        command.arg(runtime.get_program()).args(runtime.get_args());
        self.test.runtime.finish(command)
    }

    fn try_create(&self, bundle: &Bundle) -> Output {
        self.call(&["create", "--bundle", bundle.path(), &bundle.id])
    }

    fn create(&self, rdt: Value) -> Container<'t> {
        self.create_with(rdt, |_| {})
    }

    fn create_with(&self, rdt: Value, edit: impl FnOnce(&mut Value)) -> Container<'t> {
        let bundle = self.test.bundle(&["sleep"], |config| {
            config["linux"]["intelRdt"] = rdt;
            edit(config);
        });
        let created = self.try_create(&bundle);
        created.expect_ok();
        Container::adopt(self.test, &bundle.id, created)
    }

    /// Kill and delete, where its group can be seen.
    fn end(&self, container: &Container) {
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        self.call(&["delete", &container.id]).expect_ok();
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside)
    }

    fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap()
    }

    fn write(&self, inside: &str, text: &str) {
        fs::write(self.path(inside), text).unwrap();
    }
}

/// Remove a directory of cgroups, once nothing is in it any more.
fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    wait_until("an empty cgroup", || fs::remove_dir(dir).is_ok());
}

/// The group of a process, from the freezer's line of its list of cgroups.
fn group_in(list: &str) -> &str {
    let line = list
        .lines()
        .find(|line| line.contains(":freezer:"))
        .unwrap();
    line.split_once("/resctrl/").map_or("", |(_, group)| group)
}

fn state(t: &Test, id: &str) -> Value {
    let path = t.runtime.root.join(id).join("state.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

both_views! {
    fn init_and_exec_enter_a_group_that_has_a_name(t) {
        let resctrl = Resctrl::of_files(t);
        let container = resctrl.create(json!({
            "closID": "gold", "schemata": ["MB:0=50"], "memBwSchema": "MB:0=100", "l3CacheSchema": "L3:1=0fffff"
        }));
        assert_eq!(resctrl.read("gold/tasks"), "0");
        let lines = resctrl.read("gold/schemata");
        assert!(lines.starts_with("L3:1=0fffff\nMB:0=100\nMB:0=50\n"), "{lines}");
        assert_eq!(state(t, &container.id)["intel_rdt_path"], "/sys/fs/resctrl/gold");
        container.start().expect_ok();
        resctrl.write("gold/tasks", "");
        resctrl.call(&["exec", &container.id, "/probe", "exit", "7"]).expect_code(7);
        assert_eq!(resctrl.read("gold/tasks"), "0");
        resctrl.end(&container);
        assert!(resctrl.path("gold").exists());
    }

    fn an_update_changes_the_schemata(t) {
        let resctrl = Resctrl::of_files(t);
        let container = resctrl.create(json!({"closID": "gold"}));
        let update = |flags: &[&str]| resctrl.call(&[&["update"], flags, &[&container.id]].concat());
        // A file keeps the rest of what was longer; resctrl would not.
        update(&["--mem-bw-schema", "MB:0=20"]).expect_ok();
        assert!(resctrl.read("gold/schemata").starts_with("MB:0=20\n"));
        // With a file of resources too.
        let file = t.dir.join("resources.json");
        fs::write(&file, "{}").unwrap();
        update(&["--resources", file.to_str().unwrap(), "--l3-cache-schema=L3:0=f;1=f", "--mem-bw-schema=MB:0=30"]).expect_ok();
        assert!(resctrl.read("gold/schemata").starts_with("L3:0=f;1=f\nMB:0=30\n"));
        resctrl.end(&container);
    }

    fn events_tell_what_the_group_has(t) {
        let resctrl = Resctrl::of_files(t);
        resctrl.write("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100\n");
        for (name, value) in [
            ("L3/cbm_mask", "fffff"), ("L3/min_cbm_bits", "1"), ("L3/num_closids", "16"),
            ("MB/bandwidth_gran", "10"), ("MB/delay_linear", "1"), ("MB/min_bandwidth", "10"), ("MB/num_closids", "8"),
            ("L3_MON/mon_features", "llc_occupancy"),
        ] {
            resctrl.write(&format!("info/{name}"), &format!("{value}\n"));
        }
        fs::create_dir_all(resctrl.path("gold/mon_data/mon_L3_00")).unwrap();
        resctrl.write("gold/mon_data/mon_L3_00/llc_occupancy", "4096\n");
        let container = resctrl.create(json!({"closID": "gold"}));
        let output = resctrl.call(&["events", "--stats", &container.id]);
        let event: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        let rdt = &event["data"]["intel_rdt"];
        assert_eq!(rdt["l3_cache_info"], json!({"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 16}));
        assert_eq!(rdt["l3_cache_schema"], "L3:0=fffff;1=fffff");
        assert_eq!(rdt["mem_bw_schema_root"], "MB:0=100");
        assert_eq!(rdt["cmt_stats"], json!([{"llc_occupancy": 4096}]));
        assert_eq!(rdt["mbm_stats"], Value::Null);
        resctrl.end(&container);
    }

    fn an_update_makes_no_group(t) {
        let resctrl = Resctrl::of_files(t);
        let container = t.sleeper(|_| {});
        let words = "updating a non-existent Intel RDT configuration is not supported";
        resctrl.call(&["update", "--mem-bw-schema=MB:0=20", &container.id]).expect_error(words);
        container.end();
    }

    fn schemata_that_are_refused_leave_the_limits_as_they_were(t) {
        let resctrl = Resctrl::of_files(t);
        let pids = |pids: u64| json!({"pids": {"limit": pids}});
        let container = resctrl.create_with(json!({"closID": "gold"}), |config| {
            if t.view == View::V1 {
                config["linux"]["resources"]["pids"] = pids(20)["pids"].clone();
            }
        });
        let before = state(t, &container.id);
        fs::remove_file(resctrl.path("gold/schemata")).unwrap();
        // It can be read, and not be written.
        std::os::unix::fs::symlink("/proc/version", resctrl.path("gold/schemata")).unwrap();
        let file = t.dir.join("resources.json");
        let asked = if t.view == View::V1 { pids(10) } else { json!({}) };
        fs::write(&file, asked.to_string()).unwrap();
        let flags = ["update", "-r", file.to_str().unwrap(), "--mem-bw-schema=MB:0=20", &container.id];
        resctrl.call(&flags).expect_error("gold/schemata");
        if t.view == View::V1 {
            let dir = view::hierarchy("pids").unwrap().join(&t.tag).join(&container.id);
            assert_eq!(fs::read_to_string(dir.join("pids.max")).unwrap(), "20\n");
        }
        assert_eq!(state(t, &container.id), before);
        resctrl.end(&container);
    }

    fn without_a_name_the_group_comes_and_goes_with_the_container(t) {
        let resctrl = Resctrl::of_cgroups(t);
        let container = resctrl.create(json!({}));
        let id = container.id.as_str();
        let list = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert_eq!(group_in(&list), id);
        container.start().expect_ok();
        let report = resctrl.call(&["exec", id, "/probe", "read", "/proc/self/cgroup"]);
        assert_eq!(group_in(&report.expect_ok().stdout), id);
        resctrl.end(&container);
        assert!(!resctrl.path(id).exists());
        remove(&resctrl.root);
    }

    fn a_user_namespace_does_not_keep_init_out(t) {
        let resctrl = Resctrl::of_cgroups(t);
        let container = resctrl.create_with(json!({}), |config| add_user_namespace(config, 200_000));
        let list = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert_eq!(group_in(&list), container.id);
        resctrl.end(&container);
        remove(&resctrl.root);
    }

    fn a_joined_pid_namespace_does_not_keep_init_out(t) {
        let resctrl = Resctrl::of_files(t);
        let other = t.sleeper(|_| {});
        let container = resctrl.create_with(json!({"closID": "gold"}), |config| {
            set_namespaces(config, &["mount", "ipc", "uts", "network"]);
            let path = format!("/proc/{}/ns/pid", other.pid());
            push(config, "/linux/namespaces", json!({"type": "pid", "path": path}));
        });
        assert_eq!(resctrl.read("gold/tasks"), "0");
        resctrl.end(&container);
        other.end();
    }

    fn a_monitoring_group_comes_and_goes_with_the_container(t) {
        let resctrl = Resctrl::of_cgroups(t);
        let container = resctrl.create(json!({"closID": "gold", "enableMonitoring": true}));
        let group = format!("gold/mon_groups/{}", container.id);
        let list = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        assert_eq!(group_in(&list), group);
        let path = format!("/sys/fs/resctrl/{group}");
        assert_eq!(state(t, &container.id)["intel_rdt_mon_path"], path);
        container.start().expect_ok();
        let report = resctrl.call(&["exec", &container.id, "/probe", "read", "/proc/self/cgroup"]);
        assert_eq!(group_in(&report.expect_ok().stdout), group);
        resctrl.end(&container);
        assert!(!resctrl.path(&group).exists());
        assert!(resctrl.path("gold").exists());
        remove(&resctrl.root);
    }

    fn what_a_failed_create_has_made_is_removed(t) {
        let resctrl = Resctrl::of_files(t);
        // A new directory of plain files has no tasks in it.
        for (rdt, made) in [
            (json!({}), None),
            (json!({"closID": "gold", "enableMonitoring": true}), Some("gold/mon_groups")),
        ] {
            let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["intelRdt"] = rdt);
            let made = resctrl.path(made.unwrap_or("")).join(&bundle.id);
            let before = Snapshot::take(t);
            let output = resctrl.try_create(&bundle);
            let file = format!("{}/tasks", bundle.id);
            output.expect_code(1).expect_words(&file).expect_words("/linux/intelRdt");
            before.assert_unchanged(t, "after a failed create");
            assert!(!made.exists());
        }
    }

    fn a_group_that_is_there_keeps_its_shares(t) {
        let resctrl = Resctrl::of_files(t);
        let before = resctrl.read("gold/schemata");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["intelRdt"] = json!({"closID": "gold", "l3CacheSchema": "L3:0=ff"});
        });
        resctrl.try_create(&bundle)
            .expect_error("the group is there, with another schemata")
            .expect_words("/linux/intelRdt/l3CacheSchema");
        assert_eq!(resctrl.read("gold/schemata"), before);
    }

    fn what_the_hardware_lacks_is_refused(t) {
        let resctrl = Resctrl::of_files(t);
        fs::remove_dir(resctrl.path("info/L3")).unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["intelRdt"] = json!({"closID": "silver", "l3CacheSchema": "L3:0=ff"});
        });
        resctrl.try_create(&bundle)
            .expect_error("Intel RDT/CAT is not enabled")
            .expect_words("/linux/intelRdt/l3CacheSchema");
        assert!(!resctrl.path("silver").exists());
    }

    fn a_group_that_is_not_there_must_be_described(t) {
        let resctrl = Resctrl::of_files(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["intelRdt"] = json!({"closID": "silver"});
        });
        resctrl.try_create(&bundle)
            .expect_error("must be pre-created")
            .expect_words("/linux/intelRdt/closID");
        assert!(!resctrl.path("silver").exists());
    }

    fn a_host_without_resctrl_is_told(t) {
        t.only_orlop("its message names no field");
        if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
            t.skip("this host has resctrl");
        }
        let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["intelRdt"] = json!({}));
        t.try_create(&bundle)
            .expect_error("intelRdt is specified in config, but Intel RDT is not enabled")
            .expect_words("/linux/intelRdt")
            .expect_words("mount -t resctrl");
    }
}

//! Containers of a user without privileges: in a user namespace of its own, without cgroups.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::bundle::push;
use crate::support::probe::{self, Probe};
use crate::support::runtime::Output;
use crate::support::{Test, View, both_views, wait_until};

/// A user and group that owns nothing on the host.
const USER: u32 = 61_234;

/// A bundle, a root directory and a copy of the runtime that belong to the user.
struct Home<'a> {
    test: &'a Test,
    dir: PathBuf,
    id: String,
}

impl<'a> Home<'a> {
    /// The bundle is what `spec --rootless` makes, with the probe for its program.
    fn new(test: &'a Test, args: &[&str], edit: impl FnOnce(&mut Value)) -> Self {
        let dir = test.dir.join("home");
        let rootfs = dir.join("bundle/rootfs");
        for below in ["dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(below)).unwrap();
        }
        fs::create_dir(dir.join("state")).unwrap();
        fs::copy(probe::path(), rootfs.join("probe")).unwrap();
        fs::copy(test.runtime.program(), dir.join("runtime")).unwrap();
        for path in walk(&dir) {
            chown(path, Some(USER), Some(USER)).unwrap();
        }
        fs::set_permissions(&test.dir, fs::Permissions::from_mode(0o755)).unwrap();
        let home = Self {
            test,
            dir,
            id: format!("{}-rootless", test.tag),
        };
        let bundle = home.dir.join("bundle");
        home.call(&["spec", "--rootless", "--bundle", bundle.to_str().unwrap()])
            .expect_ok();
        let path = bundle.join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let args: Vec<_> = ["/probe"].iter().chain(args).collect();
        config["process"]["args"] = json!(args);
        config["process"]["terminal"] = json!(false);
        edit(&mut config);
        fs::write(path, config.to_string()).unwrap();
        home
    }

    /// Call the runtime as the user.
    fn call(&self, args: &[&str]) -> Output {
        self.call_through(&[], args)
    }

    /// The same by way of a program, such as unshare(1), that executes its arguments.
    fn call_through(&self, way: &[&str], args: &[&str]) -> Output {
        let runtime = self.dir.join("runtime");
        let mut words: Vec<&OsStr> = way.iter().map(OsStr::new).collect();
        words.push(runtime.as_os_str());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("XDG_RUNTIME_DIR", &self.dir);
        command.arg("--root").arg(self.dir.join("state")).args(args);
        command.uid(USER).gid(USER).current_dir(&self.dir);
        self.test.runtime.finish(command)
    }

    fn run(&self, flags: &[&str]) -> Output {
        self.run_through(&[], flags)
    }

    fn run_through(&self, way: &[&str], flags: &[&str]) -> Output {
        let bundle = self.dir.join("bundle");
        let mut args = vec!["run", "--bundle", bundle.to_str().unwrap()];
        args.extend(flags);
        args.push(&self.id);
        self.call_through(way, &args)
    }
}

fn walk(dir: &std::path::Path) -> Vec<PathBuf> {
    let mut found = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}

both_views! {
    fn a_user_runs_the_rootless_bundle(t) {
        let home = Home::new(t, &["report"], |_| {});
        let report = Probe::parse(&home.run(&[]));
        assert_eq!(report["uid_map"], json!([format!("0 {USER} 1")]));
        assert_eq!(report["uid"], json!([0, 0, 0, 0]));
        assert_eq!(report["pid"], json!(1));
        assert_eq!(report.mount("/proc")["fstype"], "proc");
        assert!(report.find_mount("/dev/pts").is_some());
        assert_eq!(fs::read_dir(home.dir.join("state")).unwrap().count(), 0);
    }

    fn a_user_lives_through_the_life_cycle(t) {
        let home = Home::new(t, &["sleep"], |_| {});
        home.run(&["--detach"]).expect_ok();
        let state = |word: &str| home.call(&["state", &home.id]).stdout.contains(word);
        assert!(state("\"running\""));
        let report = Probe::parse(&home.call(&["exec", &home.id, "/probe", "report"]));
        assert_eq!(report["uid_map"], json!([format!("0 {USER} 1")]));
        home.call(&["exec", &home.id, "/probe", "exit", "7"]).expect_code(7);
        home.call(&["kill", &home.id, "KILL"]).expect_ok();
        wait_until("the container has stopped", || state("\"stopped\""));
        home.call(&["delete", &home.id]).expect_ok();
        home.call(&["state", &home.id]).expect_error("container does not exist");
    }

    fn a_limit_without_permission_is_refused(t) {
        if matches!(t.view, View::V2) {
            t.only_orlop("this v2 has no pids controller, and it names a file that is not there");
        }
        let home = Home::new(t, &["report"], |config| {
            config["linux"]["resources"] = json!({"pids": {"limit": 10}});
        });
        let output = home.run(&[]);
        output.expect_code(1);
        assert!(
            output.stderr.contains("rootless needs no limits + no cgrouppath")
                || output.stderr.contains("cannot set pids limit"),
            "{}", output.stderr
        );
    }

    fn an_update_without_permission_is_refused(t) {
        let home = Home::new(t, &["sleep"], |_| {});
        home.run(&["--detach"]).expect_ok();
        home.call(&["update", &home.id]).expect_ok();
        let (limit, words) = match t.view {
            View::V1 => ("--pids-limit=10", "cannot set pids limit: container could not join or create cgroup"),
            // A controller that this v2 may not have.
            View::V2 => ("--pids-limit=10", ""),
        };
        let output = home.call(&["update", limit, &home.id]);
        output.expect_error(words);
        home.call(&["delete", "--force", &home.id]).expect_ok();
    }

    fn the_root_of_a_user_namespace_runs_containers_with_and_without_one_more(t) {
        t.only_orlop("runc 1.1 wants the caller's mount namespace to be of the same owner");
        for own in [true, false] {
            let home = Home::new(t, &["report"], |config| {
                if own {
                    // Of the ids that there are, which are those of the outer namespace.
                    config["linux"]["uidMappings"][0]["hostID"] = json!(0);
                    config["linux"]["gidMappings"][0]["hostID"] = json!(0);
                } else {
                    let linux = config["linux"].as_object_mut().unwrap();
                    linux.remove("uidMappings");
                    linux.remove("gidMappings");
                    let list = linux["namespaces"].as_array_mut().unwrap();
                    list.retain(|namespace| namespace["type"] != "user");
                }
            });
            let output = home.run_through(&["unshare", "--user", "--map-root-user"], &[]);
            let report = Probe::parse(&output);
            assert_eq!(report["uid"], json!([0, 0, 0, 0]));
            let first = if own { 0 } else { USER };
            assert_eq!(report["uid_map"], json!([format!("0 {first} 1")]));
            assert_eq!(report["dev"]["/dev/null"]["device"], "1:3");
            assert_eq!(report.mount("/dev/null")["fstype"], "devtmpfs", "bound, as mknod is refused");
            fs::remove_dir_all(&home.dir).unwrap();
        }
    }

    fn the_oom_score_of_a_user_is_that_of_the_config(t) {
        let home = Home::new(t, &["sleep"], |config| config["process"]["oomScoreAdj"] = json!(321));
        home.run(&["--detach"]).expect_ok();
        let report = Probe::parse(&home.call(&["exec", &home.id, "/probe", "report"]));
        assert_eq!(report["oom_score_adj"], "321");
        home.call(&["delete", "--force", &home.id]).expect_ok();
    }

    fn what_a_bound_device_cannot_have_is_warned_of(t) {
        t.only_orlop("runc says nothing of it");
        let home = Home::new(t, &["report"], |config| {
            push(config, "/linux/devices", json!({"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11,
                "fileMode": 0o777, "uid": 0}));
        });
        let output = home.run(&[]);
        assert_eq!(Probe::parse(&output)["dev"]["/dev/kmsg"]["device"], "1:11");
        for name in ["fileMode", "uid"] {
            output.expect_words(&format!("/linux/devices/0/{name}"));
        }
        assert!(!output.stderr.contains("/linux/devices/0/gid"), "{output}");
    }

    fn a_time_namespace_of_a_user_has_its_offsets(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        let home = Home::new(t, &["report"], |config| {
            push(config, "/linux/namespaces", json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 70000}});
        });
        let report = Probe::parse(&home.run(&[]));
        let offsets = report["timens_offsets"].as_str().unwrap();
        assert!(offsets.contains("70000"), "{offsets}");
    }

    fn groups_that_a_user_may_not_set_are_refused_by_name(t) {
        t.only_orlop("runc 1.1 says: cannot set any additional groups in a rootless container");
        let home = Home::new(t, &["report"], |config| config["process"]["user"]["additionalGids"] = json!([0]));
        home.run(&[]).expect_error("/process/user/additionalGids").expect_words("no setgroups");
    }

    fn an_id_mapped_mount_is_refused(t) {
        t.only_orlop("runc 1.1 knows no id-mapped mounts");
        let home = Home::new(t, &["report"], |config| {
            let entry = json!({"destination": "/tmp", "source": "/tmp", "options": ["bind", "idmap"]});
            config["mounts"].as_array_mut().unwrap().push(entry);
        });
        home.run(&[]).expect_error("id-mapped mounts are not supported for rootless containers");
    }
}

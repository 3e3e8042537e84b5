//! User namespaces: id maps, and that everything else works inside one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use crate::support::both_views;
use crate::support::bundle::{add_mount, add_user_namespace, push};

/// The host's id of 0 inside.
const FIRST: u32 = 200_000;

fn mapped(config: &mut Value) {
    add_user_namespace(config, FIRST);
}

both_views! {
    fn the_maps_are_those_of_the_config(t) {
        let report = t.report_with(|config| {
            push(config, "/linux/namespaces", json!({"type": "user"}));
            config["linux"]["uidMappings"] = json!([
                {"containerID": 0, "hostID": 200_000, "size": 1000},
                {"containerID": 5000, "hostID": 300_000, "size": 10}]);
            config["linux"]["gidMappings"] = json!([{"containerID": 0, "hostID": 400_000, "size": 2000}]);
        });
        assert_eq!(report["uid_map"], json!(["0 200000 1000", "5000 300000 10"]));
        assert_eq!(report["gid_map"], json!(["0 400000 2000"]));
        assert_eq!(report["uid"], json!([0, 0, 0, 0]));
        assert_eq!(report["gid"], json!([0, 0, 0, 0]));
    }

    fn the_host_sees_the_mapped_ids(t) {
        let container = t.sleeper(|config| {
            mapped(config);
            config["process"]["user"] = json!({"uid": 7, "gid": 8, "additionalGids": [9]});
        });
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(field("Uid:"), vec!["200007"; 4]);
        assert_eq!(field("Gid:"), vec!["200008"; 4]);
        assert!(field("Groups:").contains(&"200009".to_owned()), "{status}");
        container.end();
    }

    fn the_mounts_of_the_default_bundle_work_inside(t) {
        let report = t.report_with(mapped);
        for (target, fstype) in [
            ("/proc", "proc"), ("/dev", "tmpfs"), ("/dev/pts", "devpts"), ("/dev/shm", "tmpfs"),
            ("/dev/mqueue", "mqueue"), ("/sys", "sysfs"),
        ] {
            assert_eq!(report.mount(target)["fstype"], fstype, "at {target}");
        }
        assert!(report.find_mount("/sys/fs/cgroup").is_some());
    }

    fn the_default_devices_work_inside(t) {
        let report = t.report_with(mapped);
        for (path, device) in [("null", "1:3"), ("zero", "1:5"), ("full", "1:7"), ("random", "1:8"),
            ("urandom", "1:9"), ("tty", "5:0")] {
            assert_eq!(report["dev"][format!("/dev/{path}")]["device"], device, "/dev/{path}");
        }
        let output = t.run(&t.bundle(&["open", "/dev/null"], mapped));
        assert_eq!(output.expect_ok().stdout, "ok\n");
    }

    fn masked_and_readonly_paths_hold_inside(t) {
        let report = t.report_with(mapped);
        assert!(report.options("/proc/sys").contains("ro"));
        if report["paths"]["/proc/timer_list"] != "ENOENT" {
            assert_eq!(report["paths"]["/proc/timer_list"]["read"], 0);
        }
        assert_eq!(report["paths"]["/sys/firmware"]["entries"], 0);
    }

    fn capabilities_are_held_towards_the_namespace(t) {
        let report = t.report_with(mapped);
        let expected = 1 << 29 | 1 << 5 | 1 << 10;
        assert_eq!(report.capabilities("effective"), expected, "{}", report["capabilities"]);
    }

    fn limits_and_the_oom_score_are_set_inside(t) {
        let report = t.report_with(|config| {
            mapped(config);
            config["process"]["oomScoreAdj"] = json!(234);
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
        });
        assert_eq!(report["oom_score_adj"], "234");
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([50, 60]));
    }

    fn files_of_an_unmapped_owner_belong_to_nobody(t) {
        let bundle = t.bundle(&["report", "--stat", "/owned"], mapped);
        bundle.add_file("owned", "");
        assert_eq!(t.report(&bundle)["stat"]["/owned"]["uid"], 65534);
    }

    fn a_bound_directory_is_written_to_with_mapped_ids(t) {
        let shared = t.dir.join("shared");
        fs::create_dir(&shared).unwrap();
        std::os::unix::fs::chown(&shared, Some(FIRST), Some(FIRST)).unwrap();
        let bundle = t.bundle(&["write", "/shared/file", "text"], |config| {
            mapped(config);
            add_mount(config, "/shared", "bind", shared.to_str().unwrap(), &["bind"]);
        });
        fs::create_dir(bundle.rootfs("shared")).unwrap();
        t.run(&bundle).expect_ok();
        assert_eq!(fs::metadata(shared.join("file")).unwrap().uid(), FIRST);
    }

    fn a_source_that_only_the_host_may_reach_is_bound_all_the_same(t) {
        use std::os::unix::fs::PermissionsExt;
        let closed = t.dir.join("closed");
        fs::create_dir_all(closed.join("inner")).unwrap();
        fs::write(closed.join("inner/file"), "reached").unwrap();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
        let bundle = t.bundle(&["read", "/inner/file"], |config| {
            mapped(config);
            let source = closed.join("inner");
            add_mount(config, "/inner", "bind", source.to_str().unwrap(), &["bind", "ro"]);
        });
        fs::create_dir(bundle.rootfs("inner")).unwrap();
        assert_eq!(t.run(&bundle).expect_ok().stdout, "reached\n");
    }

    fn a_working_directory_that_only_the_user_may_enter_is_entered(t) {
        use std::os::unix::fs::PermissionsExt;
        let bundle = t.bundle(&["report"], |config| {
            mapped(config);
            config["process"]["user"] = json!({"uid": 5, "gid": 7});
            config["process"]["cwd"] = json!("/own");
        });
        // The owner is not mapped, so that root in the namespace has no rights here.
        fs::create_dir(bundle.rootfs("own")).unwrap();
        std::os::unix::fs::chown(bundle.rootfs("own"), Some(0), Some(FIRST + 7)).unwrap();
        fs::set_permissions(bundle.rootfs("own"), fs::Permissions::from_mode(0o750)).unwrap();
        assert_eq!(t.report(&bundle)["cwd"], "/own");
    }

    fn exec_joins_the_user_namespace(t) {
        let container = t.sleeper(mapped);
        let link = fs::read_link(format!("/proc/{}/ns/user", container.pid())).unwrap();
        let output = container.exec(&[], &["report"]);
        let report: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(report["namespaces"]["user"], json!(link));
        assert_eq!(report["uid"], json!([0, 0, 0, 0]));
        container.end();
    }

    fn a_user_namespace_is_joined_by_path(t) {
        t.only_orlop("runc 1.1 asks for maps even when the namespace is joined");
        let host = t.sleeper(mapped);
        let path = format!("/proc/{}/ns/user", host.pid());
        let id = fs::read_link(&path).unwrap();
        let report = t.report_with(|config| {
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
        });
        assert_eq!(report["namespaces"]["user"], json!(id));
        assert_eq!(report["uid"], json!([0, 0, 0, 0]));
        assert_eq!(report["uid_map"], json!(["0 200000 65536"]));
        host.end();
    }

    fn an_id_outside_of_the_map_is_refused(t) {
        let bundle = t.bundle(&["report"], |config| {
            mapped(config);
            config["process"]["user"]["uid"] = json!(70000);
        });
        t.run(&bundle).expect_code(1);
    }

    fn a_new_user_namespace_without_maps_is_refused(t) {
        let bundle = t.bundle(&["report"], |config| push(config, "/linux/namespaces", json!({"type": "user"})));
        t.run(&bundle).expect_code(1);
    }
}

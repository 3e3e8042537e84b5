//! User namespaces: id maps, and that everything else works inside one.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push, set_capabilities};
use crate::support::{Container, Probe, Test, View, both_views, probe};

/// The host's id of 0 inside.
const FIRST: u32 = 200_000;

/// What a runtime inside may need.
const FOR_A_RUNTIME: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_NET_ADMIN",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_ADMIN",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_DAC_READ_SEARCH",
];

/// A mount of the host with every flag that can be locked; unmounted at the end.
struct Strict {
    path: String,
}

impl Strict {
    fn mount(t: &Test) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let path = t.dir.join("strict");
        fs::create_dir(&path).unwrap();
        let none: Option<&str> = None;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("x"), &path, Some("tmpfs"), flags, none).unwrap();
        fs::create_dir_all(path.join("closed/inner")).unwrap();
        fs::set_permissions(path.join("closed"), fs::Permissions::from_mode(0o700)).unwrap();
        let readonly = flags | MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        mount(none, &path, none, readonly, none).unwrap();
        let path = path.to_str().unwrap().to_owned();
        Self { path }
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        let _ = umount(self.path.as_str());
    }
}

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

    fn a_cgroup_mount_without_a_namespace_of_its_own_is_the_containers_cgroup(t) {
        t.only_orlop("runc passes over the options");
        if t.view == View::V1 {
            t.skip("cgroup v1 has no such options");
        }
        for option in ["nsdelegate", "rro"] {
            let bundle = t.bundle(&["report"], |config| {
                mapped(config);
                let mounts = config["mounts"].as_array_mut().unwrap();
                let entry = mounts.iter_mut().find(|m| m["destination"] == "/sys/fs/cgroup").unwrap();
                entry["options"] = json!(["nosuid", "noexec", "nodev", "ro", option]);
            });
            let output = t.run(&bundle);
            output.expect_ok();
            let warned = output.stderr.contains("has no effect from a namespace");
            assert_eq!(warned, option == "nsdelegate", "{output}");
            let report = Probe::parse(&output);
            let mount = report.mount("/sys/fs/cgroup");
            assert_eq!(mount["fstype"], "cgroup2");
            let root = mount["root"].as_str().unwrap();
            assert!(root.ends_with(&bundle.id), "{option}: not its own cgroup: {mount}");
            assert!(report.options("/sys/fs/cgroup").contains("ro"));
        }
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

    fn a_hard_limit_is_raised_from_outside_where_that_is_allowed(t) {
        t.only_orlop("runc sets each limit from outside");
        if std::process::Command::new("strace").arg("-V").output().is_err() {
            t.skip("there is no strace to see the call by");
        }
        let trace = t.dir.join("trace");
        // More than the caller has: refused in the end where it lacks CAP_SYS_RESOURCE.
        let bundle = t.bundle(&["report"], |config| {
            mapped(config);
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 77_777}]);
        });
        let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        let mut command = std::process::Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=prlimit64", "-o"]).arg(&trace);
        command.arg(inner.get_program()).args(inner.get_args());
        t.runtime.finish(command);
        let trace = fs::read_to_string(trace).unwrap();
        let raised = |line: &&str| line.contains("rlim_max=77777") && !line.contains("prlimit64(0,");
        assert!(trace.lines().any(|line| raised(&line)), "{trace}");
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

    fn the_flags_of_a_source_stay_locked(t) {
        let strict = Strict::mount(t);
        // Reached by init itself, and opened for it by the runtime.
        for path in [strict.path.clone(), format!("{}/closed/inner", strict.path)] {
            let bundle = t.bundle(&["remount", "/bound"], |config| {
                mapped(config);
                set_capabilities(config, &["CAP_SYS_ADMIN"]);
                add_mount(config, "/bound", "bind", &path, &["rbind"]);
            });
            fs::create_dir(bundle.rootfs("bound")).unwrap();
            assert_eq!(t.run(&bundle).expect_ok().stdout, "ro EPERM\nsuid EPERM\n", "{path}");
        }
    }

    fn a_source_with_locked_flags_is_bound_read_only_and_keeps_them(t) {
        t.only_orlop("runc 1.1 asks the kernel to clear the others, which it refuses");
        let strict = Strict::mount(t);
        for options in [&["bind", "ro"][..], &["rbind", "nosuid"], &["rbind", "rro"]] {
            let bundle = t.bundle(&["report"], |config| {
                mapped(config);
                add_mount(config, "/bound", "bind", &strict.path, options);
            });
            fs::create_dir(bundle.rootfs("bound")).unwrap();
            let report = t.report(&bundle);
            for flag in ["ro", "nosuid", "nodev", "noexec"] {
                assert!(report.options("/bound").contains(flag), "{flag} with {options:?}");
            }
        }
    }

    fn to_clear_a_locked_flag_is_refused_by_name(t) {
        t.only_orlop("runc 1.1 keeps the flag without a word");
        let strict = Strict::mount(t);
        for (option, words) in [
            ("rw", "cannot clear locked flags ro"), ("suid", "cannot clear locked flags nosuid"),
            ("dev", "cannot clear locked flags nodev"), ("exec", "cannot clear locked flags noexec"),
            ("noatime", "cannot change locked atime flags"), ("rexec", "change a mount's attributes"),
        ] {
            let bundle = t.bundle(&["report"], |config| {
                mapped(config);
                add_mount(config, "/bound", "bind", &strict.path, &["rbind", option]);
            });
            fs::create_dir(bundle.rootfs("bound")).unwrap();
            let index = bundle.config["mounts"].as_array().unwrap().len() - 1;
            t.run(&bundle).expect_error(words).expect_words(&format!("/mounts/{index}"));
        }
    }

    fn a_bundle_without_a_mount_on_dev_runs_again(t) {
        let mut bundle = t.bundle(&["open", "/dev/null"], |config| {
            mapped(config);
            config["root"]["readonly"] = json!(false);
            config["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
        });
        for name in ["/", "/dev"] {
            std::os::unix::fs::chown(bundle.rootfs(name), Some(FIRST), Some(FIRST)).unwrap();
        }
        for again in ["first", "second"] {
            bundle.edit(|config| config["annotations"] = json!({"run": again}));
            assert_eq!(t.run(&bundle).expect_ok().stdout, "ok\n", "{again}");
        }
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

    fn a_time_namespace_in_a_user_namespace_has_its_offsets(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        let offsets = |config: &mut Value| {
            push(config, "/linux/namespaces", json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 70000, "nanosecs": 5}});
        };
        let seen = |report: Probe| {
            let text = report["timens_offsets"].as_str().unwrap().to_owned();
            text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let expected = ["monotonic", "0", "0", "boottime", "70000", "5"];
        let report = t.report_with(|config| {
            mapped(config);
            offsets(config);
        });
        assert_eq!(seen(report), expected);
        let owner = t.sleeper(mapped);
        let report = t.report_with(|config| {
            let path = format!("/proc/{}/ns/user", owner.pid());
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
            offsets(config);
        });
        assert_eq!(seen(report), expected);
        owner.end();
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

    fn in_a_joined_user_namespace_a_device_of_the_config_is_made_as_it_is_described(t) {
        t.only_orlop("runc 1.1 asks for maps even when the namespace is joined");
        let host = t.sleeper(mapped);
        let path = format!("/proc/{}/ns/user", host.pid());
        let devices = ["/dev/kmsg", "/dev/null", "/dev/not-on-the-host"];
        let report = t.report_with(|config| {
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
            for device in devices {
                push(config, "/linux/devices", json!({"path": device, "type": "c", "major": 1, "minor": 3,
                    "fileMode": 0o640, "uid": 12, "gid": 34}));
            }
        });
        for device in devices {
            assert_eq!(report["dev"][device],
                json!({"type": "char", "device": "1:3", "mode": "0640", "uid": 12, "gid": 34}), "{device}");
        }
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

    fn a_container_runs_containers_of_its_own(t) {
        let inner = t.dir.join("inner");
        let rootfs = inner.join("rootfs");
        for below in ["dev", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(below)).unwrap();
        }
        fs::copy(probe::path(), rootfs.join("probe")).unwrap();
        fs::copy(t.runtime.program(), inner.join("runtime")).unwrap();
        fs::create_dir(inner.join("state")).unwrap();
        for (owner, path) in [(FIRST, inner.as_path()), (FIRST, &inner.join("state")), (FIRST, &rootfs)] {
            std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
        }
        for own in [true, false] {
            let config = inner_config(own);
            fs::write(inner.join("config.json"), config.to_string()).unwrap();
            let outer = t.bundle(&[], |config| {
                mapped(config);
                push(config, "/linux/namespaces", json!({"type": "cgroup"}));
                config["process"]["args"] =
                    json!(["/inner/runtime", "--root", "/inner/state", "run", "--bundle", "/inner", "nested"]);
                set_capabilities(config, &FOR_A_RUNTIME);
                // A masked procfs could not be mounted again, nor one of the host's processes.
                config["linux"]["maskedPaths"] = json!([]);
                config["linux"]["readonlyPaths"] = json!([]);
                for dir in ["/usr", "/lib", "/lib64", "/bin"].into_iter().filter(|dir| fs::exists(dir).unwrap()) {
                    add_mount(config, dir, "bind", dir, &["rbind", "ro"]);
                }
                add_mount(config, "/inner", "bind", inner.to_str().unwrap(), &["bind"]);
            });
            for dir in ["usr", "lib", "lib64", "bin", "inner"] {
                fs::create_dir_all(outer.rootfs(dir)).unwrap();
            }
            let report = t.report(&outer);
            assert_eq!(report["uid"], json!([0, 0, 0, 0]));
            assert_eq!(report["hostname"], "nested");
            let map = if own { "0 1000 100" } else { "0 200000 65536" };
            assert_eq!(report["uid_map"], json!([map]));
            for (path, device) in [("null", "1:3"), ("tty", "5:0"), ("urandom", "1:9")] {
                assert_eq!(report["dev"][format!("/dev/{path}")]["device"], device, "/dev/{path}");
            }
            assert_eq!(report.mount("/proc")["fstype"], "proc");
        }
    }

    fn as_many_lines_as_the_kernel_takes_are_mapped(t) {
        t.only_orlop("the C part of runc 1.1 has less room for them");
        let lines = |count: u32, first: u32| -> Value {
            (0..count).map(|n| json!({"containerID": n, "hostID": first + n, "size": 1})).collect()
        };
        let with = |count: u32, first: u32| t.bundle(&["read", "/proc/self/uid_map"], |config| {
            push(config, "/linux/namespaces", json!({"type": "user"}));
            config["linux"]["uidMappings"] = lines(count, first);
            config["linux"]["gidMappings"] = lines(count, first);
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
            // The groups of devpts and the like must be mapped; here they are.
            config["mounts"].as_array_mut().unwrap().retain(|m| !m["destination"].as_str().unwrap().starts_with("/sys"));
        });
        let output = t.run(&with(340, 1000));
        assert_eq!(output.expect_ok().stdout.lines().count(), 340);
        t.run(&with(341, 1000)).expect_error("/linux/uidMappings").expect_words("340");
        // Of long numbers fewer fit into the page that the kernel reads.
        t.run(&with(340, 3_000_000_000)).expect_error("/linux/uidMappings").expect_words("less than a page");
    }

    fn maps_that_overlap_are_refused_by_name(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            mapped(config);
            push(config, "/linux/gidMappings", json!({"containerID": 70_000, "hostID": FIRST + 5, "size": 1}));
        });
        let output = t.run(&bundle);
        output.expect_code(1);
        if !t.runtime.is_reference {
            output.expect_words("/linux/gidMappings/1").expect_words("overlaps with entry 0");
        }
    }

    fn ids_that_are_not_mapped_are_refused_by_name(t) {
        t.only_orlop("runc 1.1 names no field, and asks for maps of a joined namespace");
        let host = t.sleeper(mapped);
        let path = format!("/proc/{}/ns/user", host.pid());
        for (user, field) in [
            (json!({"uid": 70_000, "gid": 0}), "uid"),
            (json!({"uid": 0, "gid": 70_000}), "gid"),
            (json!({"uid": 0, "gid": 0, "additionalGids": [5, 70_000]}), "additionalGids"),
        ] {
            for joined in [false, true] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    config["process"]["user"] = user.clone();
                    if joined {
                        push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
                    } else {
                        mapped(config);
                    }
                });
                t.run(&bundle).expect_error(&format!("/process/user/{field}")).expect_words("mapped");
            }
        }
        host.end();
    }

    fn a_joined_user_namespace_owns_what_is_new_beside_it(t) {
        t.only_orlop("runc 1.1 asks for maps even when the namespace is joined");
        let host = t.sleeper(mapped);
        let path = format!("/proc/{}/ns/user", host.pid());
        let bundle = t.bundle(&["report", "--read", "/proc/sys/net/ipv4/ip_default_ttl"], |config| {
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "33", "kernel.msgmax": "4444"});
            config["process"]["oomScoreAdj"] = json!(345);
            config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60}]);
        });
        let report = t.report(&bundle);
        assert_eq!(report["hostname"], "probed");
        assert_eq!(report["loopback_up"], true);
        assert_eq!(report["read"]["/proc/sys/net/ipv4/ip_default_ttl"], "33");
        assert_eq!((&report["uid"], &report["gid"]), (&json!([5, 5, 5, 5]), &json!([6, 6, 6, 6])));
        assert_eq!(report["groups"], json!([7]));
        assert_eq!(report["oom_score_adj"], "345");
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([50, 60]));
        for (target, fstype) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/mqueue", "mqueue"), ("/dev/pts", "devpts")] {
            assert_eq!(report.mount(target)["fstype"], fstype, "at {target}");
        }
        assert_eq!(report["dev"]["/dev/null"]["device"], "1:3");
        host.end();
    }

    fn a_pod_shares_its_user_namespace_with_what_that_owns(t) {
        t.only_orlop("runc 1.1 asks for maps even when the namespace is joined");
        let sandbox = t.sleeper(mapped);
        let report = t.report_with(|config| {
            config.as_object_mut().unwrap().remove("hostname");
            config["linux"]["namespaces"] = json!([{"type": "pid"}, {"type": "mount"}, {"type": "cgroup"}]);
            for (kind, file) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("user", "user")] {
                let path = format!("/proc/{}/ns/{file}", sandbox.pid());
                push(config, "/linux/namespaces", json!({"type": kind, "path": path}));
            }
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        assert_eq!(report["hostname"], "probed");
        assert_eq!(report["pid"], 1);
        for kind in ["net", "ipc", "uts", "user"] {
            let link = fs::read_link(format!("/proc/{}/ns/{kind}", sandbox.pid())).unwrap();
            assert_eq!(report["namespaces"][kind], json!(link));
        }
        for (target, fstype) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev/mqueue", "mqueue"), ("/dev/pts", "devpts")] {
            assert_eq!(report.mount(target)["fstype"], fstype, "at {target}");
        }
        sandbox.end();
    }

    fn the_standard_streams_belong_to_the_mapped_user(t) {
        let bundle = t.bundle(&["sleep"], |config| {
            mapped(config);
            config["process"]["user"] = json!({"uid": 7, "gid": 8});
        });
        // Of an owner inside, as engines make their pipes: what is another's cannot be given away.
        let inner = t.runtime.command(&["create", "--bundle", bundle.path(), &bundle.id]);
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &format!("chown {FIRST}:{FIRST} /dev/stdout; exec \"$@\""), "sh"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let created = t.runtime.finish(command);
        created.expect_ok();
        let container = Container::adopt(t, &bundle.id, created);
        let owner = |path| fs::metadata(path).unwrap().uid();
        assert_eq!(owner(&container.created.stdout_path), FIRST + 7);
        container.start().expect_ok();
        container.end();
    }
}

/// Of a container inside a container: with a user namespace of its `own`, or in the outer one.
fn inner_config(own: bool) -> Value {
    let mount = |target: &str, fstype: &str, options: &[&str]| json!({"destination": target, "type": fstype, "source": fstype, "options": options});
    let mut config = json!({
        "ociVersion": "1.0.2",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/probe", "report"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "hostname": "nested",
        "mounts": [mount("/proc", "proc", &[]), mount("/dev", "tmpfs", &["mode=755"]),
            mount("/dev/pts", "devpts", &["newinstance", "ptmxmode=0666"])],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}, {"type": "ipc"},
            {"type": "network"}]},
    });
    if own {
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 100}]);
        push(&mut config, "/linux/namespaces", json!({"type": "user"}));
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
    }
    config
}

//! The process: who it is, where it is, what it was given.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push};
use crate::support::probe::strings;
use crate::support::{Probe, Test, both_views};

/// Call `run` through a shell that changes its own settings first.
fn run_after(t: &Test, shell: &str, edit: impl FnOnce(&mut Value)) -> Probe {
    let bundle = t.bundle(&["report"], edit);
    let inner = t
        .runtime
        .command(&["run", "--bundle", bundle.path(), &bundle.id]);
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("{shell}\nexec \"$@\""), "bash"]);
    command.arg(inner.get_program()).args(inner.get_args());
    Probe::parse(&t.runtime.finish(command))
}

both_views! {
    fn the_arguments_arrive_as_they_are(t) {
        let odd = ["report", "--read", "/a b", "--read", "", "--read", "$HOME;'\"\\ä"];
        let mut expected = vec!["/probe"];
        expected.extend(odd);
        let report = t.report_with(|config| config["process"]["args"] = json!(expected));
        assert_eq!(report["argv"], json!(expected));
    }

    fn user_and_groups_are_those_of_the_config(t) {
        let report = t.report_with(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [5, 3000, 77]});
        });
        assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
        assert_eq!(report["gid"], json!([2000, 2000, 2000, 2000]));
        let groups: Vec<i64> = report["groups"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        for group in [5, 77, 3000] {
            assert!(groups.contains(&group), "{group} is not in {groups:?}");
        }
    }

    fn the_groups_of_the_caller_do_not_get_in(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        let mut command = std::process::Command::new("setpriv");
        command.args(["--groups=4000,4001"]).arg(inner.get_program()).args(inner.get_args());
        let report = Probe::parse(&t.runtime.finish(command));
        assert!(!strings_of(&report["groups"]).iter().any(|g| g.starts_with("400")), "{}", report["groups"]);
    }

    fn the_umask_is_that_of_the_config(t) {
        for umask in [0o077, 0o027, 0] {
            let report = t.report_with(|config| config["process"]["user"]["umask"] = json!(umask));
            assert_eq!(report["umask"], format!("{umask:04o}"));
        }
    }

    fn the_callers_groups_are_kept_by_crun_s_annotation(t) {
        t.only_orlop("runc has no such annotation");
        for (value, kept) in [("1", json!([41, 42])), ("0", json!([5]))] {
            let bundle = t.bundle(&["report"], |config| {
                config["annotations"]["run.oci.keep_original_groups"] = json!(value);
                config["process"]["user"]["additionalGids"] = json!([5]);
            });
            let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
            let mut command = std::process::Command::new("setpriv");
            command.args(["--groups", "41,42"]);
            command.arg(inner.get_program()).args(inner.get_args());
            let output = t.runtime.finish(command);
            assert_eq!(Probe::parse(&output)["groups"], kept, "{value}");
            if value == "1" {
                output.expect_words("/process/user/additionalGids");
            }
        }
    }

    fn the_umask_is_0022_when_the_config_has_none(t) {
        let report = run_after(t, "umask 0007", |_| {});
        assert_eq!(report["umask"], "0022");
    }

    fn the_working_directory_is_that_of_the_config(t) {
        assert_eq!(t.report_with(|config| config["process"]["cwd"] = json!("/dev/shm"))["cwd"], "/dev/shm");
    }

    fn a_working_directory_that_is_missing_is_made(t) {
        let report = t.report_with(|config| {
            config["process"]["cwd"] = json!("/tmp/made/for/it");
            config["root"]["readonly"] = json!(false);
        });
        assert_eq!(report["cwd"], "/tmp/made/for/it");
    }

    fn a_working_directory_that_is_missing_is_made_before_the_root_becomes_read_only(t) {
        let report = t.report_with(|config| {
            config["process"]["cwd"] = json!("/made/for/it");
            config["root"]["readonly"] = json!(true);
        });
        assert_eq!(report["cwd"], "/made/for/it");
    }

    fn a_working_directory_that_only_the_user_may_enter_is_entered(t) {
        use std::os::unix::fs::PermissionsExt;
        let bundle = t.bundle(&["report"], |config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["cwd"] = json!("/own");
        });
        fs::create_dir(bundle.rootfs("own")).unwrap();
        std::os::unix::fs::chown(bundle.rootfs("own"), Some(1000), Some(1000)).unwrap();
        fs::set_permissions(bundle.rootfs("own"), fs::Permissions::from_mode(0o700)).unwrap();
        assert_eq!(t.report(&bundle)["cwd"], "/own");
    }

    fn a_working_directory_that_is_a_file_is_an_error(t) {
        let bundle = t.bundle(&["report"], |config| config["process"]["cwd"] = json!("/probe"));
        t.try_create(&bundle).expect_code(1).expect_words("/probe").expect_words("not a directory");
        if !t.runtime.is_reference {
            t.try_create(&bundle).expect_words("/process/cwd");
        }
    }

    fn the_environment_is_that_of_the_config_and_nothing_else(t) {
        let report = t.report_with(|config| {
            config["process"]["env"] = json!(["PATH=/", "B=2", "A=1", "EMPTY=", "LINES=a\nb", "EQ=x=y"]);
        });
        let mut env = strings(&report["env"]);
        env.retain(|pair| !pair.starts_with("HOME="));
        assert_eq!(env, ["PATH=/", "B=2", "A=1", "EMPTY=", "LINES=a\nb", "EQ=x=y"]);
    }

    fn home_comes_from_the_containers_passwd_when_it_is_not_set(t) {
        for (env, uid, home) in [
            (json!(["PATH=/"]), 1000, "/home/somebody"),
            (json!(["PATH=/", "HOME=/given"]), 1000, "/given"),
            (json!(["PATH=/"]), 1234, "/"),
        ] {
            let bundle = t.bundle(&["report"], |config| {
                config["process"]["user"] = json!({"uid": uid, "gid": 1000});
                config["process"]["env"] = env;
            });
            bundle.add_file("etc/passwd", "root:x:0:0::/root:/bin/sh\nsomebody:x:1000:1000::/home/somebody:/bin/sh\n");
            let env = strings(&t.report(&bundle)["env"]);
            assert!(env.contains(&format!("HOME={home}")), "HOME={home} is not in {env:?}");
        }
    }

    fn a_program_without_a_slash_is_looked_for_in_the_path_of_the_config(t) {
        let bundle = t.bundle(&[], |config| {
            config["process"]["args"] = json!(["probe", "echo", "found"]);
            config["process"]["env"] = json!(["PATH=/nowhere:/"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "found\n");
    }

    fn limits_are_those_of_the_config_and_the_others_the_callers(t) {
        let own = own_limits();
        let report = t.report_with(|config| {
            config["process"]["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
                {"type": "RLIMIT_STACK", "soft": 1 << 20, "hard": 1 << 21}]);
        });
        let limits = &report["rlimits"];
        assert_eq!(limits["RLIMIT_NOFILE"], json!([100, 200]));
        assert_eq!(limits["RLIMIT_CORE"], json!([0, 4096]));
        assert_eq!(limits["RLIMIT_STACK"], json!([1 << 20, 1 << 21]));
        assert_eq!(limits["RLIMIT_NPROC"], own["Max processes"]);
        assert_eq!(limits["RLIMIT_MEMLOCK"], own["Max locked memory"]);
    }

    fn without_limits_in_the_config_the_program_has_the_callers(t) {
        let report = run_after(t, "ulimit -n 321", |config| {
            config["process"]["rlimits"] = json!([]);
        });
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([321, 321]));
    }

    fn each_limit_that_the_specification_names_is_set(t) {
        let names = ["AS", "CORE", "CPU", "DATA", "FSIZE", "LOCKS", "MEMLOCK", "MSGQUEUE", "NICE",
            "NOFILE", "NPROC", "RSS", "RTPRIO", "RTTIME", "SIGPENDING", "STACK"];
        let own = own_limits();
        let asked = |name: &str| match name {
            "NICE" | "RTPRIO" => (0, 0),
            "AS" | "DATA" => (1u64 << 33, 1u64 << 34),
            "STACK" => (1 << 21, 1 << 22),
            // Not raised: that takes a capability that the host may not have.
            "MSGQUEUE" | "NPROC" | "SIGPENDING" | "NOFILE" | "MEMLOCK" => (100, 200),
            _ => (1 << 20, 1 << 21),
        };
        assert!(own["Max open files"][1].as_u64().unwrap() >= 200);
        let report = t.report(&t.bundle(&["report", "--read", "/proc/self/limits"], |config| {
            let list = names.iter().map(|name| {
                let (soft, hard) = asked(name);
                json!({"type": format!("RLIMIT_{name}"), "soft": soft, "hard": hard})
            });
            config["process"]["rlimits"] = list.collect();
        }));
        for name in names.iter().filter(|name| **name != "RTTIME") {
            let (soft, hard) = asked(name);
            assert_eq!(report["rlimits"][format!("RLIMIT_{name}")], json!([soft, hard]), "{name}");
        }
        let table = report["read"]["/proc/self/limits"].as_str().unwrap();
        let line = table.lines().find(|line| line.starts_with("Max realtime timeout")).unwrap();
        assert!(line.contains(" 1048576 ") && line.contains(" 2097152 "), "{line}");
    }

    fn a_program_that_may_not_open_a_file_starts_all_the_same(t) {
        t.only_orlop("runc 1.1 opens files of its own under the limits");
        let bundle = t.bundle(&["report"], |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 3}]);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["process"]["cwd"] = json!("/tmp/made/for/it");
            config["root"]["readonly"] = json!(false);
        });
        bundle.add_file("etc/passwd", "somebody:x:1000:1000::/home/somebody:/bin/sh\n");
        // Only root may read it, as the runtime does.
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(bundle.rootfs("etc/passwd"), fs::Permissions::from_mode(0o600)).unwrap();
        let report = t.report(&bundle);
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([3, 3]));
        assert!(strings(&report["env"]).contains(&"HOME=/home/somebody".to_owned()), "{}", report["env"]);
        assert_eq!(report["cwd"], "/tmp/made/for/it");
    }

    fn a_hard_limit_that_cannot_be_raised_is_refused_by_its_name(t) {
        let own = own_limits()["Max open files"][1].as_u64().unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": own + 1}]);
        });
        if u64::from_str_radix(&own_status("CapEff"), 16).unwrap() & 1 << 24 != 0 {
            t.skip("the caller has CAP_SYS_RESOURCE");
        }
        let output = t.run(&bundle);
        output.expect_code(1);
        if !t.runtime.is_reference {
            output.expect_words("RLIMIT_NOFILE").expect_words("/process/rlimits/0").expect_words("CAP_SYS_RESOURCE");
        }
    }

    fn the_cpus_of_the_caller_are_not_those_of_the_program(t) {
        t.only_orlop("runc 1.1 hands the caller's CPU affinity on");
        let own = own_status("Cpus_allowed_list");
        let first = own.split(['-', ',']).next().unwrap();
        if own == first {
            t.skip("there is but one CPU");
        }
        let bound = format!("taskset -pc {first} $$ >&2");
        assert_eq!(run_after(t, &bound, |_| {})["cpus_allowed"], own);
        let container = t.sleeper(|_| {});
        let inner = t.runtime.command(&["exec", &container.id, "/probe", "report"]);
        let mut command = std::process::Command::new("taskset");
        command.args(["-c", first]).arg(inner.get_program()).args(inner.get_args());
        assert_eq!(Probe::parse(&t.runtime.finish(command))["cpus_allowed"], own, "exec");
        container.end();
    }

    fn the_standard_streams_belong_to_the_user_but_for_devices(t) {
        use std::os::unix::fs::MetadataExt;
        let before = fs::metadata("/dev/null").unwrap().uid();
        let container = t.sleeper(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 2000}));
        let owner = |path: &std::path::Path| {
            let found = fs::metadata(path).unwrap();
            (found.uid(), found.gid())
        };
        assert_eq!(owner(&container.created.stdout_path), (1000, 0));
        if !t.runtime.is_reference {
            // runc has a pipe of its own between.
            let output = container.exec(&["--user", "77"], &["exit", "0"]);
            assert_eq!(owner(&output.expect_ok().stdout_path), (77, 0));
        }
        container.end();
        assert_eq!(fs::metadata("/dev/null").unwrap().uid(), before);
    }

    fn oom_score_adj_is_set(t) {
        let report = t.report_with(|config| config["process"]["oomScoreAdj"] = json!(321));
        assert_eq!(report["oom_score_adj"], "321");
    }

    fn a_score_that_the_caller_may_not_give_is_refused_by_name(t) {
        if u64::from_str_radix(&own_status("CapEff"), 16).unwrap() & 1 << 24 != 0 {
            t.skip("the caller has CAP_SYS_RESOURCE");
        }
        let bundle = t.bundle(&["exit", "0"], |config| config["process"]["oomScoreAdj"] = json!(-999));
        let output = t.run(&bundle);
        output.expect_code(1);
        if !t.runtime.is_reference {
            output.expect_words("/process/oomScoreAdj").expect_words("needs CAP_SYS_RESOURCE");
        }
    }

    fn what_the_specification_requires_is_not_made_up(t) {
        t.only_orlop("runc takes zero for what is missing");
        for (pointer, value) in [
            ("/process/rlimits/0/soft", json!([{"type": "RLIMIT_CORE", "hard": 1}])),
            ("/process/rlimits/0/hard", json!([{"type": "RLIMIT_CORE", "soft": 0}])),
            ("/process/ioPriority/class", json!({"priority": 3})),
            ("/process/ioPriority/priority", json!({"class": "IOPRIO_CLASS_RT"})),
            ("/linux/uidMappings/0/hostID", json!([{"containerID": 0, "size": 10}])),
            ("/linux/gidMappings/0/hostID", json!([{"containerID": 0, "hostID": null, "size": 10}])),
        ] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                let path: Vec<&str> = pointer.split('/').collect();
                if path[1] == "linux" {
                    add_user_namespace(config, 200_000);
                }
                config[path[1]][path[2]] = value.clone();
            });
            t.run(&bundle).expect_error(pointer);
        }
    }

    fn oom_score_adj_stays_the_callers_when_it_is_not_set(t) {
        let report = run_after(t, "echo 77 > /proc/self/oom_score_adj", |_| {});
        assert_eq!(report["oom_score_adj"], "77");
    }

    fn no_new_privileges_is_set_as_asked(t) {
        for asked in [true, false] {
            let report = t.report_with(|config| config["process"]["noNewPrivileges"] = json!(asked));
            assert_eq!(report["no_new_privs"], json!(i32::from(asked)));
        }
    }

    fn only_the_standard_streams_are_open(t) {
        // Whoever calls the runtime may have more files open than it knows.
        let report = run_after(t, "exec 7</etc/hostname 8</ 9</proc", |_| {});
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{:#}", report["fds"]);
    }

    fn no_signal_is_blocked_or_ignored(t) {
        let report = run_after(t, "trap '' TERM HUP PIPE USR1", |_| {});
        for (kind, mask) in report["signals"].as_object().unwrap() {
            if kind != "ignored" || !t.runtime.is_reference {
                assert_eq!(mask, "0000000000000000", "{kind} signals");
            }
        }
    }

    fn the_program_leads_a_session_of_its_own(t) {
        let report = t.report_with(|_| {});
        assert_eq!((&report["sid"], &report["pgid"]), (&json!(1), &json!(1)));
    }

    fn the_program_can_be_read_by_a_debugger_again(t) {
        assert_eq!(t.report_with(|_| {})["dumpable"], 1);
    }

    fn the_session_keyring_is_the_containers_own(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let keyring = t.report(&bundle)["keyring"].as_str().unwrap().to_owned();
        assert!(keyring.ends_with(&format!(";_ses.{}", bundle.id)), "{keyring}");
    }

    fn without_a_new_keyring_the_callers_stays(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let output = t.runtime.call(&["run", "--no-new-keyring", "--bundle", bundle.path(), &bundle.id]);
        let report = Probe::parse(&output);
        assert!(!report["keyring"].as_str().unwrap().contains("_ses.orlop"), "{}", report["keyring"]);
    }

    fn scheduler_and_io_priority_are_those_of_the_config(t) {
        t.only_orlop("runc 1.1 ignores both, which came with the specification 1.1");
        let report = t.report_with(|config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 7});
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        });
        assert_eq!(report["scheduler"], json!({"policy": 3, "nice": 7}));
        assert_eq!(report["io_priority"], json!((2 << 13) | 6));
    }

    fn the_memory_policy_is_that_of_the_config(t) {
        t.only_orlop("runc 1.1 ignores it");
        if !std::path::Path::new("/proc/self/numa_maps").exists() {
            t.skip("this kernel has no NUMA");
        }
        let bundle = t.bundle(&["read", "/proc/self/numa_maps"], |config| {
            config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": "0"});
        });
        let output = t.run(&bundle);
        assert!(output.expect_ok().stdout.contains(" bind:0 "), "{output}");
    }

    fn the_personality_is_that_of_the_config(t) {
        t.only_orlop("runc 1.1 ignores it");
        let report = t.report_with(|config| config["linux"]["personality"] = json!({"domain": "LINUX32"}));
        assert_eq!(report["personality"], 8);
    }

    fn a_program_in_a_root_that_holds_nothing_else_runs_without_any_mount(t) {
        let bundle = t.bundle(&["exit", "9"], |config| {
            config["mounts"] = json!([]);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            push(config, "/mounts", json!({"destination": "/proc", "type": "proc", "source": "proc"}));
        });
        t.run(&bundle).expect_code(9);
    }
}

fn strings_of(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(Value::to_string)
        .collect()
}

/// A field of our own /proc/self/status.
fn own_status(name: &str) -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mut fields = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(field, _)| *field == name).unwrap();
    value.trim().to_owned()
}

/// /proc/self/limits in the form of the probe's report.
fn own_limits() -> BTreeMap<String, Value> {
    let table = fs::read_to_string("/proc/self/limits").unwrap();
    let number = |word: &str| word.parse::<u64>().unwrap_or(u64::MAX);
    let line = |line: &str| {
        let (name, rest) = line.split_at(26);
        let words: Vec<&str> = rest.split_whitespace().collect();
        (
            name.trim().to_owned(),
            json!([number(words[0]), number(words[1])]),
        )
    };
    table.lines().skip(1).map(line).collect()
}

//! exec: another process in a running container.

use std::fs;

use serde_json::json;

use crate::support::bundle::{add_user_namespace, push, set_capabilities};
use crate::support::probe::strings;
use crate::support::{Container, Probe, both_views, wait_until};

fn report(container: &Container, flags: &[&str]) -> Probe {
    Probe::parse(&container.exec(flags, &["report"]))
}

both_views! {
    fn the_process_is_in_the_namespaces_and_the_cgroup_of_init(t) {
        let container = t.sleeper(|config| push(config, "/linux/namespaces", json!({"type": "cgroup"})));
        let report = report(&container, &[]);
        for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let init = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
            assert_eq!(report["namespaces"][kind], json!(init), "{kind}");
        }
        assert!(report["pid"].as_u64().unwrap() > 1);
        container.end();
        let container = t.sleeper(|_| {});
        let of_init = fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
        let seen = self::report(&container, &[])["cgroup"].clone();
        assert_eq!(seen.as_str().unwrap(), of_init.trim_end());
        container.end();
    }

    fn the_exit_status_is_passed_on(t) {
        let container = t.sleeper(|_| {});
        for status in [0, 1, 42, 255] {
            container.exec(&[], &["exit", &status.to_string()]).expect_code(status);
        }
        container.exec(&[], &["kill-self", "SIGKILL"]).expect_code(137);
        container.exec(&[], &["kill-self", "SIGUSR1"]).expect_code(138);
        container.end();
    }

    fn a_process_that_cannot_be_announced_does_not_run(t) {
        let container = t.sleeper(|_| {});
        container.exec(&["--detach", "--pid-file", "/nowhere/pid"], &["sleep"]).expect_code(255);
        let pids = || container.verb(&["ps", "--format", "json"]).stdout;
        wait_until("only init is there", || pids() == format!("[{}]\n", container.pid()));
        container.end();
    }

    fn an_unknown_capability_is_a_warning(t) {
        let container = t.sleeper(|_| {});
        container.exec(&["--cap", "CAP_NONSENSE"], &["exit", "3"]).expect_code(3).expect_words("CAP_NONSENSE");
        container.end();
    }

    fn a_capability_that_the_caller_lacks_is_a_warning(t) {
        t.only_orlop("runc 1.1 fails: unable to apply caps");
        let container = t.sleeper(|_| {});
        let exec = t.runtime.command(&["exec", "--cap", "CAP_NET_RAW", &container.id, "/probe", "exit", "3"]);
        let mut command = std::process::Command::new("setpriv");
        command.arg("--bounding-set=-net_raw").arg(exec.get_program()).args(exec.get_args());
        t.runtime.finish(command).expect_code(3).expect_words("CAP_NET_RAW");
        container.end();
    }

    fn the_process_leads_a_session_of_its_own(t) {
        let container = t.sleeper(|_| {});
        let report = report(&container, &[]);
        assert_eq!(report["sid"], report["pid"]);
        container.end();
    }

    fn a_relative_working_directory_is_refused(t) {
        let container = t.sleeper(|_| {});
        let output = container.exec(&["--cwd", "dev"], &["exit", "0"]);
        output.expect_code(255).expect_words("Cwd must be an absolute path");
        container.end();
    }

    fn a_variable_without_a_value_is_refused(t) {
        let container = t.sleeper(|_| {});
        container.exec(&["--env", "LONELY"], &["exit", "0"]).expect_code(255).expect_words("LONELY");
        container.end();
    }

    fn the_keyring_is_the_containers(t) {
        let container = t.sleeper(|_| {});
        let report = report(&container, &[]);
        let keyring = report["keyring"].as_str().unwrap();
        assert!(keyring.ends_with(&format!(";_ses.{}", container.id)), "{keyring}");
        container.end();
    }

    fn the_time_namespace_is_the_containers(t) {
        t.only_orlop("runc 1.1 has no time namespaces");
        let container = t.sleeper(|config| {
            push(config, "/linux/namespaces", json!({"type": "time"}));
            config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 70000}});
        });
        let report = report(&container, &[]);
        let init = fs::read_link(format!("/proc/{}/ns/time", container.pid())).unwrap();
        assert_eq!(report["namespaces"]["time"], json!(init));
        let (boot, mono) = (&report["clocks"]["boottime"], &report["clocks"]["monotonic"]);
        assert!(boot.as_i64().unwrap() - mono.as_i64().unwrap() > 60000, "{}", report["clocks"]);
        container.end();
    }

    fn the_keyring_of_a_container_without_a_new_one_is_kept(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let created = t.runtime.call(&["create", "--no-new-keyring", "--bundle", bundle.path(), &bundle.id]);
        let container = Container::adopt(t, &bundle.id, created);
        container.start().expect_ok();
        let report = report(&container, &[]);
        assert!(!report["keyring"].as_str().unwrap().contains("_ses.orlop"), "{}", report["keyring"]);
        container.end();
    }

    fn the_output_is_passed_on(t) {
        let container = t.sleeper(|_| {});
        let output = container.exec(&[], &["echo", "-v", "--help", "text"]);
        assert_eq!(output.expect_ok().stdout, "-v --help text\n");
        assert_eq!(output.stderr, "");
        container.end();
    }

    fn without_flags_the_process_is_as_the_config_has_it(t) {
        let container = t.sleeper(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 2000, "additionalGids": [3000]});
            config["process"]["cwd"] = json!("/dev/shm");
            config["process"]["env"] = json!(["PATH=/", "FROM=config"]);
            config["process"]["oomScoreAdj"] = json!(123);
            set_capabilities(config, &["CAP_KILL"]);
        });
        let report = report(&container, &[]);
        assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
        assert_eq!(report["gid"], json!([2000, 2000, 2000, 2000]));
        assert_eq!(report["groups"], json!([3000]));
        assert_eq!(report["cwd"], "/dev/shm");
        assert!(strings(&report["env"]).contains(&"FROM=config".to_owned()));
        assert_eq!(report["oom_score_adj"], "123");
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([1024, 1024]));
        assert_eq!(report["no_new_privs"], 1);
        assert_eq!(report.capabilities("bounding"), 1 << 5);
        container.end();
    }

    fn the_umask_is_that_of_the_config(t) {
        t.only_orlop("runc 1.1 leaves it at 0022 for exec");
        let container = t.sleeper(|config| config["process"]["user"]["umask"] = json!(0o027));
        assert_eq!(report(&container, &[])["umask"], "0027");
        container.end();
    }

    fn the_cpus_are_those_that_the_config_has_for_exec(t) {
        t.only_orlop("runc 1.1 ignores execCPUAffinity, which came with the specification 1.2");
        // The last CPU of the caller's is one that it would not have by chance alone.
        let own = fs::read_to_string("/proc/self/status").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
        let last = own.rsplit(['-', ',']).next().unwrap();
        if own == last {
            t.skip("there is but one CPU");
        }
        for (asked, expected) in [
            (json!({"initial": last}), last),
            (json!({"final": last}), last),
            (json!({"initial": last, "final": own}), own),
        ] {
            let container = t.sleeper(|config| config["process"]["execCPUAffinity"] = asked.clone());
            assert_eq!(report(&container, &[])["cpus_allowed"], expected, "{asked}");
            container.end();
        }
    }

    fn env_is_added_to_that_of_the_config(t) {
        let container = t.sleeper(|config| config["process"]["env"] = json!(["PATH=/", "A=old", "B=kept"]));
        let report = report(&container, &["-e", "A=new", "-e", "C=added"]);
        let env = strings(&report["env"]);
        for pair in ["A=new", "B=kept", "C=added"] {
            assert!(env.contains(&pair.to_owned()), "{pair} is not in {env:?}");
        }
        assert!(!env.contains(&"A=old".to_owned()), "{env:?}");
        container.end();
    }

    fn cwd_is_that_of_the_flag(t) {
        let container = t.sleeper(|_| {});
        assert_eq!(report(&container, &["--cwd", "/dev/shm"])["cwd"], "/dev/shm");
        container.end();
    }

    fn user_is_that_of_the_flag(t) {
        let container = t.sleeper(|config| config["process"]["user"] = json!({"uid": 1000, "gid": 2000}));
        let seen = report(&container, &["--user", "5:6"]);
        assert_eq!((&seen["uid"][1], &seen["gid"][1]), (&json!(5), &json!(6)));
        let seen = report(&container, &["-u", "7"]);
        assert_eq!((&seen["uid"][1], &seen["gid"][1]), (&json!(7), &json!(2000)), "the group stays");
        let seen = report(&container, &["-g", "8", "-g", "9"]);
        assert_eq!(seen["groups"], json!([8, 9]));
        for bad in ["name", "1:name", "-1", "1:", "1:2:3"] {
            let output = container.exec(&["--user", bad], &["exit", "0"]);
            assert_ne!(output.code(), 0, "the user {bad:?} was taken\n{output}");
        }
        container.end();
    }

    fn a_user_that_does_not_fit_into_an_id_is_refused(t) {
        t.only_orlop("runc 1.1 takes it modulo 2 to the power of 32, which is root");
        let container = t.sleeper(|_| {});
        for bad in ["4294967296", "0:4294967296", "4294967295"] {
            let output = container.exec(&["--user", bad], &["exit", "0"]);
            assert_ne!(output.code(), 0, "the user {bad:?} was taken\n{output}");
        }
        container.end();
    }

    fn cap_adds_to_three_sets_and_never_to_the_inheritable_one(t) {
        let container = t.sleeper(|_| {});
        let report = report(&container, &["--cap", "CAP_CHOWN", "--cap", "CAP_NET_RAW"]);
        for set in ["bounding", "permitted", "effective"] {
            let held = report.capabilities(set);
            assert_eq!(held & (1 | 1 << 13), 1 | 1 << 13, "{set}: {held:x}");
        }
        assert_eq!(report.capabilities("inheritable"), 0);
        container.end();
    }

    fn a_capability_that_the_caller_lacks_is_had_in_a_user_namespace(t) {
        let container = t.sleeper(|config| add_user_namespace(config, 200_000));
        let report = report(&container, &["--cap", "CAP_SYS_RESOURCE"]);
        assert_ne!(report.capabilities("effective") & 1 << 24, 0, "{}", report["capabilities"]);
        container.end();
    }

    fn limits_and_owners_of_exec_are_those_of_the_config(t) {
        let container = t.sleeper(|config| {
            add_user_namespace(config, 200_000);
            config["process"]["oomScoreAdj"] = json!(222);
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 50, "hard": 50},
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        });
        let report = report(&container, &[]);
        assert_eq!(report["rlimits"]["RLIMIT_NOFILE"], json!([50, 50]));
        assert_eq!(report["rlimits"]["RLIMIT_CORE"], json!([0, 0]));
        assert_eq!(report["oom_score_adj"], "222");
        container.end();
    }

    fn no_new_privs_is_that_of_the_flag(t) {
        let container = t.sleeper(|config| config["process"]["noNewPrivileges"] = json!(false));
        assert_eq!(report(&container, &[])["no_new_privs"], 0);
        assert_eq!(report(&container, &["--no-new-privs"])["no_new_privs"], 1);
        container.end();
    }

    fn only_the_standard_streams_are_open(t) {
        let container = t.sleeper(|_| {});
        let report = report(&container, &[]);
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"], "{:#}", report["fds"]);
        container.end();
    }

    fn detach_returns_at_once_and_writes_the_pid(t) {
        let container = t.sleeper(|_| {});
        let file = t.dir.join("pid");
        let output = container.exec(&["--detach", "--pid-file", file.to_str().unwrap()], &["sleep"]);
        output.expect_ok();
        let pid = fs::read_to_string(&file).unwrap();
        let init = fs::read_link(format!("/proc/{}/ns/pid", container.pid())).unwrap();
        assert_eq!(fs::read_link(format!("/proc/{pid}/ns/pid")).unwrap(), init);
        wait_until("ready from the process", || {
            fs::read_to_string(&output.stdout_path).unwrap() == "ready\n"
        });
        container.end();
        wait_until("the end of the process", || !fs::exists(format!("/proc/{pid}")).unwrap());
    }

    fn process_takes_everything_from_a_file(t) {
        let container = t.sleeper(|_| {});
        let file = t.dir.join("process.json");
        let process = json!({"args": ["/probe", "report"], "cwd": "/dev", "env": ["PATH=/", "FROM=file"],
            "user": {"uid": 11, "gid": 12}, "terminal": false, "noNewPrivileges": true,
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}]});
        fs::write(&file, process.to_string()).unwrap();
        let output = t.runtime.call(&["exec", "--process", file.to_str().unwrap(), &container.id]);
        let report = Probe::parse(&output);
        assert_eq!(report["cwd"], "/dev");
        assert_eq!((&report["uid"][1], &report["gid"][1]), (&json!(11), &json!(12)));
        assert!(strings(&report["env"]).contains(&"FROM=file".to_owned()));
        assert_eq!(report["rlimits"]["RLIMIT_CORE"], json!([1, 2]));
        assert_eq!(report.capabilities("permitted"), 0);
        container.end();
    }

    fn a_program_that_is_missing_gives_255_and_the_words_that_engines_match(t) {
        let container = t.sleeper(|_| {});
        for (program, words) in [
            ("nowhere", "exec: \"nowhere\": executable file not found in $PATH"),
            ("/nowhere", "exec: \"/nowhere\": stat /nowhere: no such file or directory"),
            ("/dev/null", "exec: \"/dev/null\": permission denied"),
        ] {
            let output = t.runtime.call(&["exec", &container.id, program]);
            output.expect_code(255).expect_words("exec failed").expect_words(words);
        }
        container.end();
    }

    fn a_container_that_does_not_exist_gives_255(t) {
        t.runtime.call(&["exec", &t.tag, "/probe", "exit", "0"]).expect_code(255).expect_words("container does not exist");
    }

    fn a_stopped_container_is_refused(t) {
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.exec(&[], &["exit", "0"]).expect_code(255).expect_words("cannot exec in a stopped container");
        container.delete().expect_ok();
    }

    fn a_paused_container_is_refused(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        container.exec(&[], &["exit", "0"]).expect_code(255).expect_words("cannot exec in a paused container");
        container.verb(&["resume"]).expect_ok();
        container.exec(&[], &["exit", "0"]).expect_ok();
        container.end();
    }

    fn a_created_container_can_be_executed_in(t) {
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        container.exec(&[], &["exit", "7"]).expect_code(7);
        assert_eq!(container.status(), "created");
        container.delete().expect_ok();
    }

    fn a_process_that_is_killed_by_the_end_of_the_container_gives_137(t) {
        let container = t.sleeper(|_| {});
        let running = t.runtime.spawn(t.runtime.command(&["exec", &container.id, "/probe", "sleep"]));
        wait_until("the process", || running.stdout().contains("ready"));
        container.kill("KILL").expect_ok();
        running.wait().expect_code(137);
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn the_name_of_the_program_is_looked_for_in_the_path_of_the_container(t) {
        let container = t.sleeper(|config| config["process"]["env"] = json!(["PATH=/nowhere:/"]));
        let output = t.runtime.call(&["exec", &container.id, "probe", "echo", "found"]);
        assert_eq!(output.expect_ok().stdout, "found\n");
        container.end();
    }
}

//! What a process of exec is: its environment, user and limits, by flags and by a file.

use std::fs;

use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push, set_capabilities};
use crate::support::probe::strings;
use crate::support::{Container, Output, Probe, Test, once, wait_until};

fn report(container: &Container, flags: &[&str]) -> Probe {
    Probe::parse(&container.exec(flags, &["report"]))
}

/// `exec --process FILE ID`.
fn by_file(t: &Test, container: &Container, process: &Value, more: &[&str]) -> Output {
    let file = t.dir.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let words = ["exec", "--process", file.to_str().unwrap()];
    t.runtime.call(&[&words, more, &[&container.id]].concat())
}

fn process(args: &[&str]) -> Value {
    json!({"args": args, "cwd": "/", "env": ["PATH=/"], "user": {"uid": 0, "gid": 0}})
}

fn home(report: &Probe) -> Vec<String> {
    let env = strings(&report["env"]).into_iter();
    env.filter(|pair| pair.starts_with("HOME=")).collect()
}

once! {
    fn home_is_that_of_the_user_in_the_containers_passwd(t) {
        let bundle = t.bundle(&["sleep"], |config| config["process"]["env"] = json!(["PATH=/"]));
        bundle.add_file("etc/passwd", "root:x:0:0::/root:/bin/sh\nme:x:7:7::/home/me:/bin/sh\n");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        for (flags, expected) in [
            (&[][..], "HOME=/root"),
            (&["-u", "7"], "HOME=/home/me"),
            (&["-u", "7", "-e", "HOME="], "HOME=/home/me"),
            (&["-u", "7", "-e", "HOME=/set"], "HOME=/set"),
            (&["-u", "123456"], "HOME=/"),
        ] {
            assert_eq!(home(&report(&container, flags)), [expected], "{flags:?}");
        }
        container.end();
    }

    fn a_user_who_is_nobody_in_the_container_runs_a_process(t) {
        let container = t.sleeper(|_| {});
        let report = report(&container, &["--user", "54321:54322", "--additional-gids", "54323"]);
        assert_eq!(report["uid"], json!([54321, 54321, 54321, 54321]));
        assert_eq!(report["gid"], json!([54322, 54322, 54322, 54322]));
        assert_eq!(report["groups"], json!([54323]));
        assert_eq!(home(&report), ["HOME=/"]);
        container.end();
    }

    fn the_last_of_equal_variables_counts_and_a_value_may_have_lines(t) {
        let container = t.sleeper(|config| {
            config["process"]["env"] = json!(["PATH=/nowhere", "A=1", "PATH=/"]);
        });
        let flags = ["-e", "A=2", "-e", "LINES=one\ntwo\n", "-e", "A=3=4", "-e", "EMPTY="];
        let output = t.runtime.call(&[&["exec"], &flags[..], &[&container.id, "probe", "report"]].concat());
        let env = strings(&Probe::parse(&output)["env"]);
        for pair in ["A=3=4", "LINES=one\ntwo\n", "EMPTY=", "PATH=/"] {
            assert!(env.contains(&pair.to_owned()), "{pair:?} is not in {env:?}");
        }
        assert_eq!(env.iter().filter(|v| v.starts_with("A=") || v.starts_with("PATH=")).count(), 2, "{env:?}");
        container.end();
    }

    fn a_path_given_to_exec_is_where_its_program_is_looked_for(t) {
        let container = t.sleeper(|config| config["process"]["env"] = json!(["PATH=/nowhere"]));
        let by_path = |path: &str| t.runtime.call(&["exec", "-e", path, &container.id, "probe", "exit", "3"]);
        by_path("PATH=/").expect_code(3);
        by_path("PATH=/elsewhere").expect_code(255).expect_words("executable file not found in $PATH");
        container.end();
    }

    fn a_working_directory_that_is_missing_is_refused(t) {
        let container = t.sleeper(|config| config["root"]["readonly"] = json!(false));
        for (cwd, why) in [("/missing/deep", "no such file or directory"), ("/probe", "not a directory")] {
            let output = container.exec(&["--cwd", cwd], &["exit", "0"]);
            let words = format!("chdir to cwd (\"{cwd}\") set in config.json failed: {why}");
            output.expect_code(255).expect_words(&words);
        }
        container.end();
    }

    fn exec_in_a_read_only_root_needs_nothing_to_be_written(t) {
        let container = t.sleeper(|config| {
            config["root"]["readonly"] = json!(true);
            config["mounts"] = json!([]);
            add_mount(config, "/proc", "proc", "proc", &[]);
        });
        let report = report(&container, &[]);
        assert!(report.options("/").contains("ro"), "{:?}", report.options("/"));
        container.end();
    }

    fn a_process_file_is_read_from_standard_input_as_well(t) {
        t.only_orlop("runc has no - for it");
        let container = t.sleeper(|_| {});
        let file = t.dir.join("process");
        let mut wanted = process(&["/probe", "exit", "9"]);
        fs::write(&file, wanted.to_string()).unwrap();
        let call = || {
            let mut command = std::process::Command::new("sh");
            let inner = t.runtime.command(&["exec", "--process", "-", &container.id]);
            command.args(["-c", "exec \"$@\" < \"$0\""]).arg(&file);
            command.arg(inner.get_program()).args(inner.get_args());
            t.runtime.finish(command)
        };
        call().expect_code(9);
        wanted["cwd"] = json!("relative");
        fs::write(&file, wanted.to_string()).unwrap();
        call().expect_code(255).expect_words("(standard input: /cwd)");
        container.end();
    }

    fn with_a_process_file_flags_and_arguments_do_not_count(t) {
        let container = t.sleeper(|_| {});
        let flags = ["--env", "FROM=flag", "--cwd", "/dev", "--user", "nobody", "--cap", "CAP_CHOWN",
            "--no-new-privs", "--additional-gids", "77", "--process-label", "x", "--apparmor", "y"];
        let output = by_file(t, &container, &process(&["/probe", "report"]), &flags);
        let report = Probe::parse(&output);
        assert_eq!((&report["cwd"], &report["uid"][1]), (&json!("/"), &json!(0)));
        assert_eq!((&report["groups"], &report["no_new_privs"]), (&json!([]), &json!(0)));
        assert!(!strings(&report["env"]).contains(&"FROM=flag".to_owned()));
        assert_eq!(report.capabilities("bounding") & 1, 0);
        let file = t.dir.join("process.json");
        let words = ["exec", "-p", file.to_str().unwrap(), &container.id, "/nowhere", "--tty"];
        t.runtime.call(&words).expect_ok();
        container.end();
    }

    fn what_a_process_file_leaves_out_is_as_in_the_config(t) {
        let container = t.sleeper(|config| {
            config["process"]["oomScoreAdj"] = json!(321);
            config["process"]["user"] = json!({"uid": 1, "gid": 2, "additionalGids": [3]});
            set_capabilities(config, &["CAP_KILL"]);
        });
        let seen = Probe::parse(&by_file(t, &container, &process(&["/probe", "report"]), &[]));
        assert_eq!(seen["oom_score_adj"], "321");
        assert_eq!(seen.capabilities("bounding"), 1 << 5);
        assert_eq!(seen.capabilities("inheritable"), 1 << 5);
        // Who it is says the file alone.
        assert_eq!((&seen["uid"][1], &seen["gid"][1], &seen["groups"]), (&json!(0), &json!(0), &json!([])));
        assert_eq!(seen["no_new_privs"], 0);
        let mut own = process(&["/probe", "report"]);
        own["capabilities"] = json!({});
        own["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 30, "hard": 30}]);
        let seen = Probe::parse(&by_file(t, &container, &own, &[]));
        assert_eq!(seen.capabilities("bounding"), 0);
        assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!([30, 30]));
        container.end();
    }

    fn a_process_file_has_the_limits_umask_and_schedule_of_the_config(t) {
        t.only_orlop("runc 1.1 has only the limits of the file, no umask and no scheduling for exec");
        let container = t.sleeper(|config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 40, "hard": 50}]);
            config["process"]["user"]["umask"] = json!(0o027);
            config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 4});
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        });
        let plain = report(&container, &[]);
        let seen = Probe::parse(&by_file(t, &container, &process(&["/probe", "report"]), &[]));
        assert_eq!(seen["umask"], "0027");
        assert_eq!(seen["rlimits"]["RLIMIT_NOFILE"], json!([40, 50]));
        for key in ["scheduler", "io_priority"] {
            assert!(!seen[key].is_null(), "{key}");
            assert_eq!(seen[key], plain[key], "{key}");
        }
        container.end();
    }

    fn a_wrong_process_file_is_told_by_its_name(t) {
        let container = t.sleeper(|_| {});
        let wrong = |process: &Value, words: &str| {
            let output = by_file(t, &container, process, &[]);
            output.expect_code(255).expect_words(words);
        };
        wrong(&process(&[]), "args must not be empty");
        let mut relative = process(&["/probe"]);
        relative["cwd"] = json!("dev");
        wrong(&relative, "Cwd must be an absolute path");
        let missing = t.dir.join("nowhere");
        let words = ["exec", "--process", missing.to_str().unwrap(), &container.id];
        t.runtime.call(&words).expect_code(255).expect_words("no such file or directory");
        container.end();
    }

    fn a_label_that_nothing_would_look_at_is_refused(t) {
        t.only_orlop("runc hands it to the kernel");
        if fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs") {
            t.skip("SELinux is on");
        }
        let container = t.sleeper(|_| {});
        let output = container.exec(&["--process-label", "system_u:system_r:x:s0"], &["exit", "0"]);
        output.expect_code(255).expect_words("--process-label: selinux is disabled or not supported");
        let profile = container.exec(&["--apparmor", "no-such-profile"], &["exit", "0"]);
        profile.expect_code(255).expect_words("apply apparmor profile \"no-such-profile\"");
        profile.expect_words("is AppArmor active here, and the profile loaded?");
        container.end();
    }

    fn sockets_of_a_service_manager_are_not_for_exec(t) {
        let container = t.sleeper(|_| {});
        let inner = t.runtime.command(&["exec", &container.id, "/probe", "report"]);
        let mut command = std::process::Command::new("bash");
        command.args(["-c", "exec 3</dev/zero; export LISTEN_FDS=1 LISTEN_PID=$$ NOTIFY_SOCKET=/nowhere; exec \"$@\"", "bash"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let report = Probe::parse(&t.runtime.finish(command));
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2"]);
        let env = report["env"].to_string();
        assert!(!env.contains("LISTEN_") && !env.contains("NOTIFY_SOCKET"), "{env}");
        container.end();
    }

    fn exec_as_another_user_in_a_user_namespace(t) {
        let container = t.sleeper(|config| {
            add_user_namespace(config, 200_000);
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
        });
        let pid_file = t.dir.join("pid");
        let flags = ["--detach", "-u", "1000:1000", "--pid-file", pid_file.to_str().unwrap()];
        container.exec(&flags, &["sleep"]).expect_ok();
        let pid = fs::read_to_string(pid_file).unwrap();
        let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        wait_until("the change of user", || status().contains("Uid:\t201000\t201000\t201000\t201000"));
        assert!(status().contains("Gid:\t201000\t201000\t201000\t201000"), "{}", status());
        container.end();
    }

    fn cap_reaches_a_user_only_where_the_config_has_it_inheritable(t) {
        for (inheritable, expected) in [(json!(["CAP_CHOWN"]), 1), (json!([]), 0)] {
            let container = t.sleeper(|config| {
                set_capabilities(config, &["CAP_CHOWN"]);
                config["process"]["capabilities"]["inheritable"] = inheritable.clone();
                config["process"]["capabilities"]["ambient"] = json!([]);
            });
            let seen = report(&container, &["--cap", "CAP_CHOWN", "--user", "1000"]);
            assert_eq!(seen.capabilities("ambient") & 1, expected, "{inheritable}");
            assert_eq!(seen.capabilities("effective") & 1, expected, "{inheritable}");
            assert_eq!(seen.capabilities("bounding") & 1, 1, "{inheritable}");
            container.end();
        }
    }

    fn a_process_file_has_a_schedule_of_its_own(t) {
        t.only_orlop("runc 1.1 has no scheduling for exec");
        let container = t.sleeper(|config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 4});
            config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
        });
        let mut own = process(&["/probe", "report"]);
        own["scheduler"] = json!({"policy": "SCHED_IDLE"});
        own["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 1});
        own["oomScoreAdj"] = json!(99);
        own["user"]["umask"] = json!(0o077);
        let seen = Probe::parse(&by_file(t, &container, &own, &[]));
        let plain = report(&container, &[]);
        for (key, expected) in [("oom_score_adj", json!("99")), ("umask", json!("0077"))] {
            assert_eq!(seen[key], expected, "{key}");
        }
        for key in ["scheduler", "io_priority"] {
            assert_ne!(seen[key], plain[key], "{key}");
        }
        container.end();
    }

    fn exec_in_a_container_with_the_hosts_processes_and_network(t) {
        let container = t.sleeper(|config| {
            crate::support::bundle::set_namespaces(config, &["mount", "ipc"]);
            config.as_object_mut().unwrap().remove("hostname");
        });
        let seen = report(&container, &[]);
        for kind in ["pid", "net", "uts", "mnt", "ipc"] {
            let init = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
            assert_eq!(seen["namespaces"][kind], json!(init), "{kind}");
        }
        let root = seen["root"].to_string();
        assert!(root.contains("probe"), "{root}");
        container.delete_force().expect_ok();
    }

    fn exec_joins_namespaces_that_init_has_joined_by_path(t) {
        let first = t.sleeper(|_| {});
        let path = |kind: &str| format!("/proc/{}/ns/{kind}", first.pid());
        let second = t.sleeper(|config| {
            let namespaces = [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")];
            let joined = namespaces.map(|(kind, file)| json!({"type": kind, "path": path(file)}));
            config["linux"]["namespaces"] = joined.into_iter().chain([json!({"type": "mount"})]).collect();
            config.as_object_mut().unwrap().remove("hostname");
        });
        let seen = report(&second, &[]);
        for kind in ["pid", "net", "ipc", "uts"] {
            assert_eq!(seen["namespaces"][kind], json!(fs::read_link(path(kind)).unwrap()), "{kind}");
        }
        assert_ne!(seen["namespaces"]["mnt"], json!(fs::read_link(path("mnt")).unwrap()));
        second.delete_force().expect_ok();
        first.end();
    }
}

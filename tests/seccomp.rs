//! Seccomp filters. (Flags, notification and architectures have their own tests.)

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::push;
use crate::support::{Output, Test, both_views};

/// The profile that Docker writes into every config.
fn docker_profile() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bundles/docker/config.json");
    let config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config["linux"]["seccomp"].clone()
}

/// A profile that allows everything but what the rules say.
fn allow_but(rules: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules})
}

/// What the probe's `syscall` says of each name.
fn try_calls(t: &Test, profile: &Value, names: &[&str]) -> Value {
    let output = run_with(t, profile, &[&["syscall"], names].concat());
    output.expect_ok();
    serde_json::from_str(&output.stdout).unwrap()
}

fn run_with(t: &Test, profile: &Value, args: &[&str]) -> Output {
    t.run(&t.bundle(args, |config| config["linux"]["seccomp"] = profile.clone()))
}

both_views! {
    fn a_filter_is_in_force_when_the_config_has_one(t) {
        let report = t.report_with(|config| config["linux"]["seccomp"] = docker_profile());
        assert_eq!(report["seccomp"], json!({"mode": "2", "filters": "1"}));
        let report = t.report_with(|_| {});
        assert_eq!(report["seccomp"], json!({"mode": "0", "filters": "0"}));
    }

    fn dockers_profile_refuses_what_it_should_and_nothing_else(t) {
        let names = ["getpid", "mkdir", "socket-unix", "mount", "umount2", "unshare-user", "bpf", "keyctl",
            "add_key", "reboot", "personality", "personality-odd"];
        let seen = try_calls(t, &docker_profile(), &names);
        let expected = json!({
            "getpid": "ok", "mkdir": "ENOENT", "socket-unix": "ok", "personality": "ok",
            "mount": "EPERM", "umount2": "EPERM", "unshare-user": "EPERM", "bpf": "EPERM", "keyctl": "EPERM",
            "add_key": "EPERM", "reboot": "EPERM", "personality-odd": "EPERM",
        });
        assert_eq!(seen, expected);
    }

    fn clone3_gets_enosys_so_that_libc_falls_back(t) {
        assert_eq!(try_calls(t, &docker_profile(), &["clone3"])["clone3"], "ENOSYS");
    }

    fn a_call_newer_than_the_profile_gets_enosys(t) {
        let profile = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["read", "write", "exit_group", "execve", "brk", "close"], "action": "SCMP_ACT_ALLOW"}]});
        let mut profile = profile;
        // All that the probe itself needs.
        push(&mut profile, "/syscalls", json!({"action": "SCMP_ACT_ALLOW", "names": ["mmap", "munmap", "mprotect",
            "arch_prctl", "set_tid_address", "sigaltstack", "rt_sigaction", "rt_sigprocmask", "ioctl", "writev",
            "readv", "fcntl", "futex", "madvise", "mremap", "getrandom", "poll", "close_range", "prlimit64",
            "rseq", "set_robust_list", "readlink", "readlinkat", "getpid", "gettid", "tgkill", "lseek", "fstat",
            "newfstatat", "openat", "getcwd", "prctl", "seccomp", "fstatfs", "epoll_ctl", "epoll_pwait",
            "nanosleep", "sched_yield", "sched_getaffinity", "setgroups", "setgid", "setuid", "capset", "capget",
            "chdir", "fchdir", "getdents64", "getppid", "access", "faccessat", "faccessat2", "pread64", "dup3",
            "clone", "exit", "rt_sigreturn", "kill", "sendmsg", "recvmsg", "sendto", "recvfrom", "umask",
            "setresuid", "setresgid", "keyctl", "openat2"]}));
        let seen = try_calls(t, &profile, &["newest", "mkdir"]);
        assert_eq!(seen, json!({"newest": "ENOSYS", "mkdir": "EPERM"}));
    }

    fn a_rule_gives_the_errno_that_it_names(t) {
        let profile = allow_but(json!([
            {"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO"}]));
        let seen = try_calls(t, &profile, &["mkdir", "chmod", "getpid"]);
        assert_eq!(seen, json!({"mkdir": "ENOSPC", "chmod": "EPERM", "getpid": "ok"}));
    }

    fn the_default_errno_is_the_one_that_the_profile_names(t) {
        let mut profile = docker_profile();
        profile["defaultErrnoRet"] = json!(28);
        let seen = try_calls(t, &profile, &["mount", "getpid"]);
        assert_eq!(seen, json!({"mount": "ENOSPC", "getpid": "ok"}));
    }

    fn a_condition_on_an_argument_counts(t) {
        // The third argument of mkdirat is the mode, 0700 in the probe.
        for (value, op, expected) in [
            (0o700, "SCMP_CMP_EQ", "EACCES"), (0o701, "SCMP_CMP_EQ", "ENOENT"),
            (0o701, "SCMP_CMP_NE", "EACCES"), (0o701, "SCMP_CMP_LT", "EACCES"),
            (0o700, "SCMP_CMP_LE", "EACCES"), (0o700, "SCMP_CMP_GT", "ENOENT"), (0o700, "SCMP_CMP_GE", "EACCES"),
        ] {
            let profile = allow_but(json!([{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                "args": [{"index": 2, "value": value, "op": op}]}]));
            assert_eq!(try_calls(t, &profile, &["mkdir"])["mkdir"], expected, "{op} {value:o}");
        }
    }

    fn a_masked_comparison_takes_value_as_mask_and_value_two_as_datum(t) {
        for (mask, datum, expected) in [(0o400, 0o400, "EACCES"), (0o400, 0, "ENOENT"), (0o7, 0, "EACCES")] {
            let profile = allow_but(json!([{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
                "args": [{"index": 2, "value": mask, "valueTwo": datum, "op": "SCMP_CMP_MASKED_EQ"}]}]));
            assert_eq!(try_calls(t, &profile, &["mkdir"])["mkdir"], expected, "{mask:o} {datum:o}");
        }
    }

    fn kill_ends_the_program_with_sigsys(t) {
        for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
            let profile = allow_but(json!([{"names": ["mkdirat"], "action": action}]));
            let output = run_with(t, &profile, &["syscall", "mkdir"]);
            assert_eq!(output.code(), 128 + 31, "{action}\n{output}");
        }
    }

    fn trap_sends_sigsys(t) {
        let profile = allow_but(json!([{"names": ["mkdirat"], "action": "SCMP_ACT_TRAP"}]));
        run_with(t, &profile, &["syscall", "mkdir"]).expect_code(128 + 31);
    }

    fn log_lets_the_call_through(t) {
        let profile = allow_but(json!([{"names": ["mkdirat"], "action": "SCMP_ACT_LOG"}]));
        assert_eq!(try_calls(t, &profile, &["mkdir"])["mkdir"], "ENOENT");
    }

    fn a_call_that_the_table_does_not_know_is_skipped(t) {
        let profile = allow_but(json!([{"names": ["made_up_call", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]));
        assert_eq!(try_calls(t, &profile, &["mkdir"])["mkdir"], "EACCES");
    }

    fn the_filter_holds_without_no_new_privileges_too(t) {
        for nnp in [true, false] {
            let report = t.report_with(|config| {
                config["process"]["noNewPrivileges"] = json!(nnp);
                config["linux"]["seccomp"] = docker_profile();
            });
            assert_eq!(report["seccomp"]["mode"], "2", "noNewPrivileges {nnp}");
            assert_eq!(report["no_new_privs"], json!(i32::from(nnp)));
        }
    }

    fn the_filter_holds_for_a_user_that_is_not_root(t) {
        let report = t.report_with(|config| {
            config["process"]["noNewPrivileges"] = json!(false);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            config["linux"]["seccomp"] = docker_profile();
        });
        assert_eq!(report["seccomp"]["mode"], "2");
        assert_eq!(report["uid"], json!([1000, 1000, 1000, 1000]));
    }

    fn exec_is_under_the_same_filter(t) {
        let container = t.sleeper(|config| config["linux"]["seccomp"] = docker_profile());
        let output = container.exec(&[], &["syscall", "mount", "getpid"]);
        let seen: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(seen, json!({"mount": "EPERM", "getpid": "ok"}));
        container.end();
    }

    fn exec_of_a_process_file_is_under_the_same_filter(t) {
        let container = t.sleeper(|config| config["linux"]["seccomp"] = docker_profile());
        let file = t.dir.join("process.json");
        let process = json!({"args": ["/probe", "syscall", "mount", "getpid"], "cwd": "/", "env": ["PATH=/"],
            "user": {"uid": 0, "gid": 0}});
        fs::write(&file, process.to_string()).unwrap();
        let output = t.runtime.call(&["exec", "--process", file.to_str().unwrap(), &container.id]);
        let seen: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(seen, json!({"mount": "EPERM", "getpid": "ok"}));
        container.end();
    }

    fn an_action_or_operator_that_does_not_exist_is_refused(t) {
        for rule in [
            json!({"names": ["mkdirat"], "action": "SCMP_ACT_NONSENSE"}),
            json!({"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_NONSENSE"}]}),
            json!({"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}),
        ] {
            run_with(t, &allow_but(json!([rule])), &["exit", "0"]).expect_code(1);
        }
    }
}

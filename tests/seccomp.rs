//! Seccomp filters. (Flags, notification and architectures have their own tests.)

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::bundle::push;
use crate::support::{Output, Test, both_views, once};

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

/// getppid by both entries of the machine, as the probe takes it: arguments can be added, which
/// the filter sees and the call does not.
const ENTRIES: [&str; 2] = ["x86_64:110", "i386:64"];

/// The entries that this kernel has.
fn entries(t: &Test) -> &'static [&'static str] {
    if !cfg!(target_arch = "x86_64") {
        t.skip("the entries are those of x86_64");
    }
    let output = t.run(&t.bundle(&["syscall", ENTRIES[1]], |_| {}));
    match output.code() {
        0 => &ENTRIES,
        _ => &ENTRIES[..1],
    }
}

/// A profile that allows everything but what a rule for getppid says, on three architectures.
fn getppid(mut rule: Value) -> Value {
    rule["names"] = json!(["getppid"]);
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]})
}

/// A plain reading of an operator.
fn holds(op: &str, arg: u64, value: u64, two: u64) -> bool {
    match op {
        "EQ" => arg == value,
        "NE" => arg != value,
        "LT" => arg < value,
        "LE" => arg <= value,
        "GT" => arg > value,
        "GE" => arg >= value,
        _ => arg & value == two,
    }
}

/// The flags of each filter that is loaded, as the kernel gets them; 0 is a filter without.
fn loaded_flags(t: &Test, profile: &Value) -> Vec<String> {
    let (strace, file) = (Path::new("/usr/bin/strace"), t.dir.join("trace"));
    if !strace.exists() {
        t.skip("strace is not installed");
    }
    let words = ["-f", "-e", "trace=seccomp", "-e", "raw=seccomp", "-o"];
    let mut before = vec![strace.as_os_str()];
    before.extend(words.iter().map(std::ffi::OsStr::new));
    before.push(file.as_os_str());
    let bundle = t.bundle(&["exit", "0"], |config| {
        config["linux"]["seccomp"] = profile.clone()
    });
    let runtime = t.runtime.behind(&before);
    runtime
        .call(&["run", "--bundle", bundle.path(), &bundle.id])
        .expect_ok();
    let text = fs::read_to_string(file).unwrap();
    let loads = text
        .lines()
        .filter_map(|line| line.split_once("seccomp(0x1, "));
    loads
        .filter(|(_, rest)| !rest.contains(", 0)") && rest.ends_with("= 0"))
        .map(|(_, rest)| rest.split(',').next().unwrap_or_default().to_owned())
        .collect()
}

once! {
    fn every_action_by_every_entry(t) {
        for entry in entries(t) {
            let thread = format!("thread:{entry}");
            for (action, errno, expected) in [
                ("ERRNO", json!(28), "ENOSPC"), ("ERRNO", Value::Null, "EPERM"), ("TRACE", json!(7), "ENOSYS"),
                ("LOG", Value::Null, "ok"), ("ALLOW", Value::Null, "ok"), ("KILL_THREAD", Value::Null, "ESRCH"),
                ("KILL", Value::Null, "ESRCH"), ("KILL_PROCESS", Value::Null, ""), ("TRAP", Value::Null, ""),
            ] {
                let mut rule = json!({"action": format!("SCMP_ACT_{action}")});
                if !errno.is_null() {
                    rule["errnoRet"] = errno;
                }
                let profile = getppid(rule);
                if expected.is_empty() {
                    let output = run_with(t, &profile, &["syscall", &thread]);
                    assert_eq!(output.code(), 128 + 31, "{entry} {action}\n{output}");
                } else {
                    let seen = try_calls(t, &profile, &[&thread]);
                    assert_eq!(seen[&thread], expected, "{entry} {action}");
                }
            }
        }
    }

    fn every_operator_compares_64_bits(t) {
        let high = 1_u64 << 32;
        let cases = [
            ("EQ", high + 5, 0), ("EQ", 5, 0), ("NE", high + 5, 0), ("LT", high + 6, 0), ("LT", 6, 0),
            ("LE", high + 5, 0), ("GT", high - 1, 0), ("GT", 5, 0), ("GE", high + 6, 0), ("GE", 6, 0),
            ("MASKED_EQ", high | 6, high | 2), ("MASKED_EQ", 6, 2),
        ];
        let args = [0, 2, 4, 5, 6, 0x8a, high - 1, high, high + 2, high + 5, high + 6, high + 0x8a, 2 * high + 5, u64::MAX];
        for entry in entries(t) {
            // A 32-bit call has no high halves: what the rule says of them is left out, as by libseccomp.
            let width = if *entry == ENTRIES[0] { u64::MAX } else { high - 1 };
            for (op, value, two) in cases {
                let profile = getppid(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 13, "args": [
                    {"index": 0, "value": value, "valueTwo": two, "op": format!("SCMP_CMP_{op}")}]}));
                let mut expected = serde_json::Map::new();
                for arg in args.into_iter().filter(|arg| *arg <= width) {
                    let result = if holds(op, arg, value & width, two & width) { "EACCES" } else { "ok" };
                    expected.insert(format!("{entry},{arg:#x}"), json!(result));
                }
                let words: Vec<&str> = expected.keys().map(String::as_str).collect();
                assert_eq!(try_calls(t, &profile, &words), json!(expected), "{op} {value:#x}");
            }
        }
    }

    fn the_same_argument_twice_is_either(t) {
        t.only_orlop("the libseccomp of runc 1.1 reads it alike, but by other rules");
        for entry in entries(t) {
            let one = |value: u64| json!({"index": 1, "value": value, "op": "SCMP_CMP_EQ"});
            let profile = getppid(json!({"action": "SCMP_ACT_ERRNO", "args": [one(3), one(4)]}));
            let words = [3, 4, 5].map(|arg| format!("{entry},0,{arg}"));
            let seen = try_calls(t, &profile, &words.each_ref().map(String::as_str));
            let expected = json!({&words[0]: "EPERM", &words[1]: "EPERM", &words[2]: "ok"});
            assert_eq!(seen, expected);
        }
    }

    fn another_architecture_and_x32_get_round_no_rule(t) {
        let entries = entries(t);
        let x32 = "x86_64:0x4000006e";
        let mut profile = getppid(json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 13}));
        assert_eq!(try_calls(t, &profile, &[x32])[x32], "EACCES");
        profile["architectures"] = json!(["SCMP_ARCH_X86_64"]);
        for call in entries[1..].iter().chain([&x32]) {
            let output = run_with(t, &profile, &["syscall", call]);
            assert_eq!(output.code(), 128 + 31, "{call}\n{output}");
        }
    }

    fn the_kernel_gets_the_flags_of_the_profile(t) {
        t.only_orlop("runc loads filters of its own first");
        let rules = || allow_but(json!([{"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
        assert_eq!(loaded_flags(t, &rules()), ["0x4"], "none given is SPEC_ALLOW");
        for (names, bits) in [
            (&[][..], "0"), (&["TSYNC"][..], "0x1"), (&["LOG"], "0x2"), (&["SPEC_ALLOW"], "0x4"), (&["TSYNC", "LOG"], "0x3"),
        ] {
            let mut profile = rules();
            let names: Vec<String> = names.iter().map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).collect();
            profile["flags"] = json!(names);
            assert_eq!(loaded_flags(t, &profile), [bits], "{names:?}");
        }
    }

    fn an_unknown_name_is_told_by_debug(t) {
        t.only_orlop("runc has other words");
        let profile = allow_but(json!([{"names": ["made_up_call", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]));
        let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["seccomp"] = profile);
        for (flags, told) in [(&["--debug"][..], true), (&[], false)] {
            let runtime = t.runtime.with_flags(flags);
            let output = runtime.call(&["run", "--bundle", bundle.path(), &bundle.id]);
            assert_eq!(output.expect_ok().stderr.contains("made_up_call"), told, "{output}");
        }
    }
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

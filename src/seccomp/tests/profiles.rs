//! What single profiles mean, and what is refused.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use serde_json::{Value, json};

use super::interpret::{Call, always_allowed, run, verify};
use super::reading::{I386, X32_BIT, X86_64};
use crate::error::{Error, Target};
use crate::seccomp::{Filter, Listener, arch, compile_for};

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

const READ: u32 = 0;
const WRITE: u32 = 1;
const GETPID: u32 = 39;
const SOCKET: u32 = 41;

fn compile(profile: Value) -> Result<Filter, Error> {
    compile_on(Arch::ScmpArchX86_64, profile)
}

fn compile_on(native: Arch, profile: Value) -> Result<Filter, Error> {
    let profile: LinuxSeccomp = serde_json::from_value(profile).unwrap();
    let filter = compile_for(native, &profile, "/linux/seccomp")?;
    verify(&filter.program).unwrap();
    Ok(filter)
}

/// The program of a profile with these rules, on x86_64 alone.
fn program(default: &str, rules: Value) -> Filter {
    compile(json!({ "defaultAction": default, "syscalls": rules })).unwrap()
}

fn answer(filter: &Filter, number: u32, args: &[u64]) -> u32 {
    answer_on(filter, X86_64, number, args)
}

fn answer_on(filter: &Filter, audit: u32, number: u32, args: &[u64]) -> u32 {
    let mut call = Call::new(audit, number);
    call.args[..args.len()].copy_from_slice(args);
    run(&filter.program, &call, false).action
}

/// The pointer and the words of the error.
fn refused(profile: Value) -> (String, String) {
    let error = compile(profile).unwrap_err();
    match error.target {
        Some(Target::Field(field)) => (field, error.step),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_action_is_what_the_kernel_calls_it() {
    let cases = [
        (json!({"action": "SCMP_ACT_KILL"}), 0),
        (json!({"action": "SCMP_ACT_KILL_THREAD"}), 0),
        (json!({"action": "SCMP_ACT_KILL_PROCESS"}), 0x8000_0000),
        (json!({"action": "SCMP_ACT_TRAP"}), 0x0003_0000),
        (json!({"action": "SCMP_ACT_ERRNO"}), 0x0005_0001),
        (
            json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 38}),
            0x0005_0026,
        ),
        (
            json!({"action": "SCMP_ACT_ERRNO", "errnoRet": 0}),
            0x0005_0000,
        ),
        (json!({"action": "SCMP_ACT_TRACE"}), 0x7ff0_0001),
        (
            json!({"action": "SCMP_ACT_TRACE", "errnoRet": 7}),
            0x7ff0_0007,
        ),
        (json!({"action": "SCMP_ACT_LOG"}), 0x7ffc_0000),
        (json!({"action": "SCMP_ACT_NOTIFY"}), 0x7fc0_0000),
    ];
    for (mut rule, wanted) in cases {
        rule["names"] = json!(["getpid"]);
        let filter = compile(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/agent",
            "syscalls": [rule],
        }))
        .unwrap();
        assert_eq!(answer(&filter, GETPID, &[]), wanted, "{rule}");
        assert_eq!(answer(&filter, READ, &[]), ALLOW);
    }
}

#[test]
fn the_default_action_has_an_errno_of_its_own() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 13,
        "syscalls": [{"names": ["getpid"], "action": "SCMP_ACT_ALLOW"}],
    }))
    .unwrap();
    assert_eq!(answer(&filter, READ, &[]), libc::SECCOMP_RET_ERRNO | 13);
}

#[test]
fn a_profile_without_rules_is_its_default() {
    for profile in [
        json!({"defaultAction": "SCMP_ACT_ERRNO"}),
        json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": []}),
    ] {
        let filter = compile(profile).unwrap();
        for number in [0, 1, 300, 500, 5000] {
            assert_eq!(answer(&filter, number, &[]), EPERM);
        }
        assert_eq!(answer_on(&filter, I386, 3, &[]), KILL);
    }
}

#[test]
fn each_operator_compares_all_64_bits() {
    const BIG: u64 = 5 << 32 | 7;
    type Holds = fn(u64) -> bool;
    let cases: [(&str, Holds); 6] = [
        ("NE", |is| is != BIG),
        ("LT", |is| is < BIG),
        ("LE", |is| is <= BIG),
        ("EQ", |is| is == BIG),
        ("GE", |is| is >= BIG),
        ("GT", |is| is > BIG),
    ];
    for (operator, wanted) in cases {
        let filter = program(
            "SCMP_ACT_ERRNO",
            json!([{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 5, "value": BIG, "op": format!("SCMP_CMP_{operator}")}]}]),
        );
        for is in [
            0,
            7,
            5,
            BIG - 1,
            BIG,
            BIG + 1,
            4 << 32 | 9,
            6 << 32,
            u64::MAX,
        ] {
            let allowed = answer(&filter, GETPID, &[9, 9, 9, 9, 9, is]) == ALLOW;
            assert_eq!(allowed, wanted(is), "{is:#x} {operator} {BIG:#x}");
        }
    }
}

#[test]
fn masked_eq_takes_the_mask_first() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([{"names": ["getpid"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 0xf_0000_000fu64, "valueTwo": 0x1_0000_0002u64,
             "op": "SCMP_CMP_MASKED_EQ"}]}]),
    );
    assert_eq!(answer(&filter, GETPID, &[0x1_0000_0002]), ALLOW);
    assert_eq!(answer(&filter, GETPID, &[0xf1_0000_fff2]), ALLOW);
    assert_eq!(answer(&filter, GETPID, &[0x1_0000_0003]), EPERM);
    assert_eq!(answer(&filter, GETPID, &[0x2]), EPERM);
}

#[test]
fn conditions_on_different_arguments_must_all_hold() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 2, "op": "SCMP_CMP_EQ"}]}]),
    );
    assert_eq!(answer(&filter, SOCKET, &[1, 2]), ALLOW);
    assert_eq!(answer(&filter, SOCKET, &[1, 3]), EPERM);
    assert_eq!(answer(&filter, SOCKET, &[0, 2]), EPERM);
}

#[test]
fn an_argument_tested_twice_makes_any_condition_enough() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
            {"index": 0, "value": 2, "op": "SCMP_CMP_EQ"},
            {"index": 1, "value": 9, "op": "SCMP_CMP_EQ"}]}]),
    );
    for args in [[1, 0], [2, 0], [5, 9]] {
        assert_eq!(answer(&filter, SOCKET, &args), ALLOW, "{args:?}");
    }
    assert_eq!(answer(&filter, SOCKET, &[3, 8]), EPERM);
}

#[test]
fn a_rule_without_conditions_decides_wherever_it_stands() {
    let conditional = json!({"names": ["socket"], "action": "SCMP_ACT_TRAP", "args": [
        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]});
    let plain = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"});
    let late = json!({"names": ["socket"], "action": "SCMP_ACT_LOG"});
    for rules in [
        json!([conditional, plain, late]),
        json!([plain, conditional, late]),
    ] {
        let filter = program("SCMP_ACT_ERRNO", rules);
        assert_eq!(answer(&filter, SOCKET, &[1]), ALLOW);
        assert!(always_allowed(&filter.program, X86_64, SOCKET));
    }
}

#[test]
fn of_two_rules_that_hold_the_first_decides() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([
            {"names": ["socket"], "action": "SCMP_ACT_TRAP", "args": [
                {"index": 0, "value": 5, "op": "SCMP_CMP_LT"}]},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "value": 9, "op": "SCMP_CMP_LT"}]},
        ]),
    );
    assert_eq!(answer(&filter, SOCKET, &[4]), libc::SECCOMP_RET_TRAP);
    assert_eq!(answer(&filter, SOCKET, &[8]), ALLOW);
    assert_eq!(answer(&filter, SOCKET, &[9]), EPERM);
}

#[test]
fn a_rule_with_the_default_action_says_nothing() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
        ]),
    );
    assert_eq!(answer(&filter, SOCKET, &[]), ALLOW);
}

#[test]
fn calls_newer_than_the_profile_get_enosys() {
    let rules = json!([{"names": ["getpid", "read"], "action": "SCMP_ACT_ALLOW"}]);
    for default in ["SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
        let filter = program(default, rules.clone());
        assert_ne!(answer(&filter, GETPID - 1, &[]), ENOSYS, "{default}");
        assert_eq!(answer(&filter, GETPID, &[]), ALLOW);
        assert_eq!(answer(&filter, GETPID + 1, &[]), ENOSYS, "{default}");
        assert_eq!(answer(&filter, X32_BIT - 1, &[]), ENOSYS, "{default}");
        // -1 is how a tracer has a call skipped.
        assert_ne!(answer(&filter, u32::MAX, &[]), ENOSYS, "{default}");
    }
    // Where the default lets calls through, new ones come through as well.
    for default in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let filter = program(default, rules.clone());
        assert_ne!(answer(&filter, GETPID + 1, &[]), ENOSYS, "{default}");
    }
    // The highest number counts whatever its rule says; number 0 dates nothing.
    let denied = json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO"}]);
    let filter = program("SCMP_ACT_ERRNO", denied);
    assert_eq!(answer(&filter, SOCKET, &[]), EPERM);
    assert_eq!(answer(&filter, SOCKET + 1, &[]), ENOSYS);
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]),
    );
    assert_eq!(answer(&filter, WRITE, &[]), EPERM);
}

#[test]
fn an_abi_that_is_not_listed_is_killed() {
    let rules = json!([{"names": ["mount"], "action": "SCMP_ACT_ERRNO"}]);
    let filter = program("SCMP_ACT_ALLOW", rules);
    const MOUNT: u32 = 165;
    assert_eq!(answer(&filter, MOUNT, &[]), EPERM);
    assert_eq!(answer(&filter, X32_BIT | MOUNT, &[]), KILL);
    assert_eq!(answer_on(&filter, I386, 21, &[]), KILL);
    assert_eq!(answer_on(&filter, 0xc000_00b7, 40, &[]), KILL);
}

#[test]
fn a_listed_abi_has_its_own_numbers() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X32", "SCMP_ARCH_X86"],
        "syscalls": [{"names": ["execve", "_llseek"], "action": "SCMP_ACT_ERRNO"}],
    }))
    .unwrap();
    assert_eq!(answer(&filter, 59, &[]), EPERM);
    assert_eq!(answer(&filter, X32_BIT | 520, &[]), EPERM);
    assert_eq!(answer(&filter, X32_BIT | 59, &[]), ALLOW);
    assert_eq!(answer_on(&filter, I386, 11, &[]), EPERM);
    assert_eq!(answer_on(&filter, I386, 140, &[]), EPERM);
    assert_eq!(answer_on(&filter, I386, 59, &[]), ALLOW);
    assert!(filter.skipped.is_empty());
}

#[test]
fn arguments_of_a_32_bit_abi_are_compared_as_32_bits() {
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            {"index": 0, "value": u64::MAX, "op": "SCMP_CMP_EQ"}]}],
    }))
    .unwrap();
    assert_eq!(answer_on(&filter, I386, 136, &[0xffff_ffff]), ALLOW);
    assert_eq!(answer(&filter, 135, &[0xffff_ffff]), EPERM);
    assert_eq!(answer(&filter, 135, &[u64::MAX]), ALLOW);
}

#[test]
fn a_rule_holds_on_the_way_through_socketcall_too() {
    let i386 = |rules: Value, default: &str| {
        compile(json!({
            "defaultAction": default, "architectures": ["SCMP_ARCH_X86"], "syscalls": rules,
        }))
        .unwrap()
    };
    const SOCKETCALL: u32 = 102;
    const IPC: u32 = 117;
    let filter = i386(
        json!([{"names": ["connect", "shmget"], "action": "SCMP_ACT_ALLOW"}]),
        "SCMP_ACT_ERRNO",
    );
    assert_eq!(answer_on(&filter, I386, SOCKETCALL, &[3]), ALLOW);
    assert_eq!(answer_on(&filter, I386, SOCKETCALL, &[2]), EPERM);
    assert_eq!(answer_on(&filter, I386, IPC, &[23]), ALLOW);
    assert_eq!(answer_on(&filter, I386, IPC, &[1 << 16 | 23]), ALLOW);
    assert_eq!(answer_on(&filter, I386, IPC, &[21]), EPERM);

    // What depends on arguments that cannot be seen is as strict as it can be.
    let args = json!([{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]);
    let rules = json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args}]);
    let filter = i386(rules, "SCMP_ACT_ALLOW");
    assert_eq!(answer_on(&filter, I386, SOCKETCALL, &[1]), EPERM);
    let rules = json!([{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args}]);
    let filter = i386(rules, "SCMP_ACT_ERRNO");
    assert_eq!(answer_on(&filter, I386, SOCKETCALL, &[1]), EPERM);

    // A rule on the multiplexer itself decides for all.
    let filter = i386(
        json!([{"names": ["socket"], "action": "SCMP_ACT_TRAP"},
               {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}]),
        "SCMP_ACT_ERRNO",
    );
    assert_eq!(answer_on(&filter, I386, SOCKETCALL, &[1]), ALLOW);
}

#[test]
fn every_listed_abi_of_every_machine_has_a_table() {
    let pairs = [
        (Arch::ScmpArchAarch64, &["SCMP_ARCH_ARM"][..]),
        (
            Arch::ScmpArchMips64,
            &["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"],
        ),
        (
            Arch::ScmpArchMipsel64,
            &["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
        ),
        (Arch::ScmpArchPpc64, &["SCMP_ARCH_PPC"]),
        (Arch::ScmpArchPpc64le, &[]),
        (Arch::ScmpArchS390x, &["SCMP_ARCH_S390"]),
        (Arch::ScmpArchRiscv64, &[]),
        (Arch::ScmpArchLoongarch64, &[]),
    ];
    for (native, others) in pairs {
        let filter = compile_on(
            native,
            json!({
                "defaultAction": "SCMP_ACT_ERRNO",
                "architectures": others,
                "syscalls": [
                    {"names": ["read", "execve", "openat"], "action": "SCMP_ACT_ALLOW"},
                    {"names": ["getsid"], "action": "SCMP_ACT_ALLOW", "args": [
                        {"index": 0, "value": 3u64 << 32 | 4, "op": "SCMP_CMP_GE"}]},
                ],
            }),
        )
        .unwrap();
        assert!(filter.skipped.is_empty());
        let listed = arch::all()
            .filter(|abi| abi.arch == native || others.contains(&abi.arch.to_string().as_str()));
        let mut seen = 0;
        for abi in listed {
            seen += 1;
            let answer = |name: &str, arg: u64| {
                let (number, _) = abi.calls().find(|(_, call)| *call == name).unwrap();
                let mut call = Call::new(abi.audit, number);
                call.args[0] = arg;
                run(&filter.program, &call, abi.big_endian).action
            };
            for name in ["read", "execve", "openat"] {
                assert_eq!(answer(name, 0), ALLOW, "{} {name}", abi.name);
            }
            assert_eq!(answer("getpid", 0), EPERM, "{}", abi.name);
            assert_eq!(answer("getsid", 4), if abi.narrow { ALLOW } else { EPERM });
            if !abi.narrow {
                assert_eq!(answer("getsid", 4 << 32), ALLOW, "{}", abi.name);
                assert_eq!(answer("getsid", 3 << 32 | 4), ALLOW, "{}", abi.name);
            }
        }
        assert_eq!(seen, 1 + others.len());
        assert_eq!(answer_on(&filter, 1, 0, &[]), KILL);
    }
}

#[test]
fn a_number_unknown_to_s390_is_enosys() {
    let filter = compile_on(
        Arch::ScmpArchS390x,
        json!({"defaultAction": "SCMP_ACT_ERRNO",
               "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}),
    )
    .unwrap();
    assert_eq!(answer_on(&filter, 0x8000_0016, 0, &[]), ENOSYS);
    assert_eq!(answer_on(&filter, 0x8000_0016, 1, &[]), EPERM);
}

#[test]
fn unknown_names_are_skipped_and_reported() {
    let filter = program(
        "SCMP_ACT_ERRNO",
        json!([{"names": ["read", "no_such_call", "_llseek", "recv"], "action": "SCMP_ACT_ALLOW"}]),
    );
    assert_eq!(filter.skipped, ["no_such_call"]);
    assert_eq!(answer(&filter, READ, &[]), ALLOW);
}

#[test]
fn flags_become_bits_and_the_default_is_spec_allow() {
    let flags = |flags: Value, action: &str| {
        compile(json!({
            "defaultAction": "SCMP_ACT_ALLOW", "flags": flags, "listenerPath": "/agent",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }))
        .map(|filter| filter.flags)
    };
    assert_eq!(flags(Value::Null, "SCMP_ACT_ERRNO").unwrap(), 1 << 2);
    assert_eq!(flags(json!([]), "SCMP_ACT_ERRNO").unwrap(), 0);
    let all = json!([
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW"
    ]);
    assert_eq!(flags(all, "SCMP_ACT_ERRNO").unwrap(), 0b111);
    assert_eq!(
        flags(Value::Null, "SCMP_ACT_NOTIFY").unwrap(),
        1 << 3 | 1 << 2
    );
    let wait = json!([
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        "SECCOMP_FILTER_FLAG_TSYNC"
    ]);
    assert_eq!(
        flags(wait.clone(), "SCMP_ACT_NOTIFY").unwrap(),
        1 << 5 | 1 << 4 | 1 << 3 | 1
    );
    let error = flags(wait, "SCMP_ACT_ERRNO").unwrap_err();
    assert_eq!(
        error.target,
        Some(Target::Field("/linux/seccomp/flags/0".into()))
    );
}

#[test]
fn a_listener_is_there_when_something_notifies() {
    let listener = |action: &str| {
        compile(json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": "/agent", "listenerMetadata": "who",
            "syscalls": [{"names": ["mkdir"], "action": action}],
        }))
        .unwrap()
        .listener
    };
    assert_eq!(listener("SCMP_ACT_ERRNO"), None);
    assert_eq!(
        listener("SCMP_ACT_NOTIFY"),
        Some(Listener {
            path: "/agent".into(),
            metadata: "who".into()
        })
    );
}

#[test]
fn what_is_wrong_is_named_by_its_field() {
    let rule = |rule: Value| json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/agent", "syscalls": [rule]});
    let cases = [
        (
            json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
            "/defaultAction",
            "SCMP_ACT_NOTIFY cannot be used as default action",
        ),
        (
            rule(json!({"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"})),
            "/syscalls/0/names/1",
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW",
                   "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}),
            "/listenerPath",
            "seccomp listenerPath is not set",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}),
            "/listenerMetadata",
            "listenerMetadata needs a listenerPath",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1}),
            "/defaultErrnoRet",
            "the seccomp action SCMP_ACT_KILL has no errno",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_LOG", "errnoRet": 1})),
            "/syscalls/0/errnoRet",
            "the seccomp action SCMP_ACT_LOG has no errno",
        ),
        (
            rule(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 65536})),
            "/syscalls/0/errnoRet",
            "the value of a seccomp action has 16 bits",
        ),
        (
            rule(json!({"names": [""], "action": "SCMP_ACT_LOG"})),
            "/syscalls/0/names/0",
            "empty string is not a valid syscall",
        ),
        (
            rule(
                json!({"names": ["read"], "action": "SCMP_ACT_LOG", "args": [
                {"index": 0, "value": 0, "op": "SCMP_CMP_EQ"},
                {"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}),
            ),
            "/syscalls/0/args/1/index",
            "a system call has arguments 0 to 5",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ALLOW",
                   "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_M68K"]}),
            "/architectures/1",
            "the seccomp architecture SCMP_ARCH_M68K is not supported",
        ),
    ];
    for (profile, field, words) in cases {
        let (got_field, got_words) = refused(profile);
        assert_eq!(got_field, format!("/linux/seccomp{field}"));
        assert_eq!(got_words, words);
    }
}

/// Many rules, each with conditions of its own, so that no two checks are the same.
fn heavy(names: &[&str], conditions: u64) -> Value {
    let rules: Vec<Value> = names
        .iter()
        .enumerate()
        .map(|(place, name)| {
            let args: Vec<Value> = (0..conditions)
                .map(|n| json!({"index": 0, "value": place as u64 * 1000 + n, "op": "SCMP_CMP_EQ"}))
                .collect();
            json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args})
        })
        .collect();
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": rules})
}

#[test]
fn jumps_reach_across_long_programs() {
    let calls: Vec<(u32, &str)> = arch::find(Arch::ScmpArchX86_64).unwrap().calls().collect();
    let names: Vec<&str> = calls.iter().map(|(_, name)| *name).collect();
    let filter = compile(heavy(&names[..300], 2)).unwrap();
    assert!(filter.program.len() > 2000, "{}", filter.program.len());
    for (place, (number, name)) in calls[..300].iter().enumerate() {
        let base = place as u64 * 1000;
        for (value, wanted) in [(base, ALLOW), (base + 1, ALLOW), (base + 2, EPERM)] {
            assert_eq!(answer(&filter, *number, &[value]), wanted, "{name}");
        }
    }
}

#[test]
fn many_calls_share_checks_that_are_far_off() {
    // Number by number another verdict, so that no two ranges merge and the trees are long.
    let abi = arch::find(Arch::ScmpArchX86_64).unwrap();
    let calls: Vec<(u32, &str)> = abi.calls().collect();
    let third = |n: usize| -> Vec<&str> {
        let every = calls.iter().enumerate().filter(|(place, _)| place % 3 == n);
        every.map(|(_, call)| call.1).collect()
    };
    let equals = |value: u64| json!([{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]);
    let filter = compile(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "architectures": ["SCMP_ARCH_X32", "SCMP_ARCH_X86"],
        "syscalls": [
            {"names": third(0), "action": "SCMP_ACT_ALLOW", "args": equals(1)},
            {"names": third(1), "action": "SCMP_ACT_ALLOW", "args": equals(2)},
            {"names": third(2), "action": "SCMP_ACT_TRAP"},
        ],
    }))
    .unwrap();
    assert!(filter.program.len() > 600, "{}", filter.program.len());
    for (place, (number, name)) in calls.iter().enumerate() {
        for arg in [0, 1, 2] {
            let wanted = match (place % 3, arg) {
                (2, _) => libc::SECCOMP_RET_TRAP,
                (0, 1) | (1, 2) => ALLOW,
                _ => EPERM,
            };
            assert_eq!(answer(&filter, *number, &[arg]), wanted, "{name} {arg}");
        }
    }
}

#[test]
fn a_profile_that_cannot_fit_is_refused_with_the_count() {
    let calls = arch::find(Arch::ScmpArchX86_64).unwrap().calls();
    let names: Vec<&str> = calls.map(|(_, name)| name).collect();
    let (field, words) = refused(heavy(&names[..300], 4));
    assert_eq!(field, "/linux/seccomp");
    assert!(
        words.starts_with("the seccomp profile needs 6")
            && words.ends_with("the kernel takes 4096"),
        "{words}"
    );
}

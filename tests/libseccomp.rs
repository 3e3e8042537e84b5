//! The filter of a container is the one that libseccomp makes for runc, call by call.
//!
//! The same bundle is started by both runtimes, the filter that the kernel runs is read back
//! (PTRACE_SECCOMP_GET_FILTER), and both programs are executed on every call number of
//! x86_64, x32 and i386, with arguments at and beside the values that the profile compares
//! with. docs/seccomp.md tells where the two differ, and why; the profiles here stay clear of
//! that.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Runtime, Test, View, both_views, wait_until};

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const X32_BIT: u32 = 0x4000_0000;

/// Calls that Debian 12's libseccomp does not know, at least not on every one of the three.
const TOO_NEW: [&str; 14] = [
    "file_getattr",
    "file_setattr",
    "getxattrat",
    "listmount",
    "listxattrat",
    "lsm_get_self_attr",
    "lsm_list_modules",
    "lsm_set_self_attr",
    "map_shadow_stack",
    "mseal",
    "removexattrat",
    "setxattrat",
    "statmount",
    "uretprobe",
];

/// What the runtimes and the probe call once the filter is in force.
const NEEDED: &str = "access arch_prctl brk capget capset chdir clock_nanosleep clone clone3 close close_range dup3 \
    epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat \
    faccessat2 fchdir fcntl fstat fstatfs futex getcwd getdents64 getgid getpid getppid getrandom gettid \
    getuid ioctl keyctl kill lseek madvise mmap mprotect mremap munmap nanosleep newfstatat open openat \
    openat2 pause pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat readv recvmsg \
    restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigtimedwait \
    sched_getaffinity sched_yield seccomp sendmsg set_robust_list set_tid_address setgid setgroups \
    setresgid setresuid setuid sigaltstack statx tgkill umask uname write writev";

/// `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
struct Insn {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

struct Call {
    audit: u32,
    number: u32,
    args: [u64; 6],
}

/// What a program answers, and whether it looked at the arguments.
fn answer(program: &[Insn], call: &Call) -> (u32, bool) {
    let (mut place, mut word, mut looked) = (0, 0, false);
    loop {
        let i = program[place];
        place += 1;
        let mut branch = |holds: bool| place += usize::from(if holds { i.jt } else { i.jf });
        match (i.code, i.k) {
            (0x20, 0) => word = call.number,
            (0x20, 4) => word = call.audit,
            (0x20, offset) => {
                let arg = call.args[(offset as usize - 16) / 8];
                word = (if offset % 8 == 4 { arg >> 32 } else { arg }) as u32;
                looked = true;
            }
            (0x54, k) => word &= k,
            (0x05, k) => place += k as usize,
            (0x15, k) => branch(word == k),
            (0x25, k) => branch(word > k),
            (0x35, k) => branch(word >= k),
            (0x45, k) => branch(word & k != 0),
            (0x06, k) => return (k, looked),
            _ => panic!("an instruction of another kind: {i:x?}"),
        }
    }
}

/// The filter that the kernel runs for a process.
#[allow(unsafe_code)]
fn filter_of(pid: i32) -> Vec<Insn> {
    const PTRACE_SECCOMP_GET_FILTER: u32 = 0x420c;
    let request = |request: u32, data: *mut Insn| {
        // SAFETY: attach and detach take no memory; with GET_FILTER, `data` is null, for the
        // count alone, or has room for as many instructions as the count said.
        unsafe { libc::ptrace(request, pid, 0usize, data) }
    };
    let attached = request(libc::PTRACE_ATTACH, std::ptr::null_mut());
    assert_eq!(attached, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: no status is asked for, so waitpid touches no memory.
    let stopped = unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    assert_eq!(stopped, pid);
    let count = request(PTRACE_SECCOMP_GET_FILTER, std::ptr::null_mut());
    assert!(count > 0, "{}", std::io::Error::last_os_error());
    let mut program = vec![Insn::default(); count as usize];
    assert_eq!(
        request(PTRACE_SECCOMP_GET_FILTER, program.as_mut_ptr()),
        count
    );
    assert_eq!(request(libc::PTRACE_DETACH, std::ptr::null_mut()), 0);
    program
}

/// The filter of a container that a runtime has started.
fn loaded(t: &Test, runtime: &Runtime, profile: &Value) -> Vec<Insn> {
    let bundle = t.bundle(&["sleep"], |config| {
        config["linux"]["seccomp"] = profile.clone()
    });
    let created = runtime.call(&["create", "--bundle", bundle.path(), &bundle.id]);
    created.expect_ok();
    runtime.call(&["start", &bundle.id]).expect_ok();
    wait_until("the program to run", || {
        fs::read_to_string(&created.stdout_path)
            .unwrap()
            .contains("ready")
    });
    let state = runtime.call(&["state", &bundle.id]);
    let state: Value = serde_json::from_str(&state.stdout).unwrap();
    let program = filter_of(state["pid"].as_i64().unwrap() as i32);
    runtime.call(&["delete", "--force", &bundle.id]).expect_ok();
    fs::remove_dir_all(&bundle.dir).unwrap();
    program
}

fn same_as_libseccomp(t: &Test, profiles: impl Iterator<Item = Value>) {
    if !["/usr/sbin/runc", "/usr/bin/runc"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        t.skip("runc is not installed, so there is nothing to compare with");
    }
    let runc = Runtime::new(Path::new("runc"), &t.dir, "state-of-runc");
    for profile in profiles {
        let expected = loaded(t, &runc, &profile);
        let ours = loaded(t, &t.runtime, &profile);
        compare(&profile, &expected, &ours);
    }
}

fn compare(profile: &Value, expected: &[Insn], ours: &[Insn]) {
    let mut dice = Dice(expected.len() as u64 | 1);
    let rules = profile["syscalls"].as_array().unwrap();
    let tested: Vec<&Value> = rules
        .iter()
        .filter_map(|rule| rule["args"].as_array())
        .flatten()
        .collect();
    let mut numbers: Vec<(u32, u32)> = Vec::new();
    for (audit, base) in [(X86_64, 0), (X86_64, X32_BIT), (I386, 0)] {
        numbers.extend((0..600).map(|number| (audit, base | number)));
    }
    for edge in [
        X32_BIT - 1,
        0x7fff_ffff,
        0xc000_0000,
        u32::MAX - 1,
        u32::MAX,
    ] {
        numbers.extend([(X86_64, edge), (I386, edge), (0xc000_00b7, edge)]);
    }
    for (audit, number) in numbers {
        for _ in 0..16 {
            let mut args = [0; 6].map(|_| dice.value());
            for _ in 0..3.min(tested.len()) {
                let arg = dice.pick(&tested);
                let field = dice.pick(&["value", "valueTwo"]);
                let near = dice.below(3).wrapping_sub(1);
                let value = arg[field].as_u64().unwrap_or_default();
                args[arg["index"].as_u64().unwrap() as usize] = value.wrapping_add(near);
            }
            // The selectors of socketcall and ipc.
            if audit == I386 && matches!(number, 102 | 117) {
                args[0] = dice.below(26);
            }
            if audit != X86_64 || number & X32_BIT != 0 {
                args = args.map(|arg| arg & 0xffff_ffff);
            }
            let call = Call {
                audit,
                number,
                args,
            };
            let (expected, looked) = answer(expected, &call);
            let (ours, ours_looked) = answer(ours, &call);
            assert_eq!(
                format!("{ours:#x}"),
                format!("{expected:#x}"),
                "{audit:#x} call {number:#x} {args:#x?}\n{profile}"
            );
            if !looked && !ours_looked {
                break;
            }
        }
    }
}

/// xorshift64*: the same profiles in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 20) % bound
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }

    fn value(&mut self) -> u64 {
        let random = self.below(1 << 40) << 24 | self.below(1 << 24);
        *self.pick(&[
            0,
            1,
            2,
            7,
            0x20000,
            0x7e02_0000,
            0xffff_ffff,
            1 << 32,
            u64::MAX,
            random,
        ])
    }

    fn action(&mut self) -> Value {
        let action = *self.pick(&[
            "ALLOW",
            "ERRNO",
            "ERRNO",
            "KILL",
            "KILL_PROCESS",
            "TRAP",
            "TRACE",
            "LOG",
        ]);
        let mut rule = json!({"action": format!("SCMP_ACT_{action}")});
        if matches!(action, "ERRNO" | "TRACE") && self.below(2) == 0 {
            rule["errnoRet"] = json!(self.pick(&[0, 13, 38, 95]));
        }
        rule
    }
}

/// The newest profile of Docker, less what Debian's libseccomp does not know.
fn docker() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/seccomp/docker.json");
    let mut profile: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for rule in profile["syscalls"].as_array_mut().unwrap() {
        let names = rule["names"].as_array_mut().unwrap();
        names.retain(|name| !TOO_NEW.contains(&name.as_str().unwrap()));
    }
    profile
}

/// A profile with rules of all kinds about the calls that Docker's profile names.
fn generated(seed: u64) -> Value {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let names: Vec<String> = docker()["syscalls"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap().to_owned())
        .filter(|name| !NEEDED.split_whitespace().any(|needed| needed == name))
        .collect();
    let mut profile = dice.action();
    let fields = profile.as_object_mut().unwrap();
    for (from, to) in [("action", "defaultAction"), ("errnoRet", "defaultErrnoRet")] {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    // runc 1.1 gives ENOSYS only where the profile lists the architecture, even the native one.
    let others = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    let mut listed = vec!["SCMP_ARCH_X86_64"];
    listed.extend(others.iter().filter(|_| dice.below(3) > 0));
    let mut rules = vec![json!({
        "names": NEEDED.split_whitespace().collect::<Vec<_>>(),
        "action": "SCMP_ACT_ALLOW",
    })];
    // libseccomp refuses a call that has two numbers when two rules name it.
    let mut used: Vec<String> = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let mut rule = dice.action();
        let mut picked: Vec<String> = (0..1 + dice.below(60))
            .map(|_| dice.pick(&names).clone())
            .collect();
        picked.sort();
        picked.dedup();
        picked.retain(|name| !BEHIND_ANOTHER.contains(&name.as_str()) || !used.contains(name));
        used.extend_from_slice(&picked);
        rule["names"] = json!(picked);
        rules.push(rule);
    }
    let mut left = names.clone();
    left.retain(|name| !BEHIND_ANOTHER.contains(&name.as_str()));
    left.sort();
    left.dedup();
    for _ in 0..dice.below(16) {
        let name = left.swap_remove(dice.below(left.len() as u64) as usize);
        let action = dice.action();
        // x32 compares 64 bits here and 32 with libseccomp.
        let narrow = listed.contains(&"SCMP_ARCH_X32");
        for args in conditions(&mut dice, narrow) {
            let mut rule = action.clone();
            rule["names"] = json!([name]);
            rule["args"] = args;
            rules.push(rule);
        }
    }
    profile["architectures"] = json!(listed);
    profile["syscalls"] = json!(rules);
    profile
}

/// Calls that i386 has behind `socketcall` and `ipc` as well.
const BEHIND_ANOTHER: [&str; 34] = [
    "socketcall",
    "socket",
    "bind",
    "connect",
    "listen",
    "accept",
    "getsockname",
    "getpeername",
    "socketpair",
    "send",
    "recv",
    "sendto",
    "recvfrom",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendmsg",
    "recvmsg",
    "accept4",
    "recvmmsg",
    "sendmmsg",
    "ipc",
    "semop",
    "semget",
    "semctl",
    "semtimedop",
    "msgsnd",
    "msgrcv",
    "msgget",
    "msgctl",
    "shmat",
    "shmdt",
    "shmget",
    "shmctl",
];

/// The `args` of one rule with conditions on several arguments, or of several rules that
/// compare the same argument with values, as real profiles do.
fn conditions(dice: &mut Dice, narrow: bool) -> Vec<Value> {
    const OPERATORS: [&str; 7] = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"];
    let mask = if narrow { 0xffff_ffff } else { u64::MAX };
    let one = |dice: &mut Dice, index: u64, operator: &str| {
        json!({"index": index, "value": dice.value() & mask, "valueTwo": dice.value() & mask,
               "op": format!("SCMP_CMP_{operator}")})
    };
    let first = dice.below(6);
    if dice.below(2) == 0 {
        let args = (0..1 + dice.below(3)).map(|n| {
            let operator = dice.pick(&OPERATORS);
            one(dice, (first + n) % 6, operator)
        });
        return vec![args.collect()];
    }
    // libseccomp refuses the same rule twice.
    let mut rules: Vec<Value> = Vec::new();
    for _ in 0..1 + dice.below(4) {
        let arg = one(dice, first, "EQ");
        if !rules.iter().any(|rule| rule[0]["value"] == arg["value"]) {
            rules.push(json!([arg]));
        }
    }
    rules
}

both_views! {
    fn dockers_profile(t) {
        same_as_libseccomp(t, [docker()].into_iter());
    }

    fn generated_profiles(t) {
        // Other ones in each view.
        let seeds = if t.view == View::V1 { 0..25 } else { 25..50 };
        same_as_libseccomp(t, seeds.map(generated));
    }
}

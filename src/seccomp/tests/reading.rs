//! A plain reading of a profile: slow, straight from config.json's types, and sharing nothing
//! with the compiler but the tables of calls.

use std::collections::HashMap;
use std::sync::LazyLock;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompOperator as Op,
    LinuxSyscall,
};

use super::interpret::Call;
use crate::seccomp::arch;

pub const X86_64: u32 = 0xc000_003e;
pub const I386: u32 = 0x4000_0003;
pub const X32_BIT: u32 = 0x4000_0000;

/// One call of the three ABIs that the random profiles use.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub audit: u32,
    pub number: u32,
    pub name: &'static str,
}

pub static TABLES: LazyLock<Vec<Known>> = LazyLock::new(|| {
    [Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
        .into_iter()
        .map(|arch| arch::find(arch).unwrap())
        .flat_map(|abi| {
            let audit = abi.audit;
            abi.calls().map(move |(number, name)| Known {
                audit,
                number,
                name,
            })
        })
        .collect()
});

/// Where a name is in [`TABLES`].
static PLACES: LazyLock<HashMap<&'static str, Vec<&'static Known>>> = LazyLock::new(|| {
    let mut places: HashMap<_, Vec<_>> = HashMap::new();
    for known in TABLES.iter() {
        places.entry(known.name).or_default().push(known);
    }
    places
});

const ABIS: [Arch; 3] = [Arch::ScmpArchX86_64, Arch::ScmpArchX32, Arch::ScmpArchX86];

/// The ABI that a number belongs to: an index of [`ABIS`].
fn abi(audit: u32, number: u32) -> Option<usize> {
    match (audit, number < X32_BIT) {
        (X86_64, true) => Some(0),
        (X86_64, false) => Some(1),
        (I386, _) => Some(2),
        _ => None,
    }
}

/// The index of a call's row in [`Reading::named`].
fn row(number: u32) -> usize {
    (number & !X32_BIT) as usize
}

pub struct Reading<'a> {
    profile: &'a LinuxSeccomp,
    default: u32,
    by_name: HashMap<&'a str, Vec<&'a LinuxSyscall>>,
    /// By ABI and number, the calls that a rule names or that can select one that a rule names.
    named: [[Option<&'static str>; 600]; 3],
    /// By ABI.
    newest: [u32; 3],
}

impl<'a> Reading<'a> {
    /// How an x86_64 machine reads the profile.
    pub fn new(profile: &'a LinuxSeccomp) -> Self {
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for syscall in profile.syscalls().iter().flatten() {
            for name in syscall.names() {
                by_name.entry(name.as_str()).or_default().push(syscall);
            }
        }
        let mut newest = [0; 3];
        let mut named = [[None; 600]; 3];
        let mut places = |name: &str, dates: bool| {
            for known in PLACES.get(name).into_iter().flatten() {
                let abi = abi(known.audit, known.number).unwrap();
                named[abi][row(known.number)] = Some(known.name);
                let behind = SOCKET_CALLS.contains(&known.name)
                    || IPC_CALLS.iter().any(|call| call.1 == known.name);
                if dates && !(known.audit == I386 && behind) {
                    newest[abi] = known.number.max(newest[abi]);
                }
            }
        };
        by_name.keys().for_each(|name| places(name, true));
        places("socketcall", false);
        places("ipc", false);
        let default = value(profile.default_action(), profile.default_errno_ret());
        Self {
            profile,
            default,
            by_name,
            named,
            newest,
        }
    }

    /// The SECCOMP_RET_* value of a call.
    pub fn answer(&self, call: &Call) -> u32 {
        let Some(abi) = abi(call.audit, call.number) else {
            return libc::SECCOMP_RET_KILL_THREAD;
        };
        let arch = ABIS[abi];
        let listed = self.profile.architectures().iter().flatten();
        if arch != Arch::ScmpArchX86_64 && !listed.copied().any(|listed| listed == arch) {
            return if call.audit == X86_64 && call.number == u32::MAX {
                self.default
            } else {
                libc::SECCOMP_RET_KILL_THREAD
            };
        }
        let name = self.named[abi].get(row(call.number)).copied().flatten();
        let narrow = arch == Arch::ScmpArchX86;
        if let Some(answer) = name.and_then(|name| self.named(name, call, narrow)) {
            return answer;
        }
        let permissive = matches!(
            self.profile.default_action(),
            Action::ScmpActAllow | Action::ScmpActLog | Action::ScmpActTrace
        );
        let newest = self.newest[abi];
        if newest > 0 && call.number > newest && !permissive {
            libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32
        } else {
            self.default
        }
    }

    fn named(&self, name: &str, call: &Call, narrow: bool) -> Option<u32> {
        let rules = self.by_name.get(name);
        let own = rules.map(|rules| self.decide(rules, call, narrow));
        if !narrow || !matches!(name, "socketcall" | "ipc") {
            return own.map(|(answer, _)| answer);
        }
        // Own rules that hold come first, then the call behind.
        if let Some((answer, true)) = own {
            return Some(answer);
        }
        let behind = if name == "ipc" {
            IPC_CALLS
                .iter()
                .find(|(selector, _)| *selector == call.args[0] & 0xffff)
                .map(|(_, name)| *name)
        } else {
            (call.args[0] as u32)
                .checked_sub(1)
                .and_then(|place| SOCKET_CALLS.get(place as usize).copied())
        };
        let any = |name: &&str| self.by_name.contains_key(name);
        let some_behind = if name == "ipc" {
            IPC_CALLS.iter().map(|(_, name)| name).any(any)
        } else {
            SOCKET_CALLS.iter().any(any)
        };
        match behind.and_then(|behind| self.by_name.get(behind)) {
            Some(rules) => Some(self.strictest(rules)),
            None if some_behind || rules.is_some() => Some(self.default),
            None => None,
        }
    }

    /// The answer, and whether a rule gave it.
    fn decide(&self, rules: &[&LinuxSyscall], call: &Call, narrow: bool) -> (u32, bool) {
        let mut held = None;
        for rule in rules {
            let action = value(rule.action(), rule.errno_ret());
            if action == self.default {
                continue;
            }
            let args = rule.args().as_deref().unwrap_or_default();
            if args.is_empty() {
                return (action, true);
            }
            let mut results = args.iter().map(|arg| holds(arg, call, narrow));
            let twice = args.iter().enumerate().any(|(place, arg)| {
                let rest = args.iter().skip(place + 1);
                rest.into_iter().any(|other| other.index() == arg.index())
            });
            let all = if twice {
                results.any(|holds| holds)
            } else {
                results.all(|holds| holds)
            };
            if all && held.is_none() {
                held = Some(action);
            }
        }
        (held.unwrap_or(self.default), held.is_some())
    }

    /// The arguments cannot be seen: the strictest that they could lead to.
    fn strictest(&self, rules: &[&LinuxSyscall]) -> u32 {
        let mut actions = vec![self.default];
        for rule in rules {
            let action = value(rule.action(), rule.errno_ret());
            if action == self.default {
                continue;
            }
            if rule.args().as_deref().unwrap_or_default().is_empty() {
                return action;
            }
            actions.push(action);
        }
        actions
            .into_iter()
            .min_by_key(|action| *action as i32)
            .unwrap()
    }
}

fn holds(arg: &LinuxSeccompArg, call: &Call, narrow: bool) -> bool {
    let width = if narrow {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let is = call.args[arg.index()] & width;
    let value = arg.value() & width;
    match arg.op() {
        Op::ScmpCmpNe => is != value,
        Op::ScmpCmpLt => is < value,
        Op::ScmpCmpLe => is <= value,
        Op::ScmpCmpEq => is == value,
        Op::ScmpCmpGe => is >= value,
        Op::ScmpCmpGt => is > value,
        Op::ScmpCmpMaskedEq => is & value == arg.value_two().unwrap_or(0) & value,
    }
}

fn value(action: Action, errno: Option<u32>) -> u32 {
    let data = errno.unwrap_or(libc::EPERM as u32);
    match action {
        Action::ScmpActKill | Action::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        Action::ScmpActErrno => libc::SECCOMP_RET_ERRNO | data,
        Action::ScmpActNotify => libc::SECCOMP_RET_USER_NOTIF,
        Action::ScmpActTrace => libc::SECCOMP_RET_TRACE | data,
        Action::ScmpActLog => libc::SECCOMP_RET_LOG,
        Action::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
    }
}

/// linux/net.h, from SYS_SOCKET (1) on.
pub const SOCKET_CALLS: [&str; 20] = [
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
];

/// linux/ipc.h.
pub const IPC_CALLS: [(u64, &str); 12] = [
    (1, "semop"),
    (2, "semget"),
    (3, "semctl"),
    (4, "semtimedop"),
    (11, "msgsnd"),
    (12, "msgrcv"),
    (13, "msgget"),
    (14, "msgctl"),
    (21, "shmat"),
    (22, "shmdt"),
    (23, "shmget"),
    (24, "shmctl"),
];

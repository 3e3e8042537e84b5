//! `socketcall` and `ipc`: one number, many calls.
//!
//! Old 32-bit ABIs (and s390x, ppc) reach the socket and System V calls through one number
//! whose first argument selects the call; libcs still do so on i386. A rule on `connect` must
//! hold on that way too, or programs break where it allows, and get round it where it denies.
//!
//! The arguments of the selected call lie in memory, where no filter can look. So a name whose
//! verdict depends on arguments gets, on this way, the strictest of what it could be.

use seccompiler::SeccompCmpOp;

use super::rules::{Condition, Rule, Rules, Verdict, fold};

/// Names by selector, from linux/net.h.
const SOCKET_CALLS: [(u64, &str); 20] = [
    (1, "socket"),
    (2, "bind"),
    (3, "connect"),
    (4, "listen"),
    (5, "accept"),
    (6, "getsockname"),
    (7, "getpeername"),
    (8, "socketpair"),
    (9, "send"),
    (10, "recv"),
    (11, "sendto"),
    (12, "recvfrom"),
    (13, "shutdown"),
    (14, "setsockopt"),
    (15, "getsockopt"),
    (16, "sendmsg"),
    (17, "recvmsg"),
    (18, "accept4"),
    (19, "recvmmsg"),
    (20, "sendmmsg"),
];

/// The same from linux/ipc.h; bits above the low 16 are a version that the kernel cuts off.
const IPC_CALLS: [(u64, &str); 12] = [
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
const IPC_SELECTOR: u64 = 0xffff;

/// Is this a call that `socketcall` or `ipc` can select?
pub fn selectable(name: &str) -> bool {
    let mut calls = SOCKET_CALLS.iter().chain(&IPC_CALLS);
    calls.any(|&(_, call)| call == name)
}

/// The verdict on a multiplexer, from its own rules and those on the calls behind it; `None`
/// when the profile names neither, or `name` is no multiplexer.
pub fn verdict(name: &str, rules: &Rules) -> Option<Verdict> {
    let (calls, operator): (&[_], _) = match name {
        "socketcall" => (&SOCKET_CALLS, SeccompCmpOp::Eq),
        "ipc" => (&IPC_CALLS, SeccompCmpOp::MaskedEq(IPC_SELECTOR)),
        _ => return None,
    };
    let own = rules.verdict(name);
    let mut checks: Vec<Rule> = match own {
        Some(Verdict::Return(action)) if *action != rules.default => {
            return Some(Verdict::Return(*action));
        }
        Some(Verdict::Check(checks)) => checks.to_vec(),
        _ => Vec::new(),
    };
    let mut any = own.is_some();
    for &(selector, call) in calls {
        if let Some(verdict) = rules.verdict(call) {
            any = true;
            checks.push(Rule {
                conditions: vec![Condition {
                    argument: 0,
                    operator: operator.clone(),
                    value: selector,
                }],
                action: strictest(verdict, rules.default),
            });
        }
    }
    any.then(|| fold(std::iter::once(&*checks), rules.default))
}

/// The strictest action that a verdict can end with.
fn strictest(verdict: &Verdict, default: u32) -> u32 {
    // The kernel's own order: of two filters' answers it takes the lower, as signed numbers.
    let rank = |action: &u32| action.cast_signed();
    match verdict {
        Verdict::Return(action) => *action,
        Verdict::Check(rules) => rules
            .iter()
            .map(|rule| rule.action)
            .fold(default, |one, other| std::cmp::min_by_key(one, other, rank)),
    }
}

//! The profile of config.json as verdicts: what becomes of each name.
//!
//! The rules of one name are folded in the order of the profile, as libseccomp folds them for
//! runc:
//!
//! - a rule whose action is the default one says nothing new and is dropped;
//! - the first rule without conditions decides, whatever stands before or after it;
//! - else the first rule whose conditions hold decides, and if none holds the default action;
//! - a rule that tests the same argument twice is as many rules of one condition each (OR, not
//!   AND), the way runc has read profiles since before rules could have two conditions.
//!
//! Everything that can be wrong in a profile is found here, with the JSON pointer of its field.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::rc::Rc;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};
use seccompiler::SeccompCmpOp;

use crate::error::{Error, Result};

/// SECCOMP_RET_* of linux/seccomp.h.
pub const RET_KILL_THREAD: u32 = 0;
pub const RET_ERRNO: u32 = 0x0005_0000;
pub const RET_TRACE: u32 = 0x7ff0_0000;
pub const RET_LOG: u32 = 0x7ffc_0000;
pub const RET_ALLOW: u32 = 0x7fff_0000;
/// Action bits of a return value; the rest is the errno or the tracer's value.
pub const RET_ACTION: u32 = 0xffff_0000;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same for all arguments: a SECCOMP_RET_* value.
    Return(u32),
    /// The first rule that holds, else the default action. Never empty.
    Check(Rc<[Rule]>),
}

/// Conditions that must all hold, and the SECCOMP_RET_* value if they do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

/// A comparison of one argument (0 to 5) with a 64-bit value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub argument: u8,
    pub operator: SeccompCmpOp,
    pub value: u64,
}

/// A profile, read and checked.
pub struct Rules<'a> {
    /// SECCOMP_RET_* value for what no rule decides.
    pub default: u32,
    /// Calls newer than the profile get ENOSYS, so that a libc falls back to an older call.
    /// Not when the default lets calls through: there, new calls work or say ENOSYS by
    /// themselves, and a tracer should see them.
    pub newer_is_enosys: bool,
    /// Some rule has the action NOTIFY.
    pub notifies: bool,
    /// In the order in which the profile names them first.
    names: Vec<Name<'a>>,
    /// Index in `names`.
    places: Places<'a>,
}

/// Each name of each table is looked up, so the hash is a quick one (FNV-1a), without a key:
/// who writes the profile gains nothing from collisions.
type Places<'a> = HashMap<&'a str, usize, BuildHasherDefault<Fnv>>;

struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

struct Name<'a> {
    name: &'a str,
    verdict: Verdict,
    /// Some table has it: it was asked for.
    found: Cell<bool>,
}

impl<'a> Rules<'a> {
    /// Read a profile; `field` is its JSON pointer.
    pub fn read(profile: &'a LinuxSeccomp, field: &str) -> Result<Self> {
        let default_action = profile.default_action();
        if default_action == LinuxSeccompAction::ScmpActNotify {
            return Err(Error::field(
                format!("{field}/defaultAction"),
                "SCMP_ACT_NOTIFY cannot be used as default action",
            ));
        }
        let default = action(default_action, profile.default_errno_ret(), || {
            format!("{field}/defaultErrnoRet")
        })?;

        let syscalls = profile.syscalls().as_deref().unwrap_or_default();
        let count = syscalls.iter().map(|syscall| syscall.names().len()).sum();
        let mut named = Vec::with_capacity(count);
        let mut places = Places::with_capacity_and_hasher(count, BuildHasherDefault::default());
        let mut notifies = false;
        for (index, syscall) in syscalls.iter().enumerate() {
            let field = || format!("{field}/syscalls/{index}");
            let rules: Rc<[Rule]> = alternatives(syscall, &field)?.into();
            let notify = syscall.action() == LinuxSeccompAction::ScmpActNotify;
            for (place, name) in syscall.names().iter().enumerate() {
                check_name(name, notify, || format!("{}/names/{place}", field()))?;
                notifies |= notify;
                let next = places.len();
                let place = *places.entry(name.as_str()).or_insert(next);
                named.push((place, name.as_str(), Rc::clone(&rules)));
            }
        }
        // Stable: the rules of one name stay in the profile's order.
        named.sort_by_key(|&(place, ..)| place);
        let names = named
            .chunk_by(|one, other| one.0 == other.0)
            .filter_map(|group| {
                let &(_, name, _) = group.first()?;
                let verdict = fold(group.iter().map(|(.., rules)| &**rules), default);
                let found = Cell::new(false);
                Some(Name {
                    name,
                    verdict,
                    found,
                })
            })
            .collect();
        Ok(Self {
            default,
            newer_is_enosys: !matches!(default & RET_ACTION, RET_ALLOW | RET_LOG | RET_TRACE),
            notifies,
            names,
            places,
        })
    }

    /// The verdict on a call that some table has; `None` when the profile does not name it.
    pub fn verdict(&self, name: &str) -> Option<&Verdict> {
        let entry = self.names.get(*self.places.get(name)?)?;
        entry.found.set(true);
        Some(&entry.verdict)
    }

    /// The names that [`Rules::verdict`] was never asked for.
    pub fn not_found(&self) -> impl Iterator<Item = &'a str> {
        let rest = self.names.iter().filter(|entry| !entry.found.get());
        rest.map(|entry| entry.name)
    }
}

/// One verdict from the rules of one name, in their order.
pub fn fold<'r>(rules: impl Iterator<Item = &'r [Rule]> + Clone, default: u32) -> Verdict {
    let effective = rules.flatten().filter(|rule| rule.action != default);
    if let Some(rule) = effective.clone().find(|rule| rule.conditions.is_empty()) {
        return Verdict::Return(rule.action);
    }
    let checks: Rc<[Rule]> = effective.cloned().collect();
    if checks.is_empty() {
        Verdict::Return(default)
    } else {
        Verdict::Check(checks)
    }
}

/// An entry of `syscalls` as rules: one without conditions, one with all of them, or one for
/// each when an argument is tested twice.
fn alternatives(syscall: &LinuxSyscall, field: &dyn Fn() -> String) -> Result<Vec<Rule>> {
    let action = action(syscall.action(), syscall.errno_ret(), || {
        format!("{}/errnoRet", field())
    })?;
    let args = syscall.args().as_deref().unwrap_or_default();
    let mut tested = [false; 6];
    let mut twice = false;
    let mut conditions = Vec::with_capacity(args.len());
    for (index, arg) in args.iter().enumerate() {
        let condition = condition(arg)
            .filter(|condition| usize::from(condition.argument) < tested.len())
            .ok_or_else(|| {
                Error::field(
                    format!("{}/args/{index}/index", field()),
                    "a system call has arguments 0 to 5",
                )
            })?;
        if let Some(tested) = tested.get_mut(arg.index()) {
            twice |= std::mem::replace(tested, true);
        }
        conditions.push(condition);
    }
    let rule = |conditions| Rule { conditions, action };
    Ok(if twice {
        conditions.into_iter().map(|c| rule(vec![c])).collect()
    } else {
        vec![rule(conditions)]
    })
}

fn condition(arg: &LinuxSeccompArg) -> Option<Condition> {
    let (operator, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (SeccompCmpOp::Ne, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (SeccompCmpOp::Lt, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (SeccompCmpOp::Le, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (SeccompCmpOp::Eq, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (SeccompCmpOp::Ge, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (SeccompCmpOp::Gt, arg.value()),
        // Here `value` is the mask, and `valueTwo` what the masked argument must equal.
        LinuxSeccompOperator::ScmpCmpMaskedEq => (
            SeccompCmpOp::MaskedEq(arg.value()),
            arg.value_two().unwrap_or(0),
        ),
    };
    Some(Condition {
        argument: u8::try_from(arg.index()).ok()?,
        operator,
        value,
    })
}

/// The SECCOMP_RET_* value of an action; `field` is the pointer of its errno.
fn action(
    action: LinuxSeccompAction,
    errno_ret: Option<u32>,
    field: impl Fn() -> String,
) -> Result<u32> {
    use LinuxSeccompAction::{ScmpActErrno, ScmpActTrace};
    if let Some(value) = errno_ret {
        if !matches!(action, ScmpActErrno | ScmpActTrace) {
            return Err(Error::field(
                field(),
                format!("the seccomp action {action} has no errno"),
            ));
        }
        if value & RET_ACTION != 0 {
            return Err(Error::field(
                field(),
                "the value of a seccomp action has 16 bits",
            ));
        }
    }
    Ok(action.as_u32(errno_ret))
}

fn check_name(name: &str, notify: bool, field: impl Fn() -> String) -> Result<()> {
    if name.is_empty() {
        return Err(Error::field(field(), "empty string is not a valid syscall"));
    }
    // The number of the listener's fd is handed over by write(2) when the filter is loaded.
    if notify && name == "write" {
        return Err(Error::field(
            field(),
            "SCMP_ACT_NOTIFY cannot be used for the write syscall",
        ));
    }
    Ok(())
}

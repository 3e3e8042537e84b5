//! Verdicts per name as verdicts per number: the numbers from 0 to 2^32 - 1 cut into ranges
//! with the same verdict.
//!
//! What is in no table of the profile is not missing here, it has a range as well: the default
//! action, ENOSYS above the newest call that the profile names, or KILL for a number of an ABI
//! that the profile leaves out (x32, most often).

use super::arch::Abi;
use super::multiplex;
use super::rules::{RET_ERRNO, RET_KILL_THREAD, Rules, Verdict};

/// Numbers from `start` to the next range's start.
pub struct Range<'a> {
    pub start: u32,
    pub verdict: Verdict,
    /// Whose numbers they are; checks of arguments depend on it.
    pub abi: &'a Abi,
}

const RET_ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;

/// What libseccomp answers for an architecture that is not in the profile, whatever the
/// profile's default is: its calls cannot be judged, so they cannot be let through.
pub const FOREIGN: u32 = RET_KILL_THREAD;

/// The ranges of the ABIs of one AUDIT_ARCH_* value, sorted by their spans. The first begins
/// at 0; neighbours differ.
pub fn ranges<'a>(abis: &[&'a Abi], rules: &Rules) -> Vec<Range<'a>> {
    let mut ranges = Ranges(Vec::new());
    let mut next = Some(0);
    for abi in abis {
        if let Some(hole) = next.filter(|start| start < abi.span.start()) {
            ranges.push(hole, Verdict::Return(FOREIGN), abi);
        }
        ranges.abi(abi, rules);
        next = abi.span.end().checked_add(1);
    }
    if let (Some(start), Some(abi)) = (next, abis.last()) {
        ranges.push(start, Verdict::Return(FOREIGN), abi);
        // A tracer makes the kernel skip a call by setting its number to -1. That is no call
        // of a foreign ABI.
        ranges.push(u32::MAX, Verdict::Return(rules.default), abi);
    }
    ranges.0
}

struct Ranges<'a>(Vec<Range<'a>>);

impl<'a> Ranges<'a> {
    fn push(&mut self, start: u32, verdict: Verdict, abi: &'a Abi) {
        match self.0.last() {
            Some(last) if last.verdict == verdict && last.abi.narrow == abi.narrow => {}
            _ => self.0.push(Range {
                start,
                verdict,
                abi,
            }),
        }
    }

    fn abi(&mut self, abi: &'a Abi, rules: &Rules) {
        let calls = named(abi, rules);
        let newest = newest(abi, &calls, rules);
        let mut next = Some(*abi.span.start());
        if newest.is_some() && abi.zero_is_unknown() {
            self.push(0, Verdict::Return(RET_ENOSYS), abi);
            next = Some(1);
        }
        for (number, _, verdict) in calls {
            if let Some(start) = next.filter(|&start| start < number) {
                self.unnamed(start, number - 1, newest, rules.default, abi);
            }
            self.push(number, verdict, abi);
            next = number.checked_add(1);
        }
        if let Some(start) = next.filter(|start| start <= abi.span.end()) {
            self.unnamed(start, *abi.span.end(), newest, rules.default, abi);
        }
    }

    /// Numbers that the profile does not name: newer than the profile, or left out by it.
    fn unnamed(&mut self, start: u32, end: u32, newest: Option<u32>, default: u32, abi: &'a Abi) {
        let newer = newest.and_then(|newest| newest.checked_add(1));
        if newer.is_none_or(|newer| start < newer) {
            self.push(start, Verdict::Return(default), abi);
        }
        if let Some(newer) = newer.filter(|&newer| newer <= end) {
            self.push(newer.max(start), Verdict::Return(RET_ENOSYS), abi);
        }
    }
}

/// The calls of an ABI that the profile decides on, in the order of their numbers.
fn named(abi: &Abi, rules: &Rules) -> Vec<(u32, &'static str, Verdict)> {
    let multiplexed = abi.multiplexed();
    abi.calls()
        .filter_map(|(number, name)| {
            let verdict = if multiplexed && matches!(name, "socketcall" | "ipc") {
                multiplex::verdict(name, rules)
            } else {
                rules.verdict(name).cloned()
            };
            Some((number, name, verdict?))
        })
        .collect()
}

/// The newest call that the profile names, if calls above it are to get ENOSYS: the highest
/// number, as runc has it. A number of 0 tells nothing of the profile's age.
fn newest(abi: &Abi, calls: &[(u32, &str, Verdict)], rules: &Rules) -> Option<u32> {
    if !rules.newer_is_enosys {
        return None;
    }
    calls
        .iter()
        .rev()
        .find(|(number, name, _)| rules.verdict(name).is_some() && dates(abi, *number, name))
        .map(|&(number, ..)| number)
        .filter(|&number| number > 0)
}

/// Does this call's number say how new the profile is? Not where it stands apart from the
/// table, or where runc takes the call for one behind a multiplexer.
fn dates(abi: &Abi, number: u32, name: &str) -> bool {
    let behind_another = abi.multiplexed() && multiplex::selectable(name);
    !abi.private(number) && !behind_another
}

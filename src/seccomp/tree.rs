//! Ranges of numbers as a program: architecture, then a balanced search, then the leaves.
//!
//! The program is written from its end to its start. All jumps of BPF go forward, so whatever
//! an instruction jumps to is there already, at a position counted from the end that no longer
//! moves. A conditional jump reaches 255 instructions; what is farther off gets a copy nearby
//! (a RET) or an unconditional jump nearby (anything else).

use std::collections::HashMap;

use super::Insn;
use super::args;
use super::insn;
use super::ranges::{FOREIGN, Range};
use super::rules::Verdict;
use crate::error::Result;

/// One AUDIT_ARCH_* value and the ranges of its numbers.
pub struct Section<'a> {
    pub audit: u32,
    pub ranges: Vec<Range<'a>>,
}

/// The whole program; `default` is the SECCOMP_RET_* value for arguments that no rule takes.
/// The first section is the one that is found first.
pub fn program(sections: &[Section], default: u32) -> Result<Vec<Insn>> {
    let mut writer = Writer::default();
    // The checks of arguments go to the end, so that the search trees stay dense and their
    // jumps short.
    let mut segments = Vec::with_capacity(sections.len());
    for section in sections.iter().rev() {
        let leaves = section
            .ranges
            .iter()
            .map(|range| Ok((range.start, writer.leaf(range, default)?)))
            .collect::<Result<Vec<_>>>()?;
        segments.push((section.audit, group(&leaves)));
    }
    let mut starts = Vec::with_capacity(sections.len());
    for (audit, segments) in segments {
        let root = writer.search(&segments);
        writer.fall_into(root);
        starts.push((audit, writer.push(insn::load(insn::NUMBER))));
    }
    let mut otherwise = Target::Return(FOREIGN);
    for (audit, start) in starts {
        otherwise = writer.branch(insn::JEQ, audit, Target::Place(start), otherwise);
    }
    writer.fall_into(otherwise);
    writer.push(insn::load(insn::ARCH));
    Ok(writer.finish())
}

/// Where a jump goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// A RET of this value, wherever one is near.
    Return(u32),
    /// A position, counted from the program's end.
    Place(usize),
}

/// Numbers that go one way but for a few single ones: cheaper by comparing those for equality
/// than by cutting the range at both sides of each.
struct Segment {
    start: u32,
    usual: Target,
    exceptions: Vec<(u32, Target)>,
}

/// With more in one segment, comparing them in turn would take longer than one step down.
const MAX_EXCEPTIONS: usize = 2;

fn group(leaves: &[(u32, Target)]) -> Vec<Segment> {
    let single = |place: usize| match (leaves.get(place), leaves.get(place + 1)) {
        (Some((start, _)), Some((next, _))) => next - start == 1,
        _ => false,
    };
    let mut segments: Vec<Segment> = Vec::new();
    let mut place = 0;
    while let Some(&(start, usual)) = leaves.get(place) {
        let mut exceptions = Vec::new();
        place += 1;
        while exceptions.len() < MAX_EXCEPTIONS && single(place) {
            let back = |at: usize| leaves.get(at).is_some_and(|&(_, target)| target == usual);
            // One exception and back to the usual way, or two side by side and back.
            let run = match (back(place + 1), single(place + 1) && back(place + 2)) {
                (true, _) => 1,
                (false, true) if exceptions.len() + 2 <= MAX_EXCEPTIONS => 2,
                _ => break,
            };
            exceptions.extend(leaves.iter().skip(place).take(run));
            place += run + 1;
        }
        segments.push(Segment {
            start,
            usual,
            exceptions,
        });
    }
    segments
}

/// A program in the making, last instruction first.
#[derive(Default)]
struct Writer {
    /// Reversed.
    code: Vec<Insn>,
    /// The nearest RET of each value; there are few.
    returns: Vec<(u32, usize)>,
    /// The nearest jump to a place that is too far off for a conditional one.
    relays: HashMap<usize, usize>,
    /// Checks of arguments that are already there: calls often share one.
    checks: HashMap<Vec<Insn>, usize>,
}

/// How far a conditional jump may reach, less the two instructions that [`Writer::branch`] may
/// have to put between the jump and its targets.
const NEAR: usize = 255 - 2;

impl Writer {
    fn push(&mut self, i: Insn) -> usize {
        self.code.push(i);
        self.code.len() - 1
    }

    /// Instructions between the one that will be pushed next and a place.
    fn distance(&self, place: usize) -> usize {
        self.code.len() - 1 - place
    }

    /// The target of a range; the check of its arguments is written if need be.
    fn leaf(&mut self, range: &Range, default: u32) -> Result<Target> {
        let checks = match &range.verdict {
            Verdict::Return(value) => return Ok(Target::Return(*value)),
            Verdict::Check(checks) => args::compile(checks, default, range.abi)?,
        };
        if let Some(&place) = self.checks.get(&checks) {
            return Ok(Target::Place(place));
        }
        self.code.extend(checks.iter().rev());
        let place = self.code.len() - 1;
        self.checks.insert(checks, place);
        Ok(Target::Place(place))
    }

    /// The search among segments, one after the other in the order of their numbers.
    fn search(&mut self, segments: &[Segment]) -> Target {
        match segments {
            [] => Target::Return(FOREIGN),
            [segment] => segment
                .exceptions
                .iter()
                .rev()
                .fold(segment.usual, |otherwise, &(number, target)| {
                    self.branch(insn::JEQ, number, target, otherwise)
                }),
            _ => {
                let (low, high) = segments.split_at(segments.len() / 2);
                let border = high.first().map_or(0, |segment| segment.start);
                let above = self.search(high);
                let below = self.search(low);
                self.branch(insn::JGE, border, above, below)
            }
        }
    }

    /// A conditional jump.
    fn branch(&mut self, code: u16, k: u32, yes: Target, no: Target) -> Target {
        let yes = self.near(yes);
        let no = self.near(no);
        // `near` keeps both within reach of a byte.
        let (jt, jf) = (self.distance(yes) as u8, self.distance(no) as u8);
        Target::Place(self.push(Insn { code, jt, jf, k }))
    }

    /// A place within reach of a conditional jump from which the target is reached.
    fn near(&mut self, target: Target) -> usize {
        match target {
            Target::Return(value) => {
                let mut known = self.returns.iter().rev().filter(|known| known.0 == value);
                match known.next() {
                    Some(&(_, place)) if self.distance(place) <= NEAR => place,
                    _ => {
                        let place = self.push(insn::ret(value));
                        self.returns.push((value, place));
                        place
                    }
                }
            }
            Target::Place(place) if self.distance(place) <= NEAR => place,
            Target::Place(place) => match self.relays.get(&place) {
                Some(&relay) if self.distance(relay) <= NEAR => relay,
                _ => {
                    let relay = self.push(insn::jump(self.distance(place) as u32));
                    self.relays.insert(place, relay);
                    relay
                }
            },
        }
    }

    /// Make the next instruction continue at a target.
    fn fall_into(&mut self, target: Target) {
        match target {
            Target::Return(value) => {
                self.push(insn::ret(value));
            }
            Target::Place(place) if self.distance(place) == 0 => {}
            Target::Place(place) => {
                self.push(insn::jump(self.distance(place) as u32));
            }
        }
    }

    fn finish(mut self) -> Vec<Insn> {
        self.code.reverse();
        self.code
    }
}

//! A program as text, with the names of calls: what `orlop plan` prints.
//!
//! One line an instruction: its number, what it does, where it goes. Jumps only go forward,
//! so one pass knows, for each instruction, which word it looks at and on which architecture.

use super::Insn;
use super::arch::{self, Abi};
use super::insn;
use super::rules;

/// What is known before an instruction runs; `None` where paths that disagree meet.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Known {
    /// Offset in `struct seccomp_data` of the word that was loaded last.
    word: Option<u32>,
    /// AUDIT_ARCH_* value.
    audit: Option<u32>,
}

/// One line for each instruction.
pub fn disassemble(program: &[Insn]) -> Vec<String> {
    // The outer None: nothing leads here yet.
    let mut known: Vec<Option<Known>> = vec![None; program.len()];
    if let Some(first) = known.first_mut() {
        *first = Some(Known::default());
    }
    let mut lines = Vec::with_capacity(program.len());
    for (place, i) in program.iter().enumerate() {
        let before = known.get(place).copied().flatten().unwrap_or_default();
        lines.push(format!("{place:4}  {}", line(*i, place, before)));
        for (next, after) in successors(*i, place, before) {
            if let Some(slot) = known.get_mut(next) {
                *slot = Some(slot.map_or(after, |other| meet(other, after)));
            }
        }
    }
    lines
}

fn meet(one: Known, other: Known) -> Known {
    Known {
        word: one.word.filter(|_| one.word == other.word),
        audit: one.audit.filter(|_| one.audit == other.audit),
    }
}

/// The instructions that may come next, and what is known there.
fn successors(i: Insn, place: usize, before: Known) -> Vec<(usize, Known)> {
    let to = |by: u32| place + 1 + by as usize;
    match i.code {
        insn::RET => Vec::new(),
        insn::JUMP => vec![(to(i.k), before)],
        insn::JEQ | insn::JGT | insn::JGE | insn::JSET => {
            let mut yes = before;
            if i.code == insn::JEQ && before.word == Some(insn::ARCH) {
                yes.audit = Some(i.k);
            }
            vec![(to(i.jt.into()), yes), (to(i.jf.into()), before)]
        }
        insn::LOAD => {
            let word = Some(i.k);
            vec![(to(0), Known { word, ..before })]
        }
        _ => vec![(to(0), before)],
    }
}

fn line(i: Insn, place: usize, before: Known) -> String {
    let to = |by: u8| place + 1 + usize::from(by);
    match i.code {
        insn::LOAD => format!("load  {}", word(i.k, before.audit)),
        insn::AND => format!("and   {:#x}", i.k),
        insn::JUMP => format!("jump  {}", place + 1 + i.k as usize),
        insn::RET => format!("ret   {}", action(i.k)),
        insn::JEQ | insn::JGT | insn::JGE | insn::JSET => {
            let operator = match i.code {
                insn::JEQ => "==",
                insn::JGT => "> ",
                insn::JGE => ">=",
                _ => "& ",
            };
            let value = value(i.k, before);
            format!("if {operator} {value}: {} else {}", to(i.jt), to(i.jf))
        }
        code => format!("?     code {code:#x} k {:#x}", i.k),
    }
}

fn word(offset: u32, audit: Option<u32>) -> String {
    match offset {
        insn::NUMBER => "number".to_owned(),
        insn::ARCH => "arch".to_owned(),
        _ => {
            let big_endian = audit
                .and_then(|audit| abi_of(audit, 0))
                .is_some_and(|abi| abi.big_endian);
            let high = ((offset >> 2) & 1 == 1) != big_endian;
            let half = if high { "high" } else { "low" };
            format!("arg{} {half}", offset.saturating_sub(insn::ARGS) / 8)
        }
    }
}

fn value(k: u32, before: Known) -> String {
    let name = match (before.word, before.audit) {
        (Some(insn::ARCH), _) => abi_of(k, 0).map(|abi| abi.name),
        (Some(insn::NUMBER), Some(audit)) => abi_of(audit, k).and_then(|abi| abi.call(k)),
        _ => None,
    };
    match name {
        Some(name) if k < 10_000 => format!("{name} ({k})"),
        Some(name) => format!("{name} ({k:#x})"),
        None if k < 10_000 => k.to_string(),
        None => format!("{k:#x}"),
    }
}

/// The ABI that a number belongs to.
fn abi_of(audit: u32, number: u32) -> Option<&'static Abi> {
    arch::all().find(|abi| abi.audit == audit && abi.span.contains(&number))
}

/// A SECCOMP_RET_* value in the profile's words.
fn action(value: u32) -> String {
    let data = value & !rules::RET_ACTION;
    match value & rules::RET_ACTION {
        libc::SECCOMP_RET_KILL_PROCESS => "KILL_PROCESS".to_owned(),
        libc::SECCOMP_RET_KILL_THREAD => "KILL_THREAD".to_owned(),
        libc::SECCOMP_RET_TRAP => "TRAP".to_owned(),
        libc::SECCOMP_RET_ERRNO => {
            // The kernel's limit, MAX_ERRNO.
            let errno = nix::errno::Errno::from_raw(data.min(4095).cast_signed());
            format!("ERRNO {data} ({errno:?})")
        }
        libc::SECCOMP_RET_USER_NOTIF => "NOTIFY".to_owned(),
        libc::SECCOMP_RET_TRACE => format!("TRACE {data}"),
        libc::SECCOMP_RET_LOG => "LOG".to_owned(),
        libc::SECCOMP_RET_ALLOW => "ALLOW".to_owned(),
        _ => format!("{value:#x}"),
    }
}

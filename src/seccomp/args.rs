//! Argument conditions as instructions, by seccompiler's rule compiler.
//!
//! seccompiler compiles a rule so that it falls through to the next instruction when all its
//! conditions hold, and jumps over that instruction when one does not. So a RET of the rule's
//! action behind each rule, and a RET of the default behind the last, make the whole check.

use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCondition, SeccompRule};

use super::Insn;
use super::arch::Abi;
use super::insn;
use super::rules::{Condition, Rule};
use crate::error::{Error, Result};

/// The check of one call: every path ends in a RET, no jump leaves it.
pub fn compile(checks: &[Rule], default: u32, abi: &Abi) -> Result<Vec<Insn>> {
    let mut program = Vec::new();
    for rule in checks {
        let conditions = rule
            .conditions
            .iter()
            .map(|condition| convert(condition, abi.narrow))
            .collect::<Result<Vec<_>>>()?;
        let compiled: BpfProgram = SeccompRule::new(conditions).map_err(refused)?.into();
        // The first two are the door of seccompiler's own chain of rules: the first jumps to
        // the conditions, the second is never reached from inside.
        let conditions = compiled.into_iter().skip(2);
        program.extend(conditions.map(|i| word_order(i.into(), abi.big_endian)));
        program.push(insn::ret(rule.action));
    }
    program.push(insn::ret(default));
    Ok(program)
}

fn convert(condition: &Condition, narrow: bool) -> Result<SeccompCondition> {
    // Where arguments have 32 bits, so has what they are compared with: a profile's -1 must
    // equal the program's -1 there too. libseccomp does the same.
    let length = if narrow {
        SeccompCmpArgLen::Dword
    } else {
        SeccompCmpArgLen::Qword
    };
    SeccompCondition::new(
        condition.argument,
        length,
        condition.operator.clone(),
        condition.value,
    )
    .map_err(refused)
}

/// seccompiler knows only little-endian machines, where the low word of an argument is first.
fn word_order(i: Insn, big_endian: bool) -> Insn {
    if big_endian && i.code == insn::LOAD {
        Insn { k: i.k ^ 4, ..i }
    } else {
        i
    }
}

fn refused(error: seccompiler::BackendError) -> Error {
    Error::invalid(format!("compile a seccomp rule: {error}"))
}

impl From<seccompiler::sock_filter> for Insn {
    fn from(i: seccompiler::sock_filter) -> Self {
        Self {
            code: i.code,
            jt: i.jt,
            jf: i.jf,
            k: i.k,
        }
    }
}

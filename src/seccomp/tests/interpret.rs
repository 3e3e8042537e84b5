//! The kernel's side: an interpreter of classic BPF, the verifier that a program must pass,
//! and the emulator that finds calls that are allowed whatever their arguments.

use crate::seccomp::{Insn, insn};

/// `struct seccomp_data`, less the instruction pointer, which no program of ours looks at.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub number: u32,
    pub audit: u32,
    pub args: [u64; 6],
}

impl Call {
    pub fn new(audit: u32, number: u32) -> Self {
        Self {
            number,
            audit,
            args: [0; 6],
        }
    }

    fn word(&self, offset: u32, big_endian: bool) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                let second = offset % 8 == 4;
                (if second == big_endian { arg } else { arg >> 32 }) as u32
            }
            _ => panic!("load at {offset}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    pub action: u32,
    /// Instructions run.
    pub steps: usize,
    /// Of those, before the first load of an argument.
    pub search: usize,
}

/// Run a program as the kernel does.
pub fn run(program: &[Insn], call: &Call, big_endian: bool) -> Outcome {
    let (mut place, mut word, mut steps, mut search) = (0, 0, 0, None);
    loop {
        let i = program[place];
        steps += 1;
        place += 1;
        let mut branch = |holds: bool| place += usize::from(if holds { i.jt } else { i.jf });
        match i.code {
            insn::LOAD => {
                if i.k >= insn::ARGS {
                    search.get_or_insert(steps - 1);
                }
                word = call.word(i.k, big_endian);
            }
            insn::AND => word &= i.k,
            insn::JUMP => place += i.k as usize,
            insn::JEQ => branch(word == i.k),
            insn::JGT => branch(word > i.k),
            insn::JGE => branch(word >= i.k),
            insn::JSET => branch(word & i.k != 0),
            insn::RET => {
                return Outcome {
                    action: i.k,
                    steps,
                    search: search.unwrap_or(steps),
                };
            }
            code => panic!("code {code:#x}"),
        }
    }
}

/// What the kernel checks before it takes a program: length, jumps that stay inside, known
/// instructions, aligned loads inside `struct seccomp_data`, a RET at the end. Ours must
/// moreover be free of code that nothing leads to.
pub fn verify(program: &[Insn]) -> Result<(), String> {
    if program.is_empty() || program.len() > 4096 {
        return Err(format!("{} instructions", program.len()));
    }
    let mut reached = vec![false; program.len()];
    reached[0] = true;
    for (place, i) in program.iter().enumerate() {
        if !reached[place] {
            return Err(format!("nothing leads to {place}"));
        }
        let next = match i.code {
            insn::LOAD if i.k.is_multiple_of(4) && i.k < 64 => vec![0],
            insn::AND => vec![0],
            insn::JUMP => vec![i.k as usize],
            insn::JEQ | insn::JGT | insn::JGE | insn::JSET => {
                vec![usize::from(i.jt), usize::from(i.jf)]
            }
            insn::RET => vec![],
            _ => return Err(format!("{i:?} at {place}")),
        };
        for by in next {
            match reached.get_mut(place + 1 + by) {
                Some(reached) => *reached = true,
                None => return Err(format!("{place} leads out of the program")),
            }
        }
    }
    Ok(())
}

/// Does the kernel see, when it loads the program, that this call is allowed whatever its
/// arguments? It gives up at the first load of anything but number and architecture.
pub fn always_allowed(program: &[Insn], audit: u32, number: u32) -> bool {
    let outcome = run(program, &Call::new(audit, number), false);
    outcome.action == libc::SECCOMP_RET_ALLOW && outcome.search == outcome.steps
}

//! The device program for cgroup v2: a [`Table`] as extended BPF.
//!
//! The kernel runs it at each open and mknod of a device node, so it is short: exceptions are
//! grouped by kind and access, a group is entered by one test of each, and inside it a device
//! costs one comparison of its number. Verifying it is most of the cost of loading it, and that
//! grows with the number of branches.
//!
//! As in v1, an access that asks for several things at once is allowed by one exception that
//! covers all of them, and denied by one that covers any of them.

use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;

use super::devices::{ALL, Devices, Table};
use crate::sys::bpf::{self, Insn};

// Instruction codes (linux/bpf.h, linux/bpf_common.h).
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE_REGISTER: u8 = 0xbf; // BPF_ALU64 | BPF_MOV | BPF_X
const MOVE: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x57; // BPF_ALU64 | BPF_AND | BPF_K
const SHIFT_LEFT: u8 = 0x67; // BPF_ALU64 | BPF_LSH | BPF_K
const SHIFT_RIGHT: u8 = 0x77; // BPF_ALU64 | BPF_RSH | BPF_K
const OR_REGISTER: u8 = 0x4f; // BPF_ALU64 | BPF_OR | BPF_X
const JUMP: u8 = 0x05; // BPF_JMP | BPF_JA
const JUMP_NOT_EQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const JUMP_ANY_SET: u8 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP_EQUAL_32: u8 = 0x16; // BPF_JMP32 | BPF_JEQ | BPF_K (Linux 5.1)
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

// Registers. The context, struct bpf_cgroup_dev_ctx, comes in R1.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Major and minor as one number, as in the kernel's dev_t: 12 and 20 bits.
const NUMBER: u8 = 6;

pub(super) const BLOCK: i32 = 1; // BPF_DEVCG_DEV_BLOCK
pub(super) const CHAR: i32 = 2; // BPF_DEVCG_DEV_CHAR

const MINOR_BITS: u32 = 20;

/// The program that judges as `table` does.
pub fn compile(table: &Table) -> Vec<Insn> {
    let mut code = vec![
        Insn::new(LOAD_WORD, KIND, CONTEXT, 0, 0),
        Insn::new(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        Insn::new(AND, KIND, 0, 0, 0xffff),
        Insn::new(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        Insn::new(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        Insn::new(LOAD_WORD, MINOR, CONTEXT, 8, 0),
        Insn::new(MOVE_REGISTER, NUMBER, MAJOR, 0, 0),
        Insn::new(SHIFT_LEFT, NUMBER, 0, 0, MINOR_BITS as i32),
        Insn::new(OR_REGISTER, NUMBER, MINOR, 0, 0),
        Insn::new(MOVE, RESULT, 0, 0, i32::from(!table.allow)),
    ];
    // Jumps to the end, where the result that an exception gives is returned.
    let mut matches = Vec::new();
    for (block, kind) in [(false, CHAR), (true, BLOCK)] {
        let guard = code.len();
        code.push(Insn::new(JUMP_NOT_EQUAL, KIND, 0, 0, kind));
        for access in 1..=ALL {
            let group: Vec<&Devices> = table
                .exceptions
                .iter()
                .filter(|(devices, held)| devices.block == block && **held == access)
                .map(|(devices, _)| devices)
                .filter(|devices| devices.exist())
                .collect();
            if !group.is_empty() {
                push_group(&mut code, &mut matches, &group, access, table.allow);
            }
        }
        if code.len() == guard + 1 {
            code.pop();
        } else {
            land(&mut code, guard);
        }
    }
    code.push(Insn::new(MOVE, RESULT, 0, 0, i32::from(table.allow)));
    for from in matches {
        land(&mut code, from);
    }
    code.push(Insn::new(EXIT, 0, 0, 0, 0));
    code
}

/// The exceptions of one kind that are about the same access.
fn push_group(
    code: &mut Vec<Insn>,
    matches: &mut Vec<usize>,
    group: &[&Devices],
    access: u8,
    allow: bool,
) {
    let mut skip = None;
    if allow {
        // An exception denies what it shares with the access asked for.
        code.push(Insn::new(JUMP_ANY_SET, ACCESS, 0, 1, i32::from(access)));
        skip = Some(code.len());
        code.push(Insn::new(JUMP, 0, 0, 0, 0));
    } else if access != ALL {
        // An exception allows nothing that asks for more than it has.
        skip = Some(code.len());
        code.push(Insn::new(
            JUMP_ANY_SET,
            ACCESS,
            0,
            0,
            i32::from(ALL & !access),
        ));
    }
    for devices in group {
        matches.push(code.len());
        code.push(match (devices.major, devices.minor) {
            (None, None) => Insn::new(JUMP, 0, 0, 0, 0),
            (Some(major), None) => Insn::new(JUMP_EQUAL_32, MAJOR, 0, 0, major as i32),
            (None, Some(minor)) => Insn::new(JUMP_EQUAL_32, MINOR, 0, 0, minor as i32),
            (Some(major), Some(minor)) => {
                let number = major << MINOR_BITS | minor;
                Insn::new(JUMP_EQUAL_32, NUMBER, 0, 0, number as i32)
            }
        });
        if (devices.major, devices.minor) == (None, None) {
            break; // covers the rest of its group
        }
    }
    if let Some(skip) = skip {
        land(code, skip);
    }
}

/// Let the jump at `from` land on the next instruction.
fn land(code: &mut [Insn], from: usize) {
    // A table holds so few exceptions that no distance exceeds i16.
    code[from].offset = (code.len() - from - 1) as i16;
}

/// Attach the program of `table` to a cgroup that has none.
pub fn attach(cgroup: BorrowedFd, table: &Table) -> Result<(), Errno> {
    let program = bpf::load_device_program(&compile(table))?;
    bpf::attach(cgroup, program.as_fd(), None)
}

/// Attach the program of `table` in the place of what is attached, so that at no moment more
/// is allowed than by one of them.
pub fn replace(cgroup: BorrowedFd, table: &Table) -> Result<(), Errno> {
    let program = bpf::load_device_program(&compile(table))?;
    match &bpf::attached(cgroup)?[..] {
        [old] => bpf::attach(cgroup, program.as_fd(), Some(old.as_fd())),
        several => {
            bpf::attach(cgroup, program.as_fd(), None)?;
            several
                .iter()
                .try_for_each(|old| bpf::detach(cgroup, old.as_fd()))
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::cgroup::devices::MAX_MINOR;
    use crate::cgroup::devices::tests::rule;
    use crate::plan::{DeviceRule, DeviceRuleKind};

    /// One access to one device.
    #[derive(Debug, Clone, Copy)]
    pub struct Access {
        pub kind: i32,
        pub access: u8,
        pub major: u32,
        pub minor: u32,
    }

    /// The instructions that `compile` uses, as the kernel executes them.
    fn run(code: &[Insn], asked: Access) -> bool {
        let context = [
            asked.kind as u32 | u32::from(asked.access) << 16,
            asked.major,
            asked.minor,
        ];
        let mut r = [0_u64; 11];
        let mut at = 0;
        loop {
            let insn = code[at];
            let (to, from) = insn.registers();
            let (to, from) = (to as usize, from as usize);
            let immediate = i64::from(insn.immediate) as u64;
            at += 1;
            let jump = match insn.code {
                EXIT => return r[0] == 1,
                JUMP => true,
                JUMP_NOT_EQUAL => r[to] != immediate,
                JUMP_ANY_SET => r[to] & immediate != 0,
                JUMP_EQUAL_32 => r[to] as u32 == immediate as u32,
                LOAD_WORD => {
                    r[to] = u64::from(context[insn.offset as usize / 4]);
                    continue;
                }
                code => {
                    r[to] = match code {
                        MOVE_REGISTER => r[from],
                        MOVE => immediate,
                        AND => r[to] & immediate,
                        SHIFT_LEFT => r[to] << immediate,
                        SHIFT_RIGHT => r[to] >> immediate,
                        OR_REGISTER => r[to] | r[from],
                        other => panic!("instruction {other:#x} in the program"),
                    };
                    continue;
                }
            };
            if jump {
                at = at.checked_add_signed(insn.offset.into()).unwrap();
            }
        }
    }

    /// What the v1 devices cgroup says, read from the rules themselves.
    pub fn model(rules: &[DeviceRule], asked: Access) -> bool {
        let mut allow = false;
        let mut exceptions: Vec<(DeviceRule, u8)> = Vec::new();
        for r in rules {
            let bits = u8::from(r.mknod) | u8::from(r.read) << 1 | u8::from(r.write) << 2;
            let same = |e: &DeviceRule| (e.kind, e.major, e.minor) == (r.kind, r.major, r.minor);
            if r.kind == DeviceRuleKind::All {
                (allow, exceptions) = (r.allow, Vec::new());
            } else if r.allow == allow {
                exceptions
                    .iter_mut()
                    .filter(|(e, _)| same(e))
                    .for_each(|(_, b)| *b &= !bits);
            } else if let Some((_, held)) = exceptions.iter_mut().find(|(e, _)| same(e)) {
                *held |= bits;
            } else {
                exceptions.push((r.clone(), bits));
            }
        }
        let about = |e: &DeviceRule| {
            (e.kind == DeviceRuleKind::Char) == (asked.kind == CHAR)
                && e.major.is_none_or(|n| n == asked.major)
                && e.minor.is_none_or(|n| n == asked.minor)
        };
        let mut matching = exceptions.iter().filter(|(e, bits)| *bits != 0 && about(e));
        match allow {
            true => !matching.any(|(_, bits)| asked.access & bits != 0),
            false => matching.any(|(_, bits)| asked.access & !bits == 0),
        }
    }

    /// xorshift64*, so that a failure can be repeated.
    pub struct Random(pub u64);

    impl Random {
        pub fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
        }

        fn pick<T: Copy>(&mut self, from: &[T]) -> T {
            from[self.below(from.len() as u64) as usize]
        }

        pub fn rule(&mut self) -> DeviceRule {
            let bits = 1 + self.below(7);
            let kinds = [DeviceRuleKind::Char, DeviceRuleKind::Block];
            DeviceRule {
                allow: self.below(3) > 0,
                kind: match self.below(12) {
                    0 => DeviceRuleKind::All,
                    _ => self.pick(&kinds),
                },
                major: self.pick(&[
                    None,
                    Some(1),
                    Some(5),
                    Some(4095),
                    Some(4097),
                    Some(u32::MAX),
                ]),
                minor: self.pick(&[None, Some(0), Some(3), Some(MAX_MINOR), Some(1 << 20 | 3)]),
                mknod: bits & 1 != 0,
                read: bits & 2 != 0,
                write: bits & 4 != 0,
            }
        }
    }

    #[test]
    fn the_program_judges_as_the_v1_cgroup_does() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let (mut allowed, mut denied, mut refused) = (0, 0, 0);
        for _ in 0..10_000 {
            let length = random.below(14);
            let rules: Vec<DeviceRule> = (0..length).map(|_| random.rule()).collect();
            let Ok(table) = Table::new(&rules) else {
                refused += 1;
                continue;
            };
            let code = compile(&table);
            for kind in [BLOCK, CHAR] {
                for (major, minor) in [
                    (1, 3),
                    (1, 0),
                    (5, 3),
                    (5, MAX_MINOR),
                    (4095, 3),
                    (4095, MAX_MINOR),
                    (7, 7),
                ] {
                    for access in 0..=ALL {
                        let asked = Access {
                            kind,
                            access,
                            major,
                            minor,
                        };
                        let verdict = run(&code, asked);
                        assert_eq!(verdict, model(&rules, asked), "{asked:?}: {rules:#?}");
                        match verdict {
                            true => allowed += 1,
                            false => denied += 1,
                        }
                    }
                }
            }
        }
        // The comparison is worth something only if both verdicts were common.
        assert!(allowed > 50_000 && denied > 50_000 && refused < 9_000);
    }

    #[test]
    fn a_device_costs_one_comparison() {
        let rules = [
            "deny a",
            "allow c *:* m",
            "allow b *:* m",
            "allow c 1:3 rwm",
        ];
        let rules: Vec<DeviceRule> = rules.iter().map(|r| rule(r)).collect();
        let before = compile(&Table::new(&rules).unwrap()).len();
        let rules = [rules, vec![rule("allow c 1:5 rwm")]].concat();
        assert_eq!(compile(&Table::new(&rules).unwrap()).len(), before + 1);
    }

    #[test]
    fn the_kernel_accepts_every_program() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED: loading programs needs root");
            return;
        }
        let mut random = Random(0x1234_5678_9abc_def1);
        let mut loaded = 0;
        while loaded < 1_000 {
            let length = random.below(30);
            let rules: Vec<DeviceRule> = (0..length).map(|_| random.rule()).collect();
            if let Ok(table) = Table::new(&rules) {
                let program = bpf::load_device_program(&compile(&table));
                assert!(program.is_ok(), "{program:?}: {rules:#?}");
                loaded += 1;
            }
        }
    }
}

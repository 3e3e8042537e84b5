//! The instructions of classic BPF that filters are made of (linux/bpf_common.h).
//!
//! Only those that the kernel can follow on its own when it looks, at load time, for calls
//! that are allowed whatever their arguments: loads of the number and the architecture,
//! jumps, AND, and RET of a constant. For a call so found the filter is not run at all.

use super::Insn;

/// BPF_LD | BPF_W | BPF_ABS: load a word of `struct seccomp_data` at offset k.
pub const LOAD: u16 = 0x20;
/// BPF_JMP | BPF_JA: jump by k.
pub const JUMP: u16 = 0x05;
/// BPF_JMP | BPF_K with BPF_JEQ, BPF_JGT, BPF_JGE or BPF_JSET: jump by jt or jf.
pub const JEQ: u16 = 0x15;
pub const JGT: u16 = 0x25;
pub const JGE: u16 = 0x35;
pub const JSET: u16 = 0x45;
/// BPF_ALU | BPF_AND | BPF_K.
pub const AND: u16 = 0x54;
/// BPF_RET | BPF_K.
pub const RET: u16 = 0x06;

/// Offsets in `struct seccomp_data`.
pub const NUMBER: u32 = 0;
pub const ARCH: u32 = 4;
pub const ARGS: u32 = 16;

/// BPF_MAXINSNS: the kernel takes no longer program.
pub const MAX_INSNS: usize = 4096;

pub fn load(offset: u32) -> Insn {
    plain(LOAD, offset)
}

pub fn jump(by: u32) -> Insn {
    plain(JUMP, by)
}

pub fn ret(value: u32) -> Insn {
    plain(RET, value)
}

fn plain(code: u16, k: u32) -> Insn {
    Insn {
        code,
        jt: 0,
        jf: 0,
        k,
    }
}

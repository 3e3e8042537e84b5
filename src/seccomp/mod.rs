//! Seccomp: from the profile in config.json to the BPF program that the kernel runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One instruction of classic BPF, laid out as `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u16, u8, u8, u32)", into = "(u16, u8, u8, u32)")]
#[repr(C)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl From<(u16, u8, u8, u32)> for Insn {
    fn from((code, jt, jf, k): (u16, u8, u8, u32)) -> Self {
        Self { code, jt, jf, k }
    }
}

impl From<Insn> for (u16, u8, u8, u32) {
    fn from(i: Insn) -> Self {
        (i.code, i.jt, i.jf, i.k)
    }
}

/// A compiled profile: what init loads, and where the notification fd goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub program: Vec<Insn>,
    /// SECCOMP_FILTER_FLAG_* bits for seccomp(2).
    pub flags: u64,
    /// Set when the profile uses NOTIFY.
    pub listener: Option<Listener>,
    /// Names in the profile that no system call table has; `--debug` shows them.
    pub skipped: Vec<String>,
}

/// The agent that answers notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// `listenerPath`: an AF_UNIX stream socket.
    pub path: PathBuf,
    /// `listenerMetadata`, passed on as it is.
    pub metadata: String,
}

//! Seccomp: from the profile in config.json to the BPF program that the kernel runs.
//!
//! The kernel runs the filter at each system call that it did not find, at load time, to be
//! allowed whatever its arguments. So the program is made to be short on every path:
//!
//! 1. `rules` reads the profile: one verdict for each name.
//! 2. `arch` knows the numbers of the names on each ABI, `multiplex` the calls that old ABIs
//!    reach through another one.
//! 3. `ranges` turns both into ranges of numbers with the same verdict.
//! 4. `tree` writes the program: the architecture first, then a balanced search over the
//!    ranges, and only at the leaves that need it the checks of arguments, which `args` has
//!    compiled by seccompiler.
//!
//! `disasm` is the way back, for people. Nothing here makes a system call; the program is
//! loaded by `sys::seccomp` in the container, which never sets no_new_privs on its own.

pub mod arch;
mod args;
mod disasm;
mod insn;
mod multiplex;
mod names;
mod ranges;
mod rules;
#[cfg(test)]
mod tests;
mod tree;

pub use disasm::disassemble;
use std::path::PathBuf;

use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompFilterFlag};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use arch::Abi;
use ranges::ranges;
use rules::Rules;
use tree::Section;

/// One instruction of classic BPF, laid out as `struct sock_filter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The flags that a profile can name, and their SECCOMP_FILTER_FLAG_* bits.
pub const FLAGS: [(&str, u64); 4] = [
    ("SECCOMP_FILTER_FLAG_TSYNC", libc::SECCOMP_FILTER_FLAG_TSYNC),
    (
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
    ),
    ("SECCOMP_FILTER_FLAG_LOG", libc::SECCOMP_FILTER_FLAG_LOG),
    (
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    ),
];

/// This kernel lacks what a flag of seccomp(2) asks for.
pub fn unsupported(flag: u64) -> Error {
    match FLAGS.iter().find(|(_, bit)| *bit == flag) {
        Some((name, _)) => Error::field(
            "/linux/seccomp/flags",
            format!("this kernel does not know the seccomp flag {name}"),
        ),
        // What the compiler adds on its own is for the listener.
        None => Error::field("/linux/seccomp/listenerPath", "seccomp notify unsupported")
            .with_hint("it needs Linux 5.6"),
    }
}

/// Compile `linux.seccomp`; `field` is its JSON pointer, for errors.
pub fn compile(profile: &LinuxSeccomp, field: &str) -> Result<Filter> {
    compile_for(arch::NATIVE, profile, field)
}

/// The same for a machine of another architecture.
fn compile_for(native: Arch, profile: &LinuxSeccomp, field: &str) -> Result<Filter> {
    let rules = Rules::read(profile, field)?;
    let abis = abis(native, profile, field)?;
    let flags = flags(profile, rules.notifies, field)?;
    let listener = listener(profile, rules.notifies, field)?;

    let sections: Vec<Section> = abis
        .chunk_by(|one, other| one.audit == other.audit)
        .filter_map(|group| {
            Some(Section {
                audit: group.first()?.audit,
                ranges: ranges(group, &rules),
            })
        })
        .collect();
    let program = tree::program(&sections, rules.default)?;
    if program.len() > insn::MAX_INSNS {
        return Err(Error::field(
            field,
            format!(
                "the seccomp profile needs {} instructions, the kernel takes {}",
                program.len(),
                insn::MAX_INSNS
            ),
        ));
    }
    Ok(Filter {
        program,
        flags,
        listener,
        skipped: skipped(&rules),
    })
}

/// The profile's ABIs, each once, the native one among them in any case: first those of the
/// native AUDIT_ARCH_* value, and those of one value side by side in the order of their spans.
fn abis(native: Arch, profile: &LinuxSeccomp, field: &str) -> Result<Vec<&'static Abi>> {
    let native = arch::find(native).ok_or_else(|| Error::field(field, "no such architecture"))?;
    let mut abis = vec![native];
    let listed = profile.architectures().as_deref().unwrap_or_default();
    for (index, &arch) in listed.iter().enumerate() {
        let abi = arch::find(arch).ok_or_else(|| {
            Error::field(
                format!("{field}/architectures/{index}"),
                format!("the seccomp architecture {arch} is not supported"),
            )
        })?;
        abis.push(abi);
    }
    abis.sort_by_key(|abi| (abi.audit != native.audit, abi.audit, *abi.span.start()));
    abis.dedup_by_key(|abi| abi.arch);
    Ok(abis)
}

/// SECCOMP_FILTER_FLAG_* bits. Every kernel that we run on has them, but for
/// WAIT_KILLABLE_RECV, which is Linux 5.19; seccomp(2) says EINVAL where it is missing.
fn flags(profile: &LinuxSeccomp, notifies: bool, field: &str) -> Result<u64> {
    use LinuxSeccompFilterFlag as Flag;
    let Some(listed) = profile.flags() else {
        // As runc: the mitigations that a filter turns on cost more than they protect, for a
        // process that shares no memory with another trust domain.
        return Ok(libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW | listener_flag(notifies));
    };
    let mut flags = listener_flag(notifies);
    for (index, flag) in listed.iter().enumerate() {
        flags |= match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // With a listener, the kernel wants failure reported as ESRCH: the return value
            // is the fd.
            Flag::SeccompFilterFlagTsync if notifies => {
                libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH
            }
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            Flag::SeccompFilterFlagWaitKillableRecv if notifies => {
                libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
            }
            Flag::SeccompFilterFlagWaitKillableRecv => {
                return Err(Error::field(
                    format!("{field}/flags/{index}"),
                    format!("{flag} needs a rule with SCMP_ACT_NOTIFY"),
                ));
            }
        };
    }
    Ok(flags)
}

fn listener_flag(notifies: bool) -> u64 {
    if notifies {
        libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
    } else {
        0
    }
}

fn listener(profile: &LinuxSeccomp, notifies: bool, field: &str) -> Result<Option<Listener>> {
    let path = profile.listener_path().as_ref();
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let metadata = profile.listener_metadata().as_deref().unwrap_or_default();
    match path {
        None if notifies => Err(Error::field(
            format!("{field}/listenerPath"),
            "seccomp listenerPath is not set",
        )),
        None if !metadata.is_empty() => Err(Error::field(
            format!("{field}/listenerMetadata"),
            "listenerMetadata needs a listenerPath",
        )),
        Some(path) if path.as_os_str().as_encoded_bytes().contains(&0) => Err(Error::field(
            format!("{field}/listenerPath"),
            "a NUL character is not allowed",
        )),
        // The specification has the path ignored when nothing notifies.
        Some(path) if notifies => Ok(Some(Listener {
            path: path.clone(),
            metadata: metadata.to_owned(),
        })),
        _ => Ok(None),
    }
}

/// Names that are no call on any ABI. A name that only other ABIs have is none of them:
/// profiles are written for many machines.
fn skipped(rules: &Rules) -> Vec<String> {
    let unknown = rules.not_found().filter(|name| !arch::known(name));
    unknown.map(str::to_owned).collect()
}

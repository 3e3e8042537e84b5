//! From the runtime's process to the user's: scheduling, labels, limits, credentials, filter.
//!
//! Shared by init and by processes that exec starts. [`scheduling`] and [`set_labels`] need
//! privileges or the runtime's view; [`become_user`] sets the limits and gives the privileges
//! up; [`last_restrictions`] is what must be the very last: the seccomp filter.

pub mod scheduling;
mod user;

use std::os::fd::OwnedFd;

use nix::errno::Errno;

pub use self::user::{Cwd, become_user};
use crate::error::{Error, Result, Step};
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::{Process, Rlimit};
use crate::procfs::ProcFs;
use crate::seccomp::{Filter, unsupported};
use crate::sys::process as sys;
use crate::sys::{caps, keyring, seccomp};

/// Join a session keyring of the container's own, so that the caller's keys are not inherited
/// and the container's processes can find theirs. A kernel without keys, or a seccomp filter
/// around us that forbids keyctl, is no reason to fail.
///
/// In a user namespace (`mapped`) whoever execs later is another user to the key.
pub fn join_keyring(id: &str, mapped: bool) -> Result<()> {
    let name = std::ffi::CString::new(format!("_ses.{id}"))
        .map_err(|_| Error::invalid("invalid container ID format"))?;
    let serial = match keyring::join_session(&name) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EACCES) => return Ok(()),
        // The kernel's quota of keys is used up by the caller's user.
        Err(Errno::EDQUOT) => {
            return Err(Error::sys("join session keyring", Errno::EDQUOT)
                .with_hint("see /proc/sys/kernel/keys/maxkeys, or use --no-new-keyring"));
        }
        other => other.step("join session keyring")?,
    };
    // Not just the possessor may search it (KEY_USR_SEARCH, KEY_OTH_SEARCH).
    let search = if mapped { 0x0000_0008 } else { 0x0008_0000 };
    let mask = keyring::permissions(serial).step("read the session keyring")?;
    keyring::set_permissions(serial, mask | search).step("open the session keyring")
}

/// Resource limits: once nothing more is opened, and before the privileges are gone.
fn set_limits(limits: &[Rlimit]) -> Result<()> {
    for limit in limits {
        sys::set_rlimit(limit.resource, limit.soft, limit.hard)
            .step(format!("set {}", limit.name))
            .map_err(|error| {
                let error = error.with_field(&limit.field);
                if error.errno() == Some(Errno::EPERM) {
                    error.with_hint("raising a hard limit needs CAP_SYS_RESOURCE")
                } else {
                    error
                }
            })?;
    }
    Ok(())
}

/// Raise the hard limits of process `pid` (0: the caller) to what the config wants. Only the
/// host's CAP_SYS_RESOURCE allows that, so it comes before a user namespace is entered, or from
/// outside. Where it fails, [`become_user`] will say so.
pub fn raise_hard_limits(pid: i32, limits: &[Rlimit]) {
    for limit in limits {
        if let Ok((soft, hard)) = sys::rlimit(pid, limit.resource)
            && hard < limit.hard
        {
            let _ = sys::set_rlimit_of(pid, limit.resource, soft, limit.hard);
        }
    }
}

/// oom_score_adj of the calling process, while the host's procfs is in sight.
pub fn set_oom_score(process: &Process) -> Result<()> {
    match process.oom_score_adj {
        None => Ok(()),
        Some(score) => ProcFs::host()?
            .write("self/oom_score_adj", &score.to_string())
            .map_err(|error| oom_score_error(error, process)),
    }
}

/// The error of a write that the kernel refused.
pub fn oom_score_error(error: Error, process: &Process) -> Error {
    let error = error.with_field(process.pointer("oomScoreAdj"));
    match error.errno() {
        Some(Errno::EACCES) => {
            error.with_hint("a score below the caller's least one needs CAP_SYS_RESOURCE")
        }
        _ => error,
    }
}

/// LSM labels for the coming execve.
pub fn set_labels(process: &Process) -> Result<()> {
    let (apparmor, selinux) = (&process.apparmor_profile, &process.selinux_label);
    if apparmor.is_none() && selinux.is_none() {
        return Ok(());
    }
    let procfs = ProcFs::open()?;
    if let Some(profile) = apparmor {
        let text = format!("exec {profile}");
        procfs
            // The file of its own (Linux 5.8), then the one that all modules share.
            .write("self/attr/apparmor/exec", &text)
            .or_else(|_| procfs.write("self/attr/exec", &text))
            .map_err(|e| {
                e.within(&format!("apply apparmor profile {profile:?}"))
                    .with_field(process.pointer("apparmorProfile"))
                    .with_hint("is AppArmor active here, and the profile loaded?")
            })?;
    }
    if let Some(label) = selinux {
        procfs.write("self/attr/exec", label).map_err(|e| {
            e.within(&format!("apply selinux label {label:?}"))
                .with_field(process.pointer("selinuxLabel"))
        })?;
    }
    Ok(())
}

fn held() -> u64 {
    caps::permitted().unwrap_or(0)
}

fn needs_admin_for_filter(process: &Process) -> bool {
    process.seccomp.is_some() && !process.no_new_privileges
}

/// Load the filter; after it come only `hand_over` with the listener of a profile that notifies,
/// perhaps a capset, execve and, should that fail, one write.
pub fn last_restrictions(
    process: &Process,
    hand_over: impl FnOnce(OwnedFd) -> Result<()>,
) -> Result<()> {
    let Some(filter) = &process.seccomp else {
        return Ok(());
    };
    let wanted = &process.capabilities;
    let borrowed = needs_admin_for_filter(process) && held() & SYS_ADMIN != 0;
    if borrowed {
        caps::set(
            wanted.effective | SYS_ADMIN,
            wanted.permitted | SYS_ADMIN,
            wanted.inheritable,
        )
        .step("prepare for the seccomp filter")?;
    }
    let listener = seccomp::load(&filter.program, filter.flags)
        .map_err(|errno| filter_error(errno, filter))?;
    // At once: from here on any call but write may be one that the agent has to answer.
    listener.map_or(Ok(()), hand_over)?;
    if borrowed {
        caps::set(wanted.effective, wanted.permitted, wanted.inheritable)
            .step("apply caps")
            .map_err(|e| e.with_field(process.pointer("capabilities")))?;
    }
    Ok(())
}

fn filter_error(errno: Errno, filter: &Filter) -> Error {
    let error = Error::sys("load the seccomp filter", errno).with_field("/linux/seccomp");
    match errno {
        Errno::EINVAL => seccomp::unknown_flag(filter.flags).map_or(error, unsupported),
        Errno::EBUSY if filter.listener.is_some() => {
            error.with_hint("the runtime itself is under a filter with a listener")
        }
        _ => error,
    }
}

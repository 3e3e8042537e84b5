//! From the runtime's process to the user's: limits, scheduling, credentials.
//!
//! Shared by init and by processes that exec starts. [`prepare`] is what needs privileges or
//! the runtime's view; [`become_user`] sets the limits and gives the privileges up; [`last_restrictions`] is what
//! must be the very last: the seccomp filter.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Uid, chdir, fchown, getcwd};

use super::rootfs::{Make, RootFs};
use crate::error::{Error, Result, Step};
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::{Capabilities, Process, Rlimit, Scheduler};
use crate::procfs::ProcFs;
use crate::sys::process::{self as sys, SchedAttr};
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

/// Scheduling: while we are still privileged.
pub fn prepare(process: &Process) -> Result<()> {
    if let Some(value) = process.io_priority {
        sys::set_io_priority(value)
            .step("set the I/O priority")
            .map_err(|e| e.with_field(process.pointer("ioPriority")))?;
    }
    if let Some(scheduler) = &process.scheduler {
        let attr = SchedAttr {
            policy: scheduler.policy,
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
            ..SchedAttr::default()
        };
        sys::set_scheduler(&attr)
            .step("set the scheduler")
            .map_err(|error| scheduler_error(error, scheduler, process))?;
    }
    if let Some(policy) = &process.memory_policy {
        sys::set_memory_policy(policy.mode, &policy.nodes)
            .step("set the memory policy")
            .map_err(|error| {
                let hint = match error.errno() {
                    Some(Errno::ENOSYS) => "this kernel has no NUMA",
                    _ => "does this machine have these nodes, and the kernel this mode?",
                };
                error.with_field("/linux/memoryPolicy").with_hint(hint)
            })?;
    }
    if let Some(personality) = process.personality {
        sys::set_personality(personality)
            .step("set the personality")
            .map_err(|e| e.with_field("/linux/personality"))?;
    }
    Ok(())
}

/// What the kernel's bare errno means, as far as one can know.
fn scheduler_error(error: Error, scheduler: &Scheduler, process: &Process) -> Error {
    let hint = match (error.errno(), scheduler.policy.cast_signed()) {
        (Some(Errno::EPERM), libc::SCHED_FIFO | libc::SCHED_RR) => {
            "a real-time policy needs CAP_SYS_NICE or RLIMIT_RTPRIO and, where the kernel groups \
             real-time tasks, a cgroup with linux.resources.cpu.realtimeRuntime"
        }
        (Some(Errno::EPERM), libc::SCHED_DEADLINE) => {
            "SCHED_DEADLINE needs CAP_SYS_NICE and all CPUs of the machine, so no cpuset"
        }
        (Some(Errno::EPERM), _) => "a nice value below the caller's needs CAP_SYS_NICE",
        (Some(Errno::EBUSY), _) => "there is not as much CPU time left for deadlines",
        (Some(Errno::EOPNOTSUPP), _) => "does this kernel clamp utilization (CONFIG_UCLAMP_TASK)?",
        _ => return error.with_field(process.pointer("scheduler")),
    };
    error
        .with_field(process.pointer("scheduler"))
        .with_hint(hint)
}

/// All CPUs, so that what the runtime itself was bound to is not inherited: the cpuset of the
/// cgroup alone says which of them are used. A seccomp filter around us may forbid the call,
/// which is no reason to fail.
pub fn reset_affinity() -> Result<()> {
    match sys::set_affinity_to_all() {
        Err(Errno::EPERM | Errno::ENOSYS) => Ok(()),
        other => other.step("reset the CPU affinity"),
    }
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

/// Give stdin, stdout and stderr to the user of the container, who could not open /dev/stdout
/// otherwise. Devices stay whose they are (a terminal of the container's own has its owner
/// already), and so does what may not be given away.
fn own_stdio(uid: u32) -> Result<()> {
    let stdio = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdio.0.as_fd(), stdio.1.as_fd(), stdio.2.as_fd()] {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if stat.st_uid == uid || matches!(kind, SFlag::S_IFCHR | SFlag::S_IFBLK) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // Of an owner that is not mapped, on a read-only filesystem, to an id not mapped.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::sys("give stdio to the container's user", errno)),
        }
    }
    Ok(())
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

/// The CPUs of a process of exec, once it is in its cgroup. With an initial list alone the
/// kernel has the say, as the specification wants it.
pub fn set_exec_affinity(process: &Process) -> Result<()> {
    let Some(affinity) = &process.exec_cpu_affinity else {
        return reset_affinity();
    };
    match &affinity.last {
        None => Ok(()),
        Some(cpus) => sys::set_affinity(cpus)
            .step("set the final CPU affinity")
            .map_err(|e| {
                e.with_field(process.pointer("execCPUAffinity/final"))
                    .with_hint("does the container's cpuset have any of these CPUs?")
            }),
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

/// Change to the user with its groups and capabilities, and to the working directory.
///
/// When the filter is loaded without no_new_privs, CAP_SYS_ADMIN stays permitted (not
/// effective) until then. Gives what the log should be told.
pub fn become_user(process: &Process) -> Result<Vec<String>> {
    let user = &process.user;
    if let Some(umask) = user.umask {
        nix::sys::stat::umask(Mode::from_bits_truncate(umask));
    }
    let entered = enter_cwd(process);
    own_stdio(user.uid)?;
    set_limits(&process.rlimits)?;
    drop_bounding(process.capabilities.bounding)?;
    sys::set_keep_capabilities(true).step("keep capabilities over the change of user")?;
    set_groups(process)?;
    sys::set_gid(user.gid)
        .step(format!("change to group {}", user.gid))
        .map_err(unmapped)
        .map_err(|e| e.with_field(process.pointer("user/gid")))?;
    sys::set_uid(user.uid)
        .step(format!("change to user {}", user.uid))
        .map_err(unmapped)
        .map_err(|e| e.with_field(process.pointer("user/uid")))?;
    // The change of user made us as dumpable as fs.suid_dumpable says.
    sys::set_dumpable(false).step("become undumpable")?;
    let wanted = &process.capabilities;
    let until_filter = if needs_admin_for_filter(process) {
        held() & SYS_ADMIN
    } else {
        0
    };
    caps::set(
        wanted.effective,
        wanted.permitted | until_filter,
        wanted.inheritable,
    )
    .step("apply caps")
    .map_err(|e| e.with_field(process.pointer("capabilities")))?;
    let warnings = raise_ambient(wanted)?;
    // Root may be kept out of a directory that the user may enter (a network filesystem), and
    // the other way round: whichever could.
    match entered {
        Ok(()) => {}
        Err(Errno::EACCES | Errno::EPERM) => {
            enter_cwd(process).map_err(|e| cwd_error(process, e))?
        }
        Err(errno) => return Err(cwd_error(process, errno)),
    }
    // getcwd of a directory outside of the root says "(unreachable)", which no libc accepts:
    // the way out by /proc/self/fd/N of a leaked directory.
    getcwd().map(drop).map_err(|_| {
        Error::new("current working directory is outside of container mount namespace root")
            .with_field(process.pointer("cwd"))
    })?;
    if process.no_new_privileges {
        sys::set_no_new_privileges().step("set no_new_privs")?;
    }
    Ok(warnings)
}

fn unmapped(error: Error) -> Error {
    match error.errno() {
        Some(Errno::EINVAL) => error.with_hint("is it mapped in the user namespace?"),
        _ => error,
    }
}

fn set_groups(process: &Process) -> Result<()> {
    if process.user.keep_groups {
        return Ok(());
    }
    let groups = &process.user.additional_gids;
    match sys::set_groups(groups) {
        // A user namespace whose maps an unprivileged user wrote: groups are what they were,
        // and nobody asked for others.
        Err(Errno::EPERM) if groups.is_empty() && setgroups_is_denied() => Ok(()),
        other => other
            .step("set the supplementary groups")
            .map_err(unmapped)
            .map_err(|error| {
                let error = error.with_field(process.pointer("user/additionalGids"));
                match error.errno() {
                    Some(Errno::EPERM) if setgroups_is_denied() => error.with_hint(
                        "the user namespace's maps were written without privileges, so it has no setgroups",
                    ),
                    _ => error,
                }
            }),
    }
}

fn setgroups_is_denied() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

fn enter_cwd(process: &Process) -> Result<(), Errno> {
    match chdir(&process.cwd) {
        // `root` as working directory is where we are already, so this is one call in most runs.
        Err(Errno::ENOENT) => {
            // By no link of /proc: with the host's processes in sight they lead out.
            RootFs::current()
                .and_then(|root| root.find_or_make(&process.cwd, Make::Directory))
                .map_err(|error| error.errno().unwrap_or(Errno::EIO))?;
            chdir(&process.cwd)
        }
        other => other,
    }
}

fn cwd_error(process: &Process, errno: Errno) -> Error {
    Error::sys(
        format!(
            "chdir to cwd ({:?}) set in config.json failed",
            process.cwd.display().to_string()
        ),
        errno,
    )
    .with_field(process.pointer("cwd"))
}

fn held() -> u64 {
    caps::permitted().unwrap_or(0)
}

fn needs_admin_for_filter(process: &Process) -> bool {
    process.seccomp.is_some() && !process.no_new_privileges
}

fn drop_bounding(keep: u64) -> Result<()> {
    for capability in 0..=caps::last_capability() {
        if keep >> capability & 1 == 0 {
            match sys::drop_bounding(capability) {
                Ok(()) => {}
                // Without CAP_SETPCAP (rootless, without a user namespace) the set stays.
                Err(Errno::EPERM) => break,
                Err(errno) => return Err(Error::sys("drop the bounding set", errno)),
            }
        }
    }
    Ok(())
}

/// A capability that cannot be ambient is no reason to fail, as in runc.
fn raise_ambient(wanted: &Capabilities) -> Result<Vec<String>> {
    sys::clear_ambient().step("clear the ambient set")?;
    let mut warnings = Vec::new();
    for capability in (0..64u8).filter(|c| wanted.ambient >> c & 1 == 1) {
        if let Err(errno) = sys::raise_ambient(capability) {
            let name = crate::plan::capabilities::names(1 << capability);
            let why = crate::error::errno_text(errno);
            warnings.push(format!("can't raise ambient capability {name}: {why}"));
        }
    }
    Ok(warnings)
}

/// Load the filter; after it come only execve and, should that fail, one write. A profile with
/// a listener is refused beforehand, so there is no notification fd to hand on.
pub fn last_restrictions(process: &Process) -> Result<()> {
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
    seccomp::load(&filter.program, filter.flags)
        .step("load the seccomp filter")
        .map_err(|e| e.with_field("/linux/seccomp"))?;
    if borrowed {
        caps::set(wanted.effective, wanted.permitted, wanted.inheritable)
            .step("apply caps")
            .map_err(|e| e.with_field(process.pointer("capabilities")))?;
    }
    Ok(())
}

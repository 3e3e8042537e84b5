//! When and where a process runs: priorities, policies, CPUs, memory nodes, personality.

use nix::errno::Errno;

use crate::error::{Error, Result, Step};
use crate::plan::{Process, Scheduler};
use crate::sys::process::{self as sys, SchedAttr};

/// All but the CPUs, while we are still privileged.
pub fn set(process: &Process) -> Result<()> {
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

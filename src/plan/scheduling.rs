//! How the process competes for CPUs, memory nodes and disks: `scheduler`, `ioPriority`,
//! `execCPUAffinity` of the process, `memoryPolicy` and `personality` of `linux`.
//!
//! Each becomes the numbers of its system call; what the kernel would refuse with EINVAL is
//! refused here by name.

use oci_spec::runtime as oci;

use super::{CpuAffinity, MemoryPolicy, Scheduler, cpulist};
use crate::error::{Error, Result};

/// `process.ioPriority` as the value of ioprio_set(2): class in the upper three bits of 16.
pub fn io_priority(entry: &oci::LinuxIOPriority, at: &str) -> Result<i32> {
    let class = match entry.class() {
        oci::IOPriorityClass::IoprioClassRt => 1,
        oci::IOPriorityClass::IoprioClassBe => 2,
        oci::IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(entry.priority()) {
        Ok(priority @ 0..=7) => Ok(class << 13 | priority),
        _ => Err(Error::field(
            format!("{at}/priority"),
            format!("I/O priority {} is not between 0 and 7", entry.priority()),
        )),
    }
}

/// `process.scheduler` as the arguments of sched_setattr(2).
pub fn scheduler(entry: &oci::Scheduler, at: &str) -> Result<Scheduler> {
    use oci::LinuxSchedulerPolicy as Policy;
    let policy = *entry.policy();
    let wrong = |name: &str, problem: String| Err(Error::field(format!("{at}/{name}"), problem));

    let nice = entry.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return wrong(
            "nice",
            format!("nice value {nice} is not between -20 and 19"),
        );
    }
    let priority = entry.priority().unwrap_or(0);
    if matches!(policy, Policy::SchedFifo | Policy::SchedRr) {
        if !(1..=99).contains(&priority) {
            return wrong(
                "priority",
                format!("priority {priority} of {policy} is not between 1 and 99"),
            );
        }
    } else if priority != 0 {
        return wrong(
            "priority",
            format!("{policy} has no priority, only SCHED_FIFO and SCHED_RR have"),
        );
    }
    let times = [
        ("runtime", entry.runtime().unwrap_or(0)),
        ("deadline", entry.deadline().unwrap_or(0)),
        ("period", entry.period().unwrap_or(0)),
    ];
    if policy != Policy::SchedDeadline
        && let Some((name, _)) = times.iter().find(|(_, time)| *time != 0)
    {
        return wrong(
            name,
            format!("{policy} has no {name}, only SCHED_DEADLINE has"),
        );
    }
    let flags = entry
        .flags()
        .iter()
        .flatten()
        .fold(0, |flags, flag| flags | scheduler_flag(*flag));
    Ok(Scheduler {
        policy: match policy {
            Policy::SchedOther => 0,
            Policy::SchedFifo => 1,
            Policy::SchedRr => 2,
            Policy::SchedBatch => 3,
            Policy::SchedIso => 4,
            Policy::SchedIdle => 5,
            Policy::SchedDeadline => 6,
        },
        flags,
        nice,
        priority: priority.unsigned_abs(),
        runtime: times[0].1,
        deadline: times[1].1,
        period: times[2].1,
    })
}

fn scheduler_flag(flag: oci::LinuxSchedulerFlag) -> u64 {
    use oci::LinuxSchedulerFlag as Flag;
    match flag {
        Flag::SchedResetOnFork => 0x01,
        Flag::SchedFlagReclaim => 0x02,
        Flag::SchedFlagDLOverrun => 0x04,
        Flag::SchedFlagKeepPolicy => 0x08,
        Flag::SchedFlagKeepParams => 0x10,
        Flag::SchedFlagUtilClampMin => 0x20,
        Flag::SchedFlagUtilClampMax => 0x40,
    }
}

/// `process.execCPUAffinity`; `None` when it names no CPU.
pub fn cpu_affinity(entry: &oci::ExecCPUAffinity, at: &str) -> Result<Option<CpuAffinity>> {
    let list = |text: &Option<String>, name: &str| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => cpulist::parse(text)
            .map(Some)
            .map_err(|problem| Error::field(format!("{at}/{name}"), problem)),
    };
    let affinity = CpuAffinity {
        initial: list(entry.initial(), "initial")?,
        last: list(entry.cpu_affinity_final(), "final")?,
    };
    Ok((affinity.initial.is_some() || affinity.last.is_some()).then_some(affinity))
}

/// `linux.memoryPolicy` as the arguments of set_mempolicy(2).
pub fn memory_policy(entry: &oci::LinuxMemoryPolicy) -> Result<MemoryPolicy> {
    use oci::{MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
    const AT: &str = "/linux/memoryPolicy";
    let nodes =
        cpulist::parse(entry.nodes().as_deref().unwrap_or_default()).map_err(|problem| {
            Error::field(
                format!("{AT}/nodes"),
                format!("invalid memory policy node: {problem}"),
            )
        })?;
    let count = nodes.len();
    let (mode, fits) = match entry.mode() {
        Mode::MpolDefault => (0, count == 0),
        Mode::MpolPreferred => (1, true),
        Mode::MpolBind => (2, count > 0),
        Mode::MpolInterleave => (3, count > 0),
        Mode::MpolLocal => (4, count == 0),
        Mode::MpolPreferredMany => (5, count > 0),
        Mode::MpolWeightedInterleave => (6, count > 0),
    };
    if !fits {
        let wants = if count > 0 {
            "0 nodes"
        } else {
            "at least one node"
        };
        return Err(Error::field(
            format!("{AT}/nodes"),
            format!("memory policy mode requires {wants} but got {count}"),
        ));
    }
    let flags = entry.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                Flag::MpolFStaticNodes => libc::MPOL_F_STATIC_NODES,
                Flag::MpolFRelativeNodes => libc::MPOL_F_RELATIVE_NODES,
                Flag::MpolFNumaBalancing => libc::MPOL_F_NUMA_BALANCING,
            }
    });
    Ok(MemoryPolicy {
        mode: mode | flags,
        nodes,
    })
}

/// `linux.personality` as the argument of personality(2).
pub fn personality(entry: &oci::LinuxPersonality) -> Result<u64> {
    // The specification has the field and gives it no value yet.
    if entry
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(Error::field(
            "/linux/personality/flags",
            "no personality flag is supported",
        ));
    }
    Ok(match entry.domain() {
        oci::LinuxPersonalityDomain::PerLinux => 0,
        oci::LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::pointer_of;
    use serde_json::{Value, from_value, json};

    #[test]
    fn an_io_priority_is_class_and_data() {
        let of = |entry: Value| io_priority(&from_value(entry).unwrap(), "/p");
        let best = json!({"class": "IOPRIO_CLASS_BE", "priority": 4});
        assert_eq!(of(best).unwrap(), 0x4004);
        let idle = json!({"class": "IOPRIO_CLASS_IDLE"});
        assert_eq!(of(idle).unwrap(), 0x6000);
        for priority in [-1, 8] {
            let entry = json!({"class": "IOPRIO_CLASS_RT", "priority": priority});
            assert_eq!(pointer_of(&of(entry).unwrap_err()), "/p/priority");
        }
    }

    #[test]
    fn a_scheduler_takes_only_what_its_policy_has() {
        let of = |entry: Value| scheduler(&from_value(entry).unwrap(), "/s");
        let plan = of(
            json!({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2,
            "period": 3, "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_PARAMS"]}),
        )
        .unwrap();
        assert_eq!((plan.policy, plan.flags), (6, 0x12));
        assert_eq!((plan.runtime, plan.deadline, plan.period), (1, 2, 3));
        for (entry, name) in [
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "nice"),
            (json!({"policy": "SCHED_BATCH", "priority": 1}), "priority"),
            (json!({"policy": "SCHED_FIFO"}), "priority"),
            (json!({"policy": "SCHED_RR", "priority": 100}), "priority"),
            (
                json!({"policy": "SCHED_FIFO", "priority": 1, "period": 9}),
                "period",
            ),
        ] {
            assert_eq!(pointer_of(&of(entry).unwrap_err()), format!("/s/{name}"));
        }
    }

    #[test]
    fn cpu_lists_are_parsed() {
        let of = |entry: Value| cpu_affinity(&from_value(entry).unwrap(), "/a");
        let plan = of(json!({"initial": "0-1", "final": "3"}))
            .unwrap()
            .unwrap();
        assert_eq!((plan.initial, plan.last), (Some(vec![0, 1]), Some(vec![3])));
        assert_eq!(of(json!({})).unwrap(), None);
        assert_eq!(
            pointer_of(&of(json!({"final": "3-1"})).unwrap_err()),
            "/a/final"
        );
    }

    #[test]
    fn a_memory_policy_counts_its_nodes() {
        let of = |entry: Value| memory_policy(&from_value(entry).unwrap());
        let plan = of(json!({"mode": "MPOL_BIND", "nodes": "0,2",
            "flags": ["MPOL_F_STATIC_NODES"]}))
        .unwrap();
        assert_eq!((plan.mode, plan.nodes), (2 | 1 << 15, vec![0, 2]));
        let error = of(json!({"mode": "MPOL_LOCAL", "nodes": "0-1"})).unwrap_err();
        assert!(error.step.contains("mode requires 0 nodes but got 2"));
        assert!(of(json!({"mode": "MPOL_INTERLEAVE"})).is_err());
        let error = of(json!({"mode": "MPOL_BIND", "nodes": "x"})).unwrap_err();
        assert!(error.step.contains("invalid memory policy node"));
    }

    #[test]
    fn a_personality_has_no_flags() {
        let of = |entry: Value| personality(&from_value(entry).unwrap());
        assert_eq!(of(json!({"domain": "LINUX32"})).unwrap(), 8);
        assert_eq!(of(json!({"domain": "LINUX", "flags": []})).unwrap(), 0);
        let error = of(json!({"domain": "LINUX", "flags": ["X"]})).unwrap_err();
        assert_eq!(pointer_of(&error), "/linux/personality/flags");
    }
}

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

    if policy == Policy::SchedIso {
        let problem = "SCHED_ISO is a reserved name, no Linux has the policy";
        return wrong("policy", problem.to_owned());
    }
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
    if policy == Policy::SchedDeadline {
        deadline(&times, entry.runtime().is_some())
            .map_err(|(name, problem)| Error::field(format!("{at}/{name}"), problem))?;
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

/// What sched(7) asks of the three times of SCHED_DEADLINE, in the kernel's own order. The words
/// are those that crun's callers look for.
fn deadline(
    times: &[(&'static str, u64); 3],
    runtime_given: bool,
) -> Result<(), (&'static str, String)> {
    /// The kernel counts such times in steps of this many nanoseconds.
    const STEP: u64 = 1 << 10;
    const MOST: u64 = (1 << 63) - 1;
    let wrong =
        |name, problem: String| Err((name, format!("sched_setattr: `SCHED_DEADLINE` {problem}")));
    let [runtime, deadline, period] = times.map(|(_, time)| time);
    if !runtime_given {
        return wrong("runtime", "requires `runtime`".to_owned());
    }
    if deadline == 0 {
        return wrong("deadline", "requires `deadline`".to_owned());
    }
    if runtime == 0 {
        return wrong("runtime", "runtime must be greater than 0".to_owned());
    }
    for (name, time, least) in [
        ("runtime", runtime, STEP),
        ("deadline", deadline, 0),
        ("period", period, 0),
    ] {
        if !(least..=MOST).contains(&time) {
            return wrong(
                name,
                format!("{name} {time} ns must be between {least} and {MOST} ns"),
            );
        }
    }
    if runtime > deadline {
        return wrong(
            "runtime",
            format!("runtime ({runtime} ns) must be <= deadline ({deadline} ns)"),
        );
    }
    // The kernel takes the deadline for a period that is not given.
    if period != 0 && deadline > period {
        return wrong(
            "deadline",
            format!("deadline ({deadline} ns) must be <= period ({period} ns)"),
        );
    }
    Ok(())
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
    memory_flags(mode, flags, count)
        .map_err(|problem| Error::field(format!("{AT}/flags"), problem))?;
    Ok(MemoryPolicy {
        mode: mode | flags,
        nodes,
    })
}

/// Which flags go together, and with which mode (set_mempolicy(2)).
fn memory_flags(mode: i32, flags: i32, nodes: usize) -> Result<(), &'static str> {
    let about_nodes = libc::MPOL_F_STATIC_NODES | libc::MPOL_F_RELATIVE_NODES;
    if flags & about_nodes == about_nodes {
        return Err("MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other");
    }
    if flags & about_nodes != 0 && nodes == 0 {
        return Err("a flag about nodes needs nodes");
    }
    // MPOL_BIND (Linux 5.12) and MPOL_PREFERRED_MANY (5.15).
    if flags & libc::MPOL_F_NUMA_BALANCING != 0 && !matches!(mode, 2 | 5) {
        return Err("MPOL_F_NUMA_BALANCING needs MPOL_BIND or MPOL_PREFERRED_MANY");
    }
    Ok(())
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
        let deadline = |runtime: u64, deadline: u64, period: u64| {
            json!({"policy": "SCHED_DEADLINE", "runtime": runtime, "deadline": deadline,
                "period": period})
        };
        let plan = of(
            json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 2000,
            "period": 3000, "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_KEEP_PARAMS"]}),
        )
        .unwrap();
        assert_eq!((plan.policy, plan.flags), (6, 0x12));
        assert_eq!(
            (plan.runtime, plan.deadline, plan.period),
            (1024, 2000, 3000)
        );
        let no_period = json!({"policy": "SCHED_DEADLINE", "runtime": 1024, "deadline": 1024});
        assert_eq!(of(no_period).unwrap().period, 0);
        for (entry, name) in [
            (json!({"policy": "SCHED_OTHER", "nice": 20}), "nice"),
            (json!({"policy": "SCHED_BATCH", "priority": 1}), "priority"),
            (json!({"policy": "SCHED_FIFO"}), "priority"),
            (json!({"policy": "SCHED_RR", "priority": 100}), "priority"),
            (
                json!({"policy": "SCHED_FIFO", "priority": 1, "period": 9}),
                "period",
            ),
            (json!({"policy": "SCHED_ISO"}), "policy"),
            (json!({"policy": "SCHED_DEADLINE"}), "runtime"),
            (
                json!({"policy": "SCHED_DEADLINE", "runtime": 1024}),
                "deadline",
            ),
            (deadline(0, 2000, 0), "runtime"),
            (deadline(1 << 63, (1 << 63) + 1, 0), "runtime"),
            (deadline(1023, 2000, 0), "runtime"),
            (deadline(2001, 2000, 3000), "runtime"),
            (deadline(1500, 2001, 2000), "deadline"),
            (deadline(1500, 1 << 63, 0), "deadline"),
            (deadline(1500, 2000, 1 << 63), "period"),
        ] {
            assert_eq!(pointer_of(&of(entry).unwrap_err()), format!("/s/{name}"));
        }
    }

    #[test]
    fn a_wrong_deadline_is_told_in_the_words_that_callers_match() {
        for (entry, words) in [
            (json!({"deadline": 2000}), "requires `runtime`"),
            (json!({"runtime": 1024}), "requires `deadline`"),
            (
                json!({"runtime": 0, "deadline": 2000}),
                "runtime must be greater than 0",
            ),
            (
                json!({"runtime": 1, "deadline": 2000}),
                "runtime 1 ns must be between 1024 and ",
            ),
            (
                json!({"runtime": 3000, "deadline": 2000}),
                "runtime (3000 ns) must be <= deadline (2000 ns)",
            ),
            (
                json!({"runtime": 1024, "deadline": 2000, "period": 1999}),
                "deadline (2000 ns) must be <= period (1999 ns)",
            ),
        ] {
            let mut entry = entry;
            entry["policy"] = json!("SCHED_DEADLINE");
            let error = scheduler(&from_value(entry).unwrap(), "/s")
                .unwrap_err()
                .to_string();
            let words = format!("sched_setattr: `SCHED_DEADLINE` {words}");
            assert!(error.contains(&words), "{error}");
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
        for (mode, nodes, flags) in [
            (
                "MPOL_BIND",
                "0",
                &["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"][..],
            ),
            ("MPOL_PREFERRED", "", &["MPOL_F_STATIC_NODES"]),
            ("MPOL_DEFAULT", "", &["MPOL_F_RELATIVE_NODES"]),
            ("MPOL_INTERLEAVE", "0", &["MPOL_F_NUMA_BALANCING"]),
        ] {
            let entry = json!({"mode": mode, "nodes": nodes, "flags": flags});
            let error = of(entry).unwrap_err();
            assert_eq!(pointer_of(&error), "/linux/memoryPolicy/flags", "{mode}");
        }
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

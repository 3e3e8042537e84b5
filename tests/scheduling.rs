//! How the process competes: scheduler, I/O priority, memory policy; init's and exec's alike.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Probe, Test, View, both_views};

const TOO_OLD: &str = "runc 1.1 ignores the field";

/// What a program of the container sees of itself, and then one of exec.
fn reports(t: &Test, edit: impl Fn(&mut Value)) -> [Probe; 2] {
    let init = t.report_with(&edit);
    let container = t.sleeper(&edit);
    let exec = Probe::parse(&container.exec(&[], &["report"]));
    container.end();
    [init, exec]
}

/// Let a cpu cgroup of v1 below the test's own have real-time tasks; false where none is needed.
fn allow_real_time(t: &Test, config: &mut Value) -> bool {
    let file = format!("/sys/fs/cgroup/cpu/{}/cpu.rt_runtime_us", t.tag);
    if t.view == View::V2 || !fs::exists(&file).unwrap() {
        return false;
    }
    // A container that has just gone counts a little longer, so there is room for some.
    fs::write(file, "100000").unwrap();
    config["linux"]["resources"]["cpu"] =
        json!({"realtimeRuntime": 5_000, "realtimePeriod": 1_000_000});
    true
}

both_views! {
    fn each_policy_is_set(t) {
        t.only_orlop(TOO_OLD);
        let least = json!({"flags": 0, "nice": 0, "priority": 0, "runtime": 0, "deadline": 0, "period": 0});
        for (asked, seen) in [
            (json!({"policy": "SCHED_OTHER", "nice": -5}), json!({"policy": 0, "nice": -5})),
            (json!({"policy": "SCHED_BATCH", "nice": 19, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
                json!({"policy": 3, "nice": 19, "flags": 1})),
            (json!({"policy": "SCHED_IDLE"}), json!({"policy": 5})),
            (json!({"policy": "SCHED_FIFO", "priority": 10}), json!({"policy": 1, "priority": 10})),
            (json!({"policy": "SCHED_RR", "priority": 99, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}),
                json!({"policy": 2, "priority": 99, "flags": 1})),
            (json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 40_000_000,
                "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM"]}),
                json!({"policy": 6, "flags": 3, "runtime": 1_000_000, "deadline": 20_000_000, "period": 40_000_000})),
            // Time enough, as an overrun is a signal that ends the program.
            (json!({"policy": "SCHED_DEADLINE", "runtime": 100_000_000, "deadline": 1_000_000_000u64,
                "flags": ["SCHED_FLAG_DL_OVERRUN"]}),
                json!({"policy": 6, "flags": 4, "runtime": 100_000_000, "deadline": 1_000_000_000u64,
                    "period": 1_000_000_000u64})),
        ] {
            for report in reports(t, |config| {
                allow_real_time(t, config);
                config["process"]["scheduler"] = asked.clone();
            }) {
                let attributes = &report["scheduler_attributes"];
                for (name, default) in least.as_object().unwrap() {
                    let expected = seen.get(name).unwrap_or(default);
                    // A slice is what the kernel tells as the runtime of an ordinary task.
                    if name != "runtime" || seen["policy"] == 6 {
                        assert_eq!(&attributes[name], expected, "{name} of {asked}");
                    }
                }
                assert_eq!(attributes["policy"], seen["policy"], "{asked}");
            }
        }
    }

    fn what_is_kept_of_the_caller_is_kept(t) {
        t.only_orlop(TOO_OLD);
        let report = t.report_with(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH",
            "flags": ["SCHED_FLAG_KEEP_POLICY"], "nice": 3}));
        assert_eq!(report["scheduler"], json!({"policy": 0, "nice": 3}));
        let report = t.report_with(|config| config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH",
            "flags": ["SCHED_FLAG_KEEP_PARAMS"], "nice": 3}));
        // The policy is one of the parameters to the kernel.
        assert_eq!(report["scheduler"], json!({"policy": 0, "nice": 0}));
    }

    fn a_real_time_policy_that_the_cgroup_forbids_says_what_it_takes(t) {
        t.only_orlop(TOO_OLD);
        let mut grouped = false;
        let bundle = t.bundle(&["exit", "0"], |config| {
            grouped = allow_real_time(t, config);
            config["linux"]["resources"]["cpu"] = json!({"shares": 100});
            config["process"]["scheduler"] = json!({"policy": "SCHED_FIFO", "priority": 1});
        });
        if !grouped {
            t.skip("real-time tasks are not grouped here");
        }
        t.run(&bundle).expect_error("/process/scheduler").expect_words("linux.resources.cpu.realtimeRuntime");
    }

    fn a_clamp_is_set_or_refused_with_its_reason(t) {
        t.only_orlop(TOO_OLD);
        let output = t.run(&t.bundle(&["exit", "0"], |config| {
            config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_UTIL_CLAMP_MIN",
                "SCHED_FLAG_UTIL_CLAMP_MAX"]});
        }));
        if output.code() != 0 {
            output.expect_error("/process/scheduler").expect_words("CONFIG_UCLAMP_TASK");
        }
    }

    fn deadlines_and_a_cpuset_exclude_each_other_with_a_hint(t) {
        t.only_orlop(TOO_OLD);
        if t.view == View::V2 {
            t.skip("the unified hierarchy of this host has no cpuset");
        }
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["resources"]["cpu"] = json!({"cpus": "0"});
            config["process"]["scheduler"] =
                json!({"policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000});
        });
        t.run(&bundle).expect_error("/process/scheduler").expect_words("so no cpuset");
    }

    fn each_class_of_io_is_set(t) {
        t.only_orlop(TOO_OLD);
        for (class, number, priority) in [("RT", 1, 0), ("BE", 2, 7), ("IDLE", 3, 4)] {
            for report in reports(t, |config| {
                config["process"]["ioPriority"] = json!({"class": format!("IOPRIO_CLASS_{class}"), "priority": priority});
            }) {
                assert_eq!(report["io_priority"], json!(number << 13 | priority), "{class}");
            }
        }
    }

    fn each_memory_policy_is_set(t) {
        t.only_orlop(TOO_OLD);
        if t.report_with(|_| {})["memory_policy"].is_null() {
            t.skip("this kernel has no NUMA");
        }
        let (fixed, relative, balancing) = (1 << 15, 1 << 14, 1 << 13);
        for (mode, nodes, flags, seen) in [
            ("DEFAULT", "", &[][..], json!({"mode": 0, "nodes": 0})),
            ("PREFERRED", "0", &[], json!({"mode": 1, "nodes": 1})),
            // Of no node in particular: what the kernel calls local.
            ("PREFERRED", "", &[], json!({"mode": 4, "nodes": 0})),
            ("BIND", "0", &["STATIC_NODES"], json!({"mode": 2 | fixed, "nodes": 1})),
            ("BIND", "0-0", &["NUMA_BALANCING"], json!({"mode": 2 | balancing, "nodes": 1})),
            ("INTERLEAVE", "0", &["RELATIVE_NODES"], json!({"mode": 3 | relative, "nodes": 1})),
            ("LOCAL", "", &[], json!({"mode": 4, "nodes": 0})),
            ("PREFERRED_MANY", "0", &[], json!({"mode": 5, "nodes": 1})),
            ("WEIGHTED_INTERLEAVE", "0", &[], json!({"mode": 6, "nodes": 1})),
        ] {
            for report in reports(t, |config| {
                let flags: Vec<_> = flags.iter().map(|flag| format!("MPOL_F_{flag}")).collect();
                config["linux"]["memoryPolicy"] = json!({"mode": format!("MPOL_{mode}"), "nodes": nodes, "flags": flags});
            }) {
                assert_eq!(report["memory_policy"], seen, "{mode} {nodes:?} {flags:?}");
            }
        }
    }

    fn a_memory_node_that_is_not_there_is_refused_by_name(t) {
        t.only_orlop(TOO_OLD);
        for nodes in ["63", "1023", "5000"] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                config["linux"]["memoryPolicy"] = json!({"mode": "MPOL_BIND", "nodes": nodes});
            });
            t.run(&bundle).expect_error("/linux/memoryPolicy");
        }
    }

    fn the_personality_is_exec_s_too(t) {
        t.only_orlop(TOO_OLD);
        for (domain, number) in [("LINUX", 0), ("LINUX32", 8)] {
            for report in reports(t, |config| config["linux"]["personality"] = json!({"domain": domain})) {
                assert_eq!(report["personality"], number);
            }
        }
    }
}

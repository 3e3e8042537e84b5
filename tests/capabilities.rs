//! The five capability sets.

use std::fs;

use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::set_capabilities;

const CHOWN: u64 = 1 << 0;
const KILL: u64 = 1 << 5;
const NET_RAW: u64 = 1 << 13;
const SYS_RESOURCE: u64 = 1 << 24;
const MKNOD: u64 = 1 << 27;

/// The capabilities that the test, and so the runtime, holds.
fn own() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    set_in(&status, "CapPrm:")
}

/// One set of the text of a /proc/PID/status.
fn set_in(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
}

both_views! {
    fn each_set_is_exactly_the_one_of_the_config(t) {
        let report = t.report_with(|config| {
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_MKNOD"],
                "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "effective": ["CAP_CHOWN", "CAP_KILL"],
                "inheritable": ["CAP_CHOWN"],
            });
        });
        // At execve a root program gets its bounding set: the kernel's own rule for uid 0.
        assert_eq!(report.capabilities("bounding"), CHOWN | KILL | NET_RAW | MKNOD);
        assert_eq!(report.capabilities("inheritable"), CHOWN);
        assert_eq!(report.capabilities("ambient"), 0);
    }

    fn init_holds_the_five_sets_before_the_program_runs(t) {
        // execve computes permitted and effective anew, so that only here both can be seen.
        let container = t.create(&t.bundle(&["sleep"], |config| {
            config["process"]["capabilities"] = json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW", "CAP_MKNOD"],
                "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
                "effective": ["CAP_CHOWN", "CAP_KILL"],
                "inheritable": ["CAP_CHOWN", "CAP_NET_RAW"],
                "ambient": ["CAP_CHOWN"],
            });
        }));
        let status = fs::read_to_string(format!("/proc/{}/status", container.pid())).unwrap();
        for (line, expected) in [
            ("CapBnd:", CHOWN | KILL | NET_RAW | MKNOD), ("CapPrm:", CHOWN | KILL | NET_RAW),
            ("CapEff:", CHOWN | KILL), ("CapInh:", CHOWN | NET_RAW), ("CapAmb:", CHOWN),
        ] {
            assert_eq!(set_in(&status, line), expected, "{line}");
        }
        container.delete().expect_ok();
    }

    fn the_ambient_set_of_the_caller_does_not_get_in(t) {
        let bundle = t.bundle(&["report"], |config| {
            set_capabilities(config, &["CAP_NET_RAW"]);
            config["process"]["capabilities"]["ambient"] = json!([]);
        });
        let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        let mut command = std::process::Command::new("setpriv");
        command.args(["--inh-caps=+net_raw", "--ambient-caps=+net_raw"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let report = crate::support::Probe::parse(&t.runtime.finish(command));
        assert_eq!(report.capabilities("ambient"), 0);
        assert_eq!(report.capabilities("inheritable"), NET_RAW);
    }

    fn a_user_without_ambient_capabilities_has_none_after_execve(t) {
        let report = t.report_with(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        for set in ["permitted", "effective", "inheritable", "ambient"] {
            assert_eq!(report.capabilities(set), 0, "{set}");
        }
        assert_eq!(report.capabilities("bounding"), KILL | 1 << 29 | 1 << 10);
    }

    fn ambient_capabilities_reach_a_user_that_is_not_root(t) {
        let report = t.report_with(|config| {
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
            set_capabilities(config, &["CAP_KILL", "CAP_NET_RAW"]);
            config["process"]["capabilities"]["ambient"] = json!(["CAP_NET_RAW"]);
        });
        assert_eq!(report.capabilities("ambient"), NET_RAW);
        assert_eq!(report.capabilities("permitted"), NET_RAW);
        assert_eq!(report.capabilities("effective"), NET_RAW);
        assert_eq!(report.capabilities("inheritable"), KILL | NET_RAW);
    }

    fn nothing_is_inheritable_unless_it_is_asked_for(t) {
        let report = t.report_with(|_| {});
        assert_eq!(report.capabilities("inheritable"), 0);
        assert_eq!(report.capabilities("ambient"), 0);
    }

    fn empty_sets_leave_nothing(t) {
        let report = t.report_with(|config| config["process"]["capabilities"] = json!({}));
        for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
            assert_eq!(report.capabilities(set), 0, "{set}");
        }
    }

    fn a_config_without_capabilities_leaves_nothing(t) {
        let report = t.report_with(|config| {
            config["process"].as_object_mut().unwrap().remove("capabilities");
        });
        for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
            assert_eq!(report.capabilities(set), 0, "{set}");
        }
    }

    fn a_name_that_is_unknown_is_warned_of(t) {
        let bundle = t.bundle(&["exit", "0"], |config| set_capabilities(config, &["CAP_KILL", "CAP_MADE_UP"]));
        t.run(&bundle).expect_ok().expect_words("CAP_MADE_UP");
    }

    fn a_capability_that_the_caller_lacks_is_warned_of(t) {
        t.only_orlop("runc fails: unable to apply caps");
        if own() & SYS_RESOURCE != 0 {
            t.skip("the tests run with every capability, so there is none to lack");
        }
        let bundle = t.bundle(&["exit", "0"], |config| set_capabilities(config, &["CAP_KILL", "CAP_SYS_RESOURCE"]));
        t.run(&bundle).expect_ok().expect_words("CAP_SYS_RESOURCE");
        let report_of = t.bundle(&["report"], |config| set_capabilities(config, &["CAP_KILL", "CAP_SYS_RESOURCE"]));
        let output = t.run(&report_of);
        let report = crate::support::Probe::parse(&output);
        assert_eq!(report.capabilities("effective"), KILL);
    }

    fn a_capability_that_is_not_there_is_refused_by_the_kernel(t) {
        let bundle = t.bundle(&["mknod", "/dev/made", "c", "1", "3"], |_| {});
        let output = t.run(&bundle);
        assert!(output.expect_ok().stdout.contains("\"mknod\": \"EPERM\""), "{output}");
    }
}

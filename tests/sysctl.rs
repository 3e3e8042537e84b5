//! Kernel parameters of the container's own namespaces.

use std::fs;

use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::{push, set_namespaces};

both_views! {
    fn parameters_of_the_network_are_set_inside_and_not_on_the_host(t) {
        let file = "/proc/sys/net/ipv4/ip_default_ttl";
        let before = fs::read_to_string(file).unwrap();
        let report = t.report(&t.bundle(&["report", "--read", file], |config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
        }));
        assert_eq!(report["read"][file], "77");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
    }

    fn parameters_of_ipc_are_set(t) {
        let file = "/proc/sys/kernel/msgmax";
        let report = t.report(&t.bundle(&["report", "--read", file], |config| {
            config["linux"]["sysctl"] = json!({"kernel.msgmax": "12345", "fs.mqueue.msg_max": "20"});
        }));
        assert_eq!(report["read"][file], "12345");
    }

    fn the_domain_name_may_be_set(t) {
        let report = t.report_with(|config| {
            config["linux"]["sysctl"] = json!({"kernel.domainname": "example.org"});
        });
        assert_eq!(report["domainname"], "example.org");
    }

    fn a_parameter_that_is_not_of_a_namespace_is_refused(t) {
        let before = fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
        });
        t.try_create(&bundle).expect_code(1).expect_words("vm.swappiness");
        assert_eq!(fs::read_to_string("/proc/sys/vm/swappiness").unwrap(), before);
    }

    fn a_parameter_of_a_namespace_that_is_the_hosts_is_refused(t) {
        for (name, kinds) in [
            ("net.ipv4.ip_default_ttl", ["mount", "pid", "uts", "ipc"]),
            ("kernel.msgmax", ["mount", "pid", "uts", "network"]),
        ] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                set_namespaces(config, &kinds);
                config["linux"]["sysctl"] = json!({name: "64"});
            });
            t.try_create(&bundle).expect_code(1).expect_words(name);
        }
    }

    fn a_parameter_of_a_joined_namespace_that_is_the_hosts_is_refused(t) {
        let value = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
            push(config, "/linux/namespaces", json!({"type": "network", "path": "/proc/self/ns/net"}));
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": value.trim()});
        });
        t.try_create(&bundle).expect_error("not allowed in host network namespace");
    }

    fn a_name_cannot_lead_out_of_proc_sys(t) {
        for name in ["net.../../../tmp/x", "net/../kernel/hostname", "net.."] {
            let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["sysctl"] = json!({name: "x"}));
            t.try_create(&bundle).expect_code(1);
        }
    }

    fn a_parameter_that_does_not_exist_is_an_error(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["sysctl"] = json!({"net.ipv4.made_up": "1"});
        });
        t.try_create(&bundle).expect_code(1).expect_words("made_up");
    }
}

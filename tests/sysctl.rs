//! Kernel parameters of the container's own namespaces.

use std::fs;
use std::process::Command;

use serde_json::json;

use crate::support::bundle::{add_user_namespace, push, set_namespaces};
use crate::support::{both_views, wait_until};

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

    fn a_name_with_slashes_may_hold_dots(t) {
        t.only_orlop("runc 1.1 checks the name as it should, but then writes to one with all slashes");
        let holder = Held::new(&["--net"]);
        let link = |args: &[&str]| {
            let mut command = Command::new("nsenter");
            command.args(["-t", &holder.pid(), "--net", "ip", "link"]).args(args);
            assert!(command.status().unwrap().success());
        };
        link(&["add", "a.b", "type", "bridge"]);
        for (name, value) in [("net/ipv4/conf/a.b/rp_filter", "2"), ("net.ipv4.conf.a/b.rp_filter", "1")] {
            let file = "/proc/sys/net/ipv4/conf/a.b/rp_filter";
            let report = t.report(&t.bundle(&["report", "--read", file], |config| {
                let path = format!("/proc/{}/ns/net", holder.pid());
                config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "network");
                push(config, "/linux/namespaces", json!({"type": "network", "path": path}));
                config["linux"]["sysctl"] = json!({name: value});
            }));
            assert_eq!(report["read"][file], value, "{name}");
        }
    }

    fn the_message_queues_have_their_limits(t) {
        let file = "/proc/sys/fs/mqueue/msg_max";
        let report = t.report(&t.bundle(&["report", "--read", file], |config| {
            config["linux"]["sysctl"] = json!({"fs.mqueue.msg_max": "21"});
        }));
        assert_eq!(report["read"][file], "21");
    }

    fn the_limits_of_a_user_namespace_are_set_in_it_alone(t) {
        t.only_orlop("runc 1.1 refuses them");
        let file = "/proc/sys/user/max_net_namespaces";
        let before = fs::read_to_string(file).unwrap();
        let report = t.report(&t.bundle(&["report", "--read", file], |config| {
            add_user_namespace(config, 200_000);
            config["linux"]["sysctl"] = json!({"user.max_net_namespaces": "3"});
        }));
        assert_eq!(report["read"][file], "3");
        assert_eq!(fs::read_to_string(file).unwrap(), before);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["sysctl"] = json!({"user.max_net_namespaces": before.trim()});
        });
        t.try_create(&bundle).expect_code(1).expect_words("user");
    }

    fn the_names_of_the_config_cannot_be_contradicted(t) {
        let bundle = t.bundle(&["exit", "0"], |config| config["linux"]["sysctl"] = json!({"kernel.hostname": "other"}));
        t.try_create(&bundle).expect_error("is not allowed as it conflicts with");
        t.only_orlop("runc 1.1 ignores domainname");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["domainname"] = json!("one.example");
            config["linux"]["sysctl"] = json!({"kernel.domainname": "two.example"});
        });
        t.try_create(&bundle).expect_error("/linux/sysctl/kernel.domainname").expect_words("domainname");
    }

    fn no_parameter_of_the_host_is_set_through_a_joined_namespace_of_its_own(t) {
        t.only_orlop("runc 1.1 looks at network namespaces only");
        for (kind, file, name, path) in [
            ("ipc", "ipc", "kernel.msgmax", "/proc/sys/kernel/msgmax"),
            ("uts", "uts", "kernel.domainname", "/proc/sys/kernel/domainname"),
            ("network", "net", "net.ipv4.ip_default_ttl", "/proc/sys/net/ipv4/ip_default_ttl"),
        ] {
            let value = fs::read_to_string(path).unwrap();
            let bundle = t.bundle(&["exit", "0"], |config| {
                config.as_object_mut().unwrap().remove("hostname");
                config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != kind);
                push(config, "/linux/namespaces", json!({"type": kind, "path": format!("/proc/self/ns/{file}")}));
                config["linux"]["sysctl"] = json!({name: value.trim()});
            });
            t.try_create(&bundle).expect_error(&format!("/linux/sysctl/{name}")).expect_words("host");
        }
    }
}

/// A process in new namespaces, for a test to join; it ends with the test.
struct Held(std::process::Child);

impl Held {
    fn new(flags: &[&str]) -> Self {
        let child = Command::new("unshare")
            .args(flags)
            .args(["sleep", "1000"])
            .spawn()
            .unwrap();
        let held = Self(child);
        wait_until("the holder has left our namespaces", || {
            fs::read_to_string(format!("/proc/{}/comm", held.pid()))
                .is_ok_and(|comm| comm == "sleep\n")
        });
        held
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

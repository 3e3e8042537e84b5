//! Network devices that move into the container. Each test has a network namespace of its own
//! for the host, with veth pairs: `p0` is the other end of `d0`.

use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push, set_namespaces};
use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Container, Output, Test, both_views};

const MAC: &str = "02:00:00:00:12:34";

/// Leave the machine's network for one with these devices.
pub fn network(t: &Test, devices: &[&str]) {
    t.only_orlop("netDevices came with runc 1.4");
    if Command::new("ip").arg("-V").output().is_err() {
        t.skip("needs ip (iproute2)");
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for name in devices {
        let peer = name.replace('d', "p");
        if !try_ip(&format!("link add {name} type veth peer name {peer}")) {
            t.skip("this kernel has no veth devices");
        }
    }
}

fn try_ip(words: &str) -> bool {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    output.status.success()
}

#[track_caller]
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {words}: {stderr}");
}

/// Everything that a device can lose on its way.
pub fn dress(device: &str) {
    ip(&format!("link set {device} mtu 1400 address {MAC}"));
    ip(&format!("addr add 10.1.2.3/24 brd 10.1.2.255 dev {device}"));
    ip(&format!("addr add 10.9.9.1 peer 10.9.9.2/32 dev {device}"));
    ip(&format!("addr add fd00::5/64 dev {device} nodad"));
    ip(&format!("link set {device} up"));
}

/// What dress has given it, as [`look`] shows it.
fn dressed() -> Value {
    json!({
        "mtu": 1400, "mac": MAC, "up": true, "master": null,
        "addresses": ["10.1.2.3/24 10.1.2.255 -", "10.9.9.1/32 - 10.9.9.2", "fd00::5/64 - -"],
    })
}

/// A device and its addresses of global scope; null when there is none. `from` is the command
/// that goes where it is.
fn look_by(from: &[&str], device: &str) -> Value {
    let words = [from, &["ip", "-j", "addr", "show", "dev", device]].concat();
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(link) = list
        .as_array()
        .and_then(|list| list.iter().find(|l| l["ifname"] == device))
    else {
        return Value::Null;
    };
    let addresses = link["addr_info"].as_array().unwrap().iter();
    let global = addresses.filter(|a| a["scope"] == "global").map(|a| {
        let text = |key: &str| a[key].as_str().unwrap_or("-").to_owned();
        let at = format!("{}/{}", text("local"), a["prefixlen"]);
        format!("{at} {} {}", text("broadcast"), text("address"))
    });
    let flags = link["flags"].as_array().unwrap();
    json!({
        "mtu": link["mtu"], "mac": link["address"], "up": flags.contains(&json!("UP")),
        "master": link["master"], "addresses": global.collect::<Vec<_>>(),
    })
}

pub fn look(device: &str) -> Value {
    look_by(&["env"], device)
}

fn look_inside(container: &Container, device: &str) -> Value {
    let target = container.pid().to_string();
    look_by(&["nsenter", "--net", "--target", &target], device)
}

fn devices(devices: Value) -> impl FnOnce(&mut Value) {
    move |config| config["linux"]["netDevices"] = devices
}

/// `create` fails, leaves nothing, and the dressed device `d0` is as it was.
fn refused(t: &Test, bundle: &Bundle) -> Output {
    let before = Snapshot::take(t);
    let output = t.try_create(bundle);
    output.expect_code(1);
    before.assert_unchanged(t, "after a failed create");
    assert_eq!(look("d0"), dressed());
    output
}

both_views! {
    fn a_device_moves_with_all_that_it_has(t) {
        network(t, &["d0"]);
        dress("d0");
        ip("addr add 169.254.7.7/16 scope link dev d0");
        ip("addr add 10.5.5.5/24 valid_lft 1000 preferred_lft 1000 dev d0");
        let container = t.sleeper(devices(json!({"d0": {"name": "eth0"}})));
        assert_eq!(look_inside(&container, "eth0"), dressed());
        assert_eq!(look("d0"), Value::Null);
        assert_eq!(look_inside(&container, "lo")["up"], true);
        container.end();
    }

    fn a_device_that_was_down_keeps_its_name_and_comes_up(t) {
        network(t, &["d0"]);
        let mac = look("d0")["mac"].clone();
        let container = t.sleeper(devices(json!({"d0": {}})));
        let inside = look_inside(&container, "d0");
        assert_eq!(inside, json!({"mtu": 1500, "mac": mac, "up": true, "master": null, "addresses": []}));
        container.end();
    }

    fn a_template_gets_numbers(t) {
        network(t, &["d0", "d1", "d2"]);
        let container = t.sleeper(devices(json!({
            "d0": {"name": "eth%d"}, "d1": {"name": "eth%d"}, "d2": {"name": "x%dy"}
        })));
        for name in ["eth0", "eth1", "x0y"] {
            assert_eq!(look_inside(&container, name)["up"], true, "{name}");
        }
        container.end();
    }

    fn devices_may_take_each_others_names(t) {
        network(t, &["d0", "d1"]);
        let macs = [look("d0")["mac"].clone(), look("d1")["mac"].clone()];
        let container = t.sleeper(devices(json!({"d0": {"name": "d1"}, "d1": {"name": "d0"}})));
        assert_eq!(look_inside(&container, "d1")["mac"], macs[0]);
        assert_eq!(look_inside(&container, "d0")["mac"], macs[1]);
        container.end();
    }

    fn a_parameter_of_the_moved_device_can_be_set(t) {
        network(t, &["d0"]);
        let file = "/proc/sys/net/ipv4/conf/eth0/arp_notify";
        let report = t.report(&t.bundle(&["report", "--read", file], |config| {
            config["linux"]["netDevices"] = json!({"d0": {"name": "eth0"}});
            config["linux"]["sysctl"] = json!({"net.ipv4.conf.eth0.arp_notify": "1"});
        }));
        assert_eq!(report["read"][file], "1");
    }

    fn a_device_moves_into_a_user_namespaces_network(t) {
        network(t, &["d0"]);
        dress("d0");
        let container = t.sleeper(|config| {
            add_user_namespace(config, 200_000);
            config["linux"]["netDevices"] = json!({"d0": {"name": "eth0"}});
        });
        assert_eq!(look_inside(&container, "eth0"), dressed());
        container.end();
    }

    fn a_device_moves_into_a_network_that_is_joined(t) {
        network(t, &["d0", "d1"]);
        dress("d0");
        dress("d1");
        let first = t.sleeper(devices(json!({"d1": {"name": "eth0"}})));
        let join = |name: &str| {
            let name = name.to_owned();
            let path = format!("/proc/{}/ns/net", first.pid());
            move |config: &mut Value| {
                set_namespaces(config, &["mount", "pid", "ipc", "uts"]);
                push(config, "/linux/namespaces", json!({"type": "network", "path": path}));
                config["linux"]["netDevices"] = json!({"d0": {"name": name}});
            }
        };
        // The first one's device has the name.
        refused(t, &t.bundle(&["exit", "0"], join("eth0")))
            .expect_words("file exists")
            .expect_words("/linux/netDevices/d0");
        let second = t.sleeper(join("eth%d"));
        assert_eq!(look_inside(&first, "eth1"), dressed());
        // It stays with the namespace.
        second.end();
        assert_eq!(look_inside(&first, "eth1"), dressed());
        first.end();
    }

    fn a_name_that_is_taken_inside_is_refused(t) {
        network(t, &["d0"]);
        dress("d0");
        refused(t, &t.bundle(&["exit", "0"], devices(json!({"d0": {"name": "lo"}}))))
            .expect_words("give it the name lo in the container: file exists")
            .expect_words("/linux/netDevices/d0");
    }

    fn a_device_that_does_not_exist_is_refused(t) {
        network(t, &["d0"]);
        dress("d0");
        let output = refused(t, &t.bundle(&["exit", "0"], devices(json!({"d0": {}, "nope": {}}))));
        output
            .expect_words("link not found for interface nope on runtime namespace")
            .expect_words("/linux/netDevices/nope");
        // Before anything was made.
        assert!(!output.stderr.contains("container init"), "{output}");
    }

    fn a_device_that_cannot_move_is_left_as_it_was(t) {
        network(t, &["d0"]);
        dress("d0");
        ip("link add zbridge type bridge");
        ip("addr add fd00:1::1/64 dev zbridge nodad");
        ip("link set zbridge up");
        let before = look("zbridge");
        // Its name is the last one, so that d0 has moved by then.
        refused(t, &t.bundle(&["exit", "0"], devices(json!({"d0": {"name": "eth0"}, "zbridge": {}}))))
            .expect_words("/linux/netDevices/zbridge");
        assert_eq!(look("zbridge"), before);
    }

    fn when_create_fails_later_the_devices_come_back(t) {
        network(t, &["d0", "d1"]);
        dress("d0");
        ip("link add bridge type bridge");
        ip("link set d1 master bridge");
        let before = look("d1");
        assert_eq!(before["master"], "bridge");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["netDevices"] = json!({"d0": {"name": "eth0"}, "d1": {"name": "d0"}});
            config["process"]["args"] = json!(["/nowhere"]);
        });
        refused(t, &bundle).expect_words("/nowhere");
        assert_eq!(look("d1"), before);
        // The end of init comes with its error, before or after the devices are looked at.
        t.run(&bundle).expect_code(1);
        assert_eq!(look("d0"), dressed());
        let mut bundle = bundle;
        bundle.edit(|config| {
            config["process"]["args"] = json!(["/probe", "exit", "0"]);
            config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
        });
        refused(t, &bundle);
        assert_eq!(look("d1"), before);
    }

    fn the_hosts_own_network_takes_no_devices(t) {
        network(t, &["d0"]);
        dress("d0");
        let words = "unable to move network devices without a NET namespace";
        let bundle = t.bundle(&["exit", "0"], |config| {
            set_namespaces(config, &["mount", "pid", "ipc", "uts"]);
            config["linux"]["netDevices"] = json!({"d0": {}});
        });
        refused(t, &bundle).expect_words(words).expect_words("/linux/netDevices");
        let bundle = t.bundle(&["exit", "0"], |config| {
            set_namespaces(config, &["mount", "pid", "ipc", "uts"]);
            let path = json!({"type": "network", "path": "/proc/self/ns/net"});
            push(config, "/linux/namespaces", path);
            config["linux"]["netDevices"] = json!({"d0": {}});
        });
        refused(t, &bundle).expect_words(words).expect_words("/linux/netDevices");
    }

    fn without_the_hosts_root_no_device_moves(t) {
        network(t, &["d0"]);
        dress("d0");
        let bundle = t.bundle(&["exit", "0"], devices(json!({"d0": {}})));
        t.runtime
            .call(&["--rootless", "true", "create", "--bundle", bundle.path(), &bundle.id])
            .expect_error("network devices are not supported for rootless containers")
            .expect_words("/linux/netDevices");
        assert_eq!(look("d0"), dressed());
    }
}

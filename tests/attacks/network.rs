//! Network namespaces that the container shares with an attacker who may change what is in them.

use serde_json::{Value, json};

use crate::net_devices::{dress, look, network};
use crate::support::bundle::{push, set_namespaces};
use crate::support::once;

/// What may be done in the container's network namespace while `create` is at work: `$0` is the
/// index of the host's device.
const EXCHANGES: [&str; 3] = [
    "ip link del eth0; ip link add eth0 index $0 type veth peer name evil",
    "ip link set eth0 netns $1; ip link add eth0 index $0 type bridge",
    "ip link set eth0 name away; ip link set away netns $1; ip link add other index $0 type bridge",
];

once! {
    fn what_comes_back_to_the_host_is_what_went_away(t) {
        for exchange in EXCHANGES {
            network(t, &["d0"]);
            dress("d0");
            let (attacker, elsewhere) = (t.sleeper(|_| {}), t.sleeper(|_| {}));
            let script = format!("set -e; set -- $(ip -o link show eth0 | cut -d: -f1) {}; {exchange}", elsewhere.pid());
            let script = script.replace("$1", "$2").replace("$0", "$1");
            let output = t.try_create(&t.bundle(&["exit", "0"], |config: &mut Value| {
                set_namespaces(config, &["mount", "pid", "ipc", "uts"]);
                let path = format!("/proc/{}/ns/net", attacker.pid());
                push(config, "/linux/namespaces", json!({"type": "network", "path": path}));
                config["linux"]["netDevices"] = json!({"d0": {"name": "eth0"}});
                let pid = attacker.pid().to_string();
                config["hooks"] = json!({"createRuntime": [
                    {"path": "/usr/bin/nsenter", "args": ["nsenter", "--net", "--target", pid, "sh", "-c", script]},
                    {"path": "/bin/false"},
                ]});
            }));
            output.expect_error("createRuntime hook #1");
            assert_eq!(look("d0"), Value::Null, "{exchange}: {output}");
            output.expect_words("put it back");
            attacker.end();
            elsewhere.end();
        }
    }
}

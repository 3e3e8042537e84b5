//! Device nodes and links in /dev.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::{add_user_namespace, push};

const DEFAULT: &[(&str, &str)] = &[
    ("/dev/full", "1:7"),
    ("/dev/null", "1:3"),
    ("/dev/random", "1:8"),
    ("/dev/tty", "5:0"),
    ("/dev/urandom", "1:9"),
    ("/dev/zero", "1:5"),
];

const LINKS: &[(&str, &str)] = &[
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/ptmx", "pts/ptmx"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
];

both_views! {
    fn the_default_devices_are_there_for_everybody(t) {
        let report = t.report_with(|_| {});
        for (path, numbers) in DEFAULT {
            let seen = &report["dev"][path];
            let expected = json!({"type": "char", "mode": "0666", "uid": 0, "gid": 0, "device": numbers});
            assert_eq!(seen, &expected, "{path}");
        }
    }

    fn the_default_links_are_there(t) {
        let report = t.report_with(|_| {});
        for (path, target) in LINKS {
            assert_eq!(report["dev"][path]["link"], *target, "{path}");
        }
    }

    fn nothing_else_is_in_dev(t) {
        let report = t.report_with(|_| {});
        let seen: BTreeSet<&str> = report["dev"].as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected: BTreeSet<&str> = DEFAULT.iter().chain(LINKS).map(|(path, _)| *path).collect();
        expected.extend(["/dev/mqueue", "/dev/pts", "/dev/pts/ptmx", "/dev/shm"]);
        if std::path::Path::new("/proc/kcore").exists() {
            expected.insert("/dev/core");
        }
        assert_eq!(seen, expected);
    }

    fn a_device_of_the_config_is_made_as_it_is_described(t) {
        let report = t.report_with(|config| {
            push(config, "/linux/devices", json!({"path": "/dev/deep/down/kmsg", "type": "c", "major": 1,
                "minor": 11, "fileMode": 0o640, "uid": 12, "gid": 34}));
            push(config, "/linux/devices", json!({"path": "/dev/disk", "type": "b", "major": 7, "minor": 200,
                "fileMode": 0o600, "uid": 0, "gid": 6}));
            push(config, "/linux/devices", json!({"path": "/dev/queue", "type": "p", "fileMode": 0o622}));
        });
        assert_eq!(report["dev"]["/dev/deep/down/kmsg"],
            json!({"type": "char", "device": "1:11", "mode": "0640", "uid": 12, "gid": 34}));
        assert_eq!(report["dev"]["/dev/disk"],
            json!({"type": "block", "device": "7:200", "mode": "0600", "uid": 0, "gid": 6}));
        assert_eq!(report["dev"]["/dev/queue"]["type"], "fifo");
        assert_eq!(report["dev"]["/dev/queue"]["mode"], "0622");
    }

    fn a_default_device_that_the_config_names_too_is_made_once(t) {
        let report = t.report_with(|config| {
            push(config, "/linux/devices", json!({"path": "/dev/null", "type": "c", "major": 1, "minor": 3,
                "fileMode": 0o666, "uid": 0, "gid": 0}));
            // The rule for a default device is not added for one that the config describes.
            push(config, "/linux/resources/devices", json!({"allow": true, "type": "c", "major": 1,
                "minor": 3, "access": "rwm"}));
        });
        assert_eq!(report["dev"]["/dev/null"]["device"], "1:3");
    }

    fn a_set_id_bit_survives_the_owner(t) {
        t.only_orlop("runc 1.1 sets the mode before the owner, which clears the bit");
        let report = t.report_with(|config| {
            push(config, "/linux/devices", json!({"path": "/dev/odd", "type": "c", "major": 1, "minor": 3,
                "fileMode": 0o6755, "uid": 12, "gid": 34}));
        });
        assert_eq!(report["dev"]["/dev/odd"]["mode"], "6755");
    }

    fn a_ptmx_of_the_image_is_replaced(t) {
        let bundle = t.bundle(&["report"], |config| {
            config["root"]["readonly"] = json!(false);
            config["mounts"].as_array_mut().unwrap().retain(|m| {
                !m["destination"].as_str().unwrap().starts_with("/dev")
            });
        });
        bundle.add_file("dev/ptmx", "not a terminal multiplexer");
        assert_eq!(t.report(&bundle)["dev"]["/dev/ptmx"]["link"], "pts/ptmx");
    }

    fn something_else_in_the_place_of_a_device_is_refused(t) {
        t.only_orlop("runc 1.1 takes whatever lies there for the device");
        let bundle = t.bundle(&["report"], |config| {
            config["root"]["readonly"] = json!(false);
            config["mounts"].as_array_mut().unwrap().retain(|m| {
                !m["destination"].as_str().unwrap().starts_with("/dev")
            });
        });
        bundle.add_file("dev/null", "no null device");
        t.try_create(&bundle).expect_code(1).expect_words("/dev/null");
    }

    fn the_modes_do_not_depend_on_the_callers_umask(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]);
        let inner = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        command.arg(inner.get_program()).args(inner.get_args());
        let report = crate::support::Probe::parse(&t.runtime.finish(command));
        assert_eq!(report["dev"]["/dev/null"]["mode"], "0666");
    }

    fn in_a_user_namespace_the_devices_are_those_of_the_host(t) {
        let report = t.report_with(|config| add_user_namespace(config, 200_000));
        for (path, numbers) in DEFAULT {
            assert_eq!(report["dev"][path]["device"], *numbers, "{path}");
            assert_eq!(report.mount(path)["fstype"], "devtmpfs", "{path} is not bound from the host");
        }
    }
}

//! Device nodes and links in /dev.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::bundle::{add_mount, add_user_namespace, push};
use crate::support::{Probe, both_views};

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

    fn a_device_may_be_anywhere_and_a_link_does_not_lead_it_out(t) {
        let bundle = t.bundle(&["report", "--stat", "/run/deep/null", "--stat", "/tmp/real/zero", "--stat", "/tmp/queue"],
            |config| {
                config["root"]["readonly"] = json!(false);
                for (path, kind, minor) in [("/run/deep/null", "u", 3), ("/linked/zero", "c", 5)] {
                    push(config, "/linux/devices", json!({"path": path, "type": kind, "major": 1, "minor": minor,
                        "fileMode": 0o604, "uid": 3, "gid": 4}));
                }
                push(config, "/linux/devices", json!({"path": "/tmp/queue", "type": "p"}));
            });
        let outside = t.dir.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::create_dir_all(bundle.rootfs("tmp/real")).unwrap();
        // Absolute, so that on the host it is another place.
        std::os::unix::fs::symlink("/tmp/real", bundle.rootfs("linked")).unwrap();
        let report = t.report(&bundle);
        let node = |device: &str| json!({"type": "char", "device": device, "mode": "0604", "uid": 3, "gid": 4});
        assert_eq!(report["stat"]["/run/deep/null"], node("1:3"));
        assert_eq!(report["stat"]["/tmp/real/zero"], node("1:5"));
        assert_eq!(report["stat"]["/tmp/queue"]["type"], "fifo");
        assert!(!std::path::Path::new("/tmp/real").exists());
    }

    fn a_device_that_the_image_has_already_is_taken_only_if_it_is_the_one(t) {
        for (minor, fits) in [(5, true), (7, false)] {
            let bundle = t.bundle(&["report", "--stat", "/nodes/zero"], |config| {
                config["root"]["readonly"] = json!(false);
                push(config, "/linux/devices", json!({"path": "/nodes/zero", "type": "c", "major": 1, "minor": 5}));
            });
            std::fs::create_dir(bundle.rootfs("nodes")).unwrap();
            let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_truncate(0o600));
            let number = nix::sys::stat::makedev(1, minor);
            nix::sys::stat::mknod(&bundle.rootfs("nodes/zero"), kind, mode, number).unwrap();
            let output = t.run(&bundle);
            if fits {
                output.expect_ok();
            } else if !t.runtime.is_reference {
                output.expect_error("/linux/devices/0").expect_words("something else is there already");
            }
        }
    }

    fn a_device_that_the_image_has_already_gets_the_mode_and_owner_of_the_config(t) {
        t.only_orlop("runc 1.1 leaves it as it is");
        for mapped in [false, true] {
            let bundle = t.bundle(&["report", "--stat", "/nodes/zero"], |config| {
                config["root"]["readonly"] = json!(false);
                if mapped {
                    add_user_namespace(config, 200_000);
                }
                push(config, "/linux/devices", json!({"path": "/nodes/zero", "type": "c", "major": 1, "minor": 5,
                    "fileMode": 0o640, "uid": 3, "gid": 4}));
            });
            std::fs::create_dir(bundle.rootfs("nodes")).unwrap();
            let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::from_bits_truncate(0o600));
            nix::sys::stat::mknod(&bundle.rootfs("nodes/zero"), kind, mode, nix::sys::stat::makedev(1, 5)).unwrap();
            assert_eq!(t.report(&bundle)["stat"]["/nodes/zero"],
                json!({"type": "char", "device": "1:5", "mode": "0640", "uid": 3, "gid": 4}), "{mapped}");
        }
    }

    fn in_a_dev_that_is_bound_nothing_is_made(t) {
        let dev = t.dir.join("dev");
        std::fs::create_dir(&dev).unwrap();
        std::fs::write(dev.join("null"), "of the host").unwrap();
        let bundle = t.bundle(&["report", "--stat", "/run/null"], |config| {
            config["root"]["readonly"] = json!(false);
            config["mounts"].as_array_mut().unwrap().retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
            add_mount(config, "/dev", "bind", dev.to_str().unwrap(), &["bind"]);
            for path in ["/dev/kmsg", "/run/null"] {
                push(config, "/linux/devices", json!({"path": path, "type": "c", "major": 1, "minor": 3}));
            }
        });
        let output = t.run(&bundle);
        let report = Probe::parse(&output);
        assert_eq!(report["dev"].as_object().unwrap().keys().collect::<Vec<_>>(), ["/dev/null"]);
        if !t.runtime.is_reference {
            // runc leaves out all of them, without a word.
            output.expect_words("/linux/devices/0");
            assert_eq!(report["stat"]["/run/null"]["device"], "1:3");
        }
    }

    fn a_readonly_dev_has_its_devices(t) {
        let report = t.report_with(|config| {
            for mount in config["mounts"].as_array_mut().unwrap() {
                if mount["destination"] == "/dev" {
                    push(mount, "/options", json!("ro"));
                }
            }
        });
        assert!(report.options("/dev").contains("ro"));
        assert_eq!(report["dev"]["/dev/null"]["device"], "1:3");
        assert_eq!(report["dev"]["/dev/ptmx"]["link"], "pts/ptmx");
    }

    fn a_device_without_its_numbers_is_refused_by_name(t) {
        for (left_out, entry) in [
            ("major", json!({"path": "/dev/x", "type": "c", "minor": 3})),
            ("minor", json!({"path": "/dev/x", "type": "b", "major": 7})),
        ] {
            t.only_orlop("runc 1.1 takes 0 for it");
            let bundle = t.bundle(&["exit", "0"], |config| push(config, "/linux/devices", entry.clone()));
            t.run(&bundle).expect_error("/linux/devices/0").expect_words(left_out);
        }
    }

    fn in_a_user_namespace_a_device_of_the_config_is_made_as_it_is_described(t) {
        t.only_orlop("runc 1.1 binds the host's node of the path, with its mode and owner");
        let report = t.report_with(|config| {
            add_user_namespace(config, 200_000);
            for path in ["/dev/null", "/dev/none-such", "/dev/deep/disk"] {
                push(config, "/linux/devices", json!({"path": path, "type": "c", "major": 1, "minor": 3,
                    "fileMode": 0o2640, "uid": 12, "gid": 34}));
            }
        });
        for path in ["/dev/null", "/dev/none-such", "/dev/deep/disk"] {
            assert_eq!(report["dev"][path],
                json!({"type": "char", "device": "1:3", "mode": "2640", "uid": 12, "gid": 34}), "{path}");
        }
        let on_root = |mount: &&serde_json::Value| mount["target"] == "/";
        assert_eq!(report["mounts"].as_array().unwrap().iter().filter(on_root).count(), 1);
    }

    fn in_a_user_namespace_devices_are_bound_without_set_id_and_exec(t) {
        t.only_orlop("runc 1.1 binds them with the options of the host's /dev");
        let report = t.report_with(|config| {
            add_user_namespace(config, 200_000);
            push(config, "/linux/devices", json!({"path": "/dev/x", "type": "c", "major": 1, "minor": 3}));
        });
        for path in ["/dev/null", "/dev/x"] {
            let options = report.mount(path)["options"].to_string();
            assert!(options.contains("nosuid") && options.contains("noexec"), "{path}: {options}");
            assert!(!options.contains("nodev"), "{path}: {options}");
        }
    }
}

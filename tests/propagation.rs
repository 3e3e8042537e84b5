//! Propagation of mounts between the host and a container.

use std::fs;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::support::bundle::{add_mount, add_user_namespace};
use crate::support::{Probe, Test, both_views};

const NONE: Option<&str> = None;

/// A shared mount of the host, which here is the test's own mount namespace.
fn shared_mount(t: &Test) -> String {
    let dir = t.dir.join("volume");
    fs::create_dir_all(&dir).unwrap();
    mount(Some("volume"), &dir, Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
    mount(NONE, &dir, NONE, MsFlags::MS_SHARED, NONE).unwrap();
    fs::create_dir(dir.join("late")).unwrap();
    dir.to_str().unwrap().to_owned()
}

both_views! {
    fn the_options_set_the_propagation_of_a_mount(t) {
        let source = shared_mount(t);
        for (option, expected) in [
            ("rprivate", json!([])), ("private", json!([])), ("rslave", json!(["master"])),
            ("slave", json!(["master"])), ("rshared", json!(["shared"])), ("shared", json!(["shared"])),
            ("unbindable", json!(["unbindable"])),
        ] {
            let report = t.report_with(|config| {
                // A slave root, so that the bind is not cut off before its own option counts.
                config["linux"]["rootfsPropagation"] = json!("slave");
                add_mount(config, "/tmp", "bind", &source, &["bind", option]);
            });
            assert_eq!(report.mount("/tmp")["propagation"], expected, "with {option}");
        }
        umount(source.as_str()).unwrap();
    }

    fn a_mount_that_the_host_makes_later_reaches_a_slave_and_not_a_private_one(t) {
        let source = shared_mount(t);
        let late = format!("{source}/late");
        for (option, reaches) in [("rslave", true), ("rprivate", false)] {
            let container = t.sleeper(|config| add_mount(config, "/tmp", "bind", &source, &["rbind", option]));
            mount(Some("late"), late.as_str(), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
            let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
            umount(late.as_str()).unwrap();
            assert_eq!(table.contains(" /tmp/late "), reaches, "with {option}:\n{table}");
            container.end();
        }
        umount(source.as_str()).unwrap();
    }

    fn the_mounts_of_a_container_do_not_reach_the_host(t) {
        // Shared as on a host that systemd has booted, and so is what holds the rootfs.
        mount(NONE, &t.dir, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let container = t.sleeper(|config| add_mount(config, "/tmp", "tmpfs", "inside", &[]));
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
        container.end();
        mount(NONE, &t.dir, NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
    }

    fn the_end_of_the_old_root_does_not_reach_a_host_whose_mounts_are_shared(t) {
        let source = shared_mount(t);
        let late = format!("{source}/late");
        mount(Some("late"), late.as_str(), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        for word in ["rshared", "shared"] {
            t.report_with(|config| config["linux"]["rootfsPropagation"] = json!(word));
            let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
            assert!(table.contains(&format!(" {late} ")), "{word} took a mount of the host away");
        }
        umount(late.as_str()).unwrap();
        umount(source.as_str()).unwrap();
    }

    fn no_propagation_of_the_root_lets_its_mounts_reach_a_host_whose_mounts_are_shared(t) {
        mount(NONE, "/", NONE, MsFlags::MS_SHARED, NONE).unwrap();
        mount(NONE, &t.dir, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for word in ["private", "rprivate", "slave", "rslave", "shared", "rshared"] {
            let container = t.sleeper(|config| config["linux"]["rootfsPropagation"] = json!(word));
            let during = fs::read_to_string("/proc/self/mountinfo").unwrap();
            container.end();
            assert_eq!(during, before, "{word}");
        }
        mount(NONE, &t.dir, NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
        mount(NONE, "/", NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
    }

    fn a_bind_in_a_user_namespace_is_no_peer_of_the_hosts(t) {
        let source = shared_mount(t);
        let report = t.report_with(|config| {
            add_user_namespace(config, 200_000);
            add_mount(config, "/tmp", "bind", &source, &["bind"]);
        });
        umount(source.as_str()).unwrap();
        let propagation = report.mount("/tmp")["propagation"].to_string();
        assert!(!propagation.contains("shared"), "{propagation}");
    }

    fn the_root_has_the_propagation_that_is_asked_for(t) {
        for (word, expected) in [
            ("private", json!([])), ("rprivate", json!([])), ("slave", json!([])), ("rslave", json!([])),
        ] {
            let report = t.report_with(|config| config["linux"]["rootfsPropagation"] = json!(word));
            assert_eq!(report.mount("/")["propagation"], expected, "with {word}");
        }
    }

    fn the_root_is_shared_or_unbindable_when_that_is_asked_for(t) {
        t.only_orlop("runc 1.1 leaves the root private here; newer ones do not");
        for (word, expected) in [
            ("shared", json!(["shared"])), ("rshared", json!(["shared"])), ("unbindable", json!(["unbindable"])),
        ] {
            let report = t.report_with(|config| config["linux"]["rootfsPropagation"] = json!(word));
            assert_eq!(report.mount("/")["propagation"], expected, "with {word}");
        }
    }

    fn without_pivot_the_root_has_its_propagation_too(t) {
        t.only_orlop("runc 1.1 leaves the root private here");
        for (word, expected) in [("shared", json!(["shared"])), ("unbindable", json!(["unbindable"]))] {
            let bundle = t.bundle(&["report"], |config| config["linux"]["rootfsPropagation"] = json!(word));
            let output = t.runtime.call(&["run", "--no-pivot", "--bundle", bundle.path(), &bundle.id]);
            let report = Probe::parse(&output);
            assert_eq!(report.mount("/")["propagation"], expected, "with {word}");
        }
    }
}

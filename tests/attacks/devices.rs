//! Device nodes, and where they are made.

use std::fs;
use std::os::unix::fs::symlink;

use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{Canary, without_mounts_at};
use crate::support::bundle::{add_user_namespace, push};
use crate::support::{both_views, once};

once! {
    fn a_link_in_a_devices_parent_is_followed_inside(t) {
        // CVE-2026-41579, CVE-2026-47766, deeper down.
        let canary = Canary::new(t);
        let made = canary.path("made/kmsg");
        let bundle = t.bundle(&["report", "--stat", &made], |config| {
            without_mounts_at(config, "/dev");
            push(config, "/linux/devices", json!({"path": "/dev/deep/made/kmsg", "type": "c", "major": 1, "minor": 11}));
        });
        canary.twin(&bundle);
        symlink(&canary.dir, bundle.rootfs("dev/deep")).unwrap();
        let report = t.report(&bundle);
        assert_eq!(report["stat"][&made]["device"], "1:11", "{:#}", report["stat"]);
        canary.assert_untouched("after a run");
    }

    fn another_device_in_the_place_of_one_is_refused(t) {
        // An image that is unpacked by root may have nodes of its own.
        t.only_orlop("runc 1.1 takes whatever lies there for the device");
        let bundle = t.bundle(&["exit", "0"], |config| without_mounts_at(config, "/dev"));
        mknod(&bundle.rootfs("dev/null"), SFlag::S_IFCHR, Mode::S_IRWXU, makedev(1, 1)).unwrap();
        t.try_create(&bundle).expect_error("/dev/null");
    }

    fn a_node_of_the_host_that_is_another_device_is_not_bound(t) {
        t.only_orlop("runc 1.1 binds whatever the host has at the path");
        // Default devices are the host's where mknod is refused.
        let bundle = t.bundle(&["exit", "0"], |config| add_user_namespace(config, 200_000));
        let none = None::<&str>;
        mount(Some("/dev/zero"), "/dev/full", none, MsFlags::MS_BIND, none).unwrap();
        let output = t.try_create(&bundle);
        umount("/dev/full").unwrap();
        output.expect_error("is another device");
    }
}

both_views! {
    fn a_dev_that_is_a_link_gets_no_device_on_the_host(t) {
        t.only_orlop("runc 1.1 makes links on the host");
        // CVE-2026-41579, CVE-2026-47766; there is no mount at /dev in such a config.
        let canary = Canary::new(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            without_mounts_at(config, "/dev");
        });
        fs::remove_dir(bundle.rootfs("dev")).unwrap();
        symlink(&canary.dir, bundle.rootfs("dev")).unwrap();
        t.run(&bundle);
        canary.assert_untouched("after a run");
    }
}

//! What is masked, and with what.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use serde_json::json;

use super::{Canary, without_mounts_at};
use crate::support::bundle::add_mount;
use crate::support::{Probe, both_views, once};

once! {
    fn whatever_a_volume_has_for_a_null_device_does_not_unmask(t) {
        // CVE-2025-31133: /dev is a volume, so that no device of ours is made in it.
        t.only_orlop("runc 1.1 binds what is there");
        let volume = t.dir.join("volume");
        let null = volume.join("null");
        for kind in ["link", "dangling", "directory", "file", "device"] {
            let _ = fs::remove_dir_all(&volume);
            fs::create_dir(&volume).unwrap();
            match kind {
                "link" => symlink("/secret/shown", &null).unwrap(),
                "dangling" => symlink("/nowhere", &null).unwrap(),
                "directory" => fs::create_dir(&null).unwrap(),
                "file" => fs::write(&null, "shown").unwrap(),
                _ => mknod(&null, SFlag::S_IFCHR, Mode::from_bits_truncate(0o666), makedev(1, 7)).unwrap(),
            }
            let masked = "/secret/file";
            let bundle = t.bundle(&["report", "--path", masked, "--stat", masked], |config| {
                without_mounts_at(config, "/dev");
                add_mount(config, "/dev", "bind", volume.to_str().unwrap(), &["bind"]);
                config["linux"]["maskedPaths"] = json!([masked, "/proc/timer_list"]);
            });
            bundle.add_file(masked, "known to nobody");
            bundle.add_file("/secret/shown", "shown");
            let output = t.run(&bundle);
            if t.runtime.is_reference && output.code() != 0 {
                continue;
            }
            let report = Probe::parse(&output);
            assert_eq!(report["stat"][masked]["device"], "1:3", "with a {kind}: {:#}", report["stat"]);
            assert_eq!(report["paths"][masked]["read"], 0, "with a {kind}");
        }
    }

    fn a_link_in_a_masked_or_readonly_path_is_followed_inside(t) {
        let canary = Canary::new(t);
        let (file, dir, fixed) = (canary.path("file"), canary.path("fs"), canary.path("shm"));
        for to in [canary.path(""), format!("../../../..{}", canary.path(""))] {
            let bundle = t.bundle(&["report", "--path", &file, "--path", &dir, "--path", &fixed], |config| {
                config["root"]["readonly"] = json!(false);
                config["linux"]["maskedPaths"] = json!(["/link/file", "/link/fs"]);
                config["linux"]["readonlyPaths"] = json!(["/link/shm"]);
            });
            canary.twin(&bundle);
            symlink(&to, bundle.rootfs("link")).unwrap();
            let report = t.report(&bundle);
            assert_eq!(report["paths"][&file]["read"], 0, "{to}: {}", report["paths"]);
            assert_eq!(report["paths"][&dir]["entries"], 0, "{to}: {}", report["paths"]);
            assert_eq!(report["paths"][&fixed]["create"], "EROFS", "{to}: {}", report["paths"]);
            canary.assert_untouched(&to);
        }
    }
}

both_views! {
    fn a_null_device_that_is_a_link_does_not_unmask(t) {
        // CVE-2025-31133: the null device is what masks a file.
        let bundle = t.bundle(&["report"], |config| {
            without_mounts_at(config, "/dev");
        });
        symlink("../proc/sysrq-trigger", bundle.rootfs("dev/null")).unwrap();
        let output = t.run(&bundle);
        if output.code() == 0 {
            let report = Probe::parse(&output);
            for path in ["/proc/keys", "/proc/timer_list"] {
                let seen = &report["paths"][path];
                assert!(*seen == "ENOENT" || seen["read"] == 0, "{path}: {seen}");
            }
        }
    }
}

//! Masked and read-only paths.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::add_mount;

both_views! {
    fn a_masked_file_is_empty_and_takes_nothing(t) {
        let bundle = t.bundle(&["report", "--path", "/secret", "--read", "/secret"], |config| {
            config["linux"]["maskedPaths"] = json!(["/secret"]);
            config["root"]["readonly"] = json!(false);
        });
        bundle.add_file("secret", "known to nobody");
        let report = t.report(&bundle);
        assert_eq!(report["paths"]["/secret"]["read"], 0, "{}", report["paths"]["/secret"]);
        assert_eq!(report["read"]["/secret"], "");
        assert_eq!(std::fs::read_to_string(bundle.rootfs("secret")).unwrap(), "known to nobody");
    }

    fn a_masked_directory_is_empty_and_takes_nothing(t) {
        let bundle = t.bundle(&["report", "--path", "/secret"], |config| {
            config["linux"]["maskedPaths"] = json!(["/secret"]);
            config["root"]["readonly"] = json!(false);
        });
        bundle.add_file("secret/file", "known to nobody");
        let report = t.report(&bundle);
        assert_eq!(report["paths"]["/secret"], json!({"type": "dir", "entries": 0, "create": "EROFS"}));
    }

    fn the_masked_paths_of_the_default_bundle_show_nothing(t) {
        let report = t.report_with(|_| {});
        let paths = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"];
        let mut masked = 0;
        for path in paths {
            let seen = &report["paths"][path];
            if *seen != "ENOENT" {
                masked += 1;
                assert!(seen["read"] == 0 || seen["entries"] == 0, "{path}: {seen}");
                assert!(report.find_mount(path).is_some(), "{path} is not masked: {seen}");
            }
        }
        assert!(masked > 2, "this kernel has none of them? {}", report["paths"]);
    }

    fn a_path_that_is_not_there_cannot_be_masked_and_that_is_fine(t) {
        t.report_with(|config| {
            config["linux"]["maskedPaths"] = json!(["/nowhere", "/nowhere/deeper", "/proc/nowhere"]);
            config["linux"]["readonlyPaths"] = json!(["/nowhere", "/proc/nowhere/deeper"]);
        });
    }

    fn a_path_that_leads_nowhere_for_ever_is_named_with_its_list(t) {
        t.only_orlop("runc 1.1 names no field");
        for list in ["maskedPaths", "readonlyPaths"] {
            let bundle = t.bundle(&["exit", "0"], |config| config["linux"][list] = json!(["/round"]));
            symlink("round", bundle.rootfs("round")).unwrap();
            t.run(&bundle).expect_error(&format!("/linux/{list}")).expect_words("/round: ");
        }
    }

    fn a_path_is_masked_twice_without_harm(t) {
        let report = t.report_with(|config| {
            config["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/proc/timer_list", "/sys/firmware", "/sys/firmware"]);
            config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/sys"]);
        });
        assert_eq!(report["paths"]["/sys/firmware"]["entries"], 0);
        assert!(report.options("/proc/sys").contains("ro"));
    }

    fn a_readonly_file_refuses_writes(t) {
        let bundle = t.bundle(&["report", "--path", "/fixed", "--path", "/free"], |config| {
            config["linux"]["readonlyPaths"] = json!(["/fixed"]);
            config["root"]["readonly"] = json!(false);
        });
        bundle.add_file("fixed", "text");
        bundle.add_file("free", "text");
        let report = t.report(&bundle);
        assert_eq!(report["paths"]["/fixed"], json!({"type": "file", "read": 4, "write": "EROFS"}));
        assert_eq!(report["paths"]["/free"]["write"], "ok");
    }

    fn a_readonly_directory_refuses_new_files(t) {
        let bundle = t.bundle(&["report", "--path", "/fixed", "--path", "/fixed/file"], |config| {
            config["linux"]["readonlyPaths"] = json!(["/fixed"]);
            config["root"]["readonly"] = json!(false);
        });
        bundle.add_file("fixed/file", "text");
        let report = t.report(&bundle);
        assert_eq!(report["paths"]["/fixed"]["create"], "EROFS");
        assert_eq!(report["paths"]["/fixed/file"]["write"], "EROFS");
    }

    fn the_readonly_paths_of_the_default_bundle_refuse_writes(t) {
        let report = t.report(&t.bundle(&["report", "--path", "/proc/sys/kernel/domainname"], |_| {}));
        assert_eq!(report["paths"]["/proc/sys/kernel/domainname"]["write"], "EROFS");
        for path in ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"] {
            assert!(report.options(path).contains("ro"), "{path}");
        }
        let trigger = &report["paths"]["/proc/sysrq-trigger"];
        assert!(*trigger == "ENOENT" || trigger["write"] == "EROFS", "{trigger}");
    }

    fn a_readonly_path_keeps_the_flags_of_its_mount(t) {
        let bundle = t.bundle(&["report"], |config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"]);
            config["linux"]["readonlyPaths"] = json!(["/tmp"]);
        });
        let report = t.report(&bundle);
        let options = report.options("/tmp");
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(flag), "{flag} is not in {options:?}");
        }
    }

    fn a_masked_link_does_not_lead_out_of_the_rootfs(t) {
        let outside = t.dir.join("outside");
        std::fs::write(&outside, "of the host").unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["linux"]["maskedPaths"] = json!(["/link"]);
        });
        symlink(&outside, bundle.rootfs("link")).unwrap();
        t.run(&bundle).expect_ok();
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "of the host");
    }

    fn what_is_mounted_below_a_readonly_path_is_readonly_too(t) {
        t.only_orlop("runc 1.1 makes only the top read-only");
        let report = t.report(&t.bundle(&["report", "--path", "/tmp/below"], |config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &[]);
            add_mount(config, "/tmp/below", "tmpfs", "tmpfs", &[]);
            config["linux"]["readonlyPaths"] = json!(["/tmp"]);
        }));
        assert_eq!(report["paths"]["/tmp/below"]["create"], "EROFS", "{}", report["paths"]["/tmp/below"]);
    }

    fn a_false_null_device_does_not_unmask(t) {
        t.only_orlop("runc 1.1 binds whatever is at /dev/null (CVE-2025-31133)");
        let dev = t.dir.join("dev");
        std::fs::create_dir(&dev).unwrap();
        std::fs::write(dev.join("null"), "shown in its place").unwrap();
        let bundle = t.bundle(&["report", "--read", "/secret"], |config| {
            config["mounts"].as_array_mut().unwrap().retain(|m| {
                !m["destination"].as_str().unwrap().starts_with("/dev")
            });
            add_mount(config, "/dev", "bind", dev.to_str().unwrap(), &["bind"]);
            config["linux"]["maskedPaths"] = json!(["/secret"]);
        });
        bundle.add_file("secret", "known to nobody");
        assert_eq!(t.report(&bundle)["read"]["/secret"], "");
    }
}

//! What the options of a mount do.

use std::fs;
use std::os::unix::fs::symlink;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::add_mount;

const NONE: Option<&str> = None;

both_views! {
    fn each_option_of_mount_8_sets_its_flag(t) {
        for (option, flag) in [
            ("ro", "ro"), ("nosuid", "nosuid"), ("nodev", "nodev"), ("noexec", "noexec"),
            ("noatime", "noatime"), ("nodiratime", "nodiratime"), ("relatime", "relatime"),
        ] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &[option]));
            assert!(report.options("/tmp").contains(flag), "{option} gave {:?}", report.options("/tmp"));
        }
        let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &["sync"]));
        assert!(report.super_options("/tmp").contains("sync"), "{:?}", report.mount("/tmp"));
    }

    fn options_that_came_later_set_their_flags_too(t) {
        t.only_orlop("runc 1.1 knows neither nosymfollow nor lazytime");
        let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &["nosymfollow"]));
        assert!(report.options("/tmp").contains("nosymfollow"), "{:?}", report.options("/tmp"));
        for (option, flag) in [("dirsync", "dirsync"), ("lazytime", "lazytime")] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &[option]));
            assert!(report.super_options("/tmp").contains(flag), "{option} gave {:?}", report.mount("/tmp"));
        }
        let source = t.shared_dir("shared");
        let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &["bind", "nosymfollow"]));
        assert!(report.options("/tmp").contains("nosymfollow"), "{:?}", report.options("/tmp"));
    }

    fn a_later_option_wins_over_an_earlier_one(t) {
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["ro", "nosuid", "noexec", "rw", "exec"]);
        });
        let options = report.options("/tmp");
        assert!(options.contains("rw") && options.contains("nosuid") && !options.contains("noexec"), "{options:?}");
    }

    fn a_filesystems_own_options_reach_it(t) {
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "scratch", &["size=512k", "mode=1750", "uid=3", "gid=4"]);
        });
        let options = report.super_options("/tmp");
        for expected in ["size=512k", "mode=1750", "uid=3", "gid=4"] {
            assert!(options.contains(expected), "{expected} is not in {options:?}");
        }
        assert_eq!(report.mount("/tmp")["source"], "scratch");
    }

    fn a_bind_takes_the_options_that_are_asked_for(t) {
        let source = t.shared_dir("shared");
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "bind", &source, &["bind", "nosuid", "nodev", "noexec"]);
        });
        let options = report.options("/tmp");
        for flag in ["rw", "nosuid", "nodev", "noexec"] {
            assert!(options.contains(flag), "{flag} is not in {options:?}");
        }
    }

    fn a_bind_has_the_access_times_that_are_asked_for(t) {
        let source = t.shared_dir("shared");
        for (asked, expected, absent) in [
            (&["bind", "noatime"][..], &["noatime"][..], "relatime"),
            (&["bind", "nodiratime"], &["nodiratime"], "noatime"),
            // The kernel shows strictatime by showing neither of the others.
            (&["bind", "strictatime"], &[], "relatime"),
        ] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, asked));
            let options = report.options("/tmp");
            let all = expected.iter().all(|flag| options.contains(*flag));
            assert!(all && !options.contains(absent), "{asked:?} gave {options:?}");
        }
    }

    fn a_bind_loses_the_flags_of_its_source_when_that_is_asked_for(t) {
        t.only_orlop("runc 1.1 keeps them");
        let source = t.dir.join("strict");
        fs::create_dir(&source).unwrap();
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        let none: Option<&str> = None;
        mount(Some("strict"), &source, Some("tmpfs"), flags, none).unwrap();
        let path = source.to_str().unwrap();
        let asked = ["bind", "suid", "dev", "exec", "relatime"];
        let report = t.report_with(|config| add_mount(config, "/tmp", "bind", path, &asked));
        let kept = t.report_with(|config| add_mount(config, "/tmp", "bind", path, &["bind"]));
        umount(&source).unwrap();
        let options = report.options("/tmp");
        for flag in ["nosuid", "nodev", "noexec", "noatime"] {
            assert!(!options.contains(flag), "{flag} is in {options:?}");
            assert!(kept.options("/tmp").contains(flag), "{flag} is lost without being asked for");
        }
        assert!(options.contains("relatime"), "{options:?}");
    }

    fn rro_makes_the_mounts_below_read_only_too_and_ro_does_not(t) {
        let source = t.shared_dir("shared");
        let below = format!("{source}/below");
        fs::create_dir(&below).unwrap();
        let none: Option<&str> = None;
        mount(Some("x"), below.as_str(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for (option, expected) in [("ro", "rw"), ("rro", "ro")] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &["rbind", option]));
            assert!(report.options("/tmp").contains("ro"), "with {option}");
            let options = report.options("/tmp/below");
            assert!(options.contains(expected), "{option} gave {options:?} below");
        }
        umount(below.as_str()).unwrap();
    }

    fn a_recursive_option_takes_flags_away_below_too(t) {
        t.only_orlop("runc 1.1 changes nothing here without the flag of mount(2) beside it");
        let source = t.shared_dir("shared");
        let below = format!("{source}/below");
        fs::create_dir(&below).unwrap();
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
        let none: Option<&str> = None;
        mount(Some("x"), below.as_str(), Some("tmpfs"), flags, none).unwrap();
        let asked = ["rbind", "rrw", "rsuid", "rexec"];
        let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &asked));
        umount(below.as_str()).unwrap();
        let options = report.options("/tmp/below");
        assert!(options.contains("rw"), "{options:?}");
        assert!(!options.contains("nosuid") && !options.contains("noexec"), "{options:?}");
    }

    fn tmpcopyup_fills_the_tmpfs_with_what_the_rootfs_has(t) {
        let bundle = t.bundle(&["read", "/full/deep/file"], |config| {
            add_mount(config, "/full", "tmpfs", "tmpfs", &["tmpcopyup"]);
        });
        bundle.add_file("full/deep/file", "copied");
        assert_eq!(t.run(&bundle).expect_ok().stdout, "copied\n");
    }

    fn tmpcopyup_goes_with_the_other_options(t) {
        let bundle = t.bundle(&["report", "--read", "/full/file"], |config| {
            add_mount(config, "/full", "tmpfs", "tmpfs", &["tmpcopyup", "ro", "nosuid", "size=1m", "mode=750"]);
        });
        bundle.add_file("full/file", "copied");
        let report = t.report(&bundle);
        assert_eq!(report["read"]["/full/file"], "copied");
        let options = report.options("/full");
        assert!(options.contains("ro") && options.contains("nosuid"), "{options:?}");
        assert!(report.super_options("/full").contains("size=1024k"), "{}", report.mount("/full"));
    }

    fn an_option_that_a_bind_does_not_know_is_refused(t) {
        t.only_orlop("runc 1.1 hands it to the kernel, which ignores it");
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/tmp", "bind", &source, &["bind", "nonsense=1"]);
        });
        t.run(&bundle).expect_error("bind mounts cannot have any filesystem-specific options applied");
    }

    fn each_word_that_clears_takes_its_flag_away(t) {
        for (words, flag) in [
            (["ro", "rw"], "ro"), (["nosuid", "suid"], "nosuid"), (["nodev", "dev"], "nodev"),
            (["noexec", "exec"], "noexec"), (["noatime", "atime"], "noatime"),
            (["nodiratime", "diratime"], "nodiratime"),
        ] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &words));
            assert!(!report.options("/tmp").contains(flag), "{words:?} gave {:?}", report.options("/tmp"));
        }
        for (words, flag) in [(["sync", "async"], "sync"), (["mand", "nomand"], "mand")] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &words));
            assert!(!report.super_options("/tmp").contains(flag), "{words:?} gave {}", report.mount("/tmp"));
        }
    }

    fn words_that_runc_1_1_does_not_have_clear_flags_too(t) {
        t.only_orlop("runc 1.1 has none of them");
        for (words, flag) in [
            (["nosymfollow", "symfollow"], "nosymfollow"), (["noatime", "strictatime"], "noatime"),
            (["strictatime", "nostrictatime"], "strictatime"), (["silent", "loud"], "silent"),
        ] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &words));
            assert!(!report.options("/tmp").contains(flag), "{words:?} gave {:?}", report.options("/tmp"));
        }
        let words = ["lazytime", "nolazytime", "iversion", "noiversion", "defaults", "norelatime"];
        let report = t.report_with(|config| add_mount(config, "/tmp", "tmpfs", "tmpfs", &words));
        assert!(!report.super_options("/tmp").contains("lazytime"), "{}", report.mount("/tmp"));
    }

    fn each_recursive_word_counts_for_the_mounts_below(t) {
        t.only_orlop("runc 1.1 does not take some of them without a flag of mount(2)");
        let source = t.shared_dir("shared");
        let below = format!("{source}/below");
        fs::create_dir(&below).unwrap();
        mount(Some("x"), below.as_str(), Some("tmpfs"), MsFlags::empty(), NONE).unwrap();
        for (word, flag) in [
            ("rro", "ro"), ("rnosuid", "nosuid"), ("rnodev", "nodev"), ("rnoexec", "noexec"),
            ("rnoatime", "noatime"), ("rnodiratime", "nodiratime"), ("rnosymfollow", "nosymfollow"),
            ("rrelatime", "relatime"),
        ] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &["rbind", word]));
            for target in ["/tmp", "/tmp/below"] {
                assert!(report.options(target).contains(flag), "{word} at {target}: {:?}", report.options(target));
            }
        }
        // No mode in sight is the strict one.
        let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &["rbind", "rstrictatime"]));
        let options = report.options("/tmp/below");
        assert!(!options.contains("relatime") && !options.contains("noatime"), "{options:?}");
        umount(below.as_str()).unwrap();
        let all = MsFlags::MS_NODEV | MsFlags::MS_NOATIME | MsFlags::MS_NODIRATIME
            | MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
        mount(Some("x"), below.as_str(), Some("tmpfs"), all, NONE).unwrap();
        let words = ["rbind", "rdev", "ratime", "rdiratime", "rsymfollow", "rnorelatime", "rnostrictatime"];
        let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &words));
        umount(below.as_str()).unwrap();
        let expected = ["relatime", "rw"].map(str::to_owned).into();
        assert_eq!(report.options("/tmp/below"), expected);
    }

    fn what_only_a_filesystem_can_have_is_warned_of_on_a_bind(t) {
        t.only_orlop("runc passes over it in silence");
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/tmp", "bind", &source, &["bind", "ro", "sync"]);
        });
        let index = bundle.config["mounts"].as_array().unwrap().len() - 1;
        t.run(&bundle).expect_ok().expect_words("\"sync\" has no effect on a bind")
            .expect_words(&format!("/mounts/{index}/options/2"));
    }

    fn options_of_the_filesystem_hold_beside_propagation(t) {
        t.only_orlop("runc 1.1 does not know all of them");
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["sync", "dirsync", "lazytime", "size=1m", "rshared"]);
        });
        let options = report.super_options("/tmp");
        for option in ["sync", "dirsync", "lazytime", "size=1024k"] {
            assert!(options.contains(option), "{option} is not in {options:?}");
        }
        assert_eq!(report.mount("/tmp")["propagation"], json!(["shared"]));
    }

    fn a_read_only_tmpfs_takes_the_targets_of_later_mounts(t) {
        let source = t.shared_dir("shared");
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["ro"]);
            add_mount(config, "/tmp/a/b", "bind", &source, &["bind"]);
        });
        assert!(report.options("/tmp").contains("ro"), "{:?}", report.options("/tmp"));
        assert!(report.options("/tmp/a/b").contains("rw"));
    }

    fn a_read_only_dev_has_its_devices_and_links(t) {
        let report = t.report_with(|config| {
            config["mounts"][1]["options"] = json!(["nosuid", "mode=755", "ro"]);
        });
        assert!(report.options("/dev").contains("ro"), "{:?}", report.options("/dev"));
        assert_eq!(report["dev"]["/dev/null"]["device"], "1:3");
        assert!(report["dev"]["/dev/fd"].is_object(), "{}", report["dev"]);
    }

    fn remount_changes_a_mount_and_keeps_what_it_does_not_name(t) {
        t.only_orlop("runc 1.1 wants a source, and takes the other flags away");
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["nosuid", "nodev", "size=1m"]);
            add_mount(config, "/tmp", "", "", &["remount", "bind", "ro", "dev"]);
        });
        let options = report.options("/tmp");
        assert!(options.contains("ro") && options.contains("nosuid") && !options.contains("nodev"), "{options:?}");
        let options = report.super_options("/tmp");
        assert!(options.contains("rw") && options.contains("size=1024k"), "{options:?}");
    }

    fn remount_without_bind_changes_the_filesystem(t) {
        t.only_orlop("runc 1.1 takes the flags away that it does not name");
        let report = t.report_with(|config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["nosuid", "size=1m", "sync"]);
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["remount", "size=2m", "ro", "async", "noexec"]);
        });
        let options = report.super_options("/tmp");
        for option in ["ro", "size=2048k"] {
            assert!(options.contains(option), "{option} is not in {options:?}");
        }
        assert!(!options.contains("sync"), "{options:?}");
        let options = report.options("/tmp");
        for option in ["ro", "nosuid", "noexec"] {
            assert!(options.contains(option), "{option} is not in {options:?}");
        }
    }

    fn remount_reaches_a_file_the_root_and_proc(t) {
        t.only_orlop("runc 1.1 wants a source for it");
        let file = format!("{}/file", t.shared_dir("shared"));
        let report = t.report_with(|config| {
            config["root"]["readonly"] = json!(false);
            add_mount(config, "/etc/conf", "bind", &file, &["bind"]);
            add_mount(config, "/etc/conf", "", "", &["remount", "bind", "ro"]);
            add_mount(config, "/", "", "", &["remount", "bind", "nosuid"]);
            add_mount(config, "/proc", "proc", "proc", &["remount", "hidepid=2", "nodev"]);
        });
        assert!(report.options("/etc/conf").contains("ro"));
        assert!(report.options("/").contains("nosuid"));
        assert!(report.options("/proc").contains("nodev"));
        assert!(report.mount("/proc")["super"].to_string().contains("hidepid="), "{}", report.mount("/proc"));
    }

    fn remount_of_what_is_not_mounted_is_refused(t) {
        t.only_orlop("runc 1.1 wants a source, and makes the target");
        for (target, words) in [("/tmp", "invalid argument"), ("/nothing", "no such file or directory")] {
            for options in [&["remount", "bind", "ro"][..], &["remount", "ro"]] {
                let bundle = t.bundle(&["exit", "0"], |config| add_mount(config, target, "tmpfs", "tmpfs", options));
                t.run(&bundle).expect_error(words);
                assert!(!bundle.rootfs("nothing").exists());
            }
        }
    }

    fn a_link_is_copied_mounted_or_mounted_over(t) {
        t.only_orlop("crun's options");
        let source = t.shared_dir("shared");
        symlink("to/somewhere", format!("{source}/link")).unwrap();
        let link = format!("{source}/link");
        let report = |options: &[&str], target: &str, there: Option<&str>| {
            let bundle = t.bundle(&["report", "--stat", target], |config| {
                add_mount(config, target, "bind", &link, options);
            });
            if let Some(to) = there {
                symlink(to, bundle.rootfs(target)).unwrap();
            }
            (t.report(&bundle), bundle)
        };
        let (copied, bundle) = report(&["bind", "copy-symlink"], "/made/link", None);
        assert!(copied.find_mount("/made/link").is_none());
        assert_eq!(fs::read_link(bundle.rootfs("made/link")).unwrap().to_str(), Some("to/somewhere"));
        // The same link may be there already, another may not.
        report(&["bind", "copy-symlink"], "/copy", Some("to/somewhere"));
        let (mounted, _) = report(&["bind", "src-nofollow", "dest-nofollow"], "/over", Some("elsewhere"));
        assert!(mounted.find_mount("/over").is_some(), "{:#}", mounted["mounts"]);
        let other = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/copy", "bind", &link, &["bind", "copy-symlink"]);
        });
        symlink("other", other.rootfs("copy")).unwrap();
        t.run(&other).expect_error("make a link");
        // What is no link is bound as ever.
        let file = format!("{source}/file");
        let plain = t.bundle(&["read", "/made/file"], |config| {
            add_mount(config, "/made/file", "bind", &file, &["bind", "copy-symlink"]);
        });
        assert_eq!(t.run(&plain).expect_ok().stdout, "from the host\n");
    }

    fn a_link_as_a_target_is_not_followed_when_that_is_asked_for(t) {
        t.only_orlop("crun's option");
        let file = format!("{}/file", t.shared_dir("shared"));
        let bundle = t.bundle(&["read", "/tmp/real"], |config| {
            add_mount(config, "/over", "bind", &file, &["bind", "dest-nofollow"]);
        });
        bundle.add_file("tmp/real", "of the image");
        symlink("tmp/real", bundle.rootfs("over")).unwrap();
        assert_eq!(t.run(&bundle).expect_ok().stdout, "of the image\n");
    }

    fn an_selinux_label_is_refused_where_there_is_no_selinux(t) {
        if fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs") {
            t.skip("this kernel has SELinux");
        }
        t.only_orlop("runc 1.1 hands a mount label to the kernel, and refuses that of a process in other words");
        for (parent, name) in [("linux", "mountLabel"), ("process", "selinuxLabel")] {
            let bundle = t.bundle(&["exit", "0"], |config| config[parent][name] = json!("u:r:t:s0"));
            t.run(&bundle).expect_error("selinux is disabled or not supported")
                .expect_words(&format!("/{parent}/{name}"));
        }
        let bundle = t.bundle(&["exit", "0"], |config| config["process"]["apparmorProfile"] = json!("nothing"));
        t.run(&bundle).expect_error("apply apparmor profile \"nothing\"").expect_words("/process/apparmorProfile");
    }
}

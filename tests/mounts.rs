//! Mounts: types, options, order, and where they land.

use std::fs;
use std::os::unix::fs::symlink;

use nix::mount::{MsFlags, mount, umount};
use serde_json::json;

use crate::support::bundle::add_mount;
use crate::support::{View, both_views};

both_views! {
    fn the_default_mounts_have_their_types_and_options(t) {
        let report = t.report_with(|_| {});
        for (target, fstype, options) in [
            ("/proc", "proc", "rw relatime"),
            ("/dev", "tmpfs", "rw nosuid"),
            ("/dev/pts", "devpts", "rw nosuid noexec relatime"),
            ("/dev/shm", "tmpfs", "rw nosuid nodev noexec relatime"),
            ("/dev/mqueue", "mqueue", "rw nosuid nodev noexec relatime"),
            ("/sys", "sysfs", "ro nosuid nodev noexec relatime"),
        ] {
            let expected = options.split(' ').map(str::to_owned).collect();
            assert_eq!(report.mount(target)["fstype"], fstype, "at {target}");
            assert_eq!(report.options(target), expected, "at {target}");
        }
        let pts = report.super_options("/dev/pts");
        assert!(pts.contains("gid=5") && pts.contains("mode=620") && pts.contains("ptmxmode=666"), "{pts:?}");
        assert!(report.super_options("/dev").contains("size=65536k"));
    }

    fn the_cgroup_mount_is_that_of_the_host_and_read_only(t) {
        let report = t.report_with(|_| {});
        match t.view {
            View::V1 => {
                assert_eq!(report.mount("/sys/fs/cgroup")["fstype"], "tmpfs");
                let memory = report.mount("/sys/fs/cgroup/memory");
                assert_eq!(memory["fstype"], "cgroup");
                assert!(memory["root"].as_str().unwrap().contains(&t.tag), "{memory}");
                assert!(report.options("/sys/fs/cgroup/memory").contains("ro"));
            }
            View::V2 => assert_eq!(report.mount("/sys/fs/cgroup")["fstype"], "cgroup2"),
        }
        let of_each = if t.view == View::V1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
        for flag in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(report.options(of_each).contains(flag), "{flag}: {:?}", report.options(of_each));
        }
        let access = &report["paths"]["/sys/fs/cgroup"];
        assert!(access["create"] == "EROFS" || access["create"] == "EACCES", "{access}");
    }

    fn a_cgroup_namespace_gets_a_cgroup_mount_of_its_own(t) {
        let report = t.report_with(|config| {
            crate::support::bundle::push(config, "/linux/namespaces", json!({"type": "cgroup"}));
        });
        let target = if t.view == View::V1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
        assert_eq!(report.mount(target)["root"], "/", "the root is the container's own cgroup");
    }

    fn a_directory_is_bound(t) {
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["write", "/tmp/new", "from inside"], |config| {
            add_mount(config, "/tmp", "bind", &source, &["bind"]);
        });
        t.run(&bundle).expect_ok();
        assert_eq!(fs::read_to_string(format!("{source}/new")).unwrap(), "from inside");
    }

    fn a_bind_that_is_read_only_refuses_writes(t) {
        let source = t.shared_dir("shared");
        for options in [["bind", "ro"], ["rbind", "ro"]] {
            let bundle = t.bundle(&["write", "/tmp/file", "x"], |config| {
                add_mount(config, "/tmp", "bind", &source, &options);
            });
            t.run(&bundle).expect_code(3).expect_words("EROFS");
        }
        fs::write(format!("{source}/file"), "the host still writes").unwrap();
    }

    fn the_option_bind_makes_a_bind_of_any_type(t) {
        let source = t.shared_dir("shared");
        for fstype in ["none", "", "bind"] {
            let bundle = t.bundle(&["read", "/tmp/file"], |config| {
                add_mount(config, "/tmp", fstype, &source, &["rbind", "rprivate"]);
            });
            assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n", "type {fstype:?}");
        }
    }

    fn a_file_is_bound_over_a_file(t) {
        let source = format!("{}/file", t.shared_dir("shared"));
        let bundle = t.bundle(&["read", "/etc/conf"], |config| {
            add_mount(config, "/etc/conf", "bind", &source, &["bind", "ro"]);
        });
        bundle.add_file("etc/conf", "of the rootfs");
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
        assert_eq!(fs::read_to_string(bundle.rootfs("etc/conf")).unwrap(), "of the rootfs");
    }

    fn a_missing_target_is_made_as_the_source_is(t) {
        let source = t.shared_dir("shared");
        let file = format!("{source}/file");
        let report = t.report(&t.bundle(
            &["report", "--stat", "/made/deep/dir", "--stat", "/made/deep/file"], |config| {
                add_mount(config, "/made/deep/dir", "bind", &source, &["bind"]);
                add_mount(config, "/made/deep/file", "bind", &file, &["bind"]);
            }));
        assert_eq!(report["stat"]["/made/deep/dir"]["type"], "dir");
        assert_eq!(report["stat"]["/made/deep/file"]["type"], "file");
        assert!(report.find_mount("/made/deep/dir").is_some());
        assert!(report.find_mount("/made/deep/file").is_some());
    }

    fn a_relative_source_lies_in_the_bundle(t) {
        let bundle = t.bundle(&["read", "/tmp/file"], |config| {
            add_mount(config, "/tmp", "bind", "beside", &["bind"]);
        });
        fs::create_dir(bundle.dir.join("beside")).unwrap();
        fs::write(bundle.dir.join("beside/file"), "in the bundle").unwrap();
        assert_eq!(t.run(&bundle).expect_ok().stdout, "in the bundle\n");
    }

    fn mounts_are_made_in_the_order_of_the_config(t) {
        let (one, two) = (t.shared_dir("one"), t.shared_dir("two"));
        fs::write(format!("{two}/file"), "the second").unwrap();
        let bundle = t.bundle(&["read", "/tmp/file"], |config| {
            add_mount(config, "/tmp", "bind", &one, &["bind"]);
            add_mount(config, "/tmp", "bind", &two, &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "the second\n");
    }

    fn a_mount_lies_on_an_earlier_mount(t) {
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["read", "/tmp/a/b/file"], |config| {
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &[]);
            add_mount(config, "/tmp/a/b", "bind", &source, &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
        assert!(!bundle.rootfs("tmp/a").exists(), "the target was made under the tmpfs");
    }

    fn a_recursive_bind_takes_the_mounts_below_it_and_a_plain_one_does_not(t) {
        let source = t.shared_dir("shared");
        let below = format!("{source}/below");
        fs::create_dir(&below).unwrap();
        let none: Option<&str> = None;
        mount(Some("x"), below.as_str(), Some("tmpfs"), MsFlags::empty(), none).unwrap();
        for (option, expected) in [("rbind", true), ("bind", false)] {
            let report = t.report_with(|config| add_mount(config, "/tmp", "bind", &source, &[option]));
            assert_eq!(report.find_mount("/tmp/below").is_some(), expected, "with {option}");
        }
        umount(below.as_str()).unwrap();
    }

    fn an_entry_may_stand_twice_in_the_config(t) {
        t.only_orlop("runc fails with a busy device");
        let report = t.report_with(|config| {
            add_mount(config, "/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]);
            add_mount(config, "/sys", "sysfs", "sysfs", &["nosuid", "noexec", "ro"]);
        });
        assert_eq!(report.mount("/dev/mqueue")["fstype"], "mqueue");
        assert!(report.options("/dev/mqueue").is_superset(&["nosuid".into(), "noexec".into(), "nodev".into()].into()));
        let options = report.options("/sys");
        assert!(options.contains("ro") && !options.contains("nodev"), "{options:?}");
    }

    fn a_tmpfs_without_a_mode_has_that_of_the_directory_below(t) {
        use std::os::unix::fs::PermissionsExt;
        let bundle = t.bundle(&["report", "--stat", "/kept", "--stat", "/given", "--stat", "/made"], |config| {
            add_mount(config, "/kept", "tmpfs", "tmpfs", &["ro", "size=64k"]);
            add_mount(config, "/given", "tmpfs", "tmpfs", &["mode=1755"]);
            add_mount(config, "/made", "tmpfs", "tmpfs", &[]);
            config["root"]["readonly"] = json!(false);
        });
        for name in ["kept", "given"] {
            fs::create_dir(bundle.rootfs(name)).unwrap();
            fs::set_permissions(bundle.rootfs(name), fs::Permissions::from_mode(0o2712)).unwrap();
        }
        let report = t.report(&bundle);
        for (path, mode) in [("/kept", "2712"), ("/given", "1755"), ("/made", "1777")] {
            // The directory's mode wins with runc 1.1 even then.
            if path != "/given" || !t.runtime.is_reference {
                assert_eq!(report["stat"][path]["mode"], mode, "{path}");
            }
        }
    }

    fn a_link_on_the_way_to_the_target_is_followed_inside_the_rootfs(t) {
        let source = t.shared_dir("shared");
        let outside = t.dir.join("outside");
        fs::create_dir(&outside).unwrap();
        let bundle = t.bundle(&["read", "/link/made/file"], |config| {
            add_mount(config, "/link/made", "bind", &source, &["bind"]);
        });
        symlink(&outside, bundle.rootfs("link")).unwrap();
        // The link names a directory of the host; inside, the same path is made in the rootfs.
        fs::create_dir_all(bundle.rootfs(outside.to_str().unwrap())).unwrap();
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
        assert!(fs::read_dir(&outside).unwrap().next().is_none(), "something was made on the host");
    }

    fn a_target_cannot_climb_out_of_the_rootfs(t) {
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["read", "/climbed/file"], |config| {
            add_mount(config, "/../../../climbed", "bind", &source, &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
        assert!(!t.dir.join("climbed").exists() && !bundle.dir.join("climbed").exists());
    }

    fn proc_and_sys_are_not_mounted_over_a_link(t) {
        for name in ["proc", "sys"] {
            let bundle = t.bundle(&["exit", "0"], |_| {});
            fs::remove_dir(bundle.rootfs(name)).unwrap();
            symlink("tmp", bundle.rootfs(name)).unwrap();
            t.run(&bundle).expect_error("must be mounted on ordinary directory");
        }
    }

    fn nothing_but_a_procfs_lands_on_proc(t) {
        let source = t.shared_dir("shared");
        let at = |target: &'static str, link: Option<&str>| {
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_mount(config, target, "bind", &source, &["bind"]);
            });
            if let Some(to) = link {
                symlink(to, bundle.rootfs(target)).unwrap();
            }
            bundle
        };
        t.run(&at("/proc", None)).expect_error("cannot be mounted because it is not of type proc");
        t.run(&at("/proc/sys", None)).expect_error("cannot be mounted because it is inside /proc");
        // By way of a link in the image.
        t.run(&at("/volume", Some("/proc"))).expect_error("because it is not of type proc");
        t.run(&at("/volume", Some("/proc/self/attr"))).expect_error("because it is inside /proc");
    }

    fn a_bind_of_a_procfs_and_of_a_known_file_may_be_on_proc(t) {
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["read", "/proc/uptime"], |config| {
            add_mount(config, "/proc", "bind", "/proc", &["rbind"]);
            add_mount(config, "/proc/uptime", "bind", &format!("{source}/file"), &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
    }

    fn options_of_a_tmpfs_are_left_out_of_a_bind(t) {
        let source = t.shared_dir("shared");
        let bundle = t.bundle(&["report", "--read", "/tmp/file"], |config| {
            add_mount(config, "/tmp", "", &source, &["nosuid", "mode=755", "size=1k", "bind"]);
        });
        let report = t.report(&bundle);
        assert_eq!(report["read"]["/tmp/file"], "from the host");
        assert!(report.options("/tmp").contains("nosuid"));
        if !t.runtime.is_reference {
            t.run(&bundle).expect_words("mode=755").expect_words("size=1k");
        }
    }

    fn a_filesystem_that_does_not_exist_is_refused_with_its_name(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/tmp", "nonsensefs", "nothing", &[]);
        });
        t.run(&bundle).expect_error("error mounting \"nothing\" to rootfs at \"/tmp\"");
    }

    fn a_source_that_is_missing_is_refused_with_its_name(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/tmp", "bind", "/nowhere/at/all", &["bind"]);
        });
        t.run(&bundle).expect_code(1).expect_words("/nowhere/at/all").expect_words("no such file or directory");
    }
}

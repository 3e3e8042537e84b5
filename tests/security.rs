//! Attacks by an image or its config that are known from the field; each must come to nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;

use serde_json::json;

use crate::support::bundle::add_mount;
use crate::support::bundle::add_user_namespace;
use crate::support::leaks::files;
use crate::support::{Test, both_views, probe};

/// A directory of the host that nothing may be written to.
fn canary(t: &Test) -> PathBuf {
    let dir = t.dir.join("canary");
    fs::create_dir_all(dir.join("null")).unwrap();
    fs::write(dir.join("file"), "alive").unwrap();
    dir
}

both_views! {
    fn no_fd_number_leads_out_by_the_working_directory(t) {
        // CVE-2024-21626: a directory of the host that is left open.
        for number in 3..20 {
            let bundle = t.bundle(&["read", "../../../../../../../../etc/hostname"], |config| {
                config["process"]["cwd"] = json!(format!("/proc/self/fd/{number}"));
            });
            let output = t.run(&bundle);
            assert_ne!(output.code(), 0, "fd {number} leads somewhere\n{output}");
        }
    }

    fn no_fd_number_leads_out_by_the_working_directory_of_exec(t) {
        let container = t.sleeper(|_| {});
        for number in 3..20 {
            let cwd = format!("/proc/self/fd/{number}");
            let output = container.exec(&["--cwd", &cwd], &["read", "../../../../../../etc/hostname"]);
            assert_ne!(output.code(), 0, "fd {number} leads somewhere\n{output}");
        }
        container.end();
    }

    fn no_fd_number_leads_to_a_program_of_the_host(t) {
        // Close-on-exec would not help: the path is walked before the fds are closed. The state
        // directory and the bundle lie on the same file system as this program.
        fs::copy(probe::path(), t.dir.join("outside")).unwrap();
        for number in 3..14 {
            for path in ["", "/probe", "/outside", "/../outside", "/../../outside"] {
                let program = format!("/proc/self/fd/{number}{path}");
                let bundle = t.bundle(&[], |config| {
                    config["process"]["args"] = json!([program, "echo", "it ran"]);
                });
                let output = t.run(&bundle);
                assert_ne!(output.code(), 0, "{program} is a program\n{output}");
                assert_eq!(output.stdout, "");
            }
        }
    }

    fn a_dev_that_is_a_link_gets_no_device_on_the_host(t) {
        t.only_orlop("runc 1.1 makes links on the host");
        // CVE-2026-41579, CVE-2026-47766; there is no mount at /dev in such a config.
        let outside = canary(t);
        let before = files(&outside);
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["mounts"].as_array_mut().unwrap().retain(|m| {
                !m["destination"].as_str().unwrap().starts_with("/dev")
            });
        });
        fs::remove_dir(bundle.rootfs("dev")).unwrap();
        symlink(&outside, bundle.rootfs("dev")).unwrap();
        t.run(&bundle);
        assert_eq!(files(&outside), before);
    }

    fn a_dev_that_climbs_gets_nothing_mounted_on_the_host(t) {
        t.only_orlop("runc 1.1 makes links on the host");
        let outside = canary(t);
        let before = files(&outside);
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::remove_dir(bundle.rootfs("dev")).unwrap();
        symlink("../../canary", bundle.rootfs("dev")).unwrap();
        t.run(&bundle);
        assert_eq!(files(&outside), before);
    }

    fn the_file_of_a_bind_target_is_not_made_through_a_dangling_link(t) {
        let source = t.dir.join("source");
        fs::write(&source, "text").unwrap();
        let victim = t.dir.join("victim");
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/link", "bind", source.to_str().unwrap(), &["bind"]);
        });
        symlink(&victim, bundle.rootfs("link")).unwrap();
        t.run(&bundle);
        assert!(!victim.exists(), "a file was made on the host");
    }

    fn a_working_directory_is_not_made_on_the_host(t) {
        let victim = t.dir.join("victim");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["process"]["cwd"] = json!("/link/made");
            config["root"]["readonly"] = json!(false);
        });
        symlink(&victim, bundle.rootfs("link")).unwrap();
        t.run(&bundle);
        assert!(!victim.exists(), "a directory was made on the host");
    }

    fn mounts_on_proc_are_refused_but_for_known_files(t) {
        let outside = canary(t);
        for target in ["/proc/self", "/proc/self/attr", "/proc/sys", "/proc/1"] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_mount(config, target, "bind", outside.to_str().unwrap(), &["bind"]);
            });
            t.try_create(&bundle).expect_code(1);
        }
        let file = outside.join("file");
        let bundle = t.bundle(&["read", "/proc/uptime"], |config| {
            add_mount(config, "/proc/uptime", "bind", file.to_str().unwrap(), &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "alive\n");
    }

    fn a_bind_over_proc_itself_is_refused(t) {
        let outside = canary(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/proc", "bind", outside.to_str().unwrap(), &["bind"]);
        });
        t.try_create(&bundle).expect_code(1);
    }

    fn a_null_device_that_is_a_link_does_not_unmask(t) {
        // CVE-2025-31133: the null device is what masks a file.
        let bundle = t.bundle(&["report"], |config| {
            config["mounts"].as_array_mut().unwrap().retain(|m| {
                !m["destination"].as_str().unwrap().starts_with("/dev")
            });
        });
        symlink("../proc/sysrq-trigger", bundle.rootfs("dev/null")).unwrap();
        let output = t.run(&bundle);
        if output.code() == 0 {
            let report = crate::support::Probe::parse(&output);
            for path in ["/proc/keys", "/proc/timer_list"] {
                let seen = &report["paths"][path];
                assert!(*seen == "ENOENT" || seen["read"] == 0, "{path}: {seen}");
            }
        }
    }

    fn init_cannot_be_read_or_traced_by_the_user_of_the_container(t) {
        // CVE-2016-9962: the files of a process that is not dumpable belong to root.
        for (mapped, user) in [(false, 1000), (true, 201_000)] {
            let container = t.create(&t.bundle(&["sleep"], |config| {
                config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
                if mapped {
                    add_user_namespace(config, 200_000);
                }
            }));
            let owner = || fs::metadata(format!("/proc/{}/environ", container.pid())).unwrap().uid();
            assert_eq!(owner(), 0, "before the program runs");
            container.start().expect_ok();
            container.wait_for_output("ready");
            assert_eq!(owner(), user, "once it runs");
            container.end();
        }
    }

    fn the_runtime_cannot_be_written_to_through_its_exe_link(t) {
        // CVE-2019-5736, as far as a look from outside can tell: init is not the host's file.
        t.only_orlop("runc 1.1 is checked by its own tests");
        let container = t.create(&t.bundle(&["exit", "0"], |_| {}));
        let exe = format!("/proc/{}/exe", container.pid());
        let opened = fs::OpenOptions::new().write(true).open(&exe);
        assert!(opened.is_err(), "the image that init runs can be opened for writing");
        container.delete().expect_ok();
    }
}

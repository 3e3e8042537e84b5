//! Symbolic links in the image, and paths that lead out of it in other ways.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::sys::statvfs::statvfs;
use serde_json::json;

use super::{Canary, listing, without_mount_namespace, without_mounts_at, without_pid_namespace};
use crate::support::bundle::{add_mount, add_user_namespace, push};
use crate::support::{Bundle, both_views, once, probe};

/// Put a link into the image, in the place of what is there.
fn put_link(bundle: &Bundle, at: &str, to: &str) {
    let path = bundle.rootfs(at);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_dir_all(&path);
    symlink(to, path).unwrap();
}

/// The two ways in which a link leads to a path of the host.
fn links_to(path: &str) -> [String; 2] {
    [path.to_owned(), format!("../../../../../../../..{path}")]
}

once! {
    fn links_in_the_image_do_not_lead_out(t) {
        t.only_orlop("runc 1.1 makes links on the host");
        let canary = Canary::new(t);
        for (at, below) in [
            ("/dev", ""), ("/dev/pts", "pts"), ("/dev/shm", "shm"), ("/dev/mqueue", "mqueue"), ("/dev/null", "file"),
            ("/dev/zero", "new"), ("/dev/ptmx", "file"), ("/dev/deep", ""), ("/proc", ""), ("/proc", "attr"),
            ("/sys", ""), ("/sys/fs", "fs"), ("/etc", ""), ("/etc/passwd", "file"), ("/target", "net"), ("/tmp", ""),
        ] {
            for to in links_to(&canary.path(below)) {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    // What is below a mount is not the image's.
                    let (above, _) = at.rsplit_once('/').unwrap();
                    config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != above);
                    if at.starts_with("/dev/null") || at == "/dev" {
                        without_mounts_at(config, "/dev");
                    }
                    for target in ["/etc/made/deep", "/target/made", "/tmp"] {
                        add_mount(config, target, "tmpfs", "tmpfs", &[]);
                    }
                    add_mount(config, "/etc/file", "bind", "/dev/null", &["bind"]);
                    push(config, "/linux/devices", json!({"path": "/dev/deep/kmsg", "type": "c", "major": 1, "minor": 11}));
                    config["linux"]["maskedPaths"] = json!(["/etc/passwd", "/target", "/tmp/x"]);
                    config["process"]["cwd"] = json!("/tmp/made/deep");
                });
                put_link(&bundle, at, &to);
                t.run(&bundle);
                canary.assert_untouched(&format!("with {at} -> {to}"));
            }
        }
    }

    fn a_link_in_a_mounts_target_is_followed_inside(t) {
        let canary = Canary::new(t);
        for to in links_to(&canary.path("")) {
            let bundle = t.bundle(&["report"], |config| {
                add_mount(config, "/link/shm", "tmpfs", "tmpfs", &[]);
                add_mount(config, "/link/pts", "tmpfs", "tmpfs", &["rprivate"]);
                add_mount(config, "/link/net", "bind", "/proc/self", &["bind"]);
                add_mount(config, "/link/file", "bind", "/dev/null", &["bind"]);
                add_mount(config, "/link/made/deep", "tmpfs", "tmpfs", &[]);
                add_mount(config, "/link/made/file", "bind", "/dev/null", &["bind"]);
                add_mount(config, "/link/fs/cgroup", "cgroup", "cgroup", &["ro"]);
            });
            canary.twin(&bundle);
            put_link(&bundle, "/link", &to);
            let report = t.report(&bundle);
            for below in ["shm", "pts", "net", "file", "made/deep", "made/file", "fs/cgroup"] {
                report.mount(&canary.path(below));
            }
            canary.assert_untouched(&to);
        }
    }

    fn a_link_in_the_place_of_proc_or_sys_is_refused(t) {
        // CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: even one that stays inside.
        for at in ["/proc", "/sys"] {
            let bundle = t.bundle(&["exit", "0"], |_| {});
            put_link(&bundle, at, "/tmp");
            t.try_create(&bundle).expect_error("must be mounted on ordinary directory");
        }
    }
}

both_views! {
    fn a_link_does_not_lead_a_remount_to_the_hosts_filesystem(t) {
        // Of which the rootfs is a part, and what is bound into it; its options are the host's.
        t.only_orlop("runc 1.1 remounts it");
        let size = || statvfs(&t.dir).unwrap().blocks();
        let before = size();
        for (to, volume) in [("/", "/volume"), ("/volume", "/volume"), ("volume/deep", "/volume/deep")] {
            for target in ["/link", "/above/link"] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    add_mount(config, target, "tmpfs", "tmpfs", &["size=1m"]);
                    add_mount(config, volume, "bind", t.dir.to_str().unwrap(), &["rbind"]);
                    add_mount(config, target, "tmpfs", "tmpfs", &["remount", "size=100m"]);
                });
                fs::create_dir_all(bundle.rootfs("volume/deep/link")).unwrap();
                match target {
                    "/link" => symlink(to, bundle.rootfs("link")).unwrap(),
                    _ => symlink(to, bundle.rootfs("above")).unwrap(),
                }
                let output = t.run(&bundle);
                assert_eq!(size(), before, "{target} -> {to}: the host's filesystem has another size: {output}");
                output.expect_error("no link may lead");
            }
        }
    }

    fn a_link_does_not_lead_a_source_in_the_rootfs_to_what_is_read_only(t) {
        // Bound from there it could be written to: to the kernel's settings, or its SysRq.
        t.only_orlop("runc 1.1 follows the link on the host");
        let volume = t.dir.join("volume");
        fs::create_dir_all(volume.join("deep")).unwrap();
        let before = listing(&volume);
        for (at, to, source, write) in [
            ("data", "/proc/sys", "data", "/m/kernel/hostname"),
            ("data", "proc/sys/kernel/hostname", "data", "/m"),
            ("above", "../proc", "above/sys", "/m/kernel/hostname"),
            ("data", "/sys", "data", "/m/kernel/rcu_expedited"),
            ("data", "..", "data", "/m/proc/sys/kernel/hostname"),
            ("data", "/volume", "data", "/m/file"),
            ("above", "volume", "above/deep", "/m/file"),
        ] {
            for options in [&["rbind", "rw"][..], &["rbind", "rrw"], &["rbind", "rw", "src-nofollow"]] {
                let mut bundle = t.bundle(&["write", write, "x"], |config| {
                    add_mount(config, "/volume", "bind", volume.to_str().unwrap(), &["bind", "ro"]);
                });
                let path = bundle.rootfs(source);
                bundle.edit(|config| add_mount(config, "/m", "bind", path.to_str().unwrap(), options));
                symlink(to, bundle.rootfs(at)).unwrap();
                let output = t.run(&bundle);
                assert_ne!(output.code(), 0, "{source} with {at} -> {to}, {options:?}");
                if options.len() < 3 || at == "above" {
                    output.expect_error("a link in the rootfs leads from it");
                }
            }
        }
        assert_eq!(listing(&volume), before);
    }

    fn a_source_with_too_many_dots_is_not_looked_for_in_the_image(t) {
        // Where only the host's root may enter the directory of the rootfs, it is put elsewhere.
        t.only_orlop("runc 1.1 does not mount such a rootfs");
        fs::write(t.dir.join("secret"), "the host").unwrap();
        for source in ["/../leak", "../../../../../../leak"] {
            let bundle = t.bundle(&["read", "/m"], |config| {
                add_user_namespace(config, 200_000);
                add_mount(config, "/m", "bind", source, &["bind"]);
            });
            bundle.add_file("m", "");
            symlink(t.dir.join("secret"), bundle.rootfs("leak")).unwrap();
            fs::set_permissions(&bundle.dir, Permissions::from_mode(0o700)).unwrap();
            t.run(&bundle).expect_error("no such file or directory");
        }
    }

    fn a_dev_that_climbs_gets_nothing_mounted_on_the_host(t) {
        t.only_orlop("runc 1.1 makes links on the host");
        let canary = Canary::new(t);
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::remove_dir(bundle.rootfs("dev")).unwrap();
        symlink("../../canary", bundle.rootfs("dev")).unwrap();
        t.run(&bundle);
        canary.assert_untouched("after a run");
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

    fn a_working_directory_is_not_made_by_a_link_of_proc(t) {
        t.only_orlop("runc 1.1 makes it");
        let victim = t.dir.join("victim");
        let bundle = t.bundle(&["exit", "0"], |config| {
            without_pid_namespace(config);
            config["root"]["readonly"] = json!(false);
            config["process"]["cwd"] = json!(format!("/proc/1/root{}", victim.display()));
        });
        assert_ne!(t.run(&bundle).code(), 0);
        assert!(!victim.exists(), "a directory was made on the host");
    }

    fn exec_without_a_mount_namespace_stays_in_the_rootfs(t) {
        t.only_orlop("runc 1.1 needs a procfs in the rootfs");
        let bundle = t.bundle(&["sleep"], without_mount_namespace);
        bundle.add_file("mark", "inside");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        assert_eq!(container.exec(&[], &["read", "/mark"]).expect_ok().stdout, "inside\n");
        container.end();
    }

    fn a_mount_namespace_that_is_joined_keeps_its_root(t) {
        // It may be the host's, whose every process a pivot_root would take along.
        t.only_orlop("runc 1.1 changes the root of all that live there");
        let bundle = t.bundle(&["sleep"], |config| {
            without_mount_namespace(config);
            let path = format!("/proc/{}/ns/mnt", std::process::id());
            push(config, "/linux/namespaces", json!({"type": "mount", "path": path}));
            config["hooks"] = json!({"createContainer": [
                {"path": probe::path(), "args": ["probe", "write", "hooked", "yes"]},
            ]});
        });
        bundle.add_file("mark", "inside");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        assert!(t.dir.exists(), "the root is another one");
        assert_eq!(container.exec(&[], &["read", "/mark"]).expect_ok().stdout, "inside\n");
        assert!(bundle.rootfs("hooked").exists(), "createContainer runs in the rootfs");
        container.end();
    }
}

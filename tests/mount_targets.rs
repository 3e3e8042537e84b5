//! Where mounts land, and what is made for them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use crate::support::bundle::{add_mount, add_user_namespace, push, set_namespaces};
use crate::support::leaks::files;
use crate::support::{Test, View, both_views};

/// Run with a bind of the file `source/file`, or of the directory, at `target` in an image that
/// `prepare` has laid out; the path at which the container must find it.
fn is_bound(t: &Test, source: &str, target: &str, found: &str, prepare: impl Fn(&Path)) {
    let bundle = t.bundle(&["read", found], |config| {
        add_mount(config, target, "bind", source, &["bind"])
    });
    prepare(&bundle.rootfs("/"));
    let output = t.run(&bundle);
    assert_eq!(output.expect_ok().stdout, "from the host\n", "{target}");
}

both_views! {
    fn a_missing_target_is_made_inside_whatever_links_lie_there(t) {
        let dir = t.shared_dir("source");
        let file = format!("{dir}/file");
        let outside = t.dir.join("outside");
        fs::create_dir(&outside).unwrap();
        let before = files(&outside);
        let out = outside.to_str().unwrap();
        // Dangling, with an absolute or a relative path, up and out, and by way of each other.
        for to in ["/made/by/link", "made/by/link", "../../../../made/by/link", out] {
            is_bound(t, &file, "/link/file", "/link/file", |root| symlink(to, root.join("link")).unwrap());
            is_bound(t, &dir, "/link/dir", "/link/dir/file", |root| symlink(to, root.join("link")).unwrap());
        }
        is_bound(t, &file, "/one/file", "/end/file", |root| {
            symlink("two", root.join("one")).unwrap();
            symlink("/tmp/../three", root.join("two")).unwrap();
            symlink("end", root.join("three")).unwrap();
        });
        // The last component, too.
        is_bound(t, &file, "/last", "/made/at/last", |root| symlink("/made/at/last", root.join("last")).unwrap());
        assert_eq!(files(&outside), before, "something was made on the host");
    }

    fn a_loop_of_links_is_an_error(t) {
        let dir = t.shared_dir("source");
        for target in ["/a", "/a/b"] {
            let bundle = t.bundle(&["exit", "0"], |config| add_mount(config, target, "bind", &dir, &["bind"]));
            symlink("b", bundle.rootfs("a")).unwrap();
            symlink("a", bundle.rootfs("b")).unwrap();
            let index = bundle.config["mounts"].as_array().unwrap().len() - 1;
            let output = t.run(&bundle);
            output.expect_code(1);
            if !t.runtime.is_reference {
                output.expect_words("too many levels of symbolic links").expect_words(&format!("/mounts/{index}"));
            }
        }
    }

    fn a_target_of_the_wrong_kind_is_refused(t) {
        let dir = t.shared_dir("source");
        let file = format!("{dir}/file");
        for (fstype, source, target) in [
            ("bind", dir.as_str(), "/etc/conf"), ("bind", &file, "/tmp"), ("tmpfs", "tmpfs", "/etc/conf"),
            ("bind", &dir, "/etc/conf/below"),
        ] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                let options: &[&str] = if fstype == "bind" { &["bind"] } else { &[] };
                add_mount(config, target, fstype, source, options);
            });
            bundle.add_file("etc/conf", "of the image");
            let output = t.run(&bundle);
            output.expect_code(1).expect_words("not a directory");
            if !t.runtime.is_reference && target != "/etc/conf/below" {
                output.expect_words("are source and destination of the expected type?");
            }
        }
    }

    fn a_relative_destination_counts_from_the_root_with_a_warning(t) {
        let dir = t.shared_dir("source");
        let bundle = t.bundle(&["read", "/made/file"], |config| {
            add_mount(config, "tmp/../made", "bind", &dir, &["bind"]);
        });
        let output = t.run(&bundle);
        assert_eq!(output.expect_ok().stdout, "from the host\n");
        let words = if t.runtime.is_reference { "is not absolute" } else { "/destination" };
        output.expect_words(words);
    }

    fn a_mount_on_the_root_is_the_root_from_then_on(t) {
        t.only_orlop("runc 1.1 mounts it where nobody sees it");
        let (dir, other) = (t.shared_dir("source"), t.bundle(&[], |_| {}).rootfs(""));
        let bundle = t.bundle(&["report", "--read", "/added/file"], |config| {
            config["mounts"].as_array_mut().unwrap().insert(0, json!({"destination": "/", "type": "bind",
                "source": other, "options": ["rbind", "nosuid"]}));
            add_mount(config, "/added", "bind", &dir, &["bind"]);
        });
        fs::write(other.join("of-the-other"), "").unwrap();
        let report = t.report(&bundle);
        assert_eq!(report["read"]["/added/file"], "from the host");
        assert!(report["root"].to_string().contains("of-the-other"), "{}", report["root"]);
        assert!(!bundle.rootfs("added").exists() && other.join("added").exists());
        let options = report.options("/");
        assert!(options.contains("ro") && options.contains("nosuid"), "{options:?}");
    }

    fn a_source_may_lie_on_an_earlier_mount(t) {
        let dir = t.shared_dir("source");
        let bundle = t.bundle(&["read", "/second/file"], |config| {
            add_mount(config, "/first", "bind", &dir, &["bind"]);
        });
        let first = bundle.rootfs("first");
        let mut bundle = bundle;
        bundle.edit(|config| add_mount(config, "/second", "bind", first.to_str().unwrap(), &["bind"]));
        assert_eq!(t.run(&bundle).expect_ok().stdout, "from the host\n");
    }

    fn cgroups_are_writable_when_that_is_asked_for(t) {
        for namespace in [false, true] {
            let report = t.report_with(|config| {
                config["mounts"][6]["options"] = json!(["nosuid", "noexec", "nodev"]);
                if namespace {
                    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
                }
            });
            let target = if t.view == View::V1 { "/sys/fs/cgroup/memory" } else { "/sys/fs/cgroup" };
            let options = report.options(target);
            for flag in ["rw", "nosuid", "noexec", "nodev"] {
                assert!(options.contains(flag), "{flag} is not in {options:?}, namespace: {namespace}");
            }
        }
    }

    fn cgroups_of_v1_are_hardened_without_being_asked(t) {
        if t.view == View::V2 {
            t.skip("on v2 it is one filesystem, with the options of the config");
        }
        t.only_orlop("runc 1.1 leaves the hierarchies that it binds as they are");
        for (namespace, flags) in [(false, json!([])), (true, json!(["ro"]))] {
            let report = t.report_with(|config| {
                config["mounts"][6]["options"] = flags.clone();
                if namespace {
                    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
                }
            });
            for target in ["/sys/fs/cgroup", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/systemd"] {
                let options = report.options(target);
                for flag in ["nosuid", "noexec", "nodev"] {
                    assert!(options.contains(flag), "{flag} at {target}: {options:?}");
                }
                assert_eq!(options.contains("ro"), namespace, "{target}: {options:?}");
            }
        }
    }

    fn sysfs_is_bound_in_a_user_namespace_with_the_hosts_network(t) {
        t.only_orlop("runc is not permitted to mount it, and leaves it at that");
        let report = t.report_with(|config| {
            set_namespaces(config, &["pid", "ipc", "uts", "mount"]);
            add_user_namespace(config, 200_000);
            // Without one of its own the container sees the host's cgroups (CVE-2023-25809).
            config["mounts"].as_array_mut().unwrap().remove(6);
        });
        for mount in report["mounts"].as_array().unwrap() {
            let target = mount["target"].as_str().unwrap();
            if target.starts_with("/sys/fs/cgroup") {
                assert!(mount["options"].to_string().contains("\"ro\""), "{mount}");
            }
        }
        assert!(report.find_mount("/sys/fs/cgroup").is_some());
        let sys = report.mount("/sys");
        assert_eq!(sys["fstype"], "sysfs");
        assert!(report.options("/sys").contains("ro"), "{sys}");
        assert!(report["paths"]["/sys/kernel"] != "ENOENT");
    }
}

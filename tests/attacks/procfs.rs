//! A /proc that is not what it seems, so that what is meant for the kernel goes elsewhere.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::json;

use super::{Canary, without_mounts_at};
use crate::support::bundle::{add_mount, add_user_namespace, set_capabilities};
use crate::support::{Bundle, both_views, once};

/// The files by which a process asks for its label.
const LABELS: [&str; 2] = ["attr/exec", "attr/apparmor/exec"];

/// A false procfs in the image, at `dir`, that anybody may write to.
fn add_false_labels(bundle: &Bundle, dir: &str) {
    for process in ["self", "thread-self", "1", "2"] {
        for label in LABELS {
            let path = format!("{dir}/{process}/{label}");
            bundle.add_file(&path, "");
            fs::set_permissions(bundle.rootfs(&path), fs::Permissions::from_mode(0o666)).unwrap();
        }
    }
}

/// What has been written to it, by path.
fn false_labels(bundle: &Bundle, dir: &str) -> Vec<String> {
    let files = super::listing(&bundle.rootfs(dir)).into_iter();
    files
        .filter(|(_, seen)| seen.contains("Some(") && !seen.contains("Some(\"\")"))
        .map(|(path, seen)| format!("{}: {seen}", path.display()))
        .collect()
}

once! {
    fn a_label_is_not_written_to_a_file_of_the_image(t) {
        // CVE-2019-16884: nothing is mounted at /proc, or what looks like it.
        for field in ["apparmorProfile", "selinuxLabel"] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                without_mounts_at(config, "/proc");
                config["root"]["readonly"] = json!(false);
                config["process"][field] = json!("label");
            });
            add_false_labels(&bundle, "proc");
            let output = t.run(&bundle);
            assert_ne!(output.code(), 0, "{field}: {output}");
            assert_eq!(false_labels(&bundle, "proc"), Vec::<String>::new(), "{field}");
        }
    }

    fn a_label_of_exec_is_not_written_to_a_file_of_the_image(t) {
        t.only_orlop("runc 1.1 needs a procfs in the rootfs");
        let bundle = t.bundle(&["sleep"], |config| {
            without_mounts_at(config, "/proc");
            config["root"]["readonly"] = json!(false);
        });
        add_false_labels(&bundle, "proc");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        for flag in ["--apparmor", "--process-label"] {
            let output = container.exec(&[flag, "label"], &["exit", "0"]);
            assert_ne!(output.code(), 0, "{flag}: {output}");
            assert_eq!(false_labels(&bundle, "proc"), Vec::<String>::new(), "{flag}");
        }
        container.end();
    }

    fn a_label_goes_to_no_mount_over_the_procfs(t) {
        // CVE-2025-52881. In a user namespace the runtime has no procfs but the container's,
        // and root of the container may mount over what is in it.
        t.only_orlop("runc 1.1 does not know the label without the module");
        let bundle = t.bundle(&["over", "/link", "/proc/self"], |config| {
            add_user_namespace(config, 200_000);
            set_capabilities(config, &["CAP_SYS_ADMIN"]);
            config["root"]["readonly"] = json!(false);
        });
        add_false_labels(&bundle, "false");
        symlink("/false/self", bundle.rootfs("link")).unwrap();
        chown(bundle.rootfs("/"), Some(200_000), Some(200_000)).unwrap();
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        // The attack itself works.
        let label = "/proc/self/attr/exec";
        container.exec(&[], &["write", label, "false"]).expect_ok();
        fs::write(bundle.rootfs("false/self/attr/exec"), "").unwrap();
        for flag in ["--apparmor", "--process-label"] {
            let output = container.exec(&[flag, "label"], &["exit", "0"]);
            assert_ne!(output.code(), 0, "{flag}: {output}");
            assert_eq!(false_labels(&bundle, "false"), Vec::<String>::new(), "{flag}");
        }
        container.end();
    }

    fn a_sysctl_is_not_written_to_a_file_of_the_image(t) {
        // In a user namespace that has no procfs none can be made.
        t.only_orlop("runc 1.1 writes it there");
        let file = "proc/sys/net/ipv4/ip_default_ttl";
        let bundle = t.bundle(&["exit", "0"], |config| {
            without_mounts_at(config, "/proc");
            add_user_namespace(config, 200_000);
            config["linux"]["maskedPaths"] = json!([]);
            config["linux"]["readonlyPaths"] = json!([]);
            config["root"]["readonly"] = json!(false);
            config["linux"]["sysctl"] = json!({"net.ipv4.ip_default_ttl": "77"});
        });
        bundle.add_file(file, "false");
        fs::set_permissions(bundle.rootfs(file), fs::Permissions::from_mode(0o666)).unwrap();
        t.try_create(&bundle).expect_error("not a procfs");
        assert_eq!(fs::read_to_string(bundle.rootfs(file)).unwrap(), "false");
    }

    fn a_link_to_proc_is_no_way_to_mount_there(t) {
        // CVE-2019-16884, CVE-2023-28642.
        t.only_orlop("runc 1.1 knows /proc by its name alone");
        let canary = Canary::new(t);
        for (to, target) in [("/proc/sys/kernel", "/link"), ("/proc", "/link"), ("/proc/self", "/link/attr"),
            ("../../proc", "/link/self/attr"), ("/proc/uptime/..", "/link/../proc/self")] {
            for (kind, source) in [("bind", canary.path("")), ("tmpfs", "tmpfs".to_owned()), ("cgroup", "cgroup".to_owned())] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    add_mount(config, target, kind, &source, if kind == "bind" { &["bind"] } else { &[] });
                });
                symlink(to, bundle.rootfs("link")).unwrap();
                let output = t.try_create(&bundle);
                output.expect_code(1);
                assert!(t.runtime.is_reference || output.stderr.contains("cannot be mounted because"), "{output}");
            }
        }
    }

    fn what_is_mounted_on_proc_is_a_procfs(t) {
        let canary = Canary::new(t);
        for (kind, source, options) in [("tmpfs", "tmpfs", &[][..]), ("sysfs", "sysfs", &[]), ("cgroup", "cgroup", &[]),
            ("bind", &canary.path(""), &["bind"]), ("none", &canary.path(""), &["rbind", "ro"])] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                without_mounts_at(config, "/proc");
                add_mount(config, "/proc", kind, source, options);
            });
            t.try_create(&bundle).expect_code(1);
        }
    }

    fn a_part_of_a_procfs_is_not_mounted_on_proc(t) {
        // Its files have other names than those that programs trust.
        t.only_orlop("runc 1.1 takes it");
        for source in ["/proc/sys", "/proc/self"] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                without_mounts_at(config, "/proc");
                add_mount(config, "/proc", "bind", source, &["bind"]);
            });
            t.try_create(&bundle).expect_error("cannot be mounted because");
        }
        let report = t.report_with(|config| {
            without_mounts_at(config, "/proc");
            add_mount(config, "/proc", "bind", "/proc", &["bind"]);
        });
        assert_eq!(report.mount("/proc")["fstype"], "proc");
    }
}

both_views! {
    fn mounts_on_proc_are_refused_but_for_known_files(t) {
        let canary = Canary::new(t);
        for target in ["/proc/self", "/proc/self/attr", "/proc/sys", "/proc/1"] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_mount(config, target, "bind", &canary.path(""), &["bind"]);
            });
            t.try_create(&bundle).expect_code(1);
        }
        let file = canary.path("file");
        let bundle = t.bundle(&["read", "/proc/uptime"], |config| {
            add_mount(config, "/proc/uptime", "bind", &file, &["bind"]);
        });
        assert_eq!(t.run(&bundle).expect_ok().stdout, "alive\n");
    }

    fn a_bind_over_proc_itself_is_refused(t) {
        let canary = Canary::new(t);
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/proc", "bind", &canary.path(""), &["bind"]);
        });
        t.try_create(&bundle).expect_code(1);
    }
}

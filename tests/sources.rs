//! Sources of binds: those that only the host's root may reach, and those inside the rootfs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push};
use crate::support::{Bundle, Test, both_views};

/// A directory that only root may enter, with a file and a directory with a file in it.
fn closed(t: &Test) -> PathBuf {
    let dir = t.dir.join("closed");
    fs::create_dir_all(dir.join("inner")).unwrap();
    fs::write(dir.join("inner/file"), "reached").unwrap();
    fs::write(dir.join("file"), "reached").unwrap();
    close(&dir);
    dir
}

fn close(dir: &std::path::Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Binds of both kinds from that directory.
fn add_closed(config: &mut Value, dir: &std::path::Path) {
    let text = |path: &str| dir.join(path).to_str().unwrap().to_owned();
    add_mount(config, "/inner", "bind", &text("inner"), &["rbind", "ro"]);
    add_mount(config, "/conf", "bind", &text("file"), &["bind", "ro"]);
}

fn make_targets(bundle: &Bundle) {
    fs::create_dir_all(bundle.rootfs("inner")).unwrap();
    bundle.add_file("conf", "");
}

const READ: [&str; 5] = ["report", "--read", "/inner/file", "--read", "/conf"];

/// A container whose first mount hides what the rootfs has at /early, and whose second has its
/// source there.
fn early(t: &Test, args: &[&str], source: &str, options: &[&str]) -> Bundle {
    let dir = t.dir.join("early");
    fs::create_dir_all(dir.join("deep")).unwrap();
    for name in ["file", "deep/file"] {
        fs::write(dir.join(name), "of the mount").unwrap();
    }
    let mut bundle = t.bundle(args, |_| {});
    bundle.add_file("early/file", "of the rootfs");
    fs::create_dir_all(bundle.rootfs("target")).unwrap();
    bundle.add_file("conf", "");
    symlink("/early/deep", bundle.rootfs("link")).unwrap();
    let source = bundle.rootfs(source).to_str().unwrap().to_owned();
    let target = if source.ends_with("/file") {
        "/conf"
    } else {
        "/target"
    };
    bundle.edit(|config| {
        add_mount(config, "/early", "bind", dir.to_str().unwrap(), &["rbind"]);
        add_mount(config, target, "bind", &source, options);
    });
    bundle
}

both_views! {
    fn what_only_the_host_may_reach_is_bound_in_a_new_user_namespace(t) {
        let dir = closed(t);
        let bundle = t.bundle(&READ, |config| {
            add_user_namespace(config, 200_000);
            add_closed(config, &dir);
        });
        make_targets(&bundle);
        let report = t.report(&bundle);
        assert_eq!(report["read"], json!({"/inner/file": "reached", "/conf": "reached"}));
    }

    fn what_only_the_host_may_reach_is_bound_in_a_joined_user_namespace(t) {
        t.only_orlop("runc 1.1 asks for maps even when the namespace is joined");
        let dir = closed(t);
        let other = t.sleeper(|config| add_user_namespace(config, 200_000));
        let path = format!("/proc/{}/ns/user", other.pid());
        let bundle = t.bundle(&READ, |config| {
            push(config, "/linux/namespaces", json!({"type": "user", "path": path}));
            add_closed(config, &dir);
        });
        make_targets(&bundle);
        let report = t.report(&bundle);
        assert_eq!(report["read"], json!({"/inner/file": "reached", "/conf": "reached"}));
        other.end();
    }

    fn a_bundle_that_only_the_host_may_reach_runs_in_a_user_namespace(t) {
        t.only_orlop("runc 1.1 finds no way to the rootfs");
        let dir = closed(t);
        let mut bundle = early(t, &["report", "--read", "/inner/file", "--read", "/target/file"], "early/deep", &["bind"]);
        bundle.edit(|config| {
            add_user_namespace(config, 200_000);
            add_closed(config, &dir);
        });
        make_targets(&bundle);
        close(&bundle.dir);
        let report = t.report(&bundle);
        assert_eq!(report["read"], json!({"/inner/file": "reached", "/target/file": "of the mount"}));
    }

    fn a_source_that_is_missing_is_refused_in_a_user_namespace_too(t) {
        t.only_orlop("runc 1.1 has other words for it, and may leave the cgroup behind");
        for source in [t.dir.join("nowhere"), PathBuf::from("rootfs/nowhere")] {
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_user_namespace(config, 200_000);
                add_mount(config, "/tmp", "bind", source.to_str().unwrap(), &["bind"]);
            });
            t.run(&bundle).expect_code(1).expect_words("nowhere").expect_words("no such file or directory");
        }
    }

    fn a_source_lies_on_an_earlier_mount(t) {
        for (source, target) in [("early", "/target/file"), ("early/deep", "/target/file"), ("early/file", "/conf")] {
            for option in ["bind", "rbind"] {
                let bundle = early(t, &["read", target], source, &[option]);
                assert_eq!(t.run(&bundle).expect_ok().stdout, "of the mount\n", "{source}");
            }
        }
    }

    fn a_source_lies_on_an_earlier_mount_in_a_user_namespace(t) {
        t.only_orlop("runc 1.1 opens all sources before the first mount");
        for (source, target) in [("early", "/target/file"), ("early/deep", "/target/file"), ("early/file", "/conf"),
            ("link", "/target/file")] {
            let mut bundle = early(t, &["read", target], source, &["bind"]);
            bundle.edit(|config| add_user_namespace(config, 200_000));
            assert_eq!(t.run(&bundle).expect_ok().stdout, "of the mount\n", "{source}");
        }
    }

    fn a_source_on_an_earlier_mount_is_found_by_way_of_a_link_of_the_host(t) {
        t.only_orlop("runc 1.1 opens all sources before the first mount");
        for users in [false, true] {
            let mut bundle = early(t, &["read", "/target/file"], "early/deep", &["bind"]);
            let link = t.dir.join(format!("link-{users}"));
            symlink(&bundle.dir, &link).unwrap();
            bundle.edit(|config| {
                if users {
                    add_user_namespace(config, 200_000);
                }
                let entry = config["mounts"].as_array_mut().unwrap().last_mut().unwrap();
                entry["source"] = json!(link.join("rootfs/early/deep"));
            });
            assert_eq!(t.run(&bundle).expect_ok().stdout, "of the mount\n");
        }
    }

    fn the_rootfs_itself_is_a_source(t) {
        t.only_orlop("runc 1.1 opens all sources before the first mount");
        for (users, option, seen) in [(false, "rbind", "of the mount"), (false, "bind", "of the rootfs"),
            (true, "rbind", "of the mount")] {
            let mut bundle = early(t, &["read", "/target/early/file"], "/", &[option]);
            if users {
                bundle.edit(|config| add_user_namespace(config, 200_000));
            }
            assert_eq!(t.run(&bundle).expect_ok().stdout, format!("{seen}\n"), "{option}");
        }
    }

    fn a_link_of_the_image_does_not_lead_a_source_to_the_host(t) {
        t.only_orlop("runc 1.1 follows it to the host");
        let secret = t.dir.join("secret");
        fs::create_dir(&secret).unwrap();
        fs::write(secret.join("file"), "of the host").unwrap();
        for users in [false, true] {
            for to in [secret.to_str().unwrap(), "../../secret"] {
                let mut bundle = t.bundle(&["read", "/tmp/file"], |_| {});
                symlink(to, bundle.rootfs("link")).unwrap();
                let source = bundle.rootfs("link").to_str().unwrap().to_owned();
                bundle.edit(|config| {
                    if users {
                        add_user_namespace(config, 200_000);
                    }
                    add_mount(config, "/tmp", "bind", &source, &["bind"]);
                });
                t.run(&bundle).expect_error("no such file or directory");
                // What is at the same path inside is taken.
                let inside = if to.starts_with('/') { to } else { "/secret" };
                bundle.add_file(&format!("{inside}/file"), "of the image");
                assert_eq!(t.run(&bundle).expect_ok().stdout, "of the image\n");
            }
        }
    }
}

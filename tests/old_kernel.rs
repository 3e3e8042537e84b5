//! Mounts on kernels that lack the newer calls: a filter answers ENOSYS for them.

use std::fs;

use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace};
use crate::support::{Bundle, Output, Probe, Test, both_views};

const NONE: Option<&str> = None;

/// Linux 5.2 to 5.11.
const NO_ATTRIBUTES: &str = "mount_setattr";
/// Linux before 5.2.
const NO_TREES: &str = "mount_setattr,open_tree,move_mount,fsopen,fsconfig,fsmount,fspick,openat2";
const KERNELS: [&str; 2] = [NO_ATTRIBUTES, NO_TREES];

fn run_without(t: &Test, calls: &str, bundle: &Bundle) -> Output {
    let runtime = t.runtime.without(calls);
    runtime.call(&["run", "--bundle", bundle.path(), &bundle.id])
}

/// The mounts of a container as far as they do not differ from run to run: in a user namespace,
/// or without one, on this kernel and on older ones.
fn mounts(report: &Probe) -> Vec<Value> {
    let list = report["mounts"].as_array().unwrap();
    let part = |mount: &Value| {
        let propagation = mount["propagation"].clone();
        json!([
            mount["target"],
            mount["fstype"],
            mount["options"],
            propagation
        ])
    };
    list.iter().map(part).collect()
}

/// Run the same bundle on this kernel and on the older ones, and expect the same of all.
fn is_the_same_everywhere(t: &Test, edit: impl Fn(&mut Value)) {
    let bundle = |t: &Test| {
        let bundle = t.bundle(&["report"], &edit);
        bundle.add_file("full/deep/file", "of the image");
        bundle
    };
    let new = t.report(&bundle(t));
    for calls in KERNELS {
        let old = Probe::parse(&run_without(t, calls, &bundle(t)));
        let (old_mounts, new_mounts) = (mounts(&old), mounts(&new));
        let differs = old_mounts
            .iter()
            .zip(&new_mounts)
            .find(|(old, new)| old != new);
        assert_eq!(differs, None, "without {calls}");
        assert_eq!(
            old_mounts.len(),
            new_mounts.len(),
            "without {calls}: {old_mounts:?}"
        );
        for part in ["paths", "dev"] {
            for (name, value) in new[part].as_object().unwrap() {
                // Other tests make and remove cgroups.
                if name == "/sys/fs/cgroup" {
                    continue;
                }
                assert_eq!(&old[part][name], value, "{name} without {calls}");
            }
        }
        assert_eq!(old["root"], new["root"], "without {calls}");
        let numbers = |report: &Probe| {
            let fds = report["fds"]
                .as_object()
                .map(|fds| fds.keys().cloned().collect::<Vec<_>>());
            fds.unwrap_or_else(|| panic!("{}", report["fds"]))
        };
        assert_eq!(numbers(&old), numbers(&new), "fds without {calls}");
    }
}

/// A directory of the host with one file.
fn source(t: &Test) -> String {
    let dir = t.dir.join("source");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "from the host").unwrap();
    dir.to_str().unwrap().to_owned()
}

both_views! {
    fn the_default_bundle_is_the_same(t) {
        is_the_same_everywhere(t, |_| {});
    }

    fn the_default_bundle_in_a_user_namespace_is_the_same(t) {
        is_the_same_everywhere(t, |config| add_user_namespace(config, 200_000));
    }

    fn a_cgroup_namespace_is_the_same(t) {
        is_the_same_everywhere(t, |config| {
            crate::support::bundle::push(config, "/linux/namespaces", json!({"type": "cgroup"}));
        });
    }

    fn binds_have_their_options(t) {
        let source = source(t);
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC | MsFlags::MS_NOATIME;
        let flags = flags | MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
        mount(Some("x"), source.as_str(), Some("tmpfs"), flags, NONE).unwrap();
        fs::create_dir(format!("{source}/below")).unwrap();
        mount(Some("y"), format!("{source}/below").as_str(), Some("tmpfs"), flags, NONE).unwrap();
        t.only_orlop("runc 1.1 takes the flags of the source away when it sets some");
        for options in [
            &["bind"][..], &["rbind"], &["bind", "ro"], &["rbind", "ro", "nodev"],
            &["bind", "exec", "suid", "relatime"], &["bind", "strictatime"], &["bind", "nodiratime"],
            &["bind", "nosymfollow"], &["rbind", "rslave"], &["rbind", "rprivate"], &["bind", "unbindable"],
        ] {
            is_the_same_everywhere(t, |config| add_mount(config, "/tmp", "bind", &source, options));
        }
        umount(format!("{source}/below").as_str()).unwrap();
        umount(source.as_str()).unwrap();
    }

    fn files_are_bound_and_targets_made(t) {
        let file = format!("{}/file", source(t));
        for calls in KERNELS {
            let bundle = t.bundle(&["read", "/made/deep/file"], |config| {
                add_mount(config, "/made/deep/file", "bind", &file, &["bind", "ro"]);
            });
            assert_eq!(run_without(t, calls, &bundle).expect_ok().stdout, "from the host\n");
        }
    }

    fn new_filesystems_that_are_worked_on_are_the_same(t) {
        t.only_orlop("runc 1.1 leaves the directories of a read-only tmpfs out");
        is_the_same_everywhere(t, |config| {
            add_mount(config, "/full", "tmpfs", "tmpfs", &["tmpcopyup", "size=1m", "ro"]);
            add_mount(config, "/tmp", "tmpfs", "tmpfs", &["ro", "sync", "nosuid", "rshared"]);
            add_mount(config, "/tmp/in/it", "tmpfs", "tmpfs", &["rslave"]);
            add_mount(config, "/tmp/in/it", "tmpfs", "tmpfs", &["remount", "size=2m"]);
            add_mount(config, "/tmp/in/it", "none", "none", &["remount", "bind", "noexec"]);
            add_mount(config, "/dev/shm", "none", "none", &["remount", "bind", "ro"]);
        });
    }

    fn paths_are_masked_and_read_only(t) {
        is_the_same_everywhere(t, |config| {
            config["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/proc/keys", "/sys/firmware", "/full", "/proc/nothing"]);
            config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/proc/bus", "/dev/shm", "/proc/nothing"]);
        });
    }

    fn the_host_sees_nothing_of_it(t) {
        // As on a host that systemd has booted.
        mount(NONE, "/", NONE, MsFlags::MS_SHARED, NONE).unwrap();
        mount(NONE, &t.dir, NONE, MsFlags::MS_SHARED, NONE).unwrap();
        let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for calls in KERNELS {
            for word in ["rslave", "shared", "private"] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    config["linux"]["rootfsPropagation"] = json!(word);
                    add_mount(config, "/tmp", "tmpfs", "inside", &["shared"]);
                });
                run_without(t, calls, &bundle).expect_ok();
                let after = fs::read_to_string("/proc/self/mountinfo").unwrap();
                assert_eq!(after, before, "{word} without {calls}");
            }
        }
        mount(NONE, &t.dir, NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
        mount(NONE, "/", NONE, MsFlags::MS_PRIVATE, NONE).unwrap();
    }

    fn what_mount_2_cannot_do_is_an_error_that_names_it(t) {
        t.only_orlop("runc 1.1 has no id-mapped mounts, and other words");
        let source = source(t);
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 10}]);
        for calls in KERNELS {
            for option in ["rro", "rnosuid", "rexec", "rnoatime"] {
                let bundle = t.bundle(&["exit", "0"], |config| {
                    add_mount(config, "/tmp", "bind", &source, &["rbind", option]);
                });
                let index = bundle.config["mounts"].as_array().unwrap().len() - 1;
                run_without(t, calls, &bundle).expect_error(&format!("/mounts/{index}"))
                    .expect_words(&format!("the option {option} needs Linux 5.12"));
            }
            let bundle = t.bundle(&["exit", "0"], |config| {
                add_mount(config, "/tmp", "bind", &source, &["bind"]);
                let mounts = config["mounts"].as_array_mut().unwrap();
                let last = mounts.last_mut().unwrap();
                last["uidMappings"] = map.clone();
                last["gidMappings"] = map.clone();
            });
            run_without(t, calls, &bundle).expect_error("id-mapped mounts need Linux 5.12");
        }
    }
}

//! The root file system: what is at `/`, and that nothing else of the host is in sight.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use nix::mount::{MntFlags, MsFlags, mount, umount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use serde_json::json;

use crate::support::bundle::add_user_namespace;
use crate::support::probe::strings;
use crate::support::{Container, both_views};

/// Take the root of a container away from under it, and tell what then is at `/`.
fn names_below_the_root(container: &Container) -> Vec<String> {
    names_below(container, 1)
}

/// The same, with so many mounts on top of each other taken away.
fn names_below(container: &Container, mounts: u32) -> Vec<String> {
    below(container, mounts, || {
        let mut names = Vec::new();
        for (dir, prefix) in [("/", ""), ("/proc", "proc/"), ("/sys", "sys/")] {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                names.push(format!("{prefix}{}", entry.file_name().to_string_lossy()));
            }
        }
        names
    })
}

/// Take `mounts` mounts away from under a container, and look around there.
fn below<T: Send + 'static>(
    container: &Container,
    mounts: u32,
    look: impl FnOnce() -> T + Send + 'static,
) -> T {
    let pid = container.pid();
    let enter = move || {
        // A thread with a root of its own may change its mount namespace.
        unshare(CloneFlags::CLONE_FS).unwrap();
        let file = File::open(format!("/proc/{pid}/ns/mnt")).unwrap();
        setns(&file, CloneFlags::CLONE_NEWNS).unwrap();
        for _ in 0..mounts {
            let _ = umount2("/", MntFlags::MNT_DETACH);
            setns(&file, CloneFlags::CLONE_NEWNS).unwrap();
        }
        look()
    };
    std::thread::spawn(enter).join().unwrap()
}

both_views! {
    fn only_the_rootfs_is_in_sight(t) {
        let report = t.report_with(|_| {});
        assert_eq!(report["root"], json!(["dev", "probe", "proc", "sys", "tmp"]));
        assert_eq!(report["cwd"], "/");
    }

    fn no_mount_of_the_host_is_left_below_the_new_root(t) {
        let report = t.report_with(|config| config["linux"]["maskedPaths"] = json!([]));
        let known = ["/", "/proc", "/dev", "/sys"];
        for mount in report["mounts"].as_array().unwrap() {
            let target = mount["target"].as_str().unwrap();
            let below = known[1..].iter().any(|dir| target.starts_with(&format!("{dir}/")));
            assert!(known.contains(&target) || below, "a mount of the host: {mount}");
        }
    }

    fn mounts_below_the_rootfs_come_with_it(t) {
        let bundle = t.bundle(&["read", "/tmp/file"], |_| {});
        let (below, none) = (bundle.rootfs("tmp"), None::<&str>);
        mount(Some("below"), &below, Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::write(below.join("file"), "of a mount\n").unwrap();
        let output = t.run(&bundle);
        umount(&below).unwrap();
        assert_eq!(output.expect_ok().stdout, "of a mount\n");
    }

    fn nothing_of_the_host_lies_below_the_root(t) {
        let container = t.sleeper(|_| {});
        let names = names_below_the_root(&container);
        assert!(!names.contains(&"etc".to_owned()), "{names:?}");
        container.end();
    }

    fn without_pivot_root_the_host_lies_below_the_root_but_for_proc_and_sys(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let created = t.runtime.call(&["create", "--no-pivot", "--bundle", bundle.path(), &bundle.id]);
        let container = Container::adopt(t, &bundle.id, created);
        container.start().expect_ok();
        container.wait_for_output("ready");
        let names = names_below_the_root(&container);
        assert!(names.contains(&"etc".to_owned()), "{names:?}");
        assert!(!names.contains(&"proc/self".to_owned()) && !names.contains(&"sys/kernel".to_owned()), "{names:?}");
        container.end();
    }

    fn without_pivot_root_a_procfs_at_a_path_with_a_space_is_hidden_too(t) {
        let (place, none) = (t.dir.join("a proc"), None::<&str>);
        fs::create_dir(&place).unwrap();
        mount(none, &place, Some("proc"), MsFlags::empty(), none).unwrap();
        let bundle = t.bundle(&["sleep"], |_| {});
        let created = t.runtime.call(&["create", "--no-pivot", "--bundle", bundle.path(), &bundle.id]);
        let container = Container::adopt(t, &bundle.id, created);
        let found = place.clone();
        let (dir, procfs) = below(&container, 1, move || (found.exists(), found.join("self").exists()));
        umount(&place).unwrap();
        assert!(dir && !procfs, "directory: {dir}, procfs: {procfs}");
        container.delete_force().expect_ok();
    }

    fn without_pivot_root_a_closed_way_to_the_rootfs_hides_them_too(t) {
        t.only_orlop("runc 1.1 does not mount such a rootfs");
        let bundle = t.bundle(&["sleep"], |config| add_user_namespace(config, 200_000));
        fs::set_permissions(&bundle.dir, Permissions::from_mode(0o700)).unwrap();
        let created = t.runtime.call(&["create", "--no-pivot", "--bundle", bundle.path(), &bundle.id]);
        let container = Container::adopt(t, &bundle.id, created);
        container.start().expect_ok();
        container.wait_for_output("ready");
        // Its own place is between the two.
        let names = names_below(&container, 2);
        assert!(names.contains(&"etc".to_owned()), "{names:?}");
        assert!(!names.contains(&"proc/self".to_owned()) && !names.contains(&"sys/kernel".to_owned()), "{names:?}");
        container.end();
    }

    fn a_readonly_root_refuses_writes(t) {
        let bundle = t.bundle(&["write", "/tmp/file", "x"], |config| config["root"]["readonly"] = json!(true));
        t.run(&bundle).expect_code(3).expect_words("EROFS");
        assert!(!bundle.rootfs("tmp/file").exists());
        let report = t.report_with(|_| {});
        assert!(report.options("/").contains("ro"), "{:?}", report.options("/"));
    }

    fn a_readonly_root_leaves_the_mounts_on_it_writable(t) {
        let bundle = t.bundle(&["write", "/dev/shm/file", "x"], |_| {});
        t.run(&bundle).expect_ok();
    }

    fn a_root_that_is_not_readonly_is_written_to(t) {
        for readonly in [json!(false), json!(null)] {
            let bundle = t.bundle(&["write", "/tmp/file", "text"], |config| {
                config["root"]["readonly"] = readonly;
            });
            t.run(&bundle).expect_ok();
            assert_eq!(fs::read_to_string(bundle.rootfs("tmp/file")).unwrap(), "text");
        }
    }

    fn an_absolute_root_path_is_taken_as_it_is(t) {
        let mut bundle = t.bundle(&["echo", "there"], |_| {});
        let moved = t.dir.join("elsewhere");
        fs::rename(bundle.rootfs("/"), &moved).unwrap();
        bundle.edit(|config| config["root"]["path"] = json!(moved));
        assert_eq!(t.run(&bundle).expect_ok().stdout, "there\n");
    }

    fn a_root_path_that_is_a_link_is_followed(t) {
        t.only_orlop("runc refuses it: not an absolute path, or a symlink");
        let bundle = t.bundle(&["echo", "there"], |_| {});
        fs::rename(bundle.rootfs("/"), bundle.dir.join("real")).unwrap();
        symlink("real", bundle.dir.join("rootfs")).unwrap();
        assert_eq!(t.run(&bundle).expect_ok().stdout, "there\n");
    }

    fn a_bundle_is_reached_by_a_link(t) {
        let mut bundle = t.bundle(&["echo", "there"], |_| {});
        symlink(&bundle.dir, t.dir.join("link")).unwrap();
        bundle.dir = t.dir.join("link");
        assert_eq!(t.run(&bundle).expect_ok().stdout, "there\n");
    }

    fn the_root_is_one_mount_and_private(t) {
        let report = t.report_with(|_| {});
        let at_root = report["mounts"].as_array().unwrap().iter().filter(|m| m["target"] == "/");
        assert_eq!(at_root.count(), 1, "{:#}", report["mounts"]);
        assert_eq!(strings(&report.mount("/")["propagation"]), Vec::<String>::new());
    }

    fn the_parent_directory_of_the_root_is_the_root(t) {
        let report = t.report(&t.bundle(&["report", "--stat", "/../../probe"], |_| {}));
        assert_eq!(report["stat"]["/../../probe"]["type"], "file");
    }

    fn the_rootfs_is_as_it_was_after_a_run(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let before = crate::support::leaks::files(&bundle.dir);
        t.run(&bundle).expect_ok();
        assert_eq!(crate::support::leaks::files(&bundle.dir), before);
    }
}

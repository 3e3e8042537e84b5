//! How mounts are made, as the kernel sees it: never by a path that is resolved anew.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use serde_json::{Value, json};

use crate::support::bundle::{add_mount, add_user_namespace, push};
use crate::support::{Runtime, Test, both_views, trace};

/// The runtime behind strace, and the file of the trace.
fn traced(t: &Test, runtime: &Runtime, name: &str) -> (Runtime, PathBuf) {
    t.only_orlop("runc 1.1 mounts by paths, in places");
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        t.skip("strace is not installed");
    }
    let file = t.dir.join(name);
    let calls = format!("trace={}", trace::CALLS);
    let words: [&OsStr; 8] = [
        strace.as_ref(),
        "-f".as_ref(),
        "-s".as_ref(),
        "4096".as_ref(),
        "-o".as_ref(),
        file.as_ref(),
        "-e".as_ref(),
        calls.as_ref(),
    ];
    (runtime.behind(&words), file)
}

/// Every kind of mount, target and device.
fn everything(t: &Test, config: &mut Value) {
    let source = t.dir.join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    fs::write(source.join("file"), "x").unwrap();
    chown(&source, Some(200_000), Some(200_000)).unwrap();
    let (dir, file) = (source.to_str().unwrap(), source.join("file"));
    let file = file.to_str().unwrap();
    for (target, options) in [
        ("/bound", &["bind"][..]),
        ("/bound/readonly", &["rbind", "ro", "nosuid"]),
        ("/made/deep/dir", &["rbind", "rslave"]),
        ("/link/dir", &["bind", "nodev"]),
    ] {
        add_mount(config, target, "bind", dir, options);
    }
    add_mount(config, "/made/deep/file", "bind", file, &["bind", "ro"]);
    add_mount(config, "/proc/uptime", "bind", file, &["bind", "ro"]);
    add_mount(
        config,
        "/tmp",
        "tmpfs",
        "tmpfs",
        &["nosuid", "mode=1777", "size=1m"],
    );
    add_mount(config, "/full", "tmpfs", "tmpfs", &["tmpcopyup", "ro"]);
    add_mount(config, "/tmp/on/it", "tmpfs", "tmpfs", &["rshared", "sync"]);
    add_mount(
        config,
        "/tmp",
        "none",
        "none",
        &["remount", "bind", "noexec"],
    );
    add_mount(
        config,
        "/tmp/on/it",
        "tmpfs",
        "none",
        &["remount", "size=2m"],
    );
    let device = json!({"path": "/dev/more/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5, "gid": 6});
    push(config, "/linux/devices", device);
    push(config, "/linux/namespaces", json!({"type": "cgroup"}));
    for path in ["/tmp", "/full/deep/file"] {
        push(config, "/linux/maskedPaths", json!(path));
        push(config, "/linux/readonlyPaths", json!(path));
    }
}

/// Run the bundle with everything, and read its trace. Gives the trace.
fn is_clean(t: &Test, runtime: &Runtime, edit: impl FnOnce(&mut Value)) -> String {
    let (runtime, file) = traced(t, runtime, "trace");
    let bundle = t.bundle(&["exit", "0"], |config| {
        everything(t, config);
        edit(config);
    });
    bundle.add_file("full/deep/file", "x");
    symlink("/elsewhere", bundle.rootfs("link")).unwrap();
    // Root in a user namespace makes the targets, too.
    for dir in ["/", "/proc", "/dev", "/sys", "/tmp", "/full", "/full/deep"] {
        chown(bundle.rootfs(dir), Some(200_000), Some(200_000)).unwrap();
    }
    runtime
        .call(&["run", "--bundle", bundle.path(), &bundle.id])
        .expect_ok();
    let text = fs::read_to_string(file).unwrap();
    let rootfs = bundle.rootfs("");
    let bad = trace::bad_lines(&text, rootfs.to_str().unwrap().trim_end_matches('/'));
    assert!(bad.is_empty(), "by a path:\n{}", bad.join("\n"));
    text
}

both_views! {
    fn a_run_mounts_by_descriptor(t) {
        let text = is_clean(t, &t.runtime, |_| {});
        // The reader has read what it is about.
        for (call, least) in [("mount", 5), ("move_mount", 10), ("open_tree", 8), ("mknodat", 6), ("symlinkat", 5)] {
            let seen = trace::count(&text, call);
            assert!(seen >= least, "only {seen} of {call}:\n{text}");
        }
    }

    fn so_it_does_in_a_user_namespace(t) {
        let text = is_clean(t, &t.runtime, |config| {
            add_user_namespace(config, 200_000);
            // The host's nodes are bound, and it has no such node.
            config["linux"]["devices"] = json!([]);
        });
        assert!(trace::count(&text, "move_mount") > 15, "{text}");
    }

    fn so_it_does_where_the_host_shares_its_mounts(t) {
        mount(None::<&str>, &t.dir, None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
        is_clean(t, &t.runtime, |config| config["linux"]["rootfsPropagation"] = json!("shared"));
        mount(None::<&str>, &t.dir, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    }

    fn so_it_does_on_old_kernels(t) {
        for calls in ["mount_setattr", "mount_setattr,open_tree,move_mount,fsopen,fsconfig,fsmount,fspick,openat2"] {
            let text = is_clean(t, &t.runtime.without(calls), |_| {});
            assert!(trace::count(&text, "mount") > 30, "without {calls}:\n{text}");
        }
    }

    fn a_mount_on_the_root_is_attached_by_descriptor(t) {
        let other = t.dir.join("other");
        fs::create_dir(&other).unwrap();
        mount(Some("x"), &other, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/", "bind", "rootfs", &["rbind"]);
            add_mount(config, "/tmp", "bind", other.to_str().unwrap(), &["bind"]);
        });
        let (runtime, file) = traced(t, &t.runtime, "trace");
        runtime.call(&["run", "--bundle", bundle.path(), &bundle.id]).expect_ok();
        umount(&other).unwrap();
        let rootfs = bundle.dir.join("rootfs");
        let text = fs::read_to_string(file).unwrap();
        assert_eq!(trace::bad_lines(&text, rootfs.to_str().unwrap()), [""; 0]);
    }

    fn exec_mounts_nothing(t) {
        let container = t.sleeper(|_| {});
        let (runtime, file) = traced(t, &t.runtime, "trace");
        runtime.call(&["exec", &container.id, "/probe", "exit", "0"]).expect_ok();
        let text = fs::read_to_string(file).unwrap();
        for call in ["mount", "umount2", "move_mount", "mknodat", "mkdirat", "mkdir", "symlinkat"] {
            assert_eq!(trace::count(&text, call), 0, "{call}:\n{text}");
        }
        assert!(trace::count(&text, "execve") > 1, "{text}");
        container.end();
    }
}

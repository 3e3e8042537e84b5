//! What a container must not do to the host that it runs on.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::json;

use crate::support::both_views;
use crate::support::bundle::{add_mount, push};

/// How often the mount table of the caller's mount namespace changes while `what` runs.
fn changes_during(what: impl FnOnce()) -> usize {
    let table = File::open("/proc/self/mountinfo").unwrap();
    let changed = || {
        let mut fds = [PollFd::new(table.as_fd(), PollFlags::POLLPRI)];
        poll(&mut fds, PollTimeout::from(5u8)).unwrap();
        fds[0]
            .revents()
            .is_some_and(|events| events.intersects(PollFlags::POLLPRI | PollFlags::POLLERR))
    };
    // The first poll takes note of the present state.
    while changed() {}
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counter = scope.spawn(|| {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                count += usize::from(changed());
            }
            count + usize::from(changed())
        });
        what();
        done.store(true, Ordering::Relaxed);
        counter.join().unwrap()
    })
}

both_views! {
    fn a_change_of_the_mount_table_is_seen_by_this_test(t) {
        let dir = t.dir.join("mounted");
        std::fs::create_dir(&dir).unwrap();
        let count = changes_during(|| {
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("x"), &dir, Some("tmpfs"), flags, None::<&str>).unwrap();
            nix::mount::umount(&dir).unwrap();
        });
        assert!(count > 0, "a mount and an unmount were not seen");
    }

    fn a_run_changes_the_hosts_mount_table_not_once(t) {
        t.only_orlop("runc 1.1 changes it three to five times a run");
        let source = t.dir.join("source");
        std::fs::create_dir(&source).unwrap();
        let bundle = t.bundle(&["exit", "0"], |config| {
            add_mount(config, "/tmp", "bind", source.to_str().unwrap(), &["rbind", "ro"]);
            push(config, "/linux/namespaces", json!({"type": "cgroup"}));
        });
        let count = changes_during(|| {
            t.run(&bundle).expect_ok();
        });
        assert_eq!(count, 0, "the host's mount table changed {count} times");
    }

    fn the_other_verbs_do_not_change_it_either(t) {
        t.only_orlop("runc 1.1 changes it with create and exec");
        let bundle = t.bundle(&["sleep"], |_| {});
        let count = changes_during(|| {
            let container = t.start(&bundle);
            container.wait_for_output("ready");
            container.exec(&[], &["exit", "0"]).expect_ok();
            container.verb(&["pause"]).expect_ok();
            container.verb(&["resume"]).expect_ok();
            container.end();
        });
        assert_eq!(count, 0, "the host's mount table changed {count} times");
    }

    fn files_of_the_state_are_not_for_everybody(t) {
        use std::os::unix::fs::PermissionsExt;
        let container = t.sleeper(|_| {});
        let dir = t.runtime.root.join(&container.id);
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o711);
        let state = mode(&dir.join("state.json"));
        assert!(state & 0o077 == 0 || t.runtime.is_reference, "state.json has mode {state:o}");
        container.end();
    }

    fn state_json_has_the_fields_that_tools_read(t) {
        let container = t.sleeper(|_| {});
        let path = t.runtime.root.join(&container.id).join("state.json");
        let state: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(state["id"], json!(container.id));
        assert_eq!(state["init_process_pid"], json!(container.pid()));
        assert!(state["init_process_start"].as_u64().unwrap() > 0);
        assert!(state["created"].is_string());
        assert!(state["config"]["rootfs"].as_str().unwrap().ends_with("/rootfs"));
        for (key, path) in state["cgroup_paths"].as_object().unwrap() {
            let path = path.as_str().unwrap();
            assert!(path.ends_with(&container.id) && std::path::Path::new(path).is_dir(), "{key}: {path}");
        }
        assert!(!state["cgroup_paths"].as_object().unwrap().is_empty());
        for (kind, file) in [("NEWNS", "mnt"), ("NEWPID", "pid"), ("NEWNET", "net"), ("NEWIPC", "ipc"), ("NEWUTS", "uts")] {
            let expected = format!("/proc/{}/ns/{file}", container.pid());
            assert_eq!(state["namespace_paths"][kind], json!(expected));
        }
        container.end();
    }
}

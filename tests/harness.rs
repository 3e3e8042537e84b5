//! Tests of the harness itself: a leak of each kind must be seen.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::support::leaks::Snapshot;
use crate::support::view::hierarchies;
use crate::support::{Test, both_views};

/// The words of the failure that a leak between two snapshots gives.
fn complaint(t: &Test, leak: impl FnOnce(), mend: impl FnOnce()) -> String {
    let before = Snapshot::take(t);
    leak();
    let caught = catch_unwind(AssertUnwindSafe(|| before.assert_unchanged(t, "now")));
    mend();
    let payload = caught.expect_err("the leak was not seen");
    payload
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_default()
}

both_views! {
    fn a_cgroup_that_is_left_is_seen(t) {
        let dir = hierarchies()[0].1.join(&t.tag).join("left");
        let words = complaint(t, || fs::create_dir(&dir).unwrap(), || fs::remove_dir(&dir).unwrap());
        assert!(words.contains(&format!("cgroup left: {}", dir.display())), "{words}");
    }

    fn a_mount_that_is_left_is_seen(t) {
        let dir = t.dir.join("mounted");
        fs::create_dir(&dir).unwrap();
        let leak = || mount(Some("left"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        let words = complaint(t, leak, || umount2(&dir, MntFlags::empty()).unwrap());
        assert!(words.contains("mount left: ") && words.contains("/mounted"), "{words}");
    }

    fn a_process_that_is_left_is_seen(t) {
        let mut child = None;
        let leak = || child = Some(Command::new("sleep").arg("1000").spawn().unwrap());
        let words = complaint(t, leak, || {});
        let mut child = child.unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(words.contains("process left: ") && words.contains("sleep 1000"), "{words}");
    }

    fn state_that_is_left_is_seen(t) {
        let dir = t.runtime.root.join("left");
        let words = complaint(t, || fs::create_dir(&dir).unwrap(), || fs::remove_dir(&dir).unwrap());
        assert!(words.contains(&format!("state left: {}", dir.display())), "{words}");
    }
}

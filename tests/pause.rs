//! pause and resume.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::support::{Container, both_views, wait_until};

/// Ticks of CPU time that init has used.
fn ticks(container: &Container) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

both_views! {
    fn a_paused_container_stands_still_until_it_is_resumed(t) {
        let container = t.start(&t.bundle(&["spin"], |_| {}));
        wait_until("some work", || ticks(&container) > 2);
        container.verb(&["pause"]).expect_ok();
        assert_eq!(container.status(), "paused");
        let before = ticks(&container);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks(&container), before, "it went on working");
        container.verb(&["resume"]).expect_ok();
        assert_eq!(container.status(), "running");
        wait_until("more work", || ticks(&container) > before);
        container.end();
    }

    fn a_paused_container_can_be_deleted_by_force(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        container.delete_force().expect_ok();
        container.verb(&["state"]).expect_error("container does not exist");
    }

    fn only_a_paused_container_can_be_resumed(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["resume"]).expect_error("container not paused");
        container.end();
    }

    fn a_paused_container_cannot_be_paused_again(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        container.verb(&["pause"]).expect_error("container not running");
        container.delete_force().expect_ok();
    }

    fn a_stopped_container_cannot_be_paused(t) {
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.verb(&["pause"]).expect_error("container not running");
        container.verb(&["resume"]).expect_error("container not paused");
        container.delete().expect_ok();
    }

    fn a_container_that_does_not_exist_cannot_be_paused_or_resumed(t) {
        for verb in ["pause", "resume"] {
            t.runtime.call(&[verb, &t.tag]).expect_error("container does not exist");
        }
    }
}

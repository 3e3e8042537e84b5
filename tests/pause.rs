//! pause and resume.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::cgroups::read;
use crate::support::view::hierarchy;
use crate::support::{Container, Runtime, Test, View, both_views, wait_until};

/// Ticks of CPU time that init has used.
fn ticks(container: &Container) -> u64 {
    ticks_of(container.pid())
}

fn ticks_of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// A cgroup for freezing below the container's, as it could make it itself, with a process.
struct Inner {
    dir: PathBuf,
    v1: bool,
    pid: u32,
}

impl Inner {
    fn with(t: &Test, container: &Container, name: &str, command: &str) -> Self {
        let v1 = t.view == View::V1;
        let root = hierarchy(if v1 { "freezer" } else { "" }).unwrap();
        let dir = root.join(&t.tag).join(&container.id).join(name);
        fs::create_dir(&dir).unwrap();
        let file = t.dir.join(format!("{}-{name}", container.id));
        let flags = ["--detach", "--pid-file", file.to_str().unwrap()];
        container.exec(&flags, &[command]).expect_ok();
        let pid = fs::read_to_string(file).unwrap();
        fs::write(dir.join("cgroup.procs"), &pid).unwrap();
        Self {
            dir,
            v1,
            pid: pid.trim().parse().unwrap(),
        }
    }

    fn freeze(&self) {
        let (file, frozen) = if self.v1 {
            ("freezer.state", "FROZEN")
        } else {
            ("cgroup.freeze", "1")
        };
        fs::write(self.dir.join(file), frozen).unwrap();
        let (file, words) = if self.v1 {
            ("freezer.state", "FROZEN")
        } else {
            ("cgroup.events", "frozen 1")
        };
        wait_until("a frozen cgroup", || {
            fs::read_to_string(self.dir.join(file))
                .unwrap()
                .contains(words)
        });
    }
}

/// A file of the container's cgroup for freezing, or of another controller.
fn file(t: &Test, container: &Container, controller: &str, name: &str) -> PathBuf {
    let controller = if t.view == View::V1 { controller } else { "" };
    let root = hierarchy(controller).unwrap();
    root.join(&t.tag).join(&container.id).join(name)
}

/// The runtime with faults: what strace(1) is to inject into calls on these files. A file is opened
/// by open(2) with musl, and by openat(2) with glibc.
fn faulty(t: &Test, faults: &[&str], files: &[PathBuf]) -> Runtime {
    let strace = Path::new("/usr/bin/strace");
    if !strace.exists() {
        t.skip("strace is not installed");
    }
    let mut words: Vec<OsString> = vec![strace.into(), "-f".into(), "-o".into()];
    words.push(t.dir.join("trace").into());
    for fault in faults {
        words.extend(["-e".into(), format!("inject={fault}").into()]);
    }
    for file in files {
        words.extend(["-P".into(), file.into()]);
    }
    let words: Vec<&OsStr> = words.iter().map(OsString::as_os_str).collect();
    t.runtime.behind(&words)
}

/// Name of the file that freezes, and what it says of a cgroup that is not frozen.
fn freezer(t: &Test) -> (&'static str, &'static str) {
    match t.view {
        View::V1 => ("freezer.state", "THAWED"),
        View::V2 => ("cgroup.freeze", "0"),
    }
}

/// What a kill of all asks: to have them killed, and who they are.
fn files_of_a_kill(t: &Test, container: &Container) -> [PathBuf; 2] {
    [
        file(t, container, "unified", "cgroup.kill"),
        file(t, container, "devices", "cgroup.procs"),
    ]
}

fn expect_thawed(t: &Test, container: &Container) {
    let (file, thawed) = freezer(t);
    let controller = if t.view == View::V1 { "freezer" } else { "" };
    assert_eq!(read(container, t, controller, file), thawed);
}

/// Without a pid namespace, all of a container's processes have to be found to be killed.
fn without_pids(t: &Test) -> Container<'_> {
    t.sleeper(|config| {
        config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|n| n["type"] != "pid");
    })
}

both_views! {
    fn a_pause_that_fails_leaves_nothing_frozen(t) {
        t.only_orlop("it knows which calls to break");
        let container = t.sleeper(|_| {});
        // The look whether it is frozen by now; on v1 the file has been read before.
        let (fault, name) = match t.view {
            View::V1 => ("read:error=EIO:when=2+", "freezer.state"),
            View::V2 => ("pread64:error=EIO", "cgroup.events"),
        };
        let runtime = faulty(t, &[fault], &[file(t, &container, "freezer", name)]);
        runtime.call(&["pause", &container.id]).expect_error("freeze the container");
        expect_thawed(t, &container);
        assert_eq!(container.status(), "running");
        container.verb(&["pause"]).expect_ok();
        container.delete_force().expect_ok();
    }

    fn what_a_killed_pause_has_frozen_is_thawed_by_resume(t) {
        t.only_orlop("it knows when to kill");
        for verb in [&["resume"][..], &["delete", "--force"]] {
            let container = t.sleeper(|_| {});
            // At the first close the file was read, at the second it is written.
            let freezer = file(t, &container, "freezer", freezer(t).0);
            let runtime = faulty(t, &["close:signal=SIGKILL:when=2"], &[freezer]);
            runtime.call(&["pause", &container.id]).expect_code(137);
            wait_until("a pause", || container.status() == "paused");
            container.verb(verb).expect_ok();
            if verb == ["resume"] {
                expect_thawed(t, &container);
                assert_eq!(container.status(), "running");
                container.end();
            } else {
                container.verb(&["state"]).expect_error("container does not exist");
            }
        }
    }

    fn a_kill_of_all_that_fails_leaves_nothing_frozen(t) {
        t.only_orlop("it knows which calls to break");
        let container = without_pids(t);
        let runtime = faulty(t, &["open,openat:error=EIO"], &files_of_a_kill(t, &container));
        runtime.call(&["kill", &container.id, "KILL"]).expect_error("list the container's processes");
        expect_thawed(t, &container);
        assert_eq!(container.status(), "running");
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn what_a_killed_kill_has_frozen_is_killed_by_the_next(t) {
        t.only_orlop("it knows when to kill");
        for verb in [&["kill"][..], &["delete", "--force"]] {
            let container = without_pids(t);
            let faults = ["open,openat:error=ENOENT:when=1", "read:signal=SIGKILL"];
            let runtime = faulty(t, &faults, &files_of_a_kill(t, &container));
            runtime.call(&["kill", &container.id, "KILL"]).expect_code(137);
            assert_eq!(container.status(), "paused");
            if verb == ["kill"] {
                container.kill("KILL").expect_ok();
                container.wait_for_status("stopped");
                container.delete().expect_ok();
            } else {
                container.verb(verb).expect_ok();
            }
        }
    }

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

    fn a_pause_holds_in_cgroups_that_the_container_made(t) {
        if t.view == View::V1 {
            t.only_orlop("runc 1.1 kills what is frozen in vain");
        }
        let container = t.sleeper(|_| {});
        let (moving, frozen) = (Inner::with(t, &container, "moving", "spin"), Inner::with(t, &container, "frozen", "spin"));
        frozen.freeze();
        wait_until("some work", || ticks_of(moving.pid) > 2);
        container.verb(&["pause"]).expect_ok();
        assert_eq!(container.status(), "paused");
        let before = ticks_of(moving.pid);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks_of(moving.pid), before, "it went on working");
        container.verb(&["resume"]).expect_ok();
        assert_eq!(container.status(), "running");
        wait_until("more work", || ticks_of(moving.pid) > before);
        // What the container has frozen itself is its own affair.
        let before = ticks_of(frozen.pid);
        thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks_of(frozen.pid), before, "resume thawed too much");
        container.delete_force().expect_ok();
    }

    fn a_cgroup_below_that_is_frozen_alone_is_no_pause(t) {
        if t.view == View::V1 {
            t.only_orlop("runc 1.1 kills what is frozen in vain");
        }
        let container = t.sleeper(|_| {});
        let frozen = Inner::with(t, &container, "frozen", "sleep");
        frozen.freeze();
        assert_eq!(container.status(), "running");
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn what_the_container_froze_is_deleted_by_force(t) {
        t.only_orlop("runc 1.1 kills what is frozen in vain, and leaves its cgroup on v2");
        for shared_pids in [false, true] {
            let container = t.sleeper(|config| if shared_pids {
                config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
            });
            Inner::with(t, &container, "frozen", "sleep").freeze();
            container.delete_force().expect_ok();
        }
    }

    fn a_pause_is_taken_back_by_a_kill_of_all(t) {
        t.only_orlop("runc 1.1 needs --all for it");
        let container = t.start(&t.bundle(&["spawn"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }));
        container.wait_for_output("ready");
        container.verb(&["pause"]).expect_ok();
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
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

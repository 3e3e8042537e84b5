//! kill: signals by name and number, to init or to all.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::{Container, Test, both_views, wait_until};

/// A container whose init exits with a status of its own at most signals.
fn listener(t: &Test) -> Container<'_> {
    let container = t.start(&t.bundle(&["exit-on-term", "33"], |_| {}));
    container.wait_for_output("ready");
    container
}

both_views! {
    fn signals_are_named_in_every_way(t) {
        let number = libc::SIGUSR1.to_string();
        for name in ["TERM", "SIGTERM", "term", "sigterm", "15", "INT", "HUP", "USR1", &number] {
            let container = listener(t);
            container.kill(name).expect_ok();
            container.wait_for_status("stopped");
            container.delete().expect_ok();
        }
    }

    fn term_is_sent_when_no_signal_is_named(t) {
        let container = listener(t);
        container.verb(&["kill"]).expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn real_time_signals_have_names_too(t) {
        t.only_orlop("runc knows them by number only");
        let container = listener(t);
        container.kill("RTMIN+3").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn a_signal_that_is_ignored_does_nothing(t) {
        let container = t.start(&t.bundle(&["ignore-term"], |_| {}));
        container.wait_for_output("ready");
        container.kill("TERM").expect_ok();
        assert_eq!(container.status(), "running");
        container.end();
    }

    fn an_unknown_signal_is_refused(t) {
        let container = t.sleeper(|_| {});
        for name in ["FOO", "SIGFOO", "0x9", "-9", "9999"] {
            let output = t.runtime.call(&["kill", &container.id, name]);
            assert_eq!(output.code(), 1, "{name:?} was taken\n{output}");
        }
        container.kill("FOO").expect_error("unknown signal \"FOO\"");
        assert_eq!(container.status(), "running");
        container.end();
    }

    fn a_created_container_can_be_killed(t) {
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn a_paused_container_is_killed_without_a_resume(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn a_stopped_container_is_refused(t) {
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.kill("KILL").expect_error("container not running");
        container.delete().expect_ok();
    }

    fn a_container_that_does_not_exist_is_refused(t) {
        t.runtime.call(&["kill", &t.tag, "KILL"]).expect_error("container does not exist");
    }

    fn all_reaches_every_process(t) {
        let container = t.start(&t.bundle(&["spawn"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }));
        container.wait_for_output("ready");
        let pids = members(&container);
        assert_eq!(pids.len(), 2, "{pids:?}");
        t.runtime.call(&["kill", "--all", &container.id, "KILL"]).expect_ok();
        wait_until("the end of all", || pids.iter().all(|pid| gone(*pid)));
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn kill_reaches_every_process_when_there_is_no_pid_namespace(t) {
        t.only_orlop("runc 1.1 needs --all for it");
        let container = t.start(&t.bundle(&["spawn"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        }));
        container.wait_for_output("ready");
        let pids = members(&container);
        container.kill("KILL").expect_ok();
        wait_until("the end of all", || pids.iter().all(|pid| gone(*pid)));
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn run_in_the_foreground_keeps_sigurg_to_itself(t) {
        t.only_orlop("runc 1.1 forwards it, newer ones do not");
        // Callers written in Go get it at random and hand it on.
        let bundle = t.bundle(&["exit-on-term", "44"], |_| {});
        let running = t.runtime.spawn(t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]));
        wait_until("init that listens", || running.stdout().contains("ready"));
        running.signal(Signal::SIGURG);
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(t.runtime.call(&["exec", &bundle.id, "/probe", "exit", "5"]).code(), 5, "it still runs");
        running.signal(Signal::SIGTERM);
        running.wait().expect_code(44);
    }

    fn run_in_the_foreground_forwards_signals(t) {
        let bundle = t.bundle(&["exit-on-term", "44"], |_| {});
        let running = t.runtime.spawn(t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]));
        wait_until("init that listens", || running.stdout().contains("ready"));
        running.signal(Signal::SIGHUP);
        running.wait().expect_code(44);
    }
}

/// The pids of `ps`.
fn members(container: &Container) -> Vec<u32> {
    let output = container.verb(&["ps", "--format", "json"]);
    serde_json::from_str(&output.expect_ok().stdout).unwrap()
}

/// Whether a process has ended, be it that nobody has reaped it yet.
fn gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

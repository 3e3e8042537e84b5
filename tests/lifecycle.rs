//! The life of a container, verb by verb: created, running, stopped, gone.

use std::fs;

use serde_json::json;

use crate::support::{Container, both_views, wait_until};

both_views! {
    fn a_container_goes_from_created_to_running_to_stopped_to_gone(t) {
        let bundle = t.bundle(&["exit-on-term", "0"], |_| {});
        let container = t.create(&bundle);
        let state = container.state();
        assert_eq!(state["status"], "created");
        assert_eq!(state["id"], json!(bundle.id));
        assert_eq!(state["bundle"], json!(bundle.dir));
        assert!(state["pid"].as_u64().unwrap() > 1, "created, so init is there: {state:#}");
        container.start().expect_ok();
        container.wait_for_output("ready");
        assert_eq!(container.status(), "running");
        container.exec(&[], &["exit", "0"]).expect_ok();
        container.kill("TERM").expect_ok();
        container.wait_for_status("stopped");
        assert_eq!(container.state()["pid"], 0);
        container.delete().expect_ok();
        container.verb(&["state"]).expect_error("container does not exist");
    }

    fn create_returns_before_the_program_runs_and_init_survives_it(t) {
        let container = t.create(&t.bundle(&["echo", "it runs"], |_| {}));
        let comm = fs::read_to_string(format!("/proc/{}/stat", container.pid())).unwrap();
        assert!(!comm.contains(" Z "), "init died with the runtime: {comm}");
        assert_eq!(container.output(), "", "the program ran before start");
        container.start().expect_ok();
        container.wait_for_status("stopped");
        assert_eq!(container.output(), "it runs\n");
        container.delete().expect_ok();
    }

    fn run_passes_the_exit_status_on(t) {
        for status in [0, 1, 42, 255] {
            let bundle = t.bundle(&["exit", &status.to_string()], |_| {});
            t.run(&bundle).expect_code(status);
        }
    }

    fn run_gives_the_status_of_a_realtime_signal_too(t) {
        // Init of a pid namespace would be spared a signal that it does not handle.
        let bundle = t.bundle(&["sleep"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        });
        let running = t.runtime.spawn(t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]));
        wait_until("ready from the container", || running.stdout() == "ready\n");
        t.runtime.call(&["kill", &bundle.id, "37"]).expect_ok();
        running.wait().expect_code(128 + 37);
    }

    fn run_gives_137_for_a_program_killed_by_sigkill(t) {
        // SIGKILL from inside does not reach pid 1 of a namespace, so init is not pid 1 here.
        let bundle = t.bundle(&["kill-self", "SIGKILL"], |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "pid");
        });
        t.run(&bundle).expect_code(137);
    }

    fn run_prints_what_the_program_prints_and_nothing_else(t) {
        let output = t.run(&t.bundle(&["echo", "hello", "world"], |_| {}));
        output.expect_ok();
        assert_eq!(output.stdout, "hello world\n");
        assert_eq!(output.stderr, "");
    }

    fn run_deletes_the_container_at_its_end(t) {
        let bundle = t.bundle(&["exit", "3"], |_| {});
        t.run(&bundle).expect_code(3);
        t.runtime.call(&["state", &bundle.id]).expect_error("container does not exist");
    }

    fn run_with_detach_leaves_the_container_running(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let output = t.runtime.call(&["run", "--detach", "--bundle", bundle.path(), &bundle.id]);
        output.expect_ok();
        let container = Container::adopt(t, &bundle.id, output);
        assert_eq!(container.status(), "running");
        container.wait_for_output("ready");
        container.end();
    }

    fn the_bundle_is_the_working_directory_without_a_flag(t) {
        let bundle = t.bundle(&["echo", "found"], |_| {});
        let mut command = t.runtime.command(&["run", &bundle.id]);
        command.current_dir(&bundle.dir);
        assert_eq!(t.runtime.finish(command).expect_ok().stdout, "found\n");
    }

    fn create_writes_the_pid_file_with_the_pid_of_state(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let file = t.dir.join("pid");
        let output = t.runtime.call(&[
            "create", "--pid-file", file.to_str().unwrap(), "--bundle", bundle.path(), &bundle.id]);
        output.expect_ok();
        let container = Container::adopt(t, &bundle.id, output);
        assert_eq!(fs::read_to_string(&file).unwrap(), container.pid().to_string());
        container.delete_force().expect_ok();
    }

    fn run_writes_the_pid_file_too(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let file = t.dir.join("pid");
        let file = file.to_str().unwrap();
        t.runtime.call(&["run", "--pid-file", file, "--bundle", bundle.path(), &bundle.id]).expect_ok();
        let pid: u32 = fs::read_to_string(file).unwrap().parse().unwrap();
        assert!(pid > 1);
    }

    fn a_created_container_can_be_deleted(t) {
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        container.delete().expect_ok();
        container.verb(&["state"]).expect_error("container does not exist");
    }

    fn a_running_container_is_deleted_only_by_force(t) {
        let container = t.sleeper(|_| {});
        let words = format!("cannot delete container {} that is not stopped: running", container.id);
        container.delete().expect_error(&words);
        assert_eq!(container.status(), "running");
        container.delete_force().expect_ok();
        container.verb(&["state"]).expect_error("container does not exist");
    }

    fn force_does_not_forget_a_container_whose_state_it_cannot_read(t) {
        let container = t.sleeper(|_| {});
        let path = t.runtime.root.join(&container.id).join("state.json");
        let state = fs::read(&path).unwrap();
        fs::write(&path, &state[..state.len() / 2]).unwrap();
        container.delete_force().expect_code(1);
        fs::write(&path, state).unwrap();
        assert_eq!(container.status(), "running");
        container.delete_force().expect_ok();
    }

    fn force_delete_of_nothing_is_silent(t) {
        let output = t.runtime.call(&["delete", "--force", &t.tag]);
        output.expect_ok();
        assert_eq!(output.stderr, "");
    }

    fn force_delete_takes_a_directory_without_a_state(t) {
        let dir = t.runtime.root.join(&t.tag);
        std::fs::create_dir(&dir).unwrap();
        t.runtime.call(&["delete", "--force", &t.tag]).expect_ok();
        assert!(!dir.exists());
    }

    fn delete_without_force_of_nothing_fails(t) {
        t.runtime.call(&["delete", &t.tag]).expect_error("container does not exist");
    }

    fn an_id_that_is_taken_is_refused(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let container = t.create(&bundle);
        t.try_create(&bundle).expect_error("container with given ID already exists");
        assert_eq!(container.status(), "created", "the second create hurt the first container");
        container.delete().expect_ok();
    }

    fn a_deleted_id_can_be_used_again(t) {
        let bundle = t.bundle(&["exit", "7"], |_| {});
        t.run(&bundle).expect_code(7);
        t.run(&bundle).expect_code(7);
    }

    fn a_container_is_started_only_once(t) {
        let container = t.sleeper(|_| {});
        container.start().expect_error("cannot start an already running container");
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        container.start().expect_error("cannot start a container that has stopped");
        container.delete().expect_ok();
    }

    fn two_containers_live_side_by_side(t) {
        let one = t.sleeper(|config| config["hostname"] = json!("one"));
        let two = t.sleeper(|config| config["hostname"] = json!("two"));
        assert_ne!(one.pid(), two.pid());
        two.end();
        assert_eq!(one.status(), "running");
        one.end();
    }

    fn state_says_what_the_specification_asks_for(t) {
        let bundle = t.bundle(&["sleep"], |config| {
            config["annotations"] = json!({"org.example.key": "a value"});
        });
        let container = t.create(&bundle);
        let state = container.state();
        assert_eq!(state["rootfs"], json!(bundle.dir.join("rootfs")), "{state:#}");
        assert_eq!(state["annotations"], json!({"org.example.key": "a value"}), "{state:#}");
        assert!(state["ociVersion"].as_str().is_some_and(|v| v.starts_with("1.")), "{state:#}");
        assert!(state["created"].as_str().is_some_and(|c| c.starts_with("20")), "{state:#}");
        container.delete().expect_ok();
    }
}

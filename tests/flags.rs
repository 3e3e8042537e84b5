//! Flags that no other topic covers: each is acted on.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::support::view;
use crate::support::{Bundle, Container, Output, Probe, Test, View, both_views, wait_until};

/// `run` with flags, by a shell that opens files before.
fn run_in_shell(t: &Test, bundle: &Bundle, shell: &str, flags: &[&str]) -> Output {
    let inner = t
        .runtime
        .command(&[&["run"], flags, &["--bundle", bundle.path(), &bundle.id]].concat());
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &format!("{shell}\nexec \"$@\""), "bash"]);
    command.arg(inner.get_program()).args(inner.get_args());
    t.runtime.finish(command)
}

/// The words that come with a pidfd, and the pid that it stands for.
fn receive_pidfd(listener: &UnixListener) -> (String, u32) {
    let (stream, _) = listener.accept().unwrap();
    let mut bytes = [0; 64];
    let mut iov = [IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let flags = MsgFlags::empty();
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), flags).unwrap();
    let pidfd = message.cmsgs().unwrap().find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let length = message.bytes;
    let info = format!("/proc/self/fdinfo/{}", pidfd.expect("an fd comes along"));
    let info = fs::read_to_string(info).unwrap();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))
        .expect("it is a pidfd");
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    (text, pid.trim().parse().unwrap())
}

both_views! {
    fn preserve_fds_hands_so_many_on(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let output = run_in_shell(t, &bundle, "exec 3</dev/zero 4</dev/full 5</dev/null", &["--preserve-fds", "2"]);
        let report = Probe::parse(&output);
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2", "3", "4"], "{:#}", report["fds"]);
    }

    fn sockets_of_a_service_manager_come_before_preserved_fds(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let shell = "exec 3</dev/zero 4</dev/full 5</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$";
        let report = Probe::parse(&run_in_shell(t, &bundle, shell, &["--preserve-fds", "1"]));
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2", "3", "4"], "{:#}", report["fds"]);
        let env = report["env"].to_string();
        assert!(env.contains("LISTEN_FDS=1") && env.contains("LISTEN_PID=1"), "{env}");
    }

    fn a_preserved_fd_that_is_not_open_is_an_error(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let flags = ["run", "--preserve-fds", "500", "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&flags).expect_error("unable to stat preserved-fd");
    }

    fn an_fd_of_the_runtime_is_not_a_preserved_one(t) {
        t.only_orlop("runc looks after it has opened fds of its own");
        let bundle = t.bundle(&["report"], |_| {});
        let args = ["run", "--preserve-fds", "1", "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&args).expect_error("unable to stat preserved-fd 0 (of 1)");
        let container = t.sleeper(|_| {});
        for count in ["1", "2147483647", "4294967295"] {
            container.exec(&["--preserve-fds", count], &["report"]).expect_code(255).expect_words("preserved-fd 0");
        }
        container.end();
    }

    fn exec_preserves_fds_too(t) {
        let container = t.sleeper(|_| {});
        let inner = t.runtime.command(&["exec", "--preserve-fds", "1", &container.id, "/probe", "report"]);
        let mut command = std::process::Command::new("bash");
        command.args(["-c", "exec 3</dev/zero 4</dev/full\nexec \"$@\"", "bash"]);
        command.arg(inner.get_program()).args(inner.get_args());
        let report = Probe::parse(&t.runtime.finish(command));
        let open: Vec<&String> = report["fds"].as_object().unwrap().keys().collect();
        assert_eq!(open, ["0", "1", "2", "3"], "{:#}", report["fds"]);
        container.end();
    }

    fn keep_leaves_the_container_stopped(t) {
        let bundle = t.bundle(&["exit", "4"], |_| {});
        let output = t.runtime.call(&["run", "--keep", "--bundle", bundle.path(), &bundle.id]);
        output.expect_code(4);
        let container = Container::adopt(t, &bundle.id, output);
        assert_eq!(container.status(), "stopped");
        container.delete().expect_ok();
    }

    fn no_pivot_hides_the_host_all_the_same(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let output = t.runtime.call(&["run", "--no-pivot", "--bundle", bundle.path(), &bundle.id]);
        let report = Probe::parse(&output);
        assert_eq!(report["root"], json!(["dev", "probe", "proc", "sys", "tmp"]));
    }

    fn no_subreaper_is_taken_with_one_dash_too(t) {
        let bundle = t.bundle(&["exit", "4"], |_| {});
        t.runtime.call(&["run", "-no-subreaper", "-bundle", bundle.path(), &bundle.id]).expect_code(4);
        t.runtime.call(&["run", "--no-subreaper", &format!("--bundle={}", bundle.path()), &bundle.id]).expect_code(4);
    }

    fn run_is_the_subreaper_unless_that_is_not_wanted(t) {
        for (flags, expected) in [(&[][..], true), (&["--no-subreaper"], false)] {
            let note = t.dir.join("parent");
            let _ = fs::remove_file(&note);
            // An orphan, that notes who has become its parent.
            let orphan = format!("sleep 0.1; read pid comm state parent rest < /proc/self/stat; \
                cat /proc/$parent/cmdline > {0}.new; mv {0}.new {0}", note.display());
            let bundle = t.bundle(&["sleep"], |config| {
                let script = format!("({orphan}) > /dev/null 2>&1 &");
                config["hooks"]["createRuntime"] = json!([
                    {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}]);
            });
            let args = [&["run"], flags, &["--bundle", bundle.path(), &bundle.id]].concat();
            let running = t.runtime.spawn(t.runtime.command(&args));
            wait_until("the note", || note.exists());
            let parent = fs::read_to_string(&note).unwrap();
            assert_eq!(parent.contains(bundle.path()), expected, "with {flags:?}: {parent:?}");
            wait_until("the container", || running.stdout().contains("ready"));
            t.runtime.call(&["kill", &bundle.id, "KILL"]).expect_ok();
            running.wait().expect_code(137);
        }
    }

    fn the_pidfd_socket_gets_a_pidfd_of_init(t) {
        t.only_orlop("runc 1.1 does not have it");
        let path = t.dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let bundle = t.bundle(&["sleep"], |_| {});
        let socket = path.to_str().unwrap();
        let output = t.runtime.call(&["create", "--pidfd-socket", socket, "--bundle", bundle.path(), &bundle.id]);
        output.expect_ok();
        let container = Container::adopt(t, &bundle.id, output);
        assert_eq!(receive_pidfd(&listener), ("standard".to_owned(), container.pid()));
        container.delete().expect_ok();
    }

    fn exec_sends_a_pidfd_of_its_process(t) {
        t.only_orlop("runc 1.1 does not have it");
        let container = t.sleeper(|_| {});
        let path = t.dir.join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let flags = ["--detach", "--pidfd-socket", path.to_str().unwrap()];
        container.exec(&flags, &["sleep"]).expect_ok();
        let (text, pid) = receive_pidfd(&listener);
        assert_eq!(text, "setns");
        let pids = container.verb(&["ps", "--format", "json"]).stdout;
        assert!(pid != container.pid() && pids.contains(&pid.to_string()), "{pid} is not in {pids}");
        container.end();
    }

    fn exec_with_ignore_paused_waits_for_the_resume(t) {
        let container = t.sleeper(|_| {});
        container.verb(&["pause"]).expect_ok();
        let flags = ["exec", "--ignore-paused", "--detach", &container.id, "/probe", "exit", "0"];
        let running = t.runtime.spawn(t.runtime.command(&flags));
        std::thread::sleep(std::time::Duration::from_millis(50));
        container.verb(&["resume"]).expect_ok();
        running.wait().expect_ok();
        container.end();
    }

    fn exec_enters_a_cgroup_below_the_containers(t) {
        let container = t.sleeper(|_| {});
        for dir in view::cgroups(&container.id) {
            fs::create_dir(dir.join("sub")).unwrap();
            // A cpuset takes nobody in before it has both.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let (Ok(text), true) = (fs::read(dir.join(file)), t.view == View::V1) {
                    fs::write(dir.join("sub").join(file), text).unwrap();
                }
            }
        }
        let flag = if t.view == View::V1 { "pids:sub" } else { "sub" };
        let output = container.exec(&["--cgroup", flag], &["read", "/proc/self/cgroup"]);
        let expected = format!("{}/sub", container.id);
        assert!(output.expect_ok().stdout.contains(&expected), "{output}");
        container.exec(&["--cgroup", "../.."], &["exit", "0"]).expect_code(255);
        container.end();
    }

    fn debug_says_more_and_log_takes_it(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let log = t.dir.join("log");
        let args = ["--debug", "--log", log.to_str().unwrap(), "run", "--bundle", bundle.path(), &bundle.id];
        let output = t.runtime.call(&args);
        assert_eq!(output.expect_ok().stderr, "");
        assert!(fs::metadata(&log).unwrap().is_file());
    }

    fn an_unknown_log_format_is_refused(t) {
        t.runtime.call(&["--log-format", "xml", "list"]).expect_code(1).expect_words("log-format");
    }

    fn the_bundle_of_spec_rootless_runs_as_root_too(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::remove_file(bundle.dir.join("config.json")).unwrap();
        t.runtime.call(&["spec", "--rootless", "--bundle", bundle.path()]).expect_ok();
        let text = fs::read_to_string(bundle.dir.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        assert!(config["linux"]["uidMappings"].is_array(), "{config:#}");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe", "exit", "5"]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{}", t.tag, bundle.id));
        fs::write(bundle.dir.join("config.json"), config.to_string()).unwrap();
        t.run(&bundle).expect_code(5);
    }

    fn a_pid_file_is_written_to_the_callers_directory(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let mut command = t.runtime.command(&["run", "--pid-file", "pid", "--bundle", bundle.path(), &bundle.id]);
        command.current_dir(&t.dir);
        t.runtime.finish(command).expect_ok();
        assert!(t.dir.join("pid").exists());
    }
}

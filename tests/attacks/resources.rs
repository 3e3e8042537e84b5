//! Inputs without end, which must cost bounded time and memory.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use serde_json::json;

use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Output, Test, both_views, once};

/// KiB of address space that are enough for any input.
const ENOUGH: u32 = 1 << 20;

/// Call the runtime with no more memory than that; it must end within 10 seconds.
fn call_cheaply(t: &Test, args: &[&str]) -> Output {
    let begin = Instant::now();
    let inner = t.runtime.command(args);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -v {ENOUGH}; exec \"$@\""))
        .arg("sh");
    command.arg(inner.get_program()).args(inner.get_args());
    let output = t.runtime.finish(command);
    assert!(
        begin.elapsed() < Duration::from_secs(10),
        "{:?}",
        begin.elapsed()
    );
    output
}

/// `create` so; it must fail in words and leave nothing.
fn refused_cheaply(t: &Test, bundle: &Bundle) -> Output {
    let before = Snapshot::take(t);
    let output = call_cheaply(t, &["create", "--bundle", bundle.path(), &bundle.id]);
    output.expect_code(1);
    assert!(output.stderr.contains("level=error"), "{output}");
    before.assert_unchanged(t, "after bad input");
    output
}

/// The bundle has this text, so often, for its config.
fn with_text(t: &Test, parts: &[(&str, usize)]) -> Bundle {
    let bundle = t.bundle(&["exit", "0"], |_| {});
    let mut file = fs::File::create(bundle.dir.join("config.json")).unwrap();
    for (text, times) in parts {
        file.write_all(text.repeat(*times).as_bytes()).unwrap();
    }
    bundle
}

/// SIGKILL for the processes of the test whose command line begins so.
fn kill_all_named(command: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(pid) = pid.filter(|_| line.starts_with(command.as_bytes())) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        }
    }
}

once! {
    fn a_config_of_100_megabytes_is_refused(t) {
        t.only_orlop("runc reads it all");
        let bundle = with_text(t, &[("{\"annotations\": {\"x\": \"", 1), ("xxxxxxxxxx", 10 << 20), ("\"}}", 1)]);
        refused_cheaply(t, &bundle).expect_words("16 MiB");
        fs::remove_file(bundle.dir.join("config.json")).unwrap();
        symlink("/dev/zero", bundle.dir.join("config.json")).unwrap();
        refused_cheaply(t, &bundle).expect_words("16 MiB");
    }

    fn deep_nesting_is_refused(t) {
        t.only_orlop("runc takes some of it");
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let depth = 1 << 20;
            for start in ["", "{\"linux\":", "{\"mounts\":", "{\"unknown\":"] {
                let end = if start.is_empty() { "" } else { "}" };
                let bundle = with_text(t, &[(start, 1), (open, depth), ("1", 1), (close, depth), (end, 1)]);
                refused_cheaply(t, &bundle);
            }
        }
    }

    fn a_million_mounts_are_refused(t) {
        t.only_orlop("runc needs more memory than that");
        for (mount, times, words) in [
            ("{\"destination\":\"/a\",\"type\":\"tmpfs\"},", 1_000_000, "16 MiB"),
            ("{\"destination\":\"/a\"},", 600_000, "/mounts/0"),
        ] {
            let head = "{\"ociVersion\":\"1.0.2\",\"root\":{\"path\":\"rootfs\"},\"process\":{\"user\":{\"uid\":0,\"gid\":0},\"cwd\":\"/\",\"args\":[\"/probe\"]},\
                \"linux\":{\"namespaces\":[{\"type\":\"mount\"}]},\"mounts\":[";
            let bundle = with_text(t, &[(head, 1), (mount, times), ("{\"destination\":\"/\"}]}", 1)]);
            refused_cheaply(t, &bundle).expect_words(words);
        }
    }

    fn a_process_file_without_end_is_refused(t) {
        t.only_orlop("runc reads it all");
        let container = t.sleeper(|_| {});
        let output = call_cheaply(t, &["exec", "--process", "/dev/zero", &container.id]);
        output.expect_code(255).expect_words("16 MiB");
        container.end();
    }

    fn a_console_socket_that_nobody_reads_is_an_error(t) {
        let path = t.dir.join("socket");
        let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(&path).unwrap()).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        // One fits into the queue; who comes next would wait for ever.
        let _first = UnixStream::connect(&path).unwrap();
        let socket = path.to_str().unwrap();
        let bundle = t.bundle(&["sleep"], |config| config["process"]["terminal"] = json!(true));
        let begin = Instant::now();
        let args = ["create", "--console-socket", socket, "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&args).expect_code(1);
        let container = t.sleeper(|_| {});
        container.exec(&["--tty", "--detach", "--console-socket", socket], &["exit", "0"]).expect_code(255);
        if !t.runtime.is_reference {
            container.exec(&["--detach", "--pidfd-socket", socket], &["exit", "0"]).expect_code(255);
        }
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        container.end();
    }

    fn a_hook_that_never_ends_is_ended_with_what_it_started(t) {
        // It ignores signals, and its child holds its output open.
        t.only_orlop("runc 1.1 waits for the end of the output");
        let bundle = t.bundle(&["exit", "0"], |config| {
            let script = "trap '' TERM INT HUP; sleep 1000 & while :; do echo x; done";
            config["hooks"] = json!({"createRuntime": [
                {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"], "timeout": 1},
            ]});
        });
        let begin = Instant::now();
        t.try_create(&bundle).expect_error("hook ran past specified timeout");
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        // What it left on the host is the host's: the caller wrote the hook.
        kill_all_named("sleep\0");
    }

    fn a_tree_without_bottom_is_not_copied_up(t) {
        t.only_orlop("runc 1.1 copies it as deep as a path can be");
        let bundle = t.bundle(&["exit", "0"], |config| {
            crate::support::bundle::add_mount(config, "/up", "tmpfs", "tmpfs", &["tmpcopyup"]);
        });
        fs::create_dir_all(bundle.rootfs(&format!("up/{}", "d/".repeat(400)))).unwrap();
        t.try_create(&bundle).expect_error("nested too deeply");
    }
}

both_views! {
    fn a_container_that_was_made_can_be_deleted_however_long_its_config_is(t) {
        // What cannot be read back must not be written, and not be taken for nothing.
        t.only_orlop("it is the state of orlop");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["annotations"] = json!({"long": "x".repeat(15 << 20)});
        });
        let container = t.create(&bundle);
        let state = t.runtime.root.join(&bundle.id).join("state.json");
        let text = fs::read(&state).unwrap();
        fs::write(&state, &text[..text.len() / 2]).unwrap();
        container.delete_force().expect_code(1);
        fs::write(&state, text).unwrap();
        container.delete().expect_ok();
    }

    fn the_users_of_the_image_may_be_a_pipe(t) {
        t.only_orlop("runc 1.1 waits for somebody to write into it");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::create_dir(bundle.rootfs("etc")).unwrap();
        nix::unistd::mkfifo(&bundle.rootfs("etc/passwd"), Mode::S_IRWXU).unwrap();
        t.run(&bundle).expect_ok();
    }

    fn the_users_of_the_image_may_be_without_end(t) {
        t.only_orlop("runc 1.1 reads it all and fails");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        bundle.add_file("etc/passwd", "x");
        let file = fs::File::options().write(true).open(bundle.rootfs("etc/passwd")).unwrap();
        file.set_len(1 << 40).unwrap();
        t.run(&bundle).expect_ok();
        fs::remove_file(bundle.rootfs("etc/passwd")).unwrap();
        symlink("/dev/zero", bundle.rootfs("etc/passwd")).unwrap();
        t.run(&bundle).expect_ok();
    }
}

//! NOTIFY_SOCKET: a service manager hears of a container when it is ready, and nothing else.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};

use crate::support::bundle::add_user_namespace;
use crate::support::{Bundle, Container, Output, Test, once, wait_until};

/// An fd that came with a message.
#[derive(Debug)]
struct Received(RawFd);

impl Drop for Received {
    fn drop(&mut self) {
        let _ = nix::unistd::close(self.0);
    }
}

/// The manager's side.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
    /// runc 1.1 knows none.
    has_barriers: bool,
}

fn has_barriers(t: &Test) -> bool {
    !t.runtime
        .call(&["--version"])
        .stdout
        .contains("runc version 1.1.")
}

impl Manager {
    fn listen(t: &Test) -> Self {
        let path = t.dir.join("manager.sock");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self {
            socket,
            path,
            has_barriers: has_barriers(t),
        }
    }

    /// The next message and what fds came along.
    fn receive(&self) -> Option<(String, Vec<Received>)> {
        let mut bytes = [0; 4096];
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let mut space = nix::cmsg_space!([RawFd; 8]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message =
            recvmsg::<()>(self.socket.as_raw_fd(), &mut iov, Some(&mut space), flags).ok()?;
        let mut fds = Vec::new();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received.into_iter().map(Received));
            }
        }
        let length = message.bytes;
        Some((String::from_utf8_lossy(&bytes[..length]).into_owned(), fds))
    }

    /// READY and MAINPID, the barrier's fd and nothing before it; the pid.
    fn expect_ready(&self) -> (u32, Option<Received>) {
        let mut texts: Vec<String> = Vec::new();
        if !self.has_barriers {
            texts.extend((0..2).filter_map(|_| Some(self.receive()?.0)));
            assert_eq!(texts[0], "READY=1\n");
            return (
                texts[1]
                    .trim_start_matches("MAINPID=")
                    .trim_end()
                    .parse()
                    .unwrap(),
                None,
            );
        }
        loop {
            let (text, mut fds) = self
                .receive()
                .unwrap_or_else(|| panic!("no barrier after {texts:?}"));
            if text.trim_end() == "BARRIER=1" {
                assert_eq!(fds.len(), 1, "the barrier has one fd");
                assert_eq!(texts.len(), 2, "{texts:?}");
                assert_eq!(texts[0], "READY=1\n");
                let pid = texts[1]
                    .strip_prefix("MAINPID=")
                    .unwrap_or_else(|| panic!("{texts:?}"));
                return (pid.trim_end().parse().unwrap(), fds.pop());
            }
            assert!(fds.is_empty(), "fds came with {text:?}");
            texts.push(text);
        }
    }

    fn expect_nothing_more(&self) {
        self.socket.set_nonblocking(true).unwrap();
        let more = self.receive();
        assert!(more.is_none(), "{more:?}");
        self.socket.set_nonblocking(false).unwrap();
    }

    /// A verb for which it waits.
    fn command(&self, t: &Test, args: &[&str]) -> Command {
        let mut command = t.runtime.command(args);
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }
}

fn create<'t>(t: &'t Test, manager: &Manager, bundle: &Bundle) -> Container<'t> {
    let args = ["create", "--bundle", bundle.path(), &bundle.id];
    let created = t.runtime.finish(manager.command(t, &args));
    created.expect_ok();
    Container::adopt(t, &bundle.id, created)
}

/// `run --detach` of the probe's words.
fn run_detached<'t>(
    t: &'t Test,
    manager: &Manager,
    words: &[&str],
    edit: fn(&mut Value),
) -> (Container<'t>, u32) {
    let bundle = t.bundle(&[&["notify"], words].concat(), edit);
    // Where the root of a user namespace may make nothing.
    fs::create_dir_all(bundle.rootfs("run/notify")).unwrap();
    let args = ["run", "--detach", "--bundle", bundle.path(), &bundle.id];
    let running = t.runtime.spawn(manager.command(t, &args));
    let (pid, barrier) = manager.expect_ready();
    drop(barrier);
    let output = running.wait();
    output.expect_ok();
    (Container::adopt(t, &bundle.id, output), pid)
}

once! {
    fn run_in_the_background_waits_until_the_container_is_ready(t) {
        let manager = Manager::listen(t);
        let (container, pid) = run_detached(t, &manager, &["LIST", "STATUS=starting", "READY=1", "SLEEP"], |_| {});
        assert_eq!(pid, container.pid());
        manager.expect_nothing_more();
        container.wait_for_output("/run/notify/notify.sock notify.sock read-only");
        container.end();
    }

    fn it_does_not_end_before_the_manager_has_answered(t) {
        t.only_orlop("runc 1.1 has no barrier");
        let manager = Manager::listen(t);
        let bundle = t.bundle(&["notify", "READY=1", "BARRIER", "SLEEP"], |_| {});
        let args = ["run", "--detach", "--bundle", bundle.path(), &bundle.id];
        let running = t.runtime.spawn(manager.command(t, &args));
        let (_, barrier) = manager.expect_ready();
        let runtime = format!("/proc/{}", running.pid());
        let stdout = || running.stdout();
        std::thread::sleep(Duration::from_millis(200));
        assert!(fs::exists(&runtime).unwrap());
        // The barrier of the container is behind that of the runtime.
        assert_eq!(stdout(), "");
        drop(barrier);
        let output = running.wait();
        output.expect_ok();
        let container = Container::adopt(t, &bundle.id, output);
        container.wait_for_output("barrier Ok(0)");
        container.end();
    }

    fn start_waits_for_a_created_container(t) {
        let manager = Manager::listen(t);
        let bundle = t.bundle(&["notify", "LIST", "READY=1", "SLEEP"], |_| {});
        let container = create(t, &manager, &bundle);
        manager.expect_nothing_more();
        let dir = t.runtime.root.join(&container.id).join("notify");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0, "the socket is start's");
        let running = t.runtime.spawn(manager.command(t, &["start", &container.id]));
        let (pid, barrier) = manager.expect_ready();
        assert_eq!(pid, container.pid());
        drop(barrier);
        running.wait().expect_ok();
        container.wait_for_output("/run/notify/notify.sock notify.sock read-only");
        let mode = fs::metadata(dir.join("notify.sock")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777);
        manager.expect_nothing_more();
        container.end();
    }

    fn a_container_that_ends_before_it_is_ready_ends_the_wait(t) {
        t.only_orlop("runc 1.1 takes one that nobody has reaped for alive");
        let manager = Manager::listen(t);
        let bundle = t.bundle(&["notify", "STATUS=failing"], |_| {});
        let container = create(t, &manager, &bundle);
        t.runtime.finish(manager.command(t, &["start", &container.id])).expect_ok();
        container.wait_for_status("stopped");
        container.delete().expect_ok();
        let args = ["run", "--detach", "--bundle", bundle.path(), &bundle.id];
        let output = t.runtime.finish(manager.command(t, &args));
        output.expect_ok();
        manager.expect_nothing_more();
        let container = Container::adopt(t, &bundle.id, output);
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn in_the_foreground_the_manager_goes_on_watching_the_runtime(t) {
        t.only_orlop("runc 1.1 waits in the foreground before it forwards signals");
        let manager = Manager::listen(t);
        let bundle = t.bundle(&["notify", "READY=1", "BARRIER", "READY=1", "MANY", "done", "BARRIER", "SLEEP"], |_| {});
        let args = ["run", "--bundle", bundle.path(), &bundle.id];
        let running = t.runtime.spawn(manager.command(t, &args));
        let (pid, barrier) = manager.expect_ready();
        assert_eq!(pid, running.pid());
        drop(barrier);
        wait_until("both barriers", || running.stdout().matches("barrier Ok(0)").count() == 2);
        manager.expect_nothing_more();
        running.signal(Signal::SIGKILL);
        drop(running);
        let output = t.runtime.call(&["delete", "--force", &bundle.id]);
        output.expect_ok();
    }

    fn in_the_foreground_signals_are_forwarded_all_the_while(t) {
        t.only_orlop("runc 1.1 waits in the foreground before it forwards signals");
        let manager = Manager::listen(t);
        for words in [&["TRY", "SLEEP"][..], &["TRY", "READY=1", "SLEEP"]] {
            // As the first process of its namespace it has no signal but those of its parent's.
            let bundle = t.bundle(&[&["init", "/probe", "notify"], words].concat(), |_| {});
            let args = ["run", "--bundle", bundle.path(), &bundle.id];
            let running = t.runtime.spawn(manager.command(t, &args));
            wait_until("the program", || running.stdout().contains("connected"));
            // The barrier stays without an answer.
            let _told = (words.len() == 3).then(|| manager.expect_ready());
            t.runtime.call(&["kill", &bundle.id, "KILL"]).expect_ok();
            running.wait().expect_code(137);
        }
    }

    fn nothing_but_ready_gets_through(t) {
        t.only_orlop("runc 1.1 takes whatever begins with READY=, and cuts what is too long");
        let manager = Manager::listen(t);
        let words = ["LONG", "READY=0", "STATUS=READY=1", "FDS", "MAINPID=1\nERRNO=5", "MANY",
            "STOPPING=1", "", "EXTEND_TIMEOUT_USEC=1", "READY=1\nMAINPID=1\nFDSTORE=1", "SLEEP"];
        let (container, pid) = run_detached(t, &manager, &words, |_| {});
        assert_eq!(pid, container.pid());
        manager.expect_nothing_more();
        container.end();
    }

    fn a_user_in_a_user_namespace_may_tell_it_too(t) {
        let manager = Manager::listen(t);
        let (container, pid) = run_detached(t, &manager, &["LIST", "READY=1", "SLEEP"], |config| {
            add_user_namespace(config, 200_000);
            config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
        });
        assert_eq!(pid, container.pid());
        container.wait_for_output("read-only");
        container.end();
    }

    fn the_old_name_of_a_socket_does_not_count(t) {
        let manager = Manager::listen(t);
        let (container, _) = run_detached(t, &manager, &["LIST", "READY=1", "SLEEP"], |config| {
            config["process"]["env"] = json!(["PATH=/", "NOTIFY_SOCKET=/elsewhere"]);
        });
        container.wait_for_output("/run/notify/notify.sock notify.sock read-only");
        container.end();
    }

    fn other_verbs_leave_the_managers_socket_alone(t) {
        let manager = Manager::listen(t);
        let plain = t.sleeper(|_| {});
        let exec = manager.command(t, &["exec", &plain.id, "/probe", "report"]);
        let output: Output = t.runtime.finish(exec);
        assert!(!output.expect_ok().stdout.contains("NOTIFY_SOCKET"), "{output}");
        for args in [&["state", plain.id.as_str()][..], &["pause", &plain.id], &["resume", &plain.id],
            &["kill", &plain.id, "KILL"]] {
            t.runtime.finish(manager.command(t, args)).expect_ok();
        }
        plain.wait_for_status("stopped");
        plain.delete().expect_ok();
        let (container, _) = run_detached(t, &manager, &["READY=1", "SLEEP"], |_| {});
        let output = container.exec(&[], &["report"]);
        assert!(!output.expect_ok().stdout.contains("NOTIFY_SOCKET"), "{output}");
        container.end();
        manager.expect_nothing_more();
    }

    fn a_container_that_was_created_without_it_is_started_with_it_all_the_same(t) {
        t.only_orlop("runc 1.1 fails to bind the socket");
        let manager = Manager::listen(t);
        let container = t.create(&t.bundle(&["sleep"], |_| {}));
        t.runtime.finish(manager.command(t, &["start", &container.id])).expect_ok();
        container.wait_for_output("ready");
        manager.expect_nothing_more();
        container.end();
    }

    fn a_manager_that_is_not_there_keeps_no_container_from_running(t) {
        t.only_orlop("runc 1.1 starts it and says that it has not");
        let bundle = t.bundle(&["notify", "TRY"], |_| {});
        let mut command = t.runtime.command(&["run", "--bundle", bundle.path(), &bundle.id]);
        command.env("NOTIFY_SOCKET", t.dir.join("nowhere"));
        let output = t.runtime.finish(command);
        output.expect_ok().expect_words("connect to NOTIFY_SOCKET");
        assert_eq!(output.stdout, "refused\n");
    }

    fn a_name_in_the_abstract_namespace_is_reached(t) {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::SocketAddr;
        let name = format!("{}-manager", t.tag);
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let manager = Manager { socket, path: format!("@{name}").into(), has_barriers: has_barriers(t) };
        let (container, pid) = run_detached(t, &manager, &["READY=1", "SLEEP"], |_| {});
        assert_eq!(pid, container.pid());
        container.end();
    }
}

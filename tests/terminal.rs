//! Terminals: the master goes to the console socket, the peer is the container's.

use std::os::fd::OwnedFd;

use serde_json::{Value, json};

use crate::support::both_views;
use crate::support::console::{Console, read_all};

/// Rows and columns.
#[allow(unsafe_code)]
fn size_of(terminal: &OwnedFd) -> (u16, u16) {
    use std::os::fd::AsRawFd;
    nix::ioctl_read_bad!(get_size, libc::TIOCGWINSZ, libc::winsize);
    // SAFETY: all bytes zero are a valid `winsize`.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the fd is open, and the kernel writes one `winsize`.
    unsafe { get_size(terminal.as_raw_fd(), &mut size) }.unwrap();
    (size.ws_row, size.ws_col)
}

fn report_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn is_on_the_terminal(report: &Value) {
    for fd in ["0", "1", "2"] {
        let target = report["fds"][fd].to_string();
        assert!(target.contains("/dev/pts/"), "fd {fd}: {:#}", report["fds"]);
    }
    assert_eq!(
        report["fds"].as_object().unwrap().len(),
        3,
        "{:#}",
        report["fds"]
    );
}

both_views! {
    fn a_created_container_is_on_the_terminal_that_it_sent(t) {
        let console = Console::new(t, "console");
        let bundle = t.bundle(&["report"], |config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["user"] = json!({"uid": 7, "gid": 8});
        });
        let created = t.runtime.call(
            &["create", "--console-socket", console.path(), "--bundle", bundle.path(), &bundle.id]);
        created.expect_ok();
        let container = crate::support::Container::adopt(t, &bundle.id, created);
        let (master, payload) = console.receive();
        assert!(payload.contains("/dev/"), "{payload:?}");
        container.start().expect_ok();
        let text = read_all(master);
        assert!(text.contains("\r\n"), "line ends are for the receiver to decide");
        let report = report_of(&text);
        is_on_the_terminal(&report);
        assert_eq!(report["sid"], report["pid"], "a session of its own");
        let mounts = report["mounts"].as_array().unwrap();
        let console = mounts.iter().find(|mount| mount["target"] == "/dev/console").unwrap();
        assert_eq!(console["fstype"], "devpts");
        container.wait_for_status("stopped");
        container.delete().expect_ok();
    }

    fn exec_gets_a_terminal_of_its_own(t) {
        let container = t.sleeper(|_| {});
        let console = Console::new(t, "console");
        container
            .exec(&["--tty", "--detach", "--console-socket", console.path()], &["report"])
            .expect_ok();
        let (master, _) = console.receive();
        is_on_the_terminal(&report_of(&read_all(master)));
        container.end();
    }

    fn the_terminal_has_the_size_of_the_config(t) {
        let console = Console::new(t, "console");
        let bundle = t.bundle(&["sleep"], |config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["consoleSize"] = json!({"height": 33, "width": 111});
        });
        let created = t.runtime.call(
            &["create", "--console-socket", console.path(), "--bundle", bundle.path(), &bundle.id]);
        created.expect_ok();
        let container = crate::support::Container::adopt(t, &bundle.id, created);
        let (master, _) = console.receive();
        assert_eq!(size_of(&master), (33, 111));
        container.delete_force().expect_ok();
    }

    fn a_terminal_needs_a_devpts(t) {
        let console = Console::new(t, "console");
        let bundle = t.bundle(&["report"], |config| {
            config["process"]["terminal"] = json!(true);
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/dev/pts");
        });
        let args = ["create", "--console-socket", console.path(), "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&args).expect_code(1);
    }
}

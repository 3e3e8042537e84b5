//! The terminal of a container, where its image or a process in it lies in wait.

use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::Canary;
use crate::support::bundle::set_capabilities;
use crate::support::console::Console;
use crate::support::{Bundle, Container, Output, Test, once};

/// A terminal, and a /dev that is the image's.
fn with_terminal(config: &mut Value) {
    config["process"]["terminal"] = json!(true);
    let mounts = config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/dev");
}

fn create(t: &Test, console: &Console, bundle: &Bundle) -> Output {
    let args = [
        "create",
        "--console-socket",
        console.path(),
        "--bundle",
        bundle.path(),
        &bundle.id,
    ];
    t.runtime.call(&args)
}

once! {
    fn a_console_that_is_a_link_does_not_lead_out(t) {
        // CVE-2025-52565.
        let canary = Canary::new(t);
        let console = Console::new(t, "console-socket");
        for below in ["file", "new"] {
            let bundle = t.bundle(&["exit", "0"], with_terminal);
            canary.twin(&bundle);
            symlink(canary.path(below), bundle.rootfs("dev/console")).unwrap();
            let created = create(t, &console, &bundle);
            canary.assert_untouched(below);
            if created.code() == 0 {
                let container = Container::adopt(t, &bundle.id, created);
                let table = fs::read_to_string(format!("/proc/{}/mountinfo", container.pid())).unwrap();
                assert!(table.contains(&format!(" {} ", canary.path(below))), "{table}");
                container.delete_force().expect_ok();
            }
        }
    }

    fn what_is_no_multiplexer_is_not_even_opened(t) {
        // To open a device may do something; with a pipe it can be seen.
        t.only_orlop("runc 1.1 opens what is there");
        let console = Console::new(t, "console-socket");
        let bundle = t.bundle(&["exit", "0"], |config| {
            with_terminal(config);
            config["mounts"].as_array_mut().unwrap().retain(|mount| mount["destination"] != "/dev/pts");
        });
        let pipe = bundle.rootfs("dev/pts/ptmx");
        fs::create_dir(pipe.parent().unwrap()).unwrap();
        mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        let waiting = thread::spawn({
            let pipe = pipe.clone();
            move || fs::File::open(pipe)
        });
        create(t, &console, &bundle).expect_error("no pty multiplexer of a devpts is there");
        assert!(!waiting.is_finished(), "the pipe was opened");
        drop(fs::File::options().write(true).open(pipe).unwrap());
        waiting.join().unwrap().unwrap();
    }

    fn a_multiplexer_that_a_link_leads_to_is_not_taken(t) {
        t.only_orlop("runc 1.1 follows it");
        let console = Console::new(t, "console-socket");
        let bundle = t.bundle(&["exit", "0"], |config| {
            with_terminal(config);
            for mount in config["mounts"].as_array_mut().unwrap() {
                if mount["destination"] == "/dev/pts" {
                    mount["destination"] = json!("/others");
                }
            }
        });
        fs::create_dir(bundle.rootfs("dev/pts")).unwrap();
        symlink("/others/ptmx", bundle.rootfs("dev/pts/ptmx")).unwrap();
        create(t, &console, &bundle).expect_error("too many levels of symbolic links");
    }

    fn exec_opens_no_terminal_of_a_false_devpts(t) {
        let console = Console::new(t, "console-socket");
        let bundle = t.bundle(&["over", "/false", "/dev/pts"], |config| set_capabilities(config, &["CAP_SYS_ADMIN"]));
        bundle.add_file("false/ptmx", "no multiplexer");
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        let flags = ["--tty", "--detach", "--console-socket", console.path()];
        container.exec(&flags, &["exit", "0"]).expect_code(255);
        container.end();
    }
}

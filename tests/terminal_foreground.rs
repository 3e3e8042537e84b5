//! The runtime in the foreground of a terminal: what is typed arrives, what is written comes
//! back, and the terminal is afterwards as it was.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::terminal::OnTerminal;
use crate::support::{Bundle, Test, both_views, once};

const MANY: usize = 100 * 1000 * 1000;

/// As the probe makes them (xorshift64).
fn bytes(count: usize) -> Vec<u8> {
    let mut x = 0x9E37_79B9_7F4A_7C15u64;
    let mut all = Vec::with_capacity(count + 8);
    while all.len() < count {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        all.extend_from_slice(&x.to_le_bytes());
    }
    all.truncate(count);
    all
}

fn on_tty(t: &Test, words: &[&str]) -> Bundle {
    let mut args = vec!["tty"];
    args.extend(words);
    t.bundle(&args, |config| config["process"]["terminal"] = json!(true))
}

fn run(t: &Test, words: &[&str]) -> OnTerminal {
    let bundle = on_tty(t, words);
    OnTerminal::call(t, &["run", "--bundle", bundle.path(), &bundle.id])
}

fn exec(t: &Test, id: &str, words: &[&str]) -> OnTerminal {
    let mut args = vec!["exec", "--tty", id, "/probe", "tty"];
    args.extend(words);
    OnTerminal::call(t, &args)
}

fn follows_the_window(mut on: OnTerminal) {
    on.wait_for("size 24 80\n");
    assert!(!on.is_restored(), "it is raw meanwhile");
    on.resize(50, 132);
    on.wait_for("size 50 132\n");
    assert_eq!(on.end(), 0);
    assert!(on.is_restored());
}

fn hears_the_keys(mut on: OnTerminal) {
    on.wait_for("ready");
    on.type_in(b"\x03");
    on.wait_for(&format!("signal {}", libc::SIGINT));
    on.type_in(b"\x1a");
    on.wait_for(&format!("signal {}", libc::SIGTSTP));
    assert_eq!(on.end(), 5);
    assert!(on.is_restored());
}

fn gives_all_bytes(mut on: OnTerminal) {
    on.wait_for_bytes(MANY + b"ready\n".len());
    assert_eq!(on.end(), 0);
    assert!(on.output[b"ready\n".len()..] == bytes(MANY), "bytes differ");
}

fn takes_all_bytes(mut on: OnTerminal) {
    on.wait_for("ready");
    on.type_in(&bytes(MANY));
    on.wait_for("equal");
    assert_eq!(on.end(), 0);
}

both_views! {
    fn run_follows_the_window(t) {
        t.only_orlop("its program may start before the terminal has its size");
        follows_the_window(run(t, &["size"]));
    }

    fn exec_follows_the_window(t) {
        t.only_orlop("its program may start before the terminal has its size");
        let container = t.sleeper(|_| {});
        follows_the_window(exec(t, &container.id, &["size"]));
        container.end();
    }

    fn keys_are_for_the_container(t) {
        hears_the_keys(run(t, &["keys"]));
        let container = t.sleeper(|_| {});
        hears_the_keys(exec(t, &container.id, &["keys"]));
        container.end();
    }

    fn a_closed_terminal_ends_what_reads_from_the_container_s(t) {
        t.only_orlop("runc leaves the reader waiting");
        let mut on = run(t, &["lines"]);
        on.wait_for("ready");
        on.hang_up();
        assert_eq!(on.end(), 40);
        let container = t.sleeper(|_| {});
        let mut on = exec(t, &container.id, &["lines"]);
        on.wait_for("ready");
        on.hang_up();
        // As no pid 1 it may also be ended by SIGHUP, which we forward.
        assert!([40, 129].contains(&on.end()));
        container.end();
    }

    fn a_closed_terminal_is_closed_for_a_program_that_reads_keys(t) {
        t.only_orlop("runc leaves the reader waiting");
        // In raw mode there is no character for the end.
        let mut on = run(t, &["sink", "10"]);
        on.wait_for("ready");
        on.hang_up();
        assert_ne!(on.end(), 0);
    }

    fn a_reader_that_comes_late_gets_the_last_byte(t) {
        // More than the caller's terminal takes, less than fits on the whole way.
        const COUNT: usize = 24_000;
        let mut on = run(t, &["source", &COUNT.to_string()]);
        on.wait_for("ready");
        std::thread::sleep(std::time::Duration::from_millis(500));
        on.wait_for_bytes(COUNT + b"ready\n".len());
        assert_eq!(on.end(), 0);
        assert!(on.output[b"ready\n".len()..] == bytes(COUNT), "bytes differ");
    }

    fn a_signal_to_the_runtime_is_for_the_container(t) {
        let bundle = t.bundle(&["exit-on-term", "9"], |config| config["process"]["terminal"] = json!(true));
        let mut on = OnTerminal::call(t, &["run", "--bundle", bundle.path(), &bundle.id]);
        on.wait_for("ready");
        kill(Pid::from_raw(on.pid()), Signal::SIGTERM).unwrap();
        assert_eq!(on.end(), 9);
        assert!(on.is_restored());
    }

    fn a_terminal_is_given_back_when_the_program_cannot_run(t) {
        let bundle = t.bundle(&[], |config| {
            config["process"]["terminal"] = json!(true);
            config["process"]["args"] = json!(["/nothing"]);
        });
        let mut on = OnTerminal::call(t, &["run", "--bundle", bundle.path(), &bundle.id]);
        assert_ne!(on.end(), 0);
        assert!(on.is_restored());
        assert!(on.text().contains("no such file or directory"), "{}", on.text());
    }

    fn a_process_that_is_left_with_the_terminal_is_not_waited_for(t) {
        let container = t.sleeper(|_| {});
        let mut on = exec(t, &container.id, &["leave", "3"]);
        assert_eq!(on.end(), 3);
        assert!(on.text().contains("the last line"), "{}", on.text());
        container.end();
    }

    fn an_init_may_let_go_of_the_terminal_for_a_while(t) {
        t.only_orlop("runc takes that for the end of the terminal");
        let mut on = run(t, &["reopen"]);
        assert_eq!(on.end(), 6);
        assert!(on.text().contains("here again"), "{}", on.text());
    }

    fn the_end_of_stdin_is_told_as_a_terminal_tells_it(t) {
        t.only_orlop("runc leaves the reader waiting");
        for (text, count) in [("one\ntwo\n", 42), ("one\ntwo", 41)] {
            let bundle = on_tty(t, &["lines"]);
            let file = t.dir.join("stdin");
            std::fs::write(&file, text).unwrap();
            let args = ["run", "--bundle", bundle.path(), &bundle.id];
            let stdin = std::fs::File::open(&file).unwrap();
            let mut on = OnTerminal::call_with_stdin(t, &args, stdin);
            assert_eq!(on.end(), count, "{text:?}");
        }
    }

    fn without_a_terminal_of_its_own_the_container_never_holds_the_caller_s(t) {
        let bundle = t.bundle(&["report"], |_| {});
        let mut on = OnTerminal::call(t, &["run", "--bundle", bundle.path(), &bundle.id]);
        assert_eq!(on.end(), 0);
        let report: serde_json::Value = serde_json::from_str(&on.text()).unwrap();
        for fd in ["0", "1", "2"] {
            let target = report["fds"][fd].to_string();
            assert!(target.contains("pipe:"), "fd {fd}: {:#}", report["fds"]);
        }
        assert_eq!(report["fds"].as_object().unwrap().len(), 3);
        assert!(on.is_restored());
    }

    fn what_is_typed_reaches_a_container_without_a_terminal(t) {
        let bundle = t.bundle(&["cat"], |_| {});
        let mut on = OnTerminal::call(t, &["run", "--bundle", bundle.path(), &bundle.id]);
        on.type_in(b"a line\n");
        // Once for the echo, and once by cat.
        on.wait_for("a line\na line\n");
        on.type_in(b"\x04");
        assert_eq!(on.end(), 0);
    }
}

once! {
    fn run_gives_100_megabytes(t) {
        gives_all_bytes(run(t, &["source", &MANY.to_string()]));
    }

    fn run_takes_100_megabytes(t) {
        takes_all_bytes(run(t, &["sink", &MANY.to_string()]));
    }

    fn exec_gives_100_megabytes(t) {
        let container = t.sleeper(|_| {});
        gives_all_bytes(exec(t, &container.id, &["source", &MANY.to_string()]));
        container.end();
    }

    fn exec_takes_100_megabytes(t) {
        let container = t.sleeper(|_| {});
        takes_all_bytes(exec(t, &container.id, &["sink", &MANY.to_string()]));
        container.end();
    }
}

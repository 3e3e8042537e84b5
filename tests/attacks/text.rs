//! Text of the config, the image and the container's processes that a terminal would obey.

use std::fs;

use serde_json::json;

use crate::support::once;

/// Clears the screen, by both introducers; deletes; turns the direction of the text.
const EVIL: &str = "\u{1b}[2J\u{9b}2J\u{7f}\u{202e}\u{2066}";

#[track_caller]
fn assert_harmless(what: &str, text: &str) {
    let obeyed = |c: char| {
        c.is_control() && c != '\n'
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(obeyed), "{what}: {text:?}");
}

once! {
    fn what_is_told_of_a_container_drives_no_terminal(t) {
        t.only_orlop("runc 1.1 prints what it is given");
        let mut bundle = t.bundle(&["sleep"], |config| config["annotations"] = json!({EVIL: EVIL}));
        let dir = t.dir.join(format!("bundle{EVIL}"));
        fs::rename(&bundle.dir, &dir).unwrap();
        bundle.dir = dir;
        bundle.edit(|config| config["process"]["args"] = json!(["/probe", "sleep"]));
        let container = t.start(&bundle);
        container.wait_for_output("ready");
        t.runtime.call(&["exec", "--detach", &container.id, "/probe", "exit-on-term", "0", EVIL]).expect_code(0);
        for args in [&["list"][..], &["list", "--format", "json"], &["state", &container.id], &["ps", &container.id]] {
            let output = t.runtime.call(args);
            output.expect_ok();
            assert_harmless(&output.command, &output.stdout);
            assert_harmless(&output.command, &output.stderr);
        }
        let annotations = container.state()["annotations"].clone();
        assert_eq!(annotations[EVIL], EVIL, "escaped in the text, and the same in what it says");
        container.end();
    }

    fn what_is_said_of_an_error_drives_no_terminal(t) {
        t.only_orlop("runc 1.1 prints what it is given");
        let evil_program = format!("/{EVIL}");
        let no_program = t.bundle(&[], |config| config["process"]["args"] = json!([evil_program]));
        let no_source = t.bundle(&["exit", "0"], |config| {
            config["mounts"][0] = json!({"destination": EVIL, "type": "bind", "source": format!("/{EVIL}")});
        });
        let no_value = t.bundle(&["exit", "0"], |config| config["linux"]["sysctl"] = json!({EVIL: EVIL}));
        let bad_hook = t.bundle(&["exit", "0"], |config| {
            config["hooks"] = json!({"createRuntime": [
                {"path": "/bin/sh", "args": ["sh", "-c", format!("printf '%s\\n' '{EVIL}' >&2; exit 1")]},
            ]});
        });
        let log = t.dir.join("log");
        let log_flag = log.to_str().unwrap();
        for bundle in [&no_program, &no_source, &no_value, &bad_hook] {
            for format in ["text", "json"] {
                let run = ["run", "--bundle", bundle.path(), &bundle.id];
                let flags = [&["--log-format", format][..], &run].concat();
                let output = t.runtime.call(&flags);
                assert_ne!(output.code(), 0, "{output}");
                assert_harmless(&output.command, &output.stderr);
                let flags = [&["--debug", "--log", log_flag, "--log-format", format][..], &run].concat();
                assert_harmless(&output.command, &t.runtime.call(&flags).stderr);
            }
        }
        assert_harmless("the log", &fs::read_to_string(log).unwrap());
        for args in [&["state", EVIL][..], &[EVIL], &["--log-format", EVIL, "list"], &["list", EVIL], &["exec", "x", EVIL]] {
            let output = t.runtime.call(args);
            assert_ne!(output.code(), 0, "{output}");
            assert_harmless(&output.command, &output.stderr);
            assert_harmless(&output.command, &output.stdout);
        }
    }
}

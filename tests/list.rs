//! What the runtime tells of containers and of itself: list, ps, spec, features, version, help.

use std::fs;

use serde_json::{Value, json};

use crate::support::{both_views, once};

both_views! {
    fn list_shows_each_container_in_a_table(t) {
        let one = t.sleeper(|_| {});
        let two = t.create(&t.bundle(&["sleep"], |_| {}));
        let output = t.runtime.call(&["list"]);
        let lines: Vec<Vec<&str>> =
            output.expect_ok().stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
        assert_eq!(lines.len(), 3, "{output}");
        for (container, status) in [(&one, "running"), (&two, "created")] {
            let line = lines.iter().find(|line| line[0] == container.id).unwrap();
            let state = container.state();
            assert_eq!(line[1], container.pid().to_string());
            assert_eq!(line[2], status);
            assert_eq!(line[3], state["bundle"].as_str().unwrap());
            assert_eq!(line[4], state["created"].as_str().unwrap());
            assert_eq!(line[5], "root");
        }
        one.end();
        two.delete().expect_ok();
    }

    fn list_as_json_has_the_fields_of_state(t) {
        let container = t.sleeper(|config| config["annotations"] = json!({"a": "b"}));
        let output = t.runtime.call(&["list", "--format", "json"]);
        let list: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        let mut expected = container.state();
        expected["owner"] = json!("root");
        assert_eq!(list, json!([expected]));
        container.end();
    }

    fn list_in_quiet_shows_ids_only(t) {
        let container = t.sleeper(|_| {});
        let output = t.runtime.call(&["list", "--quiet"]);
        assert_eq!(output.expect_ok().stdout, format!("{}\n", container.id));
        container.end();
    }

    fn list_of_nothing_is_a_header_or_null(t) {
        assert_eq!(t.runtime.call(&["list"]).expect_ok().stdout.lines().count(), 1);
        assert_eq!(t.runtime.call(&["list", "--format", "json"]).expect_ok().stdout.trim(), "null");
        assert_eq!(t.runtime.call(&["list", "-q"]).expect_ok().stdout, "");
    }

    fn a_broken_entry_does_not_hide_the_others(t) {
        let container = t.sleeper(|_| {});
        let broken = t.runtime.root.join("broken");
        fs::create_dir(&broken).unwrap();
        fs::write(broken.join("state.json"), "{").unwrap();
        let output = t.runtime.call(&["list", "--quiet"]);
        fs::remove_dir_all(&broken).unwrap();
        assert!(output.expect_ok().stdout.contains(&container.id), "{output}");
        container.end();
    }

    fn an_unknown_format_is_refused(t) {
        let container = t.sleeper(|_| {});
        t.runtime.call(&["list", "--format", "xml"]).expect_code(1);
        container.verb(&["ps", "--format", "xml"]).expect_code(1);
        container.end();
    }

    fn ps_lists_the_processes_of_the_container(t) {
        let container = t.start(&t.bundle(&["spawn"], |_| {}));
        container.wait_for_output("ready");
        let output = container.verb(&["ps", "--format", "json"]);
        let pids: Vec<u32> = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(pids.len(), 2, "{output}");
        assert!(pids.contains(&container.pid()), "{pids:?}");
        let output = container.verb(&["ps"]);
        let lines: Vec<&str> = output.expect_ok().stdout.lines().collect();
        assert!(lines[0].contains("PID") && lines.len() == 3, "{output}");
        assert!(lines[1..].iter().all(|line| line.contains("/probe spawn")), "{output}");
        container.end();
    }

    fn ps_hands_its_options_on(t) {
        let container = t.sleeper(|_| {});
        let output = t.runtime.call(&["ps", &container.id, "-o", "pid,comm"]);
        let lines: Vec<&str> = output.expect_ok().stdout.lines().collect();
        assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
        container.end();
    }

    fn ps_of_a_stopped_container_is_null(t) {
        let container = t.sleeper(|_| {});
        container.kill("KILL").expect_ok();
        container.wait_for_status("stopped");
        assert_eq!(container.verb(&["ps", "--format", "json"]).expect_ok().stdout.trim(), "null");
        container.delete().expect_ok();
    }

    fn spec_writes_a_config_that_runs(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::remove_file(bundle.dir.join("config.json")).unwrap();
        t.runtime.call(&["spec", "--bundle", bundle.path()]).expect_ok();
        let text = fs::read_to_string(bundle.dir.join("config.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["process"]["terminal"], true);
        assert!(config["process"]["capabilities"].get("inheritable").is_none(), "{config:#}");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["/probe", "exit", "5"]);
        config["linux"]["cgroupsPath"] = json!(format!("/{}/{}", t.tag, bundle.id));
        fs::write(bundle.dir.join("config.json"), config.to_string()).unwrap();
        t.run(&bundle).expect_code(5);
    }

    fn spec_does_not_overwrite(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let before = fs::read(bundle.dir.join("config.json")).unwrap();
        t.runtime.call(&["spec", "-b", bundle.path()]).expect_code(1).expect_words("config.json exists");
        assert_eq!(fs::read(bundle.dir.join("config.json")).unwrap(), before);
    }
}

once! {
    fn the_version_has_three_lines_that_engines_read(t) {
        let output = t.runtime.call(&["--version"]);
        let lines: Vec<&str> = output.expect_ok().stdout.lines().collect();
        assert!(lines[0].starts_with(&format!("{} version ", t.runtime.name)), "{output}");
        assert!(lines[1].starts_with("commit: "), "{output}");
        assert!(lines[2].starts_with("spec: 1."), "{output}");
        assert!(!lines[1..].join(" ").contains("version"), "{output}");
    }

    fn features_is_the_specifications_json(t) {
        t.only_orlop("runc 1.1 has an older form of it");
        let output = t.runtime.call(&["features"]);
        let features: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(features["ociVersionMin"], "1.0.0");
        assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
        let list = |pointer: &str| crate::support::probe::strings(features.pointer(pointer).unwrap());
        for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
            assert!(list("/hooks").contains(&hook.to_owned()), "{hook}");
        }
        for kind in ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"] {
            assert!(list("/linux/namespaces").contains(&kind.to_owned()), "{kind}");
        }
        for option in ["rbind", "ro", "rro", "nosuid", "rslave", "tmpcopyup"] {
            assert!(list("/mountOptions").contains(&option.to_owned()), "{option}");
        }
        assert!(list("/linux/capabilities").contains(&"CAP_SYS_ADMIN".to_owned()));
        assert_eq!(features["linux"]["seccomp"]["enabled"], true);
        assert!(output.stdout.contains("\n    \"ociVersionMin\""), "indented by four spaces");
    }

    fn an_unknown_flag_is_a_wrong_usage(t) {
        for args in [&["--nonsense", "list"][..], &["list", "--nonsense"]] {
            let output = t.runtime.call(args);
            output.expect_code(1).expect_words("flag provided but not defined: -nonsense");
        }
    }

    fn an_unknown_verb_gives_3(t) {
        t.runtime.call(&["nonsense"]).expect_code(3).expect_words("No help topic for 'nonsense'");
    }

    fn each_verb_has_its_help(t) {
        for verb in ["create", "delete", "events", "exec", "features", "kill", "list", "pause", "ps", "resume", "run", "spec",
            "start", "state"] {
            let output = t.runtime.call(&[verb, "--help"]);
            let title = format!("NAME:\n   {} {verb} - ", t.runtime.name);
            assert!(output.expect_ok().stdout.starts_with(&title), "{output}");
        }
    }

    fn the_wrong_number_of_arguments_is_a_wrong_usage(t) {
        for args in [&["state"][..], &["state", "a", "b"], &["start"], &["create"], &["kill"], &["exec"]] {
            let output = t.runtime.call(args);
            assert_ne!(output.code(), 0, "{output}");
        }
    }

    fn plan_prints_what_create_would_do_and_does_nothing(t) {
        t.only_orlop("only orlop has it");
        let before = crate::support::leaks::Snapshot::take(t);
        let bundle = t.bundle(&["exit", "0"], |config| config["hostname"] = json!("planned"));
        let output = t.runtime.call(&["plan", "--bundle", bundle.path()]);
        let plan: Value = serde_json::from_str(&output.expect_ok().stdout).unwrap();
        assert_eq!(plan["hostname"], "planned");
        assert_eq!(plan["mounts"].as_array().unwrap().len(), 7);
        before.assert_unchanged(t, "after plan");
    }
}

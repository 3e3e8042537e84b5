//! Bad input is refused with exit status 1 before anything is touched.
//!
//! Each test lists cgroups, mounts, processes and state before and after, and finds them equal.

use std::fs;

use serde_json::{Value, json};

use crate::support::bundle::{add_user_namespace, push};
use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Output, Test, both_views};

/// `create` and `run` must both fail with `words`, and leave everything as it was.
fn refused(t: &Test, bundle: &Bundle, words: &str) {
    refused_in_any_words(t, bundle)
        .into_iter()
        .for_each(|output| {
            output.expect_words(words);
        });
}

fn refused_in_any_words(t: &Test, bundle: &Bundle) -> [Output; 2] {
    let before = Snapshot::take(t);
    let outputs = [t.try_create(bundle), t.run(bundle)];
    before.assert_unchanged(t, "after bad input");
    for output in &outputs {
        output.expect_code(1);
        assert!(!output.stderr.contains("panicked"), "{output}");
        assert_eq!(output.stdout, "", "{output}");
    }
    outputs
}

/// A change to the default config is refused with `words`; orlop also names the field.
fn field(t: &Test, pointer: &str, words: &str, edit: impl FnOnce(&mut Value)) {
    let bundle = t.bundle(&["exit", "0"], edit);
    for output in refused_in_any_words(t, &bundle) {
        if !words.is_empty() {
            output.expect_words(words);
        }
        if !t.runtime.is_reference {
            output.expect_words(pointer);
        }
    }
}

/// The config has this text, whatever it is.
fn with_text(t: &Test, text: &str) -> Bundle {
    let bundle = t.bundle(&["exit", "0"], |_| {});
    fs::write(bundle.dir.join("config.json"), text).unwrap();
    bundle
}

fn remove(config: &mut Value, parent: &str, key: &str) {
    config
        .pointer_mut(parent)
        .unwrap()
        .as_object_mut()
        .unwrap()
        .remove(key);
}

both_views! {
    fn a_bundle_without_a_config(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        fs::remove_file(bundle.dir.join("config.json")).unwrap();
        refused(t, &bundle, "JSON specification file config.json not found");
    }

    fn a_bundle_that_does_not_exist(t) {
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        bundle.dir = t.dir.join("nowhere");
        refused(t, &bundle, "no such file or directory");
    }

    fn broken_json(t) {
        for text in ["", "{", "{\"ociVersion\": }", "[]", "{\"a\": 1} trailing", "\u{0}"] {
            refused_in_any_words(t, &with_text(t, text));
        }
        if !t.runtime.is_reference {
            refused(t, &with_text(t, "{\n  \"ociVersion\": nonsense\n}"), "line 2 column 18");
        }
    }

    fn a_config_that_is_null(t) {
        t.only_orlop("runc 1.1 crashes");
        refused(t, &with_text(t, "null"), "config cannot be null");
    }

    fn a_value_of_the_wrong_type(t) {
        field(t, "/process/args", "", |c| c["process"]["args"] = json!("exit 0"));
        field(t, "/process/user/uid", "", |c| c["process"]["user"]["uid"] = json!("root"));
        field(t, "/mounts", "", |c| c["mounts"] = json!({}));
        field(t, "/linux/resources/memory/limit", "", |c| {
            c["linux"]["resources"]["memory"] = json!({"limit": "1G"});
        });
        field(t, "/root/readonly", "", |c| c["root"]["readonly"] = json!(1));
    }

    fn an_array_where_an_object_is_due(t) {
        field(t, "/process/user", "", |c| c["process"]["user"] = json!([]));
        field(t, "/linux/resources", "", |c| c["linux"]["resources"] = json!([]));
        field(t, "/mounts/0", "", |c| c["mounts"][0] = json!(["/proc"]));
    }

    fn a_config_without_a_root(t) {
        field(t, "/root", "", |c| remove(c, "", "root"));
    }

    fn a_rootfs_that_does_not_exist(t) {
        let bundle = t.bundle(&["exit", "0"], |config| config["root"]["path"] = json!("nowhere"));
        refused(t, &bundle, "no such file or directory");
    }

    fn a_rootfs_that_is_no_directory(t) {
        t.only_orlop("runc has other words for it");
        for path in ["nowhere", "config.json"] {
            let bundle = t.bundle(&["exit", "0"], |config| config["root"]["path"] = json!(path));
            refused(t, &bundle, "invalid rootfs");
        }
    }

    fn a_config_without_a_process(t) {
        let bundle = t.bundle(&["exit", "0"], |config| remove(config, "", "process"));
        refused(t, &bundle, "process property must not be empty");
    }

    fn no_arguments(t) {
        field(t, "/process/args", "args must not be empty", |c| c["process"]["args"] = json!([]));
        field(t, "/process/args", "args must not be empty", |c| remove(c, "/process", "args"));
    }

    fn a_relative_working_directory(t) {
        for cwd in ["tmp", "./", "../x"] {
            field(t, "/process/cwd", "Cwd must be an absolute path", |c| c["process"]["cwd"] = json!(cwd));
        }
    }

    fn no_working_directory(t) {
        field(t, "/process/cwd", "Cwd ", |c| c["process"]["cwd"] = json!(""));
    }

    fn a_namespace_that_is_named_twice(t) {
        field(t, "/linux/namespaces/5", "", |c| push(c, "/linux/namespaces", json!({"type": "pid"})));
    }

    fn an_unknown_namespace(t) {
        field(t, "/linux/namespaces/5/type", "", |c| push(c, "/linux/namespaces", json!({"type": "nonsense"})));
    }

    fn a_hostname_without_a_namespace_for_it(t) {
        field(t, "/hostname", "", |c| {
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "uts");
        });
    }

    fn an_unknown_resource_limit(t) {
        field(t, "/process/rlimits/1", "", |c| {
            push(c, "/process/rlimits", json!({"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}));
        });
    }

    fn a_soft_limit_above_the_hard_one(t) {
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]);
        });
        refused_in_any_words(t, &bundle);
    }

    fn an_unknown_rootfs_propagation(t) {
        field(t, "/linux/rootfsPropagation", "", |c| c["linux"]["rootfsPropagation"] = json!("nonsense"));
    }

    fn a_terminal_without_a_console_socket(t) {
        let bundle = t.bundle(&["exit", "0"], |config| config["process"]["terminal"] = json!(true));
        let before = Snapshot::take(t);
        let output = t.try_create(&bundle);
        output.expect_code(1);
        output.expect_words("cannot allocate tty if runc will detach without setting console socket");
        before.assert_unchanged(t, "after bad input");
    }

    fn a_console_socket_without_a_terminal(t) {
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let before = Snapshot::take(t);
        let socket = t.dir.join("console");
        let args = ["create", "--console-socket", socket.to_str().unwrap(), "--bundle", bundle.path(), &bundle.id];
        t.runtime.call(&args).expect_code(1)
            .expect_words("cannot use console socket if runc will not detach or allocate tty");
        before.assert_unchanged(t, "after bad input");
    }

    fn an_id_with_letters_that_are_not_allowed(t) {
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        for id in ["a/b", "../x", "..", ".", "a b", "a\nb", "ä", "a:b", "a*"] {
            id.clone_into(&mut bundle.id);
            refused(t, &bundle, "invalid container ID format");
        }
        assert!(!t.dir.join("x").exists());
    }

    fn an_empty_id(t) {
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        bundle.id.clear();
        refused(t, &bundle, "container id cannot be empty");
    }

    fn an_id_that_is_too_long(t) {
        let mut bundle = t.bundle(&["exit", "0"], |_| {});
        bundle.id = format!("{}{}", t.tag, "x".repeat(256));
        refused_in_any_words(t, &bundle);
    }

    fn an_id_that_is_taken(t) {
        let bundle = t.bundle(&["sleep"], |_| {});
        let container = t.create(&bundle);
        refused(t, &bundle, "container with given ID already exists");
        container.delete().expect_ok();
    }

    fn an_id_of_other_verbs_that_climbs_out_of_the_state_directory(t) {
        let precious = t.dir.join("precious");
        fs::create_dir(&precious).unwrap();
        for args in [&["state"][..], &["start"], &["pause"], &["delete"], &["delete", "--force"]] {
            let output = t.runtime.call(&[args, &["../precious"]].concat());
            output.expect_code(1).expect_words("invalid container ID format");
        }
        assert!(precious.exists());
    }

    fn a_root_directory_that_is_the_root(t) {
        t.only_orlop("runc 1.1 takes it");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let mut command = std::process::Command::new(&t.runtime.program);
        command.args(["--root", "/", "create", "--bundle", bundle.path(), &bundle.id]);
        let output = t.runtime.finish(command);
        let _ = fs::remove_dir_all(std::path::Path::new("/").join(&bundle.id));
        output.expect_code(1);
    }

    fn a_relative_hook_path(t) {
        t.only_orlop("runc 1.1 looks for it in PATH");
        field(t, "/hooks/createRuntime/0/path", "", |c| {
            c["hooks"] = json!({"createRuntime": [{"path": "true"}]});
        });
    }

    fn a_version_of_the_specification_that_is_none(t) {
        t.only_orlop("runc does not look at it");
        field(t, "/ociVersion", "", |c| c["ociVersion"] = json!("2.0.0"));
        field(t, "/ociVersion", "", |c| c["ociVersion"] = json!("nonsense"));
    }

    fn mounts_without_a_namespace_for_them(t) {
        t.only_orlop("runc 1.1 fails to mount them");
        field(t, "/mounts", "", |c| {
            add_user_namespace(c, 200_000);
            c["root"]["readonly"] = json!(false);
            c["linux"]["maskedPaths"] = json!([]);
            c["linux"]["readonlyPaths"] = json!([]);
            c["linux"]["namespaces"].as_array_mut().unwrap().retain(|n| n["type"] != "mount");
        });
    }

    fn what_this_build_cannot_do_is_refused_by_its_name(t) {
        t.only_orlop("runc 1.1 does not know most of it, and ignores what it does not know");
        field(t, "/linux/mountLabel", "mountLabel", |c| c["linux"]["mountLabel"] = json!("label"));
        for system in ["windows", "solaris", "vm", "zos", "freebsd"] {
            field(t, &format!("/{system}"), system, |c| c[system] = json!({}));
        }
    }

    fn maps_and_offsets_without_their_namespace(t) {
        t.only_orlop("runc 1.1 ignores them");
        let map = json!([{"containerID": 0, "hostID": 1000, "size": 1}]);
        field(t, "/linux/uidMappings", "", |c| c["linux"]["uidMappings"] = map.clone());
        field(t, "/linux/timeOffsets", "", |c| c["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 1}}));
    }
}

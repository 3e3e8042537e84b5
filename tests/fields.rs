//! No field forgotten, as a person sees it: whatever is wrong in a config is refused with its
//! place before anything is touched, and `docs/fields.md` tells of each field who acts on it.
//!
//! The unit tests of the plan go through the same values on hosts that have every controller,
//! and see that no field is without effect.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::maximal::{self, Leaf, Row, leaves};
use crate::support::leaks::Snapshot;
use crate::support::{Bundle, Test, View, both_views};

fn write(bundle: &Bundle, config: &Value) {
    fs::write(bundle.dir.join("config.json"), config.to_string()).unwrap();
}

/// The maximal config in the language of this view's cgroups, less what this host has no
/// controller for and what is refused in any case.
fn runnable(t: &Test, bundle: &Bundle) -> Value {
    let host = match t.view {
        View::V1 => "v1",
        View::V2 => "v2",
    };
    let variant = maximal::variants().into_iter().find(|v| v.name == host);
    let mut config = variant.unwrap().config;
    loop {
        write(bundle, &config);
        let output = t
            .runtime
            .call(&["plan", "--bundle", bundle.path(), &bundle.id]);
        if output.status.success() {
            return config;
        }
        let place = output.stderr.split_once("config.json: ").unwrap().1;
        let place = &place[..place.find(')').unwrap()];
        maximal::remove(&mut config, place);
    }
}

/// One value of a wrong type, and one that is only wrong.
fn wrong(leaf: &Leaf) -> Vec<Value> {
    let types = maximal::wrong_types(leaf.field).into_iter().take(1);
    types
        .chain(maximal::wrong_values(leaf.field).into_iter().take(1))
        .collect()
}

both_views! {
    fn a_wrong_value_of_any_field_is_refused_before_anything_is_touched(t) {
        t.only_orlop("runc names no place, and takes some of it");
        let bundle = t.bundle(&["exit", "0"], |_| {});
        let config = runnable(t, &bundle);
        let before = Snapshot::take(t);
        let mut fields = BTreeSet::new();
        for leaf in leaves(&config) {
            for value in wrong(&leaf) {
                let mut config = config.clone();
                *config.pointer_mut(&leaf.pointer).unwrap() = value;
                write(&bundle, &config);
                let output = t.try_create(&bundle);
                output.expect_code(1).expect_words(&format!("(config.json: {})", leaf.pointer));
                assert!(!output.stderr.contains("panicked"), "{output}");
                fields.insert(leaf.field);
            }
        }
        before.assert_unchanged(t, "after wrong values");
        assert!(fields.len() > 120, "only {} fields", fields.len());
    }

    fn a_wrong_value_in_a_process_file_is_named_by_its_place_there(t) {
        t.only_orlop("runc names no place");
        let container = t.sleeper(|_| {});
        let file = t.dir.join("process.json");
        let mut process = maximal::variants()[0].config["process"].clone();
        process["terminal"] = json!(false);
        // Not every host has SELinux.
        process["selinuxLabel"] = json!("");
        for leaf in leaves(&json!({ "process": process })) {
            let pointer = leaf.pointer.strip_prefix("/process").unwrap();
            for value in wrong(&leaf) {
                // Ids are those of a user namespace, which this container does not have.
                if value == json!(65536) {
                    continue;
                }
                let mut process = process.clone();
                *process.pointer_mut(pointer).unwrap() = value;
                fs::write(&file, process.to_string()).unwrap();
                let output = t.runtime.call(&["exec", "--process", file.to_str().unwrap(), &container.id]);
                output.expect_code(255).expect_words(&format!("({}: {pointer})", file.display()));
            }
        }
        container.end();
    }

    fn what_fails_in_a_process_of_a_file_is_named_by_its_place_there(t) {
        t.only_orlop("runc names no place");
        let container = t.sleeper(|_| {});
        let file = t.dir.join("process.json");
        for (name, value, pointer) in [
            ("apparmorProfile", json!("no-such-profile"), "/apparmorProfile"),
            ("selinuxLabel", json!("no:such:label"), "/selinuxLabel"),
            ("execCPUAffinity", json!({"initial": "65535"}), "/execCPUAffinity/initial"),
            ("execCPUAffinity", json!({"final": "65535"}), "/execCPUAffinity/final"),
        ] {
            let mut process = json!({"args": ["/probe", "exit", "0"], "cwd": "/", "user": {}});
            process[name] = value.clone();
            fs::write(&file, process.to_string()).unwrap();
            let output = t.runtime.call(&["exec", "--process", file.to_str().unwrap(), &container.id]);
            output.expect_code(255).expect_words(&format!("({}: {pointer})", file.display()));
        }
        container.end();
    }

    fn keys_that_the_specification_does_not_have_are_shown_by_debug(t) {
        t.only_orlop("runc says nothing of them");
        let bundle = t.bundle(&["exit", "0"], |config| {
            config["hostName"] = json!("a slip");
            config["linux"]["resources"]["memory"] = json!({"limits": 1});
        });
        let told = "config.json has what the specification does not have, and is ignored: \
                    /hostName, /linux/resources/memory/limits";
        let arguments = ["plan", "--bundle", bundle.path()];
        let output = t.runtime.call(&[&["--debug"][..], &arguments].concat());
        output.expect_ok();
        assert!(output.stderr.contains(told), "{output}");
        let output = t.runtime.call(&arguments);
        output.expect_ok();
        assert_eq!(output.stderr, "", "{output}");
    }
}

/// The functions of some source, with their text.
fn functions(text: &str) -> Vec<(&str, &str)> {
    text.split("fn ")
        .skip(1)
        .filter_map(|text| Some((text.split(['(', '<']).next()?, text)))
        .collect()
}

/// Whether the function `name`, or one that it calls, has the word in it.
fn speaks_of(functions: &[(&str, &str)], name: &str, word: &str, depth: u32) -> bool {
    let texts = functions.iter().filter(|(other, _)| *other == name);
    texts.into_iter().any(|(_, text)| {
        let calls = |other: &str| text.contains(&format!("{other}(")) && other != name;
        text.contains(word)
            || depth > 0
                && functions
                    .iter()
                    .any(|(other, _)| calls(other) && speaks_of(functions, other, word, depth - 1))
    })
}

/// What is wrong with the test that a row names.
fn wrong_proof(row: &Row) -> Option<String> {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
    let (place, name) = row.proof.split_once("::")?;
    let file = match place.starts_with("src/") {
        true => place.to_owned(),
        false => format!("tests/{place}.rs"),
    };
    let text = read(&file).unwrap_or_default() + &read("tests/support/bundle.rs").unwrap();
    let functions = functions(&text);
    if functions.iter().all(|(other, _)| *other != name) {
        return Some(format!("no test {}", row.proof));
    }
    // A section that is refused is refused whole.
    let keys: Vec<&str> = row
        .name
        .split('/')
        .skip(1)
        .filter(|key| *key != "*")
        .collect();
    let keys = match row.acted {
        "refused" => &keys[..],
        _ => &keys[keys.len() - 1..],
    };
    let told = keys.iter().any(|key| speaks_of(&functions, name, key, 3));
    (!told).then(|| format!("{} does not speak of {keys:?}", row.proof))
}

#[test]
fn each_field_has_a_row_in_the_documentation() {
    let fields = maximal::fields();
    for field in &fields {
        maximal::row(*field);
    }
    for row in maximal::rows() {
        let is_field = fields.iter().any(|field| field.name.starts_with(row.name));
        assert!(is_field, "the specification has no {}", row.name);
    }
}

#[test]
fn each_row_names_files_and_a_test_that_exist() {
    let mut wrong = Vec::new();
    for row in maximal::rows() {
        let exists = |file: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(file).is_file();
        for file in [row.planned, row.acted] {
            let is_file = exists(file);
            if !is_file && (file.starts_with("src/") || file == row.planned) {
                wrong.push(format!("{}: no file {file}", row.name));
            }
        }
        const SINCE: [&str; 6] = ["1.0.0", "1.0.2", "1.1.0", "1.2.0", "1.2.1", "1.3.0"];
        if !SINCE.contains(&row.since) {
            wrong.push(format!("{}: no version {}", row.name, row.since));
        }
        let problem = wrong_proof(&row);
        wrong.extend(problem.map(|problem| format!("{}: {problem}", row.name)));
    }
    assert!(wrong.is_empty(), "docs/fields.md:\n{}", wrong.join("\n"));
}

//! Configs with one value replaced by nonsense: each makes a plan or an error that names a
//! field, and none a panic.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::fixed_host;
use crate::bundle::Bundle;
use crate::error::{Kind, Target};
use crate::plan::{Context, Plan};

/// JSON pointers of all values below `value`.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let entries: Vec<(String, &Value)> = match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (crate::plan::escape(key).into_owned(), value))
            .collect(),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .map(|(index, value)| (index.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    for (key, value) in entries {
        let at = format!("{at}/{key}");
        pointers(value, &at, found);
        found.push(at);
    }
}

#[test]
fn no_single_wrong_value_is_worse_than_an_error_that_names_a_field() {
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(u64::MAX),
        json!(1e300),
        json!(""),
        json!("\0"),
        json!("../../é/\u{1}"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({"": {"": ""}}),
    ];
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut refused = 0;
    for config in [
        "bundles/spec-rootless",
        "plans/new-namespaces",
        "plans/idmap",
        "plans/devices",
        "plans/hooks",
        "plans/process",
    ] {
        let text = std::fs::read(tests.join(config).join("config.json")).unwrap();
        let good: Value = serde_json::from_slice(&text).unwrap();
        let mut places = Vec::new();
        pointers(&good, "", &mut places);
        for place in &places {
            for value in &odd {
                let mut bad = good.clone();
                *bad.pointer_mut(place).unwrap() = value.clone();
                let result = Bundle::parse(PathBuf::from("/bundle"), bad.to_string().as_bytes())
                    .and_then(|bundle| {
                        let context = Context {
                            id: "box",
                            bundle: &bundle.dir,
                            no_pivot: false,
                        };
                        Plan::new(&bundle.spec, &context, &fixed_host())
                    });
                let Err(error) = result else { continue };
                refused += 1;
                let context = format!("{config} {place} {value}: {error}");
                assert_eq!(error.kind, Kind::Invalid, "{context}");
                let Some(Target::Field(pointer)) = &error.target else {
                    panic!("no field: {context}");
                };
                assert!(pointer.is_empty() || pointer.starts_with('/'), "{context}");
                assert_eq!(error.to_string().lines().count(), 1, "{context}");
            }
        }
    }
    assert!(refused > 1000, "only {refused} were refused");
}

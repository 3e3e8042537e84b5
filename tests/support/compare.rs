//! Differences in a form that a person can read.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// One line for each element that only one of two sets has.
pub fn sets(kind: &str, before: &BTreeSet<String>, after: &BTreeSet<String>) -> String {
    let gone = before
        .difference(after)
        .map(|item| format!("  {kind} gone: {item}\n"));
    let new = after
        .difference(before)
        .map(|item| format!("  {kind} left: {item}\n"));
    gone.chain(new).collect()
}

/// Every leaf of a JSON value by its pointer.
pub fn leaves(value: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, pointer: String, found: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                collect(value, format!("{pointer}/{key}"), found);
            }
        }
        Value::Array(list) if !list.is_empty() => {
            for (index, value) in list.iter().enumerate() {
                collect(value, format!("{pointer}/{index}"), found);
            }
        }
        leaf => {
            found.insert(pointer, leaf.clone());
        }
    }
}

/// One line for each leaf in which two values differ; `names` are the two sides.
pub fn values(names: (&str, &str), one: &Value, two: &Value) -> Vec<String> {
    let (one, two) = (leaves(one), leaves(two));
    let keys: BTreeSet<&String> = one.keys().chain(two.keys()).collect();
    let shown = |value: Option<&Value>| value.map_or("absent".to_owned(), Value::to_string);
    keys.into_iter()
        .filter(|key| one.get(*key) != two.get(*key))
        .map(|key| {
            let (a, b) = (shown(one.get(key)), shown(two.get(key)));
            format!("{key}: {} has {a}, {} has {b}", names.0, names.1)
        })
        .collect()
}

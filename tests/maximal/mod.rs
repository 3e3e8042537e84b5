//! The maximal config: each field of the specification's schema, set once.
//!
//! `config.json` sets them all, so it excludes itself in places and no runtime can run it.
//! `variants.json` says which parts of it go together. `other.json` has a second good value for
//! fields where a number plus one or a text with an `x` is none, `wrong.json` bad ones beside
//! those that the field's kind gives. The list of the fields, with their kinds, is the one
//! that the runtime itself has, `src/bundle/fields.txt`.
//!
//! Used by the unit tests of the plan and by those of the whole runtime.
#![allow(dead_code)] // each uses its part

use std::sync::OnceLock;

use serde_json::{Map, Value, json};

const FIELDS: &str = include_str!("../../src/bundle/fields.txt");

/// One leaf of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field {
    /// A JSON pointer in which `*` stands for any index of a list or key of a map.
    pub name: &'static str,
    /// `string`, `word` (one of a closed list), `bool`, `object`, `u32` and so on.
    pub kind: &'static str,
}

/// A value in a config that is no object and no list.
#[derive(Debug, Clone)]
pub struct Leaf {
    pub pointer: String,
    pub field: Field,
    pub value: Value,
}

/// Parts of the maximal config that go together.
pub struct Variant {
    pub name: String,
    /// `v1` or `v2`: the cgroup hierarchies in whose language the resources speak.
    pub host: String,
    pub config: Value,
}

/// What `docs/fields.md` says of one field.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub since: &'static str,
    /// A file.
    pub planned: &'static str,
    /// A file; `refused`; or why there is nothing to act on.
    pub acted: &'static str,
    pub proof: &'static str,
}

/// The tables of `docs/fields.md`. In that of other platforms, whose sections stand for all
/// that is in them, the third column says who refuses them.
pub fn rows() -> Vec<Row> {
    let cells = |line: &'static str| -> Vec<&'static str> {
        let line = line.trim_matches('|');
        line.split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect()
    };
    let lines = include_str!("../../docs/fields.md").lines();
    lines
        .filter(|line| line.starts_with("| `/"))
        .map(|line| match cells(line)[..] {
            [name, since, planned, acted, proof] => Row {
                name,
                since,
                planned,
                acted,
                proof,
            },
            [name, since, planned, proof] => Row {
                name,
                since,
                planned,
                acted: "refused",
                proof,
            },
            _ => panic!("not a row: {line}"),
        })
        .collect()
}

/// The row of one field.
pub fn row(field: Field) -> Row {
    let is_in = |row: &&Row| {
        let rest = field.name.strip_prefix(row.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found: Vec<Row> = rows().iter().filter(is_in).copied().collect();
    match found[..] {
        [row] => row,
        _ => panic!("{} has {} rows in docs/fields.md", field.name, found.len()),
    }
}

/// All fields of the schema.
pub fn fields() -> Vec<Field> {
    let field = |line: &'static str| {
        let (name, kind) = line.split_once(' ').unwrap();
        Field { name, kind }
    };
    FIELDS.lines().map(field).collect()
}

/// The whole, with all that excludes itself.
pub fn config() -> Value {
    serde_json::from_str(include_str!("config.json")).unwrap()
}

/// Its runnable parts. What runs nowhere is in them too, and refused by name.
pub fn variants() -> Vec<Variant> {
    let list: Vec<Value> = serde_json::from_str(include_str!("variants.json")).unwrap();
    let whole = config();
    let mut variants: Vec<Variant> = Vec::new();
    for entry in list {
        let base = entry.get("of").map(|name| {
            let found = variants.iter().find(|variant| *name == variant.name);
            found.unwrap().config.clone()
        });
        let mut config = base.unwrap_or_else(|| whole.clone());
        for kept in entry["keep"].as_array().into_iter().flatten() {
            let pointer = kept.as_str().unwrap();
            let value = whole.pointer(pointer).unwrap().clone();
            insert(&mut config, pointer, value);
        }
        merge(&mut config, &entry["patch"]);
        variants.push(Variant {
            name: entry["name"].as_str().unwrap().to_owned(),
            host: entry["host"].as_str().unwrap().to_owned(),
            config,
        });
    }
    variants
}

/// RFC 7386, but for a patch of null, which changes nothing.
fn merge(value: &mut Value, patch: &Value) {
    match patch {
        Value::Null => {}
        Value::Object(patch) => {
            if !value.is_object() {
                *value = Value::Object(Map::new());
            }
            for (key, patch) in patch {
                let map = value.as_object_mut().unwrap();
                match patch {
                    Value::Null => drop(map.remove(key)),
                    patch => merge(map.entry(key).or_insert(Value::Null), patch),
                }
            }
        }
        other => *value = other.clone(),
    }
}

fn insert(config: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    config.pointer_mut(parent).unwrap()[key] = value;
}

/// Take the value at `pointer` out, or the innermost thing around it that is there. Gives the
/// pointer of what was taken.
pub fn remove(config: &mut Value, pointer: &str) -> String {
    let mut pointer = pointer;
    while config.pointer(pointer).is_none() {
        pointer = pointer.rsplit_once('/').unwrap().0;
    }
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match config.pointer_mut(parent).unwrap() {
        Value::Object(map) => drop(map.remove(&unescape(key))),
        Value::Array(list) => drop(list.remove(key.parse().unwrap())),
        other => panic!("{other} holds nothing"),
    }
    pointer.to_owned()
}

fn unescape(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
}

/// The leaves of `config`. Each must be a field of the schema.
pub fn leaves(config: &Value) -> Vec<Leaf> {
    let fields = fields();
    let mut found = Vec::new();
    walk(config, String::new(), &mut |pointer, value| {
        let Some(&field) = fields.iter().find(|field| matches(field.name, pointer)) else {
            assert_eq!(*value, json!({}), "not a field of the schema: {pointer}");
            return;
        };
        found.push(Leaf {
            pointer: pointer.to_owned(),
            field,
            value: value.clone(),
        });
    });
    found
}

fn walk(value: &Value, at: String, see: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                walk(value, format!("{at}/{key}"), see);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                walk(value, format!("{at}/{index}"), see);
            }
        }
        leaf => see(&at, leaf),
    }
}

/// Whether `pointer` is what `name`, which may have stars, stands for.
pub fn matches(name: &str, pointer: &str) -> bool {
    let (mut name, mut pointer) = (name.split('/'), pointer.split('/'));
    loop {
        match (name.next(), pointer.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == "*" || a == b => {}
            _ => return false,
        }
    }
}

/// Another value that is as good, but means something else; `None` where the config has no
/// room for one.
pub fn other(leaf: &Leaf) -> Option<Value> {
    static TABLE: OnceLock<Map<String, Value>> = OnceLock::new();
    let table = TABLE.get_or_init(|| serde_json::from_str(include_str!("other.json")).unwrap());
    let row = table.iter().find(|(name, _)| matches(name, &leaf.pointer));
    match (row, &leaf.value) {
        (Some((_, Value::Object(by_value))), Value::String(value)) => by_value
            .get(value)
            .filter(|value| !value.is_null())
            .cloned(),
        (Some((_, value)), _) => Some(value.clone()),
        (None, Value::Bool(value)) => Some(json!(!value)),
        (None, Value::Number(value)) => Some(json!(value.as_i64().unwrap() + 1)),
        (None, Value::String(value)) => Some(json!(format!("{value}x"))),
        (None, value) => panic!("no other value for {}: {value}", leaf.pointer),
    }
}

/// Values of a wrong type.
pub fn wrong_types(field: Field) -> Vec<Value> {
    match field.kind {
        "string" | "word" => vec![json!(7), json!({}), json!([])],
        "bool" => vec![json!(1), json!("true"), json!({})],
        "object" => vec![json!(7), json!("x")],
        _ => vec![json!("1"), json!(1.5), json!(true), json!({})],
    }
}

/// Values of the right type that the field cannot have.
pub fn wrong_values(field: Field) -> Vec<Value> {
    let mut values = match field.kind {
        "word" => vec![json!("nonsense"), json!("nons\0ense")],
        "string" if !takes_any_text(field) => vec![json!("a\0b")],
        "u8" => vec![json!(-1), json!(256)],
        "u16" => vec![json!(-1), json!(65536)],
        "u32" => vec![json!(-1), json!(1u64 << 32)],
        "u64" => vec![json!(-1), json!(1e20)],
        "i32" => vec![json!(1u64 << 31), json!(-1i64 << 40)],
        "i64" => vec![json!(1u64 << 63), json!(-1e20)],
        _ => vec![],
    };
    static TABLE: OnceLock<Map<String, Value>> = OnceLock::new();
    let table = TABLE.get_or_init(|| serde_json::from_str(include_str!("wrong.json")).unwrap());
    values.extend(
        table
            .get(field.name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default(),
    );
    values
}

/// Text that never reaches the kernel, and names of which unknown ones are passed over: the
/// specification wants a warning for a capability, libseccomp knows more calls than a kernel.
fn takes_any_text(field: Field) -> bool {
    [
        "/annotations/",
        "/process/capabilities/",
        "/process/commandLine",
        "/process/user/username",
    ]
    .iter()
    .any(|start| field.name.starts_with(start))
        || field.name == "/linux/seccomp/syscalls/*/names/*"
        || field.name == "/linux/seccomp/listenerMetadata"
}

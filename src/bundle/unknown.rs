//! Keys of a config that the specification does not have.
//!
//! They are no error: the specification wants to be extended (config.md, "Extensibility"). But
//! a slip of the pen is one of them, too, so `--debug` shows them. Only then is the text read
//! once more for it.

use serde_json::Value;

use crate::plan::escape;

/// The fields of version 1.3.0 with their kinds, a line each. `*` in a pointer stands for any
/// index or key; the kinds are for the tests.
const FIELDS: &str = include_str!("fields.txt");

/// Of older versions, and acted on as what has taken their place (see `repair`).
const OLDER: [&str; 2] = ["/linux/intelRdt/enableCMT", "/linux/intelRdt/enableMBM"];

/// Log the unknown keys of `text`, if anybody wants to see them. `within` is the pointer of
/// the field that the text is the value of: empty for a config.json, `/process` for a process.
pub fn show(text: &[u8], name: &str, within: &str) {
    if !log::log_enabled!(log::Level::Debug) {
        return;
    }
    let Ok(value) = serde_json::from_slice(text) else {
        return;
    };
    let unknown = unknown(&value, within);
    if !unknown.is_empty() {
        let list = unknown.join(", ");
        log::debug!("{name} has what the specification does not have, and is ignored: {list}");
    }
}

/// Their pointers.
fn unknown(value: &Value, within: &str) -> Vec<String> {
    let fields: Vec<&str> = FIELDS
        .lines()
        .filter_map(|line| line.split(' ').next())
        .chain(OLDER)
        .filter_map(|field| field.strip_prefix(within))
        .collect();
    let mut found = Vec::new();
    walk(value, &fields, "", &mut found);
    found
}

/// `fields` are the rests of the pointers that lead here.
fn walk(value: &Value, fields: &[&str], at: &str, found: &mut Vec<String>) {
    let below = |key: &str| -> Vec<&str> {
        let rests = fields.iter().filter_map(|field| {
            let field = field.strip_prefix('/')?;
            let end = field.find('/').unwrap_or(field.len());
            let (name, rest) = field.split_at(end);
            (name == "*" || name == key).then_some(rest)
        });
        rests.collect()
    };
    // What ends here may be anything, such as windows.credentialSpec.
    if fields.contains(&"") {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{at}/{}", escape(key));
                match below(key).as_slice() {
                    [] => found.push(at),
                    fields => walk(value, fields, &at, found),
                }
            }
        }
        Value::Array(list) => {
            let fields = below("*");
            for (index, value) in list.iter().enumerate() {
                walk(value, &fields, &format!("{at}/{index}"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_the_specification_does_not_have_is_told() {
        let config = json!({
            "ociVersion": "1.3.0",
            "annotations": {"any": "thing"},
            "hostName": "a slip",
            "process": {"args": ["sh"], "user": {"uid": 0, "shell": "/bin/sh"}},
            "mounts": [{"destination": "/a"}, {"destination": "/b", "a/b": {"c": 1}}],
            "linux": {"intelRdt": {"enableCMT": true, "enableX": 1}, "sysctl": {"net.ipv4.ip_forward": "1"}, "uidMappings": [], "resources": {
                "rdma": {"mlx5": {"hcaHandles": 1, "hcaThings": 2}}, "memory": null}},
            "windows": {"credentialSpec": {"CmsPlugins": ["ActiveDirectory"]}}
        });
        let expected = [
            "/hostName",
            "/linux/intelRdt/enableX",
            "/linux/resources/rdma/mlx5/hcaThings",
            "/mounts/1/a~1b",
            "/process/user/shell",
        ];
        let mut found = unknown(&config, "");
        found.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_process_of_its_own_is_known_too() {
        let process = json!({"args": ["sh"], "cwd": "/", "tty": true, "linux": {}});
        let mut found = unknown(&process, "/process");
        found.sort();
        assert_eq!(found, ["/linux", "/tty"]);
    }

    #[test]
    fn the_maximal_config_has_nothing_unknown() {
        let text = include_str!("../../tests/maximal/config.json");
        let config = serde_json::from_str(text).unwrap();
        assert_eq!(unknown(&config, ""), [""; 0]);
    }
}

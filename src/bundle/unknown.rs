//! Keys of a config that the specification does not have.
//!
//! They are no error: the specification wants to be extended (config.md, "Extensibility"). But
//! a slip of the pen is one of them, too, so `--debug` shows them. Only then is the text read
//! once more for it.

use serde_json::Value;

use super::fields::Place;
use crate::plan::escape;

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
    let mut found = Vec::new();
    walk(value, &Place::of(within), "", &mut found);
    found
}

fn walk(value: &Value, place: &Place, at: &str, found: &mut Vec<String>) {
    if place.is_unknown() {
        return found.push(at.to_owned());
    }
    match value {
        _ if place.is_field() => {}
        Value::Object(map) => {
            for (key, value) in map {
                let at = format!("{at}/{}", escape(key));
                walk(value, &place.below(key), &at, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                walk(value, &place.below("*"), &format!("{at}/{index}"), found);
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

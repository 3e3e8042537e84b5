//! Arrays where objects are due.
//!
//! serde reads a struct from an array as well, member by member in the order of the struct, so
//! that `"user": []` would be a user with nothing said of it, and `"resources": [...]` limits
//! that nobody has named. The parse does not tell, so the text is looked at before it: at the
//! few bytes in front of each bracket, which costs a small part of a parse. Only when one of
//! them opens what may be no list is the text read as untyped JSON, to see for certain.

use serde_json::Value;

use super::fields::Place;
use crate::error::{Error, Result};
use crate::plan::escape;

/// Names of the fields whose values are lists, sorted. No object has one of these names.
const LISTS: [&str; 47] = [
    "DNSSearchList",
    "additionalGids",
    "ambient",
    "anet",
    "architectures",
    "args",
    "bounding",
    "createContainer",
    "createRuntime",
    "devices",
    "dtdevs",
    "effective",
    "endpointList",
    "env",
    "flags",
    "gidMappings",
    "hugepageLimits",
    "inheritable",
    "iomems",
    "ip4Addr",
    "ip6Addr",
    "irqs",
    "layerFolders",
    "maskedPaths",
    "mount",
    "mounts",
    "names",
    "namespaces",
    "options",
    "parameters",
    "permitted",
    "poststart",
    "poststop",
    "prestart",
    "priorities",
    "readonlyPaths",
    "rlimits",
    "schemata",
    "startContainer",
    "syscalls",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "uidMappings",
    "vnetInterfaces",
    "weightDevice",
];

/// # Errors
/// An array of `text` stands where an object is due; `within` is the pointer of the field that
/// the text, of the file `name`, is the value of.
pub fn refuse(text: &[u8], name: &str, within: &str) -> Result<()> {
    if !in_doubt(text) {
        return Ok(());
    }
    // What is no JSON, the parse says.
    let misplaced = serde_json::from_slice(text)
        .ok()
        .and_then(|value| misplaced(&value, &Place::of(within)));
    let Some(pointer) = misplaced else {
        return Ok(());
    };
    let what = if pointer.is_empty() { name } else { "this" };
    Err(Error::field(
        pointer,
        format!("{what} must be an object, not an array"),
    ))
}

/// Whether some bracket does not follow the name of a list.
fn in_doubt(text: &[u8]) -> bool {
    let mut brackets = text.iter().enumerate().filter(|(_, byte)| **byte == b'[');
    brackets.any(|(at, _)| list_name(&text[..at]).is_none())
}

/// The name of the list whose value is due after `text`.
fn list_name(text: &[u8]) -> Option<&str> {
    let text = text.trim_ascii_end().strip_suffix(b":")?;
    let text = text.trim_ascii_end().strip_suffix(b"\"")?;
    let start = text.iter().rposition(|byte| *byte == b'"')? + 1;
    let name = std::str::from_utf8(&text[start..]).ok()?;
    LISTS.binary_search(&name).is_ok().then_some(name)
}

/// The pointer of the first array in the place of an object.
fn misplaced(value: &Value, place: &Place) -> Option<String> {
    let below = |key: &str, value: &Value| {
        let rest = misplaced(value, &place.below(key))?;
        Some(format!("/{}{rest}", escape(key)))
    };
    match value {
        Value::Array(_) if place.is_object() => Some(String::new()),
        Value::Array(list) => list
            .iter()
            .enumerate()
            .find_map(|(index, value)| below(&index.to_string(), value)),
        Value::Object(map) => map.iter().find_map(|(key, value)| below(key, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lists_are_those_of_the_specification() {
        // Maps, whose keys are anybody's.
        let maps = ["annotations", "netDevices", "rdma", "sysctl", "unified"];
        let mut lists: Vec<_> = include_str!("fields.txt")
            .lines()
            .flat_map(|line| {
                let parts: Vec<_> = line.split(['/', ' ']).collect();
                let lists = parts.windows(2).filter(|pair| pair[1] == "*");
                lists.map(|pair| pair[0]).collect::<Vec<_>>()
            })
            .filter(|name| !maps.contains(name))
            .collect();
        lists.sort_unstable();
        lists.dedup();
        assert_eq!(lists, LISTS);
    }

    #[test]
    fn an_array_in_place_of_an_object_is_refused() {
        for (config, pointer) in [
            (json!({"process": {"user": []}}), "/process/user"),
            (json!({"linux": {"resources": [null]}}), "/linux/resources"),
            (json!({"root": ["rootfs", true]}), "/root"),
            (json!({"mounts": [{}, ["/a"]]}), "/mounts/1"),
            (
                json!({"linux": {"resources": {"rdma": {"a/b": [1]}}}}),
                "/linux/resources/rdma/a~1b",
            ),
            (
                json!({"linux": {"seccomp": {"syscalls": [{"args": [[1]]}]}}}),
                "/linux/seccomp/syscalls/0/args/0",
            ),
            (json!([]), ""),
        ] {
            for text in [config.to_string(), format!("{config:#}")] {
                let error = refuse(text.as_bytes(), "config.json", "").unwrap_err();
                assert_eq!(
                    error.target,
                    Some(crate::error::Target::Field(pointer.into()))
                );
            }
        }
        let error = refuse(b"{\"user\": []}", "p.json", "/process").unwrap_err();
        assert_eq!(
            error.to_string(),
            "this must be an object, not an array (config.json: /user)"
        );
    }

    #[test]
    fn what_is_no_mistake_is_taken() {
        let odd = json!({"process": {"args": ["[", "a,[", ":["], "env": ["A=\"x\":[["]},
            "x-lists": [[1], {"y": []}],
            "windows": {"credentialSpec": [{"user": []}]}});
        let text = odd.to_string();
        assert!(in_doubt(text.as_bytes()));
        refuse(text.as_bytes(), "config.json", "").unwrap();
        refuse(b"{\"user\": [", "config.json", "").unwrap();
    }

    #[test]
    fn configs_of_engines_are_not_read_twice() {
        for text in [
            include_str!("../../tests/bundles/docker/config.json"),
            include_str!("../../tests/bundles/podman/config.json"),
            include_str!("../../tests/bundles/containerd/config.json"),
            include_str!("../../tests/maximal/config.json"),
            include_str!("../cli/spec.json"),
        ] {
            assert!(!in_doubt(text.as_bytes()));
        }
    }
}

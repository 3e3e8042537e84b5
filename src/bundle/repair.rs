//! What the specification allows and oci-spec refuses, put right in untyped JSON.
//!
//! Called only after a parse has failed, so a config that oci-spec can read costs nothing
//! here. One function a gap, each with a test in the module above, so that it can go when the
//! crate is mended.

use serde_json::Value;

use oci_spec::runtime::Capability;
use serde::Deserialize;

/// Mend a config.json.
pub fn config(config: &mut Value, warnings: &mut Vec<String>) {
    if let Some(entry) = config.get_mut("process") {
        process(entry, warnings);
    }
}

/// Mend a process object.
pub fn process(process: &mut Value, warnings: &mut Vec<String>) {
    unknown_capabilities(process, warnings);
}

/// A name that is in no list of ours MUST be a warning (config.md, "Linux Process").
fn unknown_capabilities(process: &mut Value, warnings: &mut Vec<String>) {
    let Some(sets) = process
        .get_mut("capabilities")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    for (set, names) in sets {
        let Some(names) = names.as_array_mut() else {
            continue;
        };
        names.retain(|name| {
            // Anything but a text is a wrong type, which the next parse will name.
            let unknown = name.is_string() && Capability::deserialize(name).is_err();
            if unknown {
                warnings.push(format!(
                    "left out unknown capability {name} of the {set} set"
                ));
            }
            !unknown
        });
    }
}

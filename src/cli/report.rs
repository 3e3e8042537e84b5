//! A container as `state` and `list` show it: the state of the specification, and what the
//! peers add to it, in their order.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::container::state::State;
use crate::container::status::Status;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    #[serde(rename = "ociVersion")]
    pub oci_version: String,
    pub id: String,
    /// 0 once init is gone.
    pub pid: i32,
    #[serde(serialize_with = "word")]
    pub status: Status,
    pub bundle: String,
    pub rootfs: String,
    pub created: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Who owns the state; only `list` says it.
    pub owner: String,
}

impl Report {
    pub fn new(state: State, status: Status, owner: String) -> Self {
        Self {
            oci_version: state.config.version,
            id: state.id,
            pid: match status {
                Status::Stopped => 0,
                _ => state.init_process_pid,
            },
            status,
            bundle: state.orlop.bundle.to_string_lossy().into_owned(),
            rootfs: state.config.rootfs.to_string_lossy().into_owned(),
            created: state.created,
            annotations: state.orlop.annotations,
            owner,
        }
    }
}

fn word<S: serde::Serializer>(status: &Status, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::container::state::tests::state;

    pub(crate) fn report(id: &str, status: Status) -> Report {
        let mut state = state(id);
        state.set_init(4242, 5);
        Report::new(state, status, String::new())
    }

    #[test]
    fn a_report_has_runcs_fields_in_runcs_order() {
        let text = serde_json::to_string_pretty(&report("x", Status::Running)).unwrap();
        assert_eq!(
            text,
            r#"{
  "ociVersion": "1.2.0",
  "id": "x",
  "pid": 4242,
  "status": "running",
  "bundle": "/b",
  "rootfs": "/b/rootfs",
  "created": "2001-09-09T01:46:40.000000042Z",
  "annotations": {
    "k": "v=w"
  },
  "owner": ""
}"#
        );
    }

    #[test]
    fn a_stopped_container_has_no_pid() {
        assert_eq!(report("x", Status::Stopped).pid, 0);
        let mut none = report("x", Status::Stopped);
        none.annotations.clear();
        let text = serde_json::to_string(&none).unwrap();
        assert!(!text.contains("annotations"), "{text}");
    }
}

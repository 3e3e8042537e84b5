//! What is planned, and shown by `orlop plan`, but cannot be carried out by this build yet.
//!
//! create asks here before its first side effect, so that no field of a config is
//! ever passed over in silence. A feature that is finished takes its lines out of this file.

use super::Plan;
use crate::error::{Error, Result};

fn refuse(pointer: impl Into<String>, name: &str) -> Result<()> {
    let problem = format!("{name} is not supported by this build yet");
    Err(Error::field(pointer, problem))
}

impl Plan {
    /// # Errors
    /// The first field that asks for what this build cannot do.
    pub fn check_supported(&self) -> Result<()> {
        let filter = self.process.seccomp.as_ref();
        if filter.is_some_and(|filter| filter.listener.is_some()) {
            refuse("/linux/seccomp/listenerPath", "SCMP_ACT_NOTIFY")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::tests::{plan_of, pointer_of, with_linux};
    use serde_json::json;

    #[test]
    fn what_cannot_be_done_yet_is_refused_by_name() {
        let least = || with_linux(json!({"namespaces": [{"type": "mount"}]}));
        assert_eq!(plan_of(&least()).unwrap().check_supported(), Ok(()));
        let changes = [(
            "/linux",
            "seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent.sock",
                    "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}),
            "/linux/seccomp/listenerPath",
        )];
        for (parent, name, value, pointer) in changes {
            let mut spec = least();
            spec.pointer_mut(parent).unwrap()[name] = value;
            let error = plan_of(&spec).unwrap().check_supported().unwrap_err();
            assert_eq!(pointer_of(&error), pointer);
        }
    }
}

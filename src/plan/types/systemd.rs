//! What a plan says of the systemd driver's unit.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::dbus::Value;

/// A transient unit of systemd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SystemdUnit {
    pub name: String,
    /// It is one of the user's systemd, not of the system's.
    pub user: bool,
    /// A slice takes no processes from systemd; they are put into its cgroup by us.
    pub is_slice: bool,
    /// Processes are told by pidfd, not by number.
    pub by_pidfd: bool,
    /// All but the processes.
    pub properties: Vec<Property>,
}

impl SystemdUnit {
    /// The last one holds, as for each property.
    pub fn description(&self) -> &str {
        let all = self.properties.iter().rev();
        let mut texts = all.filter(|property| property.name == "Description");
        texts.find_map(|last| last.value.text()).unwrap_or_default()
    }
}

/// A property of a unit, by its name on the bus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Property {
    pub name: String,
    pub value: Value,
}

impl Property {
    pub fn new(name: &str, value: Value) -> Self {
        let name = name.to_owned();
        Self { name, value }
    }
}

/// What a plan must know of the systemd that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemdHost {
    pub version: u32,
    /// The cgroup below which its units are.
    pub control_group: PathBuf,
}

//! New shares of the cache and of the memory bandwidth for a container's group.

use std::path::{Path, PathBuf};

use super::resctrl::Resctrl;
use super::write;
use crate::error::{Error, Result, Step};
use crate::plan::intel_rdt::{AT, L3, MB};
use crate::plan::{IntelRdt, SchemataLine};

/// A change that is ready to be made.
#[derive(Debug)]
pub struct Change {
    resctrl: Resctrl,
    /// The group's `schemata`.
    path: PathBuf,
    text: String,
    /// JSON pointer of what asks for it, where that is one field alone.
    field: String,
    /// What it said before.
    before: String,
}

impl Change {
    /// See what the host has, and that the container has a group. `dir` is what its state
    /// remembers of it, empty for none.
    pub fn find(plan: &IntelRdt, dir: &str) -> Result<Self> {
        let resctrl = Resctrl::find().map_err(|error| {
            let field = plan.schemata.first().map_or(L3, |line| &line.field);
            Error {
                hint: error.hint,
                ..not_enabled(field)
            }
        })?;
        Self::at(resctrl, plan, dir)
    }

    pub(super) fn at(resctrl: Resctrl, plan: &IntelRdt, dir: &str) -> Result<Self> {
        let has = |name: &str| resctrl.root.join("info").join(name).exists();
        let asks = |field: &str| plan.schemata.iter().any(|line| line.field == field);
        if asks(L3) && !has("L3") && !has("L3CODE") {
            return Err(not_enabled(L3));
        }
        if asks(MB) && !has("MB") {
            return Err(not_enabled(MB));
        }
        if dir.is_empty() {
            let words = "updating a non-existent Intel RDT configuration is not supported";
            return Err(Error::new(words));
        }
        let path = Path::new(dir).join("schemata");
        let before = std::fs::read_to_string(&path).step_on("read schemata", &path)?;
        let field = match plan.schemata.as_slice() {
            [only] => &only.field,
            _ => AT,
        };
        let line = |line: &SchemataLine| format!("{}\n", line.line);
        Ok(Self {
            text: plan.schemata.iter().map(line).collect(),
            field: field.to_owned(),
            resctrl,
            path,
            before,
        })
    }

    /// All lines in one write: the kernel takes all or none.
    pub fn make(&self) -> Result<()> {
        write(&self.path, &self.text).map_err(|error| {
            let error = error.with_field(&self.field);
            match self.resctrl.last_status() {
                Some(status) => error.with_hint(format!("last_cmd_status: {status}")),
                None => error,
            }
        })
    }

    pub fn put_back(&self) {
        if let Err(error) = write(&self.path, &self.before) {
            log::warn!("put back the schemata: {error}");
        }
    }
}

/// In the words of runc.
fn not_enabled(field: &str) -> Error {
    let words = match field {
        MB => "Intel RDT/MBA: memory bandwidth schema is not enabled",
        _ => "Intel RDT/CAT: l3 cache schema is not enabled",
    };
    Error::field(field, words)
}

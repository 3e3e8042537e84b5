//! Names of containers. An id becomes a directory name, a cgroup and part of messages, so only
//! valid ones exist as a [`ContainerId`]: a path is never built from anything else.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Longest id, in bytes: a directory of that name must be possible (NAME_MAX).
const LONGEST: usize = 255;

/// A valid id: ASCII letters, digits, `_`, `+`, `-` and `.`, but neither `.` nor `..`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// Check `text`; the error says what runc says.
    pub fn new(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("container id cannot be empty"));
        }
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_+-.".contains(&b);
        if text.len() > LONGEST || !text.bytes().all(allowed) || text == "." || text == ".." {
            return Err(Error::invalid("invalid container ID format"));
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::new(text)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_ids() {
        for text in [
            "a",
            "redis-1",
            "A_b+c.d",
            "...",
            "..a",
            "-x",
            &"x".repeat(255),
        ] {
            assert_eq!(ContainerId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_file_name_of_its_own_is_refused() {
        for text in [
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "ä",
            "a\n",
            "a\0",
            "a:b",
            &"x".repeat(256),
        ] {
            let error = ContainerId::new(text).unwrap_err();
            assert_eq!(error.to_string(), "invalid container ID format", "{text:?}");
        }
        assert_eq!(
            ContainerId::new("").unwrap_err().to_string(),
            "container id cannot be empty"
        );
    }
}

//! What oci-spec needs of `regex`, and no more; Cargo.toml beside this file says why.

use std::convert::Infallible;

/// An expression that everything matches.
#[derive(Debug)]
pub struct Regex;

impl Regex {
    pub fn new(_: &str) -> Result<Self, Infallible> {
        Ok(Self)
    }

    pub fn is_match(&self, _: &str) -> bool {
        true
    }
}

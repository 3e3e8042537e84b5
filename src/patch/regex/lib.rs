//! `regex-lite` by the name of `regex`; Cargo.toml beside this file says why.
pub use regex_lite::*;

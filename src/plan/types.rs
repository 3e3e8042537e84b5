//! The larger parts of a plan, each of which many rooms act on.

pub mod mounts;
pub mod process;
pub mod systemd;

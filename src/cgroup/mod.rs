//! Control groups: where they are, how a container gets into its own, what limits it there.
//!
//! `layout` finds the host's arrangement once (v1, v2 or hybrid). The plan computes paths and
//! writes from it; this room makes the directories, writes the files, loads the device
//! program, freezes, signals and removes. It knows nothing of bundles.

mod layout;

pub use layout::{Hierarchy, Layout};

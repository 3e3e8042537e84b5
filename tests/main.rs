//! Tests of the whole runtime: the real binary as root on real bundles, a module a topic.
//!
//! `cargo test` runs them with the orlop that cargo built, `make test-reference` with runc.
//! How they work, and what a new one needs, is told in `support`.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod capabilities;
mod devices;
mod harness;
mod lifecycle;
mod mounts;
mod namespaces;
mod paths;
mod process;
mod propagation;
mod rootfs;
mod seccomp;
mod support;
mod userns;

//! Tests of the whole runtime: the real binary as root on real bundles, a module a topic.
//!
//! `cargo test` runs them with the orlop that cargo built, `make test-reference` with runc.
//! How they work, and what a new one needs, is told in `support`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod bad_input;
mod capabilities;
mod cgroup_layout;
mod cgroup_v2_limits;
mod cgroups;
mod checkpoint;
mod delegation;
mod devices;
mod differential;
mod equal;
mod events;
mod exec;
mod exec_cgroup;
mod exec_process;
mod failure;
mod fields;
mod flags;
mod harness;
mod hooks;
mod host;
mod idmap;
mod intel_rdt;
mod joining;
mod kill;
mod libseccomp;
mod lifecycle;
mod limits;
mod list;
mod many;
mod maximal;
mod maximal_run;
mod mount_options;
mod mount_targets;
mod mounts;
mod namespaces;
mod net_devices;
mod notify;
mod old_kernel;
mod paths;
mod pause;
mod pid_file;
mod process;
mod propagation;
mod rootfs;
mod rootless;
mod scheduling;
mod seccomp;
mod seccomp_notify;
mod shared_mounts;
mod sources;
mod state_file;
mod support;
mod sysctl;
mod systemd;
mod terminal;
mod terminal_foreground;
mod traced;
mod update;
mod userns;

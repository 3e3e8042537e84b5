//! orlop: an OCI low-level container runtime.
#![allow(dead_code)]

mod bundle;
mod cgroup;
mod container;
mod error;
mod host;
mod init;
mod plan;
mod procfs;
mod seccomp;
mod sys;

fn main() {}

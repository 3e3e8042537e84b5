//! orlop: an OCI low-level container runtime.
#![allow(dead_code)]

mod cgroup;
mod container;
mod error;
mod host;
mod plan;
mod seccomp;
mod sys;

fn main() {}

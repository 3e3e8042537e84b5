//! orlop: an OCI low-level container runtime.
#![allow(dead_code)]

mod bundle;
mod cgroup;
mod cli;
mod container;
mod error;
mod hooks;
mod host;
mod init;
mod log;
mod plan;
mod procfs;
mod seal;
mod seccomp;
mod sys;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().collect())
}

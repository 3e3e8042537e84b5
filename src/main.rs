//! orlop: an OCI low-level container runtime.

mod bundle;
mod cgroup;
mod cli;
mod container;
mod criu;
mod dbus;
mod error;
mod fd_socket;
mod hooks;
mod host;
mod init;
mod intel_rdt;
mod log;
mod mountinfo;
mod netlink;
mod plan;
mod procfs;
mod seal;
mod seccomp;
mod sys;

use std::ffi::OsString;
use std::process::ExitCode;

/// The verbs that enter a container, and so must not be run from the host's binary.
const SEALED_VERBS: [&str; 4] = ["create", "run", "exec", "restore"];

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    // Before anything is parsed, so that nothing is done twice. A flag's value that happens to
    // be one of these words costs a seal that was not needed.
    let enters = words
        .iter()
        .skip(1)
        .any(|word| SEALED_VERBS.iter().any(|verb| word == verb));
    let sealed = if enters { Some(seal::ensure()) } else { None };
    seal::tidy();
    cli::run(words, sealed)
}

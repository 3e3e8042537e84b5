//! How an engine is told of what was started: by a file with its pid, and by a pidfd.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::unistd::Pid;

use super::process::Process;
use crate::error::{Error, Result, Step};
use crate::fd_socket;

/// Both, as far as they were asked for. `payload` says at the pidfd socket whose pidfd it is:
/// `standard` for init, `setns` for a process of exec.
pub fn process(
    process: &Process,
    pid_file: Option<&Path>,
    pidfd_socket: Option<&Path>,
    payload: &str,
) -> Result<()> {
    if let Some(path) = pid_file {
        write(path, process.pid())?;
    }
    match fd_socket::connect_if_given(pidfd_socket, "pidfd")? {
        Some(socket) => fd_socket::send(&socket, process.pidfd(), payload),
        None => Ok(()),
    }
}

/// Digits without a newline, whole or not at all: written beside it and renamed.
fn write(path: &Path, pid: Pid) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::invalid("the pid file needs a name").with_path(path))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let step = "write the pid file";
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(&temporary)
        .step_on(step, &temporary)?;
    let done = file
        .write_all(pid.to_string().as_bytes())
        .and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done.step_on(step, path)
}

//! The file that tells an engine the pid of what was started.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::unistd::Pid;

use crate::error::{Error, Result, Step};

/// Digits without a newline, whole or not at all: written beside it and renamed.
pub fn write(path: &Path, pid: Pid) -> Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::invalid("the pid file needs a name").with_path(path))?;
    let temporary = path.with_file_name(format!(".{}", name.to_string_lossy()));
    let step = "write the pid file";
    let done = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o666)
        .open(&temporary)
        .and_then(|mut file| file.write_all(pid.to_string().as_bytes()))
        .and_then(|()| std::fs::rename(&temporary, path));
    if done.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    done.step_on(step, path)
}

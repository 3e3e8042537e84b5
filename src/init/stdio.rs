//! What the container's process gets for stdin, stdout and stderr in place of the runtime's.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

use crate::error::{Result, Step};

/// Handed over by the parent; empty, stdio is the runtime's own.
#[derive(Debug, Default)]
pub struct Stdio {
    /// The process gets a terminal, whose master goes there.
    pub console: Option<OwnedFd>,
    /// The caller's terminal is at the other side of it, and makes line ends; so this one
    /// makes none (ONLCR). Whoever has the console socket decides that itself.
    pub is_copied: bool,
    /// In place of a terminal of the caller's: see `container::foreground::stdio`.
    pub pipes: [Option<OwnedFd>; 3],
}

impl Stdio {
    /// What must outlive the closing of the runtime's fds.
    pub fn raw_fds(&self) -> impl Iterator<Item = RawFd> {
        let all = self.console.iter().chain(self.pipes.iter().flatten());
        all.map(AsRawFd::as_raw_fd)
    }

    /// Put the pipes where they belong. Before anything of the container's runs: what is
    /// replaced is gone from here on.
    pub fn take_pipes(&self) -> Result<()> {
        let step = "take a pipe for stdio";
        let [stdin, stdout, stderr] = &self.pipes;
        stdin.as_ref().map(dup2_stdin).transpose().step(step)?;
        stdout.as_ref().map(dup2_stdout).transpose().step(step)?;
        stderr.as_ref().map(dup2_stderr).transpose().step(step)?;
        Ok(())
    }
}

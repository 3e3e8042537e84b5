//! Work that goes on while a test changes the container, until a file says that it is enough.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{self, ForkResult};

/// What ends the work.
const ENOUGH: &str = "/tmp/enough";

fn until_enough(mut round: impl FnMut() -> Result<(), String>) -> Result<i32, String> {
    println!("ready");
    std::io::stdout().flush().map_err(|e| e.to_string())?;
    let mut rounds = 0_u64;
    while !Path::new(ENOUGH).exists() {
        round().map_err(|problem| format!("round {rounds}: {problem}"))?;
        rounds += 1;
    }
    println!("{rounds} rounds");
    Ok(0)
}

/// Open one device, which must always work, and another, which must never.
pub fn doors(open: &str, shut: &str) -> Result<i32, String> {
    let write = |path: &str| OpenOptions::new().write(true).open(path).map(drop);
    until_enough(|| {
        write(open).map_err(|e| format!("{open}: {e}"))?;
        match write(shut) {
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => Ok(()),
            Err(error) => Err(format!("{shut}: {error}")),
            Ok(()) => Err(format!("{shut} was opened")),
        }
    })
}

/// Hold so many MiB; touch and give back as many again, and start and reap a child.
pub fn churn(megabytes: usize) -> Result<i32, String> {
    let mut held = vec![1_u8; megabytes << 20];
    until_enough(|| {
        let more = vec![1_u8; megabytes << 20];
        held[0] = more[more.len() / 2];
        // SAFETY: the probe has one thread, so the child may do anything.
        match unsafe { unistd::fork() }.map_err(|e| e.to_string())? {
            ForkResult::Child => std::process::exit(7),
            ForkResult::Parent { child } => match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, 7)) => Ok(()),
                other => Err(format!("a child's end was {other:?}")),
            },
        }
    })
}

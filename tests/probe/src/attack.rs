//! What a hostile container does to processes of the runtime that it can see.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use crate::{files, sys};

/// Numbers of processes to try; one is us, and the runtime's come soon after it.
const PIDS: std::ops::Range<u32> = 2..200;

/// Try to open `/proc/PID/<what>` of every process, for ever; say once what the file has.
pub fn grab(whats: &[&str]) -> Result<i32, String> {
    say("ready")?;
    loop {
        for pid in PIDS {
            let open = |what: &&str| File::open(format!("/proc/{pid}/{what}")).ok();
            let Some(file) = whats.iter().find_map(open) else {
                continue;
            };
            let mut text = String::new();
            let read = file.take(100).read_to_string(&mut text);
            say(&read.map_or_else(|e| files::errno_name(&e), |_| format!("grabbed {text}")))?;
            return super::commands::sleep();
        }
    }
}

/// Get hold of the program of another process, and open it for writing once it does not run
/// any more; say how that went.
pub fn overwrite() -> Result<i32, String> {
    let own = File::open("/proc/self/exe").and_then(|file| file.metadata());
    let own = own.map_err(|e| e.to_string())?.ino();
    say("ready")?;
    loop {
        for pid in PIDS {
            let Ok(program) = File::open(format!("/proc/{pid}/exe")) else {
                continue;
            };
            if program.metadata().is_ok_and(|meta| meta.ino() == own) {
                continue;
            }
            say("held")?;
            let made = sys::make_writable(&program);
            let made = made.map_or_else(|e| files::errno_name(&e), |()| "ok".to_owned());
            say(&format!("made writable: {made}"))?;
            let path = format!("/proc/self/fd/{}", program.as_raw_fd());
            let outcome = loop {
                match OpenOptions::new().write(true).open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {}
                    Err(error) => break files::errno_name(&error),
                    Ok(_) => break "ok".to_owned(),
                }
            };
            say(&format!("opened for writing: {outcome}"))?;
            return super::commands::sleep();
        }
    }
}

/// Trace every process that can be traced before it runs our own program; say so when one is.
pub fn trace() -> Result<i32, String> {
    let own = File::open("/proc/self/exe").and_then(|file| file.metadata());
    let own = own.map_err(|e| e.to_string())?.ino();
    // Ours, which would get nowhere if we went on stopping them.
    let mut known = HashSet::new();
    say("ready")?;
    loop {
        for pid in PIDS {
            // Stopped, it stays what it is while we look.
            if known.contains(&pid) || sys::attach(pid).is_err() {
                continue;
            }
            let program = std::fs::metadata(format!("/proc/{pid}/exe"));
            if program.is_ok_and(|meta| meta.ino() != own) {
                say("traced")?;
            }
            sys::detach(pid);
            known.insert(pid);
        }
    }
}

/// Mount what is at one path, a link included, over another; then wait for ever.
pub fn over(from: &str, to: &str) -> Result<i32, String> {
    let text = |path: &str| CString::new(path).map_err(|e| e.to_string());
    sys::mount_over(&text(from)?, &text(to)?).map_err(|e| files::errno_name(&e))?;
    super::commands::sleep()
}

/// Exchange the two names of each pair, for ever.
pub fn swap(names: &[&str]) -> Result<i32, String> {
    let text = |path: &&str| CString::new(*path).map_err(|e| e.to_string());
    let names = names.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    loop {
        for pair in names.chunks_exact(2) {
            sys::exchange(&pair[0], &pair[1]).map_err(|e| e.to_string())?;
        }
    }
}

fn say(text: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{text}").map_err(|e| e.to_string())
}

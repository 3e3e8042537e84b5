//! The probe: the only program in the root file system of a test container.
//!
//! `probe report` prints one JSON object with all that a process can see of itself; the other
//! commands do one small thing each, so that a test can say in one line what must happen
//! inside. The probe is a static program without Rust's own start code, because that changes
//! what is to be reported: it ignores SIGPIPE and reopens closed standard streams.
#![no_main]

mod attack;
mod commands;
mod files;
mod kernel;
mod load;
mod notify;
mod report;
mod sys;
mod tty;

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::slice;

/// The C runtime's entry: collects argv and hands over to the command.
///
/// Exits with the command's status; 2 for a wrong call, 3 when a command itself fails.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the C runtime passes argc pointers to NUL-terminated strings that live for ever.
    let pointers = unsafe { slice::from_raw_parts(argv, count) };
    let args: Vec<String> = pointers
        .iter()
        // SAFETY: as above, each of the argc pointers is a valid NUL-terminated string.
        .map(|&arg| unsafe { CStr::from_ptr(arg) })
        .map(|arg| {
            OsStr::from_bytes(arg.to_bytes())
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    match commands::dispatch(&args) {
        Ok(status) => status,
        Err(message) => {
            eprintln!("probe: {message}");
            3
        }
    }
}

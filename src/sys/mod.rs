//! The kernel interfaces that nix does not have, as typed functions.
//!
//! The only home of `unsafe`; it holds no policy. One file an interface. Each function is one
//! system call (or the few that make one operation), takes and returns owned or borrowed fds,
//! and gives back nix's `Errno`.
#![allow(unsafe_code)]

pub mod alloc;
pub mod bpf;
pub mod caps;
pub mod clone;
pub mod exec;
pub mod keyring;
pub mod mount;
pub mod namespace;
pub mod net;
pub mod netlink;
pub mod pidfd;
pub mod process;
pub mod pty;
pub mod seccomp;
pub mod socket;
pub mod wait;
pub mod xattr;

use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The result of a system call that gives a new fd.
fn owned_fd(rc: libc::c_long) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(rc)?;
    // SAFETY: callers pass the return value of a call that has just made this fd for us, so
    // nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

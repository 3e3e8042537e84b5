//! The kernel interfaces that nix does not have, as typed functions.
//!
//! The only home of `unsafe`; it holds no policy. One file an interface. Each function is one
//! system call (or the few that make one operation), takes and returns owned or borrowed fds,
//! and gives back nix's `Errno`.
#![allow(unsafe_code)]

pub mod caps;
pub mod pidfd;

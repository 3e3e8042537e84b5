//! What the standard streams of init are, as their files below /proc/self/fd name them.
//!
//! Asked once, at create, where they are still ours: the program may open others in their place,
//! and a checkpoint must know which pipes lead out of the container (three calls, 2 us in all).

use std::os::fd::{AsRawFd, OwnedFd};

use crate::init::stdio::Stdio;

/// `pipe:[123]`, `/dev/null` and so on, by number; empty for one that is not open. `given` takes
/// the place of ours where it has pipes.
pub fn standard_streams(given: Option<&Stdio>) -> Vec<String> {
    let fd_of = |index: usize| {
        let pipe = given.and_then(|stdio| stdio.pipes.get(index)?.as_ref());
        pipe.map_or(index as i32, OwnedFd::as_raw_fd)
    };
    (0..3)
        .map(|index| {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", fd_of(index)));
            link.map_or_else(|_| String::new(), |to| to.to_string_lossy().into_owned())
        })
        .collect()
}

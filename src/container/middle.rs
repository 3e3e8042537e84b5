//! A middle process: it joins namespaces that the runtime could not leave again, clones the
//! process that is wanted as the runtime's child (CLONE_PARENT), and ends.

use std::convert::Infallible;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

use crate::cgroup::systemd::UnitName;
use crate::error::{Error, Kind, Result, Step};
use crate::init::channel::{self, Channel, Message};
use crate::sys::{clone, pidfd, process};

/// How the middle process, and with it its child, gets into its v2 cgroup.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Born there; `None`: it stays in ours.
    BornIn(Option<BorrowedFd<'a>>),
    /// Put there by systemd, before it does anything: into a unit, or a cgroup below the unit's.
    AttachedTo(&'a UnitName, &'a Path),
}

/// Clone by way of a process that first does `join`, for which it is given its line to us;
/// `flags` are CLONE_NEW* bits for the second clone, `child` is the life of what comes of it.
pub fn clone_through(
    flags: u64,
    place: Place,
    join: impl FnOnce(&Channel) -> Result<()>,
    child: impl FnOnce() -> Infallible,
    explain: fn(Errno) -> Error,
) -> Result<(Pid, OwnedFd)> {
    // A line of its own: the child talks on the other one as soon as it lives.
    let (ours, theirs) = Channel::pair()?;
    let ours_in_child = ours.raw_fd();
    let join_and_clone = || {
        if let Place::AttachedTo(..) = place {
            // Ours would keep the line open when the runtime has gone.
            let _ = nix::unistd::close(ours_in_child);
            theirs.wait_for_go()?;
        }
        // Inside a joined pid namespace we are seen by what lives there.
        process::set_dumpable(false).step("become undumpable")?;
        join(&theirs)?;
        // To join a user namespace is a change of credentials, which resets it.
        process::set_dumpable(false).step("become undumpable")?;
        let flags = flags | libc::CLONE_PARENT as u64;
        clone::clone3(flags, None, child).map_err(explain)
    };
    let middle = || match join_and_clone() {
        Ok((pid, _)) => {
            let _ = theirs.send(&Message::Cloned(pid.as_raw()));
            process::exit_now(0)
        }
        Err(error) => {
            channel::send_failure(theirs.raw_fd(), &error);
            process::exit_now(1)
        }
    };
    let born_in = match place {
        Place::BornIn(dir) => dir,
        Place::AttachedTo(..) => None,
    };
    let (middle, _) = clone::clone3(0, born_in, middle).map_err(explain)?;
    drop(theirs);
    if let Place::AttachedTo(unit, below) = place {
        let attached = unit.attach(middle, below);
        if let Err(error) = attached.and_then(|()| ours.send(&Message::Go)) {
            drop(ours);
            let _ = waitpid(middle, None);
            return Err(error);
        }
    }
    let answer = ours.receive();
    let _ = waitpid(middle, None);
    let pid = match answer? {
        Some(Message::Cloned(pid)) => Pid::from_raw(pid),
        Some(Message::Failed(error)) => return Err(error),
        _ => {
            let text = "the process between the runtime and init died";
            return Err(Error::new(text).with_kind(Kind::Died));
        }
    };
    // Our child, not reaped yet: the number cannot be anybody else's.
    let pidfd = pidfd::open(pid).step("open the cloned process")?;
    Ok((pid, pidfd))
}

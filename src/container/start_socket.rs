//! The socket on which a created container waits for `start`, in its state directory.
//!
//! Engines' root directories are longer than a socket's name may be (108 bytes), so both ends
//! name it by /proc/self/fd and the directory's fd.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, socket};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::os::fd::AsRawFd;

use super::store::{Dir, START_SOCKET};
use crate::error::{Result, Step};
use crate::init::channel::{Channel, Gate};
use crate::procfs::fd_path;

/// Make the socket; init inherits it listening.
pub fn bind_in(dir: &Dir) -> Result<Gate> {
    let fd = new_socket()?;
    bind(fd.as_raw_fd(), &address(dir)?).step("bind the start socket")?;
    Gate::listen(fd)
}

/// Connect to init; `None` when nobody listens any more: it has been started, or is gone.
pub fn connect_to(dir: &Dir) -> Result<Option<Channel>> {
    let fd = new_socket()?;
    match connect(fd.as_raw_fd(), &address(dir)?) {
        Ok(()) => Ok(Some(Channel::from_fd(fd))),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(errno).step("connect to the container's init"),
    }
}

/// Take the name away: from then on the container counts as started.
pub fn remove(dir: &Dir) -> Result<()> {
    match unlinkat(dir.fd(), START_SOCKET, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno).step("remove the start socket"),
    }
}

fn new_socket() -> Result<std::os::fd::OwnedFd> {
    socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .step("make a socket")
}

fn address(dir: &Dir) -> Result<UnixAddr> {
    let path = format!("{}/{START_SOCKET}", fd_path(dir.fd().as_fd()));
    UnixAddr::new(path.as_str()).step("name the start socket")
}

//! Sockets, where nix gives a bare number instead of an owned fd.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::owned_fd;

/// accept4(2) with SOCK_CLOEXEC; the peer's address is not asked for.
pub fn accept(listener: BorrowedFd) -> Result<OwnedFd, Errno> {
    // SAFETY: null pointers mean that no address is stored.
    owned_fd(unsafe {
        libc::syscall(
            libc::SYS_accept4,
            listener.as_raw_fd(),
            std::ptr::null_mut::<libc::sockaddr>(),
            std::ptr::null_mut::<libc::socklen_t>(),
            libc::SOCK_CLOEXEC,
        )
    })
}

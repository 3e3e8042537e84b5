//! The routing socket (rtnetlink(7)).

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};

/// A socket of the current network namespace, to which it stays bound. The kernel gives its
/// reasons as text in error messages, where it knows how to (Linux 4.12).
pub fn route_socket() -> Result<OwnedFd, Errno> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    let on: libc::c_int = 1;
    // SAFETY: the option takes an int, which lives until the call is over. That an old kernel
    // does not have it costs only the text.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Ok(socket)
}

//! Sockets, where nix gives a bare number instead of an owned fd.

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

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

/// Receive one message that carries one fd (SCM_RIGHTS), and no text that matters. EBADMSG: it
/// carries none, or more than one.
pub fn receive_fd(socket: BorrowedFd) -> Result<OwnedFd, Errno> {
    receive_message(socket, &mut [0; 1])?
        .1
        .ok_or(Errno::EBADMSG)
}

/// Receive one message: so many bytes of `text`, and the fd that it carries, if any. EBADMSG: it
/// carries more than one. EMSGSIZE: it is longer than `text`, which a SOCK_SEQPACKET socket cuts.
pub fn receive_message(
    socket: BorrowedFd,
    text: &mut [u8],
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut control = cmsg_space!([RawFd; 1]);
    let mut texts = [IoSliceMut::new(text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut texts, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            // SAFETY: the kernel has just made these fds for us; nobody else owns them.
            fds.extend(
                received
                    .iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }),
            );
        }
    }
    let fd = fds.pop();
    if !fds.is_empty() {
        return Err(Errno::EBADMSG);
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fd))
}

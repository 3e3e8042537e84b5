//! Questions to a namespace's file (ioctl_ns(2)).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

/// NS_GET_NSTYPE of linux/nsfs.h: the CLONE_NEW* bit of its kind. ENOTTY: no namespace at all.
pub fn kind_of(namespace: BorrowedFd) -> Result<i32, Errno> {
    const NS_GET_NSTYPE: u32 = 0xb703;
    // SAFETY: takes no argument and touches no memory.
    let rc = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_NSTYPE as libc::Ioctl) };
    Errno::result(rc)
}

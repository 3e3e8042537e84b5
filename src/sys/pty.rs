//! Pseudo-terminals by ioctl (ioctl_tty(2)), where a path could lead elsewhere.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::owned_fd;

/// TIOCSPTLCK: let the peer of this master be opened.
pub fn unlock(master: BorrowedFd) -> Result<(), Errno> {
    let locked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int that lives across the call.
    let rc = unsafe {
        let request = libc::TIOCSPTLCK as libc::Ioctl;
        libc::ioctl(master.as_raw_fd(), request, &raw const locked)
    };
    Errno::result(rc).map(drop)
}

/// TIOCGPTPEER (Linux 4.13): the other end, opened without a path. Not as controlling terminal.
pub fn peer(master: BorrowedFd) -> Result<OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes open flags as an integer and gives a new fd.
    owned_fd(unsafe {
        let request = libc::TIOCGPTPEER as libc::Ioctl;
        libc::c_long::from(libc::ioctl(master.as_raw_fd(), request, flags))
    })
}

/// TIOCGPTN: the number of the pair, the peer's name in its devpts.
pub fn number(master: BorrowedFd) -> Result<u32, Errno> {
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    let rc = unsafe {
        let request = libc::TIOCGPTN as libc::Ioctl;
        libc::ioctl(master.as_raw_fd(), request, &raw mut number)
    };
    Errno::result(rc).map(|_| number)
}

/// TIOCSWINSZ: the size in characters.
pub fn set_size(terminal: BorrowedFd, rows: u16, columns: u16) -> Result<(), Errno> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize that lives across the call.
    let rc = unsafe {
        let request = libc::TIOCSWINSZ as libc::Ioctl;
        libc::ioctl(terminal.as_raw_fd(), request, &raw const size)
    };
    Errno::result(rc).map(drop)
}

/// TIOCSCTTY: make it the controlling terminal of our session, of which we are the leader.
pub fn take_control(terminal: BorrowedFd) -> Result<(), Errno> {
    // SAFETY: TIOCSCTTY takes an integer; 0 takes no terminal from anybody.
    let rc = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY as libc::Ioctl, 0) };
    Errno::result(rc).map(drop)
}

/// TIOCGWINSZ: rows and columns; 0 by 0 where nobody has set a size.
pub fn size(terminal: BorrowedFd) -> Result<(u16, u16), Errno> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize that lives across the call.
    let rc = unsafe {
        let request = libc::TIOCGWINSZ as libc::Ioctl;
        libc::ioctl(terminal.as_raw_fd(), request, &raw mut size)
    };
    Errno::result(rc).map(|_| (size.ws_row, size.ws_col))
}

//! The session keyring (keyctl(2)).

use std::ffi::CStr;

use nix::errno::Errno;

/// KEYCTL_JOIN_SESSION_KEYRING of linux/keyctl.h.
const JOIN_SESSION_KEYRING: libc::c_int = 1;
/// KEYCTL_SETPERM of linux/keyctl.h.
const SETPERM: libc::c_int = 5;
/// KEYCTL_DESCRIBE of linux/keyctl.h.
const DESCRIBE: libc::c_int = 6;

/// Join the session keyring of this name, made when it is not there; gives its serial number.
pub fn join_session(name: &CStr) -> Result<i32, Errno> {
    // SAFETY: the name is a string that outlives the call.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) };
    Errno::result(rc).map(|serial| serial as i32)
}

/// The permission mask of a key (four bytes: possessor, user, group, others).
pub fn permissions(serial: i32) -> Result<u32, Errno> {
    let mut text = [0u8; 512];
    // SAFETY: the kernel writes at most `text.len()` bytes into `text`.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            DESCRIBE,
            serial,
            text.as_mut_ptr(),
            text.len(),
        )
    };
    Errno::result(rc)?;
    // `type;uid;gid;perm;description`
    let text = String::from_utf8_lossy(&text);
    let mask = text.split(';').nth(3).unwrap_or_default();
    u32::from_str_radix(mask, 16).map_err(|_| Errno::EINVAL)
}

/// Set the permission mask of a key.
pub fn set_permissions(serial: i32, mask: u32) -> Result<(), Errno> {
    // SAFETY: SETPERM takes two integers and touches no memory.
    let rc = unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, serial, mask) };
    Errno::result(rc).map(drop)
}

//! execve(2) and execveat(2) on strings that were prepared beforehand.

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;

/// Arguments or variables in the form that execve takes.
///
/// # Errors
/// EINVAL where one of them holds a zero byte, with which it would end.
pub fn strings<T: Into<Vec<u8>>>(
    texts: impl IntoIterator<Item = T>,
) -> Result<Vec<CString>, Errno> {
    texts.into_iter().map(string).collect()
}

/// A path, or one of the [`strings`].
pub fn string(text: impl Into<Vec<u8>>) -> Result<CString, Errno> {
    CString::new(text).map_err(|_| Errno::EINVAL)
}

/// The environment of this process, as `NAME=value`.
pub fn own_environment() -> impl Iterator<Item = Vec<u8>> {
    std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='))
}

/// Execute what `fd` refers to. Returns only when that failed.
pub fn execveat_fd(
    fd: BorrowedFd,
    argv: &[CString],
    envp: &[CString],
) -> Result<Infallible, Errno> {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    Err(Errno::last())
}

/// Execute `path`. Returns only when that failed.
pub fn execve(path: &CStr, argv: &[CString], envp: &[CString]) -> Result<Infallible, Errno> {
    let (argv, envp) = (pointers(argv), pointers(envp));
    // SAFETY: both arrays end with a null pointer and their strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    Err(Errno::last())
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings
        .iter()
        .map(|s| s.as_ptr())
        .chain(std::iter::once(std::ptr::null()))
        .collect()
}

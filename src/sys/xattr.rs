//! Extended attributes, which nix does not have.

use std::ffi::CStr;

use nix::errno::Errno;

/// Set an attribute of what `path` names; a link is not followed.
pub fn set(path: &CStr, name: &CStr, value: &[u8]) -> Result<(), Errno> {
    // SAFETY: path and name are strings, and the kernel reads `value.len()` bytes of the value.
    let rc = unsafe {
        libc::lsetxattr(
            path.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    Errno::result(rc).map(drop)
}

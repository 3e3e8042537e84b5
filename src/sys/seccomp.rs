//! seccomp(2): load a filter for the calling thread.

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

use crate::seccomp::Insn;

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    len: libc::c_ushort,
    filter: *const Insn,
}

/// SECCOMP_SET_MODE_FILTER. `flags` are SECCOMP_FILTER_FLAG_* bits; with NEW_LISTENER the fd
/// for notifications (close-on-exec) is returned.
///
/// Never sets no_new_privs: without it and without CAP_SYS_ADMIN in the user namespace the
/// kernel says EACCES. EINVAL is a program that the kernel does not take, or a flag that it
/// does not know; ESRCH with TSYNC and NEW_LISTENER, a thread that cannot follow.
pub fn load(program: &[Insn], flags: u64) -> Result<Option<OwnedFd>, Errno> {
    let program = Program {
        len: program.len().try_into().map_err(|_| Errno::EINVAL)?,
        filter: program.as_ptr(),
    };
    // SAFETY: `Insn` is laid out as `struct sock_filter`; the kernel reads `len` of them and
    // the program itself, both of which live across the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            &raw const program,
        )
    };
    let value = Errno::result(rc)?;
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 {
        let fd = i32::try_from(value).map_err(|_| Errno::EBADF)?;
        // SAFETY: with NEW_LISTENER the call returns a new fd that nothing else owns.
        return Ok(Some(unsafe { OwnedFd::from_raw_fd(fd) }));
    }
    // TSYNC returns the id of a thread that could not follow.
    if value == 0 {
        Ok(None)
    } else {
        Err(Errno::ESRCH)
    }
}

/// The first of these SECCOMP_FILTER_FLAG_* bits that this kernel does not know.
pub fn unknown_flag(flags: u64) -> Option<u64> {
    let bits = (0..u64::BITS).map(|bit| 1 << bit);
    bits.filter(|bit| flags & bit != 0).find(|&bit| {
        // Flags of a listener are refused without one.
        let with = match bit {
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            _ => 0,
        };
        !knows_flags(bit | with)
    })
}

/// Whether this kernel knows these SECCOMP_FILTER_FLAG_* bits. It looks at them before it reads
/// the program, and of that there is none: EFAULT where they are known, EINVAL where not.
pub fn knows_flags(flags: u64) -> bool {
    // SAFETY: the kernel reads a program from a null pointer, which fails without harm.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::c_ulong::from(libc::SECCOMP_SET_MODE_FILTER),
            flags,
            std::ptr::null::<Program>(),
        )
    };
    Errno::result(rc) == Err(Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_which_flags_it_knows() {
        assert!(knows_flags(libc::SECCOMP_FILTER_FLAG_LOG));
        assert!(!knows_flags(1 << 30));
    }
}

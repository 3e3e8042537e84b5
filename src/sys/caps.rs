//! Capability sets of the calling thread, whole masks at a time.

use nix::errno::Errno;

/// Number of the last capability that the running kernel knows (PR_CAPBSET_READ says EINVAL
/// above it).
pub fn last_capability() -> u8 {
    // 40 is CAP_CHECKPOINT_RESTORE, the last one since Linux 5.9: two calls on most hosts.
    let known = |cap: u8| {
        // SAFETY: PR_CAPBSET_READ takes an integer and touches no memory.
        unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(cap), 0, 0, 0) >= 0 }
    };
    let mut last = 40;
    while last < 63 && known(last + 1) {
        last += 1;
    }
    while last > 0 && !known(last) {
        last -= 1;
    }
    last
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// _LINUX_CAPABILITY_VERSION_3 of linux/capability.h.
const VERSION_3: u32 = 0x2008_0522;

/// The permitted set.
pub fn permitted() -> Result<u64, Errno> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 makes the kernel fill exactly two `Data`, which live across the call.
    let rc = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(rc)?;
    Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
}

/// Set effective, permitted and inheritable at once.
pub fn set(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    let mut header = Header {
        version: VERSION_3,
        pid: 0,
    };
    let word = |mask: u64, high: bool| {
        if high {
            (mask >> 32) as u32
        } else {
            mask as u32
        }
    };
    let data = [false, true].map(|high| Data {
        effective: word(effective, high),
        permitted: word(permitted, high),
        inheritable: word(inheritable, high),
    });
    // SAFETY: version 3 makes the kernel read exactly two `Data`, which live across the call.
    let rc = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(rc).map(drop)
}

//! What a process can change about itself: credentials, limits, scheduling, file descriptors.
//!
//! Credentials go by raw system calls. The C library would signal every thread of the process;
//! we have one thread, and in a cloned child the library's idea of its thread is stale.

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::FdFlag;

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<(), Errno> {
    // SAFETY: the options used below take an integer and touch no memory of ours.
    let rc = unsafe {
        libc::prctl(
            option,
            argument,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    Errno::result(rc).map(drop)
}

/// PR_SET_DUMPABLE: when false, nobody without our privileges can ptrace us or read our /proc.
pub fn set_dumpable(on: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, on.into())
}

/// PR_SET_KEEPCAPS: keep the permitted set over a change of user; cleared by execve.
pub fn set_keep_capabilities(on: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_KEEPCAPS, on.into())
}

/// PR_SET_NO_NEW_PRIVS, for good.
pub fn set_no_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// PR_SET_CHILD_SUBREAPER: orphans below us become our children.
pub fn set_subreaper(on: bool) -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, on.into())
}

/// PR_CAPBSET_DROP: take a capability out of the bounding set.
pub fn drop_bounding(capability: u8) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, capability.into())
}

/// Empty the ambient set.
pub fn clear_ambient() -> Result<(), Errno> {
    prctl(
        libc::PR_CAP_AMBIENT,
        libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong,
    )
}

/// Add a capability that is permitted and inheritable to the ambient set.
pub fn raise_ambient(capability: u8) -> Result<(), Errno> {
    // SAFETY: PR_CAP_AMBIENT takes integers and touches no memory.
    let rc = unsafe {
        libc::prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong,
            libc::c_ulong::from(capability),
            0 as libc::c_ulong,
            0 as libc::c_ulong,
        )
    };
    Errno::result(rc).map(drop)
}

/// The calling thread's supplementary groups.
pub fn set_groups(groups: &[libc::gid_t]) -> Result<(), Errno> {
    // SAFETY: the kernel reads `groups.len()` ids.
    let rc = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    Errno::result(rc).map(drop)
}

/// Real, effective and saved user id.
pub fn set_uid(uid: libc::uid_t) -> Result<(), Errno> {
    // SAFETY: integers only.
    let rc = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    Errno::result(rc).map(drop)
}

/// Real, effective and saved group id.
pub fn set_gid(gid: libc::gid_t) -> Result<(), Errno> {
    // SAFETY: integers only.
    let rc = unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) };
    Errno::result(rc).map(drop)
}

/// setrlimit(2) with the kernel's own 64-bit type.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    set_rlimit_of(0, resource, soft, hard)
}

/// prlimit(2) with a new value, for process `pid` (0: the caller).
pub fn set_rlimit_of(pid: i32, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 {
        rlim_cur: soft,
        rlim_max: hard,
    };
    // SAFETY: the kernel reads one rlimit64; no old value is asked for.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            &raw const limit,
            std::ptr::null_mut::<libc::rlimit64>(),
        )
    };
    Errno::result(rc).map(drop)
}

/// prlimit(2) that only asks: soft and hard limit of process `pid` (0: the caller).
pub fn rlimit(pid: i32, resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit64; no new value is given.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            pid,
            resource,
            std::ptr::null::<libc::rlimit64>(),
            &raw mut limit,
        )
    };
    Errno::result(rc).map(|_| (limit.rlim_cur, limit.rlim_max))
}

/// fcntl(2), F_GETFD: the flags of an fd that may not be open (EBADF).
pub fn descriptor_flags(fd: RawFd) -> Result<FdFlag, Errno> {
    // SAFETY: F_GETFD touches no memory, and an fd that is not open is only an error.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    Errno::result(flags).map(FdFlag::from_bits_truncate)
}

/// dup3(2) to a number of the caller's choice, close-on-exec; whatever had it is closed.
pub fn duplicate_to(fd: BorrowedFd, to: RawFd) -> Result<(), Errno> {
    if fd.as_raw_fd() == to {
        return Ok(());
    }
    // SAFETY: integers only. Callers are on their way to execve, when no owner of `to` will run
    // again.
    let rc = unsafe { libc::dup3(fd.as_raw_fd(), to, libc::O_CLOEXEC) };
    Errno::result(rc).map(drop)
}

/// One write(2) to an fd by its number; there is nobody left to tell that it failed.
pub fn write_to(fd: RawFd, bytes: &[u8]) {
    // SAFETY: the kernel reads `bytes.len()` bytes; an fd that is not open is only an error.
    unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
}

/// Overwrite the texts of the environment that we were started with, which whoever may look at
/// our memory could read. For a process that will never ask for its environment again.
pub fn forget_environment() {
    unsafe extern "C" {
        static environ: *const *mut libc::c_char;
    }
    // SAFETY: `environ` ends with a null pointer, its texts are writable and end with a zero
    // byte, and we have one thread.
    unsafe {
        let mut next = environ;
        while !next.is_null() && !(*next).is_null() {
            std::ptr::write_bytes(*next, 0, libc::strlen(*next));
            next = next.add(1);
        }
    }
}

/// Close the fds `first..=last`.
pub fn close_range(first: RawFd, last: RawFd) -> Result<(), Errno> {
    // SAFETY: integers only. Callers own every fd in the range: it is used on the way to
    // execve, when no owner of one of them will run again.
    let rc = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    match Errno::result(rc) {
        // Linux before 5.9: one by one, up to where fds can be.
        Err(Errno::ENOSYS) => {
            for fd in first..=last.min(65_535) {
                // SAFETY: as above.
                unsafe { libc::close(fd) };
            }
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Default action for every signal, and an empty signal mask: what execve would inherit.
pub fn reset_signals() {
    // The kernel's struct sigaction, all zero: SIG_DFL, no flags, an empty mask. The C library's
    // signal() refuses its own two signals, which glibc's posix_spawn leaves ignored.
    let default = [0u64; 4];
    const MASK_SIZE: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the struct lives through the call and installs no handler; SIGKILL and
        // SIGSTOP are refused, which is right.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                MASK_SIZE,
            )
        };
    }
    // SAFETY: all-zero is an empty set, and the old one is not asked for.
    unsafe {
        let empty: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// ioprio_set(2) for the calling thread.
pub fn set_io_priority(value: i32) -> Result<(), Errno> {
    /// IOPRIO_WHO_PROCESS of linux/ioprio.h.
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: integers only.
    let rc = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, value) };
    Errno::result(rc).map(drop)
}

/// personality(2).
pub fn set_personality(value: u64) -> Result<(), Errno> {
    // SAFETY: an integer only.
    let rc = unsafe { libc::syscall(libc::SYS_personality, value) };
    Errno::result(rc).map(drop)
}

/// struct sched_attr of linux/sched/types.h, version 1.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

/// sched_setattr(2) for the calling thread.
pub fn set_scheduler(attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        ..*attr
    };
    // SAFETY: the kernel reads `attr.size` bytes.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    Errno::result(rc).map(drop)
}

/// sched_setaffinity(2) for the calling thread; `cpus` may hold any number, not just 1,024.
pub fn set_affinity(cpus: &[u32]) -> Result<(), Errno> {
    set_affinity_mask(&bit_words(cpus))
}

/// Let the calling thread use every CPU that its cpuset has: those that come later, too.
pub fn set_affinity_to_all() -> Result<(), Errno> {
    // More than any kernel is built for (CONFIG_NR_CPUS is at most 8,192); it takes what it knows.
    set_affinity_mask(&[libc::c_ulong::MAX; 8192 / libc::c_ulong::BITS as usize])
}

fn set_affinity_mask(mask: &[libc::c_ulong]) -> Result<(), Errno> {
    let bytes = size_of_val(mask);
    // SAFETY: the kernel reads `bytes` bytes of the mask.
    let rc = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, bytes, mask.as_ptr()) };
    Errno::result(rc).map(drop)
}

/// set_mempolicy(2) for the calling thread.
pub fn set_memory_policy(mode: i32, nodes: &[u32]) -> Result<(), Errno> {
    let mask = bit_words(nodes);
    // The kernel takes one off `maxnode` before it counts bits.
    let bits = if nodes.is_empty() {
        0
    } else {
        mask.len() * libc::c_ulong::BITS as usize + 1
    };
    let pointer = if nodes.is_empty() {
        std::ptr::null()
    } else {
        mask.as_ptr()
    };
    // SAFETY: the kernel reads at most `bits` bits of the mask, or nothing for a null pointer.
    let rc = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, pointer, bits) };
    Errno::result(rc).map(drop)
}

fn bit_words(numbers: &[u32]) -> Vec<libc::c_ulong> {
    let bits = libc::c_ulong::BITS;
    let last = numbers.iter().max().copied().unwrap_or(0);
    let mut words = vec![0; (last / bits) as usize + 1];
    for number in numbers {
        words[(number / bits) as usize] |= 1 << (number % bits);
    }
    words
}

/// setdomainname(2), the NIS domain of the UTS namespace.
pub fn set_domain_name(name: &str) -> Result<(), Errno> {
    // SAFETY: the kernel reads `name.len()` bytes of `name`.
    let rc = unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) };
    Errno::result(rc).map(drop)
}

/// PR_SET_NAME: what ps shows of the calling thread.
pub fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the kernel reads a string of at most 16 bytes that outlives the call.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

/// Take a variable out of our environment.
pub fn remove_variable(name: &str) {
    // SAFETY: the runtime has one thread, so nobody reads the environment meanwhile.
    unsafe { std::env::remove_var(name) };
}

/// What strsignal(3) calls a signal, in small letters: `killed`, `bad system call`.
pub fn signal_text(signal: i32) -> String {
    // SAFETY: strsignal gives a static or thread-local string, copied before anything else.
    let text = unsafe { std::ffi::CStr::from_ptr(libc::strsignal(signal)) };
    text.to_string_lossy().to_lowercase()
}

/// End the process now, with no destructor, flush or atexit handler.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes an integer and does not return.
    unsafe { libc::_exit(status) }
}

#[cfg(test)]
mod tests {
    use super::bit_words;

    #[test]
    fn bits_above_a_word_go_into_the_next() {
        assert_eq!(bit_words(&[0, 1, 64]), [0b11, 0b1]);
        assert_eq!(bit_words(&[]), [0]);
    }
}

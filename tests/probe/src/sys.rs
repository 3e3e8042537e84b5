//! The kernel interfaces that nix does not have, each as one safe function.

use std::ffi::CString;
use std::io;

use libc::{c_int, c_long};

fn check(result: c_long) -> io::Result<i64> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// keyctl(KEYCTL_DESCRIBE) of the session keyring: `type;uid;gid;permissions;name`.
pub fn session_keyring() -> io::Result<String> {
    const KEYCTL_DESCRIBE: c_int = 6;
    const KEY_SPEC_SESSION_KEYRING: c_int = -3;
    let mut text = [0u8; 256];
    // SAFETY: the buffer is writable and its length is passed with it.
    let length = check(unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_DESCRIBE,
            KEY_SPEC_SESSION_KEYRING,
            text.as_mut_ptr(),
            text.len(),
        )
    })?;
    let length = usize::try_from(length).unwrap_or(0).min(text.len());
    Ok(String::from_utf8_lossy(&text[..length])
        .trim_end_matches('\0')
        .to_owned())
}

/// ioprio_get(2) of this process, class and data joined.
pub fn io_priority() -> io::Result<i64> {
    const IOPRIO_WHO_PROCESS: c_int = 1;
    // SAFETY: takes two integers and no pointer.
    check(unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) })
}

/// Scheduling policy and nice value of this process.
pub fn scheduler() -> (i32, i32) {
    // SAFETY: both take integers only. (musl's own sched_getscheduler always fails.)
    unsafe {
        let policy = libc::syscall(libc::SYS_sched_getscheduler, 0);
        (
            i32::try_from(policy).unwrap_or(-1),
            libc::getpriority(libc::PRIO_PROCESS, 0),
        )
    }
}

/// All that sched_getattr(2) tells.
pub fn scheduler_attributes() -> serde_json::Value {
    /// struct sched_attr of linux/sched/types.h, version 1.
    #[repr(C)]
    #[derive(Default)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime: u64,
        deadline: u64,
        period: u64,
        util_min: u32,
        util_max: u32,
    }
    let mut a = Attributes::default();
    let size = size_of::<Attributes>();
    // SAFETY: the kernel writes at most `size` bytes into the struct.
    unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut a, size, 0) };
    serde_json::json!({"policy": a.policy, "flags": a.flags, "nice": a.nice,
        "priority": a.priority, "runtime": a.runtime, "deadline": a.deadline,
        "period": a.period})
}

/// The NUMA policy of this thread and the first 64 nodes of its mask; null without NUMA.
pub fn memory_policy() -> serde_json::Value {
    let (mut mode, mut nodes) = (0i32, [0u64; 16]);
    // SAFETY: the kernel writes one int and at most 1,024 bits.
    let rc = unsafe {
        let (mode, nodes) = (&raw mut mode, nodes.as_mut_ptr());
        libc::syscall(libc::SYS_get_mempolicy, mode, nodes, 1024, 0usize, 0)
    };
    match rc {
        0 => serde_json::json!({"mode": mode, "nodes": nodes[0]}),
        _ => serde_json::Value::Null,
    }
}

/// The execution domain and its flags, as personality(2) has them.
pub fn personality() -> i64 {
    // SAFETY: takes an integer; this one asks and changes nothing.
    unsafe { libc::syscall(libc::SYS_personality, 0xffff_ffffu64) }
}

/// One prctl(2) that only reads and takes no pointer.
pub fn prctl_get(option: c_int) -> i32 {
    // SAFETY: the callers pass PR_GET_* options whose result is the return value.
    unsafe { libc::prctl(option, 0, 0, 0, 0) }
}

/// Real, effective, saved and file system ids as the kernel has them for uid and gid.
pub fn ids() -> ([u32; 4], [u32; 4]) {
    let (mut r, mut e, mut s) = (0, 0, 0);
    let (mut rg, mut eg, mut sg) = (0, 0, 0);
    // SAFETY: the pointers are to live integers; setfsuid(-1) changes nothing and returns the
    // present value.
    unsafe {
        libc::getresuid(&mut r, &mut e, &mut s);
        libc::getresgid(&mut rg, &mut eg, &mut sg);
        let fsuid = libc::setfsuid(u32::MAX) as u32;
        let fsgid = libc::setfsgid(u32::MAX) as u32;
        ([r, e, s, fsuid], [rg, eg, sg, fsgid])
    }
}

/// mkdirat(2); what it gives.
pub fn mkdir(path: &str) -> io::Result<i64> {
    let path = CString::new(path)?;
    // SAFETY: the path outlives the call.
    check(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), 0o700) })
}

/// Make the system call that `name` stands for with arguments that do no harm.
///
/// # Errors
/// What the kernel, or a filter before it, answers. An unknown name is `InvalidInput`.
pub fn try_syscall(name: &str) -> io::Result<i64> {
    if let Some((entry, words)) = name.split_once(':') {
        return try_raw(entry, words);
    }
    let nowhere = CString::new("/nowhere/at/all").unwrap_or_default();
    let path = nowhere.as_ptr();
    // SAFETY: every call below either takes integers only or gets a valid path and null where
    // null is allowed; none of them changes this process in a way the probe relies on.
    let result = unsafe {
        match name {
            "getpid" => libc::syscall(libc::SYS_getpid),
            "getppid" => libc::syscall(libc::SYS_getppid),
            "mkdir" => libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, 0o700),
            "chmod" => libc::syscall(libc::SYS_fchmodat, libc::AT_FDCWD, path, 0o700),
            "mount" => libc::syscall(libc::SYS_mount, path, path, 0usize, 0usize, 0usize),
            "umount2" => libc::syscall(libc::SYS_umount2, path, 0),
            "sethostname" => libc::syscall(libc::SYS_sethostname, c"probed".as_ptr(), 6usize),
            "unshare-user" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "unshare-mount" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWNS),
            "clone3" => libc::syscall(libc::SYS_clone3, 0usize, 0usize),
            "bpf" => libc::syscall(libc::SYS_bpf, -1, 0usize, 0usize),
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, -3, 0),
            "add_key" => libc::syscall(libc::SYS_add_key, 0usize, 0usize, 0usize, 0usize, 0),
            "reboot" => libc::syscall(libc::SYS_reboot, 0, 0, 0, 0usize),
            "personality" => libc::syscall(libc::SYS_personality, 0xffff_ffffu64),
            "personality-odd" => libc::syscall(libc::SYS_personality, 0x0400_0000u64),
            "socket-vsock" => libc::syscall(libc::SYS_socket, 40, libc::SOCK_STREAM, 0),
            "socket-unix" => libc::syscall(libc::SYS_socket, libc::AF_UNIX, libc::SOCK_STREAM, 0),
            "newest" => libc::syscall(9999),
            "setuid" => libc::syscall(libc::SYS_setuid, 0),
            "chroot" => libc::syscall(libc::SYS_chroot, c"/".as_ptr()),
            "ptrace" => libc::syscall(libc::SYS_ptrace, 9999, 0, 0, 0),
            "kill-self-0" => libc::syscall(libc::SYS_kill, libc::getpid(), 0),
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("no such name: {name}"),
                ));
            }
        }
    };
    check(result)
}

/// Restart marker of /proc/self/timens_offsets readers: the boot and monotonic clocks, seconds.
pub fn clocks() -> (i64, i64) {
    let read = |clock| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a live timespec.
        unsafe { libc::clock_gettime(clock, &mut time) };
        time.tv_sec
    };
    (read(libc::CLOCK_BOOTTIME), read(libc::CLOCK_MONOTONIC))
}

/// Take the read-only flag from the mount of an open file.
pub fn make_writable(file: &std::fs::File) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const MOUNT_ATTR_RDONLY: u64 = 1;
    // struct mount_attr of linux/mount.h: set, clear, propagation, userns_fd.
    let attr: [u64; 4] = [0, MOUNT_ATTR_RDONLY, 0, 0];
    // SAFETY: the empty path and the attributes outlive the call, and their size is passed.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            file.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            attr.as_ptr(),
            size_of_val(&attr),
        )
    };
    check(rc).map(drop)
}

/// A clone of the mount of `from`, attached over `to`; neither is followed if it is a link.
pub fn mount_over(from: &std::ffi::CStr, to: &std::ffi::CStr) -> io::Result<()> {
    const OPEN_TREE_CLONE: c_int = 1;
    const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
    let flags = OPEN_TREE_CLONE | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: the path is a string that outlives the call.
    let tree =
        check(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, from.as_ptr(), flags) })?;
    // SAFETY: both paths are strings that outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(rc).map(drop)
}

/// PTRACE_SEIZE, and wait until the process has stopped. (PTRACE_ATTACH stops it by a signal,
/// which may come after that of an execve, and so after the end of the trace.)
pub fn attach(pid: u32) -> io::Result<()> {
    let pid = pid as libc::pid_t;
    for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
        // SAFETY: the requests take no address.
        check(unsafe { libc::ptrace(request, pid, 0usize, 0usize) }.into())?;
    }
    // SAFETY: without a place for the status nothing is written.
    check(unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) }.into()).map(drop)
}

/// PTRACE_DETACH; a process that is gone is no matter.
pub fn detach(pid: u32) {
    // SAFETY: the request takes no address, and a signal number of zero.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid as libc::pid_t, 0usize, 0usize) };
}

/// renameat2(2) with RENAME_EXCHANGE, which not every libc has.
pub fn exchange(a: &std::ffi::CStr, b: &std::ffi::CStr) -> io::Result<()> {
    const RENAME_EXCHANGE: c_int = 2;
    let here = libc::AT_FDCWD;
    // SAFETY: both paths are strings that outlive the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            here,
            a.as_ptr(),
            here,
            b.as_ptr(),
            RENAME_EXCHANGE,
        )
    };
    if rc == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A call by number and up to six arguments, `NUMBER,ARG,...`, by the entry `x86_64` (syscall) or
/// `i386` (int 0x80, which takes the low half of each argument); `thread:ENTRY` makes it in a
/// thread of its own, which is ESRCH when that has not come back.
fn try_raw(entry: &str, words: &str) -> io::Result<i64> {
    if entry == "thread" {
        let (entry, words) = words
            .split_once(':')
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (entry, words) = (entry.to_owned(), words.to_owned());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(try_raw(&entry, &words)));
        return receiver
            .recv_timeout(std::time::Duration::from_secs(1))
            .unwrap_or_else(|_| Err(io::Error::from_raw_os_error(libc::ESRCH)));
    }
    let mut numbers = [0u64; 7];
    for (number, word) in numbers.iter_mut().zip(words.split(',')) {
        let parsed = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        *number = parsed.map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))?;
    }
    let [number, args @ ..] = numbers;
    match entry {
        "i386" => i386(number, args),
        // SAFETY: the test that chooses the number answers for what the call does.
        _ => check(unsafe {
            let number = number as c_long;
            libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5])
        }),
    }
}

#[cfg(target_arch = "x86_64")]
fn i386(number: u64, args: [u64; 6]) -> io::Result<i64> {
    let mut result = number;
    // SAFETY: as above; rbx, which LLVM keeps for itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg {first}, rbx",
            "int 0x80",
            "xchg {first}, rbx",
            first = inout(reg) args[0] => _,
            inout("rax") result,
            in("rcx") args[1],
            in("rdx") args[2],
            in("rsi") args[3],
            in("rdi") args[4],
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    match result as i32 {
        errno @ -4095..=-1 => Err(io::Error::from_raw_os_error(-errno)),
        value => Ok(value.into()),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn i386(_: u64, _: [u64; 6]) -> io::Result<i64> {
    Err(io::Error::from_raw_os_error(libc::ENOEXEC))
}

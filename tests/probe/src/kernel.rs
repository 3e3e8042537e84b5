//! An older kernel, as far as system calls that are not there make one.

use std::ffi::CString;

type Outcome = Result<i32, String>;

/// Execute a program for which these system calls, separated by commas, do not exist: each of
/// them answers ENOSYS, as a kernel that has never heard of it would. `seccomp:N` is seccomp(2)
/// with a flag of this value; it answers EINVAL, as where the flag is not known.
pub fn without(names: &str, program: &[String]) -> Outcome {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const HAS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    /// Offset of the second argument's low word in `struct seccomp_data`.
    const SECOND: u32 = 24;
    let insn = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let error = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
    let mut filter = Vec::new();
    for name in names.split(',') {
        filter.push(insn(LOAD, 0, 0, 0));
        match name.strip_prefix("seccomp:") {
            Some(flag) => {
                let flag = flag.parse().map_err(|_| format!("not a flag: {flag}"))?;
                filter.push(insn(EQUAL, 0, 3, libc::SYS_seccomp as u32));
                filter.push(insn(LOAD, 0, 0, SECOND));
                filter.push(insn(HAS, 0, 1, flag));
                filter.push(insn(RETURN, 0, 0, error(libc::EINVAL)));
            }
            None => {
                filter.push(insn(EQUAL, 0, 1, number(name)?));
                filter.push(insn(RETURN, 0, 0, error(libc::ENOSYS)));
            }
        }
    }
    filter.push(insn(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program_of_filter = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter, which outlives the call.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program_of_filter,
        )
    };
    nix::errno::Errno::result(rc).map_err(|e| format!("load a filter: {e}"))?;
    let argv: Result<Vec<_>, _> = program
        .iter()
        .map(|arg| CString::new(arg.as_str()))
        .collect();
    let argv = argv.map_err(|e| e.to_string())?;
    match nix::unistd::execv(&argv[0], &argv) {
        Ok(never) => match never {},
        Err(errno) => Err(format!("execute {}: {errno}", program[0])),
    }
}

fn number(name: &str) -> Result<u32, String> {
    let number = match name {
        "open_tree" => libc::SYS_open_tree,
        "move_mount" => libc::SYS_move_mount,
        "fsopen" => libc::SYS_fsopen,
        "fsconfig" => libc::SYS_fsconfig,
        "fsmount" => libc::SYS_fsmount,
        "fspick" => libc::SYS_fspick,
        "mount_setattr" => libc::SYS_mount_setattr,
        "pidfd_getfd" => libc::SYS_pidfd_getfd,
        "openat2" => libc::SYS_openat2,
        _ => return Err(format!("no such system call: {name}")),
    };
    Ok(number as u32)
}

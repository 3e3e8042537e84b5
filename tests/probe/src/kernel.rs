//! An older kernel, as far as system calls that are not there make one.

use std::ffi::CString;

type Outcome = Result<i32, String>;

/// Execute a program for which these system calls, separated by commas, do not exist: each of
/// them answers ENOSYS, as a kernel that has never heard of it would.
pub fn without(names: &str, program: &[String]) -> Outcome {
    const LOAD_NUMBER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let insn = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = vec![insn(LOAD_NUMBER, 0, 0, 0)];
    for name in names.split(',') {
        filter.push(insn(EQUAL, 0, 1, number(name)?));
        let no_such_call = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        filter.push(insn(RETURN, 0, 0, no_such_call));
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
        "openat2" => libc::SYS_openat2,
        _ => return Err(format!("no such system call: {name}")),
    };
    Ok(number as u32)
}

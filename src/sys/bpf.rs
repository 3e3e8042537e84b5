//! bpf(2) for device programs: load one, attach it to a cgroup, replace one that is there.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// One instruction of extended BPF, laid out as `struct bpf_insn` (linux/bpf.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub code: u8,
    /// Destination register in the low four bits, source in the high ones (little endian; the
    /// other way round on big endian machines, see [`Insn::new`]).
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

impl Insn {
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Self {
        let registers = if cfg!(target_endian = "little") {
            to | from << 4
        } else {
            to << 4 | from
        };
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }

    /// Destination and source register, for an interpreter.
    #[cfg(test)]
    pub const fn registers(&self) -> (u8, u8) {
        let (low, high) = (self.registers & 15, self.registers >> 4);
        if cfg!(target_endian = "little") {
            (low, high)
        } else {
            (high, low)
        }
    }
}

// Numbers of linux/bpf.h.
const PROG_LOAD: libc::c_int = 5;
const PROG_ATTACH: libc::c_int = 8;
const PROG_DETACH: libc::c_int = 9;
const PROG_GET_FD_BY_ID: libc::c_int = 13;
const PROG_QUERY: libc::c_int = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// As many programs as the kernel lets be attached to one cgroup (BPF_CGROUP_MAX_PROGS).
const MAX_ATTACHED: usize = 64;

// The kernel takes a shorter `union bpf_attr` and reads zeroes for the rest; each command's
// part of it is a struct of its own here.

#[repr(C)]
struct Load {
    program_type: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
    replaced: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// Load a device program. Needs CAP_BPF, or CAP_SYS_ADMIN on older kernels.
pub fn load_device_program(program: &[Insn]) -> Result<OwnedFd, Errno> {
    let mut attr = Load {
        program_type: PROG_TYPE_CGROUP_DEVICE,
        length: u32::try_from(program.len()).map_err(|_| Errno::E2BIG)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: attr and what it points to live until the call returns, and the lengths fit.
    let fd = unsafe { bpf(PROG_LOAD, &raw mut attr) }?;
    // SAFETY: the kernel has just given us this fd (close-on-exec, as all of bpf's are).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attach a device program to a cgroup beside those that are there, or in the place of
/// `replaced` without a moment in between.
pub fn attach(
    cgroup: BorrowedFd,
    program: BorrowedFd,
    replaced: Option<BorrowedFd>,
) -> Result<(), Errno> {
    let mut attr = Attach {
        target: fd_number(cgroup),
        program: fd_number(program),
        attach_type: CGROUP_DEVICE,
        flags: F_ALLOW_MULTI | replaced.map_or(0, |_| F_REPLACE),
        replaced: replaced.map_or(0, fd_number),
    };
    // SAFETY: attr lives until the call returns; it holds no pointers.
    unsafe { bpf(PROG_ATTACH, &raw mut attr) }.map(drop)
}

/// Detach a device program from a cgroup.
pub fn detach(cgroup: BorrowedFd, program: BorrowedFd) -> Result<(), Errno> {
    let mut attr = Attach {
        target: fd_number(cgroup),
        program: fd_number(program),
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: attr lives until the call returns; it holds no pointers.
    unsafe { bpf(PROG_DETACH, &raw mut attr) }.map(drop)
}

/// The device programs attached to the cgroup itself. One that we may not open (another's, by
/// a security module) is left out: it can only forbid more.
pub fn attached(cgroup: BorrowedFd) -> Result<Vec<OwnedFd>, Errno> {
    let mut ids = [0_u32; MAX_ATTACHED];
    let mut attr = Query {
        target: fd_number(cgroup),
        attach_type: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: MAX_ATTACHED as u32,
        padding: 0,
    };
    // SAFETY: attr and ids live until the call returns, and count is the length of ids.
    unsafe { bpf(PROG_QUERY, &raw mut attr) }?;
    let mut programs = Vec::new();
    for &id in ids.iter().take(attr.count as usize) {
        match program_by_id(id) {
            Ok(fd) => programs.push(fd),
            Err(Errno::EPERM | Errno::EACCES | Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(programs)
}

fn program_by_id(id: u32) -> Result<OwnedFd, Errno> {
    let mut attr = ById {
        id,
        next_id: 0,
        open_flags: 0,
    };
    // SAFETY: attr lives until the call returns; it holds no pointers.
    let fd = unsafe { bpf(PROG_GET_FD_BY_ID, &raw mut attr) }?;
    // SAFETY: the kernel has just given us this fd.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn fd_number(fd: BorrowedFd) -> u32 {
    // A valid fd is never negative.
    fd.as_raw_fd().unsigned_abs()
}

/// # Safety
/// `attr` is the kernel's layout of `command`, and its pointers and lengths are valid.
unsafe fn bpf<T>(command: libc::c_int, attr: *mut T) -> Result<i32, Errno> {
    // SAFETY: the caller vouches for attr; the size passed is that of what it points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    Errno::result(result).map(|value| value as i32)
}

//! The running binary must not be the one on the host's disk.
//!
//! A container that runs as root can reach the runtime's executable through
//! /proc/PID/exe and, once that process has ended, write to it (CVE-2019-5736). So whoever is
//! going to enter a container first becomes a copy that cannot be written:
//!
//! 1. a detached read-only clone of the binary's own mount, executed by a close-on-exec fd.
//!    The fd is the only way to make the mount writable again, and it is gone when the new
//!    image runs;
//! 2. without CAP_SYS_ADMIN: a memfd with all seals;
//! 3. where memfds may not be executed: an unlinked file in a directory of ours.
//!
//! Whether it has worked is asked of /proc/self/exe itself, never of an environment variable.
//! The variable below only turns a loop into an error.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::error::{Error, Result, Step};
use crate::sys::mount::{self as sys, MountAttr};
use crate::sys::{exec, process};

const EXE: &str = "/proc/self/exe";
const MARKER: &str = "_ORLOP_SEALED";

/// Proof that the running binary cannot be written through /proc/PID/exe. Made only by
/// [`ensure`]; verbs that enter a container ask for it.
#[derive(Debug)]
pub struct Sealed(());

/// Return if we are sealed; else execute a sealed image of ourselves with the same arguments.
pub fn ensure() -> Result<Sealed> {
    if is_sealed()? {
        return Ok(Sealed(()));
    }
    if std::env::var_os(MARKER).is_some() {
        return Err(Error::new("the sealed copy of this binary is not sealed")
            .with_hint(format!("unset {MARKER} if it was set by hand")));
    }
    let image = read_only_clone()
        .or_else(|_| sealed_memfd())
        .or_else(|_| unlinked_copy())?;
    const STEP: &str = "take the arguments over";
    let argv = exec::strings(std::env::args_os().map(OsStringExt::into_vec)).step(STEP)?;
    let marked = std::iter::once(format!("{MARKER}=1").into_bytes());
    let envp = exec::strings(exec::own_environment().chain(marked)).step(STEP)?;
    match exec::execveat_fd(image.as_fd(), &argv, &envp) {
        Ok(never) => match never {},
        Err(errno) => Err(Error::sys("execute the sealed copy of this binary", errno)),
    }
}

/// Read-only for everybody: on a read-only mount, sealed, or without a name and not writable.
fn is_sealed() -> Result<bool> {
    let exe = open(EXE, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).step_on("open", EXE)?;
    let flags = fstatvfs(&exe).step_on("look at", EXE)?.flags();
    if flags.contains(FsFlags::ST_RDONLY) {
        return Ok(true);
    }
    // Only a memfd has them; a file of a tmpfs has F_SEAL_SEAL alone, any other an error.
    let seals = fcntl(&exe, FcntlArg::F_GET_SEALS).unwrap_or(0);
    let wanted = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
    if SealFlag::from_bits_truncate(seals).contains(wanted) {
        return Ok(true);
    }
    // A copy without a name may be written to by whoever finds it: nobody else ever executes
    // it.
    let stat = fstat(&exe).step_on("look at", EXE)?;
    Ok(stat.st_nlink == 0 && std::env::var_os(MARKER).is_some())
}

/// The one fd of the clone is close-on-exec: with it the kernel's last way to make the mount
/// writable goes away, as the mount is in nobody's namespace then.
fn read_only_clone() -> Result<OwnedFd> {
    let here = nix::fcntl::AT_FDCWD;
    let clone =
        sys::clone_tree(here, c"/proc/self/exe", false).step_on("clone the mount of", EXE)?;
    let attr = MountAttr {
        set: sys::ATTR_RDONLY,
        ..MountAttr::default()
    };
    sys::set_attr(clone.as_fd(), &attr, false).step("make it read-only")?;
    Ok(clone)
}

fn sealed_memfd() -> Result<OwnedFd> {
    let exe = File::open(EXE).step_on("open", EXE)?;
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = match memfd_create(c"orlop", flags | MFdFlags::from_bits_retain(libc::MFD_EXEC)) {
        // MFD_EXEC is of Linux 6.3; before it every memfd can be executed.
        Err(Errno::EINVAL) => memfd_create(c"orlop", flags),
        other => other,
    }
    .step("make a memfd")?;
    let mut file = File::from(copy);
    std::io::copy(&mut &exe, &mut file).step("copy the binary")?;
    let seals = SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).step("seal the memfd")?;
    Ok(file.into())
}

fn unlinked_copy() -> Result<OwnedFd> {
    let exe = File::open(EXE).step_on("open", EXE)?;
    let directories = [std::env::temp_dir(), "/run".into(), "/var/tmp".into()];
    for dir in &directories {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let Ok(copy) = open(dir, flags, Mode::S_IRUSR | Mode::S_IXUSR) else {
            continue;
        };
        let mut file = File::from(copy);
        std::io::copy(&mut &exe, &mut file).step("copy the binary")?;
        // Reopened for reading: a file that is open for writing cannot be executed.
        let path = crate::procfs::fd_path(&file);
        let readable = open(
            path.as_str(),
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        return readable.step("reopen the copy");
    }
    Err(
        Error::new("no place for a copy of the binary that can be executed")
            .with_hint("vm.memfd_noexec is set, and /run and the temporary directory are noexec"),
    )
}

/// After the seal: the variable is not for hooks or containers, and the process gets its name
/// back (execveat names it after the fd).
pub fn tidy() {
    if std::env::var_os(MARKER).is_some() {
        process::remove_variable(MARKER);
        process::set_name(c"orlop");
    }
}

//! From the runtime's user to the container's: stdio, limits, capabilities, groups, ids and the
//! working directory, in the one order in which each is still allowed.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{Uid, chdir, fchown, getcwd};

use super::{held, needs_admin_for_filter, set_limits};
use crate::error::{Error, Result, Step};
use crate::init::rootfs::{Make, RootFs};
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::{Capabilities, Process};
use crate::sys::caps;
use crate::sys::process as sys;

/// A working directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cwd {
    /// Is made: init's.
    Made,
    /// Is an error: callers of exec want to hear of it.
    There,
}

/// Change to the user with its groups and capabilities, and to the working directory.
///
/// When the filter is loaded without no_new_privs, CAP_SYS_ADMIN stays permitted (not
/// effective) until then. Gives what the log should be told.
pub fn become_user(process: &Process, cwd: Cwd) -> Result<Vec<String>> {
    let user = &process.user;
    if let Some(umask) = user.umask {
        nix::sys::stat::umask(Mode::from_bits_truncate(umask));
    }
    let entered = enter_cwd(process, cwd);
    own_stdio(user.uid)?;
    set_limits(&process.rlimits)?;
    drop_bounding(process.capabilities.bounding)?;
    sys::set_keep_capabilities(true).step("keep capabilities over the change of user")?;
    set_groups(process)?;
    sys::set_gid(user.gid)
        .step(format!("change to group {}", user.gid))
        .map_err(unmapped)
        .map_err(|e| e.with_field(process.pointer("user/gid")))?;
    sys::set_uid(user.uid)
        .step(format!("change to user {}", user.uid))
        .map_err(unmapped)
        .map_err(|e| e.with_field(process.pointer("user/uid")))?;
    // The change of user made us as dumpable as fs.suid_dumpable says.
    sys::set_dumpable(false).step("become undumpable")?;
    let wanted = &process.capabilities;
    let until_filter = if needs_admin_for_filter(process) {
        held() & SYS_ADMIN
    } else {
        0
    };
    caps::set(
        wanted.effective,
        wanted.permitted | until_filter,
        wanted.inheritable,
    )
    .step("apply caps")
    .map_err(|e| e.with_field(process.pointer("capabilities")))?;
    let warnings = raise_ambient(wanted)?;
    // Root may be kept out of a directory that the user may enter (a network filesystem), and
    // the other way round: whichever could.
    match entered {
        Ok(()) => {}
        Err(Errno::EACCES | Errno::EPERM) => {
            enter_cwd(process, cwd).map_err(|e| cwd_error(process, e))?
        }
        Err(errno) => return Err(cwd_error(process, errno)),
    }
    // getcwd of a directory outside of the root says "(unreachable)", which no libc accepts:
    // the way out by /proc/self/fd/N of a leaked directory.
    getcwd().map(drop).map_err(|_| {
        Error::new("current working directory is outside of container mount namespace root")
            .with_field(process.pointer("cwd"))
    })?;
    if process.no_new_privileges {
        sys::set_no_new_privileges().step("set no_new_privs")?;
    }
    Ok(warnings)
}

fn unmapped(error: Error) -> Error {
    match error.errno() {
        Some(Errno::EINVAL) => error.with_hint("is it mapped in the user namespace?"),
        _ => error,
    }
}

fn set_groups(process: &Process) -> Result<()> {
    if process.user.keep_groups {
        return Ok(());
    }
    let groups = &process.user.additional_gids;
    match sys::set_groups(groups) {
        // A user namespace whose maps an unprivileged user wrote: groups are what they were,
        // and nobody asked for others.
        Err(Errno::EPERM) if groups.is_empty() && setgroups_is_denied() => Ok(()),
        other => other
            .step("set the supplementary groups")
            .map_err(unmapped)
            .map_err(|error| {
                let error = error.with_field(process.pointer("user/additionalGids"));
                match error.errno() {
                    Some(Errno::EPERM) if setgroups_is_denied() => error.with_hint(
                        "the user namespace's maps were written without privileges, so it has no setgroups",
                    ),
                    _ => error,
                }
            }),
    }
}

fn setgroups_is_denied() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"))
}

fn enter_cwd(process: &Process, cwd: Cwd) -> Result<(), Errno> {
    match chdir(&process.cwd) {
        // `root` as working directory is where we are already, so this is one call in most runs.
        Err(Errno::ENOENT) if cwd == Cwd::Made => {
            // By no link of /proc: with the host's processes in sight they lead out.
            RootFs::current()
                .and_then(|root| root.find_or_make(&process.cwd, Make::Directory))
                .map_err(|error| error.errno().unwrap_or(Errno::EIO))?;
            chdir(&process.cwd)
        }
        other => other,
    }
}

fn cwd_error(process: &Process, errno: Errno) -> Error {
    Error::sys(
        format!(
            "chdir to cwd ({:?}) set in config.json failed",
            process.cwd.display().to_string()
        ),
        errno,
    )
    .with_field(process.pointer("cwd"))
}

/// Give stdin, stdout and stderr to the user of the container, who could not open /dev/stdout
/// otherwise. Devices stay whose they are (a terminal of the container's own has its owner
/// already), and so does what may not be given away.
fn own_stdio(uid: u32) -> Result<()> {
    let stdio = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    for fd in [stdio.0.as_fd(), stdio.1.as_fd(), stdio.2.as_fd()] {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        if stat.st_uid == uid || matches!(kind, SFlag::S_IFCHR | SFlag::S_IFBLK) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // Of an owner that is not mapped, on a read-only filesystem, to an id not mapped.
            Ok(()) | Err(Errno::EPERM | Errno::EROFS | Errno::EINVAL) => {}
            Err(errno) => return Err(Error::sys("give stdio to the container's user", errno)),
        }
    }
    Ok(())
}

fn drop_bounding(keep: u64) -> Result<()> {
    for capability in 0..=caps::last_capability() {
        if keep >> capability & 1 == 0 {
            match sys::drop_bounding(capability) {
                Ok(()) => {}
                // Without CAP_SETPCAP (rootless, without a user namespace) the set stays.
                Err(Errno::EPERM) => break,
                Err(errno) => return Err(Error::sys("drop the bounding set", errno)),
            }
        }
    }
    Ok(())
}

/// A capability that cannot be ambient is no reason to fail, as in runc.
fn raise_ambient(wanted: &Capabilities) -> Result<Vec<String>> {
    sys::clear_ambient().step("clear the ambient set")?;
    let mut warnings = Vec::new();
    for capability in (0..64u8).filter(|c| wanted.ambient >> c & 1 == 1) {
        if let Err(errno) = sys::raise_ambient(capability) {
            let name = crate::plan::capabilities::names(1 << capability);
            let why = crate::error::errno_text(errno);
            warnings.push(format!("can't raise ambient capability {name}: {why}"));
        }
    }
    Ok(warnings)
}

//! The attributes and the propagation of a mount, once it is there: MS_* flags of the plan to
//! mount_setattr(2), and what the kernel's refusal means.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::statvfs::{FsFlags, fstatvfs};

use crate::error::{Error, Result, Step};
use crate::init::trees;
use crate::plan::Mount;
use crate::sys::mount::{self as sys, MountAttr};

/// What a bind's options ask of its mount. A bind without options keeps what its source has.
pub fn bind_attr(flags: u64, cleared: u64) -> MountAttr {
    const BITS: [(u64, u64); 6] = [
        (libc::MS_RDONLY, sys::ATTR_RDONLY),
        (libc::MS_NOSUID, sys::ATTR_NOSUID),
        (libc::MS_NODEV, sys::ATTR_NODEV),
        (libc::MS_NOEXEC, sys::ATTR_NOEXEC),
        (libc::MS_NODIRATIME, sys::ATTR_NODIRATIME),
        (libc::MS_NOSYMFOLLOW, sys::ATTR_NOSYMFOLLOW),
    ];
    let mut attr = MountAttr::default();
    for (ms, bit) in BITS {
        if flags & ms != 0 {
            attr.set |= bit;
        }
        if cleared & ms != 0 {
            attr.clear |= bit;
        }
    }
    // The atime mode is one field with three values; to set it, the field is cleared first.
    let atime = [
        (libc::MS_NOATIME, sys::ATTR_NOATIME),
        (libc::MS_STRICTATIME, sys::ATTR_STRICTATIME),
        (libc::MS_RELATIME, 0),
    ];
    for (ms, value) in atime {
        if flags & ms != 0 || (cleared & ms != 0 && value != 0) {
            attr.clear |= sys::ATTR_ATIME;
        }
        if flags & ms != 0 {
            attr.set |= value;
        }
    }
    attr
}

/// mount_setattr(2), or nothing when there is nothing to change.
pub fn set_attr(mount: BorrowedFd, attr: &MountAttr, recursive: bool) -> Result<()> {
    if *attr == MountAttr::default() {
        return Ok(());
    }
    trees::set_attr(mount, attr, recursive).step("change a mount's attributes")
}

pub fn changes_after(mount: &Mount) -> bool {
    mount.recursive_set | mount.recursive_clear != 0 || !mount.propagation.is_empty()
}

/// The recursive options and the propagation of the attached mount that `top` is the root of.
pub fn finish(top: BorrowedFd, mount: &Mount) -> Result<()> {
    let attr = MountAttr {
        set: mount.recursive_set,
        clear: mount.recursive_clear,
        ..MountAttr::default()
    };
    set_attr(top, &attr, true).map_err(|error| match error.errno() {
        Some(Errno::ENOSYS) => error.with_hint(format!(
            "the option {} needs Linux 5.12",
            recursive_option(&attr)
        )),
        _ => error,
    })?;
    mount
        .propagation
        .iter()
        .try_for_each(|flags| set_propagation(top, *flags))
}

/// A word that asks for one of these attributes, for a message.
fn recursive_option(attr: &MountAttr) -> &'static str {
    const WORDS: [(u64, &str, &str); 7] = [
        (sys::ATTR_RDONLY, "rro", "rrw"),
        (sys::ATTR_NOSUID, "rnosuid", "rsuid"),
        (sys::ATTR_NODEV, "rnodev", "rdev"),
        (sys::ATTR_NOEXEC, "rnoexec", "rexec"),
        (sys::ATTR_NODIRATIME, "rnodiratime", "rdiratime"),
        (sys::ATTR_NOSYMFOLLOW, "rnosymfollow", "rsymfollow"),
        (sys::ATTR_ATIME, "rnoatime", "ratime"),
    ];
    let word = |(bit, set, clear): &(u64, &'static str, &'static str)| {
        if attr.set & bit != 0 {
            Some(*set)
        } else if attr.clear & bit != 0 {
            Some(*clear)
        } else {
            None
        }
    };
    WORDS.iter().find_map(word).unwrap_or_default()
}

/// MS_SHARED and the like, with MS_REC for the whole tree, on the mount that `top` is the
/// root of.
pub fn set_propagation(top: BorrowedFd, flags: u64) -> Result<()> {
    let recursive = flags & libc::MS_REC != 0;
    let attr = MountAttr {
        propagation: flags & !libc::MS_REC,
        ..MountAttr::default()
    };
    trees::set_attr(top, &attr, recursive).step("set the propagation")
}

/// In a user namespace, the flags of mounts that came from outside stay.
pub fn explain_lock(error: Error, tree: BorrowedFd, mount: &Mount) -> Error {
    const LOCKABLE: [(u64, FsFlags, &str); 4] = [
        (libc::MS_RDONLY, FsFlags::ST_RDONLY, "ro"),
        (libc::MS_NOSUID, FsFlags::ST_NOSUID, "nosuid"),
        (libc::MS_NODEV, FsFlags::ST_NODEV, "nodev"),
        (libc::MS_NOEXEC, FsFlags::ST_NOEXEC, "noexec"),
    ];
    if error.errno() != Some(Errno::EPERM) {
        return error;
    }
    let has = fstatvfs(tree).map_or(FsFlags::empty(), |stat| stat.flags());
    let locked: Vec<_> = LOCKABLE
        .iter()
        .filter(|(ms, flag, _)| mount.cleared & ms != 0 && has.contains(*flag))
        .map(|(_, _, name)| *name)
        .collect();
    let atime = libc::MS_NOATIME | libc::MS_RELATIME | libc::MS_STRICTATIME | libc::MS_NODIRATIME;
    let error = if !locked.is_empty() {
        error.within(&format!("cannot clear locked flags {}", locked.join(",")))
    } else if (mount.flags | mount.cleared) & atime != 0 {
        error.within("cannot change locked atime flags")
    } else {
        error
    };
    error.with_hint("the source belongs to another user namespace, which locks its flags")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_without_options_changes_nothing() {
        assert_eq!(
            bind_attr(libc::MS_BIND | libc::MS_REC, 0),
            MountAttr::default()
        );
    }

    #[test]
    fn atime_modes_are_one_field() {
        let attr = bind_attr(libc::MS_NOATIME | libc::MS_RDONLY, libc::MS_NOSUID);
        assert_eq!(attr.set, sys::ATTR_NOATIME | sys::ATTR_RDONLY);
        assert_eq!(attr.clear, sys::ATTR_ATIME | sys::ATTR_NOSUID);
        let attr = bind_attr(libc::MS_RELATIME, 0);
        assert_eq!((attr.set, attr.clear), (0, sys::ATTR_ATIME));
    }
}

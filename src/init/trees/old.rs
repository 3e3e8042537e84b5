//! Trees for kernels without open_tree(2) and its friends (before 5.2), or without
//! mount_setattr(2) (before 5.12), by mount(2) alone.
//!
//! mount(2) knows no detached mounts, so there is a stage: a tmpfs that nobody else sees, on
//! top of `/` of this mount namespace, which leaves the host's paths as they are (a lookup
//! begins below it). A tree is first mounted on a directory of the stage, which no image can
//! reach, and held by an fd of its root; that fd stays good when the tree is moved to its
//! target. The stage goes before the root is entered, as it would lie on top of the old one.
//!
//! mount(2) takes paths only. Those given to it are `self/fd/N`, from inside the host's procfs,
//! which is opened and verified before the container's own can be in sight.

use std::cell::RefCell;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, mkdirat, mknodat};
use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::fchdir;

use crate::init::rootfs::is;
use crate::procfs::ProcFs;
use crate::sys::mount::{self as sys, FsOption, MountAttr};

const PLACE: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

struct Stage {
    procfs: ProcFs,
    dir: OwnedFd,
    /// How many trees have been on it; each has a place of its own.
    count: u32,
}

thread_local! {
    static STAGE: RefCell<Option<Stage>> = const { RefCell::new(None) };
}

/// Take the stage away, if there is one. What is attached can still be changed.
pub fn strike() -> Result<(), Errno> {
    STAGE.with_borrow(|stage| match stage {
        Some(stage) => stage.strike(),
        None => Ok(()),
    })
}

/// Close what is held of the host. Once the container's root is entered and complete, nothing
/// is mounted any more.
pub fn forget() {
    STAGE.take();
}

fn on_stage<T>(act: impl FnOnce(&mut Stage) -> Result<T, Errno>) -> Result<T, Errno> {
    STAGE.with_borrow_mut(|stage| match stage {
        Some(stage) => act(stage),
        None => act(stage.insert(Stage::new()?)),
    })
}

impl Stage {
    fn new() -> Result<Self, Errno> {
        let procfs = ProcFs::host().map_err(|error| error.errno().unwrap_or(Errno::EINVAL))?;
        // With shared propagation the host would see the stage.
        mount(None, c"/", None, MsFlags::MS_SLAVE, None)?;
        let before = open("/", PLACE | OFlag::O_DIRECTORY, Mode::empty())?;
        let tmpfs = Some(c"tmpfs");
        mount(tmpfs, c"/", tmpfs, MsFlags::empty(), Some(c"mode=700"))?;
        // What is above the root is what is mounted on top of it.
        let dir = open("/..", PLACE | OFlag::O_DIRECTORY, Mode::empty())?;
        let device = |fd: &OwnedFd| nix::sys::stat::fstat(fd).map(|stat| stat.st_dev);
        if device(&before)? == device(&dir)? {
            return Err(Errno::EINVAL);
        }
        Ok(Self {
            procfs,
            dir,
            count: 0,
        })
    }

    /// A fresh place: a directory, or a file for what is none.
    fn place(&mut self, directory: bool) -> Result<(String, OwnedFd), Errno> {
        let name = self.count.to_string();
        self.count += 1;
        let mode = Mode::S_IRWXU;
        if directory {
            mkdirat(&self.dir, name.as_str(), mode)?;
        } else {
            mknodat(&self.dir, name.as_str(), SFlag::S_IFREG, mode, 0)?;
        }
        let fd = self.open(&name)?;
        Ok((name, fd))
    }

    /// What is at a place: the root of the mount that has been put there.
    fn open(&self, name: &str) -> Result<OwnedFd, Errno> {
        openat(&self.dir, name, PLACE | OFlag::O_NOFOLLOW, Mode::empty())
    }

    fn strike(&self) -> Result<(), Errno> {
        let stage = path(self.dir.as_fd());
        self.in_procfs(|| umount2(stage.as_c_str(), MntFlags::MNT_DETACH))
    }

    /// mount(2) with fds in place of paths.
    fn mount(
        &self,
        source: Option<BorrowedFd>,
        target: BorrowedFd,
        flags: MsFlags,
        data: Option<&CStr>,
    ) -> Result<(), Errno> {
        let (source, target) = (source.map(path), path(target));
        self.in_procfs(|| mount(source.as_deref(), &target, None, flags, data))
    }

    /// Act where fds have names, and leave the working directory as it was.
    fn in_procfs(&self, act: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let here = open(".", PLACE, Mode::empty())?;
        fchdir(self.procfs.directory())?;
        let done = act();
        fchdir(&here)?;
        done
    }
}

/// The name of an fd, relative to the root of a procfs.
fn path(fd: BorrowedFd) -> CString {
    let text = format!("self/fd/{}", fd.as_raw_fd());
    CString::new(text).unwrap_or_default()
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    fstype: Option<&CStr>,
    flags: MsFlags,
    data: Option<&CStr>,
) -> Result<(), Errno> {
    nix::mount::mount(source, target, fstype, flags, data)
}

fn tree_flags(recursive: bool) -> MsFlags {
    if recursive {
        MsFlags::MS_BIND | MsFlags::MS_REC
    } else {
        MsFlags::MS_BIND
    }
}

pub fn clone(
    dir: BorrowedFd,
    path: &CStr,
    recursive: bool,
    follow: bool,
) -> Result<OwnedFd, Errno> {
    let opened;
    let source = if path.is_empty() {
        dir
    } else {
        let nofollow = if follow {
            OFlag::empty()
        } else {
            OFlag::O_NOFOLLOW
        };
        opened = openat(dir, path, PLACE | nofollow, Mode::empty())?;
        opened.as_fd()
    };
    if is(source, SFlag::S_IFLNK)? {
        // mount(2) would follow it.
        return Err(Errno::ENOSYS);
    }
    let directory = is(source, SFlag::S_IFDIR)?;
    on_stage(|stage| {
        let (name, place) = stage.place(directory)?;
        stage.mount(Some(source), place.as_fd(), tree_flags(recursive), None)?;
        stage.open(&name)
    })
}

pub fn attach(tree: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    on_stage(|stage| stage.mount(Some(tree), target, MsFlags::MS_MOVE, None))
}

pub fn bind(source: BorrowedFd, target: BorrowedFd) -> Result<(), Errno> {
    on_stage(|stage| stage.mount(Some(source), target, MsFlags::MS_BIND, None))
}

pub fn set_attr(tree: BorrowedFd, attr: &MountAttr, recursive: bool) -> Result<(), Errno> {
    if attr.userns_fd != 0 || recursive && attr.set | attr.clear != 0 {
        return Err(Errno::ENOSYS);
    }
    // A tree of open_tree(2) is in no namespace yet, where mount(2) does not find it.
    let staged = |flags| match change(tree, flags) {
        Err(Errno::EINVAL) => {
            put_on_stage(tree)?;
            change(tree, flags)
        }
        other => other,
    };
    if attr.set | attr.clear != 0 {
        let flags = flags_of(tree)? & !attr.clear | attr.set;
        staged(MsFlags::MS_REMOUNT | MsFlags::MS_BIND | ms_flags(flags))?;
    }
    if attr.propagation != 0 {
        let tree = if recursive { libc::MS_REC } else { 0 };
        staged(MsFlags::from_bits_retain(attr.propagation | tree))?;
    }
    Ok(())
}

fn change(tree: BorrowedFd, flags: MsFlags) -> Result<(), Errno> {
    on_stage(|stage| stage.mount(None, tree, flags, None))
}

fn put_on_stage(tree: BorrowedFd) -> Result<(), Errno> {
    let directory = is(tree, SFlag::S_IFDIR)?;
    let (_, place) = on_stage(|stage| stage.place(directory))?;
    sys::move_mount(tree, place.as_fd())
}

/// The attributes that a mount has.
fn flags_of(mount: BorrowedFd) -> Result<u64, Errno> {
    let flags = sys::statfs_flags(mount)?;
    let bits = [
        (sys::ST_RDONLY, sys::ATTR_RDONLY),
        (sys::ST_NOSUID, sys::ATTR_NOSUID),
        (sys::ST_NODEV, sys::ATTR_NODEV),
        (sys::ST_NOEXEC, sys::ATTR_NOEXEC),
        (sys::ST_NODIRATIME, sys::ATTR_NODIRATIME),
        (sys::ST_NOSYMFOLLOW, sys::ATTR_NOSYMFOLLOW),
        (sys::ST_NOATIME, sys::ATTR_NOATIME),
    ]
    .iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |bits, (_, bit)| bits | bit);
    let strict = flags & (sys::ST_NOATIME | sys::ST_RELATIME) == 0;
    Ok(bits | if strict { sys::ATTR_STRICTATIME } else { 0 })
}

/// MOUNT_ATTR_* as mount(2) has them.
fn ms_flags(attr: u64) -> MsFlags {
    let bits = [
        (sys::ATTR_RDONLY, libc::MS_RDONLY),
        (sys::ATTR_NOSUID, libc::MS_NOSUID),
        (sys::ATTR_NODEV, libc::MS_NODEV),
        (sys::ATTR_NOEXEC, libc::MS_NOEXEC),
        (sys::ATTR_NODIRATIME, libc::MS_NODIRATIME),
        (sys::ATTR_NOSYMFOLLOW, libc::MS_NOSYMFOLLOW),
    ]
    .iter()
    .filter(|(bit, _)| attr & bit != 0)
    .fold(0, |flags, (_, ms)| flags | ms);
    // To name no mode keeps the one there is.
    let atime = match attr & sys::ATTR_ATIME {
        sys::ATTR_NOATIME => libc::MS_NOATIME,
        sys::ATTR_STRICTATIME => libc::MS_STRICTATIME,
        _ => libc::MS_RELATIME,
    };
    MsFlags::from_bits_retain(bits | atime)
}

pub fn new_filesystem(fstype: &CStr, options: &[FsOption], attr: u64) -> Result<OwnedFd, Errno> {
    let (flags, data) = as_text(options);
    let source = options
        .iter()
        .find(|(key, _)| *key == c"source")
        .and_then(|(_, value)| *value);
    let data = CString::new(data).map_err(|_| Errno::EINVAL)?;
    let flags = MsFlags::from_bits_retain(flags) | ms_flags(attr);
    on_stage(|stage| {
        let (name, place) = stage.place(true)?;
        let here = open(".", PLACE, Mode::empty())?;
        fchdir(&place)?;
        let done = mount(source, c".", Some(fstype), flags, Some(&data));
        fchdir(&here)?;
        done?;
        stage.open(&name)
    })
}

/// mount(2) takes the state of the whole, so what no option names is said again.
pub fn reconfigure(mount: BorrowedFd, options: &[FsOption]) -> Result<(), Errno> {
    let (mut flags, data) = as_text(options);
    let named = |word: &CStr| options.iter().any(|(key, _)| *key == word);
    let now = fstatvfs(mount)?.flags();
    for (flag, words, bit) in [
        (FsFlags::ST_RDONLY, [c"ro", c"rw"], libc::MS_RDONLY),
        (
            FsFlags::ST_SYNCHRONOUS,
            [c"sync", c"async"],
            libc::MS_SYNCHRONOUS,
        ),
        (
            FsFlags::ST_MANDLOCK,
            [c"mand", c"nomand"],
            libc::MS_MANDLOCK,
        ),
    ] {
        if now.contains(flag) && !words.into_iter().any(named) {
            flags |= bit;
        }
    }
    let flags = MsFlags::from_bits_retain(flags) | ms_flags(flags_of(mount)? & !sys::ATTR_RDONLY);
    let data = CString::new(data).map_err(|_| Errno::EINVAL)?;
    on_stage(|stage| stage.mount(None, mount, MsFlags::MS_REMOUNT | flags, Some(&data)))
}

/// Options of fsconfig(2) as flags and text of mount(2).
fn as_text(options: &[FsOption]) -> (u64, String) {
    let (mut flags, mut words) = (0, Vec::new());
    for (key, value) in options {
        let key = key.to_string_lossy();
        match (key.as_ref(), value) {
            ("source", _) | ("rw" | "async" | "nomand" | "nolazytime" | "noiversion", None) => {}
            ("ro", None) => flags |= libc::MS_RDONLY,
            ("sync", None) => flags |= libc::MS_SYNCHRONOUS,
            ("dirsync", None) => flags |= libc::MS_DIRSYNC,
            ("mand", None) => flags |= libc::MS_MANDLOCK,
            ("lazytime", None) => flags |= libc::MS_LAZYTIME,
            ("iversion", None) => flags |= libc::MS_I_VERSION,
            (key, None) => words.push(key.to_owned()),
            (key, Some(value)) => {
                let value = value.to_string_lossy();
                // Only security contexts have commas, and they may be quoted.
                let quote = if value.contains(',') { "\"" } else { "" };
                words.push(format!("{key}={quote}{value}{quote}"));
            }
        }
    }
    (flags, words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_the_text_and_flags_of_mount_2() {
        let (flags, text) = as_text(&[
            (c"source", Some(c"shm")),
            (c"size", Some(c"1m")),
            (c"sync", None),
            (c"rw", None),
            (c"noswap", None),
            (c"context", Some(c"u:r:t:s0:c1,c2")),
        ]);
        assert_eq!(flags, libc::MS_SYNCHRONOUS);
        assert_eq!(text, "size=1m,noswap,context=\"u:r:t:s0:c1,c2\"");
    }

    #[test]
    fn attributes_are_those_of_mount_2() {
        let attr = sys::ATTR_RDONLY | sys::ATTR_NOSYMFOLLOW | sys::ATTR_NOATIME;
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOATIME;
        let flags = flags | MsFlags::from_bits_retain(libc::MS_NOSYMFOLLOW);
        assert_eq!(ms_flags(attr), flags);
        assert_eq!(ms_flags(0), MsFlags::MS_RELATIME);
        assert_eq!(ms_flags(sys::ATTR_STRICTATIME), MsFlags::MS_STRICTATIME);
    }
}

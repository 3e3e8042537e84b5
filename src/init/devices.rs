//! Device nodes and links in /dev.
//!
//! /dev is opened once, as an ordinary directory of the rootfs: an image whose /dev is a link
//! to somewhere else gets no node there. Where mknod is refused (a user namespace) the host's
//! node is bound instead, after it has been seen to be the device that is meant.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, major, makedev, minor, mknodat,
};
use nix::unistd::{AccessFlags, Gid, Uid, UnlinkatFlags, access, fchownat, symlinkat, unlinkat};

use super::mounts::{attach, clone_path};
use super::rootfs::{Make, RootFs};
use super::trees;
use crate::error::{Error, Result, Step};
use crate::plan::{Device, DeviceKind};

/// Links that every container finds in /dev (runtime-spec, config-linux.md, "Dev symbolic
/// links"), and /dev/ptmx of the container's own devpts.
const LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
];

/// Make the nodes, and in a /dev of the container's own (`in_dev`) the links. The umask is zero
/// here, so that modes are what they say.
pub fn make(root: &RootFs, devices: &[Device], in_dev: bool) -> Result<()> {
    if !in_dev {
        return devices
            .iter()
            .try_for_each(|device| outside_dev(root, device));
    }
    let dev = root.ordinary_directory(Path::new("/dev"), "dev")?;
    for device in devices {
        match (device.path.parent(), device.path.file_name()) {
            (Some(parent), Some(name)) if parent == Path::new("/dev") => {
                one(root, dev.as_fd(), name, device).map_err(|error| blame(device, error))?;
            }
            _ => outside_dev(root, device)?,
        }
    }
    links(&dev)
}

fn outside_dev(root: &RootFs, device: &Device) -> Result<()> {
    let made = match (device.path.parent(), device.path.file_name()) {
        (Some(parent), Some(name)) => root
            .find_or_make(parent, Make::Directory)
            .and_then(|parent| one(root, parent.as_fd(), name, device)),
        _ => Err(Error::invalid("a device needs a name")),
    };
    made.map_err(|error| blame(device, error))
}

fn blame(device: &Device, error: Error) -> Error {
    let error = error.within(&format!("make device {}", device.path.display()));
    if device.field.is_empty() {
        error
    } else {
        error.with_field(&device.field)
    }
}

fn links(dev: &OwnedFd) -> Result<()> {
    // Some kernels have no /proc/kcore; a link to nothing helps nobody.
    let kcore = access("/proc/kcore", AccessFlags::F_OK).is_ok();
    let core = kcore.then_some(("/proc/kcore", "core"));
    for (to, name) in LINKS.into_iter().chain(core) {
        match symlinkat(to, dev, name) {
            Ok(()) => {}
            // An image may bring a ptmx of its own, which would open the host's terminals.
            Err(Errno::EEXIST) if name == "ptmx" => unlinkat(dev, name, UnlinkatFlags::NoRemoveDir)
                .and_then(|()| symlinkat(to, dev, name))
                .step("replace /dev/ptmx")?,
            // The image, or a mount of /dev, has it; or /dev is read-only, by the config's wish.
            Err(Errno::EEXIST | Errno::EROFS) => {}
            Err(errno) => return Err(Error::sys(format!("link /dev/{name}"), errno)),
        }
    }
    Ok(())
}

fn one(root: &RootFs, dir: BorrowedFd, name: &OsStr, device: &Device) -> Result<()> {
    let kind = file_type(device.kind);
    let number = makedev(device.major.into(), device.minor.into());
    let mode = Mode::from_bits_truncate(device.mode);
    match mknodat(dir, name, kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EEXIST | Errno::EROFS) if matches(dir, name, device) => return Ok(()),
        Err(Errno::EEXIST) => {
            return Err(Error::new("something else is there already").with_errno(Errno::EEXIST));
        }
        Err(Errno::EPERM | Errno::EACCES) => return bind(root, device),
        Err(errno) => return Err(Error::sys("mknod", errno)),
    }
    if (device.uid, device.gid) != (0, 0) {
        fchownat(
            dir,
            name,
            Some(Uid::from_raw(device.uid)),
            Some(Gid::from_raw(device.gid)),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .step("set the owner")?;
        // A change of owner clears the set-id bits.
        if device.mode & 0o6000 != 0 {
            fchmodat(dir, name, mode, FchmodatFlags::NoFollowSymlink).step("set the mode")?;
        }
    }
    Ok(())
}

/// Bind the host's node of the same path, if it is this very device.
fn bind(root: &RootFs, device: &Device) -> Result<()> {
    let tree = clone_path(&device.path, false)?;
    let stat = fstat(&tree).step("look at the host's node")?;
    if !is_device(stat.st_mode, stat.st_rdev, device) {
        return Err(Error::new("the host's node of this path is another device")
            .with_path(&device.path)
            .with_hint("mknod is not permitted here, so the host's node would have been bound"));
    }
    let target = root.find_or_make(&device.path, Make::File)?;
    attach(tree.as_fd(), target.as_fd())
}

fn matches(dir: BorrowedFd, name: &OsStr, device: &Device) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| is_device(stat.st_mode, stat.st_rdev, device))
}

fn is_device(mode: u32, rdev: u64, device: &Device) -> bool {
    let kind = SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits());
    let number = (u64::from(device.major), u64::from(device.minor));
    kind == file_type(device.kind)
        && (device.kind == DeviceKind::Fifo || (major(rdev), minor(rdev)) == number)
}

fn file_type(kind: DeviceKind) -> SFlag {
    match kind {
        DeviceKind::Char => SFlag::S_IFCHR,
        DeviceKind::Block => SFlag::S_IFBLK,
        DeviceKind::Fifo => SFlag::S_IFIFO,
    }
}

/// A null device as a detached mount, for what is bound over masked files: the container's
/// own if it is one, else the host's. Whatever else an image put at /dev/null would be shown in
/// place of what is to be hidden (CVE-2025-31133).
pub fn null(root: &RootFs) -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    if let Some(own) = root.find(path)?
        && is_null(own.as_fd()).step_on("look at", path)?
    {
        return trees::clone(own.as_fd(), c"", false).step_on("clone the mount of", path);
    }
    let hosts = clone_path(path, false)?;
    if is_null(hosts.as_fd()).step_on("look at", path)? {
        Ok(hosts)
    } else {
        Err(Error::new("not the null device").with_path(path))
    }
}

fn is_null(fd: BorrowedFd) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Ok(kind == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3))
}

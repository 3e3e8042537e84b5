//! Device nodes and links in /dev.
//!
//! /dev is opened once, as an ordinary directory of the rootfs: an image whose /dev is a link
//! to somewhere else gets no node there. Where mknod is refused (a user namespace) a node is bound
//! instead: the one that the runtime has made for an entry of the config (`container::nodes`), or
//! the host's own, after it has been seen to be the device that is meant.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, fcntl, open, openat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, fchmodat, fstat, fstatat, major, makedev, minor, mknodat,
};
use nix::unistd::{
    AccessFlags, Gid, Uid, UnlinkatFlags, access, dup2_stderr, dup2_stdin, dup2_stdout, fchdir,
    fchownat, symlinkat, unlinkat,
};

use super::mounts::{attach, clone_path};
use super::rootfs::{Make, RootFs};
use super::trees;
use crate::error::{Error, Result, Step};
use crate::plan::{Device, DeviceKind};
use crate::sys::mount::{ATTR_NOEXEC, ATTR_NOSUID, MountAttr};

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
/// here, so that modes are what they say. `nodes` holds what the runtime has made.
pub fn make(root: &RootFs, devices: &[Device], in_dev: bool, nodes: Option<OwnedFd>) -> Result<()> {
    if let Some(nodes) = &nodes {
        // A part of a detached mount can be cloned since Linux 6.15 only, so it is mounted for a
        // while: over the root, as every path of the rootfs is looked up from below that.
        attach(nodes.as_fd(), root.as_fd())?;
    }
    let maker = Maker {
        root,
        dev: match in_dev {
            true => Some(root.ordinary_directory(Path::new("/dev"), "dev")?),
            false => None,
        },
        nodes,
    };
    for (index, device) in devices.iter().enumerate() {
        maker.device(index, device).map_err(|error| {
            let error = error.within(&format!("make device {}", device.path.display()));
            if device.field.is_empty() {
                error
            } else {
                error.with_field(&device.field)
            }
        })?;
    }
    if let Some(nodes) = &maker.nodes {
        fchdir(nodes)
            .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
            .step("unmount the nodes of the runtime")?;
    }
    maker.dev.as_ref().map_or(Ok(()), links)
}

/// What a node of the runtime is called, by the place of its device in the plan.
pub fn node_name(index: usize) -> CString {
    CString::new(index.to_string()).unwrap_or_default()
}

struct Maker<'a> {
    root: &'a RootFs,
    /// /dev, where nodes and links are made in it.
    dev: Option<OwnedFd>,
    nodes: Option<OwnedFd>,
}

impl Maker<'_> {
    fn device(&self, index: usize, device: &Device) -> Result<()> {
        let (Some(parent), Some(name)) = (device.path.parent(), device.path.file_name()) else {
            return Err(Error::invalid("a device needs a name"));
        };
        let found;
        let dir = match &self.dev {
            Some(dev) if parent == Path::new("/dev") => dev.as_fd(),
            _ => {
                found = self.root.find_or_make(parent, Make::Directory)?;
                found.as_fd()
            }
        };
        match make_node(dir, name, device, [device.uid, device.gid]) {
            Err(Errno::EEXIST | Errno::EROFS) if matches(dir, name, device) => {
                self.take(index, device, dir, name)
            }
            // What an earlier container has left that had its nodes bound, or an image's builder.
            Err(Errno::EEXIST) if is_empty_file(dir, name) => self.bind(index, device),
            Err(Errno::EEXIST) => {
                Err(Error::new("something else is there already").with_errno(Errno::EEXIST))
            }
            Err(Errno::EPERM | Errno::EACCES) => self.bind(index, device),
            other => other.step("make the node"),
        }
    }

    /// The image, or an earlier container, has the very device; for one of the config it has its
    /// mode and owner, too.
    fn take(&self, index: usize, device: &Device, dir: BorrowedFd, name: &OsStr) -> Result<()> {
        if device.field.is_empty() {
            return Ok(());
        }
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let node = openat(dir, name, flags, Mode::empty()).step("open the node")?;
        let stat = fstat(&node).step("look at the node")?;
        let wanted = (device.mode, device.uid, device.gid);
        if (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) == wanted
            || !is_device(stat.st_mode, stat.st_rdev, device)
        {
            return Ok(());
        }
        if self.nodes.is_some() {
            return self.bind(index, device);
        }
        let [uid, gid] = [device.uid, device.gid];
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        let mode = Mode::from_bits_truncate(device.mode);
        let changed = fchownat(&node, "", uid, gid, AtFlags::AT_EMPTY_PATH).and_then(|()| {
            let path = crate::procfs::fd_path(&node);
            fchmodat(AT_FDCWD, path.as_str(), mode, FchmodatFlags::FollowSymlink)
        });
        match changed {
            // A read-only filesystem, or one of another user namespace: it is as it is.
            Err(Errno::EROFS | Errno::EPERM | Errno::EINVAL) => Ok(()),
            other => other.step("set the mode and owner of the node"),
        }
    }

    /// Bind a node; like /dev itself, its mount is nosuid and noexec.
    fn bind(&self, index: usize, device: &Device) -> Result<()> {
        let tree = match &self.nodes {
            Some(nodes) if !device.field.is_empty() => {
                trees::clone(nodes.as_fd(), &node_name(index), false).step("clone the node")?
            }
            _ => hosts_node(device)?,
        };
        let attr = MountAttr {
            set: ATTR_NOSUID | ATTR_NOEXEC,
            ..MountAttr::default()
        };
        trees::set_attr(tree.as_fd(), &attr, false).step("set the options of the node's mount")?;
        let target = self.root.find_or_make(&device.path, Make::File)?;
        attach(tree.as_fd(), target.as_fd())
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

/// One node, with its mode and its owner (uid and gid). The umask is zero.
pub fn make_node(
    dir: BorrowedFd,
    name: &OsStr,
    device: &Device,
    [uid, gid]: [u32; 2],
) -> Result<(), Errno> {
    let number = makedev(device.major.into(), device.minor.into());
    let mode = Mode::from_bits_truncate(device.mode);
    mknodat(dir, name, file_type(device.kind), mode, number)?;
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    let owner = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    fchownat(dir, name, owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    // A change of owner clears the set-id bits.
    if device.mode & 0o6000 != 0 {
        fchmodat(dir, name, mode, FchmodatFlags::NoFollowSymlink)?;
    }
    Ok(())
}

/// A detached clone of the host's node of the same path, if it is this very device.
fn hosts_node(device: &Device) -> Result<OwnedFd> {
    let tree = clone_path(&device.path, false)?;
    let stat = fstat(&tree).step("look at the host's node")?;
    if is_device(stat.st_mode, stat.st_rdev, device) {
        return Ok(tree);
    }
    Err(Error::new("the host's node of this path is another device")
        .with_path(&device.path)
        .with_hint("mknod is not permitted here, so the host's node would have been bound"))
}

fn matches(dir: BorrowedFd, name: &OsStr, device: &Device) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| is_device(stat.st_mode, stat.st_rdev, device))
}

fn is_empty_file(dir: BorrowedFd, name: &OsStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
        kind == SFlag::S_IFREG && stat.st_size == 0
    })
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

/// Standard streams that are the null device become the container's own, now that we are in its
/// root. The host's lies on a mount that the container does not have, and what criu finds open
/// on such a mount it cannot save. Where there is no other, they stay as they are.
pub fn take_own_null() -> Result<()> {
    let step = "look at stdio";
    let is_open_on_null = |fd: BorrowedFd| match is_null(fd) {
        Err(Errno::EBADF) => Ok(false),
        other => other.step(step),
    };
    let on_null = [
        is_open_on_null(std::io::stdin().as_fd())?,
        is_open_on_null(std::io::stdout().as_fd())?,
        is_open_on_null(std::io::stderr().as_fd())?,
    ];
    if on_null == [false; 3] {
        return Ok(());
    }
    // The device was made, or seen to be one, when /dev was.
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let Ok(own) = open("/dev/null", flags, Mode::empty()) else {
        return Ok(());
    };
    if !is_null(own.as_fd()).step(step)? {
        return Ok(());
    }
    let step = "take the container's null device";
    fcntl(&own, FcntlArg::F_SETFL(OFlag::empty())).step(step)?;
    let [input, output, errors] = on_null;
    let replace = || -> Result<(), Errno> {
        if input {
            dup2_stdin(&own)?;
        }
        if output {
            dup2_stdout(&own)?;
        }
        if errors {
            dup2_stderr(&own)?;
        }
        Ok(())
    };
    replace().step(step)
}

fn is_null(fd: BorrowedFd) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    Ok(kind == SFlag::S_IFCHR && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3))
}

//! One mount after the other, each attached to a directory or file that is held open.
//!
//! A new filesystem goes by mount(2) on `.` of its verified target: quicker than fsopen(2) and
//! its friends, and the kernel parses the options as text, as it does for every other mount
//! program. A bind is a detached clone of its source (open_tree(2)) that gets its flags by
//! mount_setattr(2) before anybody can see it, and is then attached by fd. No target is ever
//! resolved from a string once it has been opened.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::sys::stat::SFlag;
use nix::unistd::fchdir;

use super::rootfs::{Make, RootFs, is};
use super::sources::Source;
use super::{copy_up, proc_targets};
use crate::error::{Error, Result, Step, Target};
use crate::plan::{Cgroup1Mount, Mount, MountKind};
use crate::procfs::{fd_path, is_procfs};
use crate::sys::mount::{self as sys, MountAttr};

/// Filesystems whose target must not be a link, and that show more than the container's own
/// when they land elsewhere.
const ORDINARY_ONLY: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// Carry out one entry of `mounts`.
pub fn mount(root: &RootFs, mount: &Mount, source: Source, cgroup_ns: bool) -> Result<()> {
    let done = match &mount.what {
        MountKind::Filesystem { fstype, data } => filesystem(root, mount, fstype, data),
        MountKind::Bind {
            source: path,
            recursive,
            inside,
        } => source
            .tree(root, mount, path, inside.as_deref(), *recursive)
            .and_then(|tree| bind(root, mount, tree)),
        MountKind::Cgroup2 {
            host_dir,
            own_dir,
            data,
        } => cgroup2(root, mount, [host_dir, own_dir], data),
        MountKind::Cgroup1 { entries, links } => cgroup1(root, mount, entries, links, cgroup_ns),
    };
    done.map_err(|error| failed(mount, error))
}

/// Say which mount it was that could not be made. A more exact field than the mount stays.
pub fn failed(mount: &Mount, error: Error) -> Error {
    let exact = matches!(&error.target, Some(Target::Field(at)) if at.starts_with(&mount.field));
    let error = error.within(&format!(
        "error mounting {:?} to rootfs at {:?}",
        mount.source,
        mount.target.display().to_string()
    ));
    if exact {
        error
    } else {
        error.with_field(&mount.field)
    }
}

fn filesystem(root: &RootFs, mount: &Mount, fstype: &str, data: &str) -> Result<()> {
    let target = if ORDINARY_ONLY.contains(&fstype) {
        root.ordinary_directory(&mount.target, fstype)?
    } else {
        root.find_or_make(&mount.target, Make::Directory)?
    };
    proc_targets::check(root, mount, target.as_fd(), || Ok(fstype == "proc"))?;
    if mount.copy_up || changes_after(mount) {
        return detached(mount, &target, fstype, data);
    }
    match mount_here(&target, &mount.source, fstype, mount.flags, data) {
        // A user namespace without a network namespace of its own may not mount a sysfs; the
        // host's, bound, is what it would show.
        Err(Errno::EPERM) if fstype == "sysfs" => {
            bind(root, mount, clone_path(Path::new("/sys"), true)?)
        }
        other => other.step(format!("mount a {fstype}")),
    }
}

/// A new filesystem that is worked on after it was made, so it is held by fd from the start:
/// to open it by its path once it is attached would be to resolve the path anew.
fn detached(mount: &Mount, target: &OwnedFd, fstype: &str, data: &str) -> Result<()> {
    let tree = new_tree(fstype, &mount.source, data)?;
    if mount.copy_up {
        copy_up::copy(target.as_fd(), tree.as_fd()).map_err(|e| e.within("copy up"))?;
    }
    // A read-only tmpfs is filled first.
    set_attr(tree.as_fd(), &bind_attr(mount.flags, 0), false)?;
    attach(tree.as_fd(), target.as_fd())?;
    finish(tree.as_fd(), mount)
}

/// A new filesystem, detached, from the same text that mount(2) would take.
fn new_tree(fstype: &str, source: &str, data: &str) -> Result<OwnedFd> {
    let text =
        |text: &str| CString::new(text).map_err(|_| Error::invalid("an option holds a zero byte"));
    let mut options = vec![(c"source".to_owned(), Some(text(source)?))];
    for option in data.split(',').filter(|option| !option.is_empty()) {
        options.push(match option.split_once('=') {
            Some((key, value)) => (text(key)?, Some(text(value)?)),
            None => (text(option)?, None),
        });
    }
    let options: Vec<_> = options
        .iter()
        .map(|(key, value)| (key.as_c_str(), value.as_deref()))
        .collect();
    sys::new_filesystem(&text(fstype)?, &options, 0).step(format!("make a {fstype}"))
}

/// mount(2) on the directory that `target` holds.
fn mount_here(
    target: &OwnedFd,
    source: &str,
    fstype: &str,
    flags: u64,
    data: &str,
) -> Result<(), Errno> {
    fchdir(target)?;
    nix::mount::mount(
        Some(source),
        ".",
        Some(fstype),
        // Retained: MS_NOSYMFOLLOW has no name in nix.
        MsFlags::from_bits_retain(flags),
        (!data.is_empty()).then_some(data),
    )
}

/// A detached clone of what a host path names.
pub fn clone_path(path: &Path, recursive: bool) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::invalid("a path holds a zero byte").with_path(path))?;
    let here = nix::fcntl::AT_FDCWD;
    match sys::clone_tree(here, &text, recursive) {
        Err(Errno::ENOENT) => Err(Error::sys("bind source", Errno::ENOENT).with_path(path)),
        other => other.step_on("clone the source", path),
    }
}

/// Attach a detached tree at the mount's target, with its flags.
fn bind(root: &RootFs, mount: &Mount, tree: OwnedFd) -> Result<()> {
    set_attr(tree.as_fd(), &bind_attr(mount.flags, mount.cleared), false)?;
    let make = if is(tree.as_fd(), SFlag::S_IFDIR).step("look at the source")? {
        Make::Directory
    } else {
        Make::File
    };
    let target = root.find_or_make(&mount.target, make)?;
    let brings_procfs = || is_procfs(tree.as_fd()).step("look at the source");
    proc_targets::check(root, mount, target.as_fd(), brings_procfs)?;
    attach(tree.as_fd(), target.as_fd())?;
    finish(tree.as_fd(), mount)
}

/// Attach a detached mount on top of what `target` holds.
pub fn attach(tree: BorrowedFd, target: BorrowedFd) -> Result<()> {
    sys::move_mount(tree, target).step("attach a mount")
}

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
    sys::set_attr(mount, attr, recursive).step("change a mount's attributes")
}

fn changes_after(mount: &Mount) -> bool {
    mount.recursive_set | mount.recursive_clear != 0 || !mount.propagation.is_empty()
}

/// The recursive options and the propagation of the attached mount that `top` is the root of.
fn finish(top: BorrowedFd, mount: &Mount) -> Result<()> {
    let attr = MountAttr {
        set: mount.recursive_set,
        clear: mount.recursive_clear,
        ..MountAttr::default()
    };
    set_attr(top, &attr, true)?;
    mount
        .propagation
        .iter()
        .try_for_each(|flags| set_propagation(top, *flags))
}

/// MS_SHARED and the like, with MS_REC for the whole tree, on the mount that `top` is the
/// root of.
pub fn set_propagation(top: BorrowedFd, flags: u64) -> Result<()> {
    let recursive = flags & libc::MS_REC != 0;
    let attr = MountAttr {
        propagation: flags & !libc::MS_REC,
        ..MountAttr::default()
    };
    match sys::set_attr(top, &attr, recursive) {
        Err(Errno::ENOSYS) => nix::mount::mount(
            None::<&str>,
            fd_path(top).as_str(),
            None::<&str>,
            MsFlags::from_bits_truncate(flags),
            None::<&str>,
        ),
        other => other,
    }
    .step("set the propagation")
}

/// `type: cgroup` where v2 is the only hierarchy.
fn cgroup2(root: &RootFs, mount: &Mount, dirs: [&Path; 2], data: &str) -> Result<()> {
    let target = root.find_or_make(&mount.target, Make::Directory)?;
    proc_targets::check(root, mount, target.as_fd(), || Ok(false))?;
    if changes_after(mount) {
        return detached(mount, &target, "cgroup2", data);
    }
    match mount_here(&target, "cgroup", "cgroup2", mount.flags, data) {
        // In a user namespace that does not own the cgroup namespace: the container's own
        // directory, bound.
        Err(Errno::EPERM | Errno::EBUSY) => bind(root, mount, clone_cgroup(dirs)?),
        other => other.step("mount a cgroup2"),
    }
}

/// The container's cgroup; where it could not have one, the caller's, in which it is.
fn clone_cgroup([own, callers]: [&Path; 2]) -> Result<OwnedFd> {
    match clone_path(own, false) {
        Err(error) if error.errno() == Some(Errno::ENOENT) => clone_path(callers, false),
        other => other,
    }
}

/// `type: cgroup` on v1: a tmpfs, and on it one mount a hierarchy and a link for each name of
/// a joined one. With a cgroup namespace each is a cgroup filesystem (it shows the namespace's
/// root); without, the container's own directory is bound, so that it sees no other.
fn cgroup1(
    root: &RootFs,
    mount: &Mount,
    entries: &[Cgroup1Mount],
    links: &[(String, String)],
    cgroup_ns: bool,
) -> Result<()> {
    let target = root.find_or_make(&mount.target, Make::Directory)?;
    proc_targets::check(root, mount, target.as_fd(), || Ok(false))?;
    let flags = mount.flags & !libc::MS_RDONLY;
    let top = new_tree("tmpfs", "tmpfs", "mode=755")?;
    attach(top.as_fd(), target.as_fd())?;
    for entry in entries {
        let name = entry.name.as_str();
        nix::sys::stat::mkdirat(&top, name, nix::sys::stat::Mode::from_bits_truncate(0o755))
            .step_on("make a directory", name)?;
        let place = nix::fcntl::openat(
            &top,
            name,
            nix::fcntl::OFlag::O_PATH
                | nix::fcntl::OFlag::O_NOFOLLOW
                | nix::fcntl::OFlag::O_CLOEXEC,
            nix::sys::stat::Mode::empty(),
        )
        .step_on("open", name)?;
        if cgroup_ns {
            mount_here(&place, "cgroup", &entry.fstype, flags, &entry.data)
                .step(format!("mount cgroup {name}"))?;
        } else {
            let tree = clone_cgroup([&entry.host_dir, &entry.own_dir])?;
            attach(tree.as_fd(), place.as_fd())?;
        }
    }
    for (name, to) in links {
        nix::unistd::symlinkat(to.as_str(), &top, name.as_str()).step_on("make a link", name)?;
    }
    // One call for the whole tree, in place of a remount each.
    let attr = bind_attr(mount.flags, 0);
    set_attr(top.as_fd(), &attr, true)?;
    finish(top.as_fd(), mount)
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

//! One mount after the other, each attached to a directory or file that is held open.
//!
//! A new filesystem goes by mount(2) on `.` of its verified target: quicker than fsopen(2) and
//! its friends, and the kernel parses the options as text, as it does for every other mount
//! program. A bind is a detached clone of its source (open_tree(2)) that gets its flags by
//! mount_setattr(2) before anybody can see it, and is then attached by fd. No target is ever
//! resolved from a string once it has been opened.

mod attributes;
mod cgroups;
mod options;
mod remount;

use std::borrow::Cow;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::readlinkat;
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::fchdir;

use self::attributes::{bind_attr, changes_after, explain_lock, finish, set_attr};
use self::options::FsOptions;
use super::rootfs::{Make, RootFs, is};
use super::sources::Source;
use super::{copy_up, proc_targets, trees};
use crate::error::{Error, Result, Step, Target};
use crate::plan::{Links, Mount, MountKind};
use crate::procfs::is_whole_procfs;
use crate::sys::xattr;

/// Filesystems whose target must not be a link, and that show more than the container's own
/// when they land elsewhere.
pub(super) const ORDINARY_ONLY: [&str; 3] = ["proc", "sysfs", "mqueue"];

/// What the entries share.
pub struct Around<'a> {
    pub cgroup_ns: bool,
    /// `linux.mountLabel`.
    pub label: Option<&'a str>,
}

/// Carry out one entry of `mounts`. Gives the mount back if it has still to be made read-only:
/// things are yet to be made in it.
pub fn mount(
    root: &mut RootFs,
    mount: &Mount,
    source: Source,
    around: &Around,
) -> Result<Option<OwnedFd>> {
    let done = match &mount.what {
        MountKind::Filesystem { fstype, data } => filesystem(root, mount, fstype, data, around),
        MountKind::Remount { bind, data } => remount::remount(root, mount, *bind, data),
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
        } => cgroups::v2(root, mount, [host_dir, own_dir], data),
        MountKind::Cgroup1 { entries, links } => cgroups::v1(root, mount, entries, links, around),
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

fn filesystem(
    root: &mut RootFs,
    mount: &Mount,
    fstype: &str,
    data: &str,
    around: &Around,
) -> Result<Option<OwnedFd>> {
    let mut data = Cow::from(data);
    let target = if ORDINARY_ONLY.contains(&fstype) {
        root.ordinary_directory(&mount.target, fstype)?
    } else if fstype == "tmpfs" && !has_mode(&data) {
        let found = root.find(&mount.target)?;
        if let Some(found) = &found {
            data = like_the_covered(found.as_fd(), &data)?.into();
        }
        found.map_or_else(|| root.find_or_make(&mount.target, Make::Directory), Ok)?
    } else {
        root.find_or_make(&mount.target, Make::Directory)?
    };
    let data = data.as_ref();
    proc_targets::check(root, mount, target.as_fd(), || Ok(fstype == "proc"))?;
    // Directories for later mounts and devices are still to be made in it.
    let late = mount.flags & libc::MS_RDONLY != 0
        && (fstype == "tmpfs" || mount.target == Path::new("/dev"));
    let label = around.label.filter(|_| fstype == "mqueue");
    let is_root = mount.target == Path::new("/");
    if late || mount.copy_up || label.is_some() || is_root || changes_after(mount) {
        let flags = mount.flags & if late { !libc::MS_RDONLY } else { !0 };
        let tree = new_tree(fstype, &mount.source, flags, data)?;
        if mount.copy_up {
            copy_up::copy(target.as_fd(), tree.as_fd()).map_err(|e| e.within("copy up"))?;
        }
        if let Some(label) = label {
            fchdir(&tree)
                .and_then(|()| xattr::set(c".", c"security.selinux", label.as_bytes()))
                .step("set the SELinux label")?;
        }
        set_attr(tree.as_fd(), &bind_attr(flags, 0), false)?;
        attach(tree.as_fd(), target.as_fd())?;
        finish(tree.as_fd(), mount)?;
        return enter_if_root(root, mount, tree).map(|tree| tree.filter(|_| late));
    }
    match mount_here(&target, &mount.source, fstype, mount.flags, data) {
        // A user namespace without a network namespace of its own may not mount a sysfs; the
        // host's, bound, is what it would show. With it come the host's cgroups, of which some
        // may be the user's to write to (CVE-2023-25809).
        Err(Errno::EPERM) if fstype == "sysfs" => {
            let tree = clone_path(Path::new("/sys"), true)?;
            let attr = bind_attr(mount.flags | libc::MS_RDONLY, 0);
            set_attr(tree.as_fd(), &attr, true)?;
            bind(root, mount, tree)
        }
        // There is one such filesystem, and it is mounted here already: an entry that stands
        // twice in the config. By fd it is not refused.
        Err(Errno::EBUSY) => {
            let tree = new_tree(fstype, &mount.source, mount.flags, data)?;
            set_attr(tree.as_fd(), &bind_attr(mount.flags, 0), false)?;
            attach(tree.as_fd(), target.as_fd()).map(|()| None)
        }
        Err(Errno::ENOTDIR) => Err(wrong_kind()),
        other => other.step(format!("mount a {fstype}")).map(|()| None),
    }
}

fn has_mode(data: &str) -> bool {
    data.split(',').any(|option| option.starts_with("mode="))
}

/// A tmpfs whose mode the config does not give has that of the directory that it covers, as with
/// runc, so that an image's /tmp stays open to all and its /root does not become so.
fn like_the_covered(directory: BorrowedFd, data: &str) -> Result<String> {
    let stat = fstat(directory).step("look at the target")?;
    let comma = if data.is_empty() { "" } else { "," };
    Ok(format!("mode={:04o}{comma}{data}", stat.st_mode & 0o7777))
}

/// A mount on `/` is what the container's root is from then on.
fn enter_if_root(root: &mut RootFs, mount: &Mount, tree: OwnedFd) -> Result<Option<OwnedFd>> {
    if mount.target == Path::new("/") {
        let own = tree.try_clone().step("duplicate the fd of the root")?;
        *root = RootFs::new(own);
    }
    Ok(Some(tree))
}

fn wrong_kind() -> Error {
    Error::sys("attach a mount", Errno::ENOTDIR).with_hint(
        "a directory is mounted on a directory and anything else on a file: are source and \
         destination of the expected type?",
    )
}

/// A new filesystem that is worked on after it was made, so it is held by fd from the start:
/// to open it by its path once it is attached would be to resolve the path anew. From the same
/// text that mount(2) would take.
pub fn new_tree(fstype: &str, source: &str, flags: u64, data: &str) -> Result<OwnedFd> {
    let options = FsOptions::new(source, flags, 0, data)?;
    let fstype = CString::new(fstype).map_err(|_| Error::invalid("a zero byte in a type"))?;
    trees::new_filesystem(&fstype, &options.as_slice(), 0)
        .step(format!("make a {}", fstype.to_string_lossy()))
}

/// mount(2) on the directory that `target` holds.
pub fn mount_here(
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
    clone_source(path, recursive, Links::FOLLOWED)
}

/// The same, of a link itself where the options say so.
pub fn clone_source(path: &Path, recursive: bool, links: Links) -> Result<OwnedFd> {
    let text = CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| Error::invalid("a path holds a zero byte").with_path(path))?;
    let here = nix::fcntl::AT_FDCWD;
    let tree = if links.keeps_source() {
        trees::clone_link(here, &text, recursive)
    } else {
        trees::clone(here, &text, recursive)
    };
    match tree {
        Err(Errno::ENOENT) => Err(Error::sys("bind source", Errno::ENOENT).with_path(path)),
        other => other.step_on("clone the source", path),
    }
}

/// Attach a detached tree at the mount's target, with its flags.
pub fn bind(root: &mut RootFs, mount: &Mount, tree: OwnedFd) -> Result<Option<OwnedFd>> {
    let is_kind = |kind| is(tree.as_fd(), kind).step("look at the source");
    if mount.links.copy && is_kind(SFlag::S_IFLNK)? {
        let to = readlinkat(&tree, "").step("read the link that is the source")?;
        return root.make_link(&mount.target, &to).map(|()| None);
    }
    set_attr(tree.as_fd(), &bind_attr(mount.flags, mount.cleared), false)
        .map_err(|error| explain_lock(error, tree.as_fd(), mount))?;
    let make = if is_kind(SFlag::S_IFDIR)? {
        Make::Directory
    } else {
        Make::File
    };
    let target = if mount.links.mount_over {
        root.find_or_make_nofollow(&mount.target, make)?
    } else {
        root.find_or_make(&mount.target, make)?
    };
    let brings_procfs = || is_whole_procfs(tree.as_fd()).step("look at the source");
    proc_targets::check(root, mount, target.as_fd(), brings_procfs)?;
    if is(target.as_fd(), SFlag::S_IFDIR).step("look at the target")? != (make == Make::Directory) {
        return Err(wrong_kind());
    }
    attach(tree.as_fd(), target.as_fd())?;
    finish(tree.as_fd(), mount)?;
    enter_if_root(root, mount, tree).map(|_| None)
}

/// Attach a detached mount on top of what `target` holds.
pub fn attach(tree: BorrowedFd, target: BorrowedFd) -> Result<()> {
    trees::attach(tree, target).step("attach a mount")
}

//! What the process does on restore that then becomes criu: it enters the container's cgroups, in
//! which what criu restores is born, and makes what criu mounts from.
//!
//! In a mount namespace of its own, so that nothing of it is seen on the host, a tmpfs is mounted
//! in the container's directory ("the place"). On it are the rootfs, which criu wants to be a
//! mount that nothing covers, and the source of each bind, resolved as `create` resolves it: a
//! link in a hostile rootfs must not lead criu to the host's files, and a source that the config
//! wants id-mapped is mapped here.
//!
//! The targets of mounts are made where they are missing, by the rules of the mounts themselves,
//! on another mount of the rootfs, with the binds attached one after the other: a target may lie
//! on an earlier bind. What lies on a tmpfs comes with the images, as does a cgroup mount's.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sys::stat::{Mode, SFlag, mkdirat, umask};
use nix::unistd::fchdir;

use super::channel::{Channel, Message};
use super::devices::node_name;
use super::mounts::{ORDINARY_ONLY, attach, clone_path, failed, new_tree};
use super::proc_targets;
use super::rootfs::{Make, RootFs, is};
use super::sources::Source;
use super::{enter_groups, trees};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result, Step};
use crate::intel_rdt::Group;
use crate::plan::checkpoint::{Origin, lies_on_tmpfs};
use crate::plan::{Mount, MountKind, Plan};
use crate::procfs::is_whole_procfs;
use crate::sys::process::duplicate_to;

/// On the place: the rootfs, and the device nodes that the runtime has made.
const ROOT: &str = "root";
const NODES: &str = "nodes";

/// Beside the plan.
pub struct Handed<'a> {
    pub cgroup: &'a Cgroup,
    pub intel_rdt: Option<&'a Group>,
    /// A directory of the runtime's.
    pub place: &'a Path,
    /// Open directories, with their paths: they are opened again in the new mount namespace.
    pub dirs: Vec<(BorrowedFd<'a>, &'a Path)>,
    /// As for init; see `container::nodes`.
    pub nodes: Option<&'a OwnedFd>,
}

/// Where criu finds the root.
pub fn root_path(place: &Path) -> PathBuf {
    place.join(ROOT)
}

/// Where criu finds what an external mount shows. `has_nodes`: the runtime has made nodes.
pub fn path_of(plan: &Plan, place: &Path, origin: &Origin, has_nodes: bool) -> PathBuf {
    match origin {
        Origin::Bind(index) => place.join(index.to_string()),
        Origin::Cgroup(dir) => dir.clone(),
        Origin::Device(index) => match plan.devices.get(*index) {
            Some(device) if device.field.is_empty() || !has_nodes => device.path.clone(),
            _ => {
                let name = node_name(*index);
                place.join(NODES).join(OsStr::from_bytes(name.as_bytes()))
            }
        },
    }
}

/// All of it. We are in the new mount namespace already.
pub fn prepare(plan: &Plan, handed: &Handed, channel: &Channel) -> Result<()> {
    if plan.cgroup.unit.is_some() {
        channel.send(&Message::PlaceInUnit)?;
        channel.wait_for_go()?;
    } else {
        enter_groups(handed.cgroup, None)?;
    }
    handed.intel_rdt.map_or(Ok(()), Group::enter)?;
    let none = None::<&str>;
    let slave = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    nix::mount::mount(none, "/", none, slave, none).step("set the propagation of all mounts")?;
    for (fd, path) in &handed.dirs {
        reopen(*fd, path)?;
    }
    let before = umask(Mode::empty());
    let place = Place::make(handed.place)?;
    place.targets(plan, channel)?;
    place.add(ROOT, clone_path(&plan.rootfs.path, true)?.as_fd())?;
    if let Some(nodes) = handed.nodes {
        place.add(NODES, nodes.as_fd())?;
    }
    umask(before);
    Ok(())
}

fn reopen(fd: BorrowedFd, path: &Path) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let again = open(path, flags, Mode::empty()).step_on("open the directory", path)?;
    duplicate_to(again.as_fd(), fd.as_raw_fd()).step_on("open the directory", path)
}

struct Place {
    fd: OwnedFd,
}

impl Place {
    fn make(path: &Path) -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let below = open(path, flags, Mode::empty()).step_on("open", path)?;
        let fd = new_tree("tmpfs", "criu", 0, "mode=0700")?;
        attach(fd.as_fd(), below.as_fd())?;
        Ok(Self { fd })
    }

    /// A mount with this name, of a file or a directory as the tree is.
    fn add(&self, name: &str, tree: BorrowedFd) -> Result<()> {
        let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
        let made = if is_directory(tree)? {
            mkdirat(&self.fd, name, Mode::S_IRWXU)
        } else {
            let new = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            openat(&self.fd, name, new, Mode::S_IRUSR).map(drop)
        };
        let target = made.and_then(|()| openat(&self.fd, name, flags, Mode::empty()));
        attach(tree, target.step("make a place to mount on")?.as_fd())
    }

    fn targets(&self, plan: &Plan, channel: &Channel) -> Result<()> {
        let tree = clone_path(&plan.rootfs.path, true)?;
        self.add("targets", tree.as_fd())?;
        let root = RootFs::new(tree);
        for (index, mount) in plan.mounts.iter().enumerate() {
            let source = Source { channel, index };
            self.target(&root, plan, mount, source)
                .map_err(|error| failed(mount, error))?;
        }
        fchdir(root.as_fd())
            .and_then(|()| umount2(".", MntFlags::MNT_DETACH))
            .and_then(|()| nix::unistd::chdir("/"))
            .step("unmount the targets")
    }

    fn target(&self, root: &RootFs, plan: &Plan, mount: &Mount, source: Source) -> Result<()> {
        let on_tmpfs = lies_on_tmpfs(plan, &mount.target);
        match &mount.what {
            MountKind::Filesystem { fstype, .. } if !on_tmpfs => {
                let target = if ORDINARY_ONLY.contains(&fstype.as_str()) {
                    root.ordinary_directory(&mount.target, fstype)?
                } else {
                    root.find_or_make(&mount.target, Make::Directory)?
                };
                proc_targets::check(root, mount, target.as_fd(), || Ok(fstype == "proc"))
            }
            MountKind::Bind {
                source: path,
                recursive,
                inside,
            } => {
                let index = source.index;
                let tree = source.tree(root, mount, path, inside.as_deref(), *recursive)?;
                self.bind(root, mount, &tree, index, on_tmpfs)
            }
            // What is on the host of cgroups comes with the images; a remount has no target.
            _ => Ok(()),
        }
    }

    fn bind(
        &self,
        root: &RootFs,
        mount: &Mount,
        tree: &OwnedFd,
        index: usize,
        on_tmpfs: bool,
    ) -> Result<()> {
        if mount.target == Path::new("/") {
            return Err(Error::invalid("a mount on / cannot be restored"));
        }
        if mount.links.copy && is(tree.as_fd(), SFlag::S_IFLNK).step("look at the source")? {
            let to = readlinkat(tree, "").step("read the link that is the source")?;
            return root.make_link(&mount.target, &to);
        }
        self.add(&index.to_string(), tree.as_fd())?;
        if on_tmpfs {
            return Ok(());
        }
        let make = if is_directory(tree.as_fd())? {
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
        let clone = trees::clone(tree.as_fd(), c"", true).step("clone the source")?;
        attach(clone.as_fd(), target.as_fd())
    }
}

fn is_directory(fd: BorrowedFd) -> Result<bool> {
    is(fd, SFlag::S_IFDIR).step("look at the source")
}

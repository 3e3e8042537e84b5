//! The host's trees that only the runtime can open for a container.
//!
//! With a user namespace, init has no rights over the host's paths any more: a source may lie
//! below a directory that only the host's root may enter. So the rootfs and the sources of
//! binds are cloned here, detached, and handed over to it.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::nodes;
use crate::error::{Error, Result, Step};
use crate::host::Host;
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::{Links, MountKind, NamespaceKind, Plan};
use crate::sys::mount::{self, MountAttr};

/// What init gets from us, in place of paths.
#[derive(Debug, Default)]
pub struct HostTrees {
    pub rootfs: Option<OwnedFd>,
    /// One a mount, or none at all: the source of a bind, where it is ours to open.
    pub sources: Vec<Option<OwnedFd>>,
    /// A detached tmpfs with the nodes of `linux.devices`, which init may not make.
    pub nodes: Option<OwnedFd>,
}

/// Clone the trees that init could not. Their mounts become slaves, as everything else in the
/// container's mount namespace.
pub fn host_trees(plan: &Plan, host: &Host) -> Result<HostTrees> {
    let namespaces = &plan.namespaces;
    if !namespaces.has(NamespaceKind::User)
        || !namespaces.is_new(NamespaceKind::Mount)
        || host.capabilities() & SYS_ADMIN == 0
    {
        return Ok(HostTrees::default());
    }
    let rootfs = match slave_clone(&plan.rootfs.path, true, Links::FOLLOWED) {
        // Before Linux 5.12 there is nothing to hand over. Init takes the paths, if it can.
        Err(Errno::ENOSYS) => return Ok(HostTrees::default()),
        // A user namespace's root in a mount namespace of the host. Init gets one of its own.
        Err(Errno::EPERM) => return Ok(HostTrees::default()),
        other => other
            .step_on("clone the rootfs", &plan.rootfs.path)
            .map_err(|e| e.with_field("/root/path"))?,
    };
    let mut sources = Vec::with_capacity(plan.mounts.len());
    for mount in &plan.mounts {
        sources.push(match &mount.what {
            // What is inside the rootfs, init finds there, on an earlier mount perhaps.
            MountKind::Bind {
                source,
                recursive,
                inside: None,
            } => match slave_clone(source, *recursive, mount.links) {
                Ok(tree) => Some(tree),
                // By way of a link of the host it may be inside the rootfs all the same.
                Err(Errno::ENOENT) => None,
                Err(errno) => {
                    return Err(Error::sys("clone the source of a mount", errno)
                        .with_path(source)
                        .with_field(&mount.field));
                }
            },
            _ => None,
        });
    }
    Ok(HostTrees {
        rootfs: Some(rootfs),
        sources,
        nodes: nodes::make(plan)?,
    })
}

fn slave_clone(path: &Path, recursive: bool, links: Links) -> Result<OwnedFd, Errno> {
    let text = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let here = nix::fcntl::AT_FDCWD;
    let tree = if links.keeps_source() {
        mount::clone_link(here, &text, recursive)?
    } else {
        mount::clone_tree(here, &text, recursive)?
    };
    let attr = MountAttr {
        propagation: libc::MS_SLAVE,
        ..MountAttr::default()
    };
    mount::set_attr(tree.as_fd(), &attr, true)?;
    Ok(tree)
}

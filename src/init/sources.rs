//! The trees of binds: where they come from, and who maps their ids.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::channel::Channel;
use super::mounts::clone_source;
use super::rootfs::RootFs;
use super::trees;
use crate::error::{Error, Result, Step};
use crate::plan::Mount;

/// Where one mount's tree comes from, if it is a bind.
pub struct Source<'a> {
    /// The parent has cloned it, when only the parent could.
    pub given: Option<OwnedFd>,
    pub channel: &'a Channel,
    /// The place of the mount in the plan.
    pub index: usize,
}

impl Source<'_> {
    /// The source of `mount`, which is the host's `path` or lies `inside` the rootfs, as a
    /// detached tree with its ids mapped.
    pub fn tree(
        self,
        root: &RootFs,
        mount: &Mount,
        path: &Path,
        inside: Option<&Path>,
        recursive: bool,
    ) -> Result<OwnedFd> {
        let tree = match (self.given, inside) {
            (Some(tree), _) => tree,
            (None, Some(inside)) => {
                let source = if mount.links.keeps_source() {
                    root.find_nofollow(inside)?
                } else {
                    root.find(inside)?
                };
                let source = source
                    .ok_or_else(|| Error::sys("bind source", Errno::ENOENT).with_path(path))?;
                trees::clone(source.as_fd(), c"", recursive).step_on("clone the source", path)?
            }
            (None, None) => {
                clone_source(path, recursive, mount.links).map_err(|error| match error.errno() {
                    // The parent has not found it either, or there would be a tree.
                    Some(Errno::EACCES) => error.with_hint("does the source exist?"),
                    _ => error,
                })?
            }
        };
        if mount.idmap.is_some() {
            self.channel.have_mapped(self.index, tree.as_fd())?;
        }
        Ok(tree)
    }
}

//! The trees of binds: where they come from, and who maps their ids.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;

use super::channel::{Channel, Message};
use super::mounts::clone_source;
use super::rootfs::RootFs;
use super::trees;
use crate::error::{Error, Result, Step};
use crate::plan::Mount;

/// Where one mount's tree comes from, if it is a bind.
pub struct Source<'a> {
    /// To the parent, which opens what only it can.
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
        let tree = match inside {
            Some(inside) => {
                let source = if mount.links.keeps_source() {
                    root.find_nofollow(inside)?
                } else {
                    root.find(inside)?
                };
                let source = source
                    .ok_or_else(|| Error::sys("bind source", Errno::ENOENT).with_path(path))?;
                trees::clone(source.as_fd(), c"", recursive).step_on("clone the source", path)?
            }
            None => self.of_host(path, recursive, mount)?,
        };
        if mount.idmap.is_some() {
            self.channel.have_mapped(self.index, tree.as_fd())?;
        }
        Ok(tree)
    }

    /// The parent opens what only it can, and clones what the kernel lets nobody uncover in a
    /// user namespace: a source without the mounts below it.
    fn of_host(&self, path: &Path, recursive: bool, mount: &Mount) -> Result<OwnedFd> {
        let tree = match clone_source(path, recursive, mount.links) {
            Err(error) if error.errno() == Some(Errno::EACCES) => {
                let question = Message::OpenSource(Some(self.index));
                let source = self.channel.ask_for_source(&question)?;
                trees::clone(source.as_fd(), c"", recursive).step_on("clone the source", path)
            }
            other => other,
        };
        match tree {
            Err(error) if error.errno() == Some(Errno::EINVAL) && !recursive => self
                .channel
                .ask_for_source(&Message::CloneSource(self.index)),
            other => other,
        }
    }
}

//! `remount`: change what is mounted already.
//!
//! As mount(8) does it: what no option names stays as it is. (mount(2) itself would replace all
//! flags, so that `remount,ro` took `nosuid` away.) Beside `bind` only the mount changes, else
//! the filesystem too, wherever else it is mounted. That must be the one that the config speaks
//! of: by a link in the image it could be the host's, of which the rootfs and the volumes are
//! parts.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use super::options::FsOptions;
use super::{bind_attr, explain_lock, finish, set_attr};
use crate::error::{Error, Result, Step};
use crate::init::rootfs::RootFs;
use crate::init::trees;
use crate::plan::Mount;

/// Nothing is made at the target: to remount is to find something.
pub fn remount(root: &RootFs, mount: &Mount, bind: bool, data: &str) -> Result<Option<OwnedFd>> {
    let target = if bind {
        root.find(&mount.target)
    } else {
        root.find_without_links(&mount.target).map_err(explain)
    };
    let target = target?.ok_or_else(|| Error::sys("remount", Errno::ENOENT))?;
    if !bind {
        let options = FsOptions::changes(mount.flags, mount.cleared, data)?;
        if !options.is_empty() {
            trees::reconfigure(target.as_fd(), &options.as_slice())
                .step("remount the filesystem")
                .map_err(explain)?;
        }
    }
    let attr = bind_attr(mount.flags, mount.cleared);
    set_attr(target.as_fd(), &attr, false)
        .map_err(|error| explain(explain_lock(error, target.as_fd(), mount)))?;
    finish(target.as_fd(), mount)?;
    Ok(None)
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(Errno::EINVAL) => error.with_hint("is something mounted right there?"),
        Some(Errno::ELOOP) => error.with_hint(
            "no link may lead to a filesystem that is remounted; remount,bind changes the mount alone",
        ),
        _ => error,
    }
}

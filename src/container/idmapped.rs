//! The id mappings of mounts, given by the one who may: the runtime, at init's request.
//!
//! To map the ids of a mount (mount_setattr(2), MOUNT_ATTR_IDMAP) takes CAP_SYS_ADMIN over its
//! filesystem and over the user namespace that stands for the mapping. In a user namespace of
//! its own, init has neither. So init clones the source, whatever earlier mount it lies on, and
//! sends the detached tree; a detached tree has no mount namespace, and we map it from outside.
//! Init attaches it when it has our word.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::waitpid;
use nix::unistd::close;

use super::{idmap, spawn};
use crate::error::{Error, Result, Step};
use crate::init::channel::Channel;
use crate::init::mounts;
use crate::plan::{IdMapping, MountIdMap, Plan};
use crate::procfs::ProcFs;
use crate::sys::{clone, mount, process};

/// Mappings for users and for groups.
type Maps<'a> = (&'a [IdMapping], &'a [IdMapping]);

/// Gives the mounts of one container their id mappings.
pub struct Mapper<'a> {
    plan: &'a Plan,
    /// In our pid namespace.
    init: i32,
    /// Whether we are without the host's root.
    rootless: bool,
    /// Mounts with equal mappings share a namespace.
    namespaces: Vec<(Maps<'a>, OwnedFd)>,
}

impl<'a> Mapper<'a> {
    pub fn new(plan: &'a Plan, init: i32, rootless: bool) -> Self {
        Self {
            plan,
            init,
            rootless,
            namespaces: Vec::new(),
        }
    }

    /// Map the ids of `tree`, which init has cloned for the mount of this number.
    ///
    /// # Errors
    /// The kernel refuses, or init has asked for what the plan does not have.
    pub fn map(&mut self, index: usize, tree: &OwnedFd) -> Result<()> {
        let mounts = &self.plan.mounts;
        let asked = mounts.get(index).and_then(|m| Some((m, m.idmap.as_ref()?)));
        let Some((mount, idmap)) = asked else {
            return Err(Error::new(format!(
                "no id mapping is planned for mount {index}"
            )));
        };
        self.namespace(idmap)
            .and_then(|namespace| {
                mount::set_id_map(tree.as_fd(), namespace.as_fd(), idmap.recursive)
                    .map_err(|errno| refused(errno, idmap.recursive))
            })
            .map_err(|error| mounts::failed(mount, error))
    }

    /// A user namespace with these mappings.
    fn namespace(&mut self, idmap: &'a MountIdMap) -> Result<&OwnedFd> {
        let containers = &self.plan.namespaces;
        let containers: Maps = (&containers.uid_mappings, &containers.gid_mappings);
        let own: Maps = (&idmap.uid_mappings, &idmap.gid_mappings);
        // None of its own: the container's, which are not known when its namespace is joined.
        let wanted = if own.0.is_empty() { containers } else { own };
        let place = match self.namespaces.iter().position(|(maps, _)| *maps == wanted) {
            Some(place) => place,
            None => {
                let namespace = if wanted == containers {
                    self.containers_namespace()?
                } else {
                    namespace_with(wanted, self.rootless)?
                };
                self.namespaces.push((wanted, namespace));
                self.namespaces.len() - 1
            }
        };
        Ok(&self.namespaces[place].1)
    }

    /// The namespace that init is in, which costs no process.
    fn containers_namespace(&self) -> Result<OwnedFd> {
        let path = format!("/proc/{}/ns/user", self.init);
        let maps = &self.plan.namespaces;
        match File::open(&path) {
            // To look at init, which is undumpable, takes CAP_SYS_PTRACE. One like it will do.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied && !maps.uid_mappings.is_empty() =>
            {
                namespace_with((&maps.uid_mappings, &maps.gid_mappings), self.rootless)
            }
            other => other
                .map(OwnedFd::from)
                .step_on("open the user namespace", path),
        }
    }
}

/// A new user namespace with these maps, in which nobody lives.
///
/// The child that brings it into being has all that we have, the host's root among it, so it is
/// born undumpable like init (see `spawn`); and so it opens the namespace itself and sends it,
/// as to look at it would take CAP_SYS_PTRACE. Then it waits for our end of a line to close, by
/// our death if need be. It may not end before: the files of a zombie belong to the host's root
/// alone, and we may be the root of a user namespace.
fn namespace_with((uids, gids): Maps, rootless: bool) -> Result<OwnedFd> {
    let (ours, theirs) = Channel::pair()?;
    let child = || {
        let _ = close(ours.raw_fd());
        let own = ProcFs::host().and_then(|procfs| procfs.own_namespace("user"));
        if own.and_then(|own| theirs.send_fd(own.as_fd())).is_ok() {
            let _ = theirs.receive();
        }
        process::exit_now(0)
    };
    let (pid, _) = spawn::clone_shut(!rootless, || {
        clone::clone3(libc::CLONE_NEWUSER as u64, None, child)
            .step("make a user namespace for an id mapping")
    })?;
    drop(theirs);
    let fill = || {
        let namespace = ours.receive_fd()?;
        let procfs = ProcFs::host()?;
        for (name, maps) in [("uid", uids), ("gid", gids)] {
            procfs.write(&format!("{pid}/{name}_map"), &idmap::text(maps))?;
        }
        Ok(namespace)
    };
    let namespace = fill();
    drop(ours);
    let _ = waitpid(pid, None);
    namespace
}

fn refused(errno: Errno, recursive: bool) -> Error {
    let error = Error::sys("map the ids of the mount", errno);
    match errno {
        Errno::ENOSYS => error.with_hint("id-mapped mounts need Linux 5.12"),
        Errno::EINVAL if recursive => error.with_hint(
            "does this kernel map ids on the source's filesystem, and on all that are mounted \
             below it?",
        ),
        Errno::EINVAL => error.with_hint("does this kernel map ids on the source's filesystem?"),
        Errno::EPERM => error.with_hint(
            "are the source's ids mapped already, or is its filesystem that of another user \
             namespace?",
        ),
        _ => error,
    }
}

//! Device nodes that a container in a user namespace may not make itself.
//!
//! The kernel refuses mknod there, and the host may have no such node, or not with this mode and
//! owner. So each node of `linux.devices` is made here, on a tmpfs that nobody else sees, and init
//! binds it to its place. It is called by the place of its device in the plan. The maps of a user
//! namespace that is joined are not known: there the nodes have the owners of the config, and the
//! mount of the tmpfs is id-mapped by the namespace.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};

use crate::error::{Error, Result, Step};
use crate::host::Host;
use crate::init::devices::{make_node, node_name};
use crate::plan::capabilities::SYS_ADMIN;
use crate::plan::idmap::host_id;
use crate::plan::{NamespaceKind, Plan};
use crate::sys::mount;

/// A detached tmpfs with the nodes; `joined` is the user namespace that init will join. None
/// where there is nothing to make, and where we are in a user namespace ourselves.
pub fn make(plan: &Plan, host: &Host, joined: Option<BorrowedFd>) -> Result<Option<OwnedFd>> {
    let from_config = plan.devices.iter().any(|device| !device.field.is_empty());
    let in_user_namespace = plan.namespaces.is_new(NamespaceKind::User) || joined.is_some();
    if !from_config || !in_user_namespace || host.capabilities() & SYS_ADMIN == 0 {
        return Ok(None);
    }
    let options = [(c"source", Some(c"devices")), (c"mode", Some(c"0755"))];
    let tree = match mount::new_filesystem(c"tmpfs", &options, 0) {
        // A user namespace's root in a mount namespace of the host; a kernel before 5.2.
        Err(Errno::EPERM | Errno::ENOSYS) => return Ok(None),
        other => other.step("make a tmpfs for devices")?,
    };
    // Modes are what the config says.
    let callers = umask(Mode::empty());
    let made = fill(tree.as_fd(), plan);
    umask(callers);
    match made {
        Err(error) if error.errno() == Some(Errno::EPERM) => return Ok(None),
        made => made?,
    }
    match joined.map(|namespace| mount::set_id_map(tree.as_fd(), namespace, false)) {
        None | Some(Ok(())) => Ok(Some(tree)),
        // The host's own user namespace, in which init makes the nodes itself.
        Some(Err(Errno::EPERM)) => Ok(None),
        Some(Err(Errno::EINVAL | Errno::ENOSYS)) => {
            log::warn!(
                "the devices of the config are the host's, with the mode and owner that they have \
                 there: in a user namespace that is joined, others need Linux 6.3 \
                 (config.json: /linux/devices)"
            );
            Ok(None)
        }
        Some(Err(errno)) => Err(Error::sys("map the ids of the tmpfs for devices", errno)),
    }
}

fn fill(tree: BorrowedFd, plan: &Plan) -> Result<()> {
    let maps = &plan.namespaces;
    let is_new = maps.is_new(NamespaceKind::User);
    for (index, device) in plan.devices.iter().enumerate() {
        if device.field.is_empty() {
            continue;
        }
        let owner = if is_new {
            // An owner that the config does not name, and that is not mapped, stays the host's
            // root.
            [
                host_id(&maps.uid_mappings, device.uid),
                host_id(&maps.gid_mappings, device.gid),
            ]
            .map(Option::unwrap_or_default)
        } else {
            [device.uid, device.gid]
        };
        make_node(
            tree,
            OsStr::from_bytes(node_name(index).as_bytes()),
            device,
            owner,
        )
        .step_on("make device", &device.path)
        .map_err(|e: Error| e.with_field(&device.field))?;
    }
    Ok(())
}

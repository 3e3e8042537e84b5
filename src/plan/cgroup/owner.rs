//! Whom a container's cgroup is given to, so that it can divide it further.
//!
//! By the rules of the specification (config-linux.md, "Cgroup ownership"): on cgroup v2, when
//! the container has a cgroup namespace of its own and the cgroup filesystem is mounted
//! writable at /sys/fs/cgroup, the owner is what `process.user.uid` is on the host. In a user
//! namespace that is joined the map is not known, and the owner stays as it is.

use std::path::Path;

use oci_spec::runtime as oci;

use crate::cgroup::Layout;
use crate::plan::idmap::host_id;
use crate::plan::{Mount, NamespaceKind, Namespaces};

/// The user's id on the host; `None`: the cgroup stays the runtime's.
pub fn owner(
    process: Option<&oci::Process>,
    namespaces: &Namespaces,
    mounts: &[Mount],
    layout: &Layout,
) -> Option<u32> {
    let writable = |mount: &Mount| {
        let recursively = mount.recursive_set & libc::MOUNT_ATTR_RDONLY != 0;
        let read_only = recursively || mount.flags & libc::MS_RDONLY != 0;
        mount.source == "cgroup" && mount.target == Path::new("/sys/fs/cgroup") && !read_only
    };
    let delegated = layout.is_v2_only() && namespaces.is_new(NamespaceKind::Cgroup);
    if !delegated || !mounts.iter().any(writable) {
        return None;
    }
    let user = process?.user().uid();
    if namespaces.is_new(NamespaceKind::User) {
        host_id(&namespaces.uid_mappings, user)
    } else {
        (!namespaces.has(NamespaceKind::User)).then_some(user)
    }
}

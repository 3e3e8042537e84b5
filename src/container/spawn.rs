//! The clone dance: how init comes to be in the namespaces that it needs.
//!
//! Mostly it is one clone3 with all new namespaces. Some that are joined by path cannot be
//! entered by the runtime itself, which has to come back, nor be combined with new namespaces
//! that they must own (see `join`); then a middle process joins them, clones init as our child
//! (CLONE_PARENT) and ends.

use std::cell::Cell;
use std::os::fd::AsFd;

use nix::errno::Errno;

use super::join::Joins;
use super::middle::{Place, clone_through};
use super::nodes;
use super::process::Process;
use super::state::State;
use crate::cgroup::Cgroup;
use crate::error::{Error, Result, Step};
use crate::fd_socket;
use crate::host::Host;
use crate::init::channel::{Channel, Gate};
use crate::init::namespaces::clone_flag;
use crate::init::process::{raise_hard_limits, set_oom_score};
use crate::init::stdio::Stdio;
use crate::init::{self, Handed};
use crate::intel_rdt::Group;
use crate::plan::capabilities::SYS_PTRACE;
use crate::plan::{NamespaceKind, Plan};
use crate::sys::{clone, process};

use super::options::Create;

/// Init, and our end of the line to it.
pub struct Spawned {
    pub init: Process,
    pub channel: Channel,
}

/// What init enters before its namespaces.
pub struct Groups<'a> {
    pub cgroup: &'a mut Cgroup,
    pub intel_rdt: Option<&'a Group>,
}

/// Clone init; it starts on its own way at once. Without `stdio` it is what `options` say.
pub fn init(
    plan: &Plan,
    state: &State,
    groups: Groups,
    (gate, stdio): (Option<Gate>, Option<Stdio>),
    options: &Create,
    host: &Host,
) -> Result<Spawned> {
    let Groups { cgroup, intel_rdt } = groups;
    let (channel, theirs) = Channel::pair()?;
    let stdio = match stdio {
        Some(stdio) => stdio,
        None => fd_socket::console(options.console_socket.as_deref())?,
    };
    let mut joins = Joins::open(&plan.namespaces)?;
    let nodes = nodes::make(plan, host, joins.user())?;
    // The unified hierarchy's directory; on a hybrid host the v1 ones are joined by init.
    let born_in = cgroup.take_v2_fd()?;
    let new_cgroup_ns = plan.namespaces.is_new(NamespaceKind::Cgroup);
    let cgroup_ns_by_clone = new_cgroup_ns && born_in.is_some() && cgroup.is_unified_only();
    let in_joined_user_namespace = joins.user().is_some();
    let new_user_namespace = plan.namespaces.is_new(NamespaceKind::User);
    let in_user_namespace = in_joined_user_namespace || new_user_namespace;
    let flags = plan
        .namespaces
        .new
        .iter()
        .filter(|kind| match kind {
            NamespaceKind::Cgroup => cgroup_ns_by_clone,
            NamespaceKind::Time => false,
            // Its message queues belong to whoever makes it, who is nobody before the id maps.
            NamespaceKind::Ipc => !in_user_namespace,
            _ => true,
        })
        .fold(0, |flags, kind| flags | clone_flag(*kind)) as u32;
    let through_middle = joins.need_middle(&plan.namespaces);
    let mut handed = Handed {
        channel: theirs,
        gate,
        cgroup,
        intel_rdt,
        has_cgroup_namespace: cgroup_ns_by_clone,
        joins: Vec::new(),
        has_entered_groups: through_middle,
        rootless: host.is_rootless(),
        in_joined_user_namespace,
        nodes,
        state,
        stdio,
        preserve_fds: options.inherited_fds(),
        open_to_fetch: host.capabilities() & SYS_PTRACE == 0,
        no_pivot: options.no_pivot,
        new_keyring: !options.no_new_keyring,
    };
    let born_in = born_in.as_ref().map(AsFd::as_fd);
    let shut = new_user_namespace && !host.is_rootless();
    let (pid, pidfd) = clone_shut(shut, || {
        if !through_middle {
            handed.joins = joins.into_others();
            let cloned = clone::clone3(flags.into(), born_in, || init::run(plan, handed));
            return cloned.map_err(clone_error);
        }
        // What the middle process could not join goes on to init, with the rest of its memory.
        let refused = Cell::new(Vec::new());
        let join = |_: &Channel| {
            // While the host's files are in sight, and its rights are ours.
            init::enter_groups(cgroup, intel_rdt)?;
            if in_joined_user_namespace {
                set_oom_score(&plan.process)?;
                raise_hard_limits(0, &plan.process.rlimits);
            }
            refused.set(joins.join(new_user_namespace)?);
            Ok(())
        };
        let child = || {
            handed.joins = refused.take();
            init::run(plan, handed)
        };
        clone_through(
            flags.into(),
            Place::BornIn(born_in),
            join,
            child,
            clone_error,
        )
    })
    .map_err(|error| cgroup.explain_clone(error))?;
    Ok(Spawned {
        init: Process::child(pid, pidfd)?,
        channel,
    })
}

/// Clone into a new user namespace a process that is born undumpable, if `shut`. The root of the
/// host owns that namespace, and whoever is that in a container that sees the host's processes
/// could look into it before it shut itself. (A user without privileges needs the files that its
/// child has in procfs, which would be root's.)
pub fn clone_shut<T>(shut: bool, clone: impl FnOnce() -> Result<T>) -> Result<T> {
    if !shut {
        return clone();
    }
    process::set_dumpable(false).step("become undumpable")?;
    let cloned = clone();
    process::set_dumpable(true).step("become dumpable")?;
    cloned
}

fn clone_error(errno: Errno) -> Error {
    let error = Error::sys("clone init", errno);
    match errno {
        Errno::EPERM => error.with_hint("new namespaces need CAP_SYS_ADMIN, or a user namespace"),
        Errno::EINVAL => error.with_hint("does this kernel have all the namespaces asked for?"),
        Errno::ENOSPC => error.with_hint("a limit in /proc/sys/user is reached"),
        Errno::EBUSY => error.with_hint("the cgroup has controllers enabled for its children"),
        _ => error,
    }
}

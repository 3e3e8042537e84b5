//! The container's half: what the cloned child does, from clone to execve.
//!
//! The order is that of the specification's life cycle (runtime.md, "Lifecycle"). The child
//! has the plan in its copy of the runtime's memory and decides nothing. Until it is ready,
//! every failure goes to the parent as a message; after start, to whoever called start.
//!
//! The child is a fork without exec, so it starts with all that the runtime had: it closes
//! every fd that was not handed over to it first of all, and it never returns, unwinds or
//! flushes: whatever the parent's frames hold is the parent's. A process of exec, which joins
//! what init has made, has its own page in `exec`; what both do last is in `end`.

mod aside;
pub mod channel;
mod copy_up;
pub mod devices;
pub mod end;
pub mod exec;
mod lookup;
mod masks;
pub mod mounts;
pub mod namespaces;
mod proc_targets;
pub mod process;
mod program;
pub mod restore;
mod root;
pub mod rootfs;
mod sources;
pub mod stdio;
mod sysctl;
mod terminal;
mod trees;

use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, fchdir, setsid};

use self::aside::Aside;
use self::channel::{Channel, Gate, Message};
use self::end::{
    Last, become_process, close_all_but, confine, execute, fail, fail_unheard, report_panics_on,
};
use self::lookup::Lookup;
use self::namespaces::Opened;
use self::process::Cwd;
use self::program::Program;
use self::rootfs::{Make, RootFs};
use self::sources::Source;
use self::stdio::Stdio;
use self::terminal::Terminal;
use crate::cgroup::Cgroup;
use crate::container::state::State;
use crate::container::status::Status;
use crate::error::{Result, Step};
use crate::hooks;
use crate::intel_rdt::Group;
use crate::plan::{NamespaceKind, Plan};
use crate::sys;

/// What the parent gives to init, beside the plan.
pub struct Handed<'a> {
    pub channel: Channel,
    /// Where to wait for start; `None`: `run` says it on the channel.
    pub gate: Option<Gate>,
    pub cgroup: &'a Cgroup,
    pub intel_rdt: Option<&'a Group>,
    /// Whether the clone itself made the cgroup namespace (with CLONE_INTO_CGROUP).
    pub has_cgroup_namespace: bool,
    /// Namespaces that only init can join.
    pub joins: Vec<Opened>,
    /// The middle process has entered the cgroup and the resctrl group, and init is born in them.
    pub has_entered_groups: bool,
    /// Whether the parent is without the host's root.
    pub rootless: bool,
    /// The middle process has joined the user namespace (see `container::spawn`).
    pub in_joined_user_namespace: bool,
    /// Device nodes that only the parent could make, on a detached tmpfs.
    pub nodes: Option<OwnedFd>,
    /// For the state that hooks read.
    pub state: &'a State,
    pub stdio: Stdio,
    /// This many fds from 3 on belong to the user's program.
    pub preserve_fds: u32,
    /// See [`Last`].
    pub open_to_fetch: bool,
    pub no_pivot: bool,
    pub new_keyring: bool,
}

/// Init's whole life. Called in the child; see [`sys::clone::clone3`].
pub fn run(plan: &Plan, mut handed: Handed) -> Infallible {
    report_panics_on(handed.channel.raw_fd());
    let program = match build(plan, &mut handed) {
        Ok(program) => program,
        Err(error) => fail(&handed.channel, error),
    };
    let Handed {
        channel,
        gate,
        state,
        preserve_fds,
        open_to_fetch,
        ..
    } = handed;
    let line = match wait_for_start(channel, gate) {
        Ok(line) => line,
        Err(error) => fail_unheard(&error),
    };
    let last = Last {
        line: &line,
        preserve_fds,
        open_to_fetch,
    };
    match launch(plan, &program, state, &last) {
        Ok(never) => match never {},
        Err(error) => fail(&line, error),
    }
}

/// From the clone to "created".
fn build(plan: &Plan, handed: &mut Handed) -> Result<Program> {
    leave_the_runtime(handed)?;
    enter_cgroup_and_namespaces(plan, handed)?;
    wait_for_network_devices(plan, handed)?;
    if plan.namespaces.can_mount() {
        build_and_enter(plan, handed)?;
    } else {
        // Neither can we mount in the mount namespace of others from a user namespace, nor step
        // aside and come back.
        let rootfs = &plan.rootfs.path;
        run_hooks_before_entering(plan, handed, || chdir(rootfs))?;
        root::change_root(rootfs)?;
        if let Some(socket) = &handed.stdio.console {
            Terminal::open(&RootFs::current()?, &plan.process, handed.stdio.is_copied)?
                .hand_over(socket)?;
        }
    }
    configure_namespaces(plan)?;
    become_process(&plan.process, Cwd::Made, &handed.channel)
}

/// The rootfs with all that is in it, and then we in it.
fn build_and_enter(plan: &Plan, handed: &mut Handed) -> Result<()> {
    let shares = !plan.namespaces.is_new(NamespaceKind::Mount);
    let aside = shares.then(Aside::step).transpose()?;
    let (root, unfinished) = build_rootfs(plan, handed)?;
    run_hooks_before_entering(plan, handed, || fchdir(&root))?;
    restrict_paths(plan, &root)?;
    let mut terminal = if handed.stdio.console.is_some() {
        let terminal = Terminal::open(&root, &plan.process, handed.stdio.is_copied)?;
        terminal.bind_console(&root)?;
        Some(terminal)
    } else {
        None
    };
    masks::finish_readonly(&unfinished)?;
    match aside {
        Some(aside) => {
            aside.enter(&root)?;
            if let Some(terminal) = &mut terminal {
                terminal.name_in(&RootFs::current()?)?;
            }
        }
        None => enter_rootfs(plan, handed, &root)?,
    }
    match (terminal, &handed.stdio.console) {
        (Some(terminal), Some(socket)) => terminal.hand_over(socket)?,
        _ if plan.sets_up_dev() => devices::take_own_null()?,
        _ => {}
    }
    trees::forget();
    Ok(())
}

/// After start: the last hooks, the filter, the program. Comes back only with the reason why
/// that failed.
fn launch(plan: &Plan, program: &Program, state: &State, last: &Last) -> Result<Infallible> {
    let process = &plan.process;
    let hooks = &plan.hooks.start_container;
    if hooks.is_empty() {
        return execute(process, program, last);
    }
    let pid = nix::unistd::getpid().as_raw();
    // Not in the specification, but what runc has always done.
    let hooks = hooks::with_environment(hooks, &program.environment());
    let text = state.oci(Status::Created, Some(pid)).to_text()?;
    let run = |enter: &dyn Fn() -> Result<()>| hooks::run("startContainer", &hooks, &text, enter);
    let enter_root = || chdir("/").step("enter /");
    if process.listener().is_none() {
        run(&|| enter_root().and_then(|()| process::last_restrictions(process, |_| Ok(()))))?;
        return execute(process, program, last);
    }
    // One listener for all that the container does, so the hooks inherit init's filter.
    confine(process, last)?;
    run(&enter_root)?;
    sys::process::reset_signals();
    Err(program.exec())
}

// ---- the steps of build, in their order ---------------------------------------------------

fn leave_the_runtime(handed: &Handed) -> Result<()> {
    let mut kept = vec![handed.channel.raw_fd()];
    kept.extend(handed.gate.iter().map(Gate::raw_fd));
    kept.extend(handed.joins.iter().map(|join| join.fd.as_raw_fd()));
    kept.extend(handed.stdio.raw_fds());
    kept.extend(handed.nodes.iter().map(AsRawFd::as_raw_fd));
    close_all_but(handed.preserve_fds, &kept)?;
    handed.stdio.take_pipes()?;
    sys::process::set_dumpable(false).step("become undumpable")?;
    setsid().map(drop).step("start a session")
}

fn enter_cgroup_and_namespaces(plan: &Plan, handed: &mut Handed) -> Result<()> {
    if plan.cgroup.unit.is_some() {
        handed.channel.send(&Message::PlaceInUnit)?;
        handed.channel.wait_for_go()?;
    }
    if !handed.has_entered_groups {
        enter_groups(handed.cgroup, handed.intel_rdt)?;
    }
    let has_user_namespace = plan.namespaces.is_new(NamespaceKind::User);
    if has_user_namespace {
        // The right to set the OOM score is gone by now; the parent does it with the maps.
        let (channel, rootless) = (&handed.channel, handed.rootless);
        namespaces::become_root_of_user_namespace(&plan.namespaces, channel, rootless)?;
    } else {
        namespaces::new_time_namespace(&plan.namespaces)?;
        if handed.in_joined_user_namespace {
            namespaces::become_root()?;
            sys::process::set_dumpable(false).step("become undumpable")?;
        } else {
            process::set_oom_score(&plan.process)?;
        }
    }
    for opened in handed.joins.drain(..) {
        namespaces::join(&opened)?;
    }
    let mapped = has_user_namespace || handed.in_joined_user_namespace;
    namespaces::unshare_late(&plan.namespaces, handed.has_cgroup_namespace, mapped)?;
    if handed.new_keyring {
        process::join_keyring(&plan.id, mapped)?;
    }
    Ok(())
}

/// Into the cgroup, and on any of its CPUs; into the resctrl group.
pub fn enter_groups(cgroup: &Cgroup, intel_rdt: Option<&Group>) -> Result<()> {
    cgroup.enter()?;
    process::scheduling::reset_affinity()?;
    intel_rdt.map_or(Ok(()), Group::enter)
}

/// The host's rights, which the parent has, are needed for both ends of the way.
fn wait_for_network_devices(plan: &Plan, handed: &Handed) -> Result<()> {
    if plan.net_devices.is_empty() {
        return Ok(());
    }
    handed.channel.send(&Message::MoveDevices)?;
    handed.channel.wait_for_go()
}

/// The rootfs, and the mounts in it that become read-only when nothing has to be made in them
/// any more.
fn build_rootfs(plan: &Plan, handed: &mut Handed) -> Result<(RootFs, Vec<OwnedFd>)> {
    // Modes of what is made are what the config says.
    umask(Mode::empty());
    let mut root = root::prepare(&plan.rootfs, &handed.channel)?;
    let around = mounts::Around {
        cgroup_ns: plan.namespaces.has(NamespaceKind::Cgroup),
        label: plan.rootfs.mount_label.as_deref(),
    };
    let mut unfinished = Vec::new();
    for (index, mount) in plan.mounts.iter().enumerate() {
        let source = Source {
            channel: &handed.channel,
            index,
        };
        unfinished.extend(mounts::mount(&mut root, mount, source, &around)?);
    }
    devices::make(
        &root,
        &plan.devices,
        plan.sets_up_dev(),
        handed.nodes.take(),
    )?;
    umask(Mode::from_bits_truncate(0o022));
    Ok((root, unfinished))
}

fn run_hooks_before_entering(
    plan: &Plan,
    handed: &Handed,
    enter: impl FnOnce() -> nix::Result<()>,
) -> Result<()> {
    run_hooks_of_runtime(plan, handed)?;
    let hooks = &plan.hooks.create_container;
    if hooks.is_empty() {
        return Ok(());
    }
    let pid = nix::unistd::getpid().as_raw();
    let text = handed.state.oci(Status::Creating, Some(pid)).to_text()?;
    // The hooks inherit it: in them every fd but stdio is closed by the time they could enter.
    enter().step_on("enter the rootfs", &plan.rootfs.path)?;
    hooks::run("createContainer", hooks, &text, &|| Ok(()))
}

fn run_hooks_of_runtime(plan: &Plan, handed: &Handed) -> Result<()> {
    if plan.hooks.prestart.is_empty() && plan.hooks.create_runtime.is_empty() {
        return Ok(());
    }
    handed.channel.send(&Message::RunHooks)?;
    handed.channel.wait_for_go()
}

fn restrict_paths(plan: &Plan, root: &RootFs) -> Result<()> {
    let lookup = Lookup::new(root, plan)?;
    masks::mask(
        &lookup,
        &plan.masked_paths,
        plan.rootfs.mount_label.as_deref(),
    )?;
    masks::make_readonly(&lookup, &plan.readonly_paths)?;
    if plan.rootfs.readonly {
        let cwd = plan.process.cwd.as_path();
        if cwd != Path::new("/") {
            // It can be made only now; why it cannot is said when it is entered.
            let _ = root.find_or_make(cwd, Make::Directory);
        }
        root::make_readonly(root)?;
    }
    Ok(())
}

fn enter_rootfs(plan: &Plan, handed: &Handed, root: &RootFs) -> Result<()> {
    trees::strike().step("unmount the stage of mounts")?;
    if handed.no_pivot {
        root::move_root(root, plan.rootfs.propagation)
    } else {
        root::pivot(root, plan.rootfs.propagation)
    }
}

fn configure_namespaces(plan: &Plan) -> Result<()> {
    if plan.namespaces.is_new(NamespaceKind::Network) {
        sys::net::loopback_up().step("bring the loopback interface up")?;
    }
    if let Some(name) = &plan.hostname {
        nix::unistd::sethostname(name)
            .step("set the hostname")
            .map_err(|e| e.with_field("/hostname"))?;
    }
    if let Some(name) = &plan.domainname {
        sys::process::set_domain_name(name)
            .step("set the domainname")
            .map_err(|e| e.with_field("/domainname"))?;
    }
    sysctl::apply(&plan.sysctl)
}

fn wait_for_start(channel: Channel, gate: Option<Gate>) -> Result<Channel> {
    channel.send(&Message::Ready)?;
    match gate {
        None => channel.wait_for_go().map(|()| channel),
        Some(gate) => {
            // The parent goes away now, and nobody would read this end.
            drop(channel);
            gate.wait()
        }
    }
}

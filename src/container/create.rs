//! From a bundle to a container that waits for start.

use std::os::fd::AsFd;
use std::time::SystemTime;

use super::foreground::stdio::{self, Prepared};
use super::id::ContainerId;
use super::idmapped::Mapper;
use super::net_devices::NetDevices;
use super::notify::Notify;
use super::options::Create;
use super::spawn::Groups;
use super::state::{Phase, State};
use super::status::Status;
use super::store::{Lock, Store};
use super::undo::Undo;
use super::{checks, descriptors, idmap, publish, sources, spawn, start_socket};
use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Init;
use crate::error::{Error, Result};
use crate::hooks;
use crate::host::Host;
use crate::init::channel::{Channel, Message};
use crate::init::stdio::Stdio;
use crate::intel_rdt::Group;
use crate::plan::{Context, Plan};
use crate::seal::Sealed;

/// How the container is to be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartBy {
    /// `create`: by whoever connects to the start socket.
    Socket,
    /// `run`: by us, on the channel.
    Channel,
}

/// A container whose init is ready. Dropped, it is undone; see [`Undo`].
pub struct Made {
    pub plan: Plan,
    pub state: State,
    pub undo: Undo,
    pub channel: Channel,
    pub lock: Lock,
    /// For `run`, where a service manager waits to hear of the container.
    pub notify: Option<Notify>,
    /// For `run` in the foreground, our side of stdio.
    pub stdio: Option<Prepared>,
}

/// The verb.
pub fn create(
    sealed: &Sealed,
    host: &Host,
    store: &Store,
    id: &ContainerId,
    options: &Create,
) -> Result<()> {
    let mut made = make(sealed, host, store, id, options, StartBy::Socket)?;
    made.undo.commit();
    Ok(())
}

/// Plan, then act: nothing on the host is touched before the plan stands.
pub fn make(
    _: &Sealed,
    host: &Host,
    store: &Store,
    id: &ContainerId,
    options: &Create,
    start_by: StartBy,
) -> Result<Made> {
    let context = Context {
        id: id.as_str(),
        bundle: &options.bundle,
        no_pivot: options.no_pivot,
    };
    let mut plan = Plan::read(&context, host)?;
    checks::before_the_first_side_effect(&plan, options)?;
    let rdt = plan.intel_rdt.as_ref();
    let rdt = rdt.map(|rdt| Group::find(rdt, id.as_str())).transpose()?;
    for warning in &plan.warnings {
        log::warn!("{warning}");
    }
    for name in plan
        .process
        .seccomp
        .iter()
        .flat_map(|filter| &filter.skipped)
    {
        log::debug!("the seccomp profile names no system call: {name}");
    }

    let (prepared, stdio) = match options.detach {
        true => (None, None),
        false => {
            let (prepared, stdio) = stdio::prepare(plan.process.terminal)?;
            (Some(prepared), Some(stdio))
        }
    };
    // The state, with the names of all traces, is there before the first of them.
    let mut undo = Undo::new(store.create(id)?);
    undo.intel_rdt = rdt;
    let lock = undo.dir.lock()?;
    let owner = nix::unistd::geteuid().as_raw();
    let mut state = State::new(&plan, owner, host.is_rootless(), SystemTime::now());
    state.orlop.no_new_keyring = options.no_new_keyring;
    undo.dir.save(&state)?;
    if options.listen_fds > 0 {
        // For init alone, so that it is not in the state, from which exec begins. Its program
        // is process 1 where it has a pid namespace, as it should when sockets are for it.
        let sockets = format!("LISTEN_FDS={}", options.listen_fds);
        plan.process
            .env
            .extend([sockets, "LISTEN_PID=1".to_owned()]);
    }

    let notify = match pass_notify_socket(&mut plan, &undo, options, start_by) {
        Ok(notify) => notify,
        Err(error) => return Err(undo.failed(&plan, &state, error)),
    };
    let start = (start_by, stdio);
    let channel = match start_init(&plan, &mut state, &mut undo, options, start, host) {
        Ok(channel) => channel,
        Err(error) => return Err(undo.failed(&plan, &state, error.start_failed())),
    };
    state.set_descriptors();
    state.orlop.phase = match start_by {
        StartBy::Socket => Phase::Created,
        StartBy::Channel => Phase::Running,
    };
    if let Err(error) = publish(&undo, &state, options) {
        return Err(undo.failed(&plan, &state, error));
    }
    Ok(Made {
        plan,
        state,
        undo,
        channel,
        lock,
        notify,
        stdio: prepared,
    })
}

/// The socket that the container tells on when it is ready. With `create`, `start` will make it.
fn pass_notify_socket(
    plan: &mut Plan,
    undo: &Undo,
    options: &Create,
    start_by: StartBy,
) -> Result<Option<Notify>> {
    let Some(manager) = &options.notify_socket else {
        return Ok(None);
    };
    if !plan.namespaces.can_mount() {
        log::warn!("NOTIFY_SOCKET is not passed on: the container has no mounts of its own");
        return Ok(None);
    }
    plan.add_notify_socket(&undo.dir.make_notify()?);
    match start_by {
        StartBy::Socket => Ok(None),
        StartBy::Channel => Notify::listen(&undo.dir, manager),
    }
}

/// The cgroup and the resctrl group, then init in them, up to where it is ready. What has been made is in `undo`.
fn start_init(
    plan: &Plan,
    state: &mut State,
    undo: &mut Undo,
    options: &Create,
    (start_by, stdio): (StartBy, Option<Stdio>),
    host: &Host,
) -> Result<Channel> {
    let cgroup = if plan.cgroup.unit.is_some() {
        // systemd wants the process before it makes the cgroup: see `attend`.
        undo.cgroup.insert(Cgroup::nowhere())
    } else {
        let cgroup = undo.cgroup.insert(Cgroup::create(&plan.cgroup)?);
        state.cgroup_paths = cgroup.paths();
        cgroup
    };
    if let Some(group) = &mut undo.intel_rdt {
        group.create(|group, owned| {
            state.set_intel_rdt(group, owned);
            undo.dir.save(state)
        })?;
    }
    let gate = match start_by {
        StartBy::Socket => Some(start_socket::bind_in(&undo.dir)?),
        StartBy::Channel => None,
    };
    let groups = Groups {
        cgroup,
        intel_rdt: undo.intel_rdt.as_ref(),
    };
    if !plan.process.terminal {
        state.external_descriptors = descriptors::standard_streams(stdio.as_ref());
    }
    let spawned = spawn::init(plan, state, groups, (gate, stdio), options, host)?;
    let init = undo.init.insert(spawned.init);
    state.set_init(init.pid().as_raw(), init.start());
    attend(plan, state, undo, &spawned.channel, host)
        .map_err(|error| error.within("error during container init"))?;
    Ok(spawned.channel)
}

/// Tell the world of the container: by its state first.
fn publish(undo: &Undo, state: &State, options: &Create) -> Result<()> {
    undo.dir.save(state)?;
    let Some(init) = &undo.init else {
        return Ok(());
    };
    publish::process(
        init,
        options.pid_file.as_deref(),
        options.pidfd_socket.as_deref(),
        "standard",
    )
}

/// Answer init until it is ready; or the process that becomes criu, on restore.
pub(super) fn attend(
    plan: &Plan,
    state: &mut State,
    undo: &mut Undo,
    channel: &Channel,
    host: &Host,
) -> Result<()> {
    let mut mapper = Mapper::new(plan, state.init_process_pid, host.is_rootless());
    loop {
        match channel.receive()? {
            Some(Message::PlaceInUnit) => place_in_unit(plan, state, undo)?,
            Some(Message::MapIds) => idmap::write(plan, state.init_process_pid, host)?,
            Some(Message::MoveDevices) => undo
                .net_devices
                .insert(NetDevices::between_us_and(state.init_process_pid)?)
                .move_in(&plan.net_devices)?,
            Some(Message::OpenSource(index)) => {
                let source = sources::open_for(plan, state.init_process_pid, index)?;
                channel.send_fd(source.as_fd())?;
            }
            Some(Message::CloneSource(index)) => {
                channel.send_fd(sources::clone_for(plan, index)?.as_fd())?;
            }
            Some(Message::MapMount(index)) => mapper.map(index, &channel.receive_fd()?)?,
            Some(Message::RunHooks) => run_hooks(plan, state)?,
            Some(Message::Warn(warning)) => {
                log::warn!("{warning}");
                continue;
            }
            Some(Message::Ready) => return Ok(()),
            Some(Message::Failed(error)) => return Err(error),
            Some(other) => return Err(Error::new(format!("init said {other:?} out of turn"))),
            None => return Err(Error::new("init died before it was ready")),
        }
        channel.send(&Message::Go)?;
    }
}

/// With the systemd driver: the unit, with init in it.
fn place_in_unit(plan: &Plan, state: &mut State, undo: &mut Undo) -> Result<()> {
    if let (Some(unit), Some(cgroup)) = (&plan.cgroup.unit, &mut undo.cgroup) {
        let Some(init) = &undo.init else {
            return Ok(());
        };
        let init = Init {
            pid: init.pid(),
            pidfd: init.pidfd(),
        };
        cgroup
            .place(&plan.cgroup, unit, init)
            .map_err(|error| error.within("unable to apply cgroup configuration"))?;
        state.cgroup_paths = cgroup.paths();
    }
    Ok(())
}

/// The hooks of the runtime's namespaces, in the bundle's directory.
pub(super) fn run_hooks(plan: &Plan, state: &State) -> Result<()> {
    let text = state
        .oci(Status::Creating, Some(state.init_process_pid))
        .to_text()?;
    let enter = hooks::in_bundle(&plan.bundle);
    hooks::run("prestart", &plan.hooks.prestart, &text, &enter)?;
    hooks::run("createRuntime", &plan.hooks.create_runtime, &text, &enter)
}

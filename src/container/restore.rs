//! `restore`: a container from the images that a checkpoint has made of one.
//!
//! The bundle is read and planned as for `create`. What the processes are (their programs, users,
//! capabilities, filters, limits) comes from the images; what is around them comes from the
//! config: the container's directory and state, the cgroup with its limits and device rules, the
//! rootfs, what binds show, the namespaces that are joined. In this order:
//!
//! 1. all that can be refused: the plan, criu and its version, the images;
//! 2. the state directory, the cgroup, the resctrl group;
//! 3. a clone of ours enters them and makes ready what criu mounts from (`init::restore`), then
//!    becomes criu, whose restored init is our child, not criu's;
//! 4. at `setup-namespaces` network devices move in, prestart and createRuntime hooks run; at
//!    `orphan-pts-master` the terminal goes to the console socket; at `post-restore` the state is
//!    written, with the pid of the new init;
//! 5. the pid file; then, in the foreground, we wait as `run` does.
//!
//! Whatever fails, all of it is taken back.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Pid, UnlinkatFlags, unlinkat};

use super::checkpoint_mounts::NULL;
use super::criu_options::{self as both, DESCRIPTORS, Dirs, EXTERNAL_NAMESPACES, EXTERNAL_SINCE};
use super::foreground::Foreground;
use super::foreground::stdio::{self, Prepared};
use super::id::ContainerId;
use super::net_devices::NetDevices;
use super::options::Restore;
use super::process::{Process, stat};
use super::state::{Namespace, Phase, State, runc_name};
use super::store::Store;
use super::swrk::{Criu, Launch, Swrk};
use super::undo::Undo;
use super::{checks, create, delete, descriptors, nodes, publish};
use crate::cgroup::Cgroup;
use crate::criu::rpc::{self, Kind, Notify, Options, field};
use crate::error::{Error, Result, Step};
use crate::fd_socket;
use crate::host::Host;
use crate::init::restore::{Handed, path_of, prepare, root_path};
use crate::init::rootfs::RootFs;
use crate::intel_rdt::Group;
use crate::plan::checkpoint::external_mounts;
use crate::plan::{Context, NamespaceKind, Plan};
use crate::procfs::fd_path;
use crate::seal::Sealed;
use crate::sys::wait::End;

const LOG: &str = "restore.log";
/// In the container's directory, where criu finds what it mounts from; empty on the host, and
/// gone when the container runs.
const PLACE: &str = "criu";
/// More than three names of files can be.
const DESCRIPTORS_LIMIT: u64 = 64 << 10;
/// criu knows another LSM profile, and an LSM context of mounts.
const LSM_SINCE: u32 = 31_600;

/// The verb; gives the exit status of the container's init (0 when detached).
pub fn restore(
    _: &Sealed,
    host: &Host,
    store: &Store,
    id: &ContainerId,
    options: &Restore,
) -> Result<u8> {
    let context = Context {
        id: id.as_str(),
        bundle: &options.create.bundle,
        no_pivot: options.create.no_pivot,
    };
    let plan = Plan::read(&context, host)?;
    checks::before_the_first_side_effect(&plan, &options.create)?;
    let joins_cgroup = plan.namespaces.joined(NamespaceKind::Cgroup);
    if let Some(join) = joins_cgroup {
        return Err(Error::field(
            &join.field,
            "criu cannot restore into a cgroup namespace that is joined",
        ));
    }
    let rdt = plan.intel_rdt.as_ref();
    let rdt = rdt.map(|rdt| Group::find(rdt, id.as_str())).transpose()?;
    let criu = Criu::find()?;
    criu.require(30_000, "restore")?;
    let dirs = Dirs::open(&options.criu, LOG, false)?;
    let foreground = if options.create.detach {
        None
    } else {
        Some(Foreground::begin(!options.no_subreaper)?)
    };
    // Only a terminal is copied: other streams are the caller's, as the images want them.
    let copied = plan.process.terminal && foreground.is_some();
    let (prepared, stdio) = if copied {
        let (prepared, stdio) = stdio::prepare(true)?;
        (Some(prepared), stdio)
    } else {
        (
            None,
            fd_socket::console(options.create.console_socket.as_deref())?,
        )
    };

    let mut undo = Undo::new(store.create(id)?);
    undo.intel_rdt = rdt;
    let lock = undo.dir.lock()?;
    let owner = nix::unistd::geteuid().as_raw();
    let mut state = State::new(&plan, owner, host.is_rootless(), SystemTime::now());
    undo.dir.save(&state)?;
    let work = Work {
        plan: &plan,
        host,
        options,
        criu: &criu,
        dirs: &dirs,
    };
    let restored = work.restore(stdio.console, &mut state, &mut undo);
    let attach = |()| prepared.map(Prepared::attach).transpose();
    let copies = match restored.and_then(attach) {
        Ok(copies) => copies.unwrap_or_default(),
        Err(error) => return Err(undo.failed(&plan, &state, error)),
    };
    drop(lock);
    undo.commit();
    let (Some(foreground), Some(init)) = (foreground, &undo.init) else {
        return Ok(0);
    };
    let status = foreground.wait(init, None, copies)?;
    let _lock = undo.dir.lock()?;
    delete::destroy(&undo.dir, &state)?;
    Ok(status)
}

/// What does not change on the way.
struct Work<'a> {
    plan: &'a Plan,
    host: &'a Host,
    options: &'a Restore,
    criu: &'a Criu,
    dirs: &'a Dirs,
}

impl Work<'_> {
    /// `console`: where the master of a terminal goes.
    fn restore(&self, console: Option<OwnedFd>, state: &mut State, undo: &mut Undo) -> Result<()> {
        let cgroup = if self.plan.cgroup.unit.is_some() {
            undo.cgroup.insert(Cgroup::nowhere())
        } else {
            undo.cgroup.insert(Cgroup::create(&self.plan.cgroup)?)
        };
        state.cgroup_paths = cgroup.paths();
        if let Some(group) = &mut undo.intel_rdt {
            group.create(|group, owned| {
                state.set_intel_rdt(group, owned);
                undo.dir.save(state)
            })?;
        }
        mkdirat(undo.dir.fd(), PLACE, Mode::S_IRWXU).step("make a place for criu")?;
        // As criu is to find it, by its path alone.
        let dir = std::fs::read_link(fd_path(undo.dir.fd())).step("look up the state directory")?;
        let place = dir.join(PLACE);
        let nodes = nodes::make(self.plan, self.host, None)?;
        let joined = self.open_namespaces()?;

        let swrk = self.start(state, undo, &place, nodes.as_ref(), &joined)?;
        let mut request = self.request(state, &place, nodes.is_some())?;
        self.add_namespaces(&joined, &mut request)?;
        add_cgroups(swrk.pid(), &mut request)?;
        // Until here it stood for the process that systemd was given.
        state.init_process_pid = 0;
        state.external_descriptors = if self.plan.process.terminal {
            Vec::new()
        } else {
            descriptors::standard_streams(None)
        };
        let bytes = rpc::request(Kind::Restore, Some(&request));
        let answer = swrk.ask(Kind::Restore, &bytes, |notify, fd| {
            self.notified(notify, fd, console.as_ref(), state, undo)
        });
        answer.map_err(|error| self.dirs.explain(error))?;
        match swrk.end()? {
            End::Exited(0) => {}
            end => {
                return Err(self
                    .dirs
                    .explain(Error::new(format!("criu failed: {end:?}"))));
            }
        }
        unlinkat(undo.dir.fd(), PLACE, UnlinkatFlags::RemoveDir).step("remove criu's place")?;
        let init = undo
            .init
            .as_ref()
            .ok_or_else(|| Error::new("criu did not say which process it has restored"))?;
        publish::process(
            init,
            self.options.create.pid_file.as_deref(),
            None,
            "standard",
        )
    }

    fn start(
        &self,
        state: &mut State,
        undo: &mut Undo,
        place: &Path,
        nodes: Option<&OwnedFd>,
        joined: &[(&str, OwnedFd)],
    ) -> Result<Swrk> {
        let born_in = match &mut undo.cgroup {
            Some(cgroup) => cgroup.take_v2_fd()?,
            None => None,
        };
        let mut inherited: Vec<_> = joined.iter().map(|(_, fd)| fd.as_fd()).collect();
        inherited.extend(self.dirs.all().map(|(fd, _)| fd));
        let lent: Vec<_> = nodes.iter().map(|fd| fd.as_fd()).collect();
        let launch = Launch {
            flags: libc::CLONE_NEWNS,
            born_in: born_in.as_ref().map(AsFd::as_fd),
            inherited: &inherited,
            lent: &lent,
            stdio: true,
        };
        // The child's own copy, as for init.
        let nowhere = Cgroup::nowhere();
        let paths = undo.cgroup.as_ref().map(Cgroup::paths);
        let own = paths.map(|paths| Cgroup::open(&paths));
        let rdt = self
            .plan
            .intel_rdt
            .as_ref()
            .map(|rdt| Group::find(rdt, &state.id))
            .transpose()?;
        let handed = Handed {
            cgroup: own.as_ref().unwrap_or(&nowhere),
            intel_rdt: rdt.as_ref(),
            place,
            dirs: self.dirs.all().collect(),
            nodes,
        };
        self.criu.start(
            &launch,
            |channel| prepare(self.plan, &handed, channel),
            |channel, pid| {
                state.init_process_pid = pid.as_raw();
                create::attend(self.plan, state, undo, channel, self.host)
            },
        )
    }

    fn request(&self, state: &State, place: &Path, has_nodes: bool) -> Result<Options> {
        let given = self.options;
        let mut request = both::common(&given.criu, self.dirs, LOG, state);
        request.path(field::ROOT, &root_path(place));
        request.switch(field::EVASIVE_DEVICES, true);
        request.switch(field::RST_SIBLING, true);
        request.switch(field::TCP_CLOSE, given.tcp_close);
        if let Some(profile) = &given.lsm_profile {
            self.criu.require(LSM_SINCE, "--lsm-profile")?;
            request.text(field::LSM_PROFILE, profile);
        }
        if let Some(context) = &given.lsm_mount_context {
            self.criu.require(LSM_SINCE, "--lsm-mount-context")?;
            request.text(field::LSM_MOUNT_CONTEXT, context);
        }
        for mount in external_mounts(self.plan) {
            let path = path_of(self.plan, place, &mount.from, has_nodes);
            request.external_mount(&mount.target, &path);
            // runc names a mount by where the links in the rootfs lead.
            if let Some(resolved) = self.resolved(&mount.target)? {
                request.external_mount(&resolved, &path);
            }
        }
        if !self.plan.masked_paths.is_empty() {
            request.external_mount(Path::new(NULL), Path::new(NULL));
        }
        for (fd, name) in read_descriptors(&given.criu.image_path)?
            .iter()
            .enumerate()
            .take(3)
        {
            if name.contains("pipe:") {
                request.inherit_fd(name, fd as i32);
            }
        }
        Ok(request)
    }

    /// Another path in the rootfs that is the same place, if there is one.
    fn resolved(&self, target: &Path) -> Result<Option<PathBuf>> {
        let path = &self.plan.rootfs.path;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = open(path, flags, Mode::empty()).step_on("open the rootfs", path)?;
        let own = std::fs::read_link(fd_path(&root)).step_on("look up the rootfs", path)?;
        let Some(found) = RootFs::new(root).find(target)? else {
            return Ok(None);
        };
        let found = std::fs::read_link(fd_path(&found)).step_on("look up", target)?;
        let inside = found.strip_prefix(&own).ok();
        Ok(inside
            .map(|inside| Path::new("/").join(inside))
            .filter(|inside| inside != target))
    }

    /// The joined namespaces that criu is to inherit, each with its key.
    fn open_namespaces(&self) -> Result<Vec<(&'static str, OwnedFd)>> {
        let mut opened = Vec::new();
        for (kind, name, key) in EXTERNAL_NAMESPACES {
            let Some(join) = self.plan.namespaces.joined(kind) else {
                continue;
            };
            self.criu
                .require(EXTERNAL_SINCE, &format!("an external {name} namespace"))?;
            let fd = open(
                &join.path,
                OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
            .step_on("open a namespace", &join.path)
            .map_err(|e| e.with_field(format!("{}/path", join.field)))?;
            opened.push((key, fd));
        }
        Ok(opened)
    }

    fn add_namespaces(&self, joined: &[(&str, OwnedFd)], request: &mut Options) -> Result<()> {
        for (key, fd) in joined {
            request.inherit_fd(key, fd.as_raw_fd());
        }
        let inherited = |kind| EXTERNAL_NAMESPACES.iter().any(|(other, ..)| *other == kind);
        for join in &self.plan.namespaces.join {
            if !inherited(join.kind) {
                request.join_namespace(join.kind.proc_name(), &join.path);
            }
        }
        Ok(())
    }

    fn notified(
        &self,
        notify: &Notify,
        fd: Option<OwnedFd>,
        console: Option<&OwnedFd>,
        state: &mut State,
        undo: &mut Undo,
    ) -> Result<()> {
        match (notify.script.as_str(), fd) {
            ("setup-namespaces", _) => {
                state.init_process_pid = notify.pid;
                if !self.plan.net_devices.is_empty() {
                    undo.net_devices
                        .insert(NetDevices::between_us_and(notify.pid)?)
                        .move_in(&self.plan.net_devices)?;
                }
                create::run_hooks(self.plan, state)
            }
            ("orphan-pts-master", Some(master)) => match console {
                Some(console) => fd_socket::send(console, master.as_fd(), "/dev/console"),
                None => Err(
                    Error::new("the images have a terminal, and nobody takes it")
                        .with_hint("use --console-socket, and a config with process.terminal"),
                ),
            },
            ("post-restore", _) => note_init(notify.pid, state, undo),
            _ => Ok(()),
        }
    }
}

/// The restored init is there, and stands still.
fn note_init(pid: i32, state: &mut State, undo: &mut Undo) -> Result<()> {
    let gone = || Error::new(format!("the restored process {pid} is gone"));
    let start = stat(pid)?.ok_or_else(gone)?.start;
    let init = undo
        .init
        .insert(Process::find(pid, start)?.ok_or_else(gone)?);
    state.set_init(init.pid().as_raw(), init.start());
    state.orlop.phase = Phase::Running;
    note_time_namespace(state)?;
    undo.dir.save(state)
}

/// criu restores the clocks of the processes, and makes a time namespace for that. Exec is to
/// join it, and the next checkpoint to know of it.
fn note_time_namespace(state: &mut State) -> Result<()> {
    let kind = NamespaceKind::Time;
    if state.orlop.namespaces.contains(&kind) {
        return Ok(());
    }
    let inode = |pid: &str| {
        let path = format!("/proc/{pid}/ns/{}", kind.proc_name());
        std::fs::metadata(path).map(|meta| meta.ino()).ok()
    };
    if inode(&state.init_process_pid.to_string()) != inode("self") {
        state.orlop.namespaces.push(kind);
        state.config.namespaces.push(Namespace {
            kind: runc_name(kind).to_owned(),
            path: PathBuf::new(),
        });
    }
    Ok(())
}

/// Where criu is now is where the restored cgroups begin.
fn add_cgroups(criu: Pid, request: &mut Options) -> Result<()> {
    let path = format!("/proc/{criu}/cgroup");
    let text = std::fs::read_to_string(&path).step_on("read criu's cgroups", &path)?;
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        if let (Some(controllers), Some(path)) = (parts.next(), parts.next()) {
            for controller in controllers.split(',') {
                request.cgroup_root(controller, path);
            }
        }
    }
    Ok(())
}

fn read_descriptors(images: &Path) -> Result<Vec<String>> {
    let path = images.join(DESCRIPTORS);
    let step = "read the descriptors";
    let file: File = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&path)
        .step_on(step, &path)?;
    let mut bytes = Vec::new();
    file.take(DESCRIPTORS_LIMIT)
        .read_to_end(&mut bytes)
        .step_on(step, &path)?;
    // `null` is what runc writes for none.
    let names: Option<Vec<String>> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(format!("{step}: {e}")).with_path(&path))?;
    Ok(names.unwrap_or_default())
}

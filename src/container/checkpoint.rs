//! `checkpoint`: the container's processes as images on a disk.
//!
//! The container is looked at and the options are checked; the directory of the images is made.
//! Then criu is asked once: it freezes the cgroup, writes the images and, unless the container is
//! left running, kills its processes; what is left of the container goes as with `delete`. What is
//! the host's (binds, joined namespaces, the other end of the standard streams) is told to criu,
//! so that it names it in the images and leaves it alone.
//!
//! A pre-dump saves memory alone while the container goes on; a later one, or the dump, says with
//! `parent-path` where it is and saves what has changed since.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;

use super::criu_options::{self as both, DESCRIPTORS, Dirs, EXTERNAL_NAMESPACES, EXTERNAL_SINCE};
use super::id::ContainerId;
use super::options::Checkpoint;
use super::process::{KILL_TIME, Process};
use super::state::State;
use super::status::Status;
use super::store::Store;
use super::swrk::Criu;
use super::{checkpoint_mounts, delete};
use crate::cgroup::Cgroup;
use crate::criu::rpc::{self, Feature, Kind, Notify, Options, field};
use crate::error::{Error, Kind as ErrorKind, Result, Step};
use crate::sys::process::write_to;
use crate::sys::wait::End;

const LOG: &str = "dump.log";

/// criu tells by a notification that lazy pages can be asked for, and needs no fd for it.
const NOTIFIES_WHEN_READY: u32 = 31_500;
/// criu knows the freezer of cgroup v2.
const FREEZES_V2: u32 = 31_400;

/// The verb.
pub fn checkpoint(store: &Store, id: &ContainerId, options: &Checkpoint) -> Result<()> {
    let dir = store.open(id)?;
    let _lock = dir.lock_made()?;
    let state = dir.load()?;
    let status = Status::of(&state, &dir)?;
    if let Status::Created | Status::Stopped | Status::Creating = status {
        return Err(Error::new(format!(
            "Container cannot be checkpointed in {status} state"
        ))
        .with_kind(ErrorKind::WrongState));
    }
    let init = Process::find(state.init_process_pid, state.init_process_start)?
        .ok_or_else(Error::not_running)?;
    let criu = Criu::find()?;
    criu.require(30_000, "checkpoint")?;
    let dirs = Dirs::open(&options.criu, LOG, true)?;
    dump(&criu, &state, &init, options, &dirs)?;
    if options.leave_running || options.pre_dump {
        return Ok(());
    }
    // The images are there; that something is left over does not change that.
    let removed = init
        .wait_end(KILL_TIME)
        .and_then(|_| delete::destroy(&dir, &state));
    if let Err(error) = removed {
        log::warn!("remove the checkpointed container: {error}");
    }
    Ok(())
}

fn dump(
    criu: &Criu,
    state: &State,
    init: &Process,
    options: &Checkpoint,
    dirs: &Dirs,
) -> Result<()> {
    let kind = if options.pre_dump {
        Kind::PreDump
    } else {
        Kind::Dump
    };
    let mut request = both::common(&options.criu, dirs, LOG, state);
    request.number(field::PID, init.pid().as_raw().into());
    request.path(field::ROOT, &state.config.rootfs);
    request.switch(field::LEAVE_RUNNING, options.leave_running);
    request.switch(field::TCP_SKIP_IN_FLIGHT, options.tcp_skip_in_flight);
    request.switch(field::LINK_REMAP, options.link_remap);
    if let Some((address, port)) = &options.page_server {
        request.page_server(address, *port);
    }
    add_parent(options, &mut request)?;
    add_freezer(criu, state, &mut request)?;
    add_namespaces(criu, state, init, &mut request)?;
    if options.pre_dump {
        criu.require_feature(Feature::MemTrack)?;
    } else {
        for (place, name) in checkpoint_mounts::find(state, init)? {
            request.external_mount(&place, &name);
        }
        write_descriptors(&options.criu.image_path, &state.external_descriptors)?;
    }
    let mut status_fd = None;
    if options.criu.lazy_pages {
        criu.require_feature(Feature::LazyPages)?;
        if let Some(fd) = options.status_fd {
            check_status_fd(fd)?;
            if criu.version()? >= NOTIFIES_WHEN_READY {
                status_fd = Some(fd);
            }
        }
    }
    let mut inherited: Vec<BorrowedFd> = dirs.all().map(|(fd, _)| fd).collect();
    // By criu itself, if it is that old.
    let reopened = match options.status_fd {
        Some(fd) if options.criu.lazy_pages && status_fd.is_none() => {
            Some(reopen(fd, &mut request)?)
        }
        _ => None,
    };
    inherited.extend(reopened.as_ref().map(AsFd::as_fd));
    let notified = |notify: &Notify, _| {
        if notify.script == "status-ready"
            && let Some(fd) = status_fd.take()
        {
            write_to(fd, &[0]);
            let _ = nix::unistd::close(fd);
        }
        Ok(())
    };
    let swrk = criu.start_plain(&inherited)?;
    let bytes = rpc::request(kind, Some(&request));
    swrk.ask(kind, &bytes, notified)
        .map_err(|error| dirs.explain(error))?;
    match swrk.end()? {
        End::Exited(0) => Ok(()),
        // It expected the dump to follow, on the same socket.
        _ if options.pre_dump => Ok(()),
        end => Err(dirs.explain(Error::new(format!("criu failed: {end:?}")))),
    }
}

fn add_parent(options: &Checkpoint, request: &mut Options) -> Result<()> {
    let Some(parent) = &options.parent_path else {
        return Ok(());
    };
    let path = options.criu.image_path.join(parent);
    let step = "invalid --parent-path";
    if !std::fs::metadata(&path).step_on(step, &path)?.is_dir() {
        return Err(Error::sys(step, Errno::ENOTDIR).with_path(&path));
    }
    request.path(field::PARENT_IMG, parent);
    request.switch(field::TRACK_MEM, true);
    Ok(())
}

/// Without it criu stops each process by itself, and new ones may appear meanwhile.
fn add_freezer(criu: &Criu, state: &State, request: &mut Options) -> Result<()> {
    let cgroup = Cgroup::open(&state.cgroup_paths);
    let Some(dir) = cgroup.freezer_dir() else {
        return Ok(());
    };
    if !cgroup.is_unified_only() || criu.version()? >= FREEZES_V2 {
        request.path(field::FREEZE_CGROUP, dir);
    }
    Ok(())
}

/// Joined namespaces of these kinds by their inode numbers: they are there on restore, too.
fn add_namespaces(criu: &Criu, state: &State, init: &Process, request: &mut Options) -> Result<()> {
    for (kind, name, key) in EXTERNAL_NAMESPACES {
        if !both::joined(state, kind) {
            continue;
        }
        criu.require(EXTERNAL_SINCE, &format!("an external {name} namespace"))?;
        let path = format!("/proc/{}/ns/{}", init.pid(), kind.proc_name());
        let inode = std::fs::metadata(&path)
            .step_on("look at a namespace", &path)?
            .ino();
        request.text(field::EXTERNAL, &format!("{name}[{inode}]:{key}"));
    }
    Ok(())
}

/// Which of restore's own streams take the place of which pipes.
fn write_descriptors(images: &Path, descriptors: &[String]) -> Result<()> {
    let path = images.join(DESCRIPTORS);
    let step = "write the descriptors";
    let bytes = serde_json::to_vec(descriptors).map_err(|e| Error::new(format!("{step}: {e}")))?;
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(&bytes))
        .step_on(step, path)
}

/// A copy of the caller's for a criu that writes to it itself.
fn reopen(fd: i32, request: &mut Options) -> Result<OwnedFd> {
    let path = format!("/proc/self/fd/{fd}");
    let own = std::fs::OpenOptions::new().write(true).open(&path);
    let own = OwnedFd::from(own.step_on("open the status fd", &path)?);
    request.fd(field::STATUS_FD, own.as_raw_fd());
    let _ = nix::unistd::close(fd);
    Ok(own)
}

/// One that is open, and for writing.
fn check_status_fd(fd: i32) -> Result<()> {
    let wrong = |why: &str| Error::invalid(format!("invalid --status-fd argument {fd}: {why}"));
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}"))
        .map_err(|_| wrong("bad file descriptor"))?;
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
    match flags {
        Some(flags) if flags & libc::O_ACCMODE != libc::O_RDONLY => Ok(()),
        _ => Err(wrong("not writable")),
    }
}

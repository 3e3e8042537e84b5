//! What the plan, being pure, cannot see: looked up on the host before anything is touched.

use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::FdFlag;

use super::options::Create;
use super::{agent, net_devices};
use crate::error::{Error, Result, Step};
use crate::plan::{NamespaceKind, Plan, no_network_namespace};
use crate::sys::process::descriptor_flags;

/// All of them.
pub fn before_the_first_side_effect(plan: &Plan, options: &Create) -> Result<()> {
    let console = options.console_socket.as_deref();
    terminal(plan.process.terminal, options.detach, console)
        .map_err(|error| error.with_field("/process/terminal"))?;
    rootfs(&plan.rootfs.path)?;
    joined_namespaces(plan)?;
    net_devices::check(&plan.net_devices)?;
    agent::check(&plan.process)?;
    preserved_fds(options.inherited_fds())
}

/// A terminal whose master nobody would hold, and a socket that nothing would be sent to.
pub fn terminal(wanted: bool, detach: bool, console_socket: Option<&Path>) -> Result<()> {
    let wrong = |text: &str| Err(Error::invalid(text));
    match (wanted, console_socket) {
        (true, None) if detach => {
            wrong("cannot allocate tty if runc will detach without setting console socket")
        }
        (wanted, Some(_)) if !detach || !wanted => {
            wrong("cannot use console socket if runc will not detach or allocate tty")
        }
        _ => Ok(()),
    }
}

/// A directory. A link to one is followed: the bundle is the caller's.
fn rootfs(path: &Path) -> Result<()> {
    let wrong = |why: &str| {
        let text = format!("invalid rootfs: {}: {why}", path.display());
        Err(Error::field("/root/path", text))
    };
    match std::fs::metadata(path) {
        Ok(found) if !found.is_dir() => wrong("not a directory"),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            wrong("no such file or directory")
        }
        Err(error) => Err(error).step_on("invalid rootfs", path),
    }
}

/// A namespace that is joined by path may be the host's own; then a sysctl, a hostname or a
/// domainname would change the host, and a network device would go nowhere.
fn joined_namespaces(plan: &Plan) -> Result<()> {
    for sysctl in &plan.sysctl {
        if joins_ours(plan, sysctl.owner)? {
            let (name, kind) = (&sysctl.path, sysctl.owner.name());
            return Err(Error::field(
                &sysctl.field,
                format!("sysctl {name:?} not allowed in host {kind} namespace"),
            ));
        }
    }
    if !plan.net_devices.is_empty() && joins_ours(plan, NamespaceKind::Network)? {
        return Err(no_network_namespace());
    }
    let names = [
        ("/hostname", &plan.hostname),
        ("/domainname", &plan.domainname),
    ];
    for (field, name) in names {
        if name.is_some() && joins_ours(plan, NamespaceKind::Uts)? {
            return Err(Error::field(
                field,
                "unable to set a name without a private UTS namespace",
            ));
        }
    }
    Ok(())
}

fn joins_ours(plan: &Plan, kind: NamespaceKind) -> Result<bool> {
    let Some(join) = plan.namespaces.joined(kind) else {
        return Ok(false);
    };
    let theirs = std::fs::metadata(&join.path)
        .step_on("look at a namespace", &join.path)
        .map_err(|e| e.with_field(format!("{}/path", join.field)))?;
    let path = format!("/proc/self/ns/{}", kind.proc_name());
    let ours = std::fs::metadata(&path).step_on("look at a namespace", path)?;
    Ok((ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()))
}

/// An fd that the caller has not opened would silently become one of ours. Ours are all
/// close-on-exec, and those that came to us cannot be.
pub fn preserved_fds(count: u32) -> Result<()> {
    for index in 0..count {
        let fd = RawFd::try_from(index).map_or(RawFd::MAX, |index| index.saturating_add(3));
        let step = || format!("unable to stat preserved-fd {index} (of {count})");
        let flags = descriptor_flags(fd).map_err(|errno| Error::sys(step(), errno))?;
        if flags.contains(FdFlag::FD_CLOEXEC) {
            return Err(Error::sys(step(), Errno::EBADF));
        }
    }
    Ok(())
}

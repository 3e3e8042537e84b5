//! v2: why a cgroup does not take processes, or has no files of a controller.
//!
//! A cgroup below a threaded one, or below one that was made threaded, holds threads alone
//! (cgroups(7), "Thread mode"); and a controller is there only when each cgroup above hands it
//! down, which one with processes of its own cannot. Both are asked after a failure.

use std::path::Path;

use nix::errno::Errno;

use super::file;
use crate::error::{Error, Result, errno_text};

/// That the cgroup is a domain, which can hold processes and every controller.
pub fn check(dir: &Path) -> Result<()> {
    let kind = file::read_value(&dir.join("cgroup.type")).unwrap_or_default();
    let problem = match kind.as_str() {
        "domain invalid" => "it is in an invalid state".to_owned(),
        "threaded" | "domain threaded" => format!("it is in {kind} mode"),
        _ => return Ok(()),
    };
    let step = format!(
        "cannot enter cgroupv2 {:?} with domain controllers -- {problem}",
        dir.display()
    );
    Err(Error::new(step)
        .with_errno(Errno::EOPNOTSUPP)
        .with_hint("a container's cgroup must not be below a threaded one"))
}

/// Which cgroup above does not hand a controller down to `dir`, and why. `None` where it is
/// there, or there is nothing above that has it.
pub fn why_not_enabled(dir: &Path, controller: &str) -> Option<String> {
    let lists = |dir: &Path, name: &str| {
        let text = file::read_value(&dir.join(name)).ok()?;
        Some(text.split(' ').any(|found| found == controller))
    };
    if lists(dir, "cgroup.controllers")? {
        return None;
    }
    let mut above = dir.parent()?;
    while !lists(above, "cgroup.controllers")? {
        above = above.parent()?;
    }
    let control = above.join("cgroup.subtree_control");
    let reason = match file::write(&control, &format!("+{controller}")) {
        Err(Errno::EBUSY) => "it has processes of its own".to_owned(),
        Err(errno) => errno_text(errno),
        Ok(()) => "somebody has just changed that".to_owned(),
    };
    Some(format!(
        "{} does not hand the {controller} controller down: {reason}",
        above.display()
    ))
}

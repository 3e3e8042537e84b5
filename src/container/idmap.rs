//! The id maps of a new user namespace, written from outside.

use std::process::{Command, Stdio};

use nix::errno::Errno;

use crate::error::{Error, Result, Step};
use crate::host::Host;
use crate::init::process::{oom_score_error, raise_hard_limits};
use crate::plan::{IdMapping, Plan};
use crate::procfs::ProcFs;

/// CAP_SETGID and CAP_SETUID.
const SET_IDS: u64 = 1 << 6 | 1 << 7;

/// The smallest page that a machine has; the kernel takes less than one of its own for a map.
const PAGE: usize = 4096;

/// Write the maps of init, which waits for them, and what else init may not do itself any more.
pub fn write(plan: &Plan, pid: i32, host: &Host) -> Result<()> {
    let procfs = ProcFs::host()?;
    let maps = &plan.namespaces;
    raise_hard_limits(pid, &plan.process.rlimits);
    if let Some(score) = plan.process.oom_score_adj {
        procfs
            .write(&format!("{pid}/oom_score_adj"), &score.to_string())
            .map_err(|error| oom_score_error(error, &plan.process))?;
    }
    let map = |name: &str, mappings: &[IdMapping]| {
        procfs
            .write(&format!("{pid}/{name}"), &text(mappings))
            .map_err(|error| {
                let error = error.with_field(field_of(name));
                match error.errno() {
                    Some(Errno::EINVAL) if text(mappings).len() >= PAGE => {
                        error.with_hint("the kernel takes less than a page of text")
                    }
                    Some(Errno::EPERM) => error.with_hint("does the caller have these ids itself?"),
                    _ => error,
                }
            })
    };
    // Also the root of a user namespace, for the ids that there are in it.
    if host.capabilities() & SET_IDS == SET_IDS {
        map("uid_map", &maps.uid_mappings)?;
        return map("gid_map", &maps.gid_mappings);
    }
    // An unprivileged user may map itself alone, and only when it gives up setgroups
    // (user_namespaces(7)). For more there are the set-id helpers of shadow-utils, which know
    // what /etc/subuid allows.
    if is_own(&maps.uid_mappings, nix::unistd::geteuid().as_raw()) {
        map("uid_map", &maps.uid_mappings)?;
    } else {
        helper("newuidmap", pid, &maps.uid_mappings, "uid_map")?;
    }
    if is_own(&maps.gid_mappings, nix::unistd::getegid().as_raw()) {
        procfs.write(&format!("{pid}/setgroups"), "deny")?;
        map("gid_map", &maps.gid_mappings)
    } else {
        helper("newgidmap", pid, &maps.gid_mappings, "gid_map")
    }
}

fn field_of(name: &str) -> &'static str {
    if name == "uid_map" {
        "/linux/uidMappings"
    } else {
        "/linux/gidMappings"
    }
}

/// Lines of a map file; the kernel takes them in one write only.
pub(super) fn text(mappings: &[IdMapping]) -> String {
    mappings
        .iter()
        .map(|map| format!("{} {} {}\n", map.container, map.host, map.size))
        .collect()
}

fn is_own(mappings: &[IdMapping], id: u32) -> bool {
    matches!(mappings, [map] if map.size == 1 && map.host == id)
}

fn helper(program: &str, pid: i32, mappings: &[IdMapping], file: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string()).stdin(Stdio::null());
    for map in mappings {
        command.args([map.container, map.host, map.size].map(|id| id.to_string()));
    }
    let output = command
        .output()
        .step(format!("run {program}"))
        .map_err(|error| {
            error
                .with_field(field_of(file))
                .with_hint("more than one id needs newuidmap and newgidmap (package uidmap)")
        })?;
    if output.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&output.stderr)
        .trim()
        .replace('\n', " ");
    Err(Error::new(format!("{program} failed: {why}")).with_field(field_of(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_one_text() {
        let maps = [
            IdMapping {
                container: 0,
                host: 1000,
                size: 1,
            },
            IdMapping {
                container: 1,
                host: 100_000,
                size: 65_535,
            },
        ];
        assert_eq!(text(&maps), "0 1000 1\n1 100000 65535\n");
        assert!(is_own(&maps[..1], 1000));
        assert!(!is_own(&maps, 1000));
    }
}

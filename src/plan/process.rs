//! `process` of config.json, or of the file that `exec --process` reads.
//!
//! The same object in both, so one function plans both; only its JSON pointer differs. What
//! `linux` adds to a process (personality, memory policy, seccomp) is added by the caller.
//! Looking up the program, HOME and the groups of a user need the rootfs: `init` does that.
//! `commandLine` and `user.username` are Windows' and have no meaning here, which is warned of.

use std::collections::HashSet;

use oci_spec::runtime as oci;

use super::{IdMapping, Namespaces, Process, User};
use super::{capabilities, idmap, paths, rlimits, scheduling};
use crate::error::{Error, Result};
use crate::host::Host;

/// Largest number of supplementary groups, NGROUPS_MAX of the kernel.
const MAX_GROUPS: usize = 65536;

/// Plan one process. `at` is the JSON pointer of `process`: `/process` for a config.json, the
/// empty string for a file that holds nothing else. `namespaces` are the container's.
pub fn plan(
    process: &oci::Process,
    at: &str,
    namespaces: &Namespaces,
    host: &Host,
    warnings: &mut Vec<String>,
) -> Result<Process> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.is_empty() {
        return Err(Error::field(format!("{at}/args"), "args must not be empty"));
    }
    check_args(args, &format!("{at}/args"))?;
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        return Err(Error::field(
            format!("{at}/cwd"),
            "Cwd must be an absolute path",
        ));
    }
    paths::no_nul_path(cwd, || format!("{at}/cwd"))?;
    for (value, name) in [
        (process.command_line(), "commandLine"),
        (process.user().username(), "user/username"),
    ] {
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            warnings.push(format!(
                "{name} has a meaning on Windows only (config.json: {at}/{name})"
            ));
        }
    }
    let text = |text: &Option<String>, name: &str| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => {
            paths::no_nul(text.as_bytes(), || format!("{at}/{name}"))?;
            Ok(Some(text.to_owned()))
        }
    };
    Ok(Process {
        field: at.to_owned(),
        args: args.to_vec(),
        env: env(
            process.env().as_deref().unwrap_or_default(),
            &format!("{at}/env"),
        )?,
        cwd: cwd.clone(),
        terminal: process.terminal().unwrap_or(false),
        console_size: process
            .console_size()
            .map(|size| console_size(size, at))
            .transpose()?,
        user: user(process.user(), &format!("{at}/user"), namespaces)?,
        capabilities: capabilities::plan(
            process.capabilities().as_ref(),
            namespaces,
            host,
            warnings,
        ),
        no_new_privileges: process.no_new_privileges().unwrap_or(false),
        rlimits: rlimits::plan(process.rlimits().as_deref().unwrap_or_default(), at)?,
        oom_score_adj: process
            .oom_score_adj()
            .map(|value| oom_score_adj(value, at))
            .transpose()?,
        apparmor_profile: text(process.apparmor_profile(), "apparmorProfile")?,
        selinux_label: match text(process.selinux_label(), "selinuxLabel")? {
            Some(label) => {
                check_selinux(&format!("{at}/selinuxLabel"), host)?;
                Some(label)
            }
            None => None,
        },
        io_priority: process
            .io_priority()
            .as_ref()
            .map(|entry| scheduling::io_priority(entry, &format!("{at}/ioPriority")))
            .transpose()?,
        scheduler: process
            .scheduler()
            .as_ref()
            .map(|entry| scheduling::scheduler(entry, &format!("{at}/scheduler")))
            .transpose()?,
        exec_cpu_affinity: process
            .exec_cpu_affinity()
            .as_ref()
            .map(|entry| scheduling::cpu_affinity(entry, &format!("{at}/execCPUAffinity")))
            .transpose()?
            .flatten(),
        personality: None,
        memory_policy: None,
        seccomp: None,
    })
}

/// Refuse a label that nothing would look at; `at` is the pointer of the field.
pub fn check_selinux(at: &str, host: &Host) -> Result<()> {
    if host.has_selinux() {
        return Ok(());
    }
    Err(Error::field(
        at,
        "selinux label is specified in config, but selinux is disabled or not supported",
    ))
}

/// Refuse arguments that execve cannot carry; `at` is the pointer of the list.
pub fn check_args(args: &[String], at: &str) -> Result<()> {
    for (index, arg) in args.iter().enumerate() {
        paths::no_nul(arg.as_bytes(), || format!("{at}/{index}"))?;
    }
    Ok(())
}

/// Check `NAME=value` entries and keep the last of each name, in the order in which those
/// stand. `at` is the pointer of the list.
pub fn env(list: &[String], at: &str) -> Result<Vec<String>> {
    for (index, entry) in list.iter().enumerate() {
        let pointer = || format!("{at}/{index}");
        paths::no_nul(entry.as_bytes(), pointer)?;
        match entry.find('=') {
            None => {
                return Err(Error::field(
                    pointer(),
                    format!("environment variable {entry:?} has no ="),
                ));
            }
            Some(0) => {
                return Err(Error::field(
                    pointer(),
                    format!("environment variable {entry:?} has no name"),
                ));
            }
            Some(_) => {}
        }
    }
    let mut seen = HashSet::with_capacity(list.len());
    let mut env: Vec<String> = Vec::with_capacity(list.len());
    for entry in list.iter().rev() {
        if seen.insert(
            entry
                .split_once('=')
                .map_or(entry.as_str(), |(name, _)| name),
        ) {
            env.push(entry.clone());
        }
    }
    env.reverse();
    Ok(env)
}

fn console_size(size: oci::Box, at: &str) -> Result<(u16, u16)> {
    let side = |value: u64, name: &str| {
        u16::try_from(value).map_err(|_| {
            Error::field(
                format!("{at}/consoleSize/{name}"),
                format!("{value} is more than a terminal can have"),
            )
        })
    };
    Ok((side(size.height(), "height")?, side(size.width(), "width")?))
}

fn user(user: &oci::User, at: &str, namespaces: &Namespaces) -> Result<User> {
    // There are maps only for a new user namespace; those of one that is joined are not known.
    let check = |id: u32, maps: &[IdMapping], name: &str| {
        let problem = if id == u32::MAX {
            "is not an id, the kernel takes it for \"unchanged\""
        } else if !maps.is_empty() && !idmap::maps_id(maps, id) {
            "is not mapped in the container's user namespace"
        } else {
            return Ok(());
        };
        Err(Error::field(
            format!("{at}/{name}"),
            format!("{id} {problem}"),
        ))
    };
    check(user.uid(), &namespaces.uid_mappings, "uid")?;
    check(user.gid(), &namespaces.gid_mappings, "gid")?;
    let groups = user.additional_gids().as_deref().unwrap_or_default();
    if groups.len() > MAX_GROUPS {
        return Err(Error::field(
            format!("{at}/additionalGids"),
            format!("{} groups, the kernel takes {MAX_GROUPS}", groups.len()),
        ));
    }
    for (index, gid) in groups.iter().enumerate() {
        check(
            *gid,
            &namespaces.gid_mappings,
            &format!("additionalGids/{index}"),
        )?;
    }
    if let Some(umask) = user.umask().filter(|umask| *umask > 0o777) {
        return Err(Error::field(
            format!("{at}/umask"),
            format!("umask {umask} has more than the permission bits (octal 777 is 511)"),
        ));
    }
    Ok(User {
        uid: user.uid(),
        gid: user.gid(),
        additional_gids: groups.to_vec(),
        keep_groups: false,
        umask: user.umask(),
    })
}

fn oom_score_adj(value: i32, at: &str) -> Result<i32> {
    if (-1000..=1000).contains(&value) {
        return Ok(value);
    }
    Err(Error::field(
        format!("{at}/oomScoreAdj"),
        format!("{value} is not between -1000 and 1000"),
    ))
}

#[cfg(test)]
mod tests;

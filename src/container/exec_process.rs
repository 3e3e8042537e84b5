//! What exec's process will be: init's, changed by flags, or one from a file.

use std::path::Path;

use super::options::{Change, Exec};
use super::state::State;
use crate::bundle;
use crate::error::{Error, Result, Target};
use crate::host::Host;
use crate::plan::{self, IdMapping, NamespaceKind, Namespaces, Process, User, capabilities};

/// Plan the process; pure but for the file that `--process` names.
pub fn plan(state: &State, options: &Exec, host: &Host) -> Result<Process> {
    let base = &state.orlop.process;
    let Some(path) = &options.process else {
        let mapped = state.orlop.namespaces.contains(&NamespaceKind::User);
        // In a user namespace of its own the container can have what the caller has not.
        let held = if mapped {
            u64::MAX >> (63 - host.last_capability().min(63))
        } else {
            host.capabilities()
        };
        let changed = changed(base, &options.change, held)?;
        if options.change.selinux_label.is_some() && !host.has_selinux() {
            return Err(Error::invalid(
                "--process-label: selinux is disabled or not supported",
            ));
        }
        return Ok(Process {
            terminal: options.tty,
            ..changed
        });
    };
    let (process, mut warnings) = bundle::read_process(path)?;
    let namespaces = namespaces_of(state);
    let planned = plan::plan_process(&process, "", &namespaces, host, &mut warnings)
        .map_err(|error| in_its_file(error, options))?;
    // The plan takes the document for a config.json.
    let place = format!("({}: ", path.display());
    for warning in warnings {
        log::warn!("{}", warning.replace("(config.json: ", &place));
    }
    let has_capabilities = process.capabilities().is_some();
    Ok(completed(planned, base, has_capabilities))
}

/// What the file does not say is as init has it, and so is what `linux` and the annotations of
/// config.json give to each process. Only noNewPrivileges that is not there is `false`.
fn completed(planned: Process, base: &Process, has_capabilities: bool) -> Process {
    Process {
        user: User {
            keep_groups: base.user.keep_groups,
            umask: planned.user.umask.or(base.user.umask),
            ..planned.user
        },
        capabilities: if has_capabilities {
            planned.capabilities
        } else {
            base.capabilities
        },
        rlimits: if planned.rlimits.is_empty() {
            base.rlimits.clone()
        } else {
            planned.rlimits
        },
        oom_score_adj: planned.oom_score_adj.or(base.oom_score_adj),
        apparmor_profile: planned
            .apparmor_profile
            .or_else(|| base.apparmor_profile.clone()),
        selinux_label: planned.selinux_label.or_else(|| base.selinux_label.clone()),
        io_priority: planned.io_priority.or(base.io_priority),
        scheduler: planned.scheduler.or_else(|| base.scheduler.clone()),
        exec_cpu_affinity: planned
            .exec_cpu_affinity
            .or_else(|| base.exec_cpu_affinity.clone()),
        seccomp: base.seccomp.clone(),
        personality: base.personality,
        memory_policy: base.memory_policy.clone(),
        ..planned
    }
}

/// The error of a process that may be one from a file. What `linux` says of each process of the
/// container is config.json's in any case, and so is what the file left out; a process has no
/// field of these names.
pub fn in_its_file(error: Error, options: &Exec) -> Error {
    let of_config = |target: &Target| match target {
        Target::Field(pointer) => {
            pointer.starts_with("/linux/") || pointer.starts_with("/process/")
        }
        Target::Path(_) => false,
    };
    match &options.process {
        Some(file) if !error.target.as_ref().is_some_and(of_config) => {
            error.in_file(match file.to_str() {
                Some("-") => Path::new("standard input"),
                _ => file,
            })
        }
        _ => error,
    }
}

fn namespaces_of(state: &State) -> Namespaces {
    let maps = |maps: &[super::state::Mapping]| {
        maps.iter()
            .map(|map| IdMapping {
                container: map.container_id,
                host: map.host_id,
                size: map.size,
            })
            .collect()
    };
    Namespaces {
        new: state.orlop.namespaces.clone(),
        uid_mappings: maps(&state.config.uid_mappings),
        gid_mappings: maps(&state.config.gid_mappings),
        ..Namespaces::default()
    }
}

/// `held` are the capabilities that can be given.
fn changed(base: &Process, change: &Change, held: u64) -> Result<Process> {
    let mut process = base.clone();
    if change.args.is_empty() {
        return Err(Error::invalid("process args cannot be empty"));
    }
    process.args = change.args.clone();
    if let Some(cwd) = &change.cwd {
        if !cwd.is_absolute() {
            return Err(Error::invalid("Cwd must be an absolute path"));
        }
        process.cwd = cwd.clone();
    }
    for variable in &change.env {
        let (name, _) = variable
            .split_once('=')
            .filter(|(name, _)| !name.is_empty())
            .ok_or_else(|| Error::invalid(format!("invalid environment variable {variable:?}")))?;
        process
            .env
            .retain(|v| v.split_once('=').map(|(n, _)| n) != Some(name));
        process.env.push(variable.clone());
    }
    process.user.uid = change.uid.unwrap_or(process.user.uid);
    process.user.gid = change.gid.unwrap_or(process.user.gid);
    process.user.additional_gids.extend(&change.additional_gids);
    if change.selinux_label.is_some() {
        process.selinux_label = change.selinux_label.clone();
    }
    if change.apparmor_profile.is_some() {
        process.apparmor_profile = change.apparmor_profile.clone();
    }
    process.no_new_privileges = change
        .no_new_privileges
        .unwrap_or(process.no_new_privileges);
    add_capabilities(&mut process, &change.capabilities, held);
    Ok(process)
}

/// To bounding, effective and permitted; to ambient only where the config has inheritable ones.
/// Never to inheritable (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String], held: u64) {
    let mut added = 0;
    for name in names {
        match capabilities::number_of(name) {
            Some(number) => added |= 1u64 << number,
            // As in a config, a warning and no error.
            None => log::warn!("left out unknown capability {name:?}"),
        }
    }
    if held & added != added {
        let lacking = capabilities::names(added & !held);
        log::warn!("left out capabilities that the caller does not have: {lacking}");
        added &= held;
    }
    let sets = &mut process.capabilities;
    sets.bounding |= added;
    sets.effective |= added;
    sets.permitted |= added;
    if sets.inheritable != 0 {
        sets.ambient |= added & sets.inheritable;
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::tests::state;
    use super::*;

    const ALL: u64 = u64::MAX >> 23;

    fn change(args: &[&str]) -> Change {
        Change {
            args: args.iter().map(|a| (*a).to_owned()).collect(),
            ..Change::default()
        }
    }

    #[test]
    fn an_error_names_the_file_that_its_field_is_in() {
        let of = |process: Option<&str>, pointer: &str| {
            let options = Exec {
                process: process.map(Into::into),
                ..Exec::default()
            };
            in_its_file(Error::new("wrong").with_field(pointer), &options).to_string()
        };
        assert_eq!(
            of(Some("/p.json"), "/user/uid"),
            "wrong (/p.json: /user/uid)"
        );
        assert_eq!(
            of(Some("/p.json"), "/linux/seccomp"),
            "wrong (config.json: /linux/seccomp)"
        );
        assert_eq!(
            of(None, "/process/user/uid"),
            "wrong (config.json: /process/user/uid)"
        );
    }

    #[test]
    fn flags_change_the_process_of_init() {
        let base = state("x").orlop.process;
        let change = Change {
            env: vec!["A=1".into(), "A=2".into()],
            uid: Some(7),
            capabilities: vec!["CAP_KILL".into(), "net_raw".into()],
            ..change(&["ls"])
        };
        let process = changed(&base, &change, ALL).unwrap();
        assert_eq!(process.args, ["ls"]);
        assert_eq!(process.env, ["A=2"]);
        assert_eq!((process.user.uid, process.user.gid), (7, base.user.gid));
        assert_eq!(process.capabilities.effective, 1 << 5 | 1 << 13);
        assert_eq!(process.capabilities.inheritable, 0);
        assert_eq!(process.capabilities.ambient, 0);
    }
}

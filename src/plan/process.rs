//! `process` of config.json, or of the file that `exec --process` reads.
//!
//! The same object in both, so one function plans both; only its JSON pointer differs. What
//! `linux` adds to a process (personality, memory policy, seccomp) is added by the caller.
//! Looking up the program, HOME and the groups of a user need the rootfs: `init` does that.
//! `commandLine` and `user.username` are Windows' and have no meaning here, which is warned of.

use std::collections::HashSet;

use oci_spec::runtime as oci;

use super::{IdMapping, Namespaces, Process, Rlimit, User};
use super::{capabilities, idmap, paths, scheduling};
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
        rlimits: rlimits(process.rlimits().as_deref().unwrap_or_default(), at)?,
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

fn rlimits(list: &[oci::PosixRlimit], at: &str) -> Result<Vec<Rlimit>> {
    let mut limits: Vec<Rlimit> = Vec::with_capacity(list.len());
    for (index, entry) in list.iter().enumerate() {
        let field = format!("{at}/rlimits/{index}");
        let resource = resource(entry.typ());
        let name = entry.typ().to_string();
        if limits.iter().any(|other| other.resource == resource) {
            return Err(Error::field(
                format!("{field}/type"),
                format!("duplicated rlimit {name}"),
            ));
        }
        if entry.soft() > entry.hard() {
            return Err(Error::field(
                format!("{field}/soft"),
                format!(
                    "soft {name} {} is above the hard one, {}",
                    entry.soft(),
                    entry.hard()
                ),
            ));
        }
        limits.push(Rlimit {
            field,
            name,
            resource,
            soft: entry.soft(),
            hard: entry.hard(),
        });
    }
    Ok(limits)
}

/// RLIMIT_* number, the C library's for this architecture (they differ between some).
fn resource(kind: oci::PosixRlimitType) -> u32 {
    use oci::PosixRlimitType as R;
    // The type of these constants differs between C libraries.
    #[allow(clippy::unnecessary_cast)]
    let number = match kind {
        R::RlimitCpu => libc::RLIMIT_CPU,
        R::RlimitFsize => libc::RLIMIT_FSIZE,
        R::RlimitData => libc::RLIMIT_DATA,
        R::RlimitStack => libc::RLIMIT_STACK,
        R::RlimitCore => libc::RLIMIT_CORE,
        R::RlimitRss => libc::RLIMIT_RSS,
        R::RlimitNproc => libc::RLIMIT_NPROC,
        R::RlimitNofile => libc::RLIMIT_NOFILE,
        R::RlimitMemlock => libc::RLIMIT_MEMLOCK,
        R::RlimitAs => libc::RLIMIT_AS,
        R::RlimitLocks => libc::RLIMIT_LOCKS,
        R::RlimitSigpending => libc::RLIMIT_SIGPENDING,
        R::RlimitMsgqueue => libc::RLIMIT_MSGQUEUE,
        R::RlimitNice => libc::RLIMIT_NICE,
        R::RlimitRtprio => libc::RLIMIT_RTPRIO,
        R::RlimitRttime => libc::RLIMIT_RTTIME,
    } as u32;
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::NamespaceKind;
    use crate::plan::tests::{fixed_host, pointer_of};
    use serde_json::{Value, json};

    fn of(change: impl FnOnce(&mut Value)) -> Result<Process> {
        let mut process = json!({"args": ["/bin/x"], "cwd": "/", "user": {"uid": 0, "gid": 0}});
        change(&mut process);
        let process = serde_json::from_value(process).unwrap();
        plan(
            &process,
            "/process",
            &Namespaces::default(),
            &fixed_host(),
            &mut Vec::new(),
        )
    }

    #[test]
    fn the_least_process_gets_nothing_that_it_did_not_ask_for() {
        let process = of(|_| {}).unwrap();
        assert_eq!(process.args, ["/bin/x"]);
        assert_eq!(process.capabilities, Default::default());
        assert!(!process.no_new_privileges && !process.terminal);
        assert!(process.env.is_empty() && process.oom_score_adj.is_none());
    }

    #[test]
    fn the_last_of_a_name_wins() {
        let process = of(|p| p["env"] = json!(["A=1", "B=2", "A=3=4", "C=\n"])).unwrap();
        assert_eq!(process.env, ["B=2", "A=3=4", "C=\n"]);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (name, value, pointer) in [
            ("args", json!([]), "args"),
            ("args", json!(null), "args"),
            ("args", json!(["x", "\0"]), "args/1"),
            ("cwd", json!("tmp"), "cwd"),
            ("cwd", json!(""), "cwd"),
            ("env", json!(["A=1", "A"]), "env/1"),
            ("env", json!(["=1"]), "env/0"),
            ("user", json!({"uid": u32::MAX}), "user/uid"),
            ("user", json!({"gid": u32::MAX}), "user/gid"),
            (
                "user",
                json!({"additionalGids": [1, u32::MAX]}),
                "user/additionalGids/1",
            ),
            ("user", json!({"umask": 512}), "user/umask"),
            ("oomScoreAdj", json!(1001), "oomScoreAdj"),
            ("oomScoreAdj", json!(-1001), "oomScoreAdj"),
            (
                "consoleSize",
                json!({"height": 65536, "width": 1}),
                "consoleSize/height",
            ),
            (
                "rlimits",
                json!([{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]),
                "rlimits/0/soft",
            ),
            (
                "rlimits",
                json!([{"type": "RLIMIT_CORE", "soft": 1, "hard": 1},
                    {"type": "RLIMIT_CORE", "soft": 1, "hard": 1}]),
                "rlimits/1/type",
            ),
        ] {
            let error = of(|p| p[name] = value.clone()).unwrap_err();
            assert_eq!(pointer_of(&error), format!("/process/{pointer}"), "{value}");
        }
    }

    #[test]
    fn what_is_of_windows_is_warned_of() {
        let mut process = json!({"args": ["/bin/x"], "cwd": "/", "commandLine": "cmd.exe",
            "user": {"username": "ContainerUser"}});
        let warnings_of = |process: &Value| {
            let process = serde_json::from_value(process.clone()).unwrap();
            let mut warnings = Vec::new();
            let none = Namespaces::default();
            plan(&process, "/process", &none, &fixed_host(), &mut warnings).unwrap();
            warnings
        };
        let warnings = warnings_of(&process);
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("/process/commandLine"), "{warnings:?}");
        assert!(
            warnings[1].contains("/process/user/username"),
            "{warnings:?}"
        );
        process["commandLine"] = json!("");
        process["user"] = json!({});
        assert_eq!(warnings_of(&process), [""; 0]);
    }

    #[test]
    fn the_words_that_callers_match() {
        let error = of(|p| p["args"] = json!([])).unwrap_err();
        assert_eq!(error.step, "args must not be empty");
        let error = of(|p| p["cwd"] = json!("tmp")).unwrap_err();
        assert_eq!(error.step, "Cwd must be an absolute path");
    }

    #[test]
    fn limits_have_the_kernels_numbers() {
        let process = of(|p| {
            p["rlimits"] = json!([
                {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2},
                {"type": "RLIMIT_RTTIME", "soft": 3, "hard": u64::MAX}
            ]);
        })
        .unwrap();
        let numbers: Vec<_> = process.rlimits.iter().map(|limit| limit.resource).collect();
        assert_eq!(numbers, [7, 15]);
        assert_eq!(process.rlimits[0].name, "RLIMIT_NOFILE");
        assert_eq!(process.rlimits[1].hard, u64::MAX);
    }

    #[test]
    fn ids_must_be_mapped_in_a_new_user_namespace() {
        let map = IdMapping {
            container: 0,
            host: 1000,
            size: 10,
        };
        let namespaces = Namespaces {
            new: vec![NamespaceKind::User],
            uid_mappings: vec![map],
            gid_mappings: vec![map],
            ..Namespaces::default()
        };
        let of = |value: Value| user(&serde_json::from_value(value).unwrap(), "/u", &namespaces);
        assert!(of(json!({"uid": 9, "gid": 9, "additionalGids": [1]})).is_ok());
        for (value, pointer) in [
            (json!({"uid": 10}), "/u/uid"),
            (json!({"gid": 10}), "/u/gid"),
            (json!({"additionalGids": [10]}), "/u/additionalGids/0"),
        ] {
            assert_eq!(pointer_of(&of(value).unwrap_err()), pointer);
        }
    }

    #[test]
    fn ids_of_a_joined_user_namespace_are_not_judged() {
        let namespaces = Namespaces {
            new: vec![NamespaceKind::User],
            ..Namespaces::default()
        };
        let value = serde_json::from_value(json!({"uid": 10, "gid": 10})).unwrap();
        assert!(user(&value, "/u", &namespaces).is_ok());
    }
}

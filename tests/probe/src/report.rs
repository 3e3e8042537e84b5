//! `probe report`: everything that a process can see of itself, as one JSON object.
//!
//! What cannot be read is null: a container without /proc still gives a report.
//! `--path P` adds whether P can be read and written, `--read P` adds its text,
//! `--stat P` what it is.

use std::env;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd;
use serde_json::{Map, Value, json};

use crate::{files, sys};

/// What every container is expected to mask or to make read-only.
const GUARDED: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/cgroup",
];

/// Build the report. `argv` is the whole command line; `options` what follows `report`.
pub fn report(argv: &[String], options: &[String]) -> Result<Value, String> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let (uids, gids) = sys::ids();
    let (policy, nice) = sys::scheduler();
    let (boottime, monotonic) = sys::clocks();
    let mask = umask(Mode::empty());
    umask(mask);
    let mut report = json!({
        "argv": argv,
        "env": environment(),
        "cwd": env::current_dir().map_or(Value::Null, |dir| json!(dir)),
        "pid": unistd::getpid().as_raw(),
        "ppid": unistd::getppid().as_raw(),
        "pgid": unistd::getpgrp().as_raw(),
        "sid": unistd::getsid(None).map_or(-1, unistd::Pid::as_raw),
        "uid": uids,
        "gid": gids,
        "groups": groups(),
        "umask": format!("{:04o}", mask.bits()),
        "capabilities": capabilities(&status),
        "securebits": sys::prctl_get(libc::PR_GET_SECUREBITS),
        "no_new_privs": sys::prctl_get(libc::PR_GET_NO_NEW_PRIVS),
        "dumpable": sys::prctl_get(libc::PR_GET_DUMPABLE),
        "seccomp": {"mode": field(&status, "Seccomp"), "filters": field(&status, "Seccomp_filters")},
        "signals": {
            "ignored": field(&status, "SigIgn"),
            "blocked": field(&status, "SigBlk"),
            "caught": field(&status, "SigCgt"),
        },
        "rlimits": rlimits(),
        "oom_score_adj": files::text("/proc/self/oom_score_adj"),
        "hostname": unistd::gethostname().map_or(Value::Null, |name| json!(name.to_string_lossy())),
        "domainname": files::text("/proc/sys/kernel/domainname"),
        "namespaces": namespaces(),
        "mounts": files::mounts(),
        "dev": files::tree("/dev"),
        "root": files::names("/"),
        "fds": files::descriptors(),
        "keyring": sys::session_keyring().map_or_else(|e| json!(files::errno_name(&e)), |k| json!(k)),
        "cgroup": files::text("/proc/self/cgroup"),
        "loopback_up": loopback_up(),
        "scheduler": {"policy": policy, "nice": nice},
        "io_priority": sys::io_priority().unwrap_or(-1),
        "cpus_allowed": field(&status, "Cpus_allowed_list"),
        "personality": sys::personality(),
        "timens_offsets": files::text("/proc/self/timens_offsets"),
        "clocks": {"boottime": boottime, "monotonic": monotonic},
        "uid_map": words(&files::text("/proc/self/uid_map")),
        "gid_map": words(&files::text("/proc/self/gid_map")),
        "setgroups": files::text("/proc/self/setgroups"),
        "apparmor": files::text("/proc/self/attr/current"),
        "comm": files::text("/proc/self/comm"),
    });
    report["scheduler_attributes"] = sys::scheduler_attributes();
    report["memory_policy"] = sys::memory_policy();
    let mut guarded: Vec<&str> = GUARDED.to_vec();
    let (mut read, mut stat) = (Map::new(), Map::new());
    for pair in options.chunks(2) {
        match pair {
            [option, path] if option == "--path" => guarded.push(path),
            [option, path] if option == "--read" => {
                read.insert(path.clone(), files::text(path));
            }
            [option, path] if option == "--stat" => {
                stat.insert(path.clone(), files::describe(Path::new(path)));
            }
            other => return Err(format!("report: unknown option {other:?}")),
        }
    }
    report["paths"] = guarded
        .iter()
        .map(|path| ((*path).to_owned(), files::access(path)))
        .collect();
    report["read"] = Value::Object(read);
    report["stat"] = Value::Object(stat);
    Ok(report)
}

/// The environment in its order, as it was handed over.
pub fn environment() -> Vec<String> {
    env::vars_os()
        .map(|(name, value)| {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            String::from_utf8_lossy(&pair).into_owned()
        })
        .collect()
}

/// The ids of /proc/self/ns/*, by name.
pub fn namespaces() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/ns") else {
        return Value::Null;
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let id = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_string_lossy().into_owned(), json!(id)))
        })
        .collect::<Map<_, _>>()
        .into()
}

/// One field of /proc/self/status.
pub fn field(status: &str, name: &str) -> Value {
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| *key == name)
        .map_or(Value::Null, |(_, value)| json!(value.trim()))
}

fn capabilities(status: &str) -> Value {
    json!({
        "bounding": field(status, "CapBnd"),
        "effective": field(status, "CapEff"),
        "permitted": field(status, "CapPrm"),
        "inheritable": field(status, "CapInh"),
        "ambient": field(status, "CapAmb"),
    })
}

fn groups() -> Value {
    let mut groups: Vec<u32> = match unistd::getgroups() {
        Ok(groups) => groups.into_iter().map(unistd::Gid::as_raw).collect(),
        Err(_) => return Value::Null,
    };
    groups.sort_unstable();
    json!(groups)
}

fn rlimits() -> Value {
    const ALL: &[(&str, Resource)] = &[
        ("RLIMIT_AS", Resource::RLIMIT_AS),
        ("RLIMIT_CORE", Resource::RLIMIT_CORE),
        ("RLIMIT_CPU", Resource::RLIMIT_CPU),
        ("RLIMIT_DATA", Resource::RLIMIT_DATA),
        ("RLIMIT_FSIZE", Resource::RLIMIT_FSIZE),
        ("RLIMIT_LOCKS", Resource::RLIMIT_LOCKS),
        ("RLIMIT_MEMLOCK", Resource::RLIMIT_MEMLOCK),
        ("RLIMIT_MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
        ("RLIMIT_NICE", Resource::RLIMIT_NICE),
        ("RLIMIT_NOFILE", Resource::RLIMIT_NOFILE),
        ("RLIMIT_NPROC", Resource::RLIMIT_NPROC),
        ("RLIMIT_RSS", Resource::RLIMIT_RSS),
        ("RLIMIT_RTPRIO", Resource::RLIMIT_RTPRIO),
        ("RLIMIT_SIGPENDING", Resource::RLIMIT_SIGPENDING),
        ("RLIMIT_STACK", Resource::RLIMIT_STACK),
    ];
    ALL.iter()
        .map(|(name, resource)| {
            let limits =
                getrlimit(*resource).map_or(Value::Null, |(soft, hard)| json!([soft, hard]));
            ((*name).to_owned(), limits)
        })
        .collect::<Map<_, _>>()
        .into()
}

/// Whether the interface `lo` is up; null when there is none.
fn loopback_up() -> Value {
    let Ok(mut interfaces) = getifaddrs() else {
        return Value::Null;
    };
    interfaces
        .find(|interface| interface.interface_name == "lo")
        .map_or(Value::Null, |lo| {
            json!(lo.flags.contains(InterfaceFlags::IFF_UP))
        })
}

/// A kernel table with its runs of blanks made single.
fn words(text: &Value) -> Value {
    match text.as_str() {
        Some(text) => text
            .lines()
            .map(|line| json!(line.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect(),
        None => Value::Null,
    }
}

//! `update ID`: other limits for a container that is there.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command, value_parser};
use oci_spec::runtime::{LinuxIntelRdt, LinuxPids, LinuxResources};

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, id, path, path_of, text, text_of};
use crate::bundle;
use crate::container::update::{Change, update};
use crate::error::{Error, Result, Target};
use crate::plan::{IntelRdt, intel_rdt};

pub const VERB: Verb = Verb {
    name: "update",
    about: "update container resource constraints",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run: |global, matches| {
        let source = Source::of(matches);
        let done = source.change(matches).and_then(|change| {
            let id = id(matches)?;
            update(&global.host, &global.store, &id, &change)
        });
        done.map(|()| 0).map_err(|error| source.name_in(error))
    },
    failure_status: 1,
};

/// Each flag with the JSON pointer of the field that it stands for.
const FIELDS: [(&str, &str); 16] = [
    ("blkio-weight", "/blockIO/weight"),
    ("cpu-period", "/cpu/period"),
    ("cpu-quota", "/cpu/quota"),
    ("cpu-burst", "/cpu/burst"),
    ("cpu-share", "/cpu/shares"),
    ("cpu-rt-period", "/cpu/realtimePeriod"),
    ("cpu-rt-runtime", "/cpu/realtimeRuntime"),
    ("cpuset-cpus", "/cpu/cpus"),
    ("cpuset-mems", "/cpu/mems"),
    ("cpu-idle", "/cpu/idle"),
    ("memory", "/memory/limit"),
    ("memory-reservation", "/memory/reservation"),
    ("memory-swap", "/memory/swap"),
    ("pids-limit", "/pids/limit"),
    ("l3-cache-schema", intel_rdt::L3),
    ("mem-bw-schema", intel_rdt::MB),
];

fn flags(command: Command) -> Command {
    let integer = |name, value| -> Arg { text(name, value).value_parser(value_parser!(i64)) };
    command
        .arg(path("resources", "FILE").short('r').help(
            "file with the resources as JSON (linux.resources of config.json), or - for standard \
             input; all flags below but the last two are then ignored",
        ))
        .arg(integer("blkio-weight", "WEIGHT").help("block I/O weight, 10 to 1000"))
        .arg(text("cpu-period", "USECS").help("CPU CFS period; 0 leaves it as it is"))
        .arg(text("cpu-quota", "USECS").help("CPU time in a CFS period; -1 is unlimited"))
        .arg(text("cpu-burst", "USECS").help("CPU time that may be saved up for a burst"))
        .arg(text("cpu-share", "SHARES").help("CPU shares, relative to other containers"))
        .arg(text("cpu-rt-period", "USECS").help("CPU realtime period (cgroup v1)"))
        .arg(text("cpu-rt-runtime", "USECS").help("CPU time in a realtime period (cgroup v1)"))
        .arg(text("cpuset-cpus", "LIST").help("CPUs to use, as 0-2,7"))
        .arg(text("cpuset-mems", "LIST").help("memory nodes to use"))
        .arg(text("cpu-idle", "0|1").help("1: the CPU only when nobody else wants it"))
        .arg(
            text("memory", "SIZE")
                .help("memory limit in bytes, or with a suffix as 512m or 2GiB; -1 is unlimited"),
        )
        .arg(text("memory-reservation", "SIZE").help("memory reservation, or soft limit"))
        .arg(
            text("memory-swap", "SIZE")
                .help("limit of memory and swap together; -1 is unlimited swap"),
        )
        .arg(integer("pids-limit", "N").help("maximum number of processes; -1 is unlimited"))
        .arg(text("l3-cache-schema", "SCHEMA").help("Intel RDT/CAT L3 cache schema"))
        .arg(text("mem-bw-schema", "SCHEMA").help("Intel RDT/MBA memory bandwidth schema"))
        // Gone from Linux; old callers still have them.
        .arg(text("kernel-memory", "SIZE").hide(true))
        .arg(text("kernel-memory-tcp", "SIZE").hide(true))
}

/// Where the new values are.
enum Source {
    File(PathBuf),
    Flags,
}

impl Source {
    fn of(matches: &ArgMatches) -> Self {
        path_of(matches, "resources").map_or(Self::Flags, Self::File)
    }

    fn change(&self, matches: &ArgMatches) -> Result<Change> {
        let resources = match self {
            Self::Flags => resources(matches)?,
            Self::File(file) => {
                let (resources, warnings) = bundle::read_resources(file)?;
                for warning in warnings {
                    log::warn!("{warning}");
                }
                if resources.devices().is_some() {
                    log::debug!("update leaves the rules for devices as they are");
                }
                resources
            }
        };
        Ok(Change {
            resources,
            intel_rdt: intel_rdt_of(matches)?,
        })
    }

    /// Say where the field of an error has its value from.
    fn name_in(&self, mut error: Error) -> Error {
        let Some(Target::Field(pointer)) = &error.target else {
            return error;
        };
        let flag = FIELDS.iter().find(|(_, field)| field == pointer);
        let of_file =
            |pointer: &str| matches!(self, Self::File(_)) && !pointer.contains("intelRdt");
        match (self, flag) {
            (Self::File(file), _) if of_file(pointer) => match file.to_str() {
                Some("-") => error.in_file(Path::new("standard input")),
                _ => error.in_file(file),
            },
            (_, Some((flag, _))) => {
                error.step = format!("{} (--{flag})", error.step);
                error.target = None;
                error
            }
            // More than one flag asked for it.
            (_, None) => {
                error.target = None;
                error
            }
        }
    }
}

fn resources(matches: &ArgMatches) -> Result<LinuxResources> {
    let mut resources = LinuxResources::default();
    let signed = |flag| number(matches, flag, |text| text.parse::<i64>().ok());
    let unsigned = |flag| number(matches, flag, |text| text.parse::<u64>().ok());
    let size = |flag| number(matches, flag, size);
    let list = |flag| text_of(matches, flag).map(str::to_owned);

    let weight = matches.get_one::<i64>("blkio-weight");
    if let Some(weight) = weight.filter(|weight| **weight != 0) {
        let weight = u16::try_from(*weight).map_err(|_| {
            Error::invalid(format!(
                "invalid value for blkio-weight: {weight} is not a weight"
            ))
        })?;
        let block_io = resources.block_io_mut().get_or_insert_default();
        block_io.set_weight(Some(weight));
    }
    let cpu = resources.cpu_mut().get_or_insert_default();
    cpu.set_shares(unsigned("cpu-share")?)
        .set_period(unsigned("cpu-period")?)
        .set_quota(signed("cpu-quota")?)
        .set_burst(unsigned("cpu-burst")?)
        .set_idle(signed("cpu-idle")?)
        .set_realtime_period(unsigned("cpu-rt-period")?)
        .set_realtime_runtime(signed("cpu-rt-runtime")?)
        .set_cpus(list("cpuset-cpus"))
        .set_mems(list("cpuset-mems"));
    let memory = resources.memory_mut().get_or_insert_default();
    memory
        .set_limit(size("memory")?)
        .set_swap(size("memory-swap")?)
        .set_reservation(size("memory-reservation")?)
        .set_kernel_tcp(size("kernel-memory")?.or(size("kernel-memory-tcp")?));
    if let Some(limit) = matches.get_one::<i64>("pids-limit") {
        let mut pids = LinuxPids::default();
        pids.set_limit(*limit);
        resources.set_pids(Some(pids));
    }
    Ok(resources)
}

/// `None` for a flag that is not given.
fn number<T>(
    matches: &ArgMatches,
    flag: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>> {
    let Some(text) = text_of(matches, flag) else {
        return Ok(None);
    };
    match parse(text) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::invalid(format!(
            "invalid value for {flag}: {text:?} is not a number of its kind"
        ))),
    }
}

/// Bytes, as Docker's tools write them: a number, which may have a fraction, and k, m, g, t or
/// p, with or without `b` or `ib` after it, in any case; each is 1024 of the one before.
/// -1 is unlimited.
fn size(text: &str) -> Option<i64> {
    if text == "-1" {
        return Some(-1);
    }
    let end = text.rfind(|c: char| c.is_ascii_digit() || ". ".contains(c))? + 1;
    let (number, suffix) = text.split_at(end);
    let number = number.strip_suffix(' ').unwrap_or(number);
    let suffix = suffix.to_ascii_lowercase();
    let unit = match suffix.as_str() {
        "" | "b" => 1,
        suffix => {
            let (letter, rest) = suffix.split_at_checked(1)?;
            let power = "kmgtp".find(letter)? + 1;
            ["", "b", "ib"].contains(&rest).then_some(())?;
            1_i64 << (10 * power)
        }
    };
    if let Ok(whole) = number.parse::<u32>() {
        return unit.checked_mul(whole.into());
    }
    if number.bytes().all(|b| b.is_ascii_digit()) {
        return number.parse::<i64>().ok()?.checked_mul(unit);
    }
    let plain = |b: u8| b.is_ascii_digit() || b == b'.';
    let number: f64 = number.bytes().all(plain).then(|| number.parse().ok())??;
    let bytes = number * unit as f64;
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

/// The two schemas, planned as those of a config.
fn intel_rdt_of(matches: &ArgMatches) -> Result<Option<IntelRdt>> {
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(text_of(matches, "l3-cache-schema").map(str::to_owned));
    rdt.set_mem_bw_schema(text_of(matches, "mem-bw-schema").map(str::to_owned));
    let mut warnings = Vec::new();
    let plan = intel_rdt::plan(&rdt, &mut warnings)?;
    for warning in warnings {
        // The place that it names is one of config.json.
        log::warn!("{}", warning.split(" (").next().unwrap_or_default());
    }
    Ok((!plan.schemata.is_empty()).then_some(plan))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;
    use serde_json::{Value, json};

    fn parse(words: &[&str]) -> Result<Value> {
        let matches = read(flags, FlagsEnd::Never, words).unwrap();
        resources(&matches).map(|resources| serde_json::to_value(resources).unwrap())
    }

    #[test]
    fn every_flag_has_its_field() {
        let given = parse(&[
            "id",
            "--blkio-weight=11",
            "--cpu-period",
            "2",
            "--cpu-quota=-1",
            "--cpu-burst=4",
            "--cpu-share=5",
            "--cpu-rt-period=6",
            "--cpu-rt-runtime=7",
            "--cpuset-cpus=0-1",
            "--cpuset-mems=0",
            "--cpu-idle=1",
            "--memory=8k",
            "--memory-reservation",
            "-1",
            "--memory-swap=10",
            "--pids-limit",
            "0",
        ]);
        let expected = json!({
            "blockIO": {"weight": 11},
            "cpu": {"period": 2, "quota": -1, "burst": 4, "shares": 5, "realtimePeriod": 6,
                "realtimeRuntime": 7, "cpus": "0-1", "mems": "0", "idle": 1},
            "memory": {"limit": 8192, "reservation": -1, "swap": 10},
            "pids": {"limit": 0}
        });
        let given = given.unwrap();
        assert_eq!(given, expected);
        for (flag, pointer) in FIELDS
            .iter()
            .filter(|(_, field)| !field.starts_with("/linux"))
        {
            assert!(given.pointer(pointer).is_some(), "{flag}");
        }
    }

    #[test]
    fn a_flag_that_is_not_given_or_empty_asks_for_nothing() {
        let nothing = json!({"cpu": {}, "memory": {}});
        assert_eq!(parse(&["id"]).unwrap(), nothing);
        let empty = ["id", "--memory=", "--cpuset-cpus", "", "--blkio-weight=0"];
        assert_eq!(parse(&empty).unwrap(), nothing);
    }

    #[test]
    fn what_is_no_number_is_refused_by_its_flag() {
        for word in [
            "--cpu-quota=x",
            "--cpu-share=-1",
            "--memory=5 parsecs",
            "--cpu-idle=yes",
            "--blkio-weight=70000",
            "--kernel-memory=x",
        ] {
            let flag = word.trim_start_matches('-').split('=').next().unwrap();
            let error = parse(&["id", word]).unwrap_err().to_string();
            let words = format!("invalid value for {flag}: ");
            assert!(error.starts_with(&words), "{error}");
        }
    }

    #[test]
    fn sizes_are_those_of_dockers_tools() {
        for (text, bytes) in [
            ("-1", -1),
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32K", 32 << 10),
            ("32kb", 32 << 10),
            ("32 KiB", 32 << 10),
            ("32 ", 32),
            ("1.5g", 3 << 29),
            (".5m", 1 << 19),
            ("2T", 2 << 40),
            ("1p", 1 << 50),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "k",
            "-2",
            "-1k",
            "1e3",
            "1x",
            "1kx",
            "1kbb",
            "1kib2",
            "1 2",
            "0x10",
            "inf",
            "1.2.3",
            ".",
            "9000p",
            "99999999999999999999",
            "ä",
            "1ä",
        ] {
            assert_eq!(size(text), None, "{text}");
        }
    }
}

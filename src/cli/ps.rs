//! `ps ID [options of ps]`: the processes of a container, as the lines that ps(1) prints of
//! them, or their pids as JSON.

use std::ffi::OsStr;
use std::process::Command;

use clap::ArgMatches;

use super::argv::FlagsEnd;
use super::global::Global;
use super::verb::{Count, Shape, Verb, arguments, id};
use crate::cgroup::Cgroup;
use crate::error::{Error, Result, Step};
use crate::log::printable;

pub const VERB: Verb = Verb {
    name: "ps",
    about: "displays the processes running inside a container",
    usage: "<container-id> [ps options]",
    count: Count::AtLeast(1),
    flags_end: FlagsEnd::FirstArgument,
    flags: |command| command.arg(Shape::flag()),
    run,
    failure_status: 1,
};

fn run(global: &Global, matches: &ArgMatches) -> Result<u8> {
    let shape = Shape::of(matches)?;
    let state = global.store.open(&id(matches)?)?.load()?;
    let pids: Vec<i32> = Cgroup::open(&state.cgroup_paths)
        .pids()?
        .into_iter()
        .map(|pid| pid.as_raw())
        .collect();
    let text = match shape {
        Shape::Json => json(&pids)?,
        Shape::Table => {
            let options: Vec<_> = arguments(matches).into_iter().skip(1).collect();
            filter(&ask_ps(&options)?, &pids)?
        }
    };
    super::print(&text);
    Ok(0)
}

/// One line; `null` when there is none, as Go writes an empty slice.
fn json(pids: &[i32]) -> Result<String> {
    if pids.is_empty() {
        return Ok("null\n".to_owned());
    }
    serde_json::to_string(pids)
        .map(|text| text + "\n")
        .map_err(|error| Error::new(format!("write the pids: {error}")))
}

/// What ps(1) says of the whole machine.
fn ask_ps(options: &[&OsStr]) -> Result<String> {
    let mut command = Command::new("ps");
    match options {
        [] => command.arg("-ef"),
        options => command.args(options),
    };
    let output = command.output().step("run ps")?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    Err(Error::new(format!(
        "ps: {}: {}",
        output.status,
        said.trim()
    )))
}

/// The title and the lines of `pids`, found by the column PID.
fn filter(table: &str, pids: &[i32]) -> Result<String> {
    let mut lines = table.lines();
    let title = lines.next().unwrap_or_default();
    let column = title
        .split_whitespace()
        .position(|name| name == "PID")
        .ok_or_else(|| Error::new("couldn't find PID field in ps output"))?;
    let mut text = format!("{}\n", printable(title));
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let pid: i32 = line
            .split_whitespace()
            .nth(column)
            .and_then(|pid| pid.parse().ok())
            .ok_or_else(|| Error::new(format!("unable to parse pid in {line:?}")))?;
        if pids.contains(&pid) {
            text.push_str(&printable(line));
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "UID          PID    PPID  C STIME TTY          TIME CMD\n\
                         root           1       0  0 10:00 ?        00:00:01 init\n\
                         root          12       1  0 10:00 ?        00:00:00 sh -c 1\n\
                         root         112       1  0 10:00 ?        00:00:00 a\x1b[2J 12\n";

    #[test]
    fn only_lines_of_the_container_are_shown() {
        let text = filter(TABLE, &[12, 112]).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("UID"));
        assert!(lines[1].ends_with("sh -c 1"));
        assert!(lines[2].ends_with("a\\x1b[2J 12"), "{text}");
        assert_eq!(filter(TABLE, &[]).unwrap().lines().count(), 1);
    }

    #[test]
    fn a_table_without_pids_cannot_be_filtered() {
        let error = filter("TTY CMD\n? x\n", &[1]).unwrap_err();
        assert_eq!(error.to_string(), "couldn't find PID field in ps output");
        assert!(filter("", &[1]).is_err());
        assert!(filter("PID CMD\nx y\n", &[1]).is_err());
    }

    #[test]
    fn pids_are_an_array_or_null() {
        assert_eq!(json(&[]).unwrap(), "null\n");
        assert_eq!(json(&[3, 4]).unwrap(), "[3,4]\n");
    }
}

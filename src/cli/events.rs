//! `events ID`: statistics and OOM events of a container, a line of JSON each.

use std::fs::File;
use std::io::stdout;
use std::os::fd::AsFd;
use std::time::Duration;

use clap::{ArgMatches, Command};

use super::argv::FlagsEnd;
use super::duration;
use super::global::Global;
use super::verb::{Count, Verb, id, switch, text};
use crate::container::events::Source;
use crate::error::{Error, Result, Step};

pub const VERB: Verb = Verb {
    name: "events",
    about: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run,
    failure_status: 1,
};

fn flags(command: Command) -> Command {
    command
        .arg(
            text("interval", "DURATION")
                .value_parser(|text: &str| duration::parse(text).ok_or("parse error"))
                .help("set the stats collection interval, such as 500ms or 1m (default: 5s)"),
        )
        .arg(switch("stats").help("display the container's stats then exit"))
}

fn run(global: &Global, matches: &ArgMatches) -> Result<u8> {
    let interval = interval(matches)?;
    let source = Source::open(&global.store, &id(matches)?)?;
    if matches.get_flag("stats") {
        super::print(&source.stats()?);
        return Ok(0);
    }
    let out = stdout().as_fd().try_clone_to_owned();
    let mut out = File::from(out.step("open stdout")?);
    source.follow(interval, &mut out).map(|()| 0)
}

fn interval(matches: &ArgMatches) -> Result<Duration> {
    let nanos = matches.get_one::<i64>("interval").copied();
    match u64::try_from(nanos.unwrap_or(5_000_000_000)) {
        Ok(nanos) if nanos > 0 => Ok(Duration::from_nanos(nanos)),
        _ => Err(Error::invalid("duration interval must be greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::verb::tests::read;
    use super::*;

    fn interval_of(words: &[&str]) -> Result<Duration, String> {
        let matches = read(flags, FlagsEnd::Never, words)?;
        interval(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn the_interval_is_a_duration_above_zero() {
        let seconds = Duration::from_secs;
        assert_eq!(interval_of(&["x"]), Ok(seconds(5)));
        assert_eq!(interval_of(&["--interval=1m30s", "x"]), Ok(seconds(90)));
        assert_eq!(
            interval_of(&["-interval", "100ms", "x"]),
            Ok(Duration::from_millis(100))
        );
        for zero in ["0", "0s", "-5s"] {
            assert_eq!(
                interval_of(&["--interval", zero]).unwrap_err(),
                "duration interval must be greater than 0"
            );
        }
        for none in ["abc", "5", "", "300y"] {
            assert_eq!(
                interval_of(&["--interval", none]).unwrap_err(),
                format!("invalid value {none:?} for flag -interval: parse error")
            );
        }
    }
}

//! `kill ID [SIGNAL]`: send a signal to init, TERM when none is named.

use std::str::FromStr;

use clap::Command;
use nix::sys::signal::Signal;

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, arguments, id, switch};
use crate::container::kill;
use crate::error::{Error, Result};

pub const VERB: Verb = Verb {
    name: "kill",
    about: "kill sends the specified signal (default: SIGTERM) to the container's init process",
    usage: "<container-id> [signal]",
    count: Count::Between(1, 2),
    flags_end: FlagsEnd::FirstArgument,
    flags,
    run: |global, matches| {
        let signal = match arguments(matches).get(1) {
            Some(text) if !text.is_empty() => signal(&text.to_string_lossy())?,
            _ => libc::SIGTERM,
        };
        let all = matches.get_flag("all");
        kill::kill(&global.store, &id(matches)?, signal, all).map(|()| 0)
    },
    failure_status: 1,
};

fn flags(command: Command) -> Command {
    // Obsolete with the peers as well, and hidden there too: that the container has ended is
    // then no error.
    command.arg(switch("all").short('a').hide(true))
}

/// The realtime signals as glibc counts them, and so whoever waits for one: musl, which we may be
/// built with, keeps one more to itself.
const SIGRTMIN: i32 = 34;
const SIGRTMAX: i32 = 64;

/// Number of a signal given as number or name, with or without `SIG`, in any case; realtime
/// signals as `RTMIN`, `RTMIN+3`, `RTMAX-1`. 0 only asks whether the container lives.
fn signal(text: &str) -> Result<i32> {
    let unknown = || Error::invalid(format!("unknown signal {text:?}"));
    if let Ok(number) = text.parse::<i32>() {
        return (0..=SIGRTMAX)
            .contains(&number)
            .then_some(number)
            .ok_or_else(unknown);
    }
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(number) = realtime(name) {
        return Ok(number);
    }
    // Second names of three signals.
    let name = match name {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    Signal::from_str(&format!("SIG{name}"))
        .map(|signal| signal as i32)
        .map_err(|_| unknown())
}

fn realtime(name: &str) -> Option<i32> {
    let (from, rest, sign) = if let Some(rest) = name.strip_prefix("RTMIN") {
        (SIGRTMIN, rest, '+')
    } else {
        (SIGRTMAX, name.strip_prefix("RTMAX")?, '-')
    };
    let distance: i32 = match rest.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        None if rest.is_empty() => 0,
        _ => return None,
    };
    let number = match sign {
        '+' => from.checked_add(distance)?,
        _ => from.checked_sub(distance)?,
    };
    (SIGRTMIN..=SIGRTMAX).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("9", 9),
            ("0", 0),
            ("64", 64),
            ("cld", libc::SIGCHLD),
            ("SIGIOT", libc::SIGABRT),
            ("POLL", libc::SIGIO),
            ("WINCH", libc::SIGWINCH),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("rtmax-1", 63),
            ("RTMAX", 64),
        ] {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
    }

    #[test]
    fn what_is_no_signal_is_refused() {
        for text in [
            "FOO",
            "SIG",
            "SIGSIGKILL",
            "65",
            "-1",
            "9x",
            "RTMIN+99",
            "RTMIN-1",
            "RTMAX+1",
            "RTMIN++1",
            "RTMIN+",
        ] {
            let error = signal(text).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown signal {text:?}"));
        }
    }
}

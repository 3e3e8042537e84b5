//! What a verb is to the command line: its name, its flags, and the function that runs it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use super::argv::FlagsEnd;
use super::global::Global;
use crate::container::id::ContainerId;
use crate::error::{Error, Result};

/// Id of the one list of everything that is no flag.
const ARGUMENTS: &str = "arguments";

pub struct Verb {
    pub name: &'static str,
    /// One line for the list of verbs.
    pub about: &'static str,
    /// How its arguments are called in the help.
    pub usage: &'static str,
    pub count: Count,
    pub flags_end: FlagsEnd,
    pub flags: fn(Command) -> Command,
    /// Runs the verb; its exit status.
    pub run: fn(&Global, &ArgMatches) -> Result<u8>,
    /// Exit status when `run` fails.
    pub failure_status: u8,
}

/// How many arguments a verb takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    Exactly(usize),
    AtLeast(usize),
    Between(usize, usize),
}

impl Verb {
    /// The verb's flags, `--help` among them.
    pub fn flags(&self) -> Command {
        (self.flags)(base(self.name)).arg(help_flag())
    }

    /// What is wrong with this number of arguments, in runc's words.
    pub fn count_mistake(&self, given: usize) -> Option<String> {
        let (relation, number) = match self.count {
            Count::Exactly(n) if given != n => ("exactly", n),
            Count::AtLeast(n) | Count::Between(n, _) if given < n => ("a minimum of", n),
            Count::Between(_, n) if given > n => ("a maximum of", n),
            _ => return None,
        };
        Some(format!(
            "\"{}\" requires {relation} {number} argument(s)",
            self.name
        ))
    }
}

/// An empty clap command: no help and version of its own, a later flag wins over an earlier.
pub fn base(name: &'static str) -> Command {
    Command::new(name)
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(
            Arg::new(ARGUMENTS)
                .num_args(0..)
                .last(true)
                .hide(true)
                .value_parser(value_parser!(OsString)),
        )
}

pub fn help_flag() -> Arg {
    switch("help").short('h').help("show help")
}

/// A flag without a value.
pub fn switch(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// A flag without a value that may also be switched off by name (`--flag=false`).
pub fn optional_switch(name: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .num_args(0..=1)
        .require_equals(true)
        .hide_possible_values(true)
        .value_parser(value_parser!(bool))
}

/// A flag with a number.
pub fn number(name: &'static str, value: &'static str) -> Arg {
    text(name, value).value_parser(value_parser!(u32))
}

/// A flag with a text.
pub fn text(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value)
}

/// A flag with a path, which may hold any bytes; an empty one counts as not given.
pub fn path(name: &'static str, value: &'static str) -> Arg {
    text(name, value).value_parser(value_parser!(OsString))
}

/// A flag that may be given several times.
pub fn list(name: &'static str, value: &'static str) -> Arg {
    text(name, value).action(ArgAction::Append)
}

/// Let clap read what `argv` has cut. The error is one sentence.
pub fn matches(
    command: Command,
    flags: Vec<OsString>,
    arguments: Vec<OsString>,
) -> Result<ArgMatches, String> {
    let words = flags
        .into_iter()
        .chain([OsString::from("--")])
        .chain(arguments);
    command.try_get_matches_from(words).map_err(|error| {
        let part = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            _ => String::new(),
        };
        match error.kind() {
            ErrorKind::ValueValidation | ErrorKind::InvalidUtf8 | ErrorKind::InvalidValue => {
                let flag = part(ContextKind::InvalidArg);
                let flag = flag.split([' ', '=']).next().unwrap_or_default();
                format!(
                    "invalid value {:?} for flag -{}: parse error",
                    part(ContextKind::InvalidValue),
                    flag.trim_start_matches('-')
                )
            }
            _ => error.kind().to_string(),
        }
    })
}

/// Everything that is no flag.
pub fn arguments(matches: &ArgMatches) -> Vec<&OsStr> {
    matches
        .get_many::<OsString>(ARGUMENTS)
        .map(|all| all.map(OsString::as_os_str).collect())
        .unwrap_or_default()
}

/// The first argument, as the id of a container.
pub fn id(matches: &ArgMatches) -> Result<ContainerId> {
    let first = arguments(matches).first().copied().unwrap_or_default();
    ContainerId::new(&first.to_string_lossy())
}

/// The value of a flag made by [`path`].
pub fn path_of(matches: &ArgMatches, name: &str) -> Option<PathBuf> {
    matches
        .get_one::<OsString>(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// The value of a flag made by [`text`]; an empty one counts as not given.
pub fn text_of<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches
        .get_one::<String>(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

/// `--format` of the verbs that report in two shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Table,
    Json,
}

impl Shape {
    pub fn flag() -> Arg {
        text("format", "FORMAT")
            .short('f')
            .help("select one of: table or json (default: table)")
    }

    pub fn of(matches: &ArgMatches) -> Result<Self> {
        match matches.get_one::<String>("format").map(String::as_str) {
            None | Some("table") => Ok(Self::Table),
            Some("json") => Ok(Self::Json),
            Some(_) => Err(Error::invalid("invalid format option")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Read `words` by the flags of a verb, from the words a caller types.
    pub(crate) fn read(
        flags: fn(Command) -> Command,
        end: FlagsEnd,
        words: &[&str],
    ) -> Result<ArgMatches, String> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let command = flags(base("v")).arg(help_flag());
        let cut = super::super::argv::cut(&command, &words, end)?;
        matches(command, cut.flags, cut.arguments)
    }

    fn verb(count: Count) -> Verb {
        Verb {
            name: "v",
            about: "",
            usage: "",
            count,
            flags_end: FlagsEnd::Never,
            flags: |c| c.arg(number("n", "N")).arg(list("env", "E").short('e')),
            run: |_, _| Ok(0),
            failure_status: 1,
        }
    }

    #[test]
    fn arguments_are_counted_in_runcs_words() {
        let mistake = |count, given| verb(count).count_mistake(given);
        assert_eq!(
            mistake(Count::Exactly(1), 0).unwrap(),
            "\"v\" requires exactly 1 argument(s)"
        );
        assert_eq!(mistake(Count::Exactly(1), 1), None);
        assert_eq!(
            mistake(Count::AtLeast(1), 0).unwrap(),
            "\"v\" requires a minimum of 1 argument(s)"
        );
        assert_eq!(
            mistake(Count::Between(1, 2), 3).unwrap(),
            "\"v\" requires a maximum of 2 argument(s)"
        );
        assert_eq!(mistake(Count::Between(1, 2), 2), None);
    }

    #[test]
    fn clap_reads_what_was_cut() {
        let words = |list: &[&str]| list.iter().map(OsString::from).collect::<Vec<_>>();
        let read = |flags: &[&str], rest: &[&str]| {
            matches(verb(Count::AtLeast(0)).flags(), words(flags), words(rest))
        };
        let found = read(
            &["--n=1", "--n=2", "--env=a,b", "--env=c"],
            &["x", "--help"],
        )
        .unwrap();
        assert_eq!(found.get_one::<u32>("n"), Some(&2));
        let env: Vec<_> = found.get_many::<String>("env").unwrap().collect();
        assert_eq!(env, ["a,b", "c"]);
        assert_eq!(arguments(&found), ["x", "--help"]);
        assert!(!found.get_flag("help"));
        assert_eq!(
            read(&["--n=x"], &[]).unwrap_err(),
            "invalid value \"x\" for flag -n: parse error"
        );
        assert_eq!(
            read(&["--n=-1"], &[]).unwrap_err(),
            "invalid value \"-1\" for flag -n: parse error"
        );
        assert!(arguments(&read(&[], &[]).unwrap()).is_empty());
    }
}

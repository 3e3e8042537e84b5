//! How the command line is cut into flags and arguments.
//!
//! Callers were written for Go's flag package, so its rules hold: `-root X`, `--root X` and
//! `--root=X` are the same, as are `-b` and `--b`; a switch may be given as `--debug=false`; a
//! flag with a value takes the next word whatever it looks like; `--` ends the flags. Flags
//! may follow arguments, except for verbs whose arguments are somebody else's command line.
//! The flags themselves are those of a clap [`Command`]; what comes out is what clap
//! understands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::{Arg, Command};

/// The words of a command line, sorted.
#[derive(Debug, PartialEq, Eq)]
pub struct Words {
    /// As clap reads them: `--name=value`, one word a flag.
    pub flags: Vec<OsString>,
    /// Everything else, as it was.
    pub arguments: Vec<OsString>,
}

/// Where flags end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagsEnd {
    /// At the first argument; the rest is taken as it is.
    FirstArgument,
    /// Only at `--`.
    Never,
}

/// Cut `words` (without the program's or verb's name) by the flags of `command`. The error is
/// the sentence that runc prints after `Incorrect Usage: `.
pub fn cut(command: &Command, words: &[OsString], end: FlagsEnd) -> Result<Words, String> {
    let mut flags = Vec::new();
    let mut arguments = Vec::new();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            arguments.extend(rest.cloned());
            break;
        }
        let Some(Flag { name, value }) = split_flag(word)? else {
            arguments.push(word.clone());
            if end == FlagsEnd::FirstArgument {
                // `exec ID -- COMMAND`: one `--` between the two is nobody's word.
                let payload = rest.as_slice();
                let payload = match payload.split_first() {
                    Some((dashes, after)) if dashes == "--" => after,
                    _ => payload,
                };
                arguments.extend_from_slice(payload);
                break;
            }
            continue;
        };
        let arg = find(command, name)
            .ok_or_else(|| format!("flag provided but not defined: -{}", lossy(name)))?;
        let long = arg.get_long().unwrap_or_default();
        if is_optional_switch(arg) {
            let on = is_on(name, value)?;
            flags.push(OsString::from(format!("--{long}={on}")));
        } else if arg.get_action().takes_values() {
            let value = match value {
                Some(value) => value,
                None => rest
                    .next()
                    .ok_or_else(|| format!("flag needs an argument: -{}", lossy(name)))?,
            };
            let mut flag = format!("--{long}=").into_bytes();
            flag.extend_from_slice(value.as_bytes());
            flags.push(OsString::from_vec(flag));
        } else if is_on(name, value)? {
            flags.push(OsString::from(format!("--{long}")));
        }
    }
    Ok(Words { flags, arguments })
}

/// A flag as it was typed, without its dashes.
struct Flag<'a> {
    name: &'a [u8],
    value: Option<&'a OsStr>,
}

/// `None` for an argument (a lone `-` is one).
fn split_flag(word: &OsStr) -> Result<Option<Flag<'_>>, String> {
    let bytes = word.as_bytes();
    let Some(flag) = bytes.strip_prefix(b"-").filter(|flag| !flag.is_empty()) else {
        return Ok(None);
    };
    let flag = flag.strip_prefix(b"-").unwrap_or(flag);
    let (name, value) = match flag.iter().position(|b| *b == b'=') {
        Some(at) => (&flag[..at], Some(OsStr::from_bytes(&flag[at + 1..]))),
        None => (flag, None),
    };
    if name.is_empty() || name[0] == b'-' {
        return Err(format!("bad flag syntax: {}", lossy(bytes)));
    }
    Ok(Some(Flag { name, value }))
}

/// The flag of this name, long or short.
fn find<'a>(command: &'a Command, name: &[u8]) -> Option<&'a Arg> {
    let name = std::str::from_utf8(name).ok()?;
    let mut letters = name.chars();
    let letter = letters.next().filter(|_| letters.next().is_none());
    command
        .get_arguments()
        .find(|arg| arg.get_long() == Some(name) || (letter.is_some() && arg.get_short() == letter))
}

/// A switch for which `=false` is not the same as not given.
fn is_optional_switch(arg: &Arg) -> bool {
    arg.get_num_args()
        .is_some_and(|range| range.min_values() == 0)
}

/// A switch, alone or with a truth value.
fn is_on(name: &[u8], value: Option<&OsStr>) -> Result<bool, String> {
    let Some(word) = value.map(OsStr::as_bytes) else {
        return Ok(true);
    };
    truth(word).ok_or_else(|| {
        format!(
            "invalid boolean value {:?} for -{}: parse error",
            lossy(word),
            lossy(name)
        )
    })
}

/// The words that Go takes for a truth value.
pub fn truth(word: &[u8]) -> Option<bool> {
    match word {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;

    fn command() -> Command {
        Command::new("t")
            .arg(Arg::new("root").long("root"))
            .arg(Arg::new("bundle").long("bundle").short('b'))
            .arg(
                Arg::new("no-subreaper")
                    .long("no-subreaper")
                    .action(ArgAction::SetTrue),
            )
            .arg(Arg::new("maybe").long("maybe").num_args(0..=1))
            .arg(
                Arg::new("all")
                    .long("all")
                    .short('a')
                    .action(ArgAction::SetTrue),
            )
    }

    fn cut_text(text: &[&str], end: FlagsEnd) -> Result<(Vec<String>, Vec<String>), String> {
        let words: Vec<_> = text.iter().map(OsString::from).collect();
        let strings = |v: Vec<OsString>| v.iter().map(|w| w.to_str().unwrap().to_owned()).collect();
        cut(&command(), &words, end).map(|w| (strings(w.flags), strings(w.arguments)))
    }

    #[test]
    fn one_dash_two_dashes_and_an_equals_sign_are_the_same() {
        for words in [
            &["-root", "/r", "x"][..],
            &["--root", "/r", "x"],
            &["-root=/r", "x"],
            &["--root=/r", "x"],
            &["x", "--root=/r"],
        ] {
            let (flags, arguments) = cut_text(words, FlagsEnd::Never).unwrap();
            assert_eq!(flags, ["--root=/r"], "{words:?}");
            assert_eq!(arguments, ["x"], "{words:?}");
        }
        for words in [&["-b", "d"][..], &["--b", "d"], &["-b=d"], &["-bundle=d"]] {
            assert_eq!(
                cut_text(words, FlagsEnd::Never).unwrap().0,
                ["--bundle=d"],
                "{words:?}"
            );
        }
    }

    #[test]
    fn switches_take_gos_truth_values() {
        let flags = |word| cut_text(&[word], FlagsEnd::Never).map(|w| w.0);
        assert_eq!(flags("-no-subreaper").unwrap(), ["--no-subreaper"]);
        assert_eq!(flags("--all=true").unwrap(), ["--all"]);
        assert!(flags("-a=false").unwrap().is_empty());
        assert_eq!(flags("-maybe").unwrap(), ["--maybe=true"]);
        assert_eq!(flags("-maybe=0").unwrap(), ["--maybe=false"]);
        assert_eq!(
            flags("-a=x").unwrap_err(),
            "invalid boolean value \"x\" for -a: parse error"
        );
    }

    #[test]
    fn a_value_may_look_like_anything() {
        let (flags, arguments) =
            cut_text(&["--root", "-x", "-b", "", "--root=", "y"], FlagsEnd::Never).unwrap();
        assert_eq!(flags, ["--root=-x", "--bundle=", "--root="]);
        assert_eq!(arguments, ["y"]);
    }

    #[test]
    fn a_payload_keeps_its_flags() {
        let words = ["-a", "id", "-b", "x", "--", "--foo"];
        let (flags, arguments) = cut_text(&words, FlagsEnd::FirstArgument).unwrap();
        assert_eq!(flags, ["--all"]);
        assert_eq!(arguments, ["id", "-b", "x", "--", "--foo"]);
        let words = ["id", "--", "ls", "--", "x"];
        let (_, arguments) = cut_text(&words, FlagsEnd::FirstArgument).unwrap();
        assert_eq!(arguments, ["id", "ls", "--", "x"]);
        let (_, arguments) = cut_text(&["--", "-a", "-"], FlagsEnd::Never).unwrap();
        assert_eq!(arguments, ["-a", "-"]);
    }

    #[test]
    fn what_is_no_flag_of_ours_is_refused_in_gos_words() {
        let error = |word| cut_text(&[word], FlagsEnd::Never).unwrap_err();
        assert_eq!(error("--foo"), "flag provided but not defined: -foo");
        assert_eq!(error("-foo=1"), "flag provided but not defined: -foo");
        assert_eq!(error("-ab"), "flag provided but not defined: -ab");
        assert_eq!(error("-root"), "flag needs an argument: -root");
        assert_eq!(error("---x"), "bad flag syntax: ---x");
        assert_eq!(error("-=x"), "bad flag syntax: -=x");
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let word = OsString::from_vec(b"--root=/\xff".to_vec());
        let words = cut(&command(), std::slice::from_ref(&word), FlagsEnd::Never).unwrap();
        assert_eq!(words.flags, [word]);
    }
}

//! The log: what engines read of us when something fails.
//!
//! A message is one line, written by one write(2) to a file that is only appended to, so that
//! several processes can share it. Text is the `key=value` style of logrus, JSON its
//! `{"level","msg","time"}` objects: engines take the last error from there. With a log file
//! everything goes to it, because stderr of create and exec is the container's; only the
//! error that ends the program is told on stderr as well, in plain words.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;

use crate::error::{Error, Result, Step};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    #[default]
    Text,
    Json,
}

impl Format {
    /// The value of `--log-format`; empty is text.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(Error::invalid(format!("invalid log-format: {other}"))),
        }
    }
}

/// Whether there is a log file, so that [`fatal`] has to speak on stderr too.
static TO_FILE: AtomicBool = AtomicBool::new(false);

struct Logger {
    /// `None`: stderr.
    file: Option<File>,
    format: Format,
}

/// Set the log up, once. `file` is opened for appending, made with 0644 where it is missing.
pub fn init(file: Option<&Path>, format: Format, debug: bool) -> Result<()> {
    let file = match file {
        None => None,
        Some(path) => Some(
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o644)
                .open(path)
                .step_on("open the log", path)?,
        ),
    };
    let to_file = file.is_some();
    if log::set_boxed_logger(Box::new(Logger { file, format })).is_ok() {
        TO_FILE.store(to_file, Ordering::Relaxed);
        log::set_max_level(if debug {
            LevelFilter::Debug
        } else {
            LevelFilter::Info
        });
    }
    Ok(())
}

/// Tell the one error that ends the program: one record in the log and, when the log is a
/// file, the plain words on stderr.
pub fn fatal(message: &str) {
    // Where nothing has been set up yet, stderr is told in text.
    let _ = init(None, Format::Text, false);
    log::error!("{message}");
    if TO_FILE.load(Ordering::Relaxed) {
        to_stderr(&format!("{}\n", printable(message)));
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let message = record.args().to_string();
        let line = line(self.format, record.level(), &message, SystemTime::now());
        match &self.file {
            // A log that cannot be written is no reason to fail, and there is nobody to tell.
            Some(file) => drop((&mut &*file).write_all(line.as_bytes())),
            None => to_stderr(&line),
        }
    }

    fn flush(&self) {}
}

/// Unlike `eprintln!` this does not panic when stderr is closed.
fn to_stderr(line: &str) {
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// One record with its newline.
fn line(format: Format, level: Level, message: &str, now: SystemTime) -> String {
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    };
    let time = humantime::format_rfc3339_seconds(now).to_string();
    match format {
        Format::Text => format!("time=\"{time}\" level={level} msg={}\n", quoted(message)),
        Format::Json => {
            #[derive(Serialize)]
            struct Object<'a> {
                level: &'a str,
                msg: &'a str,
                time: &'a str,
            }
            let object = Object {
                level,
                msg: message,
                time: &time,
            };
            // Strings cannot fail to serialise.
            let line = serde_json::to_string(&object).unwrap_or_default();
            printable_json(line) + "\n"
        }
    }
}

/// In double quotes, with backslashes before what would end them.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(plain) => {
                out.push_str(&printable(plain));
                out.push('\\');
                out.push_str(&part[plain.len()..]);
            }
            None => out.push_str(&printable(part)),
        }
    }
    out.push('"');
    out
}

/// The text with control characters written as escapes (`\n`, `\x1b`): ids, annotations and
/// paths come from others, and must not drive the reader's terminal or add lines.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if is_obeyed(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// JSON text that says the same and drives no terminal either: serde escapes what JSON cannot
/// hold, which leaves the controls beyond ASCII.
pub fn printable_json(text: String) -> String {
    // The line ends of a text that is indented are its own.
    let is_plain = |c: char| c == '\n' || !is_obeyed(c);
    if text.chars().all(is_plain) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        }
    }
    out
}

/// Controls, line and paragraph separators, and the characters that turn the direction of
/// writing.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn at() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000_000)
    }

    #[test]
    fn text_is_one_quoted_line() {
        assert_eq!(
            line(
                Format::Text,
                Level::Error,
                "exec: \"x\": not\nfound \\",
                at()
            ),
            "time=\"2001-09-09T01:46:40Z\" level=error msg=\"exec: \\\"x\\\": not\\nfound \\\\\"\n"
        );
        assert!(line(Format::Text, Level::Warn, "", at()).contains("level=warning msg=\"\""));
    }

    #[test]
    fn json_is_one_object_a_line() {
        assert_eq!(
            line(Format::Json, Level::Error, "a \"b\"\n", at()),
            "{\"level\":\"error\",\"msg\":\"a \\\"b\\\"\\n\",\"time\":\"2001-09-09T01:46:40Z\"}\n"
        );
    }

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(
            printable("a\x1b[31m\tb\u{9b}c\u{202e}d\u{7f}ä"),
            "a\\x1b[31m\\tb\\u009bc\\u202ed\\x7fä"
        );
    }

    #[test]
    fn json_drives_no_terminal_and_says_the_same() {
        let said = "a\x1b\u{9b}2J\u{7f}\u{202e}ä\n";
        let text = serde_json::to_string_pretty(&[said]).unwrap();
        let plain = printable_json(text);
        assert!(
            plain.chars().all(|c| c == '\n' || !is_obeyed(c)),
            "{plain:?}"
        );
        assert_eq!(serde_json::from_str::<Vec<String>>(&plain).unwrap(), [said]);
    }

    #[test]
    fn formats_have_names() {
        assert_eq!(Format::parse("").unwrap(), Format::Text);
        assert_eq!(Format::parse("json").unwrap(), Format::Json);
        assert_eq!(
            Format::parse("xml").unwrap_err().to_string(),
            "invalid log-format: xml"
        );
    }
}

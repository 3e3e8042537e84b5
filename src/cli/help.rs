//! What help and version print. Engines and completion scripts read the first lines: `NAME:`,
//! then `   orlop VERB - ...`.

use std::fmt::Write;
use std::path::Path;

use super::global;
use super::verb::Verb;

/// The program: its verbs and its global flags.
pub fn app() -> String {
    let mut text = String::from(
        "NAME:\n   orlop - Open Container Initiative runtime\n\n\
         USAGE:\n   orlop [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n",
    );
    for verb in super::VERBS {
        let _ = writeln!(text, "   {:<12}{}", verb.name, verb.about);
    }
    let _ = writeln!(text, "   {:<12}show help of a command", "help");
    text.push_str("\nGLOBAL OPTIONS:\n");
    text.push_str(&options(global::flags()));
    text
}

/// One verb.
pub fn verb(verb: &Verb) -> String {
    let Verb { name, about, .. } = verb;
    let usage = format!("orlop {name} [options] {}", verb.usage);
    format!(
        "NAME:\n   orlop {name} - {about}\n\nUSAGE:\n   {}\n\nOPTIONS:\n{}",
        usage.trim_end(),
        options(verb.flags())
    )
}

/// clap's list of flags.
fn options(flags: clap::Command) -> String {
    let text = flags
        .help_template("{options}")
        .term_width(100)
        .render_help()
        .to_string();
    format!("{}\n", text.trim_matches('\n'))
}

/// Three lines that callers parse. NAME is what the program was called by, so that a link
/// named runc is taken for it.
pub fn version(program: &str) -> String {
    let name = Path::new(program).file_name().unwrap_or_default();
    format!(
        "{} version {}\ncommit: {}\nspec: {}\n",
        name.to_string_lossy(),
        env!("CARGO_PKG_VERSION"),
        commit(),
        super::SPEC_VERSION,
    )
}

/// The commit of the build, where the build said it.
pub fn commit() -> &'static str {
    option_env!("ORLOP_COMMIT").unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_help_are_fixed() {
        assert!(app().starts_with("NAME:\n   orlop - Open Container Initiative runtime\n"));
        for known in super::super::VERBS {
            let text = verb(known);
            let start = format!("NAME:\n   orlop {} - ", known.name);
            assert!(text.starts_with(&start), "{text}");
            assert!(text.contains("-h, --help"), "{text}");
        }
    }

    #[test]
    fn the_version_has_three_lines_and_one_version() {
        let text = version("/usr/bin/runc");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("runc version "));
        assert!(lines[1].starts_with("commit: "));
        assert_eq!(lines[2], "spec: 1.3.0");
        assert_eq!(text.matches("version").count(), 1);
    }
}

//! The command line: flags in, one call, report out.
//!
//! `orlop [global flags] VERB [flags] [arguments]`. The words are cut by the rules of `argv`;
//! the global flags are read first (`global`), they say where the log goes and where the
//! containers are; then the verb is found in [`VERBS`] and only its flags are built and read.
//! One file a verb. A flag that this build does not know is an error, never ignored.

mod argv;
mod global;
mod help;
mod report;
mod verb;

mod checkpoint;
mod create;
mod criu_flags;
mod delete;
mod duration;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod pause;
mod plan;
mod ps;
mod restore;
mod resume;
mod run;
mod spec;
mod start;
mod state;
mod update;

use std::ffi::OsString;
use std::process::ExitCode;

use argv::FlagsEnd;
pub use global::Global;
use verb::Verb;

use crate::error::{Error, Result};
use crate::log;
use crate::seal::Sealed;

/// In the order in which help lists them.
const VERBS: &[Verb] = &[
    checkpoint::VERB,
    create::VERB,
    delete::VERB,
    events::VERB,
    exec::VERB,
    features::VERB,
    kill::VERB,
    list::VERB,
    pause::VERB,
    plan::VERB,
    ps::VERB,
    restore::VERB,
    resume::VERB,
    run::VERB,
    spec::VERB,
    start::VERB,
    state::VERB,
    update::VERB,
];

/// The version of the runtime-spec that all this follows.
pub const SPEC_VERSION: &str = "1.3.0";

/// Exit status for a verb that does not exist, as the peers have it.
const NO_SUCH_VERB: u8 = 3;

/// Read the command line, do what it asks, say what became of it. `sealed` is there for the
/// verbs that need it; that it failed is said in the log, which is known only here.
pub fn run(words: Vec<OsString>, sealed: Option<Result<Sealed>>) -> ExitCode {
    match dispatch(&words, sealed) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            log::fatal(&failure.message);
            ExitCode::from(failure.status)
        }
    }
}

/// What ends the program, and with which exit status.
struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    fn new(message: impl Into<String>, status: u8) -> Self {
        let message = message.into();
        Self { message, status }
    }

    fn no_help_topic(name: &str) -> Self {
        Self::new(format!("No help topic for '{name}'"), NO_SUCH_VERB)
    }

    /// Usage on stdout, the mistake on stderr.
    fn usage(mistake: String, help: &str) -> Self {
        use std::io::Write;
        print(help);
        let line = format!("Incorrect Usage: {}\n\n", log::printable(&mistake));
        let _ = std::io::stderr().write_all(line.as_bytes());
        Self::new(mistake, 1)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(error.to_string(), 1)
    }
}

/// Write to stdout; that nobody reads it is no failure of ours, and no panic.
fn print(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn dispatch(words: &[OsString], sealed: Option<Result<Sealed>>) -> Result<u8, Failure> {
    let (program, words) = match words.split_first() {
        Some((program, words)) => (program.to_string_lossy().into_owned(), words),
        None => (String::from("orlop"), words),
    };
    let flags = global::flags();
    let cut = argv::cut(&flags, words, FlagsEnd::FirstArgument)
        .map_err(|mistake| Failure::usage(mistake, &help::app()))?;
    let matches = verb::matches(flags, cut.flags, Vec::new())
        .map_err(|mistake| Failure::usage(mistake, &help::app()))?;
    if matches.get_flag("version") {
        print(&help::version(&program));
        return Ok(0);
    }
    let (name, words) = match cut.arguments.split_first() {
        Some((name, words)) if !matches.get_flag("help") => (name.to_string_lossy(), words),
        _ => {
            print(&help::app());
            return Ok(0);
        }
    };
    let global = Global::new(program, &matches, sealed)?;
    if name == "help" || name == "h" {
        return help_for(words.first()).map(|()| 0);
    }
    let verb = find(&name)?;
    let flags = verb.flags();
    let cut = argv::cut(&flags, words, verb.flags_end)
        .map_err(|mistake| Failure::usage(mistake, &help::verb(verb)))?;
    let matches = verb::matches(flags, cut.flags, cut.arguments)
        .map_err(|mistake| Failure::usage(mistake, &help::verb(verb)))?;
    if matches.get_flag("help") {
        print(&help::verb(verb));
        return Ok(0);
    }
    if let Some(mistake) = verb.count_mistake(verb::arguments(&matches).len()) {
        print(&format!("Incorrect Usage.\n\n{}", help::verb(verb)));
        return Err(Failure::new(format!("{}: {mistake}", global.program), 1));
    }
    (verb.run)(&global, &matches)
        .map_err(|error| Failure::new(error.to_string(), verb.failure_status))
}

fn find(name: &str) -> Result<&'static Verb, Failure> {
    VERBS
        .iter()
        .find(|verb| verb.name == name)
        .ok_or_else(|| Failure::no_help_topic(name))
}

fn help_for(topic: Option<&OsString>) -> Result<(), Failure> {
    let text = match topic {
        None => help::app(),
        Some(name) => help::verb(find(&name.to_string_lossy())?),
    };
    print(&text);
    Ok(())
}

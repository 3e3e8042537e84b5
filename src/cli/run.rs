//! `run ID`: create, start, wait and delete in one; with `--detach` it ends after start.

use clap::{ArgMatches, Command};

use super::argv::FlagsEnd;
use super::create;
use super::verb::{Count, Verb, id, switch};
use crate::container::options::{Create, Run};
use crate::container::run;

pub const VERB: Verb = Verb {
    name: "run",
    about: "create and run a container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags,
    run: |global, matches| {
        let status = id(matches).and_then(|id| {
            let options = options(matches);
            run::run(global.sealed()?, &global.host, &global.store, &id, &options)
        });
        status.map_err(|error| error.within("orlop run failed"))
    },
    failure_status: 1,
};

pub fn flags(command: Command) -> Command {
    create::flags(command)
        .arg(
            switch("detach")
                .short('d')
                .help("detach from the container's process"),
        )
        .arg(switch("keep").help("do not delete the container after it exits"))
        .arg(
            switch("no-subreaper")
                .help("disable the use of the subreaper used to reap reparented processes"),
        )
}

pub fn options(matches: &ArgMatches) -> Run {
    let detach = matches.get_flag("detach");
    Run {
        create: Create {
            detach,
            ..create::options(matches)
        },
        keep: matches.get_flag("keep"),
        no_subreaper: matches.get_flag("no-subreaper"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::verb::tests::read;

    #[test]
    fn every_flag_arrives() {
        let words = ["-d", "--keep", "-no-subreaper", "-b=/b", "id"];
        let given = options(&read(flags, FlagsEnd::Never, &words).unwrap());
        assert!(given.create.detach && given.keep && given.no_subreaper);
        assert_eq!(given.create.bundle, std::path::Path::new("/b"));
        let none = options(&read(flags, FlagsEnd::Never, &["id"]).unwrap());
        assert!(!none.create.detach && !none.keep && !none.no_subreaper);
    }
}

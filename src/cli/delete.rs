//! `delete ID`: remove what a container has left; with `--force` also one that still runs.

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, id, switch};
use crate::container::delete;

pub const VERB: Verb = Verb {
    name: "delete",
    about: "delete any resources held by the container often used with detached container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags: |command| {
        command.arg(
            switch("force")
                .short('f')
                .help("forcibly deletes the container if it is still running (uses SIGKILL)"),
        )
    },
    run: |global, matches| {
        let force = matches.get_flag("force");
        delete::delete(&global.store, &id(matches)?, force).map(|()| 0)
    },
    failure_status: 1,
};

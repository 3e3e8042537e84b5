//! `start ID`: let the user's program of a created container run.

use super::argv::FlagsEnd;
use super::create::notify_socket;
use super::verb::{Count, Verb, id};
use crate::container::start;

pub const VERB: Verb = Verb {
    name: "start",
    about: "executes the user defined process in a created container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags: |command| command,
    run: |global, matches| {
        let manager = notify_socket();
        start::start(&global.store, &id(matches)?, manager.as_deref()).map(|()| 0)
    },
    failure_status: 1,
};

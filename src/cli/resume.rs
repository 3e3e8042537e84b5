//! `resume ID`.

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, id};
use crate::container::pause;

pub const VERB: Verb = Verb {
    name: "resume",
    about: "resumes all processes that have been previously paused",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags: |command| command,
    run: |global, matches| pause::resume(&global.store, &id(matches)?).map(|()| 0),
    failure_status: 1,
};

//! `pause ID`.

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, id};
use crate::container::pause;

pub const VERB: Verb = Verb {
    name: "pause",
    about: "suspends all processes inside the container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags: |command| command,
    run: |global, matches| pause::pause(&global.store, &id(matches)?).map(|()| 0),
    failure_status: 1,
};

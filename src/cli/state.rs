//! `state ID`: the state of one container as JSON.

use super::argv::FlagsEnd;
use super::report::Report;
use super::verb::{Count, Verb, id};
use crate::container::status::Status;
use crate::error::Error;
use crate::log::printable_json;

pub const VERB: Verb = Verb {
    name: "state",
    about: "output the state of a container",
    usage: "<container-id>",
    count: Count::Exactly(1),
    flags_end: FlagsEnd::Never,
    flags: |command| command,
    run: |global, matches| {
        let dir = global.store.open(&id(matches)?)?;
        let state = dir.load()?;
        let status = Status::of(&state, &dir)?;
        // No newline at the end, like the peers.
        let text = serde_json::to_string_pretty(&Report::new(state, status, String::new()))
            .map_err(|error| Error::new(format!("write the state: {error}")))?;
        super::print(&printable_json(text));
        Ok(0)
    },
    failure_status: 1,
};

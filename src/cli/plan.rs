//! `plan`: print what create would do with a bundle, as JSON, and do none of it.

use super::argv::FlagsEnd;
use super::verb::{Count, Verb, arguments, id, path, path_of, switch};
use crate::container::id::ContainerId;
use crate::log::printable_json;
use crate::plan::{Context, Plan};

/// Stands in for an id that was not given; the default cgroup is named after it.
const ANY_ID: &str = "container";

const BUNDLE_HELP: &str =
    "path to the root of the bundle directory (default: the current directory)";

pub const VERB: Verb = Verb {
    name: "plan",
    about: "show what create would do with a bundle, as JSON, and do nothing",
    usage: "[container-id]",
    count: Count::Between(0, 1),
    flags_end: FlagsEnd::Never,
    flags: |command| {
        command
            .arg(path("bundle", "DIR").short('b').help(BUNDLE_HELP))
            .arg(switch("no-pivot").help("plan for a create with --no-pivot"))
    },
    run: |global, matches| {
        let id = match arguments(matches).is_empty() {
            true => ContainerId::new(ANY_ID)?,
            false => id(matches)?,
        };
        let context = Context {
            id: id.as_str(),
            bundle: &path_of(matches, "bundle").unwrap_or_else(|| ".".into()),
            no_pivot: matches.get_flag("no-pivot"),
        };
        let plan = Plan::read(&context, &global.host)?;
        super::print(&(printable_json(plan.to_json()?) + "\n"));
        Ok(0)
    },
    failure_status: 1,
};

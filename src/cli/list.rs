//! `list`: all containers below the root, as a table, as JSON, or their ids alone.
//!
//! What cannot be read is told as a warning and does not hide the rest; what is deleted while
//! we look is left out.

use std::collections::BTreeMap;

use nix::unistd::{Uid, User};

use super::argv::FlagsEnd;
use super::report::Report;
use super::verb::{Count, Shape, Verb, switch};
use crate::container::status::Status;
use crate::container::store::{Entry, Store, is_missing_root};
use crate::error::{Error, Result};
use crate::log::{printable, printable_json};

pub const VERB: Verb = Verb {
    name: "list",
    about: "lists containers started by orlop with the given root",
    usage: "",
    count: Count::Exactly(0),
    flags_end: FlagsEnd::Never,
    flags: |command| {
        command.arg(Shape::flag()).arg(
            switch("quiet")
                .short('q')
                .help("display only container IDs"),
        )
    },
    run: |global, matches| {
        let shape = Shape::of(matches);
        let reports = reports(&global.store, global.root_given)?;
        if matches.get_flag("quiet") {
            let ids: String = reports.iter().map(|r| format!("{}\n", r.id)).collect();
            super::print(&ids);
            return Ok(0);
        }
        super::print(&match shape? {
            Shape::Table => table(&reports),
            Shape::Json => json(&reports)?,
        });
        Ok(0)
    },
    failure_status: 1,
};

/// A default root that nobody has made yet holds no containers; one that was named must exist.
fn reports(store: &Store, must_exist: bool) -> Result<Vec<Report>> {
    let entries = match store.list() {
        Err(error) if is_missing_root(&error) && !must_exist => Vec::new(),
        entries => entries?,
    };
    let mut owners = BTreeMap::new();
    let mut reports = Vec::new();
    for entry in entries {
        match report(store, &entry, &mut owners) {
            Ok(report) => reports.push(report),
            Err(error) => {
                if let Some(problem) = entry.problem(store, error) {
                    log::warn!("load container {}: {problem}", entry.id);
                }
            }
        }
    }
    Ok(reports)
}

fn report(store: &Store, entry: &Entry, owners: &mut BTreeMap<u32, String>) -> Result<Report> {
    let dir = store.open(&entry.id)?;
    let state = dir.load()?;
    let status = Status::of(&state, &dir)?;
    let owner = owners.entry(entry.uid).or_insert_with(|| owner(entry.uid));
    Ok(Report::new(state, status, owner.clone()))
}

fn owner(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("#{uid}"),
    }
}

/// One line; `null` when there is nothing, as Go writes an empty slice.
fn json(reports: &[Report]) -> Result<String> {
    if reports.is_empty() {
        return Ok("null\n".to_owned());
    }
    let text = serde_json::to_string(reports)
        .map_err(|error| Error::new(format!("write the list: {error}")))?;
    Ok(printable_json(text) + "\n")
}

fn table(reports: &[Report]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let rows = reports.iter().map(|report| {
        [
            printable(&report.id),
            report.pid.to_string(),
            report.status.to_string(),
            printable(&report.bundle),
            printable(&report.created),
            printable(&report.owner),
        ]
    });
    align(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Each column as wide as its widest cell and three spaces, 12 at least; the last as it is.
fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count() + 3);
        cells.max().unwrap_or(0).max(12)
    };
    let widths: Vec<_> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < N {
                let gap = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', gap));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::report::tests::report;

    #[test]
    fn the_table_is_aligned_as_runcs() {
        assert_eq!(
            table(&[]),
            "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"
        );
        let mut long = report("a-rather-long-id", Status::Running);
        long.owner = "root".to_owned();
        assert_eq!(
            table(&[long, report("b", Status::Stopped)]),
            "ID                 PID         STATUS      BUNDLE      CREATED                          OWNER\n\
             a-rather-long-id   4242        running     /b          2001-09-09T01:46:40.000000042Z   root\n\
             b                  0           stopped     /b          2001-09-09T01:46:40.000000042Z   \n"
        );
    }

    #[test]
    fn a_path_cannot_drive_the_terminal() {
        let mut evil = report("x", Status::Running);
        evil.bundle = "/b\x1b[2J\n".to_owned();
        let text = table(&[evil]);
        assert!(text.contains("/b\\x1b[2J\\n"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn json_is_an_array_or_null() {
        assert_eq!(json(&[]).unwrap(), "null\n");
        let text = json(&[report("x", Status::Running)]).unwrap();
        assert!(text.starts_with("[{\"ociVersion\":\"1.2.0\",\"id\":\"x\""));
        assert!(text.ends_with("}]\n"));
    }

    #[test]
    fn an_owner_without_a_name_is_a_number() {
        assert_eq!(owner(0), "root");
        assert_eq!(owner(4_000_000_001), "#4000000001");
    }
}

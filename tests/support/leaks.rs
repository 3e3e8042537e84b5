//! What a runtime could leave behind: cgroups, mounts, processes, state, files.
//!
//! A [`Snapshot`] lists them; two of them must be equal around whatever is said to clean up
//! after itself. The lists hold only what belongs to the test: its pid and mount namespaces
//! and the cgroups with its tag.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Test, compare, view};

#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    cgroups: BTreeSet<String>,
    mounts: BTreeSet<String>,
    processes: BTreeSet<String>,
    state: BTreeSet<String>,
}

impl Snapshot {
    pub fn take(test: &Test) -> Self {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
        Self {
            cgroups: view::cgroups(&test.tag)
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            mounts: table.lines().map(str::to_owned).collect(),
            processes: processes(),
            state: files(&test.runtime.root),
        }
    }

    /// Fail, saying what differs, unless everything is as it was.
    ///
    /// Processes that were just killed may take some milliseconds to go.
    pub fn assert_unchanged(&self, test: &Test, when: &str) {
        let mut now = Self::take(test);
        for _ in 0..100 {
            if now == *self {
                return;
            }
            thread::sleep(Duration::from_millis(5));
            now = Self::take(test);
        }
        let lists = [
            ("cgroup", &self.cgroups, &now.cgroups),
            ("mount", &self.mounts, &now.mounts),
            ("process", &self.processes, &now.processes),
            ("state", &self.state, &now.state),
        ];
        let mut text = String::new();
        for (kind, before, after) in lists {
            text += &compare::sets(kind, before, after);
        }
        panic!("{when}, something is left or gone:\n{text}");
    }
}

/// Every process of the pid namespace but the ones that run the test, with its command line.
fn processes() -> BTreeSet<String> {
    let own = std::process::id();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(pid) = name.parse::<u32>() else {
            continue;
        };
        if pid == 1 || pid == own {
            continue;
        }
        if let Some(command) = command_line(&entry.path()) {
            found.insert(format!("{pid} {command}"));
        }
    }
    found
}

/// None of a zombie, which is only waiting for pid 1 to be scheduled, nor of what is gone.
fn command_line(process: &Path) -> Option<String> {
    // In the midst of an execve there is no command line yet: the old memory is gone by then, for
    // which alone a spawn waits.
    for _ in 0..200 {
        let command = fs::read(process.join("cmdline")).ok()?;
        let state = fs::read_to_string(process.join("stat")).ok()?;
        if state.rsplit(')').next()?.starts_with(" Z") {
            return None;
        }
        if !command.is_empty() {
            return Some(String::from_utf8_lossy(&command).replace('\0', " "));
        }
        thread::sleep(Duration::from_millis(1));
    }
    Some(String::new())
}

/// Every file and directory below `dir`.
pub fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        found.insert(entry.path().display().to_string());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(files(&entry.path()));
        }
    }
    found
}

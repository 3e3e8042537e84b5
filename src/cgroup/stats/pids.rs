//! How many processes there are, and how many there may be.

use serde::Serialize;

use super::files::Files;
use super::is_zero;
use crate::error::Result;

#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Threads, where the controller counts.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// 0 for no limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

/// The same files on v1 and v2. Without the controller, the processes of the v2 cgroup itself are
/// counted.
pub fn read(files: &Files) -> Result<Pids> {
    let Some(current) = files.number("pids.current")? else {
        // A threaded cgroup does not list its processes.
        let lists = ["cgroup.procs", "cgroup.threads"];
        let found = lists.iter().find_map(|name| files.text(name).transpose());
        let text = found.transpose()?.unwrap_or_default();
        return Ok(Pids {
            current: text.lines().count() as u64,
            limit: 0,
        });
    };
    let limit = files.number("pids.max")?;
    Ok(Pids {
        current,
        limit: limit.filter(|limit| *limit != u64::MAX).unwrap_or(0),
    })
}

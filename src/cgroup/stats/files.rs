//! Reading the files of one cgroup directory.

use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::cgroup::file;
use crate::error::{Error, Result};

/// Lists by device or by CPU are the longest: a hundred bytes an entry.
const LIMIT: usize = 4 << 20;

pub struct Files<'a> {
    dir: &'a Path,
}

impl<'a> Files<'a> {
    pub fn new(dir: &'a Path) -> Self {
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The whole file. `None`: there is none, the cgroup has gone, or this kernel keeps no such
    /// account.
    pub fn text(&self, name: &str) -> Result<Option<String>> {
        let path = self.path(name);
        match file::read_limited(&path, LIMIT) {
            Ok(text) => Ok(Some(text)),
            Err(Errno::ENOENT | Errno::ENODEV | Errno::EOPNOTSUPP) => Ok(None),
            Err(errno) => Err(Error::sys("read", errno).with_path(path)),
        }
    }

    /// The one number of a file; `max` is the greatest.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.trim() {
            "max" => Ok(Some(u64::MAX)),
            text => number(text)
                .map(Some)
                .ok_or_else(|| self.malformed(name, text)),
        }
    }

    /// The same, zero where there is none.
    pub fn number_or_zero(&self, name: &str) -> Result<u64> {
        self.number(name).map(Option::unwrap_or_default)
    }

    /// A file of `key number` lines.
    pub fn pairs(&self, name: &str) -> Result<Option<Vec<(String, u64)>>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let pair = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), number(value)?))
        };
        let pairs = text
            .lines()
            .map(|line| pair(line).ok_or_else(|| self.malformed(name, line)));
        pairs.collect::<Result<_>>().map(Some)
    }

    pub fn malformed(&self, name: &str, text: &str) -> Error {
        let start: String = text.chars().take(80).collect();
        Error::new(format!("unexpected text {start:?}")).with_path(self.path(name))
    }
}

/// A number without a sign. Some counters of some kernels go below zero: that is zero.
pub fn number(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if digits.len() < text.len() {
        return Some(0);
    }
    digits.parse().ok()
}

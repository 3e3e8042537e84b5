//! The probe: building it, and reading its report.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

use serde_json::Value;

use super::Output;

/// A parsed report. Fields are reached as those of a JSON value: `report["uid"][1]`.
#[derive(Debug)]
pub struct Probe(pub Value);

impl Deref for Probe {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Probe {
    /// Parse what a successful `run` of `probe report` printed.
    pub fn parse(output: &Output) -> Self {
        output.expect_ok();
        match serde_json::from_str(&output.stdout) {
            Ok(report) => Self(report),
            Err(error) => panic!("the probe's report is not JSON: {error}\n{output}"),
        }
    }

    /// The topmost mount at `target`; the test fails when there is none.
    pub fn mount(&self, target: &str) -> &Value {
        self.find_mount(target).unwrap_or_else(|| {
            let all: Vec<&Value> = self.mounts().map(|mount| &mount["target"]).collect();
            panic!("nothing is mounted at {target}; mounted are {all:?}")
        })
    }

    pub fn find_mount(&self, target: &str) -> Option<&Value> {
        self.mounts()
            .filter(|mount| mount["target"] == target)
            .last()
    }

    fn mounts(&self) -> impl Iterator<Item = &Value> {
        self["mounts"]
            .as_array()
            .expect("a report with mounts")
            .iter()
    }

    /// Options of the topmost mount at `target`, as a set.
    pub fn options(&self, target: &str) -> BTreeSet<String> {
        strings(&self.mount(target)["options"])
            .into_iter()
            .collect()
    }

    /// Options of the file system (the superblock) at `target`.
    pub fn super_options(&self, target: &str) -> BTreeSet<String> {
        strings(&self.mount(target)["super"]).into_iter().collect()
    }

    /// One of the five capability sets as a bit mask.
    pub fn capabilities(&self, set: &str) -> u64 {
        let text = self["capabilities"][set]
            .as_str()
            .expect("a capability set");
        u64::from_str_radix(text, 16).unwrap()
    }
}

/// A JSON list of strings.
pub fn strings(list: &Value) -> Vec<String> {
    let list = list
        .as_array()
        .unwrap_or_else(|| panic!("not a list: {list}"));
    list.iter()
        .map(|item| item.as_str().expect("a string").to_owned())
        .collect()
}

/// The probe's binary, built when it is not there or older than its source.
///
/// ORLOP_TEST_PROBE names a probe that is built already.
pub fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match env::var_os("ORLOP_TEST_PROBE") {
        Some(path) => path.into(),
        None => build(),
    })
}

fn build() -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
    let target_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("probe");
    let binary = target_dir.join("probe");
    if newest(&source) > modified(&binary) {
        let status = Command::new(source.join("build.sh"))
            .arg(&target_dir)
            .stdout(Stdio::null())
            .status()
            .expect("start build.sh of the probe");
        assert!(status.success(), "the probe does not build");
    }
    binary
}

fn modified(path: &Path) -> SystemTime {
    let time = fs::metadata(path).and_then(|meta| meta.modified());
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The newest change of a file below `dir`.
fn newest(dir: &Path) -> SystemTime {
    let entries = fs::read_dir(dir).unwrap().flatten();
    let times = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            newest(&path)
        } else {
            modified(&path)
        }
    });
    times.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

//! One run and what it cost.

use std::fmt;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use crate::bundle::Bundle;
use crate::runtime::Runtime;

/// Milliseconds.
pub struct Sample {
    pub wall: f64,
    pub cpu: f64,
}

/// Median and quartiles.
pub struct Spread {
    pub median: f64,
    lower: f64,
    upper: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (values.len() - 1) as f64;
            let (low, high) = (
                values[place.floor() as usize],
                values[place.ceil() as usize],
            );
            low + (high - low) * place.fract()
        };
        Self {
            median: at(0.5),
            lower: at(0.25),
            upper: at(0.75),
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.2} ({:.2}-{:.2})",
            self.median, self.lower, self.upper
        )
    }
}

/// Whether a runtime can run a bundle here; the error is the last line that it had to say.
pub fn check(runtime: &Runtime, bundle: &Bundle) -> Result<(), String> {
    let mut command = quiet(runtime.run(&bundle.dir, &[]));
    let output = command
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(words.lines().last().unwrap_or("it said nothing").to_owned())
}

/// Run a bundle once.
pub fn once(runtime: &Runtime, bundle: &Bundle) -> Sample {
    let mut command = quiet(runtime.run(&bundle.dir, &[]));
    let cpu = children_cpu();
    let start = Instant::now();
    let status = command.status().unwrap();
    let wall = start.elapsed();
    let cpu = children_cpu() - cpu;
    assert!(status.success(), "{} failed in a later run", runtime.name);
    Sample {
        wall: wall.as_secs_f64() * 1e3,
        cpu,
    }
}

/// CPU time of all children that were waited for so far, and of theirs, in milliseconds.
fn children_cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3
}

/// System calls of the runtime and all that it starts, `true` included; `-` without strace.
pub fn system_calls(runtime: &Runtime, bundle: &Bundle) -> String {
    let summary = bundle.dir.join("strace");
    let strace = ["strace", "-f", "-c", "-o", summary.to_str().unwrap(), "--"];
    match quiet(runtime.run(&bundle.dir, &strace)).status() {
        Ok(status) if status.success() => {}
        _ => return "-".into(),
    }
    // `100.00  0.012345  5  2431  112 total`: the fourth column counts the calls.
    let text = fs::read_to_string(summary).unwrap();
    let total = text.lines().find(|line| line.ends_with(" total"));
    total
        .and_then(|line| line.split_whitespace().nth(3))
        .unwrap_or("-")
        .to_owned()
}

/// The most memory that the runtime's own process ever had resident, in KiB: its VmHWM, read
/// until it ends while its container waits a moment.
pub fn peak_memory(runtime: &Runtime, bundle: &Bundle) -> String {
    let mut child = quiet(runtime.run(&bundle.waiting, &[])).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        // A zombie has no such line.
        peak = line
            .and_then(|line| line.split_whitespace().next())
            .map(str::to_owned)
            .or(peak);
        thread::sleep(Duration::from_millis(2));
    }
    peak.unwrap_or("-".into())
}

fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

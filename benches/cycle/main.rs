//! What a `run` of /bin/true costs, beside the peers: time, CPU, system calls, memory.
//!
//! The runtimes take turns, run by run, with the same bundles, so that whatever else the
//! machine does falls on all of them alike; each round begins with another one. On a host with
//! cgroup v1 this is done once as the host is, and once with cgroup v2 by
//! `integration/v2-view.sh`, where this program starts itself again.
//!
//! A run is timed from before the runtime is spawned until it has been waited for. CPU time is
//! that of all processes that were waited for in between, the container's among them. Both
//! figures hold the cost of `true` itself, and so do the system calls.
//!
//! RUNTIME names the runtime to compare (bin/orlop), ROUNDS the number of rounds (60).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bundle;
mod measure;
mod runtime;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use bundle::Bundle;
use measure::{Sample, Spread};
use runtime::Runtime;

const WARM_UP: usize = 5;
/// Before each run. The kernel takes the network and mount namespaces of the run before apart
/// in the background, which must not be charged to the next runtime.
const REST: Duration = Duration::from_millis(30);
/// Set when this program was started for one view: its name.
const VIEW: &str = "ORLOP_BENCH_VIEW";

/// One line of the table: a runtime with a bundle.
struct Contest<'a> {
    runtime: &'a Runtime,
    bundle: &'a Bundle,
    samples: Vec<Sample>,
}

fn main() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "containers need root: run the bench as root"
    );
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    match env::var(VIEW) {
        Ok(view) => one_view(repository, &view),
        Err(_) if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() => {
            one_view(repository, "v2");
        }
        Err(_) => {
            one_view(repository, "v1");
            if Path::new("/sys/fs/cgroup/unified").exists() {
                in_v2_view(repository);
            }
        }
    }
}

fn in_v2_view(repository: &Path) {
    let status = Command::new(repository.join("integration/v2-view.sh"))
        .arg(env::current_exe().unwrap())
        .env(VIEW, "v2")
        .status()
        .expect("start integration/v2-view.sh");
    assert!(status.success(), "the bench failed in the v2 view");
}

fn one_view(repository: &Path, view: &str) {
    let work = Work::new();
    let rootfs = work.0.join("rootfs");
    bundle::make_rootfs(repository, &rootfs);
    let bundles = ["spec", "docker"].map(|name| Bundle::new(repository, name, &rootfs, &work.0));
    let runtimes = runtime::find_all(repository, &work.0);

    let mut contests = Vec::new();
    for bundle in &bundles {
        for runtime in &runtimes {
            match measure::check(runtime, bundle) {
                Ok(()) => contests.push(Contest {
                    runtime,
                    bundle,
                    samples: Vec::new(),
                }),
                Err(why) => println!(
                    "{view}, {}: {} is left out: {why}",
                    bundle.name, runtime.name
                ),
            }
        }
    }
    let rounds = env::var("ROUNDS").map_or(60, |n| n.parse().expect("ROUNDS is a number"));
    for round in 0..WARM_UP + rounds {
        for turn in 0..contests.len() {
            let next = (round + turn) % contests.len();
            let contest = &mut contests[next];
            thread::sleep(REST);
            let sample = measure::once(contest.runtime, contest.bundle);
            if round >= WARM_UP {
                contest.samples.push(sample);
            }
        }
    }
    print_table(view, rounds, &contests);
}

fn print_table(view: &str, rounds: usize, contests: &[Contest]) {
    println!("\ncgroup {view}: run of /bin/true, {rounds} rounds, medians (and quartiles)\n");
    println!(
        "| bundle | runtime | wall ms | to runc | CPU ms | to runc | system calls | peak KiB |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let spreads = |contest: &Contest| {
        let wall = Spread::of(contest.samples.iter().map(|sample| sample.wall));
        let cpu = Spread::of(contest.samples.iter().map(|sample| sample.cpu));
        (wall, cpu)
    };
    for contest in contests {
        let (wall, cpu) = spreads(contest);
        let runc = contests
            .iter()
            .find(|other| other.runtime.name == "runc" && other.bundle.name == contest.bundle.name)
            .map(spreads);
        let ratio = |mine: &Spread, its: Option<&Spread>| {
            its.map_or("-".into(), |its| format!("{:.3}", mine.median / its.median))
        };
        println!(
            "| {} | {} | {wall} | {} | {cpu} | {} | {} | {} |",
            contest.bundle.name,
            contest.runtime.version,
            ratio(&wall, runc.as_ref().map(|(wall, _)| wall)),
            ratio(&cpu, runc.as_ref().map(|(_, cpu)| cpu)),
            measure::system_calls(contest.runtime, contest.bundle),
            measure::peak_memory(contest.runtime, contest.bundle),
        );
    }
    if contests.iter().any(|contest| contest.runtime.is_helped()) {
        println!("\n{}", runtime::HELP);
    }
}

/// A scratch directory that goes with the value.
struct Work(PathBuf);

impl Work {
    fn new() -> Self {
        let path = env::temp_dir().join(format!("orlop-bench-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

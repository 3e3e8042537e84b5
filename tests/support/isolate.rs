//! Each test in namespaces of its own.
//!
//! The test function that cargo calls starts the test binary again, for this one test, as a
//! child of the probe's `init` in new pid, mount and uts namespaces (a runtime that is broken
//! shall not rename the machine). Inside, the view of cgroups is
//! made, the body runs, and what it left is looked for. Outside, the result is reported and
//! everything with the test's tag is removed, however the test ended: the pid namespace takes
//! all processes with it, the mount namespace all mounts, so only cgroups and one directory
//! stay to be removed.

use std::env;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use super::leaks::Snapshot;
use super::{Runtime, Test, View, probe, view};

/// Set for the second start of the test binary: the tag of the test.
const INSIDE: &str = "ORLOP_TEST_INSIDE";
/// The exit status that says that the test was skipped; the reason is on stderr.
const SKIPPED: i32 = 77;
const SKIP_MARK: &str = "SKIP:";
/// Seconds after which a test has hung, if ORLOP_TEST_SECONDS does not say otherwise.
const LIMIT: &str = "90";

/// Run `body` in `view`. `name` is the path of the test as `module_path!` has it.
pub fn run(view: View, name: &str, body: fn(&Test)) {
    match env::var(INSIDE) {
        Ok(tag) => inside(view, tag, body),
        Err(_) => outside(view, name),
    }
}

/// End the inner process: the test cannot be run here.
pub fn skip(reason: &str) -> ! {
    say(&format!("{SKIP_MARK} {reason}"));
    process::exit(SKIPPED)
}

/// Write to stderr past the test harness, which would swallow it when the test passes.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn outside(view: View, name: &str) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (_, test) = name.split_once("::").unwrap();
    if !nix::unistd::geteuid().is_root() {
        return say(&format!("{SKIP_MARK} {test}: needs root"));
    }
    if let Some(reason) = view.missing() {
        return say(&format!("{SKIP_MARK} {test}: {reason}"));
    }
    let tag = format!(
        "orlop-test-{}-{}",
        process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let dir = dir_of(&tag);
    fs::create_dir(&dir).unwrap();
    let limit = env::var("ORLOP_TEST_SECONDS").unwrap_or_else(|_| LIMIT.to_owned());
    let result = Command::new("timeout")
        .args(["--foreground", "--kill-after=5", &limit])
        .args([
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args([
            probe::path(),
            Path::new("init"),
            &env::current_exe().unwrap(),
        ])
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, &tag)
        .env("RUST_BACKTRACE", "0")
        .env("ORLOP_TEST_PROBE", probe::path())
        .stdin(Stdio::null())
        .output()
        .expect("start timeout(1) and unshare(1)");
    let left = sweep(&tag);
    fs::remove_dir(&dir).unwrap();
    let stderr = String::from_utf8_lossy(&result.stderr);
    match result.status.code() {
        Some(0) => assert!(
            left.is_empty(),
            "cgroups are left after the test: {left:#?}"
        ),
        Some(SKIPPED) => {
            let reason = stderr
                .lines()
                .rev()
                .find_map(|line| line.strip_prefix(SKIP_MARK));
            say(&format!(
                "{SKIP_MARK} {test}:{}",
                reason.unwrap_or(" no reason given")
            ));
        }
        Some(124) => panic!("no end after {limit} s\n{stderr}"),
        _ => panic!("{}\n{stderr}", result.status),
    }
}

fn dir_of(tag: &str) -> PathBuf {
    env::temp_dir().join(tag)
}

fn inside(view: View, tag: String, body: fn(&Test)) {
    let dir = dir_of(&tag);
    let tmpfs = Some("tmpfs");
    mount(tmpfs, &dir, tmpfs, MsFlags::empty(), Some("mode=755")).expect("mount a tmpfs");
    view.enter(&dir);
    for parent in parents(&tag) {
        fs::create_dir(&parent).unwrap();
    }
    let root = dir.join("state");
    fs::create_dir(&root).unwrap();
    let test = Test::new(view, Runtime::under_test(&dir), dir, tag);
    let before = Snapshot::take(&test);
    let _thaw = Thaw(test.tag.clone());
    body(&test);
    before.assert_unchanged(&test, "after the test");
}

/// However a test ends, the end of its pid namespace must not have to wait for frozen processes.
struct Thaw(String);

impl Drop for Thaw {
    fn drop(&mut self) {
        view::thaw(&self.0);
    }
}

/// The cgroup parent of a test, in each hierarchy in sight.
fn parents(tag: &str) -> Vec<PathBuf> {
    view::hierarchies()
        .into_iter()
        .map(|(_, point)| point.join(tag))
        .collect()
}

/// Remove the cgroups of a test; says which there were beside the parents.
fn sweep(tag: &str) -> Vec<PathBuf> {
    let known = parents(tag);
    let mut left = view::cgroups(tag);
    left.retain(|path| !known.contains(path));
    view::thaw(tag);
    for _ in 0..500 {
        let mut all = view::cgroups(tag);
        all.retain(|path| path.exists());
        if all.is_empty() {
            break;
        }
        for path in all.iter().rev() {
            let _ = fs::remove_dir(path);
        }
        thread::sleep(Duration::from_millis(2));
    }
    left
}

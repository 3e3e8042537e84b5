//! The runtimes that take part, and how each is called.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// What is said beside the figures of a runtime that had to be helped.
pub const HELP: &str = "crun has no CAP_SYS_RESOURCE here and was run with a preloaded \
    setrlimit() that does nothing for RLIMIT_MEMLOCK (benches/fake_memlock.c).";

pub struct Runtime {
    /// `runc` for every build of it.
    pub name: String,
    /// Name and version, for the table.
    pub version: String,
    program: PathBuf,
    /// Its state directory.
    root: PathBuf,
    /// A library to load into it.
    preload: Option<PathBuf>,
}

impl Runtime {
    fn new(program: &Path, work: &Path) -> Option<Self> {
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let mut words = text.lines().next()?.split_whitespace();
        let name = words.next()?.to_owned();
        let version = words.next_back().unwrap_or_default();
        Some(Self {
            version: format!("{name} {version}"),
            root: work.join(format!("state-{name}")),
            name,
            program: program.to_owned(),
            preload: None,
        })
    }

    pub fn is_helped(&self) -> bool {
        self.preload.is_some()
    }

    /// `run` of a bundle as a container with a new id; `before` is a command to run it by.
    pub fn run(&self, bundle: &Path, before: &[&str]) -> Command {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!(
            "orlop-bench-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let mut words: Vec<OsString> = before.iter().map(OsString::from).collect();
        words.push(self.program.clone().into());
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("--root")
            .arg(&self.root)
            .arg("run")
            .arg("--bundle")
            .arg(bundle)
            .arg(id);
        if let Some(library) = &self.preload {
            command.env("LD_PRELOAD", library);
        }
        command
    }
}

/// The runtime under test, runc and crun, as far as they are there.
pub fn find_all(repository: &Path, work: &Path) -> Vec<Runtime> {
    let under_test = env::var_os("RUNTIME").map_or(repository.join("bin/orlop"), PathBuf::from);
    let mut runtimes: Vec<Runtime> = Vec::new();
    for program in [under_test.as_path(), Path::new("runc"), Path::new("crun")] {
        match Runtime::new(program, work) {
            // RUNTIME=runc, say.
            Some(found) if runtimes.iter().any(|known| known.name == found.name) => {}
            Some(found) => runtimes.push(found),
            None => println!("{} is left out: it is not there", program.display()),
        }
    }
    if !may_raise_limits() {
        for runtime in runtimes.iter_mut().filter(|runtime| runtime.name == "crun") {
            runtime.preload = Some(compile_preload(repository, work));
        }
    }
    runtimes
}

/// Whether CAP_SYS_RESOURCE (bit 24) is among the effective capabilities.
fn may_raise_limits() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .unwrap();
    u64::from_str_radix(effective.trim(), 16).unwrap() >> 24 & 1 == 1
}

fn compile_preload(repository: &Path, work: &Path) -> PathBuf {
    let library = work.join("fake_memlock.so");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-o"])
        .arg(&library)
        .arg(repository.join("benches/fake_memlock.c"))
        .status()
        .expect("start cc");
    assert!(status.success(), "benches/fake_memlock.c does not compile");
    library
}

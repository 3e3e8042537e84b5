//! The runtime under test, and what a call of it gave.

use std::env;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// The program that plays the container runtime.
pub struct Runtime {
    pub program: PathBuf,
    /// First word of `--version`: `orlop`, or the name of a peer.
    pub name: String,
    /// A peer is being tested, so as to test the tests.
    pub is_reference: bool,
    /// State directory, passed as `--root`.
    pub root: PathBuf,
    outputs: PathBuf,
}

/// What one call gave. Shown whole when a test fails on it.
pub struct Output {
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Where the container goes on writing when it outlives the call.
    pub stdout_path: PathBuf,
}

impl Runtime {
    /// The program that ORLOP_TEST_RUNTIME names, or the one that cargo built.
    pub fn under_test(dir: &Path) -> Self {
        let program =
            env::var_os("ORLOP_TEST_RUNTIME").unwrap_or_else(|| env!("CARGO_BIN_EXE_orlop").into());
        Self::new(Path::new(&program), dir, "state")
    }

    /// Another runtime, with a state directory `root` below `dir`.
    pub fn new(program: &Path, dir: &Path, root: &str) -> Self {
        let program = find(program);
        let version = Command::new(&program).arg("--version").output();
        let version = version.unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let text = String::from_utf8_lossy(&version.stdout).into_owned();
        let name = text.split_whitespace().next().unwrap_or("orlop").to_owned();
        let root = dir.join(root);
        let outputs = dir.join("outputs");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(&outputs).unwrap();
        Self {
            is_reference: name != "orlop",
            program,
            name,
            root,
            outputs,
        }
    }

    /// The command line up to the verb; in an environment with PATH alone, as engines do it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default());
        command.arg("--root").arg(&self.root).args(args);
        command
    }

    /// Call the runtime and wait for its end.
    pub fn call(&self, args: &[&str]) -> Output {
        self.finish(self.command(args))
    }

    /// Run a prepared command to its end, its standard streams being files: a container that
    /// outlives the call inherits them, so that pipes would never come to their end.
    pub fn finish(&self, mut command: Command) -> Output {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = |stream: &str| self.outputs.join(format!("{n}.{stream}"));
        let (stdout_path, stderr_path) = (path("stdout"), path("stderr"));
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout_path).unwrap());
        command.stderr(File::create(&stderr_path).unwrap());
        let status = command
            .status()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Output {
            command: format!("{command:?}"),
            status,
            stdout: read(&stdout_path),
            stderr: read(&stderr_path),
            stdout_path,
        }
    }
}

/// A program by its path, or by its name in PATH.
fn find(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return fs::canonicalize(program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("{} is not in PATH", program.display()))
}

impl Output {
    /// The exit status, 128 and the signal's number when a signal ended the runtime itself.
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    #[track_caller]
    pub fn expect_ok(&self) -> &Self {
        self.expect_code(0)
    }

    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert!(self.code() == code, "expected exit status {code}\n{self}");
        self
    }

    /// Exit status 1 and these words in the message.
    #[track_caller]
    pub fn expect_error(&self, words: &str) -> &Self {
        self.expect_code(1).expect_words(words)
    }

    #[track_caller]
    pub fn expect_words(&self, words: &str) -> &Self {
        // The text log format puts a backslash before each quote.
        let plain = self.stderr.replace("\\\"", "\"");
        assert!(plain.contains(words), "expected on stderr: {words}\n{self}");
        self
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            command,
            status,
            stdout,
            stderr,
            ..
        } = self;
        write!(
            f,
            "{command}\n{status}\n-- stdout --\n{stdout}\n-- stderr --\n{stderr}"
        )
    }
}

//! The runtime under test, and what a call of it gave.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::iter;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The program that plays the container runtime.
pub struct Runtime {
    pub program: PathBuf,
    /// First word of `--version`: `orlop`, or the name of a peer.
    pub name: String,
    /// A peer is being tested, so as to test the tests.
    pub is_reference: bool,
    /// State directory, passed as `--root`.
    pub root: PathBuf,
    /// What executes the program: words before it on the command line.
    before: Vec<OsString>,
    /// Flags before the verb, beside `--root`.
    global: Vec<String>,
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
            before: Vec::new(),
            global: Vec::new(),
            outputs,
        }
    }

    /// The same runtime, executed by what these words name.
    pub fn behind(&self, words: &[&OsStr]) -> Self {
        let words = words.iter().map(|&word| word.to_owned());
        let before = words.chain(self.before.iter().cloned()).collect();
        Self {
            program: self.program.clone(),
            name: self.name.clone(),
            root: self.root.clone(),
            outputs: self.outputs.clone(),
            global: self.global.clone(),
            before,
            ..*self
        }
    }

    /// The same runtime with these flags before the verb.
    pub fn with_flags(&self, flags: &[&str]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned());
        let global = self.global.iter().cloned().chain(flags).collect();
        Self {
            global,
            ..self.behind(&[])
        }
    }

    /// The same runtime on a kernel without these system calls, separated by commas.
    pub fn without(&self, calls: &str) -> Self {
        self.behind(&[
            super::probe::path().as_ref(),
            "without".as_ref(),
            calls.as_ref(),
        ])
    }

    /// The binary itself.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The command line up to the verb; in an environment with PATH alone, as engines do it.
    pub fn command(&self, args: &[&str]) -> Command {
        let program = self.program.as_os_str();
        let mut words = self.before.iter().map(OsString::as_os_str).chain([program]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .env_clear()
            .env("PATH", env::var_os("PATH").unwrap_or_default());
        command.arg("--root").arg(&self.root);
        command.args(&self.global).args(args);
        command
    }

    /// Call the runtime and wait for its end.
    pub fn call(&self, args: &[&str]) -> Output {
        self.finish(self.command(args))
    }

    /// Run a prepared command to its end.
    pub fn finish(&self, command: Command) -> Output {
        self.spawn(command).wait()
    }

    /// Start a prepared command, its standard streams being files: a container that outlives
    /// the call inherits them, so that pipes would never come to their end.
    pub fn spawn(&self, mut command: Command) -> Running {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = |stream: &str| self.outputs.join(format!("{n}.{stream}"));
        let (stdout_path, stderr_path) = (path("stdout"), path("stderr"));
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout_path).unwrap());
        command.stderr(File::create(&stderr_path).unwrap());
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        Running {
            command: shown(&command),
            child,
            stdout_path,
            stderr_path,
        }
    }
}

/// A call that has not come to its end.
pub struct Running {
    command: String,
    child: Child,
    stdout_path: PathBuf,
    stderr_path: PathBuf,
}

impl Running {
    /// What has been printed so far.
    pub fn stdout(&self) -> String {
        text_of(&self.stdout_path)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Send a signal to the runtime.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    pub fn wait(mut self) -> Output {
        let status = self.child.wait().unwrap();
        Output {
            command: mem::take(&mut self.command),
            status,
            stdout: text_of(&self.stdout_path),
            stderr: text_of(&self.stderr_path),
            stdout_path: self.stdout_path.clone(),
        }
    }
}

impl Drop for Running {
    /// A test that fails must not wait for a call that goes on.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text_of(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// The command line as a person would type it.
fn shown(command: &Command) -> String {
    let words = iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect::<Vec<_>>()
        .join(" ")
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

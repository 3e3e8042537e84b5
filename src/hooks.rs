//! Hooks: programs of the config that run at fixed points of a container's life.
//!
//! Each gets the container's state as JSON on its stdin, has its output kept for the error
//! message, and is killed when its time is up. Why a program could not be executed comes back
//! on a pipe that execve closes, so that it is not taken for the hook's own words. The first
//! failure ends the row. Which failure stops what is for the caller to say.

use std::ffi::CString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, pipe2, read, write};

use crate::error::{Error, Result, Step, errno_text};
use crate::plan::Hook;
use crate::sys::wait::{self, End};
use crate::sys::{clone, exec, pidfd, process};

/// What is kept of each output stream; the rest is read and thrown away.
const MAX_OUTPUT: usize = 16 << 10;

/// So many reads empty the largest pipe that an unprivileged user can make (1 MiB).
const PIPE_READS: usize = 256;

/// In the hook's process, until execve: where the reason goes why there was none.
const WHY: RawFd = 3;

/// Run `hooks` in order. `kind` is the config's name for the row (`createRuntime`), `state`
/// the JSON text. `enter` runs in each hook's process right before execve.
pub fn run(kind: &str, hooks: &[Hook], state: &str, enter: &dyn Fn() -> Result<()>) -> Result<()> {
    (0..hooks.len()).try_for_each(|index| run_nth(kind, hooks, index, state, enter))
}

/// As [`run`], one hook of the row.
pub fn run_nth(
    kind: &str,
    hooks: &[Hook],
    index: usize,
    state: &str,
    enter: &dyn Fn() -> Result<()>,
) -> Result<()> {
    let Some(hook) = hooks.get(index) else {
        return Ok(());
    };
    log::debug!("running {kind} hook #{index}: {}", hook.path.display());
    run_one(hook, state, enter).map_err(|error| {
        error
            .within(&format!("error running {kind} hook #{index}"))
            .with_field(format!("/hooks/{kind}/{index}"))
    })
}

/// The same hooks; those without an environment have `env`, and not the runtime's.
pub fn with_environment(hooks: &[Hook], env: &[String]) -> Vec<Hook> {
    let filled = |hook: &Hook| Hook {
        env: hook.env.clone().or_else(|| Some(env.to_vec())),
        ..hook.clone()
    };
    hooks.iter().map(filled).collect()
}

/// An `enter` for the hooks of the runtime's namespaces: they run in the bundle's directory.
pub fn in_bundle(dir: &Path) -> impl Fn() -> Result<()> {
    move || chdir(dir).step_on("enter the bundle", dir)
}

fn run_one(hook: &Hook, state: &str, enter: &dyn Fn() -> Result<()>) -> Result<()> {
    let program = Program::new(hook)?;
    let (stdin, to_stdin) = pipe()?;
    let (from_stdout, stdout) = pipe()?;
    let (from_stderr, stderr) = pipe()?;
    let (why, to_why) = pipe()?;
    let (pid, process) = clone::clone3(0, None, || {
        let fds = [
            stdin.as_fd(),
            stdout.as_fd(),
            stderr.as_fd(),
            to_why.as_fd(),
        ];
        let error = program.exec(fds, enter);
        process::write_to(WHY, error.to_string().as_bytes());
        process::exit_now(127)
    })
    .step("clone the hook's process")?;
    drop((stdin, stdout, stderr, to_why));
    // Until execve, which closes the other end.
    let mut reason = String::new();
    let read = std::fs::File::from(why).read_to_string(&mut reason);
    if read.is_err() || !reason.is_empty() {
        wait::reap(pid).step("wait for the hook")?;
        return Err(Error::new(reason));
    }
    let mut io = Io {
        input: state.as_bytes(),
        stdin: Some(to_stdin),
        outputs: [Output::new(from_stdout), Output::new(from_stderr)],
    };
    // A timeout beyond what the clock can count to is none.
    let deadline = hook
        .timeout
        .and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
    let in_time = io.pump_until_end(process.as_fd(), deadline)?;
    if !in_time {
        let _ = pidfd::send_signal(process.as_fd(), libc::SIGKILL);
    }
    let what = match wait::reap(pid).step("wait for the hook")? {
        _ if !in_time => {
            let seconds = hook.timeout.unwrap_or_default();
            return Err(Error::new(format!(
                "hook ran past specified timeout of {seconds}.0s"
            )));
        }
        End::Exited(0) => return Ok(()),
        End::Exited(code) => format!("exit status {code}"),
        End::Killed(signal) => format!("signal: {}", process::signal_text(signal.into())),
    };
    let [stdout, stderr] = &io.outputs;
    Err(Error::new(format!(
        "{what}, stdout: {}, stderr: {}",
        stdout.text(),
        stderr.text()
    )))
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    pipe2(OFlag::O_CLOEXEC).step("make a pipe")
}

/// The strings for execve, made before the clone.
struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    fn new(hook: &Hook) -> Result<Self> {
        let strings = || -> nix::Result<Self> {
            Ok(Self {
                path: exec::string(hook.path.as_os_str().as_bytes())?,
                args: exec::strings(hook.args.iter().map(String::as_str))?,
                env: match &hook.env {
                    Some(env) => exec::strings(env.iter().map(String::as_str))?,
                    // No `env` at all: the hook inherits the runtime's.
                    None => exec::strings(exec::own_environment())?,
                },
            })
        };
        strings().step("prepare the hook")
    }

    /// In the child; gives the reason why it came back.
    fn exec(&self, fds: [BorrowedFd; 4], enter: &dyn Fn() -> Result<()>) -> Error {
        let [stdin, stdout, stderr, why] = fds;
        let done = dup2_stdin(stdin)
            .and_then(|()| dup2_stdout(stdout))
            .and_then(|()| dup2_stderr(stderr))
            .and_then(|()| process::duplicate_to(why, WHY))
            .and_then(|()| process::close_range(WHY + 1, i32::MAX))
            .step("hand over stdio");
        process::reset_signals();
        match done.and_then(|()| enter()) {
            Err(error) => error,
            Ok(()) => match exec::execve(&self.path, &self.args, &self.env) {
                Err(errno) => Error::new(format!(
                    "fork/exec {}: {}",
                    self.path.to_string_lossy(),
                    errno_text(errno)
                )),
                Ok(never) => match never {},
            },
        }
    }
}

struct Output {
    fd: Option<OwnedFd>,
    kept: Vec<u8>,
}

impl Output {
    fn new(fd: OwnedFd) -> Self {
        Self {
            fd: Some(fd),
            kept: Vec::new(),
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.kept)
            .trim_end()
            .replace('\n', "\\n")
    }

    fn take_what_is_there(&mut self) {
        let mut buffer = [0; 4096];
        let Some(fd) = &self.fd else { return };
        match read(fd, &mut buffer) {
            Err(Errno::EINTR) => {}
            Ok(0) | Err(_) => self.fd = None,
            Ok(length) => {
                let room = MAX_OUTPUT.saturating_sub(self.kept.len());
                self.kept.extend(buffer.iter().take(length.min(room)));
            }
        }
    }
}

/// Both directions at once: a hook that writes much before it reads must not stall us.
struct Io<'a> {
    input: &'a [u8],
    stdin: Option<OwnedFd>,
    outputs: [Output; 2],
}

impl Io<'_> {
    /// Until the hook has ended; false when its time was up before. What a grandchild still
    /// holds open afterwards is not waited for.
    fn pump_until_end(&mut self, process: BorrowedFd, deadline: Option<Instant>) -> Result<bool> {
        if let Some(stdin) = &self.stdin {
            use nix::fcntl::{FcntlArg, fcntl};
            fcntl(stdin, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).step("set up a pipe")?;
        }
        loop {
            self.feed();
            let ended = self.wait(process, deadline)?;
            match ended {
                None => return Ok(false),
                Some(false) => {}
                Some(true) => {
                    // What it wrote last is in the pipes now; not without end, as somebody it
                    // left behind may go on writing.
                    for output in &mut self.outputs {
                        for _ in 0..PIPE_READS {
                            if output.fd.as_ref().is_some_and(|fd| readable(fd.as_fd())) {
                                output.take_what_is_there();
                            }
                        }
                    }
                    return Ok(true);
                }
            }
        }
    }

    fn feed(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        while !self.input.is_empty() {
            match write(stdin, self.input) {
                Ok(length) => self.input = self.input.get(length..).unwrap_or_default(),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                // It does not read its stdin, which is its right.
                Err(_) => break,
            }
        }
        self.stdin = None;
    }

    /// Whether the hook has ended; `None` at the deadline.
    fn wait(&mut self, process: BorrowedFd, deadline: Option<Instant>) -> Result<Option<bool>> {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(None);
                }
                PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = vec![PollFd::new(process, PollFlags::POLLIN)];
        let mut outputs: Vec<usize> = Vec::new();
        for (index, output) in self.outputs.iter().enumerate() {
            if let Some(fd) = &output.fd {
                fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLIN));
                outputs.push(index);
            }
        }
        if let Some(stdin) = &self.stdin {
            fds.push(PollFd::new(stdin.as_fd(), PollFlags::POLLOUT));
        }
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => return Ok(Some(false)),
            other => other.step("wait for the hook")?,
        };
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for (index, ready) in outputs.into_iter().zip(ready.iter().skip(1)) {
            if *ready {
                self.outputs[index].take_what_is_there();
            }
        }
        Ok(Some(ready.first().copied().unwrap_or(false)))
    }
}

fn readable(fd: BorrowedFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<u64>) -> Hook {
        Hook {
            path: "/bin/sh".into(),
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: Some(vec!["PATH=/bin:/usr/bin".to_owned()]),
            timeout,
        }
    }

    fn run_script(script: &str, timeout: Option<u64>) -> Result<()> {
        run(
            "prestart",
            &[hook(script, timeout)],
            "{\"id\":\"x\"}",
            &|| Ok(()),
        )
    }

    #[test]
    fn a_hook_reads_the_state() {
        run_script("test \"$(cat)\" = '{\"id\":\"x\"}'", None).unwrap();
    }

    #[test]
    fn a_failure_shows_status_and_output() {
        let error = run_script("echo out; echo err >&2; exit 3", None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error running prestart hook #0: exit status 3, stdout: out, stderr: err \
             (config.json: /hooks/prestart/0)"
        );
        let error = run_script("kill -SYS $$", None).unwrap_err();
        assert!(
            error.to_string().contains("signal: bad system call"),
            "{error}"
        );
    }

    #[test]
    fn a_hook_that_never_ends_is_killed() {
        let error = run_script("sleep 60", Some(1)).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("hook ran past specified timeout of 1.0s"),
            "{error}"
        );
    }

    #[test]
    fn a_timeout_of_ages_is_none() {
        run_script("true", Some(i64::MAX.unsigned_abs())).unwrap();
    }

    #[test]
    fn what_a_hook_leaves_behind_is_not_waited_for() {
        let start = Instant::now();
        run_script("cat /dev/zero & exit 0", Some(20)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn more_output_and_input_than_a_pipe_holds_does_not_stall() {
        let state = "x".repeat(1 << 20);
        let hook = hook(
            "head -c 1000000 /dev/zero; test $(wc -c) = 1048576",
            Some(20),
        );
        run("prestart", &[hook], &state, &|| Ok(())).unwrap();
    }

    #[test]
    fn a_missing_program_says_so() {
        let hook = Hook {
            path: "/nope".into(),
            ..hook("", None)
        };
        let error = run("poststop", &[hook], "", &|| Ok(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            "error running poststop hook #0: fork/exec /nope: no such file or directory \
             (config.json: /hooks/poststop/0)"
        );
    }

    #[test]
    fn a_hook_may_give_127_itself() {
        let error = run_script("echo why >&2; exit 127", None).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("exit status 127, stdout: , stderr: why"),
            "{error}"
        );
    }

    #[test]
    fn what_keeps_a_hook_from_its_place_is_told() {
        let enter = || Err(Error::new("no such place"));
        let error = run("prestart", &[hook("true", None)], "", &enter).unwrap_err();
        assert!(
            error.to_string().contains("hook #0: no such place"),
            "{error}"
        );
    }

    #[test]
    fn a_hook_inherits_what_it_has_no_environment_for() {
        let bare = Hook {
            env: None,
            ..hook("", None)
        };
        let filled = with_environment(&[bare, hook("", None)], &["A=1".to_owned()]);
        assert_eq!(filled[0].env, Some(vec!["A=1".to_owned()]));
        assert_eq!(filled[1].env, hook("", None).env);
    }
}

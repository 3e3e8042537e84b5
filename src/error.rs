//! The one error type of the runtime.
//!
//! An error is one line for a person: what was being done, on what, why the kernel said no,
//! and what to try. The child process sends the same value to its parent as a frame, so it
//! is serialisable and owns all its text.
//!
//! Some texts are part of the command-line contract, because engines match them. Those have
//! constructors of their own below, so that each text is written once.

use std::fmt;
use std::path::Path;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in a form that callers can match on where they need to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Anything that no caller needs to tell from the rest.
    Other,
    /// config.json, a flag or another input is wrong; nothing has been touched yet.
    Invalid,
    /// There is no container with this id.
    NoContainer,
    /// The container is not in the state that the verb needs.
    WrongState,
    /// The user's program cannot be found or executed.
    NoProgram,
    /// A process of ours ended without a word.
    Died,
}

/// What the step acted on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// A field of config.json, as a JSON pointer (RFC 6901).
    Field(String),
    /// A file or directory, as the runtime was told it.
    Path(String),
}

/// One failure. Built with [`Error::new`] and the `with_*` methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub kind: Kind,
    /// What was being done, or the words that callers match.
    pub step: String,
    pub target: Option<Target>,
    /// The raw errno of the system call that failed.
    pub errno: Option<i32>,
    /// What to try, where we know.
    pub hint: Option<String>,
}

impl Error {
    /// A failure of no special kind; `step` says what was being done.
    pub fn new(step: impl Into<String>) -> Self {
        Self {
            kind: Kind::Other,
            step: step.into(),
            target: None,
            errno: None,
            hint: None,
        }
    }

    /// A field of config.json with a wrong value; `pointer` is its JSON pointer.
    pub fn field(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            kind: Kind::Invalid,
            target: Some(Target::Field(pointer.into())),
            ..Self::new(problem)
        }
    }

    /// A wrong flag, argument or input file.
    pub fn invalid(problem: impl Into<String>) -> Self {
        Self {
            kind: Kind::Invalid,
            ..Self::new(problem)
        }
    }

    /// A system call that failed while doing `step`.
    pub fn sys(step: impl Into<String>, errno: Errno) -> Self {
        Self::new(step).with_errno(errno)
    }

    pub fn with_errno(mut self, errno: Errno) -> Self {
        self.errno = Some(errno as i32);
        self
    }

    pub fn with_path(mut self, path: impl AsRef<Path>) -> Self {
        self.target = Some(Target::Path(path.as_ref().display().to_string()));
        self
    }

    /// Name the field of config.json that asked for the step. A path that the step acted on
    /// stays in the message.
    pub fn with_field(mut self, pointer: impl Into<String>) -> Self {
        if let Some(Target::Path(path)) = self.target.take() {
            self.step = format!("{}: {path}", self.step);
        }
        self.target = Some(Target::Field(pointer.into()));
        self
    }

    /// The field is one of `file`, not of config.json.
    pub fn in_file(mut self, file: impl AsRef<Path>) -> Self {
        if let Some(Target::Field(pointer)) = self.target.take_if(|t| matches!(t, Target::Field(_)))
        {
            let file = file.as_ref().display();
            let place = if pointer.is_empty() { "" } else { ": " };
            self.step = format!("{} ({file}{place}{pointer})", self.step);
        }
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn with_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Say in front of the message what the failed step was part of.
    pub fn within(mut self, outer: &str) -> Self {
        self.step = format!("{outer}: {}", self.step);
        self
    }

    /// It was the process of the container, or of exec, that could not be started.
    pub fn start_failed(self) -> Self {
        self.within("unable to start container process")
    }

    /// The errno of the failed system call, if one failed.
    pub fn errno(&self) -> Option<Errno> {
        self.errno.map(Errno::from_raw)
    }

    /// `state`, `start` and the like on an id that is not there.
    pub fn no_container() -> Self {
        Self::new("container does not exist").with_kind(Kind::NoContainer)
    }

    /// `kill`, `pause` and the like on a container whose init is gone.
    pub fn not_running() -> Self {
        Self::new("container not running").with_kind(Kind::WrongState)
    }

    /// `create` with an id that is taken.
    pub fn id_taken() -> Self {
        Self::new("container with given ID already exists").with_kind(Kind::Invalid)
    }
}

/// The text of an errno in the small letters that callers expect, as Go and glibc's `strerror`
/// have it. nix has words of its own for some.
pub fn errno_text(errno: Errno) -> String {
    let text = match errno {
        Errno::EAGAIN => "resource temporarily unavailable",
        Errno::EBADF => "bad file descriptor",
        Errno::EBADMSG => "bad message",
        Errno::EDEADLK => "resource deadlock avoided",
        Errno::EDOM => "numerical argument out of domain",
        Errno::EDQUOT => "disk quota exceeded",
        Errno::EILSEQ => "invalid or incomplete multibyte or wide character",
        Errno::EIO => "input/output error",
        Errno::ELOOP => "too many levels of symbolic links",
        Errno::ENETRESET => "network dropped connection on reset",
        Errno::ENFILE => "too many open files in system",
        Errno::ENOLCK => "no locks available",
        Errno::ENOMEM => "cannot allocate memory",
        Errno::ENOTTY => "inappropriate ioctl for device",
        Errno::EOPNOTSUPP => "operation not supported",
        Errno::ERANGE => "numerical result out of range",
        Errno::ESTALE => "stale file handle",
        Errno::EXDEV => "invalid cross-device link",
        other => other.desc(),
    };
    let mut chars = text.chars();
    match (chars.next(), chars.next()) {
        // "RFS specific error" and the like keep their capitals.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.step)?;
        if let Some(Target::Path(path)) = &self.target {
            write!(f, ": {path}")?;
        }
        if let Some(errno) = self.errno() {
            write!(f, ": {}", errno_text(errno))?;
        }
        match &self.target {
            // The empty pointer is the whole document, of which the step speaks.
            Some(Target::Field(pointer)) if !pointer.is_empty() => {
                write!(f, " (config.json: {pointer})")?;
            }
            _ => {}
        }
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// `.step("doing what")?` on the results of system calls.
pub trait Step<T> {
    /// Turn an errno into an [`Error`] that says what was being done.
    fn step(self, step: impl Into<String>) -> Result<T>;
    /// The same, with the path that the step acted on.
    fn step_on(self, step: impl Into<String>, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> Step<T> for std::result::Result<T, Errno> {
    fn step(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|errno| Error::sys(step, errno))
    }

    fn step_on(self, step: impl Into<String>, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|errno| Error::sys(step, errno).with_path(path))
    }
}

impl<T> Step<T> for std::io::Result<T> {
    fn step(self, step: impl Into<String>) -> Result<T> {
        self.map_err(|error| io_error(step.into(), &error))
    }

    fn step_on(self, step: impl Into<String>, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|error| io_error(step.into(), &error).with_path(path))
    }
}

fn io_error(step: String, error: &std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => Error::sys(step, Errno::from_raw(errno)),
        None => Error::new(format!("{step}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_readable_line() {
        let error = Error::sys("open the rootfs", Errno::ENOENT)
            .with_path("/b/rootfs")
            .with_hint("is the bundle complete?");
        assert_eq!(
            error.to_string(),
            "open the rootfs: /b/rootfs: no such file or directory (is the bundle complete?)"
        );
    }

    #[test]
    fn an_errno_has_the_words_of_strerror() {
        // Those of the C library here, where it is the one that callers know.
        if cfg!(target_env = "gnu") {
            for number in 1..=133 {
                let errno = Errno::from_raw(number);
                let known = std::io::Error::from_raw_os_error(number).to_string();
                let known = known.split(" (os error").next().unwrap().to_lowercase();
                if errno != Errno::UnknownErrno {
                    assert_eq!(errno_text(errno).to_lowercase(), known);
                }
            }
        }
        assert_eq!(errno_text(Errno::ERANGE), "numerical result out of range");
        assert_eq!(errno_text(Errno::ENOENT), "no such file or directory");
    }

    #[test]
    fn a_wrong_field_is_named_by_its_pointer() {
        let error = Error::field("/process/cwd", "Cwd must be an absolute path");
        assert_eq!(
            error.to_string(),
            "Cwd must be an absolute path (config.json: /process/cwd)"
        );
        assert_eq!(error.kind, Kind::Invalid);
        assert_eq!(
            error.in_file("/p.json").to_string(),
            "Cwd must be an absolute path (/p.json: /process/cwd)"
        );
    }

    #[test]
    fn a_step_keeps_its_path_beside_the_field_that_asked_for_it() {
        let error = Error::sys("open a namespace", Errno::ENOENT)
            .with_path("/run/ns")
            .with_field("/linux/namespaces/0/path");
        assert_eq!(
            error.to_string(),
            "open a namespace: /run/ns: no such file or directory \
             (config.json: /linux/namespaces/0/path)"
        );
    }
}

//! The user's program: found before the container counts as created, executed after start.

use std::ffi::CString;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::{Mode, SFlag, stat};
use nix::unistd::{AccessFlags, faccessat};

use super::rootfs::is;
use crate::error::{Error, Kind, Result, Step, errno_text};
use crate::plan::Process;
use crate::sys::exec;

/// More than any real /etc/passwd; the file is the image's.
const MAX_PASSWD: u64 = 4 << 20;

/// All that execve needs.
#[derive(Debug)]
pub struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// Find it as the container's user, from the container's working directory; `env` is the
    /// [`environment`].
    pub fn find(process: &Process, env: &[String]) -> Result<Self> {
        let name = process
            .args
            .first()
            .ok_or_else(|| Error::invalid("args must not be empty"))?;
        let path = find_executable(name, &process.env)?;
        let strings = || -> nix::Result<Self> {
            Ok(Self {
                path: exec::string(path.as_os_str().as_bytes())?,
                args: exec::strings(process.args.iter().map(String::as_str))?,
                env: exec::strings(env.iter().map(String::as_str))?,
            })
        };
        strings().step("prepare the arguments of the program")
    }

    /// The environment that it gets.
    pub fn environment(&self) -> Vec<String> {
        let text = |v: &CString| v.to_string_lossy().into_owned();
        self.env.iter().map(text).collect()
    }

    /// Become it. Returns only with the reason why not.
    pub fn exec(&self) -> Error {
        match exec::execve(&self.path, &self.args, &self.env) {
            Ok(never) => match never {},
            Err(errno) => Error::new(format!(
                "exec {}: {}",
                self.path.to_string_lossy(),
                errno_text(errno)
            ))
            .with_kind(Kind::NoProgram),
        }
    }
}

/// The environment of the config, with a HOME from the container's /etc/passwd where it has
/// none. Looked up before the limits are set, which may forbid to open a file, and before the
/// change of user, who may not be allowed to read it.
pub fn environment(process: &Process) -> Vec<String> {
    let mut env = process.env.clone();
    if !env.iter().any(|v| v.len() > 5 && v.starts_with("HOME=")) {
        env.retain(|v| v != "HOME=");
        env.push(format!("HOME={}", home_of(process.user.uid)));
    }
    env
}

/// As exec.LookPath of Go has it, whose words engines turn into exit codes.
fn find_executable(name: &str, env: &[String]) -> Result<PathBuf> {
    let failed =
        |reason: String| Error::new(format!("exec: {name:?}: {reason}")).with_kind(Kind::NoProgram);
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(Errno::ENOENT) => Err(failed(format!("stat {name}: no such file or directory"))),
            Err(errno) => Err(failed(errno_text(errno))),
        };
    }
    let path = env
        .iter()
        .rev()
        .find_map(|v| v.strip_prefix("PATH="))
        .unwrap_or_default();
    let mut denied = false;
    for dir in path
        .split(':')
        .filter(|_| !path.is_empty() && !name.is_empty())
    {
        let dir = if dir.is_empty() { "." } else { dir };
        let candidate = Path::new(dir).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(Errno::EACCES) => denied = true,
            Err(_) => {}
        }
    }
    Err(failed(if denied {
        "permission denied".to_owned()
    } else {
        "executable file not found in $PATH".to_owned()
    }))
}

/// Whether the user may execute what is there.
fn executable(path: &Path) -> Result<(), Errno> {
    let found = stat(path)?;
    let kind = SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits());
    if kind == SFlag::S_IFDIR {
        return Err(Errno::EISDIR);
    }
    // Root with CAP_DAC_OVERRIDE may "access" a file that nobody can execute.
    if found.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)
}

/// The home directory that the container's /etc/passwd gives the user; `/` when none does.
fn home_of(uid: u32) -> String {
    passwd_home(uid).unwrap_or_else(|| "/".to_owned())
}

fn passwd_home(uid: u32) -> Option<String> {
    // The file may be a pipe or a device that the image put there.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = nix::fcntl::open("/etc/passwd", flags, Mode::empty()).ok()?;
    if !is(fd.as_fd(), SFlag::S_IFREG).ok()? {
        return None;
    }
    let lines = BufReader::new(std::fs::File::from(fd).take(MAX_PASSWD)).split(b'\n');
    for line in lines.map_while(Result::ok) {
        let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        let [_, _, id, _, _, home, ..] = fields.as_slice() else {
            continue;
        };
        if std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()) == Some(uid) {
            let home = std::ffi::OsStr::from_bytes(home).to_str()?;
            return (!home.is_empty()).then(|| home.to_owned());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(name: &str, path: &str) -> Result<PathBuf> {
        find_executable(name, &[format!("PATH={path}")])
    }

    #[test]
    fn a_program_is_found_in_path() {
        assert_eq!(find("sh", "/nope:/bin").unwrap(), Path::new("/bin/sh"));
    }

    #[test]
    fn engines_know_these_words() {
        let text = |r: Result<PathBuf>| r.unwrap_err().to_string();
        assert_eq!(
            text(find("nope", "/bin")),
            "exec: \"nope\": executable file not found in $PATH"
        );
        assert_eq!(
            text(find("/nope", "/bin")),
            "exec: \"/nope\": stat /nope: no such file or directory"
        );
        assert_eq!(text(find("/etc", "/bin")), "exec: \"/etc\": is a directory");
        assert_eq!(
            text(find("/etc/passwd", "/bin")),
            "exec: \"/etc/passwd\": permission denied"
        );
        assert_eq!(
            text(find("", "/bin")),
            "exec: \"\": executable file not found in $PATH"
        );
    }
}

//! Reading and writing the small files of a cgroup filesystem: one open, one call, one close.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd;

/// Write `value` in one write(2), as the kernel's parsers need it. Never makes a file.
pub fn write(path: &Path, value: &str) -> Result<(), Errno> {
    let fd = open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    loop {
        match unistd::write(&fd, value.as_bytes()) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The whole file as text.
pub fn read(path: &Path) -> Result<String, Errno> {
    read_limited(path, usize::MAX)
}

/// The same; EFBIG when it is longer than `limit` bytes.
pub fn read_limited(path: &Path, limit: usize) -> Result<String, Errno> {
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match unistd::read(&fd, &mut chunk) {
            Ok(0) => break,
            Ok(n) if n > limit - text.len() => return Err(Errno::EFBIG),
            Ok(n) => text.extend_from_slice(&chunk[..n]),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// A file that holds one value or one short line, without surrounding white space. The kernel
/// gives it whole in the first read.
pub fn read_value(path: &Path) -> Result<String, Errno> {
    let fd = open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut value = [0; 4096];
    loop {
        match unistd::read(&fd, &mut value) {
            Ok(n) => return Ok(String::from_utf8_lossy(&value[..n]).trim().to_owned()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// The number after `key` in a file of `key number` lines, such as memory.events.
pub fn read_key(path: &Path, key: &str) -> Option<u64> {
    let text = read(path).ok()?;
    text.lines().find_map(|line| {
        let (name, number) = line.split_once(' ')?;
        (name == key).then(|| number.trim().parse().ok())?
    })
}

/// The child cgroups of a cgroup. None when it is gone.
pub fn children(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

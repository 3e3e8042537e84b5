//! What the probe sees in file systems: mounts, devices, open files, and whether a path can be
//! read or written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{major, minor};
use serde_json::{Map, Value, json};

/// The text of a file, or null when it cannot be read (no /proc, masked, refused).
pub fn text(path: &str) -> Value {
    fs::read_to_string(path).map_or(Value::Null, |text| json!(text.trim_end()))
}

/// The name of an errno (`EROFS`) or the error's own words.
pub fn errno_name(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(errno) => format!("{:?}", Errno::from_raw(errno)),
        None => error.to_string(),
    }
}

/// /proc/self/mountinfo in its order, one object a mount.
pub fn mounts() -> Value {
    let Ok(table) = fs::read_to_string("/proc/self/mountinfo") else {
        return Value::Null;
    };
    table.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let mut right = right.split(' ');
    let propagation: Vec<&str> = left
        .get(6..)?
        .iter()
        .filter_map(|f| f.split(':').next())
        .collect();
    Some(json!({
        "target": left.get(4)?,
        "root": left.get(3)?,
        "fstype": right.next()?,
        "source": right.next()?,
        "options": left.get(5)?.split(',').collect::<Vec<_>>(),
        "propagation": propagation,
        "super": right.next()?.split(',').collect::<Vec<_>>(),
    }))
}

/// Each file below `dir`, by its path: type, mode, owner, device numbers, link target.
pub fn tree(dir: &str) -> Value {
    let mut found = Map::new();
    walk(Path::new(dir), &mut found);
    Value::Object(found)
}

fn walk(dir: &Path, found: &mut Map<String, Value>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        found.insert(path.display().to_string(), describe(&path));
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&path, found);
        }
    }
}

/// One file without following a link.
pub fn describe(path: &Path) -> Value {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => return json!(errno_name(&error)),
    };
    let kind = meta.file_type();
    let mut seen = json!({
        "type": kind_name(&kind),
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
    });
    if kind.is_char_device() || kind.is_block_device() {
        seen["device"] = json!(format!("{}:{}", major(meta.rdev()), minor(meta.rdev())));
    }
    if let Ok(target) = fs::read_link(path) {
        seen["link"] = json!(target);
    }
    seen
}

fn kind_name(kind: &fs::FileType) -> &'static str {
    match () {
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "link",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () => "other",
    }
}

/// The names directly in `dir`, sorted.
pub fn names(dir: &str) -> Value {
    let Ok(entries) = fs::read_dir(dir) else {
        return Value::Null;
    };
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    json!(names)
}

/// Open file descriptors and what each points at, without the one that lists them.
pub fn descriptors() -> Value {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Value::Null;
    };
    let mut found = Map::new();
    for entry in entries.flatten() {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let own = target.to_string_lossy().contains("/proc/") && target.ends_with("fd")
            || target.to_string_lossy() == format!("/{}/fd", std::process::id());
        if !own {
            found.insert(
                entry.file_name().to_string_lossy().into_owned(),
                json!(target),
            );
        }
    }
    Value::Object(found)
}

/// Whether `path` can be read and written, without changing it: what it is, what a read gives
/// and what an open for writing (in a directory: a new file) gives.
pub fn access(path: &str) -> Value {
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return json!(errno_name(&error)),
    };
    let outcome = |result: io::Result<Value>| result.unwrap_or_else(|e| json!(errno_name(&e)));
    if meta.is_dir() {
        let probe = format!("{path}/.probe");
        let entries = fs::read_dir(path).map(|entries| json!(entries.count()));
        let create = OpenOptions::new().write(true).create_new(true).open(&probe);
        let _ = fs::remove_file(&probe);
        json!({"type": "dir", "entries": outcome(entries), "create": outcome(create.map(|_| json!("ok")))})
    } else {
        let mut start = [0u8; 16];
        let read = File::open(path).and_then(|mut file| file.read(&mut start));
        let write = OpenOptions::new().write(true).open(path);
        json!({
            "type": kind_name(&meta.file_type()),
            "read": outcome(read.map(|n| json!(n))),
            "write": outcome(write.map(|_| json!("ok"))),
        })
    }
}

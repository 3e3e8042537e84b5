//! `tmpcopyup`: what the rootfs has at a tmpfs' target, copied into the tmpfs.
//!
//! Both sides are walked by fd and no link is followed; the tree belongs to the image.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, symlinkat};

use crate::error::{Error, Result, Step, Target};

/// A tree that is deeper was not made by an image builder.
const MAX_DEPTH: u32 = 256;

/// Copy the content of the directory `from` into the directory `to`, and its mode and owner.
pub fn copy(from: BorrowedFd, to: BorrowedFd) -> Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let from = openat(from, ".", flags, Mode::empty()).step("open a directory")?;
    let to = openat(to, ".", flags, Mode::empty()).step("open a directory")?;
    directory(from, to.as_fd(), 0)
}

fn directory(from: OwnedFd, to: BorrowedFd, depth: u32) -> Result<()> {
    if depth > MAX_DEPTH {
        return Err(Error::new("directories are nested too deeply"));
    }
    let stat = fstat(&from).step("look at a directory")?;
    let source = from.try_clone().step("duplicate an fd")?;
    let mut entries = Dir::from_fd(from).step("read a directory")?;
    for entry in entries.iter() {
        let entry = entry.step("read a directory")?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = fstatat(&source, name, AtFlags::AT_SYMLINK_NOFOLLOW).step("look at a file")?;
        one(source.as_fd(), to, name, &stat, depth).map_err(|error| {
            let name = Path::new(OsStr::from_bytes(name.to_bytes()));
            match &error.target {
                // Of a directory in this one.
                Some(Target::Path(below)) => {
                    let path = name.join(below);
                    error.with_path(path)
                }
                _ => error.with_path(name),
            }
        })?;
    }
    own(to, &stat)?;
    fchmod(to, Mode::from_bits_truncate(stat.st_mode)).step("set a directory's mode")
}

fn one(
    from: BorrowedFd,
    to: BorrowedFd,
    name: &std::ffi::CStr,
    stat: &FileStat,
    depth: u32,
) -> Result<()> {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let kind = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits());
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match kind {
        SFlag::S_IFDIR => {
            mkdirat(to, name, Mode::S_IRWXU).step("make a directory")?;
            let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | nofollow;
            let below = openat(from, name, flags, Mode::empty()).step("open a directory")?;
            let made = openat(to, name, flags, Mode::empty()).step("open a directory")?;
            directory(below, made.as_fd(), depth + 1)
        }
        SFlag::S_IFREG => file(from, to, name, stat),
        SFlag::S_IFLNK => {
            let link = readlinkat(from, name).step("read a link")?;
            symlinkat(link.as_os_str(), to, name).step("make a link")?;
            own_at(to, name, stat)
        }
        // Devices, pipes and sockets of an image; a user namespace cannot make the first.
        _ => {
            mknodat(to, name, kind, mode, stat.st_rdev).step("make a node")?;
            own_at(to, name, stat)
        }
    }
}

/// Never a part of `one`: its buffer on the stack would be there once for each level of the tree.
#[inline(never)]
fn file(from: BorrowedFd, to: BorrowedFd, name: &std::ffi::CStr, stat: &FileStat) -> Result<()> {
    let nofollow = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | nofollow;
    let source = openat(from, name, flags, Mode::empty()).step("open a file")?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | nofollow;
    let made = openat(to, name, flags, Mode::S_IRWXU).step("make a file")?;
    let mut made = File::from(made);
    std::io::copy(&mut File::from(source), &mut made).step("copy a file")?;
    own(made.as_fd(), stat)?;
    fchmod(&made, Mode::from_bits_truncate(stat.st_mode)).step("set a file's mode")
}

fn own(fd: BorrowedFd, stat: &FileStat) -> Result<()> {
    nix::unistd::fchown(
        fd,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
    .step("set an owner")
}

fn own_at(dir: BorrowedFd, name: &std::ffi::CStr, stat: &FileStat) -> Result<()> {
    fchownat(
        dir,
        name,
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .step("set an owner")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_tree_is_copied_with_links_and_modes() {
        let dir = std::env::temp_dir().join(format!("orlop-copyup-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("a/sub")).unwrap();
        fs::create_dir_all(dir.join("b")).unwrap();
        fs::write(dir.join("a/sub/f"), "text").unwrap();
        fs::set_permissions(dir.join("a/sub/f"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc/passwd", dir.join("a/l")).unwrap();
        let (a, b) = (
            File::open(dir.join("a")).unwrap(),
            File::open(dir.join("b")).unwrap(),
        );
        copy(a.as_fd(), b.as_fd()).unwrap();
        assert_eq!(fs::read_to_string(dir.join("b/sub/f")).unwrap(), "text");
        let mode = fs::metadata(dir.join("b/sub/f"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o640);
        assert_eq!(
            fs::read_link(dir.join("b/l")).unwrap().to_str(),
            Some("/etc/passwd")
        );
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_cannot_be_copied_is_named_from_the_target_on() {
        let dir = std::env::temp_dir().join(format!("orlop-copyup-deep-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        // Deeper than is copied, with a name at each level.
        let deep: std::path::PathBuf = (0..=MAX_DEPTH + 1).map(|_| "d").collect();
        fs::create_dir_all(dir.join("a").join(&deep)).unwrap();
        fs::create_dir(dir.join("b")).unwrap();
        let open = |name| File::open(dir.join(name)).unwrap();
        let error = copy(open("a").as_fd(), open("b").as_fd()).unwrap_err();
        let Some(Target::Path(path)) = &error.target else {
            panic!("{error}")
        };
        assert_eq!(Path::new(path).iter().count() as u32, MAX_DEPTH + 1);
        fs::remove_dir_all(&dir).unwrap();
    }
}

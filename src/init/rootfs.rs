//! The only opener of paths inside a rootfs.
//!
//! The rootfs belongs to the attacker: any component of a path in it may be a symbolic link,
//! and may be exchanged for one while we look. So no path inside it is ever given to the
//! kernel as a string to be resolved from the host's root. [`RootFs`] holds the directory as
//! an fd and resolves below it: by openat2(2) with RESOLVE_IN_ROOT where everything exists,
//! and component by component where something has to be made (or openat2 is missing).

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat};
use nix::unistd::symlinkat;

use crate::error::{Error, Result, Step};

/// As many links as the kernel follows in one path (MAXSYMLINKS of linux/namei.h).
const MAX_LINKS: u32 = 40;

/// What to make when the last component is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    Nothing,
    Directory,
    /// An empty regular file, as a target for binds.
    File,
}

/// A directory that becomes a container's root, held open.
#[derive(Debug)]
pub struct RootFs {
    fd: OwnedFd,
}

impl AsFd for RootFs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl RootFs {
    /// `fd` is the root directory, of the mount that the container will see as `/`.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The root that this process has already.
    pub fn current() -> Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        nix::fcntl::open("/", flags, Mode::empty())
            .step("open /")
            .map(Self::new)
    }

    /// The object at `path`, as an O_PATH fd, or `None` when there is none. Links are followed
    /// inside the root.
    pub fn find(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match self.resolve(path) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(Errno::ENOSYS) => self.walk(path, Make::Nothing),
            Err(errno) => Err(Error::sys("open in the rootfs", errno).with_path(path)),
        }
    }

    /// The object at `path`, as an O_PATH fd; it and the directories that lead to it are made
    /// where they are missing, inside the root whatever links lie there.
    pub fn find_or_make(&self, path: &Path, make: Make) -> Result<OwnedFd> {
        match self.resolve(path) {
            Ok(fd) => Ok(fd),
            Err(Errno::ENOENT | Errno::ENOSYS) => self
                .walk(path, make)?
                .ok_or_else(|| Error::sys("open in the rootfs", Errno::ENOENT).with_path(path)),
            Err(errno) => Err(Error::sys("open in the rootfs", errno).with_path(path)),
        }
    }

    /// Like [`find_or_make`](Self::find_or_make) for a directory whose last component must be
    /// a real directory: a procfs mounted over a link would end up where the image wants it.
    pub fn ordinary_directory(&self, path: &Path, fstype: &str) -> Result<OwnedFd> {
        let not_ordinary = || {
            Error::invalid(format!(
                "filesystem {fstype:?} must be mounted on ordinary directory"
            ))
            .with_path(path)
        };
        let Some(name) = path.file_name() else {
            return Err(not_ordinary());
        };
        let parent = self.parent(path)?;
        let parent = parent.as_ref().unwrap_or(&self.fd).as_fd();
        match child(parent, name, Make::Directory).step_on("open in the rootfs", path)? {
            Some(fd) if is(fd.as_fd(), SFlag::S_IFDIR).step_on("look at", path)? => Ok(fd),
            _ => Err(not_ordinary()),
        }
    }

    /// Like [`find_or_make`](Self::find_or_make), but a link in the last place is itself what
    /// is found.
    pub fn find_or_make_nofollow(&self, path: &Path, make: Make) -> Result<OwnedFd> {
        let Some(name) = path.file_name() else {
            return self.find_or_make(path, make);
        };
        let parent = self.parent(path)?;
        let parent = parent.as_ref().unwrap_or(&self.fd).as_fd();
        child(parent, name, make)
            .and_then(|fd| fd.ok_or(Errno::ENOENT))
            .step_on("open in the rootfs", path)
    }

    /// Like [`find`](Self::find), but a link in the last place is itself what is found.
    pub fn find_nofollow(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return self.find(path);
        };
        match self.find(parent)? {
            Some(parent) => {
                child(parent.as_fd(), name, Make::Nothing).step_on("open in the rootfs", path)
            }
            None => Ok(None),
        }
    }

    /// Like [`find`](Self::find), but no link of the image may lead there: ELOOP.
    pub fn find_without_links(&self, path: &Path) -> Result<Option<OwnedFd>> {
        let mut found = self.fd.try_clone().step("duplicate the rootfs fd")?;
        for name in components(path) {
            let next = child(found.as_fd(), &name, Make::Nothing);
            match next.step_on("open in the rootfs", path)? {
                Some(next) => found = next,
                None => return Ok(None),
            }
            if is(found.as_fd(), SFlag::S_IFLNK).step_on("look at", path)? {
                return Err(Error::sys("open in the rootfs", Errno::ELOOP).with_path(path));
            }
        }
        Ok(Some(found))
    }

    /// Make the symbolic link `path`, unless just this one is there already.
    pub fn make_link(&self, path: &Path, to: &OsStr) -> Result<()> {
        let name = path
            .file_name()
            .ok_or_else(|| Error::sys("make a link", Errno::EEXIST).with_path(path))?;
        let parent = self.parent(path)?;
        let parent = parent.as_ref().unwrap_or(&self.fd).as_fd();
        match symlinkat(to, parent, name) {
            Err(Errno::EEXIST) if readlinkat(parent, name).is_ok_and(|is| is == to) => Ok(()),
            other => other.step_on("make a link", path),
        }
    }

    /// The directory that `path` lies in, made where it is missing; `None`: the root itself.
    fn parent(&self, path: &Path) -> Result<Option<OwnedFd>> {
        match path.parent() {
            Some(parent) if parent.parent().is_some() => {
                self.find_or_make(parent, Make::Directory).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Open a file that is no link, and that no link leads to.
    pub fn open(&self, path: &Path, flags: OFlag) -> Result<OwnedFd> {
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(
            ResolveFlag::RESOLVE_IN_ROOT
                | ResolveFlag::RESOLVE_NO_SYMLINKS
                | ResolveFlag::RESOLVE_NO_MAGICLINKS,
        );
        openat2(&self.fd, relative(path), how).step_on("open in the rootfs", path)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        // EAGAIN: something was renamed while `..` was being resolved. The attacker can keep
        // that up, so it is tried a few times only; the walk below needs no luck.
        for _ in 0..16 {
            match openat2(&self.fd, relative(path), how) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::ENOSYS)
    }

    /// Resolve component by component. Each directory on the way is held by fd, so `..` goes
    /// back to the one we came from and never above the root.
    fn walk(&self, path: &Path, make: Make) -> Result<Option<OwnedFd>> {
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut todo: VecDeque<OsString> = components(path);
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == ".." {
                above.pop();
                continue;
            }
            let here = above.last().unwrap_or(&self.fd).as_fd();
            let kind = match make {
                Make::File if !todo.is_empty() => Make::Directory,
                make => make,
            };
            let Some(fd) = child(here, &name, kind).step_on("make in the rootfs", path)? else {
                return Ok(None);
            };
            if is(fd.as_fd(), SFlag::S_IFLNK).step_on("look at", path)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Error::sys("open in the rootfs", Errno::ELOOP).with_path(path));
                }
                let to = readlinkat(&fd, OsStr::new("")).step_on("read the link", path)?;
                if to.as_bytes().first() == Some(&b'/') {
                    above.clear();
                }
                for component in components(Path::new(&to)).into_iter().rev() {
                    todo.push_front(component);
                }
            } else {
                above.push(fd);
            }
        }
        match above.pop() {
            Some(fd) => Ok(Some(fd)),
            None => self
                .fd
                .try_clone()
                .step("duplicate the rootfs fd")
                .map(Some),
        }
    }
}

/// `path` without its leading slashes; the root itself is `.`.
fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if rest.as_os_str().is_empty() => Path::new("."),
        Ok(rest) => rest,
        Err(_) => path,
    }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            _ => None,
        })
        .collect()
}

/// One component below `dir`, not followed if it is a link; made if it is missing and `make`
/// says so.
fn child(dir: BorrowedFd, name: &OsStr, make: Make) -> Result<Option<OwnedFd>, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => return Ok(Some(fd)),
        Err(Errno::ENOENT) => {}
        Err(Errno::ENOTDIR) if make == Make::Nothing => return Ok(None),
        Err(errno) => return Err(errno),
    }
    let made = match make {
        Make::Nothing => return Ok(None),
        Make::Directory => mkdirat(dir, name, Mode::from_bits_truncate(0o755)),
        Make::File => mknodat(
            dir,
            name,
            SFlag::S_IFREG,
            Mode::from_bits_truncate(0o644),
            0,
        ),
    };
    match made {
        // Somebody else was quicker: what it is, the caller looks at.
        Ok(()) | Err(Errno::EEXIST) => openat(dir, name, flags, Mode::empty()).map(Some),
        Err(errno) => Err(errno),
    }
}

/// Whether `fd` is of this file type.
pub fn is(fd: BorrowedFd, kind: SFlag) -> Result<bool, Errno> {
    let stat = fstat(fd)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == kind)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A rootfs in a directory of its own, beside a directory that must stay untouched.
    struct Scene {
        dir: PathBuf,
        root: RootFs,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(dir.join("rootfs")).unwrap();
            fs::create_dir_all(dir.join("host")).unwrap();
            let fd = fs::File::open(dir.join("rootfs")).unwrap().into();
            Self {
                dir,
                root: RootFs::new(fd),
            }
        }

        fn inside(&self, path: &str) -> PathBuf {
            self.dir.join("rootfs").join(path)
        }

        fn host_is_untouched(&self) {
            assert_eq!(fs::read_dir(self.dir.join("host")).unwrap().count(), 0);
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }

    #[test]
    fn what_is_missing_is_made_inside() {
        let scene = Scene::new("made");
        scene
            .root
            .find_or_make(Path::new("/a/b/c"), Make::Directory)
            .unwrap();
        scene
            .root
            .find_or_make(Path::new("/a/f"), Make::File)
            .unwrap();
        assert!(scene.inside("a/b/c").is_dir());
        assert!(scene.inside("a/f").is_file());
    }

    #[test]
    fn links_that_point_out_are_resolved_inside() {
        let scene = Scene::new("links");
        symlink(scene.dir.join("host"), scene.inside("abs")).unwrap();
        symlink("../../../../host", scene.inside("up")).unwrap();
        scene
            .root
            .find_or_make(Path::new("/abs/x"), Make::Directory)
            .unwrap();
        scene
            .root
            .find_or_make(Path::new("/up/y"), Make::File)
            .unwrap();
        scene.host_is_untouched();
        assert!(scene.inside("host/y").is_file());
        let made = scene.dir.join("host/x");
        let made = scene.inside(made.strip_prefix("/").unwrap().to_str().unwrap());
        assert!(made.is_dir(), "{}", made.display());
    }

    #[test]
    fn dangling_links_are_made_inside() {
        let scene = Scene::new("dangling");
        symlink("/var/log", scene.inside("log")).unwrap();
        scene
            .root
            .find_or_make(Path::new("/log"), Make::Directory)
            .unwrap();
        assert!(scene.inside("var/log").is_dir());
    }

    #[test]
    fn a_loop_of_links_is_an_error() {
        let scene = Scene::new("loop");
        symlink("b", scene.inside("a")).unwrap();
        symlink("a", scene.inside("b")).unwrap();
        assert!(
            scene
                .root
                .find_or_make(Path::new("/a/x"), Make::Directory)
                .is_err()
        );
        assert!(scene.root.walk(Path::new("/a/x"), Make::Directory).is_err());
    }

    #[test]
    fn dot_dot_stops_at_the_root() {
        let scene = Scene::new("dotdot");
        scene
            .root
            .walk(Path::new("/../../host/z"), Make::Directory)
            .unwrap();
        scene.host_is_untouched();
        assert!(scene.inside("host/z").is_dir());
    }

    #[test]
    fn a_procfs_is_not_mounted_over_a_link() {
        let scene = Scene::new("proc");
        fs::create_dir(scene.inside("tmp")).unwrap();
        symlink("/tmp", scene.inside("proc")).unwrap();
        let error = scene
            .root
            .ordinary_directory(Path::new("/proc"), "proc")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("must be mounted on ordinary directory")
        );
        assert!(
            scene
                .root
                .ordinary_directory(Path::new("/sys"), "sysfs")
                .is_ok()
        );
    }

    #[test]
    fn nothing_found_is_none() {
        let scene = Scene::new("none");
        fs::write(scene.inside("file"), "").unwrap();
        assert!(scene.root.find(Path::new("/nope")).unwrap().is_none());
        assert!(scene.root.find(Path::new("/file/below")).unwrap().is_none());
        assert!(scene.root.find(Path::new("/")).unwrap().is_some());
    }
}

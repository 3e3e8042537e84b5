//! One directory a container below the root directory: the state, the lock, the start socket and
//! the socket for sd_notify.
//!
//! A directory is opened once and everything in it is reached by that fd, so neither a root
//! that is renamed nor a long path matters. The lock is an flock on the directory itself: it
//! ends with its holder, however that ends. state.json is written beside its old self and
//! renamed, so that a reader, who takes no lock, sees one state or the other. Nothing is
//! synced to a disk: after a crash of the host no container is alive.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir as Listing, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, Flock, FlockArg, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::id::ContainerId;
use super::state::{Phase, State, VERSION};
use crate::error::{Error, Kind, Result, Step};

/// The socket on which init waits for start; its name in the container's directory.
pub const START_SOCKET: &str = "start.sock";
/// Where the socket for sd_notify is; seen by the container.
const NOTIFY: &str = "notify";
const STATE: &str = "state.json";
const STATE_NEW: &str = ".state.json.new";
/// More than a state can need, which says some things of a config twice; a longer one is never
/// written.
const STATE_LIMIT: u64 = 64 << 20;
/// Directories below a container's own that `remove` goes into at a time.
const DEPTH: u32 = 8;

/// The root directory. Making one touches nothing.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    /// Mode of the root where it has to be made.
    root_mode: u32,
}

/// The open directory of one container.
#[derive(Debug)]
pub struct Dir {
    root: OwnedFd,
    fd: OwnedFd,
    id: ContainerId,
    path: PathBuf,
}

/// Holds a container's lock until it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held, never read")] Flock<OwnedFd>);

/// What `list` finds below the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: ContainerId,
    /// Owner of the directory.
    pub uid: u32,
}

impl Store {
    /// `root` is absolute.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            root_mode: 0o700,
        }
    }

    /// The root below a user's XDG_RUNTIME_DIR: the sticky bit keeps what cleans there from
    /// taking it away while containers run.
    pub fn in_session(root: impl Into<PathBuf>) -> Self {
        Self {
            root_mode: 0o1700,
            ..Self::new(root)
        }
    }

    /// Make the directory of a new container, and the root where it is missing. An id that is
    /// in use is [`Error::id_taken`].
    pub fn create(&self, id: &ContainerId) -> Result<Dir> {
        let root = match self.open_root() {
            Err(Errno::ENOENT) => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(self.root_mode)
                    .create(&self.root)
                    .step_on("make the root directory", &self.root)?;
                self.open_root()
            }
            root => root,
        };
        let root = root.step_on("open the root directory", &self.root)?;
        match mkdirat(&root, id.as_str(), Mode::from_bits_truncate(0o711)) {
            Ok(()) => {}
            Err(Errno::EEXIST) => return Err(Error::id_taken()),
            Err(errno) => {
                return Err(Error::sys("make the container's directory", errno)
                    .with_path(self.root.join(id.as_str())));
            }
        }
        Dir::open(root, &self.root, id)
    }

    /// Open the directory of a container; [`Error::no_container`] where there is none. A
    /// directory that a killed create left without a state is opened too.
    pub fn open(&self, id: &ContainerId) -> Result<Dir> {
        match self.open_root() {
            Ok(root) => Dir::open(root, &self.root, id),
            Err(Errno::ENOENT) => Err(Error::no_container()),
            Err(errno) => Err(Error::sys("open the root directory", errno).with_path(&self.root)),
        }
    }

    /// All directories below the root that can be a container's, sorted by id. ENOENT in the
    /// error: the root itself is not there.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let step = "read the root directory";
        let root = self.open_root().step_on(step, &self.root)?;
        let mut entries = Vec::new();
        for name in names(&root).step_on(step, &self.root)? {
            let Some(id) = name.to_str().and_then(|n| ContainerId::new(n).ok()) else {
                continue;
            };
            match fstatat(&root, id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(meta) if is_dir(meta.st_mode) => entries.push(Entry {
                    id,
                    uid: meta.st_uid,
                }),
                // A file is nobody's container; ENOENT is a delete beside us.
                Ok(_) | Err(Errno::ENOENT) => {}
                Err(errno) => {
                    return Err(Error::sys(step, errno).with_path(self.root.join(id.as_str())));
                }
            }
        }
        entries.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(entries)
    }

    fn open_root(&self) -> nix::Result<OwnedFd> {
        nix::fcntl::open(&self.root, directory_flags(), Mode::empty())
    }
}

impl Dir {
    fn open(root: OwnedFd, root_path: &Path, id: &ContainerId) -> Result<Self> {
        let flags = directory_flags() | OFlag::O_NOFOLLOW;
        let path = root_path.join(id.as_str());
        match openat(&root, id.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok(Self {
                root,
                fd,
                id: id.clone(),
                path,
            }),
            Err(Errno::ENOENT) => Err(Error::no_container()),
            Err(errno) => Err(Error::sys("open the container's directory", errno).with_path(path)),
        }
    }

    /// For sockets: `/proc/self/fd/N/start.sock` is short however long the root is.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Wait for the lock and hold it. [`Error::no_container`]: somebody removed the container
    /// while we waited.
    ///
    /// It is held by a second fd of the same open directory: unlocking it unlocks for every
    /// copy, so a child that inherited one cannot go on holding the lock.
    pub fn lock(&self) -> Result<Lock> {
        self.lock_by(FlockArg::LockExclusive)
    }

    /// The same without a wait: `None` while somebody else holds it.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        match self.lock_by(FlockArg::LockExclusiveNonblock) {
            Err(error) if error.errno() == Some(Errno::EWOULDBLOCK) => Ok(None),
            other => other.map(Some),
        }
    }

    fn lock_by(&self, how: FlockArg) -> Result<Lock> {
        let step = "lock the container";
        let mut fd = self.fd.try_clone().step_on(step, &self.path)?;
        let lock = loop {
            match Flock::lock(fd, how) {
                Ok(lock) => break lock,
                Err((same, Errno::EINTR)) => fd = same,
                Err((_, errno)) => return Err(Error::sys(step, errno).with_path(&self.path)),
            }
        };
        let here = fstat(&self.fd).step_on(step, &self.path)?;
        match fstatat(&self.root, self.id.as_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(now) if (now.st_dev, now.st_ino) == (here.st_dev, here.st_ino) => Ok(Lock(lock)),
            Ok(_) | Err(Errno::ENOENT) => Err(Error::no_container()),
            Err(errno) => Err(Error::sys(step, errno).with_path(&self.path)),
        }
    }

    /// The same for a container that create is done with: [`Error::not_running`] while it is at
    /// work. Its hooks may call us, and it holds the lock until they have ended.
    pub fn lock_made(&self) -> Result<Lock> {
        match self.load()?.orlop.phase {
            Phase::Creating => Err(Error::not_running()),
            Phase::Created | Phase::Running => self.lock(),
        }
    }

    /// Replace state.json (0600). The caller holds the lock.
    pub fn save(&self, state: &State) -> Result<()> {
        let step = "write the container's state";
        let bytes = serde_json::to_vec(state).map_err(|e| Error::new(format!("{step}: {e}")))?;
        if bytes.len() as u64 > STATE_LIMIT {
            let limit = STATE_LIMIT >> 20;
            return Err(Error::new(format!("{step}: it is longer than {limit} MiB")));
        }
        let flags = OFlag::O_WRONLY
            | OFlag::O_CREAT
            | OFlag::O_TRUNC
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        let mode = Mode::from_bits_truncate(0o600);
        let fd = openat(&self.fd, STATE_NEW, flags, mode).step_on(step, &self.path)?;
        File::from(fd)
            .write_all(&bytes)
            .step_on(step, self.path.join(STATE_NEW))?;
        renameat(&self.fd, STATE_NEW, &self.fd, STATE).step_on(step, self.path.join(STATE))
    }

    /// Read state.json. [`Error::no_container`]: there is none, be it that create has not come
    /// so far.
    pub fn load(&self) -> Result<State> {
        let step = "read the container's state";
        let path = || self.path.join(STATE);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = match openat(&self.fd, STATE, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Err(Error::no_container()),
            Err(errno) => return Err(Error::sys(step, errno).with_path(path())),
        };
        let mut bytes = Vec::with_capacity(16 << 10);
        File::from(fd)
            .take(STATE_LIMIT)
            .read_to_end(&mut bytes)
            .step_on(step, path())?;
        let state: State = serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(format!("{step}: {e}")).with_path(path()))?;
        if state.orlop.version > VERSION {
            let version = state.orlop.version;
            return Err(
                Error::new(format!("{step}: its version {version} is newer than ours"))
                    .with_path(path())
                    .with_hint("it was made by a newer orlop"),
            );
        }
        Ok(state)
    }

    /// Whether init's socket is there: from create until start has been heard.
    pub fn has_start_socket(&self) -> Result<bool> {
        match fstatat(&self.fd, START_SOCKET, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(Error::sys("look for the start socket", errno).with_path(&self.path)),
        }
    }

    /// Make the directory that the container's socket for sd_notify will be in; its path.
    pub fn make_notify(&self) -> Result<PathBuf> {
        let path = self.path.join(NOTIFY);
        mkdirat(&self.fd, NOTIFY, Mode::from_bits_truncate(0o755))
            .step_on("make a directory for the notify socket", &path)?;
        Ok(path)
    }

    /// Open it; `None` where create has made none.
    pub fn open_notify(&self) -> Result<Option<OwnedFd>> {
        let flags = directory_flags() | OFlag::O_NOFOLLOW;
        match openat(&self.fd, NOTIFY, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno).step_on("open", self.path.join(NOTIFY)),
        }
    }

    /// Take away the directory and all that is in it. That parts are gone already is fine. The
    /// caller holds the lock.
    pub fn remove(&self) -> Result<()> {
        let step = "remove the container's directory";
        // A container that may remount can make directories beside its notify socket, as deep as
        // it likes. What is too deep is moved up, where it cannot write, and has its turn next.
        let mut moved = 0u64;
        loop {
            let before = moved;
            let mut move_up = |dir: &OwnedFd, name: &CStr| {
                loop {
                    moved += 1;
                    match renameat(dir, name, &self.fd, format!(".{moved}").as_str()) {
                        // Left by a delete that was killed.
                        Err(Errno::ENOTEMPTY | Errno::EEXIST) => {}
                        other => return other,
                    }
                }
            };
            empty(&self.fd, DEPTH, &mut move_up).step_on(step, &self.path)?;
            if moved == before {
                break;
            }
        }
        gone_is_fine(unlinkat(
            &self.root,
            self.id.as_str(),
            UnlinkatFlags::RemoveDir,
        ))
        .step_on(step, &self.path)
    }
}

impl Entry {
    /// Why `error` (of opening or loading this entry) makes it broken; `None` when it is
    /// simply gone by now.
    pub fn problem(&self, store: &Store, error: Error) -> Option<Error> {
        if error.kind != Kind::NoContainer {
            return Some(error);
        }
        store.open(&self.id).ok().map(|_| {
            Error::new("it has no state.json")
                .with_hint("a create was interrupted; delete --force removes it")
        })
    }
}

fn directory_flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

fn is_dir(mode: libc::mode_t) -> bool {
    mode & libc::S_IFMT == libc::S_IFDIR
}

/// All names in a directory but `.` and `..`.
fn names(dir: &OwnedFd) -> nix::Result<Vec<std::ffi::OsString>> {
    // An fd of its own, as reading moves the position of the open directory.
    let mut listing = Listing::openat(dir, ".", directory_flags(), Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

/// Unlink everything below `dir`, without ever following a link out of it. A directory that is
/// deeper than `depth` is for `move_up`.
fn empty(
    dir: &OwnedFd,
    depth: u32,
    move_up: &mut dyn FnMut(&OwnedFd, &CStr) -> nix::Result<()>,
) -> nix::Result<()> {
    let mut listing = Listing::openat(dir, ".", directory_flags(), Mode::empty())?;
    let mut entries = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        entries.push((entry.file_name().to_owned(), entry.file_type()));
    }
    for (name, kind) in entries {
        let name = name.as_c_str();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let removed = match kind {
            Some(Type::Directory) => Err(Errno::EISDIR),
            _ => unlinkat(dir, name, UnlinkatFlags::NoRemoveDir),
        };
        match removed {
            Err(Errno::EISDIR) if depth == 0 => gone_is_fine(move_up(dir, name))?,
            Err(Errno::EISDIR) => {
                let flags = directory_flags() | OFlag::O_NOFOLLOW;
                match openat(dir, name, flags, Mode::empty()) {
                    Ok(below) => empty(&below, depth - 1, move_up)?,
                    Err(Errno::ENOENT) => continue,
                    Err(errno) => return Err(errno),
                }
                gone_is_fine(unlinkat(dir, name, UnlinkatFlags::RemoveDir))?;
            }
            other => gone_is_fine(other)?,
        }
    }
    Ok(())
}

fn gone_is_fine(result: nix::Result<()>) -> nix::Result<()> {
    match result {
        Err(Errno::ENOENT) => Ok(()),
        other => other,
    }
}

/// Whether an error of [`Store::list`] says that the root directory is not there.
pub fn is_missing_root(error: &Error) -> bool {
    error.errno() == Some(Errno::ENOENT)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::container::state::tests::state;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// A store in a directory of the test's own; the caller removes that.
    pub(crate) fn store(name: &str) -> (PathBuf, Store) {
        let base = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir(&base).unwrap();
        let store = Store::new(base.join("root"));
        (base, store)
    }

    fn id(text: &str) -> ContainerId {
        ContainerId::new(text).unwrap()
    }

    #[test]
    fn a_container_is_made_once_kept_and_removed() {
        let (base, store) = store("life");
        let dir = store.create(&id("x")).unwrap();
        assert_eq!(store.create(&id("x")).unwrap_err(), Error::id_taken());
        let lock = dir.lock().unwrap();
        dir.save(&state("x")).unwrap();
        let mut second = state("x");
        second.set_init(7, 8);
        dir.save(&second).unwrap();
        assert_eq!(store.open(&id("x")).unwrap().load().unwrap(), second);
        let mode = |path: &str| {
            let meta = std::fs::metadata(base.join(path)).unwrap();
            meta.permissions().mode() & 0o777
        };
        assert_eq!(mode("root/x/state.json"), 0o600);
        assert_eq!(mode("root/x") | 0o011, 0o711);
        let names: Vec<_> = std::fs::read_dir(base.join("root/x")).unwrap().collect();
        assert_eq!(names.len(), 1, "the temporary file is gone");

        std::fs::create_dir_all(base.join("root/x/notify/deep")).unwrap();
        std::fs::write(base.join("root/x/notify/deep/f"), "").unwrap();
        let deep = base.join("root/x/notify").join("d/".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("f"), "").unwrap();
        // Of a removal that was cut short.
        std::fs::create_dir_all(base.join("root/x/.1/d/d/d/d/d/d/d/d/d/d")).unwrap();
        std::os::unix::fs::symlink(&base, base.join("root/x/link")).unwrap();
        dir.remove().unwrap();
        drop(lock);
        assert!(!base.join("root/x").exists());
        assert!(base.exists(), "a link in the directory is not followed");
        assert_eq!(store.open(&id("x")).unwrap_err(), Error::no_container());
        assert_eq!(dir.lock().unwrap_err(), Error::no_container());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_root_in_a_session_is_sticky() {
        let (base, store) = store("sticky");
        let sticky = Store::in_session(base.join("session"));
        store.create(&id("x")).unwrap();
        sticky.create(&id("x")).unwrap();
        let mode = |path| std::fs::metadata(base.join(path)).unwrap().mode() & 0o7777;
        assert_eq!((mode("root"), mode("session")), (0o700, 0o1700));
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_lock_excludes_and_a_new_container_of_the_same_id_is_another() {
        let (base, store) = store("lock");
        let dir = store.create(&id("x")).unwrap();
        let lock = dir.lock().unwrap();
        let other = store.open(&id("x")).unwrap();
        let try_other = Flock::lock(
            other.fd.try_clone().unwrap(),
            FlockArg::LockExclusiveNonblock,
        );
        assert_eq!(try_other.unwrap_err().1, Errno::EWOULDBLOCK);
        assert!(other.try_lock().unwrap().is_none());
        drop(lock);
        assert!(other.try_lock().unwrap().is_some());
        drop(other.lock().unwrap());
        dir.remove().unwrap();
        let new = store.create(&id("x")).unwrap();
        assert_eq!(other.lock().unwrap_err(), Error::no_container());
        new.remove().unwrap();
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn half_made_and_foreign_entries_are_told_apart() {
        let (base, store) = store("half");
        assert!(is_missing_root(&store.list().unwrap_err()));
        assert_eq!(store.open(&id("x")).unwrap_err(), Error::no_container());
        let half = store.create(&id("half")).unwrap();
        std::fs::write(base.join("root/file"), "").unwrap();
        std::fs::create_dir(base.join("root/no id")).unwrap();
        std::os::unix::fs::symlink("half", base.join("root/link")).unwrap();
        let entries = store.list().unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].id, id("half"));
        let error = half.load().unwrap_err();
        assert_eq!(error, Error::no_container());
        let problem = entries[0].problem(&store, error.clone()).unwrap();
        assert!(problem.to_string().starts_with("it has no state.json"));
        half.remove().unwrap();
        assert_eq!(entries[0].problem(&store, error), None);
        assert!(store.open(&id("link")).is_err());
        std::fs::remove_dir_all(base).unwrap();
    }

    #[test]
    fn a_state_of_the_future_or_no_state_at_all_is_refused() {
        let (base, store) = store("future");
        let dir = store.create(&id("x")).unwrap();
        let mut newer = state("x");
        newer.orlop.version = VERSION + 1;
        dir.save(&newer).unwrap();
        assert!(dir.load().unwrap_err().to_string().contains("newer"));
        std::fs::write(base.join("root/x/state.json"), "{\"id\":").unwrap();
        let error = dir.load().unwrap_err();
        assert!(error.to_string().contains("line 1"), "{error}");
        assert_eq!(error.kind, Kind::Other);
        std::fs::remove_dir_all(base).unwrap();
    }
}

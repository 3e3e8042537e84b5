//! What checkpoint and restore have in common: the directories of images and log, the options
//! that both give to criu, and criu's own words when it fails.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::options;
use super::state::{State, runc_name};
use crate::criu::log;
use crate::criu::rpc::{Options, field};
use crate::error::{Error, Result, Step};
use crate::plan::NamespaceKind;

/// In the directory of the images: what the standard streams of init were.
pub const DESCRIPTORS: &str = "descriptors.json";

/// Read by criu, where it is there; what it says goes before what we say.
const CONFIG_FILE: &str = "/etc/criu/orlop.conf";
/// Names another file, or with an empty value none.
const CONFIG_ANNOTATION: &str = "org.criu.config";

/// Everything is told: of a failure, criu's log is the only witness.
const LOG_LEVEL: i64 = 4;

/// The open directories, and the log in one of them.
pub struct Dirs {
    images: (File, PathBuf),
    work: Option<(File, PathBuf)>,
    log: PathBuf,
}

impl Dirs {
    /// Open them; those that are missing are made for the owner alone (`make`).
    pub fn open(options: &options::Criu, log: &str, make: bool) -> Result<Self> {
        let images = &options.image_path;
        if make {
            make_dir(images, "make the directory of the images")?;
        }
        let work = options.work_path.as_deref();
        if let Some(work) = work {
            make_dir(work, "make the work directory")?;
        }
        let opened = |path: &Path| Ok((open_dir(path)?, path.to_owned()));
        Ok(Self {
            images: opened(images)?,
            work: work.map(opened).transpose()?,
            log: work.unwrap_or(images).join(log),
        })
    }

    /// The fds, and their paths.
    pub fn all(&self) -> impl Iterator<Item = (BorrowedFd<'_>, &Path)> {
        let all = std::iter::once(&self.images).chain(&self.work);
        all.map(|(file, path)| (file.as_fd(), path.as_path()))
    }

    /// Add the path of the log and what criu says there.
    pub fn explain(&self, error: Error) -> Error {
        let error = match &error.target {
            None => error.with_path(&self.log),
            Some(_) => error,
        };
        match log::errors(&self.log) {
            Some(lines) => error.with_hint(lines),
            None => error,
        }
    }
}

fn make_dir(path: &Path, step: &str) -> Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .step_on(step, path)
}

fn open_dir(path: &Path) -> Result<File> {
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(path)
        .step_on("open the directory", path)
}

/// The options of both, for a container with this state. `log` is the name of the log.
pub fn common(given: &options::Criu, dirs: &Dirs, log: &str, state: &State) -> Options {
    let mut options = Options::default();
    options.fd(field::IMAGES_DIR_FD, dirs.images.0.as_raw_fd());
    if let Some((work, _)) = &dirs.work {
        options.fd(field::WORK_DIR_FD, work.as_raw_fd());
    }
    options.number(field::LOG_LEVEL, LOG_LEVEL);
    options.text(field::LOG_FILE, log);
    options.switch(field::NOTIFY_SCRIPTS, true);
    // The newer of the two decides where criu knows it.
    options.switch(field::MANAGE_CGROUPS, true);
    options.number(field::MANAGE_CGROUPS_MODE, given.cgroups as i64);
    options.switch(field::TCP_ESTABLISHED, given.tcp_established);
    options.switch(field::EXT_UNIX_SK, given.ext_unix_sk);
    options.switch(field::SHELL_JOB, given.shell_job);
    options.switch(field::FILE_LOCKS, given.file_locks);
    options.switch(field::AUTO_DEDUP, given.auto_dedup);
    options.switch(field::LAZY_PAGES, given.lazy_pages);
    options.switch(field::ORPHAN_PTS_MASTER, true);
    // Network devices, addresses and routes are the engine's to make.
    options.number(field::EMPTY_NS, libc::CLONE_NEWNET.into());
    if let Some(method) = given.network_lock {
        options.number(field::NETWORK_LOCK, method as i64);
    }
    match state.orlop.annotations.get(CONFIG_ANNOTATION) {
        None => options.text(field::CONFIG_FILE, CONFIG_FILE),
        Some(none) if none.is_empty() => {}
        Some(file) => options.text(field::CONFIG_FILE, file),
    }
    options
}

/// The kinds that criu leaves alone where a container has joined them: their names in `external`,
/// and the keys that stand for them in the images.
pub const EXTERNAL_NAMESPACES: [(NamespaceKind, &str, &str); 2] = [
    (NamespaceKind::Network, "net", "extRootNetNS"),
    (NamespaceKind::Pid, "pid", "extRootPidNS"),
];

/// The criu that knows external pid namespaces; those of networks are older.
pub const EXTERNAL_SINCE: u32 = 31_500;

/// Whether the container has joined a namespace of this kind.
pub fn joined(state: &State, kind: NamespaceKind) -> bool {
    let name = runc_name(kind);
    let joined = |n: &super::state::Namespace| n.kind == name && !n.path.as_os_str().is_empty();
    state.config.namespaces.iter().any(joined)
}

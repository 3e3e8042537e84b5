//! Being told what happens to a cgroup: that its memory ran out, and that it has gone.
//!
//! inotify tells both on v2: memory.events and cgroup.events are reported as modified when the
//! kernel changes a count in them, and the cgroup has gone when nobody is left in it. That it was
//! removed is told by its parent directory, in every version. On v1 the memory controller signals
//! an eventfd that is written, with a number of its own, to cgroup.event_control (the kernel's
//! cgroup-v1/memory.rst).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use nix::sys::stat::Mode;

use super::{Cgroup, file};
use crate::error::{Error, Result, Step};

const STEP: &str = "watch the cgroup";

/// See the module's text.
#[derive(Debug)]
pub struct Watch {
    inotify: Inotify,
    /// The directory whose end is the cgroup's.
    dir: PathBuf,
    /// Whether cgroup.events tells the end.
    unified: bool,
    memory: Option<Memory>,
}

#[derive(Debug)]
enum Memory {
    V1 {
        eventfd: EventFd,
        dir: PathBuf,
    },
    V2 {
        watch: WatchDescriptor,
        events: PathBuf,
        /// Kills that are known.
        kills: u64,
    },
}

/// What has happened since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub oom: bool,
    /// On v2 also: its last process has ended.
    pub gone: bool,
}

impl Watch {
    /// `None` for a container without a cgroup. Without a memory controller, or the right to be
    /// told by it, no OOM is seen.
    pub fn new(cgroup: &Cgroup) -> Result<Option<Self>> {
        let Some(dir) = cgroup.main_dir() else {
            return Ok(None);
        };
        let flags = InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK;
        let inotify = Inotify::init(flags).step(STEP)?;
        let parent = dir.parent().unwrap_or(dir);
        inotify
            .add_watch(parent, AddWatchFlags::IN_DELETE)
            .step_on(STEP, parent)?;
        let unified =
            cgroup.is_unified_only() && modified(&inotify, &dir.join("cgroup.events"))?.is_some();
        let memory = match cgroup.v1_dir("memory") {
            Some(memory) => match Memory::v1(memory) {
                Ok(memory) => Some(memory),
                Err(error) => {
                    log::warn!("OOM events cannot be seen: {error}");
                    None
                }
            },
            None => match cgroup.unified_dir() {
                Some(unified) => Memory::v2(&inotify, unified)?,
                None => None,
            },
        };
        Ok(Some(Self {
            inotify,
            dir: dir.to_owned(),
            unified,
            memory,
        }))
    }

    /// To be polled for reading.
    pub fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let eventfd = match &self.memory {
            Some(Memory::V1 { eventfd, .. }) => Some(eventfd.as_fd()),
            _ => None,
        };
        std::iter::once(self.inotify.as_fd()).chain(eventfd)
    }

    /// Read what the fds have to tell. Does not wait.
    pub fn look(&mut self) -> Result<Seen> {
        let mut seen = Seen::default();
        loop {
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Error::sys(STEP, errno)),
            };
            for event in events {
                // That a watch ended with its file is told as well.
                let modified = event.mask.contains(AddWatchFlags::IN_MODIFY);
                seen.oom |= modified && self.is_kill(event.wd);
            }
        }
        if let Some(Memory::V1 { eventfd, dir }) = &self.memory
            && eventfd.read().is_ok()
        {
            // The cgroup's end is signalled too.
            seen.oom = dir.exists();
        }
        // Looked up whatever was told: it may have gone before there was a watch, and a queue that
        // ran over has lost events.
        seen.gone = !self.exists();
        Ok(seen)
    }

    fn exists(&self) -> bool {
        match self.unified {
            true => file::read_key(&self.dir.join("cgroup.events"), "populated") == Some(1),
            false => self.dir.exists(),
        }
    }

    /// Whether an event says that the OOM killer has killed once more.
    fn is_kill(&mut self, told: WatchDescriptor) -> bool {
        match &mut self.memory {
            Some(Memory::V2 {
                watch,
                events,
                kills,
            }) if *watch == told => {
                // The last event of a cgroup that has gone is taken for what it most likely was.
                let now = file::read_key(events, "oom_kill").unwrap_or(u64::MAX);
                let before = std::mem::replace(kills, now);
                now > before
            }
            _ => false,
        }
    }
}

impl Memory {
    fn v1(dir: &Path) -> Result<Self> {
        let control = dir.join("memory.oom_control");
        let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let watched = open(&control, flags, Mode::empty()).step_on(STEP, &control)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let eventfd = EventFd::from_flags(flags).step(STEP)?;
        let registration = format!(
            "{} {}",
            eventfd.as_fd().as_raw_fd(),
            watched.as_fd().as_raw_fd()
        );
        let path = dir.join("cgroup.event_control");
        file::write(&path, &registration).step_on(STEP, &path)?;
        Ok(Self::V1 {
            eventfd,
            dir: dir.to_owned(),
        })
    }

    fn v2(inotify: &Inotify, dir: &Path) -> Result<Option<Self>> {
        let events = dir.join("memory.events");
        // First the watch, then the count: what happens between the two is seen twice at most.
        let watch = modified(inotify, &events)?;
        Ok(watch.map(|watch| Self::V2 {
            watch,
            kills: file::read_key(&events, "oom_kill").unwrap_or(0),
            events,
        }))
    }
}

/// `None`: there is no such file.
fn modified(inotify: &Inotify, path: &Path) -> Result<Option<WatchDescriptor>> {
    match inotify.add_watch(path, AddWatchFlags::IN_MODIFY) {
        Ok(watch) => Ok(Some(watch)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(Error::sys(STEP, errno).with_path(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::collections::BTreeMap;
    use std::fs;

    /// A directory that looks like a v2 cgroup; inotify tells of its files, too.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str) -> Self {
            let base = std::env::temp_dir().join(format!("orlop-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&base);
            fs::create_dir_all(base.join("box")).unwrap();
            let fake = Self(base);
            fake.write("cgroup.events", "populated 1\nfrozen 0\n");
            fake.write(
                "memory.events",
                "low 0\noom 1\noom_kill 1\noom_group_kill 0\n",
            );
            fake
        }

        fn write(&self, name: &str, text: &str) {
            // Without truncating: one event, as the kernel gives.
            use std::os::unix::fs::FileExt;
            let options = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(self.0.join("box").join(name));
            options.unwrap().write_all_at(text.as_bytes(), 0).unwrap();
        }

        fn cgroup(&self) -> Cgroup {
            Cgroup::open(&BTreeMap::from([(String::new(), self.0.join("box"))]))
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const OOM: Seen = Seen {
        oom: true,
        gone: false,
    };
    const GONE: Seen = Seen {
        oom: false,
        gone: true,
    };

    #[test]
    fn a_kill_is_seen_once_and_nothing_else_is_taken_for_one() {
        let fake = Fake::new("watch-oom");
        let mut watch = Watch::new(&fake.cgroup()).unwrap().unwrap();
        assert_eq!(watch.look().unwrap(), Seen::default());
        fake.write(
            "memory.events",
            "low 7\noom 1\noom_kill 1\noom_group_kill 0\n",
        );
        assert_eq!(watch.look().unwrap(), Seen::default());
        fake.write(
            "memory.events",
            "low 7\noom 2\noom_kill 2\noom_group_kill 0\n",
        );
        assert_eq!(watch.look().unwrap(), OOM);
        assert_eq!(watch.look().unwrap(), Seen::default());
    }

    #[test]
    fn it_has_gone_when_it_is_empty_or_removed() {
        let fake = Fake::new("watch-gone");
        let mut watch = Watch::new(&fake.cgroup()).unwrap().unwrap();
        fake.write("cgroup.events", "populated 1\nfrozen 1\n");
        assert_eq!(watch.look().unwrap(), Seen::default());
        fake.write("cgroup.events", "populated 0\nfrozen 1\n");
        assert_eq!(watch.look().unwrap(), GONE);

        fake.write("cgroup.events", "populated 1\nfrozen 0\n");
        watch.look().unwrap();
        fs::create_dir(fake.0.join("other")).unwrap();
        fs::remove_dir(fake.0.join("other")).unwrap();
        assert_eq!(watch.look().unwrap(), Seen::default());
        fs::remove_dir_all(fake.0.join("box")).unwrap();
        assert_eq!(watch.look().unwrap(), GONE);
    }

    #[test]
    fn a_removal_is_told_where_nothing_else_tells_it() {
        let fake = Fake::new("watch-v1");
        let dir = fake.0.join("box");
        let cgroup = Cgroup::open(&BTreeMap::from([("devices".to_owned(), dir.clone())]));
        let mut watch = Watch::new(&cgroup).unwrap().unwrap();
        let told = |watch: &Watch| {
            let mut fds: Vec<_> = watch
                .fds()
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
                .collect();
            poll(&mut fds, PollTimeout::ZERO).unwrap() > 0
        };
        assert!(!told(&watch));
        fs::remove_dir_all(&dir).unwrap();
        assert!(told(&watch));
        assert_eq!(watch.look().unwrap(), GONE);
        assert!(!told(&watch), "it is told once");
    }

    #[test]
    fn an_end_before_the_first_look_is_seen() {
        let fake = Fake::new("watch-late");
        fake.write("cgroup.events", "populated 0\nfrozen 0\n");
        let mut watch = Watch::new(&fake.cgroup()).unwrap().unwrap();
        assert_eq!(watch.look().unwrap(), GONE);
    }

    #[test]
    fn without_a_memory_controller_the_end_is_seen_all_the_same() {
        let fake = Fake::new("watch-no-memory");
        fs::remove_file(fake.0.join("box/memory.events")).unwrap();
        let mut watch = Watch::new(&fake.cgroup()).unwrap().unwrap();
        assert_eq!(watch.fds().count(), 1);
        fake.write("cgroup.events", "populated 0\nfrozen 0\n");
        assert_eq!(watch.look().unwrap(), GONE);
        assert!(
            Watch::new(&Cgroup::open(&BTreeMap::new()))
                .unwrap()
                .is_none()
        );
    }
}

//! Freezing and thawing a container.
//!
//! On v2 a cgroup is frozen once it is told so and cgroup.events says it. On v1 a cgroup in
//! which processes keep appearing may stay FREEZING: the kernel looks again only when it is
//! told again, so we repeat, and let it run for a moment now and then. Whenever freezing does
//! not succeed, the cgroup is thawed before the error is returned.

use std::os::fd::AsFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::{Cgroup, file, no_cgroup};
use crate::error::{Error, Result, Step};

/// How long a v2 cgroup may take; uninterruptible processes hold it up.
const PATIENCE: Duration = Duration::from_secs(10);
const V1_TRIES: u32 = 1000;

impl Cgroup {
    /// Stop every process of the cgroup and below. When it returns, they stand still.
    pub fn freeze(&self) -> Result<()> {
        let result = match self.freezer()? {
            Freezer::V1(dir) => freeze_v1(dir),
            Freezer::V2(dir) => freeze_v2(dir),
        };
        if result.is_err() {
            let _ = self.thaw();
        }
        result
    }

    /// Let them run again. Harmless when nothing is frozen, or the cgroup is gone.
    pub fn thaw(&self) -> Result<()> {
        let (path, value) = match self.freezer()? {
            Freezer::V1(dir) => (dir.join("freezer.state"), "THAWED"),
            Freezer::V2(dir) => (dir.join("cgroup.freeze"), "0"),
        };
        match file::write(&path, value) {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(()),
            result => result.step_on("thaw the container", &path),
        }
    }

    /// Let the killed die: what is frozen on v1 does not, be it that the container froze a cgroup
    /// below its own. On v2 that is no hindrance.
    pub fn thaw_all(&self) -> Result<()> {
        self.thaw()?;
        self.thaw_below()
    }

    /// The same but for the cgroup itself.
    pub fn thaw_below(&self) -> Result<()> {
        match self.freezer() {
            Ok(Freezer::V1(dir)) => thaw_children(dir),
            _ => Ok(()),
        }
    }

    /// Whether the cgroup itself was frozen, not merely one above it. A cgroup that is gone is
    /// not frozen.
    pub fn is_frozen(&self) -> Result<bool> {
        let (result, dir) = match self.freezer() {
            Ok(Freezer::V1(dir)) => (is_frozen_v1(dir), dir),
            Ok(Freezer::V2(dir)) => (is_frozen_v2(dir), dir),
            Err(_) => return Ok(false),
        };
        match result {
            Err(Errno::ENOENT | Errno::ENODEV) => Ok(false),
            result => result.step_on("ask whether the cgroup is frozen", dir),
        }
    }

    fn freezer(&self) -> Result<Freezer<'_>> {
        let v1 = self.v1_dir("freezer").map(Freezer::V1);
        v1.or_else(|| self.unified_dir().map(Freezer::V2))
            .ok_or_else(|| no_cgroup("cannot toggle freezer"))
    }
}

enum Freezer<'a> {
    V1(&'a Path),
    V2(&'a Path),
}

fn freeze_v1(dir: &Path) -> Result<()> {
    const STEP: &str = "freeze the container";
    let state = dir.join("freezer.state");
    for attempt in 1..=V1_TRIES {
        if attempt % 50 == 0 {
            // What keeps forking gets on with it, and may be done next time.
            file::write(&state, "THAWED").step_on(STEP, &state)?;
            sleep(Duration::from_millis(10));
        }
        file::write(&state, "FROZEN").step_on(STEP, &state)?;
        if attempt % 25 == 0 {
            sleep(Duration::from_micros(10));
        }
        if file::read_value(&state).step_on(STEP, &state)? == "FROZEN" {
            return Ok(());
        }
    }
    Err(Error::new("unable to freeze").with_path(&state))
}

/// v1. One that has gone meanwhile is as good as thawed.
fn thaw_children(dir: &Path) -> Result<()> {
    for child in file::children(dir) {
        let state = child.join("freezer.state");
        match file::write(&state, "THAWED") {
            Err(Errno::ENOENT | Errno::ENODEV) => {}
            written => written.step_on("thaw the container", &state)?,
        }
        thaw_children(&child)?;
    }
    Ok(())
}

fn freeze_v2(dir: &Path) -> Result<()> {
    const STEP: &str = "freeze the container";
    let path = dir.join("cgroup.freeze");
    file::write(&path, "1").step_on(STEP, &path)?;
    match wait_for_event(dir, "frozen", 1, PATIENCE).step_on(STEP, dir)? {
        true => Ok(()),
        false => Err(Error::new("unable to freeze").with_path(&path)),
    }
}

/// Wait until `key` in cgroup.events is `wanted`. False: not in time. The kernel wakes us
/// (POLLPRI) at each change.
pub fn wait_for_event(
    dir: &Path,
    key: &str,
    wanted: u64,
    patience: Duration,
) -> Result<bool, Errno> {
    let path = dir.join("cgroup.events");
    let watched = open(&path, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let end = Instant::now() + patience;
    loop {
        // poll tells of changes since this fd was last read.
        let mut events = [0; 256];
        let length = nix::sys::uio::pread(&watched, &mut events, 0)?;
        let text = String::from_utf8_lossy(&events[..length]).into_owned();
        let line = format!("{key} {wanted}");
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(
            &mut [PollFd::new(watched.as_fd(), PollFlags::POLLPRI)],
            timeout,
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

pub fn is_frozen_v1(dir: &Path) -> Result<bool, Errno> {
    if file::read_value(&dir.join("freezer.state"))? == "THAWED" {
        return Ok(false);
    }
    Ok(file::read_value(&dir.join("freezer.self_freezing"))? == "1")
}

pub fn is_frozen_v2(dir: &Path) -> Result<bool, Errno> {
    Ok(file::read_value(&dir.join("cgroup.freeze"))? == "1")
}

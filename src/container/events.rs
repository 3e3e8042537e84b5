//! `events`: what a container uses, once or again and again, and each time that its memory ran
//! out.
//!
//! An event is one line of JSON, written by one call, so that a reader that comes between two sees
//! whole lines. Between events we sleep in poll: until the next statistics are due, the cgroup has
//! something to tell ([`Watch`]), or nobody reads any more. That may go on for weeks, so memory is
//! given back ([`alloc::run_long`]). No lock is taken: events only look.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use serde::Serialize;

use super::id::ContainerId;
use super::process::Process;
use super::state::State;
use super::status::Status;
use super::store::Store;
use crate::cgroup::{Cgroup, Stats, Watch};
use crate::error::{Error, Kind, Result, Step};
use crate::intel_rdt;
use crate::sys::alloc;

/// A container whose events are asked for.
#[derive(Debug)]
pub struct Source {
    state: State,
    cgroup: Cgroup,
}

/// One line, as runc's types/events.go has it.
#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data>,
}

#[derive(Serialize)]
struct Data {
    #[serde(flatten)]
    cgroup: Stats,
    intel_rdt: intel_rdt::stats::Stats,
    /// runc has them of devices that it made itself, which no config asks for: null.
    network_interfaces: (),
}

/// What ended a sleep.
#[derive(Debug, PartialEq, Eq)]
enum Woken {
    /// The cgroup has something to tell, or the time is over.
    ToLook,
    /// There is no cgroup to watch, and init has ended.
    Ended,
    /// Nobody reads what we write.
    Unread,
}

impl Source {
    /// A container that is not there, or has stopped, has no events.
    pub fn open(store: &Store, id: &ContainerId) -> Result<Self> {
        let dir = store.open(id)?;
        let state = dir.load()?;
        if Status::of(&state, &dir)? == Status::Stopped {
            let text = format!("container with id {id} is not running");
            return Err(Error::new(text).with_kind(Kind::WrongState));
        }
        let cgroup = Cgroup::open(&state.cgroup_paths);
        Ok(Self { state, cgroup })
    }

    /// The line of a statistics event, as things are now.
    pub fn stats(&self) -> Result<String> {
        let State {
            intel_rdt_path: group,
            intel_rdt_mon_path: monitor,
            ..
        } = &self.state;
        self.line(
            "stats",
            Some(Data {
                cgroup: self.cgroup.stats()?,
                intel_rdt: intel_rdt::stats::read(group, monitor)?,
                network_interfaces: (),
            }),
        )
    }

    fn line(&self, kind: &'static str, data: Option<Data>) -> Result<String> {
        let id = &self.state.id;
        let text = serde_json::to_string(&Event { kind, id, data })
            .map_err(|error| Error::new(format!("write an event: {error}")))?;
        Ok(text + "\n")
    }

    /// Write events to `out` until the cgroup has gone, or nobody reads them: statistics each
    /// `interval`, which is not zero, the first after one of it.
    pub fn follow(&self, interval: Duration, out: &mut File) -> Result<()> {
        alloc::run_long();
        let mut watch = Watch::new(&self.cgroup)?;
        let init = match watch {
            Some(_) => None,
            None => Process::find(self.state.init_process_pid, self.state.init_process_start)?,
        };
        let present = self.cgroup.present();
        let mut next = Instant::now() + interval;
        loop {
            if let Some(watch) = &mut watch {
                let seen = watch.look()?;
                if seen.oom && !write(out, &self.line("oom", None)?)? {
                    return Ok(());
                }
                if seen.gone {
                    return Ok(());
                }
            }
            let now = Instant::now();
            if now >= next {
                let stats = self.stats();
                match stats {
                    // A cgroup that is being removed has only a part of them.
                    _ if self.cgroup.present() < present => {}
                    Ok(line) if !write(out, &line)? => return Ok(()),
                    Ok(_) => {}
                    Err(error) => log::error!("{error}"),
                }
                // What was missed while nobody read is not made up for.
                next = (next + interval).max(now);
            }
            match sleep(watch.as_ref(), init.as_ref(), out, next)? {
                Woken::ToLook => {}
                Woken::Ended | Woken::Unread => return Ok(()),
            }
        }
    }
}

fn sleep(
    watch: Option<&Watch>,
    init: Option<&Process>,
    out: &File,
    until: Instant,
) -> Result<Woken> {
    // Without any flag, poll tells of errors alone: that the reader has gone is one.
    let mut fds = vec![PollFd::new(out.as_fd(), PollFlags::empty())];
    match (watch, init) {
        (Some(watch), _) => fds.extend(watch.fds().map(|fd| PollFd::new(fd, PollFlags::POLLIN))),
        (None, Some(init)) => fds.push(PollFd::new(init.pidfd(), PollFlags::POLLIN)),
        (None, None) => return Ok(Woken::Ended),
    }
    let left = until.saturating_duration_since(Instant::now());
    match ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(Woken::ToLook),
        Err(errno) => return Err(Error::sys("wait for events", errno)),
    }
    let mut woken = fds.iter().map(|fd| fd.any().unwrap_or(true));
    Ok(match (woken.next(), woken.next()) {
        (Some(true), _) => Woken::Unread,
        (_, Some(true)) if watch.is_none() => Woken::Ended,
        _ => Woken::ToLook,
    })
}

/// False: nobody reads it.
fn write(out: &mut File, line: &str) -> Result<bool> {
    match out.write_all(line.as_bytes()) {
        Err(error) if error.raw_os_error() == Some(libc::EPIPE) => Ok(false),
        result => result.step("write an event").map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::state::tests::state;

    fn source() -> Source {
        let mut state = state("box");
        state.cgroup_paths.clear();
        let cgroup = Cgroup::open(&state.cgroup_paths);
        Source { state, cgroup }
    }

    #[test]
    fn a_line_has_runcs_shape() {
        let hugetlb = r#""hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#;
        let line = source().stats().unwrap();
        assert!(line.starts_with(
            r#"{"type":"stats","id":"box","data":{"cpu":{},"cpuset":{"cpu_exclusive":0,"#
        ));
        assert!(line.contains(r#""memory":{},"pids":{},"blkio":{},"#));
        assert!(line.ends_with(&format!("{hugetlb}\n")), "{line}");
        assert_eq!(
            source().line("oom", None).unwrap(),
            "{\"type\":\"oom\",\"id\":\"box\"}\n"
        );
    }

    #[test]
    fn without_a_cgroup_the_end_of_init_is_the_end() {
        let mut out = File::create("/dev/null").unwrap();
        let hour = Duration::from_secs(3600);
        source().follow(hour, &mut out).unwrap();

        let mut child = std::process::Command::new("sleep")
            .arg("0.1")
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        let start = super::super::process::stat(pid).unwrap().unwrap().start;
        let mut source = source();
        source.state.set_init(pid, start);
        let began = Instant::now();
        source.follow(hour, &mut out).unwrap();
        assert!(began.elapsed() < hour / 100);
        child.wait().unwrap();
    }
}

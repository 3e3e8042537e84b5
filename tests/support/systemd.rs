//! A systemd that is not there: enough of org.freedesktop.systemd1 on a socket of the test's own
//! to start and stop units, and a record of what it was asked for.
//!
//! It does what systemd does with a scope: makes its cgroup below that of the manager, here the
//! test's cgroup parent, puts the processes in, and tells of the end of the job.

use std::fs;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::{Test, view};

#[path = "../../src/dbus/wire.rs"]
#[allow(dead_code)]
mod wire;

pub use wire::Value;
use wire::{Kind, Message};

/// How it behaves.
#[derive(Debug, Clone)]
pub struct Manner {
    pub version: &'static str,
    /// What becomes of each start.
    pub result: &'static str,
    /// How long a start takes.
    pub delay: Duration,
    /// A unit that is there already: its name, and whether it has failed.
    pub unit: Option<(String, bool)>,
    /// Units land elsewhere than their names say.
    pub misplaces: bool,
    /// The words with which each start is refused.
    pub refuses: Option<&'static str>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            version: "255.4-1",
            result: "done",
            delay: Duration::ZERO,
            unit: None,
            misplaces: false,
            refuses: None,
        }
    }
}

/// One call: the method and its arguments.
#[derive(Debug, Clone)]
pub struct Call {
    pub method: String,
    pub body: Vec<Value>,
}

struct Shared {
    tag: String,
    manner: Manner,
    calls: Vec<Call>,
    units: Vec<Unit>,
}

struct Unit {
    name: String,
    description: String,
    dirs: Vec<PathBuf>,
}

/// The test with a runtime that has this systemd, and the record.
pub struct Systemd {
    pub test: Test,
    shared: Arc<Mutex<Shared>>,
}

impl Systemd {
    pub fn start(t: &Test, manner: Manner) -> Self {
        let socket = t.dir.join("bus");
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::new(Mutex::new(Shared {
            tag: t.tag.clone(),
            manner,
            calls: Vec::new(),
            units: Vec::new(),
        }));
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &served);
            }
        });
        let runtime = runtime(t, &socket);
        Self {
            test: t.with_runtime(runtime),
            shared,
        }
    }

    /// All calls of a method so far.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        let calls = &self.shared.lock().unwrap().calls;
        let of_method = |call: &&Call| call.method == method;
        calls.iter().filter(of_method).cloned().collect()
    }

    /// The last value of a property of the last unit that was asked for.
    #[track_caller]
    pub fn property(&self, name: &str) -> Option<Value> {
        let starts = self.calls("StartTransientUnit");
        property_of(&starts.last().expect("a unit").body[2], name)
    }

    /// The names of the units that are up.
    pub fn units(&self) -> Vec<String> {
        let units = &self.shared.lock().unwrap().units;
        units.iter().map(|unit| unit.name.clone()).collect()
    }

    /// A unit ends by itself when it is empty.
    pub fn forget(&self, name: &str) {
        let mut shared = self.shared.lock().unwrap();
        shared.units.retain(|unit| unit.name != name);
    }

    /// The unit of this name is another's from now on.
    pub fn give_away(&self, name: &str) {
        let mut shared = self.shared.lock().unwrap();
        let mut units = shared.units.iter_mut();
        let unit = units.find(|unit| unit.name == name).unwrap();
        unit.description = "somebody else's".to_owned();
    }
}

/// The runtime with the systemd driver, on the bus at this socket.
pub fn runtime(t: &Test, socket: &Path) -> super::Runtime {
    let address = format!("DBUS_SYSTEM_BUS_ADDRESS=unix:path={}", socket.display());
    let behind = t.runtime.behind(&["env".as_ref(), address.as_ref()]);
    behind.with_flags(&["--systemd-cgroup"])
}

/// A property in an array of them.
pub fn property_of(list: &Value, name: &str) -> Option<Value> {
    let Value::Array(_, pairs) = list else {
        panic!("no array: {list:?}");
    };
    let value = |pair: &Value| match pair {
        Value::Struct(pair) if pair[0].text() == Some(name) => match &pair[1] {
            Value::Variant(value) => Some((**value).clone()),
            other => panic!("no variant: {other:?}"),
        },
        _ => None,
    };
    pairs.iter().rev().find_map(value)
}

/// One client, until it goes.
fn serve(mut stream: UnixStream, shared: &Mutex<Shared>) {
    let mut received = Vec::new();
    let mut fds = Vec::new();
    let mut greeted = false;
    let mut serial = 0;
    loop {
        if !receive(&stream, &mut received, &mut fds) {
            return;
        }
        if !greeted {
            let words = b"BEGIN\r\n";
            let Some(at) = received.windows(words.len()).position(|w| w == words) else {
                continue;
            };
            let login: Vec<u8> = received.drain(..at + words.len()).collect();
            assert_eq!(
                login,
                b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n"
            );
            let words = b"DATA\r\nOK 0123\r\nAGREE_UNIX_FD\r\n";
            stream.write_all(words).unwrap();
            greeted = true;
        }
        while let Some(length) = Message::length(&received).unwrap() {
            if received.len() < length {
                break;
            }
            let bytes: Vec<u8> = received.drain(..length).collect();
            let call = Message::decode(&bytes).unwrap().unwrap();
            let rest = fds.split_off(call.fds as usize);
            let (answer, job) = answer(&call, &fds, &mut shared.lock().unwrap());
            for fd in std::mem::replace(&mut fds, rest) {
                nix::unistd::close(fd).unwrap();
            }
            let mut messages = vec![answer];
            messages.extend(job);
            for (at, mut message) in messages.into_iter().enumerate() {
                if at > 0 {
                    // Without the lock, so that the test can look meanwhile.
                    let delay = shared.lock().unwrap().manner.delay;
                    thread::sleep(delay);
                }
                serial += 1;
                message.serial = serial;
                if stream.write_all(&message.encode()).is_err() {
                    return;
                }
            }
        }
    }
}

/// The answer, and a signal after it.
fn answer(call: &Message, fds: &[RawFd], shared: &mut Shared) -> (Message, Option<Message>) {
    shared.calls.push(Call {
        method: call.member.clone(),
        body: call.body.clone(),
    });
    let mut answer = Message::new(Kind::Return);
    answer.reply_to = call.serial;
    let text = |at: usize| call.body[at].text().unwrap().to_owned();
    let mut job = None;
    match call.member.as_str() {
        "Hello" => answer.body = vec![":1.7".into()],
        "AddMatch" | "Subscribe" | "SetUnitProperties" => {}
        "Get" => {
            let value = match text(1).as_str() {
                "Version" => shared.manner.version.into(),
                "ControlGroup" => format!("/{}", shared.tag).as_str().into(),
                "Description" => {
                    let of = |unit: &&Unit| call.path == format!("/unit/{}", unit.name);
                    let unit = shared.units.iter().find(of).unwrap();
                    unit.description.as_str().into()
                }
                other => panic!("a property that nobody has: {other}"),
            };
            answer.body = vec![Value::Variant(Box::new(value))];
        }
        "StartTransientUnit" => {
            let name = text(0);
            if shared.manner.unit.as_ref().is_some_and(|u| u.0 == name) {
                let words = format!("Unit {name} was already loaded or has a fragment file.");
                return (
                    error(call, "org.freedesktop.systemd1.UnitExists", &words),
                    None,
                );
            }
            if let Some(words) = shared.manner.refuses {
                return (
                    error(call, "org.freedesktop.DBus.Error.PropertyReadOnly", words),
                    None,
                );
            }
            start(&name, &call.body[2], fds, shared);
            answer.body = vec![Value::ObjectPath("/job/1".to_owned())];
            job = Some(job_removed("/job/1", &name, shared.manner.result));
        }
        "GetUnit" => {
            let name = text(0);
            if !shared.units.iter().any(|unit| unit.name == name) {
                return (no_such_unit(call, &name), None);
            }
            answer.body = vec![Value::ObjectPath(format!("/unit/{name}"))];
        }
        "StopUnit" => {
            let name = text(0);
            let Some(at) = shared.units.iter().position(|unit| unit.name == name) else {
                return (no_such_unit(call, &name), None);
            };
            for dir in shared.units.remove(at).dirs {
                let _ = fs::write(dir.join("cgroup.kill"), "1");
                let _ = fs::remove_dir(dir);
            }
            answer.body = vec![Value::ObjectPath("/job/2".to_owned())];
            job = Some(job_removed("/job/2", &name, "done"));
        }
        "ResetFailedUnit" => {
            let name = text(0);
            shared.manner.unit = shared
                .manner
                .unit
                .take()
                .filter(|unit| *unit != (name.clone(), true));
        }
        other => panic!("a method that nobody has: {other}"),
    }
    (answer, job)
}

fn no_such_unit(call: &Message, name: &str) -> Message {
    let words = format!("Unit {name} not loaded.");
    error(call, "org.freedesktop.systemd1.NoSuchUnit", &words)
}

fn error(call: &Message, name: &str, words: &str) -> Message {
    let mut error = Message::new(Kind::Error);
    error.reply_to = call.serial;
    error.error = name.to_owned();
    error.body = vec![words.into()];
    error
}

fn job_removed(job: &str, unit: &str, result: &str) -> Message {
    let mut signal = Message::new(Kind::Signal);
    signal.path = "/org/freedesktop/systemd1".to_owned();
    signal.interface = "org.freedesktop.systemd1.Manager".to_owned();
    signal.member = "JobRemoved".to_owned();
    let job = Value::ObjectPath(job.to_owned());
    signal.body = vec![Value::Uint32(1), job, unit.into(), result.into()];
    signal
}

/// Make the unit's cgroup in the hierarchies that are systemd's own.
fn start(name: &str, properties: &Value, fds: &[RawFd], shared: &mut Shared) {
    let mut path = PathBuf::from(&shared.tag);
    if shared.manner.misplaces {
        path.push("elsewhere.slice");
    }
    let slice = match property_of(properties, "Slice") {
        Some(slice) => slice.text().unwrap().to_owned(),
        None => name.to_owned(),
    };
    let stem = slice.strip_suffix(".slice").unwrap();
    for (at, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push(format!("{}.slice", &stem[..at]));
    }
    if !name.ends_with(".slice") {
        path.push(name);
    }
    let pids = pids(properties, fds);
    let mut dirs = Vec::new();
    for (kind, point) in view::hierarchies() {
        if kind != "cgroup2" && !point.ends_with("systemd") {
            continue;
        }
        let dir = point.join(&path);
        fs::create_dir_all(&dir).unwrap();
        for pid in &pids {
            fs::write(dir.join("cgroup.procs"), pid).unwrap();
        }
        dirs.push(dir);
    }
    let description = property_of(properties, "Description").unwrap();
    shared.units.push(Unit {
        name: name.to_owned(),
        description: description.text().unwrap().to_owned(),
        dirs,
    });
}

/// The processes of a scope, by number or by pidfd.
fn pids(properties: &Value, fds: &[RawFd]) -> Vec<String> {
    let listed = |name| match property_of(properties, name) {
        Some(Value::Array(_, values)) => values,
        _ => Vec::new(),
    };
    let number = |value| match value {
        Value::Uint32(pid) => pid.to_string(),
        Value::UnixFd(place) => {
            let fd = fds[place as usize];
            let text = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
            pid.unwrap().trim().to_owned()
        }
        other => panic!("no process: {other:?}"),
    };
    let all = listed("PIDs").into_iter().chain(listed("PIDFDs"));
    all.map(number).collect()
}

/// Receive bytes and file descriptors; false: the client is gone.
fn receive(stream: &UnixStream, bytes: &mut Vec<u8>, fds: &mut Vec<RawFd>) -> bool {
    let mut chunk = [0; 4096];
    let mut room = nix::cmsg_space!([i32; 4]);
    let mut into = [IoSliceMut::new(&mut chunk)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let Ok(got) = recvmsg::<()>(stream.as_raw_fd(), &mut into, Some(&mut room), flags) else {
        return false;
    };
    for message in got.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(raw) = message {
            fds.extend(raw);
        }
    }
    let length = got.bytes;
    bytes.extend_from_slice(&chunk[..length]);
    length > 0
}

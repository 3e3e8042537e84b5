//! A client of D-Bus, as small as the one service that we call allows: connect, call, wait for
//! a signal. `wire` has the bytes, `address` the names of sockets.
//!
//! It is ours, and not a crate's, for what the crates that have no threads cannot do: to log in
//! by the credentials of the socket alone. They name a user id, and in a user namespace ours is
//! not the one that the bus sees. It also waits at most until a deadline, whatever it does.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, connect, sendmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

pub mod address;
pub mod wire;

use self::address::Socket;
pub use self::wire::Value;
use self::wire::{Kind, Message};
use crate::error::{Error, Result, Step};

/// How long the bus may take to answer a call.
const PATIENCE: Duration = Duration::from_secs(25);
const BUS: &str = "org.freedesktop.DBus";

/// A connection.
#[derive(Debug)]
pub struct Bus {
    stream: UnixStream,
    /// What has been received and not been looked at.
    received: Vec<u8>,
    signals: VecDeque<Message>,
    serial: u32,
    takes_fds: bool,
}

/// Why a call failed.
#[derive(Debug)]
pub enum Failure {
    /// The service refused it: the error's name, and its words.
    Refused { name: String, words: String },
    /// The call did not get there, or no answer came back.
    Broken(Error),
}

impl Failure {
    /// The error to show: what was being done, and why it failed.
    pub fn into_error(self, step: &str) -> Error {
        match self {
            Self::Refused { words, .. } => Error::new(format!("{step}: {words}")),
            Self::Broken(error) => error.within(step),
        }
    }

    /// Whether the service refused with the error of this name.
    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { name, .. } if name == wanted)
    }
}

/// What to call.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    pub destination: &'a str,
    pub path: &'a str,
    pub interface: &'a str,
}

const DAEMON: Object = Object {
    destination: BUS,
    path: "/org/freedesktop/DBus",
    interface: BUS,
};

impl Bus {
    /// Connect to a bus and be known there.
    pub fn connect(socket: &Socket) -> Result<Self> {
        let mut bus = Self::connect_to_service(socket)?;
        bus.call(DAEMON, "Hello", Vec::new())
            .map_err(|failure| failure.into_error("greet the bus"))?;
        Ok(bus)
    }

    /// Connect to a service that listens by itself, with no bus between.
    pub fn connect_to_service(socket: &Socket) -> Result<Self> {
        let stream = open(socket)?;
        let mut bus = Self {
            stream,
            received: Vec::new(),
            signals: VecDeque::new(),
            serial: 0,
            takes_fds: false,
        };
        bus.log_in().map_err(|error| match socket {
            Socket::Path(path) => error.with_path(path),
            Socket::Abstract(_) => error,
        })?;
        Ok(bus)
    }

    /// Whether file descriptors can be sent by it.
    pub fn takes_fds(&self) -> bool {
        self.takes_fds
    }

    /// Have the bus send us the signals that match a rule.
    pub fn add_match(&mut self, rule: &str) -> Result<()> {
        match self.call(DAEMON, "AddMatch", vec![rule.into()]) {
            Ok(_) => Ok(()),
            Err(failure) => Err(failure.into_error("subscribe to signals")),
        }
    }

    /// Call a method and wait for its answer. Signals that come meanwhile are kept.
    pub fn call(
        &mut self,
        object: Object,
        member: &str,
        body: Vec<Value>,
    ) -> Result<Vec<Value>, Failure> {
        self.call_with(object, member, body, &[])
    }

    /// The same, with file descriptors, which values of the body name by their place here.
    pub fn call_with(
        &mut self,
        object: Object,
        member: &str,
        body: Vec<Value>,
        fds: &[BorrowedFd],
    ) -> Result<Vec<Value>, Failure> {
        self.serial += 1;
        let serial = self.serial;
        let message = Message {
            serial,
            path: object.path.to_owned(),
            interface: object.interface.to_owned(),
            member: member.to_owned(),
            destination: object.destination.to_owned(),
            body,
            fds: fds.len() as u32,
            ..Message::new(Kind::Call)
        };
        self.send(&message.encode(), fds).map_err(Failure::Broken)?;
        let end = Instant::now() + PATIENCE;
        loop {
            let message = match self.receive(end).map_err(Failure::Broken)? {
                Some(message) => message,
                None => {
                    let words = format!("no answer to {member} within {} s", PATIENCE.as_secs());
                    return Err(Failure::Broken(Error::new(words)));
                }
            };
            match message.kind {
                Kind::Signal => self.signals.push_back(message),
                Kind::Return if message.reply_to == serial => return Ok(message.body),
                Kind::Error if message.reply_to == serial => {
                    let words = message.body.first().and_then(Value::text);
                    return Err(Failure::Refused {
                        words: words.unwrap_or(&message.error).to_owned(),
                        name: message.error,
                    });
                }
                _ => {}
            }
        }
    }

    /// File descriptors go with the first byte.
    fn send(&mut self, bytes: &[u8], fds: &[BorrowedFd]) -> Result<()> {
        const STEP: &str = "send to the bus";
        let mut sent = 0;
        if !fds.is_empty() {
            let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
            let rights = [ControlMessage::ScmRights(&raw)];
            let (socket, flags) = (self.stream.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
            sent = loop {
                match sendmsg::<()>(socket, &[IoSlice::new(bytes)], &rights, flags, None) {
                    Err(Errno::EINTR) => {}
                    result => break result.step(STEP)?,
                }
            };
        }
        self.stream.write_all(&bytes[sent..]).step(STEP)
    }

    /// The body of the first signal of this name that `wanted` takes, also of those that came
    /// during calls. `None`: none came in time.
    pub fn wait_for_signal(
        &mut self,
        member: &str,
        patience: Duration,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Result<Option<Vec<Value>>> {
        let end = Instant::now() + patience;
        let fits = |message: &Message| message.member == member && wanted(&message.body);
        if let Some(at) = self.signals.iter().position(fits) {
            return Ok(self.signals.remove(at).map(|message| message.body));
        }
        loop {
            match self.receive(end)? {
                Some(message) if message.kind == Kind::Signal && fits(&message) => {
                    return Ok(Some(message.body));
                }
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// SASL EXTERNAL without a name: the peer takes the credentials that the kernel tells it.
    /// All that there is to say is said at once. Every bus on a unix socket agrees to file
    /// descriptors; what it says to that is its last line.
    fn log_in(&mut self) -> Result<()> {
        const STEP: &str = "log in to the bus";
        let words = b"\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";
        self.stream.write_all(words).step(STEP)?;
        let end = Instant::now() + PATIENCE;
        let mut known = false;
        loop {
            if let Some(at) = self.received.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.received.drain(..at + 2).collect();
                if known {
                    self.takes_fds = line.starts_with(b"AGREE_UNIX_FD");
                    return Ok(());
                }
                if line.starts_with(b"OK ") {
                    known = true;
                } else if !line.starts_with(b"DATA") {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    return Err(Error::new(format!("{STEP}: it said {line:?}")));
                }
            } else if self.received.len() > 4096 || !self.fill(end).map_err(|e| e.within(STEP))? {
                return Err(Error::new(format!("{STEP}: no answer")));
            }
        }
    }

    /// The next message; `None`: none came in time.
    fn receive(&mut self, end: Instant) -> Result<Option<Message>> {
        let broken = |words| Error::new(format!("the bus sent {words}"));
        loop {
            match Message::length(&self.received).map_err(broken)? {
                Some(length) if self.received.len() >= length => {
                    let bytes: Vec<u8> = self.received.drain(..length).collect();
                    if let Some(message) = Message::decode(&bytes).map_err(broken)? {
                        return Ok(Some(message));
                    }
                }
                _ if !self.fill(end)? => return Ok(None),
                _ => {}
            }
        }
    }

    /// Receive something more; false: nothing came in time.
    fn fill(&mut self, end: Instant) -> Result<bool> {
        const STEP: &str = "receive from the bus";
        let mut chunk = [0; 4096];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.stream.set_read_timeout(Some(left)).step(STEP)?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Error::new("the bus closed the connection")),
                Ok(length) => {
                    self.received.extend_from_slice(&chunk[..length]);
                    return Ok(true);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).step(STEP),
            }
        }
    }
}

/// A connected stream, on which writing waits no longer than our patience.
fn open(socket: &Socket) -> Result<UnixStream> {
    const STEP: &str = "connect to the bus";
    let (address, name) = match socket {
        Socket::Path(path) => (UnixAddr::new(path), path.display().to_string()),
        Socket::Abstract(name) => (
            UnixAddr::new_abstract(name),
            format!("@{}", String::from_utf8_lossy(name)),
        ),
    };
    let name = Path::new(&name);
    let connected = || -> Result<OwnedFd, Errno> {
        let fd = self::socket(
            AddressFamily::Unix,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        // It also bounds connect, which waits while the listener's queue is full.
        let limit = TimeVal::seconds(PATIENCE.as_secs() as i64);
        setsockopt(&fd, sockopt::SendTimeout, &limit)?;
        connect(fd.as_raw_fd(), &address?)?;
        Ok(fd)
    };
    Ok(UnixStream::from(connected().step_on(STEP, name)?))
}

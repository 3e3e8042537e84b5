//! A seccomp agent: takes listeners on a socket and answers what they notify it of.
//!
//! mkdirat is emulated, with an fd of the new directory added to the caller, which gets its
//! number for an answer; every other call goes on.

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::Value;

use super::Test;

/// What an agent does with a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Answers,
    /// It closes the listener at once.
    HangsUp,
    /// It keeps the listener and never answers.
    IsSilent,
}

pub struct Agent {
    path: PathBuf,
    states: Receiver<Value>,
}

impl Agent {
    pub fn new(t: &Test, name: &str, manner: Manner) -> Self {
        let path = t.dir.join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let (sender, states) = channel();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for stream in listener.incoming() {
                let (state, fd) = receive(stream.unwrap().as_raw_fd());
                match manner {
                    Manner::Answers => drop(thread::spawn(move || while answer(&fd) {})),
                    Manner::HangsUp => drop(fd),
                    Manner::IsSilent => kept.push(fd),
                }
                if sender.send(state).is_err() {
                    return;
                }
            }
        });
        Self { path, states }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The container process state that came next.
    pub fn state(&self) -> Value {
        self.states
            .recv_timeout(Duration::from_secs(20))
            .expect("the agent is called")
    }

    /// No other came.
    pub fn expect_no_more(&self) {
        let more = self.states.recv_timeout(Duration::from_millis(50));
        assert!(more.is_err(), "{more:?}");
    }
}

/// One message to the end of the connection, with one fd.
#[allow(unsafe_code)]
fn receive(stream: RawFd) -> (Value, OwnedFd) {
    let mut text = Vec::new();
    let mut fds: Vec<RawFd> = Vec::new();
    loop {
        let mut part = [0; 4096];
        let mut slices = [IoSliceMut::new(&mut part)];
        let mut space = cmsg_space!([RawFd; 4]);
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<()>(stream, &mut slices, Some(&mut space), flags).unwrap();
        for control in message.cmsgs().unwrap() {
            if let ControlMessageOwned::ScmRights(received) = control {
                fds.extend(received);
            }
        }
        let length = message.bytes;
        if length == 0 {
            break;
        }
        text.extend_from_slice(&part[..length]);
    }
    let state = String::from_utf8(text).unwrap();
    assert_eq!(fds.len(), 1, "one fd comes with {state}");
    // SAFETY: the kernel has just made this fd for us.
    let fd = unsafe { OwnedFd::from_raw_fd(fds[0]) };
    (serde_json::from_str(&state).unwrap(), fd)
}

/// `struct seccomp_notif`, with `struct seccomp_data` in it.
#[repr(C)]
#[derive(Default)]
struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    arch: u32,
    place: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
struct AddFd {
    id: u64,
    flags: u32,
    source: u32,
    number: u32,
    number_flags: u32,
}

const RECEIVE: u64 = 0xc050_2100;
const SEND: u64 = 0xc018_2101;
const ADD_FD: u64 = 0x4018_2103;
/// SECCOMP_ADDFD_FLAG_SEND: the number of the fd is the answer.
const AND_SEND: u32 = 2;
/// SECCOMP_USER_NOTIF_FLAG_CONTINUE.
const CONTINUE: u32 = 1;

#[allow(unsafe_code)]
fn ioctl<T>(fd: &OwnedFd, request: u64, argument: &mut T) -> nix::Result<i32> {
    // SAFETY: the callers pass the struct that belongs to the request.
    let rc = unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) };
    nix::errno::Errno::result(rc)
}

/// Wait for one call and answer it; false when nobody is left who could make one.
fn answer(listener: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, PollTimeout::NONE).is_err() {
        return true;
    }
    let ready = fds[0].revents().unwrap();
    if !ready.contains(PollFlags::POLLIN) {
        return !ready.contains(PollFlags::POLLHUP);
    }
    let mut call = Notification::default();
    // ENOENT: whoever made the call was killed.
    if ioctl(listener, RECEIVE, &mut call).is_err() {
        return true;
    }
    if i64::from(call.number) == libc::SYS_mkdirat {
        let made = make_directory(&call);
        let mut added = AddFd {
            id: call.id,
            flags: AND_SEND,
            source: made.as_raw_fd() as u32,
            number: 0,
            number_flags: 0,
        };
        let _ = ioctl(listener, ADD_FD, &mut added);
    } else {
        let mut response = Response {
            id: call.id,
            value: 0,
            error: 0,
            flags: CONTINUE,
        };
        let _ = ioctl(listener, SEND, &mut response);
    }
    true
}

fn make_directory(call: &Notification) -> File {
    let memory = File::open(format!("/proc/{}/mem", call.pid)).unwrap();
    let mut text = [0; 64];
    let length = memory.read_at(&mut text, call.args[1]).unwrap();
    let name = text[..length].split(|byte| *byte == 0).next().unwrap();
    let name = String::from_utf8_lossy(name).into_owned();
    let path = format!("/proc/{}/root{name}", call.pid);
    fs::create_dir(&path).unwrap();
    File::open(path).unwrap()
}

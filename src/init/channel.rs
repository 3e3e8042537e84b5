//! What the two halves say to each other: short messages over a socket pair.
//!
//! A SOCK_SEQPACKET pair keeps messages whole, and its end is seen by the other side when one
//! half dies: init gives up when its parent is gone before it was ready, and the parent learns
//! of init's death from the end of the stream, or of its success, as execve closes init's end.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, MsgFlags, SockFlag, SockType, listen, recv, send,
    sendmsg, socketpair,
};
use nix::unistd::{read, write};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result, Step, Target};
use crate::sys::socket::{accept, receive_fd};

/// Longest frame. An error may hold names of the config and a hook's output, so its sender cuts
/// its texts: at worst a byte of them takes six in JSON.
const MAX_FRAME: usize = 64 << 10;
const MAX_STEP: usize = 6 << 10;
const MAX_TARGET: usize = 2 << 10;
const MAX_HINT: usize = 1 << 10;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Init: put me into the unit of systemd that has the cgroup.
    PlaceInUnit,
    /// Init, in a new user namespace: write my id maps.
    MapIds,
    /// A middle process cloned the real init; its pid in the runtime's pid namespace.
    Cloned(i32),
    /// Init: map the ids of the mount that has this place in the plan. Its detached tree comes
    /// after it, as an fd.
    MapMount(usize),
    /// Init: open the source of the mount that has this place in the plan, or the rootfs. It is
    /// sent back as an fd.
    OpenSource(Option<usize>),
    /// Init: clone the source of this mount without what is mounted below it. Sent back likewise.
    CloneSource(usize),
    /// Init, in its namespaces: move the network devices in.
    MoveDevices,
    /// Init: the mounts are there; run the hooks that belong to the runtime's namespaces.
    RunHooks,
    /// Init, its filter loaded: fetch the notification fd, which I have under this number.
    Listener(RawFd),
    /// Init: all is done but the user's program.
    Ready,
    /// The parent: go on.
    Go,
    /// Init: it failed, and this is why. Init exits after it.
    Failed(Error),
    /// Init: a line for the log.
    Warn(String),
}

/// One end of the socket pair, or of a connection to the start socket.
#[derive(Debug)]
pub struct Channel {
    fd: OwnedFd,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Channel {
    /// Two connected ends, closed at execve.
    pub fn pair() -> Result<(Self, Self)> {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .step("make a socket pair")?;
        Ok((Self { fd: a }, Self { fd: b }))
    }

    /// An end that was connected or accepted elsewhere.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Send one message. MSG_NOSIGNAL: a dead peer is an error, not a SIGPIPE.
    pub fn send(&self, message: &Message) -> Result<()> {
        let frame = match message {
            // The two of every run need no JSON.
            Message::Ready => b"r".to_vec(),
            Message::Go => b"g".to_vec(),
            Message::Warn(warning) => encode(&Message::Warn(cut(warning, MAX_STEP)))?,
            other => encode(other)?,
        };
        send(self.fd.as_raw_fd(), &frame, MsgFlags::MSG_NOSIGNAL)
            .map(drop)
            .step("send to the other half")
    }

    /// Init: have the parent map the ids of a detached mount.
    pub fn have_mapped(&self, index: usize, tree: BorrowedFd) -> Result<()> {
        self.send(&Message::MapMount(index))?;
        self.send_fd(tree)?;
        self.wait_for_go()
    }

    /// Init: ask the parent for a source; an answer to [`Message::OpenSource`] or
    /// [`Message::CloneSource`].
    pub fn ask_for_source(&self, question: &Message) -> Result<OwnedFd> {
        self.send(question)?;
        let fd = self.receive_fd()?;
        self.wait_for_go()?;
        Ok(fd)
    }

    /// Init, under a filter that may notify: have the parent fetch the listener. Only write(2)
    /// and read(2) are called for it, of which the first is never notified.
    pub fn have_fetched(&self, listener: BorrowedFd) -> Result<()> {
        let step = "hand over the seccomp listener";
        let frame = encode(&Message::Listener(listener.as_raw_fd()))?;
        write(&self.fd, &frame).step(step)?;
        let mut answer = [0; 1];
        match read(&self.fd, &mut answer).step(step)? {
            1 if answer == *b"g" => Ok(()),
            _ => Err(Error::new(step)),
        }
    }

    /// One fd, after the message that announces it.
    pub fn send_fd(&self, fd: BorrowedFd) -> Result<()> {
        sendmsg::<()>(
            self.fd.as_raw_fd(),
            &[IoSlice::new(b"t")],
            &[ControlMessage::ScmRights(&[fd.as_raw_fd()])],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map(drop)
        .step("send an fd to the other half")
    }

    /// The fd that [`send_fd`](Self::send_fd) has sent.
    pub fn receive_fd(&self) -> Result<OwnedFd> {
        receive_fd(self.fd.as_fd()).step("receive an fd from the other half")
    }

    /// The next message; `None` when the other end is closed.
    pub fn receive(&self) -> Result<Option<Message>> {
        let mut short = [0u8; 2048];
        let length = loop {
            let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
            match recv(self.fd.as_raw_fd(), &mut short, flags) {
                Err(Errno::EINTR) => {}
                // The peer died with our message unread.
                Err(Errno::ECONNRESET) => return Ok(None),
                other => break other.step("receive from the other half")?,
            }
        };
        let mut long;
        let buffer = if length > short.len() {
            long = vec![0; length.min(MAX_FRAME)];
            long.as_mut_slice()
        } else {
            short.as_mut_slice()
        };
        let length = recv(self.fd.as_raw_fd(), buffer, MsgFlags::empty())
            .step("receive from the other half")?;
        match buffer.get(..length).unwrap_or_default() {
            b"" => Ok(None),
            b"r" => Ok(Some(Message::Ready)),
            b"g" => Ok(Some(Message::Go)),
            frame => serde_json::from_slice(frame)
                .map(Some)
                .map_err(|error| Error::new(format!("decode a message: {error}"))),
        }
    }

    /// Wait for the parent's word; its end is the end of us.
    pub fn wait_for_go(&self) -> Result<()> {
        match self.receive()? {
            Some(Message::Go) => Ok(()),
            _ => Err(Error::new("the runtime went away before init was ready")),
        }
    }
}

/// Tell the peer of `fd` why we end. Works on the bare number, as a panic hook has no more;
/// that nobody listens any more changes nothing.
pub fn send_failure(fd: RawFd, error: &Error) {
    let short = Error {
        step: cut(&error.step, MAX_STEP),
        target: error.target.as_ref().map(|target| match target {
            Target::Field(pointer) => Target::Field(cut(pointer, MAX_TARGET)),
            Target::Path(path) => Target::Path(cut(path, MAX_TARGET)),
        }),
        hint: error.hint.as_ref().map(|hint| cut(hint, MAX_HINT)),
        ..error.clone()
    };
    if let Ok(frame) = encode(&Message::Failed(short)) {
        let _ = send(fd, &frame, MsgFlags::MSG_NOSIGNAL);
    }
}

fn encode(message: &Message) -> Result<Vec<u8>> {
    serde_json::to_vec(message).map_err(|error| Error::new(format!("encode a message: {error}")))
}

/// The first `most` bytes of a text, or a few less where a character would be split.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}...", &text[..end])
}

/// The listening socket on which a created container waits for `start`.
#[derive(Debug)]
pub struct Gate {
    fd: OwnedFd,
}

impl Gate {
    /// `fd` is bound; from here on `start` can connect.
    pub fn listen(fd: OwnedFd) -> Result<Self> {
        let backlog = Backlog::new(1).step("listen on the start socket")?;
        listen(&fd, backlog).step("listen on the start socket")?;
        Ok(Self { fd })
    }

    pub fn raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Wait until somebody connects and says go. One that connects and goes away without a
    /// word (a `start` that was killed) leaves us waiting for the next.
    pub fn wait(&self) -> Result<Channel> {
        loop {
            let fd = match accept(self.fd.as_fd()) {
                Err(Errno::EINTR | Errno::ECONNABORTED) => continue,
                other => other.step("wait for start")?,
            };
            let channel = Channel::from_fd(fd);
            if let Ok(Some(Message::Go)) = channel.receive() {
                return Ok(channel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_the_end_is_seen() {
        let (a, b) = Channel::pair().unwrap();
        let failed = Message::Failed(Error::new("x".repeat(5000)));
        a.send(&Message::Ready).unwrap();
        a.send(&failed).unwrap();
        assert_eq!(b.receive().unwrap(), Some(Message::Ready));
        assert_eq!(b.receive().unwrap(), Some(failed));
        let long = "\u{1}".repeat(20_000);
        let error = Error::new(&long).with_path(&long).with_hint(&long);
        send_failure(a.raw_fd(), &error);
        let Some(Message::Failed(short)) = b.receive().unwrap() else {
            panic!("not a failure");
        };
        assert_eq!(short.step, format!("{}...", &long[..MAX_STEP]));
        a.send(&Message::Warn("ü".repeat(20_000))).unwrap();
        let warning = format!("{}...", "ü".repeat(MAX_STEP / 2));
        assert_eq!(b.receive().unwrap(), Some(Message::Warn(warning)));
        drop(a);
        assert_eq!(b.receive().unwrap(), None);
        assert!(b.wait_for_go().is_err());
    }

    #[test]
    fn the_tree_of_a_mount_comes_after_its_number() {
        let (parent, init) = Channel::pair().unwrap();
        let (near, far) = Channel::pair().unwrap();
        parent.send(&Message::Go).unwrap();
        init.have_mapped(7, far.as_fd()).unwrap();
        drop(far);
        assert_eq!(parent.receive().unwrap(), Some(Message::MapMount(7)));
        let far = Channel::from_fd(parent.receive_fd().unwrap());
        far.send(&Message::Ready).unwrap();
        assert_eq!(near.receive().unwrap(), Some(Message::Ready));
        init.send(&Message::Ready).unwrap();
        assert_eq!(
            parent.receive_fd().unwrap_err().errno(),
            Some(Errno::EBADMSG)
        );
    }
}

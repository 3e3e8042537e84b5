//! The caller's end of a terminal: a socket that takes the master.

use std::io::{IoSliceMut, Read};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::Test;

/// What listens for a terminal, as conmon or containerd's shim does.
pub struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    pub fn new(t: &Test, name: &str) -> Self {
        let path = t.dir.join(name);
        Self {
            listener: UnixListener::bind(&path).unwrap(),
            path,
        }
    }

    pub fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The master, and the payload that came with it.
    #[allow(unsafe_code)]
    pub fn receive(&self) -> (OwnedFd, String) {
        use std::os::fd::AsRawFd;
        let (stream, _) = self.listener.accept().unwrap();
        let mut text = [0; 256];
        let mut slices = [IoSliceMut::new(&mut text)];
        let mut space = cmsg_space!([RawFd; 1]);
        let fd = stream.as_raw_fd();
        let message = recvmsg::<()>(fd, &mut slices, Some(&mut space), MsgFlags::empty()).unwrap();
        let length = message.bytes;
        let fds = message.cmsgs().unwrap().find_map(|message| match message {
            ControlMessageOwned::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let master = fds.expect("a message with an fd")[0];
        // SAFETY: the kernel has just made this fd for us.
        let master = unsafe { OwnedFd::from_raw_fd(master) };
        (
            master,
            String::from_utf8_lossy(&text[..length]).into_owned(),
        )
    }
}

/// All that is written to the terminal, up to the hang-up (EIO on a master).
pub fn read_all(master: OwnedFd) -> String {
    let mut bytes = Vec::new();
    let _ = std::fs::File::from(master).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

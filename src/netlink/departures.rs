//! Which links have left a network namespace, as the kernel tells those who subscribe.
//!
//! Names and numbers of links are for anyone to take who may change the namespace, so they do
//! not tell whether a link is the one that it was. That none of this number has gone since does.

use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, bind, setsockopt, sockopt};

use super::message::{attributes, replies, u32_at};
use super::{LINK, MOST, received};
use crate::sys::netlink::route_socket;

/// IFLA_NEW_IFINDEX of linux/if_link.h (Linux 4.16), which libc does not have.
const NEW_INDEX: u16 = 49;
/// Bytes for what is yet to be read: a host that starts many containers has much to tell.
const ROOM: usize = 4 << 20;

/// The subscription of one network namespace.
#[derive(Debug)]
pub struct Departures {
    socket: OwnedFd,
    seen: RefCell<Vec<Departure>>,
    /// There was more to tell than the socket holds.
    overrun: Cell<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// The number that the link had.
    index: u32,
    /// Its number where it went; none when it ended.
    pub new_index: Option<u32>,
}

impl Departures {
    /// From the namespace that the caller is in now, from now on.
    pub fn open() -> Result<Self, Errno> {
        let socket = route_socket()?;
        // Refused without the host's rights; there is some room in any case.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &ROOM);
        let group = libc::RTMGRP_LINK as u32;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, group))?;
        Ok(Self {
            socket,
            seen: RefCell::default(),
            overrun: Cell::default(),
        })
    }

    /// Forget what there was until now.
    pub fn forget(&self) -> Result<(), Errno> {
        self.read()?;
        self.seen.borrow_mut().clear();
        self.overrun.set(false);
        Ok(())
    }

    /// Those of links that had this number, in their order.
    ///
    /// # Errors
    /// ENOBUFS: some may have been missed.
    pub fn of(&self, index: u32) -> Result<Vec<Departure>, Errno> {
        self.read()?;
        if self.overrun.get() {
            return Err(Errno::ENOBUFS);
        }
        let seen = self.seen.borrow();
        Ok(seen.iter().copied().filter(|d| d.index == index).collect())
    }

    fn read(&self) -> Result<(), Errno> {
        let mut buffer = vec![0; MOST];
        loop {
            match received(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::ENOBUFS) => self.overrun.set(true),
                Err(errno) => return Err(errno),
                // Whoever may change links may also send what looks like the kernel's words.
                Ok((_, from)) if from != 0 => {}
                Ok((length, _)) => {
                    let datagram = buffer.get(..length).unwrap_or_default();
                    let gone = replies(datagram).filter(|reply| reply.kind == libc::RTM_DELLINK);
                    let gone = gone.filter_map(|reply| parse(reply.body));
                    self.seen.borrow_mut().extend(gone);
                }
            }
        }
    }
}

/// A bridge that lets go of a link says so in the same words, in a family of its own.
fn parse(body: &[u8]) -> Option<Departure> {
    if i32::from(*body.first()?) != libc::AF_UNSPEC {
        return None;
    }
    let new_index = attributes(body.get(LINK..)?)
        .find(|(kind, _)| *kind == NEW_INDEX)
        .and_then(|(_, value)| u32_at(value, 0));
    Some(Departure {
        index: u32_at(body, 4)?,
        new_index,
    })
}

#[cfg(test)]
mod tests {
    use super::super::link_header;
    use super::super::message::Request;
    use super::*;

    #[test]
    fn a_link_that_leaves_says_where_it_went() {
        let header = link_header(7, None);
        let left =
            Request::new(libc::RTM_DELLINK, 0, &header).attribute(NEW_INDEX, &9u32.to_ne_bytes());
        let gone = |new_index| Departure {
            index: 7,
            new_index,
        };
        assert_eq!(parse(&left.finish(0)[16..]), Some(gone(Some(9))));
        assert_eq!(parse(&header), Some(gone(None)));
        let mut bridge = header;
        bridge[0] = libc::AF_BRIDGE as u8;
        assert_eq!(parse(&bridge), None);
        assert_eq!(parse(&header[..10]), None);
    }

    #[test]
    fn nothing_has_left() {
        assert_eq!(Departures::open().unwrap().of(0x7fff_ffff), Ok(Vec::new()));
    }
}

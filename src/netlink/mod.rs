//! The few questions to the kernel's routing socket that moving a network device needs: find
//! a link, list its addresses, change it, move it to another namespace, give it addresses
//! (rtnetlink(7)).
//!
//! Written by hand, as the crates for it parse every message there is, and refuse what a newer
//! kernel has added to one. What is not asked for here is passed over.

mod departures;
mod message;

use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, NetlinkAddr, recvmsg, sendto};

use self::message::{Reply, Request, attributes, replies, u32_at};
use crate::error::Error;
use crate::sys::netlink::route_socket;

pub use departures::Departures;

/// A datagram of the kernel is at most 32 KiB, unless one message alone is longer.
const MOST: usize = 64 << 10;
/// How often a list is asked for that changes while it is read.
const TRIES: u32 = 10;

/// NLM_F_DUMP_INTR: the list changed while it was read.
const INTERRUPTED: u16 = 0x10;
/// Sizes of `ifinfomsg` and `ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;

/// IFA_FLAGS and IFA_RT_PRIORITY of linux/if_addr.h, which libc does not have.
const IFA_FLAGS: u16 = 8;
const IFA_RT_PRIORITY: u16 = 9;
/// What an address is, and goes on being: peer or network, the address itself, metric.
const KEPT: [u16; 4] = [
    libc::IFA_ADDRESS,
    libc::IFA_LOCAL,
    libc::IFA_BROADCAST,
    IFA_RT_PRIORITY,
];
/// Flags that were asked for, in contrast to those that tell a state: NODAD, HOMEADDRESS,
/// MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN.
const KEPT_FLAGS: u32 = 0x02 | 0x10 | 0x100 | 0x200 | 0x400;

/// What the kernel said no with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub errno: Errno,
    /// In its words, where it has some.
    pub reason: Option<String>,
}

impl Refused {
    pub fn to_error(&self, step: impl Into<String>) -> Error {
        let error = Error::sys(step, self.errno);
        match &self.reason {
            Some(reason) => error.with_hint(reason.trim_end_matches('.')),
            None => error,
        }
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self {
            errno,
            reason: None,
        }
    }
}

type Result<T> = std::result::Result<T, Refused>;

/// A network device, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    pub up: bool,
    /// Index of the bridge or bond that it belongs to; 0 for none.
    pub master: u32,
}

/// An address of a link, in the form in which it can be given to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix: u8,
    flags: u32,
    attributes: Vec<(u16, Vec<u8>)>,
}

/// What to change of a link in one request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    pub up: Option<bool>,
    pub name: Option<&'a str>,
    /// Where it goes. The kernel moves it under its old name where that is free, and only then
    /// renames it.
    pub netns: Option<BorrowedFd<'a>>,
    pub master: Option<u32>,
}

/// A routing socket of one network namespace.
#[derive(Debug)]
pub struct Route {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl Route {
    /// Of the namespace that the caller is in now.
    pub fn open() -> std::result::Result<Self, Errno> {
        Ok(Self {
            socket: route_socket()?,
            sequence: Cell::new(0),
        })
    }

    /// The link of this name; ENODEV where there is none.
    pub fn link(&self, name: &str) -> Result<Link> {
        let request = Request::new(libc::RTM_GETLINK, 0, &[0; LINK]).text(libc::IFLA_IFNAME, name);
        let mut found = None;
        self.ask(request, |reply| {
            if reply.kind == libc::RTM_NEWLINK {
                found = parse_link(reply.body);
            }
        })?;
        found.ok_or(Refused::from(Errno::EBADMSG))
    }

    /// The addresses of a link that outlive their namespace: permanent ones of global scope,
    /// of both families.
    pub fn addresses(&self, index: u32) -> Result<Vec<Address>> {
        for _ in 0..TRIES {
            let mut found = Vec::new();
            let mut whole = true;
            let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &[0; ADDRESS]);
            self.ask(request, |reply| {
                whole &= reply.flags & INTERRUPTED == 0;
                if reply.kind == libc::RTM_NEWADDR {
                    found.extend(parse_address(reply.body, index));
                }
            })?;
            if whole {
                return Ok(found);
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Change a link.
    pub fn change(&self, index: u32, change: &Change) -> Result<()> {
        let header = link_header(index, change.up);
        let mut request = Request::new(libc::RTM_NEWLINK, libc::NLM_F_ACK, &header);
        if let Some(name) = change.name {
            request = request.text(libc::IFLA_IFNAME, name);
        }
        if let Some(netns) = change.netns {
            let fd = netns.as_raw_fd().to_ne_bytes();
            request = request.attribute(libc::IFLA_NET_NS_FD, &fd);
        }
        if let Some(master) = change.master {
            request = request.attribute(libc::IFLA_MASTER, &master.to_ne_bytes());
        }
        self.ask(request, |_| {})
    }

    /// Give a link an address.
    pub fn add_address(&self, index: u32, address: &Address) -> Result<()> {
        let mut header = [address.family, address.prefix, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&index.to_ne_bytes());
        let flags = libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        let mut request = Request::new(libc::RTM_NEWADDR, flags, &header);
        for (kind, value) in &address.attributes {
            request = request.attribute(*kind, value);
        }
        self.ask(
            request.attribute(IFA_FLAGS, &address.flags.to_ne_bytes()),
            |_| {},
        )
    }

    /// Send one request, and hand on what comes back up to its end: an error or an
    /// acknowledgement, the end of a list, or the one message that is the answer.
    fn ask(&self, request: Request, mut each: impl FnMut(Reply)) -> Result<()> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let fd = self.socket.as_raw_fd();
        let kernel = NetlinkAddr::new(0, 0);
        sendto(fd, &request.finish(sequence), &kernel, MsgFlags::empty())?;
        let mut buffer = vec![0; MOST];
        loop {
            let (length, from) = match received(fd, &mut buffer, MsgFlags::empty()) {
                Err(Errno::EINTR) => continue,
                other => other?,
            };
            if from != 0 {
                continue;
            }
            let datagram = buffer.get(..length).unwrap_or_default();
            for reply in replies(datagram).filter(|reply| reply.sequence == sequence) {
                match i32::from(reply.kind) {
                    // Each begins with an errno.
                    libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                        return reply
                            .verdict()
                            .map_err(|(errno, reason)| Refused { errno, reason });
                    }
                    _ => each(reply),
                }
                if i32::from(reply.flags) & libc::NLM_F_MULTI == 0 {
                    return Ok(());
                }
            }
        }
    }
}

/// The length of the next datagram, and the port that it came from: 0 is the kernel. One that
/// is longer than the buffer has never been seen, and must not be taken for the whole.
fn received(
    fd: RawFd,
    buffer: &mut [u8],
    flags: MsgFlags,
) -> std::result::Result<(usize, u32), Errno> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<NetlinkAddr>(fd, &mut parts, None, flags)?;
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    let port = message.address.map_or(0, |from| from.pid());
    Ok((message.bytes, port))
}

/// `ifinfomsg`: family, padding, type, index, flags, and which of them to change.
fn link_header(index: u32, up: Option<bool>) -> [u8; LINK] {
    let mut header = [0; LINK];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if let Some(up) = up {
        let bit = libc::IFF_UP as u32;
        let flags = if up { bit } else { 0 };
        header[8..12].copy_from_slice(&flags.to_ne_bytes());
        header[12..].copy_from_slice(&bit.to_ne_bytes());
    }
    header
}

fn parse_link(body: &[u8]) -> Option<Link> {
    let master = attributes(body.get(LINK..)?)
        .find(|(kind, _)| *kind == libc::IFLA_MASTER)
        .and_then(|(_, value)| u32_at(value, 0));
    Some(Link {
        index: u32_at(body, 4)?,
        up: u32_at(body, 8)? & libc::IFF_UP as u32 != 0,
        master: master.unwrap_or(0),
    })
}

/// The address, if it is one of this link that is to be kept.
fn parse_address(body: &[u8], index: u32) -> Option<Address> {
    let &[family, prefix, short_flags, scope, ..] = body else {
        return None;
    };
    let mut flags = u32::from(short_flags);
    let mut kept = Vec::new();
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        if kind == IFA_FLAGS {
            flags = u32_at(value, 0)?;
        } else if KEPT.contains(&kind) {
            kept.push((kind, value.to_vec()));
        }
    }
    let ours = u32_at(body, 4)? == index;
    let lasting = flags & libc::IFA_F_PERMANENT != 0 && scope == libc::RT_SCOPE_UNIVERSE;
    (ours && lasting).then_some(Address {
        family,
        prefix,
        flags: flags & KEPT_FLAGS,
        attributes: kept,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of an RTM_NEWADDR message for 10.0.0.1/24 of link 5.
    fn address(scope: u8, flags: u32) -> Vec<u8> {
        let mut header = [2, 24, 0, scope, 0, 0, 0, 0];
        header[4..].copy_from_slice(&5u32.to_ne_bytes());
        let message = Request::new(libc::RTM_NEWADDR, 0, &header)
            .attribute(libc::IFA_LOCAL, &[10, 0, 0, 1])
            .text(libc::IFA_LABEL, "eth0")
            .attribute(IFA_FLAGS, &flags.to_ne_bytes())
            .finish(1);
        message[16..].to_vec()
    }

    #[test]
    fn permanent_global_addresses_of_the_link_are_kept() {
        let permanent = libc::IFA_F_PERMANENT;
        let found = parse_address(&address(0, permanent | 0x200), 5).unwrap();
        assert_eq!((found.family, found.prefix, found.flags), (2, 24, 0x200));
        assert_eq!(found.attributes, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
        assert_eq!(parse_address(&address(0, permanent), 6), None);
        assert_eq!(parse_address(&address(0, 0), 5), None);
        assert_eq!(parse_address(&address(253, permanent), 5), None);
        assert_eq!(parse_address(&[2, 24], 5), None);
    }

    #[test]
    fn the_kernel_answers() {
        let route = Route::open().unwrap();
        let lo = route.link("lo").unwrap();
        assert_eq!(lo.master, 0);
        assert_eq!(route.link("no-such").unwrap_err().errno, Errno::ENODEV);
        // Its addresses have the scope of the host.
        assert!(
            route
                .addresses(lo.index)
                .unwrap()
                .iter()
                .all(|a| a.family != 2)
        );
        // To change a link that is not there.
        let refused = route.change(
            0x7fff_ffff,
            &Change {
                up: Some(true),
                ..Change::default()
            },
        );
        assert!(refused.is_err());
    }
}

//! Netlink messages as bytes (netlink(7)): a header, the fixed part of its kind, and attributes,
//! each with its length in front and padded to four bytes. Numbers are in the machine's order.
//!
//! Everything read is taken by checked slices: a length that does not fit ends the message.

use nix::errno::Errno;

/// Size of `nlmsghdr`: length, kind, flags, sequence number, port.
const HEADER: usize = 16;
/// Size of `nlattr`: length and kind.
const ATTRIBUTE: usize = 4;
/// The two upper bits of an attribute's kind are flags.
const KIND_MASK: u16 = 0x3fff;
/// NLM_F_CAPPED and NLM_F_ACK_TLVS of linux/netlink.h: what follows an error.
const CAPPED: u16 = 0x100;
const HAS_REASON: u16 = 0x200;
/// NLMSGERR_ATTR_MSG: the reason as text.
const REASON: u16 = 1;

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// `fixed` is what the kind has between header and attributes.
    pub fn new(kind: u16, flags: i32, fixed: &[u8]) -> Self {
        let flags = (libc::NLM_F_REQUEST | flags) as u16;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let mut request = Self { bytes };
        request.push_padded(fixed);
        request
    }

    /// Add an attribute. Values are names, numbers and addresses, so that lengths are small.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (ATTRIBUTE + value.len()) as u16;
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.push_padded(value);
        self
    }

    /// Add a text attribute, which ends with a NUL.
    pub fn text(self, kind: u16, text: &str) -> Self {
        let mut value = text.as_bytes().to_vec();
        value.push(0);
        self.attribute(kind, &value)
    }

    fn push_padded(&mut self, value: &[u8]) {
        self.bytes.extend(value);
        self.bytes.resize(padded(self.bytes.len()), 0);
    }

    /// The whole message, numbered.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        self.bytes[..4].copy_from_slice(&length.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }
}

/// One message of a datagram that came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    pub body: &'a [u8],
}

impl Reply<'_> {
    /// What an NLMSG_ERROR message says: no error (an acknowledgement), or an errno and the
    /// kernel's reason.
    pub fn verdict(&self) -> Result<(), (Errno, Option<String>)> {
        match i32_at(self.body, 0) {
            Some(0) => Ok(()),
            Some(code) => Err((Errno::from_raw(code.saturating_neg()), self.reason())),
            None => Err((Errno::EBADMSG, None)),
        }
    }

    fn reason(&self) -> Option<String> {
        if self.flags & HAS_REASON == 0 {
            return None;
        }
        // The request follows the errno, whole or only its header.
        let request = match self.flags & CAPPED {
            0 => u32_at(self.body, 4)? as usize,
            _ => HEADER,
        };
        let rest = self.body.get(4usize.checked_add(padded(request))?..)?;
        let (_, text) = attributes(rest).find(|(kind, _)| *kind == REASON)?;
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

/// The messages of one datagram.
pub fn replies(mut datagram: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(datagram, 0)? as usize;
        let reply = Reply {
            kind: u16_at(datagram, 4)?,
            flags: u16_at(datagram, 6)?,
            sequence: u32_at(datagram, 8)?,
            body: datagram.get(HEADER..length)?,
        };
        datagram = datagram.get(padded(length)..).unwrap_or_default();
        Some(reply)
    })
}

/// Kind and value of each attribute.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & KIND_MASK;
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(padded(length)..).unwrap_or_default();
        Some((kind, value))
    })
}

fn padded(length: usize) -> usize {
    length.saturating_add(3) & !3
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// The number at an offset, if the bytes reach that far.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    u32_at(bytes, at).map(u32::cast_signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let bytes = Request::new(16, libc::NLM_F_ACK, &[9; 6])
            .text(3, "eth0")
            .attribute(4, &[1, 2])
            .finish(7);
        assert_eq!(bytes.len(), 16 + 8 + 12 + 8);
        let all: Vec<_> = replies(&bytes).collect();
        let [reply] = all.as_slice() else {
            panic!("{all:?}")
        };
        assert_eq!((reply.kind, reply.flags, reply.sequence), (16, 5, 7));
        let found: Vec<_> = attributes(&reply.body[8..]).collect();
        assert_eq!(found, [(3, b"eth0\0".as_slice()), (4, &[1, 2])]);
    }

    #[test]
    fn an_error_has_its_errno_and_its_reason() {
        let request = Request::new(16, 0, &[0; 16]).text(3, "eth0").finish(1);
        for (flags, echo) in [
            (HAS_REASON, request.as_slice()),
            (HAS_REASON | CAPPED, &request[..16]),
        ] {
            let fixed = [&(-libc::EINVAL).to_ne_bytes(), echo].concat();
            let mut bytes = Request::new(2, 0, &fixed).text(REASON, "because").finish(1);
            bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
            let reply = replies(&bytes).next().unwrap();
            assert_eq!(
                reply.verdict(),
                Err((Errno::EINVAL, Some("because".to_owned())))
            );
        }
        let fine = Request::new(2, 0, &[0; 20]).finish(1);
        assert_eq!(replies(&fine).next().unwrap().verdict(), Ok(()));
        let short = Request::new(2, 0, &[]).finish(1);
        let verdict = replies(&short).next().unwrap().verdict();
        assert_eq!(verdict, Err((Errno::EBADMSG, None)));
    }

    #[test]
    fn no_length_leads_out_of_the_bytes() {
        let bytes = Request::new(16, 0, &[0; 16])
            .text(3, "eth0")
            .text(20, "x")
            .finish(1);
        for cut in 0..bytes.len() {
            // Shorter than its header says, so that it is no message at all.
            assert_eq!(replies(&bytes[..cut]).count(), 0, "{cut}");
            assert!(attributes(&bytes[32.min(cut)..cut]).count() <= 2);
        }
        for at in 0..bytes.len() {
            for value in [0, 1, 3, 4, 15, 16, 127, 255] {
                let mut odd = bytes.clone();
                odd[at] = value;
                for reply in replies(&odd) {
                    let _ = reply.verdict();
                    let _ = reply.reason();
                    attributes(reply.body).for_each(drop);
                }
            }
        }
    }
}

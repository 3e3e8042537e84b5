//! Values and messages of D-Bus as bytes (the specification's "Type System" and "Message
//! Format"), and nothing else: no sockets, no names of services.
//!
//! Everything is aligned to its natural size, counted from the start of the message; a body
//! starts at a multiple of 8, so that it can be made by itself. We write and read little
//! endian, which is what each peer on the same machine speaks where we run.

use serde::{Deserialize, Serialize};

/// Longest message that we read; the specification allows 128 MiB, which no answer to us needs.
const MAX_MESSAGE: usize = 16 << 20;
/// Values within values, as deep as the specification allows.
const MAX_DEPTH: u32 = 64;

/// One value with its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Bool(bool),
    Byte(u8),
    Int16(i16),
    Uint16(u16),
    Int32(i32),
    Uint32(u32),
    Int64(i64),
    Uint64(u64),
    Double(f64),
    String(String),
    ObjectPath(String),
    Signature(String),
    /// A file descriptor, by its place among those that go with the message.
    UnixFd(u32),
    /// The signature of an element, for an array may be empty; then the elements.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    Variant(Box<Value>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl Value {
    /// An array of bytes, `ay`.
    pub fn bytes(bytes: impl IntoIterator<Item = u8>) -> Self {
        Self::Array("y".to_owned(), bytes.into_iter().map(Self::Byte).collect())
    }

    pub fn variant(self) -> Self {
        Self::Variant(Box::new(self))
    }

    /// The text of a string, an object path or a signature.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::ObjectPath(text) | Self::Signature(text) => Some(text),
            _ => None,
        }
    }

    pub fn signature(&self) -> String {
        match self {
            Self::Bool(_) => "b".to_owned(),
            Self::Byte(_) => "y".to_owned(),
            Self::Int16(_) => "n".to_owned(),
            Self::Uint16(_) => "q".to_owned(),
            Self::Int32(_) => "i".to_owned(),
            Self::Uint32(_) => "u".to_owned(),
            Self::Int64(_) => "x".to_owned(),
            Self::Uint64(_) => "t".to_owned(),
            Self::Double(_) => "d".to_owned(),
            Self::String(_) => "s".to_owned(),
            Self::ObjectPath(_) => "o".to_owned(),
            Self::Signature(_) => "g".to_owned(),
            Self::UnixFd(_) => "h".to_owned(),
            Self::Array(element, _) => format!("a{element}"),
            Self::Struct(fields) => format!("({})", signature(fields)),
            Self::Variant(_) => "v".to_owned(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => put(out, &u32::from(*value).to_le_bytes()),
            Self::Byte(value) => out.push(*value),
            Self::Int16(value) => put(out, &value.to_le_bytes()),
            Self::Uint16(value) => put(out, &value.to_le_bytes()),
            Self::Int32(value) => put(out, &value.to_le_bytes()),
            Self::Uint32(value) | Self::UnixFd(value) => put(out, &value.to_le_bytes()),
            Self::Int64(value) => put(out, &value.to_le_bytes()),
            Self::Uint64(value) => put(out, &value.to_le_bytes()),
            Self::Double(value) => put(out, &value.to_le_bytes()),
            Self::String(text) | Self::ObjectPath(text) => {
                put(out, &(text.len() as u32).to_le_bytes());
                out.extend_from_slice(text.as_bytes());
                out.push(0);
            }
            Self::Signature(text) => put_signature(out, text),
            Self::Array(element, values) => {
                put(out, &[0; 4]);
                let length_at = out.len() - 4;
                pad(out, alignment(element));
                let start = out.len();
                values.iter().for_each(|value| value.encode(out));
                let length = (out.len() - start) as u32;
                out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
            }
            Self::Struct(fields) => {
                pad(out, 8);
                fields.iter().for_each(|field| field.encode(out));
            }
            Self::Variant(value) => {
                put_signature(out, &value.signature());
                value.encode(out);
            }
        }
    }
}

/// The signature of several values in a row.
pub fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// Append a number at a multiple of its size.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    pad(out, bytes.len());
    out.extend_from_slice(bytes);
}

fn put_signature(out: &mut Vec<u8>, text: &str) {
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn pad(out: &mut Vec<u8>, alignment: usize) {
    out.resize(out.len().next_multiple_of(alignment), 0);
}

fn alignment(signature: &str) -> usize {
    match signature.bytes().next() {
        Some(b'n' | b'q') => 2,
        Some(b'b' | b'i' | b'u' | b'h' | b's' | b'o' | b'a') => 4,
        Some(b'x' | b't' | b'd' | b'(' | b'{') => 8,
        _ => 1,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
}

/// One message. Fields that it does not have are empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub kind: Kind,
    pub serial: u32,
    /// Of the call that this answers; 0 for none.
    pub reply_to: u32,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub error: String,
    pub destination: String,
    pub body: Vec<Value>,
    /// How many file descriptors go with it.
    pub fds: u32,
}

impl Message {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            serial: 0,
            reply_to: 0,
            path: String::new(),
            interface: String::new(),
            member: String::new(),
            error: String::new(),
            destination: String::new(),
            body: Vec::new(),
            fds: 0,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.body.iter().for_each(|value| value.encode(&mut body));
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
        };
        let mut fields = Vec::new();
        let mut field = |code, value: Value| {
            fields.push(Value::Struct(vec![Value::Byte(code), value.variant()]));
        };
        if !self.path.is_empty() {
            field(1, Value::ObjectPath(self.path.clone()));
        }
        for (code, text) in [
            (2, &self.interface),
            (3, &self.member),
            (4, &self.error),
            (6, &self.destination),
        ] {
            if !text.is_empty() {
                field(code, Value::String(text.clone()));
            }
        }
        if self.reply_to != 0 {
            field(5, Value::Uint32(self.reply_to));
        }
        if !self.body.is_empty() {
            field(8, Value::Signature(signature(&self.body)));
        }
        if self.fds != 0 {
            field(9, Value::Uint32(self.fds));
        }
        let mut out = vec![b'l', kind, 0, 1];
        put(&mut out, &(body.len() as u32).to_le_bytes());
        put(&mut out, &self.serial.to_le_bytes());
        Value::Array("(yv)".to_owned(), fields).encode(&mut out);
        pad(&mut out, 8);
        out.extend(body);
        out
    }

    /// Length of the message that starts with these bytes; `None`: too few to tell.
    ///
    /// # Errors
    /// Words for what is wrong with them.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>, String> {
        let Some(start) = bytes.get(..16) else {
            return Ok(None);
        };
        if start[0] != b'l' {
            return Err("a message that is not little endian".to_owned());
        }
        let number = |at: usize| {
            let bytes = start[at..at + 4].try_into().unwrap_or_default();
            u32::from_le_bytes(bytes) as usize
        };
        let header = (16 + number(12)).next_multiple_of(8);
        match header.checked_add(number(4)) {
            Some(length) if length <= MAX_MESSAGE => Ok(Some(length)),
            _ => Err("a message that is too long".to_owned()),
        }
    }

    /// One whole message, `bytes` being as many as [`length`](Self::length) has said. `None`:
    /// one of a kind that is to be ignored.
    ///
    /// # Errors
    /// Words for what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, String> {
        let mut header = Reader { bytes, at: 0 };
        let start = header.take(4)?;
        let kind = match start[1] {
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            _ => return Ok(None),
        };
        let mut message = Self::new(kind);
        let body_length = header.u32()? as usize;
        message.serial = header.u32()?;
        let mut body_signature = String::new();
        let Value::Array(_, fields) = header.value("a(yv)", 0)? else {
            return Err("a header without fields".to_owned());
        };
        for field in fields {
            let Value::Struct(pair) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = &pair[..] else {
                continue;
            };
            let text = value.text().unwrap_or_default().to_owned();
            match (code, &**value) {
                (1, _) => message.path = text,
                (2, _) => message.interface = text,
                (3, _) => message.member = text,
                (4, _) => message.error = text,
                (5, Value::Uint32(serial)) => message.reply_to = *serial,
                (6, _) => message.destination = text,
                (8, _) => body_signature = text,
                (9, Value::Uint32(count)) => message.fds = *count,
                _ => {}
            }
        }
        header.skip_to(8)?;
        let body = header.take(body_length)?;
        let mut reader = Reader { bytes: body, at: 0 };
        let mut rest = body_signature.as_str();
        while !rest.is_empty() {
            let (one, after) = split(rest)?;
            message.body.push(reader.value(one, 0)?);
            rest = after;
        }
        Ok(Some(message))
    }
}

/// The first complete type of a signature, and the rest.
fn split(signature: &str) -> Result<(&str, &str), String> {
    let wrong = || format!("a signature that is not one: {signature:?}");
    let mut depth = 0;
    for (at, letter) in signature.bytes().enumerate() {
        match letter {
            b'(' | b'{' => depth += 1,
            b')' | b'}' => depth -= 1,
            b'a' => continue,
            _ if !letter.is_ascii() => return Err(wrong()),
            _ => {}
        }
        if depth < 0 {
            return Err(wrong());
        }
        if depth == 0 {
            return Ok(signature.split_at(at + 1));
        }
    }
    Err(wrong())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        self.at += length;
        taken.ok_or_else(|| "a message that ends too soon".to_owned())
    }

    fn skip_to(&mut self, alignment: usize) -> Result<(), String> {
        let padding = self.at.next_multiple_of(alignment) - self.at;
        self.take(padding).map(drop)
    }

    /// A number of N bytes, at a multiple of N.
    fn number<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.skip_to(N)?;
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| "a short number".to_owned())
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(self.number()?))
    }

    /// Text of this many bytes, and its NUL.
    fn text(&mut self, length: usize) -> Result<String, String> {
        let bytes = self.take(length)?;
        self.take(1)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| "text that is not UTF-8".to_owned())
    }

    fn value(&mut self, signature: &str, depth: u32) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err("values too deep within each other".to_owned());
        }
        let first = signature.bytes().next().unwrap_or(0);
        Ok(match first {
            b'b' => Value::Bool(self.u32()? != 0),
            b'y' => Value::Byte(self.take(1)?[0]),
            b'n' => Value::Int16(i16::from_le_bytes(self.number()?)),
            b'q' => Value::Uint16(u16::from_le_bytes(self.number()?)),
            b'i' => Value::Int32(i32::from_le_bytes(self.number()?)),
            b'u' => Value::Uint32(self.u32()?),
            b'h' => Value::UnixFd(self.u32()?),
            b'x' => Value::Int64(i64::from_le_bytes(self.number()?)),
            b't' => Value::Uint64(u64::from_le_bytes(self.number()?)),
            b'd' => Value::Double(f64::from_le_bytes(self.number()?)),
            b's' | b'o' => {
                let length = self.u32()? as usize;
                let text = self.text(length)?;
                match first {
                    b's' => Value::String(text),
                    _ => Value::ObjectPath(text),
                }
            }
            b'g' => {
                let length = self.take(1)?[0];
                Value::Signature(self.text(length.into())?)
            }
            b'v' => {
                let length = self.take(1)?[0];
                let inner = self.text(length.into())?;
                match split(&inner)? {
                    (one, "") => self.value(one, depth + 1)?.variant(),
                    _ => return Err(format!("a variant of several types: {inner:?}")),
                }
            }
            b'a' => {
                let element = &signature[1..];
                let length = self.u32()? as usize;
                self.skip_to(alignment(element))?;
                let end = self.at.saturating_add(length);
                let mut values = Vec::new();
                while self.at < end {
                    let before = self.at;
                    values.push(self.value(element, depth + 1)?);
                    if self.at == before {
                        return Err("an array of nothing".to_owned());
                    }
                }
                Value::Array(element.to_owned(), values)
            }
            b'(' | b'{' => {
                self.skip_to(8)?;
                let mut rest = &signature[1..signature.len() - 1];
                let mut fields = Vec::new();
                while !rest.is_empty() {
                    let (one, after) = split(rest)?;
                    fields.push(self.value(one, depth + 1)?);
                    rest = after;
                }
                Value::Struct(fields)
            }
            _ => return Err(format!("a type that is not one: {signature:?}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut call = Message::new(Kind::Call);
        call.serial = 2;
        call.path = "/a".to_owned();
        call.member = "M".to_owned();
        call.body = vec![Value::Byte(7), Value::Uint64(1), "x".into()];
        let expected = [
            &b"l\x01\x00\x01\x16\0\0\0\x02\0\0\0\x29\0\0\0"[..],
            b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0",
            b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0",
            b"\x08\x01g\0\x03yts\0",
            b"\0\0\0\0\0\0\0",
            b"\x07\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0x\0",
        ];
        let bytes = call.encode();
        assert_eq!(bytes, expected.concat());
        assert_eq!(Message::length(&bytes), Ok(Some(bytes.len())));
    }

    fn message() -> Message {
        let mut message = Message::new(Kind::Signal);
        message.serial = 9;
        message.reply_to = 4;
        message.path = "/org/x".to_owned();
        message.interface = "org.x".to_owned();
        message.member = "Y".to_owned();
        message.destination = ":1.2".to_owned();
        let pair = |name: &str, value: Value| Value::Struct(vec![name.into(), value.variant()]);
        message.body = vec![
            "unit".into(),
            Value::Array(
                "(sv)".to_owned(),
                vec![
                    pair("A", Value::Bool(true)),
                    pair("B", Value::Array("u".to_owned(), vec![Value::Uint32(5)])),
                    pair("C", Value::bytes([1, 2, 3])),
                    pair("D", Value::Array("(ss)".to_owned(), Vec::new())),
                    pair("E", Value::Double(0.5)),
                    pair("F", Value::Int16(-3).variant()),
                ],
            ),
            Value::Array("(sa(sv))".to_owned(), Vec::new()),
            Value::Signature("a{sv}".to_owned()),
            Value::ObjectPath("/".to_owned()),
            Value::Array("h".to_owned(), vec![Value::UnixFd(0)]),
        ];
        message.fds = 1;
        message
    }

    #[test]
    fn what_is_written_is_read() {
        let message = message();
        assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
    }

    #[test]
    fn a_broken_message_is_an_error_and_no_panic() {
        let whole = message().encode();
        for end in 0..whole.len() {
            assert!(Message::decode(&whole[..end]).is_err(), "{end}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, b'a', b'(', b'v', 0x7f, 0xff] {
                let mut broken = whole.clone();
                broken[at] = value;
                let _ = Message::decode(&broken);
                let _ = Message::length(&broken);
            }
        }
        for signature in ["", "a", "(", "(s", ")", "((s)", "é"] {
            assert!(split(signature).is_err(), "{signature}");
        }
    }
}

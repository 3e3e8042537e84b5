//! Protobuf's encoding (protobuf.dev, "Encoding"), as far as criu's messages use it: a message is
//! a row of fields, each a key (number and kind) and a value, which is a variable-length number or
//! a length and so many bytes. Booleans and enums are numbers; strings and messages are bytes.

/// Kinds of values; the low three bits of a key.
const NUMBER: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// A message that is being written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Negative numbers take ten bytes, as a 64-bit two's complement: so protobuf has them.
    pub fn number(&mut self, field: u32, value: i64) {
        self.varint(u64::from(field) << 3 | NUMBER);
        self.varint(value.cast_unsigned());
    }

    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.varint(u64::from(field) << 3 | BYTES);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    pub fn message(&mut self, field: u32, value: &Self) {
        self.bytes(field, &value.bytes);
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Seven bits a byte, the lowest first; all but the last have their high bit set.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

/// The value of a field that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Number(i64),
    Bytes(&'a [u8]),
    /// Of a kind that none of the messages has.
    Other,
}

/// The fields of a message, in order; `None` in place of one that is cut short or malformed,
/// after which nothing follows.
pub fn fields(bytes: &[u8]) -> impl Iterator<Item = Option<(u32, Value<'_>)>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field)
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let key = varint(rest)?;
    let value = match key & 7 {
        NUMBER => Value::Number(varint(rest)?.cast_signed()),
        BYTES => {
            let length = usize::try_from(varint(rest)?).ok()?;
            Value::Bytes(take(rest, length)?)
        }
        FIXED64 => take(rest, 8).map(|_| Value::Other)?,
        FIXED32 => take(rest, 4).map(|_| Value::Other)?,
        _ => return None,
    };
    Some((u32::try_from(key >> 3).ok()?, value))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take(rest, 1)?.first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification_are_met() {
        let mut message = Message::default();
        message.number(1, 150);
        assert_eq!(message.as_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.bytes(2, b"testing");
        assert_eq!(message.as_bytes(), b"\x12\x07testing");
        let mut inner = Message::default();
        inner.number(1, 150);
        let mut message = Message::default();
        message.message(3, &inner);
        assert_eq!(message.as_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.number(1, -2);
        assert_eq!(
            message.as_bytes(),
            [
                0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
            ]
        );
    }

    #[test]
    fn what_is_written_is_read() {
        let mut message = Message::default();
        message.number(1, i64::MIN);
        message.bytes(2000, b"\xff\0");
        message.number(3, 0);
        let read: Option<Vec<_>> = fields(message.as_bytes()).collect();
        let expected = [
            (1, Value::Number(i64::MIN)),
            (2000, Value::Bytes(b"\xff\0")),
            (3, Value::Number(0)),
        ];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn fields_of_other_kinds_are_passed_over() {
        let bytes = [0x09, 1, 2, 3, 4, 5, 6, 7, 8, 0x15, 1, 2, 3, 4, 0x18, 7];
        let read: Option<Vec<_>> = fields(&bytes).collect();
        let expected = [(1, Value::Other), (2, Value::Other), (3, Value::Number(7))];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn a_message_that_is_cut_short_ends_in_an_error() {
        let mut message = Message::default();
        message.number(1, 300);
        message.bytes(2, b"text");
        let whole = message.as_bytes();
        for length in 1..whole.len() {
            let read: Vec<_> = fields(&whole[..length]).collect();
            // The one border between two fields is no cut.
            assert_eq!(read.last().unwrap().is_none(), length != 3, "{length}");
        }
        for bytes in [
            &[0xff; 11][..],
            &[0x0b],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0x7f],
        ] {
            assert_eq!(fields(bytes).last(), Some(None), "{bytes:?}");
        }
    }
}

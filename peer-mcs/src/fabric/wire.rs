//! Protobuf's wire format, read as Go's library reads it.
//!
//! Verdicts on bytes that strangers choose (blocks, transactions, identities) depend on details in which
//! protobuf libraries differ: Go takes a known field of the wrong wire type for an unknown one, where
//! prost refuses the message. Nothing is copied; a field is a slice of the input.

use std::fmt;

/// Why bytes are not a protobuf message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// One field as it stands in the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// The field's number, 1 to 2^29 - 1.
    pub(crate) number: u64,
    /// Its value.
    pub(crate) value: Value<'a>,
    /// Whether the tag before the value has no superfluous bytes.
    pub(crate) minimal_tag: bool,
    /// Bytes of the whole field, tag included.
    pub(crate) size: usize,
}

/// A value by wire type; those that no shape of ours contains carry nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// An integer, not cut to its declared width.
    Varint(u64),
    /// Bytes, a string or a message.
    Len(&'a [u8]),
    /// Eight bytes, four bytes, or a group.
    Other,
}

/// The fields of a message, in order; ends at the first error.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `message` from its first byte.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let before = self.rest.len();
        let (number, wire_type) = self.tag()?;
        let tag_len = before - self.rest.len();
        let value = self.value(number, wire_type)?;
        let minimal_tag = tag_len == varint_len(number << 3 | u64::from(wire_type));
        Ok(Field { number, value, minimal_tag, size: before - self.rest.len() })
    }

    fn tag(&mut self) -> Result<(u64, u8), Malformed> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > MAX_FIELD_NUMBER {
            return Err(Malformed("field number out of range"));
        }
        Ok((number, (tag & 7) as u8))
    }

    fn value(&mut self, number: u64, wire_type: u8) -> Result<Value<'a>, Malformed> {
        match wire_type {
            VARINT => self.varint().map(Value::Varint),
            FIXED64 => self.take(8).map(|_| Value::Other),
            LEN => self.len_delimited().map(Value::Len),
            START_GROUP => self.skip_group(number).map(|()| Value::Other),
            END_GROUP => Err(Malformed("group ends that never began")),
            FIXED32 => self.take(4).map(|_| Value::Other),
            _ => Err(Malformed("reserved wire type")),
        }
    }

    fn len_delimited(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.varint()?;
        self.take(usize::try_from(len).map_err(|_| TRUNCATED)?)
    }

    /// Skips a group with everything in it, without recursion.
    fn skip_group(&mut self, number: u64) -> Result<(), Malformed> {
        let mut open = vec![number];
        while let Some(innermost) = open.last().copied() {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                START_GROUP if open.len() >= MAX_GROUP_DEPTH => {
                    return Err(Malformed("groups nested too deeply"));
                }
                START_GROUP => open.push(number),
                END_GROUP if number == innermost => {
                    open.pop();
                }
                END_GROUP => return Err(Malformed("group ends as another")),
                _ => {
                    self.value(number, wire_type)?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(TRUNCATED)?;
        self.rest = tail;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for (index, byte) in self.rest.iter().take(MAX_VARINT_LEN).enumerate() {
            if index == MAX_VARINT_LEN - 1 && *byte > 1 {
                return Err(Malformed("varint exceeds 64 bits"));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.take(index + 1)?;
                return Ok(value);
            }
        }
        Err(TRUNCATED)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Appends a field of wire type LEN.
pub(crate) fn push_len(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    push_varint(out, number << 3 | u64::from(LEN));
    push_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Appends a field of wire type VARINT, unless it has proto3's default value.
pub(crate) fn push_uint(out: &mut Vec<u8>, number: u64, value: u64) {
    if value != 0 {
        push_varint(out, number << 3 | u64::from(VARINT));
        push_varint(out, value);
    }
}

fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes of the shortest varint for `value`.
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Text of a `string` field; proto3 refuses what is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("string is not utf-8"))
}

const TRUNCATED: Malformed = Malformed("message ends early");
/// Protobuf's own limit.
const MAX_FIELD_NUMBER: u64 = (1 << 29) - 1;
/// Ten bytes hold 64 bits.
const MAX_VARINT_LEN: usize = 10;
/// Go's limit (protowire.DefaultRecursionLimit).
const MAX_GROUP_DEPTH: usize = 10_000;

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<usize, Malformed> {
        Fields::new(bytes).try_fold(0, |count, field| field.map(|_| count + 1))
    }

    #[test]
    fn every_wire_type_is_read() {
        assert_eq!(read(&[]), Ok(0));
        assert_eq!(read(&[0x08, 0x96, 0x01]), Ok(1));
        assert_eq!(read(&[0x09, 1, 2, 3, 4, 5, 6, 7, 8]), Ok(1));
        assert_eq!(read(&[0x0d, 1, 2, 3, 4]), Ok(1));
        assert_eq!(read(&[0x0a, 2, 1, 2, 0x12, 0]), Ok(2));
        assert_eq!(read(&[0x0b, 0x13, 0x14, 0x08, 1, 0x0c]), Ok(1));
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x0a, 2, 1],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x00, 0x00],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x0b, 0x08, 1],
            &[0x0e, 0],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02],
            &[0x80, 0x80, 0x80, 0x80, 0x10, 0x00],
        ] {
            assert!(read(bytes).is_err(), "{bytes:x?}");
        }
    }

    #[test]
    fn nested_groups_end_in_an_error_and_not_in_the_stack() {
        assert!(read(&[0x0b].repeat(1 << 20)).is_err());
        let balanced = [[0x0b].repeat(9_000), [0x0c].repeat(9_000)].concat();
        assert_eq!(read(&balanced), Ok(1));
    }

    #[test]
    fn a_superfluous_tag_byte_is_noticed() {
        let minimal = |bytes| Fields::new(bytes).next().unwrap().unwrap().minimal_tag;
        assert!(minimal(&[0x0a, 0x00]));
        assert!(!minimal(&[0x8a, 0x00, 0x00]));
    }

    #[test]
    fn varint_lengths_match_what_is_written() {
        for shift in 0..64 {
            for value in [1u64 << shift, (1u64 << shift) - 1, u64::MAX] {
                let mut out = Vec::new();
                push_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
            }
        }
    }
}

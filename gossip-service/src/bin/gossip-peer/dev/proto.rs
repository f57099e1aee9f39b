//! Small protobuf messages, written field by field.

use prost::encoding::{WireType, encode_key, encode_varint};

/// A message under construction; fields in the order of their numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Proto(Vec<u8>);

impl Proto {
    pub(super) fn bytes(mut self, number: u32, value: &[u8]) -> Self {
        encode_key(number, WireType::LengthDelimited, &mut self.0);
        encode_varint(value.len() as u64, &mut self.0);
        self.0.extend_from_slice(value);
        self
    }

    /// Written even where it is zero: a zero in a `oneof` is not nothing.
    pub(super) fn uint(mut self, number: u32, value: u64) -> Self {
        encode_key(number, WireType::Varint, &mut self.0);
        encode_varint(value, &mut self.0);
        self
    }

    pub(super) fn message(self, number: u32, value: Self) -> Self {
        self.bytes(number, &value.0)
    }

    pub(super) fn done(self) -> bytes::Bytes {
        self.0.into()
    }
}

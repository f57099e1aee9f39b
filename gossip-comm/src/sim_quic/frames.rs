//! Frames out of the bytes of one stream.

use bytes::{Buf, Bytes, BytesMut};
use gossip_api::WireError;
use gossip_api::message::{Class, codec};

/// What has come of one stream and is no whole frame yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame without its length, if it is whole.
    ///
    /// # Errors
    /// As soon as its head is there and is none, or announces more than `block_max` bytes.
    pub(super) fn next(&mut self, block_max: usize) -> Result<Option<(Class, Bytes)>, WireError> {
        let Some(&[a, b, c, d, version, class]) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let claimed = u32::from_le_bytes([a, b, c, d]);
        let class = codec::peek(claimed, version, class)?;
        let length = claimed as usize;
        if class == Class::Block && length > block_max {
            return Err(WireError::TooLarge { found: length, max: block_max });
        }
        if self.buffer.len() < LENGTH_LEN + length {
            return Ok(None);
        }
        self.buffer.advance(LENGTH_LEN);
        Ok(Some((class, self.buffer.split_to(length).freeze())))
    }

    /// Bytes that wait for the rest of their frame.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }
}

const LENGTH_LEN: usize = 4;
/// Length, version, class.
const HEADER_LEN: usize = LENGTH_LEN + 2;

//! Frames out of the bytes of one stream.

use bytes::{Buf, Bytes, BytesMut};
use gossip_api::WireError;
use gossip_api::message::Class;

use crate::framing::{Header, LENGTH_LEN, peek};

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
        let Some(header) = peek(&self.buffer)? else { return Ok(None) };
        let Header { class, length } = header;
        if class == Class::Block && length > block_max {
            return Err(WireError::TooLarge { found: length, max: block_max });
        }
        if self.buffer.len() < header.frame_len() {
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

//! Where one frame ends and the next begins, on every stream.

use gossip_api::WireError;
use gossip_api::message::{Class, codec};

/// What stands in front of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Class of the frame.
    pub(crate) class: Class,
    /// Bytes after the length field, within the class's cap.
    pub(crate) length: usize,
}

impl Header {
    /// Bytes of the frame, its length field too.
    pub(crate) const fn frame_len(self) -> usize {
        LENGTH_LEN + self.length
    }
}

/// What the frame at the front of `bytes` says of itself, if enough of it is there.
///
/// # Errors
/// As soon as its head is there and is none.
pub(crate) fn peek(bytes: &[u8]) -> Result<Option<Header>, WireError> {
    let Some(&[a, b, c, d, version, class]) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes([a, b, c, d]);
    let class = codec::peek(length, version, class)?;
    Ok(Some(Header { class, length: length as usize }))
}

/// The length of a frame.
pub(crate) const LENGTH_LEN: usize = 4;
/// Length, version, class.
pub(crate) const HEADER_LEN: usize = LENGTH_LEN + 2;

//! Messages between two peers about each other's questions: acknowledgements, and private data.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounded::{Blob, TooLong};
use crate::id::{ChannelId, ErrorText, Nonce};
use crate::message::Message;

/// Says how a message that carried a nonce was received.
// fabric: gossip/message.proto Acknowledgement
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Of the message.
    pub nonce: Nonce,
    /// Why it was not accepted; nothing if it was.
    pub error: Option<ErrorText>,
}

impl Acknowledgement {
    /// "It is accepted."
    pub const fn accepted(nonce: Nonce) -> Self {
        Self { nonce, error: None }
    }

    /// "It is not, since ..."; a longer text is cut.
    pub fn refused(nonce: Nonce, why: &str) -> Self {
        Self { nonce, error: Some(ErrorText::cut(why)) }
    }
}

/// Private data of a transaction, pushed to a peer that is entitled to it, which acknowledges it.
///
/// What is in the payload, and who is entitled, is the host's business.
// fabric: gossip/message.proto PrivateDataMessage
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateData {
    /// Echoed in the acknowledgement.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// The data, opaque.
    pub payload: Bytes,
}

/// Asks for private data that the asker lacks and is entitled to.
// fabric: gossip/message.proto RemotePvtDataRequest
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateDataRequest {
    /// Echoed in the answer; single use.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// What is asked for, opaque, at most 32 KiB.
    pub query: Blob<{ PrivateDataRequest::QUERY_MAX }>,
}

impl PrivateDataRequest {
    /// Longest query in bytes.
    pub const QUERY_MAX: usize = 32 << 10;

    /// Asks for what `query` describes.
    ///
    /// # Errors
    /// If the query is longer than [`Self::QUERY_MAX`].
    pub fn new(nonce: Nonce, channel: ChannelId, query: Bytes) -> Result<Self, TooLong> {
        Ok(Self { nonce, channel, query: Blob::new(query)? })
    }
}

/// The private data asked for, as far as the answerer has it and the asker is entitled to it.
// fabric: gossip/message.proto RemotePvtDataResponse
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateDataResponse {
    /// Of the request.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// The data, opaque.
    pub payload: Bytes,
}

impl Message {
    /// Under which nonce its receiver acknowledges it; nothing for kinds that nobody acknowledges.
    pub const fn ack_nonce(&self) -> Option<Nonce> {
        if let Self::PrivateData(data) = self { Some(data.nonce) } else { None }
    }

    /// The same message, to be acknowledged under `nonce`; nothing for kinds that nobody acknowledges.
    pub fn with_ack_nonce(self, nonce: Nonce) -> Option<Self> {
        if let Self::PrivateData(data) = self {
            Some(Self::PrivateData(PrivateData { nonce, ..data }))
        } else {
            None
        }
    }
}

// Private data stays out of logs.
impl fmt::Debug for PrivateData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateData({:?}, {}, {} bytes)", self.nonce, self.channel, self.payload.len())
    }
}

impl fmt::Debug for PrivateDataResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nonce, channel, payload } = self;
        write!(f, "PrivateDataResponse({nonce:?}, {channel}, {} bytes)", payload.len())
    }
}

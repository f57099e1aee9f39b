//! The four steps of a pull: hello, digest, request, update.
//!
//! ```text
//!   initiator                    responder
//!      |-------- Hello(nonce) ------->|      what do you have?
//!      |<------- Digest(items) -------|      this
//!      |-------- Request(items) ----->|      these, please
//!      |<------- Update(item) --------|      one stream each
//! ```

use serde::{Deserialize, Serialize};

use crate::bounded::{Blob, Bounded};
use crate::id::{ChannelId, Nonce, SeqNum};
use crate::ledger::Block;

/// What is pulled.
// fabric: gossip/message.proto PullMsgType
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PullKind {
    /// Blocks of a channel; an item is a block number.
    Block,
}

/// Name of an item within its kind, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId(Blob<64>);

impl ItemId {
    /// A block's name: its number, eight bytes little-endian.
    pub fn block(number: SeqNum) -> Self {
        Self(Blob::new(number.get().to_le_bytes().to_vec()).unwrap_or_default())
    }

    /// The block that is named; nothing if these are not eight bytes.
    pub fn as_block(&self) -> Option<SeqNum> {
        let bytes: [u8; 8] = self.0.as_bytes().as_ref().try_into().ok()?;
        Some(SeqNum::new(u64::from_le_bytes(bytes)))
    }
}

/// Opens a round with one peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullHello {
    /// Chosen by the initiator, echoed in all that follows.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// What is pulled.
    pub kind: PullKind,
}

/// What the responder has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullDigest {
    /// Of the hello.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// What is pulled.
    pub kind: PullKind,
    /// At most 1,024 items.
    pub items: Bounded<ItemId, 1024>,
}

/// What the initiator wants of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PullRequest {
    /// Of the hello.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// What is pulled.
    pub kind: PullKind,
    /// At most 1,024 items.
    pub items: Bounded<ItemId, 1024>,
}

/// One item, on a stream of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullUpdate {
    /// Of the hello.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// The block.
    pub block: Block,
}

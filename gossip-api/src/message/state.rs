//! Blocks, heights, and ranges of blocks.

use serde::{Deserialize, Serialize};

use super::SealedStateInfo;
use crate::bounded::Bounded;
use crate::id::{ChannelId, ChannelTag, Epoch, Height, Nonce, PkiId, SeqNum};
use crate::ledger::Block;

/// A member about itself in one channel. The height is a claim.
// fabric: gossip/message.proto StateInfo
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateInfo {
    /// The channel, for those who know it.
    pub tag: ChannelTag,
    /// Who.
    pub pki_id: PkiId,
    /// Which life of the member.
    pub epoch: Epoch,
    /// Rises with every change within the epoch; the greater (epoch, sequence) holds.
    pub sequence: u64,
    /// Height of its ledger.
    pub height: Height,
    /// Whether it has left the channel.
    pub left_channel: bool,
}

/// A block, pushed.
// fabric: gossip/message.proto DataMessage
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataMessage {
    /// The channel.
    pub channel: ChannelId,
    /// The block.
    pub block: Block,
}

/// Asks for a range of blocks, answered on the same stream block by block.
// fabric: gossip/message.proto RemoteStateRequest
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateRequest {
    /// Echoed in every part of the answer.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// First block wanted.
    pub from: SeqNum,
    /// Last block wanted, included.
    pub to: SeqNum,
    /// The answer ends before the block that would exceed this many bytes; at least one block is sent.
    pub bytes_max: u64,
}

/// One block of the range.
// fabric: gossip/message.proto RemoteStateResponse
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateResponse {
    /// Of the request.
    pub nonce: Nonce,
    /// The channel.
    pub channel: ChannelId,
    /// The block.
    pub block: Block,
}

/// Asks a member for the state infos that it holds of a channel.
// fabric: gossip/message.proto StateInfoPullRequest
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateInfoPullRequest {
    /// The channel, as the asker speaks of it: whoever does not know the channel cannot ask.
    pub tag: ChannelTag,
}

/// State infos of one channel, each signed by its member.
// fabric: gossip/message.proto StateInfoSnapshot
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateInfoSnapshot {
    /// The channel, as the answerer speaks of it.
    pub tag: ChannelTag,
    /// At most 256 of them, as received from their members.
    pub infos: Bounded<SealedStateInfo, 256>,
}

/// What a candidate for leadership says of itself, over its own connection: nobody can repeat it for another.
// fabric: gossip/message.proto LeadershipMessage
// fabric-differs: not signed and not relayed, since it goes to every peer of the organisation directly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeadershipMessage {
    /// The channel.
    pub channel: ChannelId,
    /// What is said.
    pub kind: LeadershipKind,
    /// Fences off former leaders; never a reason to win.
    pub term: u64,
    /// Height that the candidate can serve.
    pub height: Height,
}

/// What a candidate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeadershipKind {
    /// I would lead.
    Propose,
    /// I lead, for one more lease.
    Declare,
    /// I do not lead any more.
    Resign,
}

//! What a state transfer is told, and what it asks for.

use std::time::Duration;

use gossip_api::{Block, BlockError, BlockHash, Height, PkiId, RemotePeer, SeqNum};

use crate::conflict::Conflict;

/// A fact for [`StateTransfer`](crate::StateTransfer).
#[derive(Clone, Debug)]
pub enum Input {
    /// The ledger's height at start. Nothing is wanted before this. Said again if the height changed without
    /// us, even if it fell.
    Started {
        /// The height.
        height: Height,
        /// Header hash of the ledger's last block; without it the first block's link is left to the ledger.
        tip: Option<BlockHash>,
    },
    /// A block as an unverified offer.
    Offered {
        /// The block.
        block: Block,
        /// Where it came from.
        origin: BlockOrigin,
        /// What the block codec says of it.
        is_config: bool,
    },
    /// Answers [`Action::Verify`]: the block satisfies the channel's policy now.
    Verified {
        /// The block.
        block: Block,
        /// As in the action.
        origin: BlockOrigin,
    },
    /// Answers [`Action::Verify`]: it does not.
    Refused {
        /// The block's number.
        number: SeqNum,
        /// As in the action.
        origin: BlockOrigin,
        /// Why.
        error: BlockError,
    },
    /// A header whose signatures were verified: its block need not be here yet.
    Header {
        /// The block without its data.
        header: Block,
    },
    /// A header, not verified, that [`is_conflict`](crate::StateTransfer::is_conflict) names.
    Sighted {
        /// The block, without its data or with it.
        header: Block,
        /// Where it came from.
        origin: BlockOrigin,
    },
    /// Answers [`Action::Judge`].
    Judged {
        /// The header's number.
        number: SeqNum,
        /// As in the action.
        origin: BlockOrigin,
        /// The verdict under the policy that was in force at the header's number.
        then: Result<(), BlockError>,
        /// The verdict under the policy that is in force now.
        now: Result<(), BlockError>,
    },
    /// A peer of the channel that may be asked states its height: a claim.
    PeerHeight {
        /// Who, and where to reach it.
        peer: RemotePeer,
        /// What it claims.
        height: Height,
        /// Whether it is of our organisation.
        own_org: bool,
    },
    /// A peer is gone, or may not be asked any more.
    PeerGone {
        /// Who.
        peer: PkiId,
    },
    /// Answers [`Action::Request`], after all its parts were offered.
    RequestEnded {
        /// As in the action.
        id: u64,
        /// How it ended.
        outcome: RequestOutcome,
    },
    /// Answers [`Action::Commit`]: the blocks are durable and what they configure is in force.
    Committed {
        /// The ledger's height now.
        height: Height,
    },
    /// Answers [`Action::Commit`]: the ledger is unchanged.
    CommitFailed {
        /// Why, for people.
        reason: String,
    },
    /// The ledger cannot read a block that it holds.
    Damaged {
        /// Its number.
        number: SeqNum,
        /// What the block above it names as its header's hash, if that one can be read.
        hash: Option<BlockHash>,
    },
    /// Answers [`Action::Mend`].
    Mended {
        /// The block's number.
        number: SeqNum,
        /// Whether the ledger can read it again.
        done: bool,
    },
    /// The channel had been stopped by a conflict before the restart.
    Halted {
        /// The number about which orderers disagree.
        number: SeqNum,
        /// Hash of the header that the ledger holds there, if it is that high.
        kept: Option<BlockHash>,
    },
    /// The operator decides a conflict: the block with this header hash is the right one.
    Resume {
        /// Hash of the header to be kept.
        accept: BlockHash,
    },
    /// A deadline that `next_wakeup` reported has passed.
    Tick,
}

/// What [`StateTransfer`](crate::StateTransfer) asks its parent to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Verify the block; answer with [`Input::Verified`] or [`Input::Refused`]. One in flight per number.
    Verify {
        /// The block.
        block: Block,
        /// To be repeated in the answer.
        origin: BlockOrigin,
    },
    /// Verify header and signatures of a block that contradicts one that we believe in; answer with
    /// [`Input::Judged`]. One in flight.
    Judge {
        /// The block without its data.
        header: Block,
        /// To be repeated in the answer.
        origin: BlockOrigin,
    },
    /// Commit consecutive blocks; answer with [`Input::Committed`] or [`Input::CommitFailed`]. One in flight.
    ///
    /// Only the last one may carry a configuration.
    Commit {
        /// The blocks, in order.
        blocks: Vec<Block>,
        /// Where each came from.
        origins: Vec<BlockOrigin>,
    },
    /// Give the ledger a block again that it could not read; answer with [`Input::Mended`].
    Mend {
        /// The block, verified.
        block: Block,
    },
    /// Ask a peer for a range; offer each part, then say [`Input::RequestEnded`].
    Request {
        /// Whom.
        to: RemotePeer,
        /// Names the request; unique within the channel.
        id: u64,
        /// First block.
        from: SeqNum,
        /// Last block, included.
        through: SeqNum,
        /// The answer may end early at this many bytes.
        bytes_max: u64,
        /// Silence after which it is over.
        patience: Duration,
    },
    /// The ledger's height changed: tell the others.
    Announce {
        /// The height.
        height: Height,
    },
    /// A block turned out valid, for the first time; others may lack it.
    Accepted {
        /// The block.
        block: Block,
        /// Where it came from.
        origin: BlockOrigin,
    },
    /// An offered block was not taken.
    Drop {
        /// Its number.
        number: SeqNum,
        /// Where it came from.
        origin: BlockOrigin,
        /// Why.
        reason: DropReason,
    },
    /// A peer did what honest peers do not.
    Blame {
        /// Who.
        peer: PkiId,
        /// What, a label.
        reason: &'static str,
    },
    /// Open (or close) an own stream from the ordering service: no peer has what is missing.
    ///
    /// Said once per change. Independent of leadership.
    Source {
        /// Whether one is needed.
        wanted: bool,
    },
    /// The operator's word was taken: the channel goes on.
    Resumed {
        /// The number that was decided.
        number: SeqNum,
    },
    /// Orderers signed two blocks with one number: keep the evidence, tell the operator.
    Conflict(Box<Conflict>),
}

/// Where a block came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockOrigin {
    /// Our own stream from the ordering service, or a file.
    Source,
    /// A peer pushed it.
    Push {
        /// Which.
        from: PkiId,
    },
    /// A peer answered a pull.
    Pull {
        /// Which.
        from: PkiId,
    },
    /// A peer answered a range request.
    Range {
        /// Which.
        from: PkiId,
        /// Which request.
        request: u64,
    },
    /// The host handed it in.
    Local,
}

impl BlockOrigin {
    /// The peer that sent it.
    pub const fn peer(&self) -> Option<PkiId> {
        match self {
            Self::Push { from } | Self::Pull { from } | Self::Range { from, .. } => Some(*from),
            Self::Source | Self::Local => None,
        }
    }
}

/// Why an offered block was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// The ledger or the window has it.
    Known,
    /// Its number is too far above the height. Nothing of it is remembered.
    BeyondWindow,
    /// The bytes ahead of the height are used up.
    Budget,
    /// Nothing like it was asked for.
    NotAsked,
    /// It had to make room for a lower number.
    Evicted,
    /// It is not believed.
    Refused(BlockError),
    /// The channel is stopped by a conflict.
    Halted,
}

impl DropReason {
    /// Label of drop counters.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::BeyondWindow => "beyond_window",
            Self::Budget => "budget",
            Self::NotAsked => "not_asked",
            Self::Evicted => "evicted",
            Self::Refused(error) => error.class(),
            Self::Halted => "halted",
        }
    }
}

/// How a range request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestOutcome {
    /// The other side ended its answer.
    Complete,
    /// It fell silent.
    TimedOut,
    /// The connection broke, or there was none.
    Broken,
    /// It does not answer now.
    Refused,
}

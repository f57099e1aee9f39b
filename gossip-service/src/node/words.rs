//! What the node is told and what it asks for.

use std::collections::BTreeSet;

use bytes::Bytes;
use gossip_api::{
    Block, BlockError, BlockHash, ChannelId, Epoch, Height, Message, Mono, NetworkMember, Nonce,
    OrgId, PkiId, RemotePeer, SeqNum, ShareRoot, Verified,
};

use super::coded::{Coded, DecodeJob, Evidence, ProvenShare};

/// What the node is told.
#[derive(Debug)]
pub enum Input {
    /// Join a channel, or take over its newer configuration.
    Join(ChannelView),
    /// Leave a channel; its state is dropped.
    Leave(ChannelId),
    /// A member is alive, or something about it changed.
    MemberUp(NetworkMember),
    /// A member is dead or unknown from now on.
    MemberDown(PkiId),
    /// A connection to a member is there: what it missed can be told.
    Connected(PkiId),
    /// A message of one of the node's kinds.
    Received {
        /// Over whose connection.
        from: PkiId,
        /// The message, vouched for.
        message: Verified<Message>,
    },
    /// A share came whose branch holds.
    ShareProved {
        /// Over whose connection.
        from: PkiId,
        /// The share.
        share: ProvenShare,
    },
    /// A share came that does not belong to the tree it names.
    ShareFalse {
        /// Over whose connection.
        from: PkiId,
    },
    /// Answer to [`Action::EncodeShares`]; nothing if there is nothing to code.
    Encoded {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// The shares.
        coded: Option<Coded>,
    },
    /// Answer to [`Action::DecodeShares`]: a block whose data nobody has looked at; nothing if no honest
    /// source made these shares.
    Decoded {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// The tree that the shares belong to.
        root: ShareRoot,
        /// The block.
        block: Option<Block>,
    },
    /// A block failed verification.
    Refused {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// Why.
        error: BlockError,
    },
    /// The last connection to a member is gone.
    Disconnected(PkiId),
    /// Answer to [`Action::Sign`].
    Signed(Verified<Message>),
    /// Answer to [`Action::Recheck`]: those that still hold.
    Rechecked {
        /// The channel.
        channel: ChannelId,
        /// As in the action.
        sequence: u64,
        /// State infos.
        held: Vec<Verified<Message>>,
    },
    /// Answer to [`Action::CheckHeader`].
    HeaderChecked {
        /// The channel.
        channel: ChannelId,
        /// As in the action.
        sequence: u64,
        /// As in the action.
        from: PkiId,
        /// As in the action.
        header: Block,
        /// The verdict.
        verdict: Result<(), BlockError>,
    },
    /// Our own source named its newest header, and it holds.
    Probed {
        /// The channel.
        channel: ChannelId,
        /// The block without its data.
        header: Block,
    },
    /// Orderers signed this header although another one carries its number: others are to know.
    Contradicted {
        /// The channel.
        channel: ChannelId,
        /// The block without its data.
        header: Block,
    },
    /// Whether we lead a channel, and plan how its blocks spread.
    Leading {
        /// The channel.
        channel: ChannelId,
        /// Whether we do.
        leading: bool,
    },
    /// A peer of our organisation says that it leads, or that it does not any more.
    Lease {
        /// The channel.
        channel: ChannelId,
        /// Who.
        peer: PkiId,
        /// Until when, unless it says so again; nothing if it leads no more.
        until: Option<Mono>,
    },
    /// Our ledger's height in a channel.
    Height {
        /// The channel.
        channel: ChannelId,
        /// The height.
        height: Height,
    },
    /// A block passed verification: others may lack it.
    Accepted {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        via: Via,
    },
    /// Answer to [`Action::Read`]; nothing if the ledger does not hold the block.
    Read {
        /// The channel.
        channel: ChannelId,
        /// Who asked for it, and under which nonce.
        to: PkiId,
        /// Of the pull.
        nonce: Nonce,
        /// The block.
        block: Option<Block>,
    },
    /// We live under a newer epoch: what we say of ourselves is said again.
    EpochRaised(Epoch),
    /// A deadline passed.
    Tick,
}

/// What the node wants done.
#[derive(Debug)]
pub enum Action {
    /// Send, in the bytes given.
    Send {
        /// To whom.
        to: RemotePeer,
        /// What; kinds vouched for by the connection are wrapped unsigned.
        message: Outgoing,
    },
    /// Sign a message of ours; answered by [`Input::Signed`].
    Sign(Message),
    /// Check state infos again under the channel's new configuration; answered by [`Input::Rechecked`].
    ///
    /// Until then their authors are not peers of the channel.
    Recheck {
        /// The channel.
        channel: ChannelId,
        /// Sequence of the configuration; to be repeated in the answer.
        sequence: u64,
        /// What was believed under the old one.
        infos: Vec<Verified<Message>>,
    },
    /// A block came in, not verified.
    Offer {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        via: Via,
    },
    /// Verify header and signatures; answered by [`Input::HeaderChecked`].
    CheckHeader {
        /// The channel.
        channel: ChannelId,
        /// Sequence of the configuration; to be repeated in the answer.
        sequence: u64,
        /// Who sent it.
        from: PkiId,
        /// A block without data.
        header: Block,
    },
    /// Make shares of a block's data; answered by [`Input::Encoded`].
    EncodeShares {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// Its serialized data.
        data: Bytes,
    },
    /// Make a block of shares; answered by [`Input::Decoded`].
    DecodeShares(Box<DecodeJob>),
    /// A source is convicted by what it signed.
    Convicted {
        /// The channel.
        channel: ChannelId,
        /// What convicts it.
        evidence: Box<Evidence>,
    },
    /// As a source we chose how a block travels.
    Chosen {
        /// The channel.
        channel: ChannelId,
        /// The way; a label for counters.
        way: &'static str,
    },
    /// A header holds: the chain is at least so high.
    Proved {
        /// The channel.
        channel: ChannelId,
        /// A block without data.
        header: Block,
    },
    /// A peer did what honest peers do not.
    Blame {
        /// Who.
        peer: PkiId,
        /// What; a label for counters.
        reason: &'static str,
    },
    /// A peer of the channel states a height.
    PeerHeight {
        /// The channel.
        channel: ChannelId,
        /// Who.
        peer: RemotePeer,
        /// What it states.
        height: Height,
        /// Whether it is of our organisation.
        own_org: bool,
    },
    /// A peer is no longer one of the channel.
    PeerGone {
        /// The channel.
        channel: ChannelId,
        /// Who.
        peer: PkiId,
    },
    /// Read a block from the ledger, to serve a pull; answered by [`Input::Read`].
    Read {
        /// The channel.
        channel: ChannelId,
        /// Which block.
        number: SeqNum,
        /// For whom.
        to: PkiId,
        /// Of the pull.
        nonce: Nonce,
    },
    /// A message was not acted upon.
    Drop {
        /// Who sent it.
        from: PkiId,
        /// Why; a label for counters.
        reason: &'static str,
    },
}

/// A message on its way out: ours to encode, or another's to relay as it came.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// Vouched for by our connection.
    Plain(Message),
    /// Signed by its originator, in its own bytes.
    Signed(Verified<Message>),
}

impl Outgoing {
    pub(super) fn message(&self) -> &Message {
        match self {
            Self::Plain(message) => message,
            Self::Signed(verified) => verified.message(),
        }
    }
}

/// How a block came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From our own source, or from the host.
    Source,
    /// Pushed by a peer.
    Push(PkiId),
    /// Asked for in a pull.
    Pull(PkiId),
    /// Part of a range that the state transfer asked for.
    Range(PkiId),
}

/// What the node has to know of a channel's configuration.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Its name.
    pub channel: ChannelId,
    /// Header hash of its genesis block: the key of its tags.
    pub genesis: BlockHash,
    /// Its member organisations.
    pub orgs: BTreeSet<OrgId>,
    /// Sequence of the configuration; a smaller one than the last is ignored.
    pub sequence: u64,
    /// Our ledger's height.
    pub height: Height,
}

/// What others may want to know of a channel.
#[derive(Clone, Debug)]
pub struct ChannelPeer {
    /// The peer, with the height it states.
    pub member: NetworkMember,
    /// Whether it is of our organisation.
    pub own_org: bool,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Me {
    /// Our fingerprint.
    pub pki_id: PkiId,
    /// Our organisation.
    pub org: OrgId,
    /// Whether we have an external endpoint; without one no other organisation is told of us.
    pub is_external: bool,
    /// Which life of ours.
    pub epoch: Epoch,
}

//! What the relay is told about its surroundings, and what it wants done.

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip_api::message::{Share, ShareClass};
use gossip_api::{Block, ChannelId, Height, Message, PkiId, SeqNum, ShareRoot};

use super::evidence::Evidence;
use super::tree::branch_holds;
use crate::node::Outgoing;

/// A share whose branch was checked: it belongs to the tree that it names.
#[derive(Clone, Debug)]
pub struct ProvenShare(Share);

impl ProvenShare {
    /// Checks the branch: hashing, work for outside the loop.
    ///
    /// Nothing if the share does not belong to the tree that it names.
    pub fn check(share: Share) -> Option<Self> {
        branch_holds(&share).then_some(Self(share))
    }

    /// The share.
    pub fn share(&self) -> &Share {
        &self.0
    }
}

/// The members of a channel that may have its blocks, as they stand now; never ourselves.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The members.
    pub peers: Vec<PeerView>,
    /// Those of our organisation that take blocks from the orderers, ourselves included where we do.
    pub sources: Vec<PkiId>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct PeerView {
    /// Who.
    pub id: PkiId,
    /// Its organisation; ours is 0.
    pub org: u32,
    /// The height that it states.
    pub height: Height,
    /// Whether there is a connection to it.
    pub connected: bool,
}

/// What the relay wants done.
#[derive(Debug)]
pub enum Step {
    /// Send.
    Send {
        /// To whom.
        to: PkiId,
        /// What.
        message: Outgoing,
    },
    /// Sign what we commit to; answered by [`on_committed`](super::Shares::on_committed).
    Sign(Message),
    /// Make shares of a block's data; answered by [`on_encoded`](super::Shares::on_encoded).
    Encode {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
        /// Its serialized data.
        data: Bytes,
    },
    /// Make data of shares, and see whether they are what the header commits to.
    Decode(Box<DecodeJob>),
    /// A source is convicted by what it signed.
    Convicted {
        /// The channel.
        channel: ChannelId,
        /// What convicts it.
        evidence: Box<Evidence>,
    },
    /// Nobody gives what is missing: the block has to come another way.
    GiveUp {
        /// The channel.
        channel: ChannelId,
        /// The block's number.
        number: SeqNum,
    },
    /// Not acted upon.
    Drop {
        /// Who sent it.
        from: PkiId,
        /// Why; a label for counters.
        reason: &'static str,
    },
}

/// Shares that give a block's data: what is computed outside the loop.
#[derive(Clone, Debug)]
pub struct DecodeJob {
    /// The channel.
    pub channel: ChannelId,
    /// Header and signatures, verified; no data.
    pub header: Block,
    /// The tree that the shares belong to.
    pub root: ShareRoot,
    /// Who answers for it.
    pub source: PkiId,
    /// How the data is coded.
    pub class: ShareClass,
    /// Length of the data.
    pub data_len: u64,
    /// The shares.
    pub shares: BTreeMap<u8, Bytes>,
}

impl DecodeJob {
    /// The block, if the shares give data at all; whether it is the header's data has to be verified.
    ///
    /// # Errors
    /// If an honest source cannot have made these shares.
    pub fn run(self) -> Result<Block, super::code::CodeError> {
        let data = super::code::decode(self.class, self.data_len, &self.shares)?;
        Ok(Block { data, ..self.header })
    }
}

/// How the relay sends, and how much it holds.
#[derive(Clone, Debug)]
pub struct CodedConfig {
    /// Whether blocks may cross to other organisations of their channel. Fabric keeps them inside.
    pub cross_orgs: bool,
    /// Shares that a source gives out at first, in hundredths of those needed: what silent relays may cost
    /// before somebody has to ask. The rest is sent when it is asked for.
    pub ratio_start: u32,
    /// The least that the ratio falls to after many blocks for which nobody had to ask.
    pub ratio_least: u32,
    /// The most shares given out to relays in all, in hundredths of those needed.
    pub ratio_most: u32,
    /// Bytes of shares held, of all channels and blocks, our own included.
    pub budget: usize,
    /// A block is shared only with peers whose height is less than this many blocks below it.
    pub window: u64,
}

impl Default for CodedConfig {
    fn default() -> Self {
        Self {
            cross_orgs: false,
            ratio_start: 135,
            ratio_least: 115,
            ratio_most: 160,
            budget: 64 << 20,
            window: 256,
        }
    }
}

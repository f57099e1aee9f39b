//! How a new block travels: its header first, then its data down a tree that its source plans.
//!
//! ```text
//!   source                          relay                         leaf
//!     |---- Header, or its hash ----->|---- Header, or its hash --->|   on the mesh
//!     |---- Plan + part + block ----->|---- Plan + part + block --->|   down the tree
//!     |<----------- Have -------------|<----------- Have -----------|
//!                                     |<----------- Want -----------|   what did not come
//!                                     |------------ Update -------->|
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Tag;
use crate::bounded::Bounded;
use crate::id::{BlockHash, ChannelId, Height, Nonce, PkiId, SeqNum};
use crate::ledger::Block;
use crate::merkle::MerkleTree;

/// A block without its data: its header, and the orderers' signatures that prove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMessage {
    /// The channel.
    pub channel: ChannelId,
    /// The block; its data is left empty.
    pub block: Block,
    /// Length of the data that belongs to it. Nobody has signed this: a hint for waits, no more.
    pub data_len: u64,
}

/// Short words about headers, between members of a channel, of whatever organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderNote {
    /// The channel.
    pub channel: ChannelId,
    /// The word.
    pub word: HeaderWord,
}

/// What is said of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderWord {
    /// I have this header.
    Have {
        /// Number of the block.
        number: SeqNum,
        /// Hash of the header.
        hash: BlockHash,
        /// Whether I have the data as well.
        data: bool,
    },
    /// This header, please.
    Want {
        /// Number of the block.
        number: SeqNum,
    },
    /// So high is the chain as far as I know; and you?
    Tip {
        /// Chosen by the asker, echoed in the answer.
        nonce: Nonce,
        /// One past the newest header that I verified.
        height: Height,
        /// Whether I miss headers and want them of you.
        feed: bool,
    },
    /// The answer.
    TipIs {
        /// Of the question.
        nonce: Nonce,
        /// One past the newest header that I verified.
        height: Height,
    },
}

/// Short words about the data of blocks, inside an organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockNote {
    /// The channel.
    pub channel: ChannelId,
    /// The word.
    pub word: BlockWord,
}

/// What is said of a block's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlockWord {
    /// I have this block: do not send it to me, ask me for it.
    Have {
        /// Its number.
        number: SeqNum,
    },
    /// This block, please; answered by an update with the nonce.
    Want {
        /// Chosen by the asker; single use.
        nonce: Nonce,
        /// Its number.
        number: SeqNum,
    },
    /// I do not have what you want.
    Lack {
        /// Of the question.
        nonce: Nonce,
    },
    /// I am too far behind to use new blocks: leave me out of plans until I say that I have one.
    Behind {
        /// My height.
        height: Height,
    },
}

/// Who serves whom with one block, as its source decided: signed by the source.
///
/// The members stand in an order that the source drew. Who receives a run of them serves that run: cuts it
/// into at most `fan_out` shorter ones, and gives the block and its run to one member of each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The channel.
    pub channel: ChannelId,
    /// Number of the block.
    pub number: SeqNum,
    /// Hash of its header.
    pub header: BlockHash,
    /// Who planned.
    pub source: PkiId,
    /// When, in milliseconds since the source's start: of two plans of one life the later has the greater.
    pub issued: u64,
    /// How many members are served in all.
    pub members: u32,
    /// How many each of them serves at most by itself.
    pub fan_out: u32,
    /// Root of the list of members.
    pub root: [u8; 32],
}

/// Part of a plan's list: the run that its receiver is in and serves, and what shows that it is in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPart {
    /// Place of the run's first member in the list.
    pub first: u32,
    /// The run.
    pub members: Bounded<PkiId, { PlanPart::MEMBERS_MAX }>,
    /// Hashes beside it.
    pub proof: Bounded<[u8; 32], 64>,
}

/// A block on its way down the tree. The plan is signed; part and block prove themselves.
#[derive(Clone, PartialEq, Eq)]
pub struct PlannedBlock {
    /// The plan.
    pub plan: Plan,
    /// What the receiver is to do.
    pub part: PlanPart,
    /// The block, with header and signatures.
    pub block: Block,
}

impl HeaderWord {
    /// The number, or the height, that it is about.
    pub const fn sequence(&self) -> u64 {
        match self {
            Self::Have { number, .. } | Self::Want { number } => number.get(),
            Self::Tip { height, .. } | Self::TipIs { height, .. } => height.get(),
        }
    }
}

impl BlockWord {
    /// The number, or the height, that it is about.
    pub const fn sequence(&self) -> u64 {
        match self {
            Self::Have { number } | Self::Want { number, .. } => number.get(),
            Self::Behind { height } => height.get(),
            Self::Lack { .. } => 0,
        }
    }
}

impl HeaderNote {
    /// Who may see it.
    pub const TAG: Tag = Tag::ChanOnly;
}

impl BlockNote {
    /// Who may see it.
    pub const TAG: Tag = Tag::ChanAndOrg;
}

impl PlanPart {
    /// Members of one run.
    pub const MEMBERS_MAX: usize = 4096;

    /// All of a list: what its source begins with; nothing if it is too long.
    pub fn whole(members: Vec<PkiId>) -> Option<Self> {
        let members = Bounded::new(members).ok()?;
        Some(Self { first: 0, members, proof: Bounded::default() })
    }

    /// The list's tree, as far as it follows from this run; nothing if the run is not in the plan's list.
    pub fn tree(&self, plan: &Plan) -> Option<MerkleTree> {
        let leaves = self.members.as_slice().iter().map(PkiId::as_bytes);
        let (total, first) = (plan.members as usize, self.first as usize);
        let tree = MerkleTree::of_run(total, first, leaves, self.proof.as_slice())?;
        (tree.root() == plan.root).then_some(tree)
    }

    /// The run of `len` members of this one from its `at`-th on, with the proof that `tree` has of it.
    pub fn cut(&self, tree: &MerkleTree, at: usize, len: usize) -> Option<Self> {
        let members = self.members.as_slice().get(at..at.checked_add(len)?)?;
        let first = (self.first as usize).checked_add(at)?;
        Some(Self {
            first: u32::try_from(first).ok()?,
            members: Bounded::new(members.to_vec()).ok()?,
            proof: Bounded::new(tree.prove(first, len)).ok()?,
        })
    }
}

impl fmt::Debug for PlannedBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = self.part.members.as_slice().len();
        write!(f, "PlannedBlock({:?}, {members} members, {:?})", self.plan, self.block)
    }
}

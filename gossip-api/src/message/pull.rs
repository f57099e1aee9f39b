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

use super::Tag;
use crate::bounded::{Blob, Bounded};
use crate::id::{ChannelId, Epoch, Nonce, PkiId, SeqNum};
use crate::identity::PeerIdentity;
use crate::ledger::Block;

/// What is pulled.
// fabric: gossip/message.proto PullMsgType
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PullKind {
    /// Blocks of a channel; an item is a block number.
    Block,
    /// Identities of peers; an item is a fingerprint. The channel is left empty.
    Identity,
    /// State infos of a channel; an item is a peer and what it said last. They travel as they were signed.
    StateInfo,
}

impl PullKind {
    /// Who may see a pull of this kind.
    // fabric: gossip/protoext/message.go IsTagLegal
    pub const fn tag(self) -> Tag {
        match self {
            Self::Block => Tag::ChanAndOrg,
            Self::Identity => Tag::Empty,
            Self::StateInfo => Tag::ChanOrOrg,
        }
    }

    /// Whether a pull of this kind may name `channel`.
    pub(super) fn fits(self, channel: &ChannelId) -> bool {
        self != Self::Identity || channel.as_str().is_empty()
    }
}

/// Name of an item within its kind, at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ItemId(Blob<64>);

impl ItemId {
    /// A block's name: its number, eight bytes little-endian.
    pub fn block(number: SeqNum) -> Self {
        Self(Blob::new(number.get().to_le_bytes().to_vec()).unwrap_or_default())
    }

    /// An identity's name: its fingerprint, 32 bytes.
    pub fn identity(pki_id: PkiId) -> Self {
        Self(Blob::new(pki_id.as_bytes().to_vec()).unwrap_or_default())
    }

    /// A state info's name: whose, 32 bytes, of which epoch and with which sequence, eight bytes each.
    pub fn state_info(pki_id: PkiId, epoch: Epoch, sequence: u64) -> Self {
        let mut name = pki_id.as_bytes().to_vec();
        name.extend(epoch.get().to_le_bytes());
        name.extend(sequence.to_le_bytes());
        Self(Blob::new(name).unwrap_or_default())
    }

    /// The state info that is named; nothing if these are not 48 bytes.
    pub fn as_state_info(&self) -> Option<(PkiId, Epoch, u64)> {
        let (peer, rest) = self.0.as_bytes().split_first_chunk::<32>()?;
        let (epoch, sequence) = rest.split_first_chunk::<8>()?;
        let sequence = u64::from_le_bytes(sequence.try_into().ok()?);
        let epoch = Epoch::new(u64::from_le_bytes(*epoch));
        Some((PkiId::from_bytes(*peer), epoch, sequence))
    }

    /// The identity that is named; nothing if these are not 32 bytes.
    pub fn as_identity(&self) -> Option<PkiId> {
        PkiId::from_slice(self.0.as_bytes())
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

/// Identities that were asked for, each of which proves itself: who issued it has signed it, and its
/// fingerprint is the item's name.
// fabric: gossip/message.proto PeerIdentity
// fabric-differs: not signed by the peer, whose hello proves that it holds the key; a fingerprint has one identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerIdentities {
    /// Of the hello.
    pub nonce: Nonce,
    /// At most 64 identities, of at most [`PeerIdentities::BYTES_MAX`] bytes together.
    pub identities: Bounded<PeerIdentity, 64>,
}

impl PeerIdentities {
    /// Bytes of identities that fit one message.
    pub const BYTES_MAX: usize = 240 << 10;

    /// As many messages as `identities` need.
    pub fn pages(nonce: Nonce, identities: impl IntoIterator<Item = PeerIdentity>) -> Vec<Self> {
        let mut pages: Vec<(usize, Vec<PeerIdentity>)> = Vec::new();
        for identity in identities {
            let size = identity.as_bytes().len();
            match pages.last_mut() {
                Some((bytes, page)) if page.len() < 64 && *bytes + size <= Self::BYTES_MAX => {
                    *bytes += size;
                    page.push(identity);
                }
                _ => pages.push((size, vec![identity])),
            }
        }
        let page = |(_, page)| Self { nonce, identities: Bounded::truncated(page) };
        pages.into_iter().map(page).collect()
    }
}

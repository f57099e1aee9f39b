//! What invalidates what, for every pair of kinds.
//!
//! | Held and new | Compared if | Holds |
//! |---|---|---|
//! | record | of one member | the greater (epoch, version) |
//! | state info | of one member in one channel | the greater (epoch, sequence) |
//! | leadership | of one candidate in one channel | the greater term; within it resigning over declaring over proposing |
//! | data, update | of one channel | the held of two with one number; both within the window; else the higher number |
//! | all others, and two kinds | never | both |
//!
//! Of equals the held one stays: a repeat is no news. Point-to-point kinds answer a question or prove
//! something to one asker, so that none takes the place of another. Identities are judged one by one by
//! [`IdentityMap`](crate::IdentityMap), where the first of a fingerprint stays, and beats by
//! [`Record::accepts`](super::Record::accepts).
// fabric: gossip/protoext/comparators.go NewGossipMessageComparator

use std::cmp::Ordering;

use super::{LeadershipKind, Message};
use crate::id::{ChannelId, ChannelTag, PkiId, SeqNum};
use crate::verify::Verified;

/// What a new message and one that is held mean for each other.
// fabric: gossip/common/common.go InvalidationResult
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They have nothing to do with each other: both stay.
    NoAction,
    /// The new one takes the place of the held one.
    Replaces,
    /// The new one is void: the held one says the same, or something newer.
    ReplacedBy,
}

/// What a message is about: messages of different lanes never affect each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A member.
    Record(PkiId),
    /// A member in one channel.
    // fabric-differs: Fabric leaves the channel out, so that a peer of two channels displaces itself in the relay store.
    StateInfo(PkiId, ChannelTag),
    /// A candidate in one channel.
    Leadership(PkiId, ChannelId),
    /// The blocks of a channel.
    Block(ChannelId),
}

/// Where a message stands among those it may replace, or be replaced by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot<L> {
    /// What it is about.
    pub lane: L,
    /// Its place in the lane: the block's number, 0 for lanes of one place.
    pub position: u64,
    /// Of two messages in one place the one of greater rank holds.
    pub rank: (u64, u64),
}

impl<L: PartialEq> Slot<L> {
    /// What a message in this slot means for one held in `held`: two places of one lane stay side by side
    /// if they are at most `window` apart.
    pub fn relation(&self, held: &Self, window: u64) -> Relation {
        if self.lane != held.lane {
            return Relation::NoAction;
        }
        match self.position.cmp(&held.position) {
            Ordering::Equal if self.rank > held.rank => Relation::Replaces,
            Ordering::Equal => Relation::ReplacedBy,
            _ if self.position.abs_diff(held.position) <= window => Relation::NoAction,
            Ordering::Greater => Relation::Replaces,
            Ordering::Less => Relation::ReplacedBy,
        }
    }
}

/// What [`Message::replaces`] cannot read in the two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether both came from one peer: kinds vouched for by connections do not say whose they are.
    pub same_sender: bool,
    /// How far two blocks may lie apart and both be kept. Fabric: `maxBlockCountToStore`.
    pub window: u64,
}

impl Message {
    /// The message's slot, said by `author`; nothing for kinds that neither replace nor are replaced.
    pub fn slot(&self, author: PkiId) -> Option<Slot<Lane>> {
        let block = |channel: &ChannelId, number: SeqNum| {
            Some(Slot { lane: Lane::Block(channel.clone()), position: number.get(), rank: (0, 0) })
        };
        let single = |lane, rank| Some(Slot { lane, position: 0, rank });
        match self {
            Self::Record(record) => {
                single(Lane::Record(record.pki_id), (record.epoch.get(), u64::from(record.version)))
            }
            Self::StateInfo(info) => {
                single(Lane::StateInfo(info.pki_id, info.tag), (info.epoch.get(), info.sequence))
            }
            Self::Leadership(claim) => single(
                Lane::Leadership(author, claim.channel.clone()),
                (claim.term, stage(claim.kind)),
            ),
            Self::Data(data) => block(&data.channel, data.block.number),
            Self::Update(update) => block(&update.channel, update.block.number),
            Self::Beats(_)
            | Self::MembershipRequest(_)
            | Self::MembershipResponse(_)
            | Self::Hello(_)
            | Self::Digest(_)
            | Self::Request(_)
            | Self::StateRequest(_)
            | Self::StateResponse(_)
            | Self::Probe(_)
            | Self::ProofOfLife(_)
            | Self::StateInfoPullRequest(_)
            | Self::StateInfoSnapshot(_)
            | Self::PeerIdentities(_)
            | Self::Acknowledgement(_)
            | Self::PrivateData(_)
            | Self::PrivateDataRequest(_)
            | Self::PrivateDataResponse(_)
            | Self::Header(_)
            | Self::HeaderNote(_)
            | Self::BlockNote(_)
            | Self::Plan(_)
            | Self::ShareCommitment(_)
            | Self::Share(_)
            | Self::ShareReport(_) => None,
        }
    }

    /// What this message, arriving, means for `held`.
    pub fn replaces(&self, held: &Self, circumstances: Circumstances) -> Relation {
        let by_sender = matches!(self, Self::Leadership(_));
        if by_sender && !circumstances.same_sender {
            return Relation::NoAction;
        }
        let one = PkiId::from_bytes([0; 32]);
        match (self.slot(one), held.slot(one)) {
            (Some(new), Some(held)) => new.relation(&held, circumstances.window),
            _ => Relation::NoAction,
        }
    }
}

impl Verified<Message> {
    /// As [`Message::replaces`]; who said what is known here.
    pub fn replaces(&self, held: &Self, window: u64) -> Relation {
        let same_sender = self.author() == held.author();
        self.message().replaces(held.message(), Circumstances { same_sender, window })
    }
}

/// How far a claim has come within its term.
const fn stage(kind: LeadershipKind) -> u64 {
    match kind {
        LeadershipKind::Propose => 0,
        LeadershipKind::Declare => 1,
        LeadershipKind::Resign => 2,
    }
}

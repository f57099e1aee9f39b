//! Large blocks in shares: what a source commits to, the shares, and what of them a peer holds.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::id::{BlockHash, ChannelId, PkiId, SeqNum, ShareRoot};

/// Into how many shares a block's data is coded, by its length: a rule of the protocol, so that every honest
/// source makes the same shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ShareClass {
    /// Up to 128 KiB, included: 16 shares, any 10 of which give the data.
    Small,
    /// Below 1 MiB: 64 shares, any 40.
    Medium,
    /// From 1 MiB up: 128 shares, any 72.
    Large,
}

impl ShareClass {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Small, Self::Medium, Self::Large];

    /// The class of data of this length.
    pub const fn of(data_len: u64) -> Self {
        match data_len {
            0..=0x2_0000 => Self::Small,
            0x2_0001..0x10_0000 => Self::Medium,
            0x10_0000.. => Self::Large,
        }
    }

    /// Shares in all.
    pub const fn shares(self) -> u8 {
        match self {
            Self::Small => 16,
            Self::Medium => 64,
            Self::Large => 128,
        }
    }

    /// Shares that give the data; the first so many are the data itself.
    pub const fn needed(self) -> u8 {
        match self {
            Self::Small => 10,
            Self::Medium => 40,
            Self::Large => 72,
        }
    }

    /// Hashes that prove a share: the shares are the leaves of a full binary tree.
    pub const fn branch_len(self) -> usize {
        self.shares().ilog2() as usize
    }

    /// Length of every share of data of this length: a whole number of the code's symbols, which are two bytes.
    pub const fn share_len(self, data_len: u64) -> u64 {
        data_len.div_ceil(self.needed() as u64).next_multiple_of(2)
    }
}

/// What a source signs before it gives out shares: these are the shares of this block's data.
///
/// Two of one source for one header, or one whose shares are not those of the header's data, convict it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareCommitment {
    /// The channel.
    pub channel: ChannelId,
    /// Who commits.
    pub source: PkiId,
    /// The block's number.
    pub number: SeqNum,
    /// Hash of the block's header.
    pub header_hash: BlockHash,
    /// Root of the tree over all shares.
    pub root: ShareRoot,
    /// How the data is coded; follows from its length.
    pub class: ShareClass,
    /// Length of the serialized data in bytes.
    pub data_len: u64,
}

/// What the receiver of a share is asked to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShareDuty {
    /// Nothing: everybody else is served by others.
    Keep,
    /// Forward it inside its own organisation.
    Entry,
    /// Forward it inside its own organisation, and to one peer of each other that may have it.
    Relay,
}

/// One share.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    /// The channel.
    pub channel: ChannelId,
    /// The block's number.
    pub number: SeqNum,
    /// The tree that it belongs to: what it is judged by.
    pub root: ShareRoot,
    /// How the data is coded.
    pub class: ShareClass,
    /// Length of the block's serialized data in bytes.
    pub data_len: u64,
    /// Which share it is, from 0.
    pub index: u8,
    /// What to do with it.
    pub duty: ShareDuty,
    /// The hashes beside the way from the share to the root, the deepest first.
    pub branch: Bounded<[u8; 32], 7>,
    /// The share.
    pub payload: Bytes,
}

// A log of shares must stay readable.
impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { channel, number, root, index, duty, payload, .. } = self;
        let len = payload.len();
        write!(f, "Share({channel} {number}, {root:?} {index}, {duty:?}, {len} bytes)")
    }
}

/// What a peer holds of a block's shares, and which it would like from the peer that it tells.
///
/// With nothing wanted it says: I have the block, send me no more of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareReport {
    /// The channel.
    pub channel: ChannelId,
    /// The block's number.
    pub number: SeqNum,
    /// Whose shares.
    pub root: ShareRoot,
    /// Those held.
    pub held: ShareSet,
    /// Those wanted.
    pub wanted: ShareSet,
}

/// Some of a block's shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareSet {
    /// Shares 0 to 63, one bit each.
    low: u64,
    /// Shares 64 to 127.
    high: u64,
}

impl ShareSet {
    /// No share.
    pub const NONE: Self = Self { low: 0, high: 0 };

    const fn bits(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    const fn from_bits(bits: u128) -> Self {
        Self { low: (bits & u64::MAX as u128) as u64, high: (bits >> 64) as u64 }
    }

    /// Every share of a class.
    pub const fn all(class: ShareClass) -> Self {
        Self::from_bits(u128::MAX >> (128 - class.shares() as u32))
    }

    /// Whether a share is among them.
    pub const fn contains(self, index: u8) -> bool {
        index < 128 && self.bits() >> index & 1 == 1
    }

    /// Adds a share; one above 127 is no share and is left out.
    pub fn insert(&mut self, index: u8) {
        if index < 128 {
            *self = Self::from_bits(self.bits() | 1 << index);
        }
    }

    /// Those of `self` that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self::from_bits(self.bits() & !other.bits())
    }

    /// Those in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self::from_bits(self.bits() & other.bits())
    }

    /// Those in one of the two, or in both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self::from_bits(self.bits() | other.bits())
    }

    /// How many.
    pub const fn len(self) -> u32 {
        self.bits().count_ones()
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.bits() == 0
    }

    /// The shares, lowest first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..128).filter(move |index| self.contains(*index))
    }
}

impl FromIterator<u8> for ShareSet {
    fn from_iter<I: IntoIterator<Item = u8>>(indices: I) -> Self {
        let mut set = Self::NONE;
        indices.into_iter().for_each(|index| set.insert(index));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_includes_its_upper_edge_and_the_largest_begins_at_one_mebibyte() {
        for (data_len, class) in [
            (0, ShareClass::Small),
            (128 << 10, ShareClass::Small),
            ((128 << 10) + 1, ShareClass::Medium),
            ((1 << 20) - 1, ShareClass::Medium),
            (1 << 20, ShareClass::Large),
            (u64::MAX, ShareClass::Large),
        ] {
            assert_eq!(ShareClass::of(data_len), class, "{data_len}");
        }
    }

    #[test]
    fn the_needed_shares_hold_the_data_and_hardly_more() {
        for data_len in [1, 2, 9, 10, 4097, 128 << 10, 500_000, 1 << 20, 10 << 20, 100 << 20] {
            let class = ShareClass::of(data_len);
            let held = class.share_len(data_len) * u64::from(class.needed());
            assert!(held >= data_len, "{data_len}");
            assert!(held < data_len + 2 * u64::from(class.needed()), "{data_len}");
        }
    }

    #[test]
    fn a_set_holds_what_is_put_in_and_no_more() {
        let mut set = ShareSet::NONE;
        for index in [0, 63, 64, 127, 128, 255] {
            set.insert(index);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 127]);
        assert_eq!(set, [0, 63, 64, 127].into_iter().collect());
        assert!(!set.contains(128) && !set.contains(255));
        let all = ShareSet::all(ShareClass::Medium);
        assert_eq!(all.len(), 64);
        assert_eq!(all.and(set).len(), 2);
        assert_eq!(all.or(set).len(), 66);
        assert_eq!(set.without(all).iter().collect::<Vec<_>>(), [64, 127]);
        assert_eq!(ShareSet::all(ShareClass::Large).len(), 128);
    }
}

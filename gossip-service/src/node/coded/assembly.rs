//! The shares of one tree, as they come in.
//!
//! An assembly exists once its block's header is verified and a member has signed its root; what it may hold
//! follows from these two. It looks at nothing but places and lengths: whether a share belongs to the tree
//! was found out before ([`ProvenShare`]).

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip_api::message::{Share, ShareClass, ShareDuty, ShareSet};
use gossip_api::{Bounded, ChannelId, PkiId, SeqNum, ShareRoot};

use super::words::ProvenShare;

/// The shares of one tree.
#[derive(Clone, Debug)]
pub struct Assembly {
    root: ShareRoot,
    class: ShareClass,
    data_len: u64,
    held: BTreeMap<u8, Held>,
}

/// A share that is kept: to decode, to answer who misses it, and as evidence.
#[derive(Clone, Debug)]
struct Held {
    branch: Bounded<[u8; 32], 7>,
    payload: Bytes,
    from: PkiId,
}

/// Why a share is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// It belongs to another tree.
    Tree,
    /// It is coded in another class, or as part of data of another length.
    Class,
    /// There is no such share in the class.
    Index,
    /// Its branch cannot be one: too short or too long.
    Branch,
    /// It is shorter or longer than its class and data say.
    Length,
    /// It is held.
    Duplicate,
    /// Enough are held.
    Surplus,
}

impl Unwanted {
    /// A label for counters.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Tree => "share of another tree",
            Self::Class => "share of another class",
            Self::Index => "share that does not exist",
            Self::Branch => "share with a branch of another length",
            Self::Length => "share of another length",
            Self::Duplicate => "duplicate share",
            Self::Surplus => "surplus share",
        }
    }
}

impl Assembly {
    /// An empty one. `class` and `data_len` are the commitment's; nothing if they contradict each other.
    pub fn new(root: ShareRoot, class: ShareClass, data_len: u64) -> Option<Self> {
        let fits = data_len > 0 && ShareClass::of(data_len) == class;
        fits.then(|| Self { root, class, data_len, held: BTreeMap::new() })
    }

    /// Whether a share has a place here, proved or not.
    ///
    /// # Errors
    /// Why not.
    pub fn has_place_for(&self, share: &Share) -> Result<(), Unwanted> {
        if share.root != self.root {
            return Err(Unwanted::Tree);
        }
        if share.class != self.class || share.data_len != self.data_len {
            return Err(Unwanted::Class);
        }
        if share.index >= self.class.shares() {
            return Err(Unwanted::Index);
        }
        if share.branch.as_slice().len() != self.class.branch_len() {
            return Err(Unwanted::Branch);
        }
        if share.payload.len() as u64 != self.class.share_len(self.data_len) {
            return Err(Unwanted::Length);
        }
        if self.held.contains_key(&share.index) {
            return Err(Unwanted::Duplicate);
        }
        if self.is_enough() {
            return Err(Unwanted::Surplus);
        }
        Ok(())
    }

    /// Keeps a share.
    ///
    /// # Errors
    /// Why it is not kept.
    pub fn keep(&mut self, from: PkiId, share: &ProvenShare) -> Result<(), Unwanted> {
        let share = share.share();
        self.has_place_for(share)?;
        let Share { branch, payload, .. } = share.clone();
        self.held.insert(share.index, Held { branch, payload, from });
        Ok(())
    }

    /// Whether the shares held give the data.
    pub fn is_enough(&self) -> bool {
        self.held.len() >= usize::from(self.class.needed())
    }

    /// The shares held.
    pub fn held(&self) -> ShareSet {
        self.held.keys().copied().collect()
    }

    /// How many are lacking.
    pub fn lacking(&self) -> u32 {
        u32::from(self.class.needed()).saturating_sub(self.held().len())
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        // All shares of a tree are equally long.
        self.held.len() * self.held.values().next().map_or(0, |held| held.payload.len())
    }

    /// How the data is coded.
    pub fn class(&self) -> ShareClass {
        self.class
    }

    /// Length of the data.
    pub fn data_len(&self) -> u64 {
        self.data_len
    }

    /// What decoding takes.
    pub fn payloads(&self) -> BTreeMap<u8, Bytes> {
        self.held.iter().map(|(index, held)| (*index, held.payload.clone())).collect()
    }

    /// Who gave shares.
    pub fn givers(&self) -> impl Iterator<Item = PkiId> + '_ {
        self.held.values().map(|held| held.from)
    }

    /// A share held, ready to send on.
    pub fn share(&self, channel: &ChannelId, number: SeqNum, index: u8) -> Option<Share> {
        let Held { branch, payload, .. } = self.held.get(&index)?.clone();
        let Self { root, class, data_len, .. } = *self;
        let (channel, duty) = (channel.clone(), ShareDuty::Keep);
        Some(Share { channel, number, root, class, data_len, index, duty, branch, payload })
    }
}

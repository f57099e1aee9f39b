//! One block on its way in shares, as a peer sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{Share, ShareCommitment, ShareSet};
use gossip_api::{Block, Message, Mono, PkiId, ShareRoot, Verified};

use super::assembly::{Assembly, Unwanted};
use super::source::Issued;

/// What is known and held of one block.
#[derive(Debug)]
pub(super) struct BlockShares {
    /// Header and signatures, verified; no data.
    pub(super) header: Option<Block>,
    /// What members have signed, by source.
    pub(super) commitments: BTreeMap<PkiId, Verified<Message>>,
    /// The shares, by root; only for a verified header and a signed root of it.
    pub(super) trees: BTreeMap<ShareRoot, Assembly>,
    pub(super) phase: Phase,
    /// The data that shares gave, while they are being verified.
    pub(super) decoded: Option<Bytes>,
    /// Who said that it has the block.
    pub(super) have: BTreeSet<PkiId>,
    /// Shares that were forwarded, by root.
    pub(super) forwarded: BTreeMap<ShareRoot, ShareSet>,
    /// How often each who asked us as a holder was answered.
    pub(super) answered: BTreeMap<PkiId, u8>,
    /// Bytes of shares uploaded.
    pub(super) uploaded: u64,
    /// What we give out, where we are a source.
    pub(super) issued: Option<Issued>,
    pub(super) pace: Pace,
    pub(super) since: Mono,
}

/// How far the block has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Shares are lacking.
    Collecting,
    /// The shares of this tree are being decoded and verified.
    Decoding(ShareRoot),
    /// The block is here and verified, since then.
    Whole(Mono),
}

impl BlockShares {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            header: None,
            commitments: BTreeMap::new(),
            trees: BTreeMap::new(),
            phase: Phase::Collecting,
            decoded: None,
            have: BTreeSet::new(),
            forwarded: BTreeMap::new(),
            answered: BTreeMap::new(),
            uploaded: 0,
            issued: None,
            pace: Pace::default(),
            since: now,
        }
    }

    /// The verified header; what was signed for another one is forgotten.
    pub(super) fn take_header(&mut self, now: Mono, header: &Block) {
        if self.header.is_some() {
            return;
        }
        let hash = header.header().hash();
        self.commitments.retain(|_, signed| {
            commitment_of(signed).is_some_and(|commitment| commitment.header_hash == hash)
        });
        self.header = Some(Block { data: Bytes::new(), ..header.clone() });
        self.open_trees(now);
    }

    /// Makes room for the shares of every root that a member has signed for the verified header.
    pub(super) fn open_trees(&mut self, now: Mono) {
        let Some(header) = &self.header else { return };
        let hash = header.header().hash();
        for commitment in self.commitments.values().filter_map(commitment_of) {
            if commitment.header_hash == hash && !self.trees.contains_key(&commitment.root) {
                let ShareCommitment { root, class, data_len, .. } = *commitment;
                if let Some(tree) = Assembly::new(root, class, data_len) {
                    self.trees.insert(root, tree);
                    self.pace.opened(now);
                }
            }
        }
    }

    /// Who has signed a root.
    pub(super) fn sources_of(&self, root: ShareRoot) -> impl Iterator<Item = PkiId> + '_ {
        let commitments = self.commitments.iter();
        commitments
            .filter(move |(_, message)| commitment_of(message).is_some_and(|c| c.root == root))
            .map(|(source, _)| *source)
    }

    pub(super) fn is_source(&self, root: ShareRoot, peer: &PkiId) -> bool {
        self.sources_of(root).any(|source| source == *peer)
    }

    /// Whether a share is wanted for the block's data.
    pub(super) fn place_for(&self, share: &Share) -> Result<(), &'static str> {
        let Some(tree) = self.trees.get(&share.root) else {
            return Err(match self.phase {
                Phase::Whole(_) => Unwanted::Surplus.reason(),
                Phase::Collecting | Phase::Decoding(_) => Unwanted::Tree.reason(),
            });
        };
        tree.has_place_for(share).map_err(Unwanted::reason)?;
        match self.phase {
            Phase::Collecting => Ok(()),
            Phase::Decoding(_) | Phase::Whole(_) => Err(Unwanted::Surplus.reason()),
        }
    }

    /// Whether a share is well-formed for its tree and was not forwarded yet: it may have to be, though it is
    /// not wanted here any more.
    pub(super) fn may_forward(&self, share: &Share) -> bool {
        let fits = self.trees.get(&share.root).is_some_and(|tree| {
            let misfit = tree.has_place_for(share).err();
            matches!(misfit, None | Some(Unwanted::Duplicate | Unwanted::Surplus))
        });
        let done = self.forwarded.get(&share.root).is_some_and(|set| set.contains(share.index));
        fits && !done
    }

    pub(super) fn bytes(&self) -> usize {
        let trees: usize = self.trees.values().map(Assembly::bytes).sum();
        trees.saturating_add(self.issued.as_ref().map_or(0, Issued::bytes))
    }

    /// The tree that lacks least, with its root.
    pub(super) fn best_tree(&self) -> Option<(ShareRoot, &Assembly)> {
        let trees = self.trees.iter().map(|(root, tree)| (*root, tree));
        trees.min_by_key(|(root, tree)| (tree.lacking(), *root))
    }
}

pub(super) fn commitment_of(message: &Verified<Message>) -> Option<&ShareCommitment> {
    if let Message::ShareCommitment(commitment) = message.message() {
        Some(commitment)
    } else {
        None
    }
}

/// How fast shares come in, and so when to ask for those that do not.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    first: Option<Mono>,
    last: Option<Mono>,
    gaps: Vec<Duration>,
    /// When to ask next.
    pub(super) ask_at: Option<Mono>,
    /// How often was asked.
    pub(super) asked: u8,
}

impl Pace {
    fn opened(&mut self, now: Mono) {
        if self.ask_at.is_none() {
            self.ask_at = Some(now.after(FIRST_WAIT));
        }
    }

    /// A share came.
    pub(super) fn arrived(&mut self, now: Mono) {
        if let Some(last) = self.last
            && self.gaps.len() < GAPS_MAX
        {
            self.gaps.push(now.since(last));
        }
        let first = *self.first.get_or_insert(now);
        self.last = Some(now);
        if self.asked == 0 {
            let lasted = now.since(first) / STALL_OF_ALL;
            self.ask_at = Some(now.after(self.stall().max(lasted)));
        }
    }

    /// Asked: the next time is later.
    pub(super) fn asked(&mut self, now: Mono) {
        self.asked = self.asked.saturating_add(1);
        let wait = ASK_AGAIN.saturating_mul(u32::from(self.asked));
        self.ask_at = Some(now.after(wait));
    }

    /// Silence that is longer than the gaps between shares explain.
    fn stall(&self) -> Duration {
        let mut gaps = self.gaps.clone();
        gaps.sort_unstable();
        let high = gaps.get(gaps.len() * 9 / 10).copied();
        match high {
            Some(high) if gaps.len() >= GAPS_MIN => {
                high.saturating_mul(STALL_GAPS).clamp(STALL_LEAST, STALL_MOST)
            }
            _ => FIRST_WAIT,
        }
    }
}

/// Wait for the first shares, before anything is known of their pace.
const FIRST_WAIT: Duration = Duration::from_millis(120);

/// Shares have stalled after so many of the long gaps between them.
const STALL_GAPS: u32 = 5;

/// And not before so large a part of the time that they have been coming: large shares come in waves.
const STALL_OF_ALL: u32 = 4;

/// Bounds of the former.
const STALL_LEAST: Duration = Duration::from_millis(20);
const STALL_MOST: Duration = Duration::from_millis(250);

/// Gaps that tell the pace.
const GAPS_MIN: usize = 8;

/// Gaps remembered.
const GAPS_MAX: usize = 128;

/// Wait for answers; grows with each time.
const ASK_AGAIN: Duration = Duration::from_millis(150);

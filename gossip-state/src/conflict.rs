//! Two blocks with one number, both signed by orderers.

use std::collections::BTreeMap;

use gossip_api::{Block, BlockHash, BlockHeader, Height, SeqNum};

use crate::words::BlockOrigin;

/// Orderers signed two different headers with one number.
///
/// Different signatures over one header are no conflict; orderers hand them out every day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The number.
    pub number: SeqNum,
    /// Hash of the header that we keep: the one we believed first.
    pub kept: BlockHash,
    /// What proves that it was signed as well; nothing if the block is in the ledger already.
    pub kept_evidence: Option<Evidence>,
    /// The other one, with the signatures that prove it.
    pub other: Evidence,
    /// Whether the channel is stopped until the operator decides.
    pub halt: bool,
}

/// What proves that a header was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The header.
    pub header: BlockHeader,
    /// The block's metadata, in which the signatures are.
    pub metadata: bytes::Bytes,
}

impl Evidence {
    fn of(block: &Block) -> Self {
        Self { header: block.header(), metadata: block.metadata.clone() }
    }

    /// As a block without data, which is how others check it.
    pub fn to_block(&self) -> Block {
        let BlockHeader { number, previous_hash, data_hash } = self.header.clone();
        let metadata = self.metadata.clone();
        Block { number, previous_hash, data_hash, data: bytes::Bytes::new(), metadata }
    }
}

/// What [`Conflicts::prove`] is told of the header that contradicts ours.
#[derive(Debug)]
pub(crate) struct Signed {
    pub(crate) header: Block,
    /// Whether the policy that is in force now is satisfied as well as the one at the header's number.
    pub(crate) presently: bool,
}

/// Headers to compare with, the suspect being verified, and what was proved.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    /// Hashes of the last committed headers.
    recent: BTreeMap<SeqNum, BlockHash>,
    /// Headers that were verified, of blocks that are not committed.
    headers: BTreeMap<SeqNum, (BlockHash, Block)>,
    /// The newest committed configuration.
    last_config: Option<SeqNum>,
    /// One at a time: a flood of forgeries costs one verification each and no memory.
    suspect: Option<(Block, BlockOrigin)>,
    proved: Vec<Conflict>,
    halted: Option<SeqNum>,
    /// The header that the operator decided for, at a number that is not committed.
    pinned: Option<(SeqNum, BlockHash)>,
}

impl Conflicts {
    pub(crate) const fn halted(&self) -> Option<SeqNum> {
        self.halted
    }

    /// The channel had been stopped before the restart, and the ledger may hold one of the two.
    pub(crate) fn halt(&mut self, number: SeqNum, kept: Option<BlockHash>) {
        self.halted = Some(number);
        self.recent.extend(kept.map(|kept| (number, kept)));
    }

    pub(crate) fn committed(&mut self, number: SeqNum, hash: BlockHash, is_config: bool) {
        self.recent.insert(number, hash);
        while self.recent.len() > RECENT_HEADERS {
            self.recent.pop_first();
        }
        self.headers = self.headers.split_off(&number.next());
        if is_config {
            self.last_config = Some(number);
            // What was verified under the old one says nothing under the new one.
            self.headers.clear();
        }
    }

    /// Remembers a verified header above the ledger.
    pub(crate) fn note_header(&mut self, header: Block) {
        if self.headers.len() < HEADERS_MAX {
            let hash = header.header().hash();
            self.headers.entry(header.number).or_insert((hash, bare(header)));
        }
    }

    /// The hash of a verified header whose block may not be here yet.
    pub(crate) fn header_hash(&self, number: SeqNum) -> Option<BlockHash> {
        self.headers.get(&number).map(|(hash, _)| *hash)
    }

    /// The hash of a committed header, if it is recent.
    pub(crate) fn committed_hash(&self, number: SeqNum) -> Option<BlockHash> {
        self.recent.get(&number).copied()
    }

    /// Whether the block contradicts `kept`, is worth a verification, and none is under way.
    pub(crate) fn is_suspect(&self, block: &Block, kept: BlockHash) -> bool {
        self.suspect.is_none() && self.is_news(block, kept)
    }

    /// Whether the block contradicts `kept`, and in a way that is not proved yet.
    fn is_news(&self, block: &Block, kept: BlockHash) -> bool {
        let hash = block.header().hash();
        let known = |conflict: &Conflict| conflict.other.header.hash() == hash;
        self.proved.len() < EVIDENCE_MAX && hash != kept && !self.proved.iter().any(known)
    }

    pub(crate) fn suspect(&mut self, header: Block, origin: BlockOrigin) {
        self.suspect = Some((header, origin));
    }

    /// The suspect, if it is the one that was judged; then there is none any more.
    pub(crate) fn take_judged(&mut self, number: SeqNum, origin: BlockOrigin) -> Option<Block> {
        let suspect = self.suspect.take();
        let is_it =
            |(header, from): &(Block, BlockOrigin)| header.number == number && *from == origin;
        if suspect.as_ref().is_some_and(is_it) {
            return suspect.map(|(header, _)| header);
        }
        self.suspect = suspect;
        None
    }

    /// The other header is signed as well. Whether that stops the channel depends on who signed, and on its
    /// age: below the last configuration and far from the tip it is evidence only.
    // fabric-differs: Fabric does not notice conflicts.
    pub(crate) fn prove(
        &mut self,
        other: Signed,
        kept: BlockHash,
        ours: Option<&Block>,
        height: Height,
    ) -> Option<Conflict> {
        let Signed { header, presently } = other;
        if !self.is_news(&header, kept) {
            return None;
        }
        let number = header.number;
        let is_above_config = self.last_config.is_none_or(|config| number > config);
        let is_near = height.get().saturating_sub(number.get()) <= HALT_BELOW_TIP;
        let halt = presently && (is_above_config || is_near);
        let ours = ours.or_else(|| self.headers.get(&number).map(|(_, header)| header));
        let kept_evidence = ours.filter(|ours| ours.header().hash() == kept).map(Evidence::of);
        let conflict = Conflict { number, kept, kept_evidence, other: Evidence::of(&header), halt };
        self.proved.push(conflict.clone());
        if halt {
            self.halted = Some(self.halted.map_or(number, |old| old.min(number)));
        }
        Some(conflict)
    }

    /// Whether the operator decided for another block of this number.
    pub(crate) fn is_ruled_out(&self, number: SeqNum, hash: BlockHash) -> bool {
        self.pinned.is_some_and(|(pinned, accepted)| pinned == number && accepted != hash)
    }

    /// The operator decides for `accept`, given the ledger's next number. Answers which number was
    /// decided, and that the channel goes on; nothing if it cannot, because the ledger holds another
    /// block: then only a rebuilt ledger helps.
    pub(crate) fn resume(&mut self, accept: BlockHash, next: SeqNum) -> Option<SeqNum> {
        let known = self
            .proved
            .iter()
            .position(|conflict| conflict.kept == accept || conflict.other.header.hash() == accept);
        let number = match known {
            Some(index) => self.proved.get(index).map(|conflict| conflict.number),
            None => self.halted,
        }?;
        if number < next && self.committed_hash(number).is_some_and(|kept| kept != accept) {
            return None;
        }
        if let Some(index) = known {
            self.proved.remove(index);
        }
        self.halted = None;
        self.headers.retain(|held, (hash, _)| *held < number || *hash == accept);
        self.pinned = Some((number, accept));
        Some(number)
    }
}

/// A block without its data.
pub(crate) fn bare(block: Block) -> Block {
    Block { data: bytes::Bytes::new(), ..block }
}

/// A conflict so far below the tip stops the channel, even below its last configuration.
const HALT_BELOW_TIP: u64 = 1_000;

/// Committed headers compared with: older ones would not stop the channel.
const RECENT_HEADERS: usize = 1_000;

/// Verified headers remembered above the ledger: as far as headers are looked at.
const HEADERS_MAX: usize = 256;

/// Conflicts kept per channel: a second one proves nothing new.
const EVIDENCE_MAX: usize = 2;

//! Two blocks with one number, both signed by orderers.

use std::collections::BTreeMap;

use gossip_api::{Block, BlockHash, BlockHeader, SeqNum};

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

/// Headers to compare with, the suspect being verified, and what was proved.
#[derive(Debug, Default)]
pub(crate) struct Conflicts {
    /// Hashes of the last committed headers.
    recent: BTreeMap<SeqNum, BlockHash>,
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
        if is_config {
            self.last_config = Some(number);
        }
    }

    /// The hash of a committed header, if it is recent.
    pub(crate) fn committed_hash(&self, number: SeqNum) -> Option<BlockHash> {
        self.recent.get(&number).copied()
    }

    /// Whether the block contradicts `kept`, is worth a verification, and none is under way.
    pub(crate) fn is_suspect(&self, block: &Block, kept: BlockHash) -> bool {
        let may_look = self.suspect.is_none() && self.proved.len() < EVIDENCE_MAX;
        may_look && block.header().hash() != kept
    }

    pub(crate) fn suspect(&mut self, block: Block, origin: BlockOrigin) {
        self.suspect = Some((block, origin));
    }

    /// The suspect, if it is the one whose signatures turned out good.
    pub(crate) fn take_signed(&mut self, header: &BlockHeader) -> Option<Block> {
        let is_it = self.suspect.as_ref().is_some_and(|(suspect, _)| suspect.header() == *header);
        if is_it { self.suspect.take().map(|(suspect, _)| suspect) } else { None }
    }

    /// Whether it was the suspect that turned out forged; then there is none any more.
    pub(crate) fn take_refused(&mut self, number: SeqNum, origin: BlockOrigin) -> bool {
        let suspect = self.suspect.as_ref();
        let is_it = suspect.is_some_and(|(block, from)| block.number == number && *from == origin);
        if is_it {
            self.suspect = None;
        }
        is_it
    }

    /// The suspect is signed as well. Whether that stops the channel depends on its age: what lies
    /// below the last configuration may be signed with keys that were revoked since.
    // fabric-differs: Fabric does not notice conflicts.
    pub(crate) fn prove(
        &mut self,
        other: Block,
        kept: BlockHash,
        ours: Option<&Block>,
    ) -> Conflict {
        let number = other.number;
        let halt = self.last_config.is_none_or(|config| number > config);
        let kept_evidence = ours.map(Evidence::of);
        let conflict = Conflict { number, kept, kept_evidence, other: Evidence::of(&other), halt };
        self.proved.push(conflict.clone());
        if halt {
            self.halted = Some(self.halted.map_or(number, |old| old.min(number)));
        }
        conflict
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
        self.pinned = Some((number, accept));
        Some(number)
    }
}

/// Headers compared with: protocol.md 6 looks back 1,000 blocks.
const RECENT_HEADERS: usize = 1000;

/// Conflicts kept per channel: a second one proves nothing new.
const EVIDENCE_MAX: usize = 2;

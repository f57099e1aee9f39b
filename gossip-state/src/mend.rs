//! Records of the ledger that turned out damaged: fetched again, one at a time, and put back.

use std::collections::BTreeMap;

use gossip_api::{Block, BlockError, BlockHash, Mono, SeqNum};

use crate::payloads::Slot;
use crate::transfer::StateTransfer;
use crate::words::{Action, BlockOrigin, DropReason};

/// Blocks below the height that the ledger cannot read any more.
#[derive(Debug, Default)]
pub(crate) struct Mending {
    damaged: BTreeMap<SeqNum, Damage>,
    /// The request that one of them was last asked for with.
    asked: Option<(SeqNum, u64)>,
    /// One of them, being verified.
    checking: Option<(Block, BlockOrigin)>,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct Damage {
    /// What the block above it says that its header hashes to, if that can be read.
    hash: Option<BlockHash>,
    /// When the ledger is asked again to take it, after it refused.
    not_before: Mono,
}

impl Mending {
    /// How many are known and not mended.
    pub(crate) fn len(&self) -> usize {
        self.damaged.len()
    }

    /// The first one that nobody is asked for.
    fn next(&self, now: Mono) -> Option<SeqNum> {
        if self.asked.is_some() || self.checking.is_some() {
            return None;
        }
        let due = self.damaged.iter().find(|(_, damage)| damage.not_before <= now);
        due.map(|(number, _)| *number)
    }

    fn is_asked(&self, slot: &Slot) -> bool {
        let BlockOrigin::Range { request, .. } = slot.origin else { return false };
        self.asked == Some((slot.block.number, request))
    }

    /// Whether somebody was asked for this block.
    pub(crate) fn awaits(&self, number: SeqNum) -> bool {
        self.asked.is_some_and(|(asked, _)| asked == number)
    }

    pub(crate) fn request_ended(&mut self, id: u64) {
        self.asked = self.asked.filter(|(_, asked)| *asked != id);
    }

    /// The earliest time at which one may be tried again.
    pub(crate) fn retry_at(&self) -> Option<Mono> {
        self.damaged.values().map(|damage| damage.not_before).min()
    }

    /// One of those being mended, if there is one.
    pub(crate) fn waits_for(&self) -> Option<SeqNum> {
        self.damaged.keys().next().copied().filter(|_| self.asked.is_none())
    }
}

impl StateTransfer {
    /// The ledger cannot read a block that it holds. The genesis block is not signed and comes from nobody.
    pub(crate) fn on_damaged(&mut self, number: SeqNum, hash: Option<BlockHash>) -> Vec<Action> {
        let is_held = number > SeqNum::new(0) && number < self.height().next_block();
        if is_held && self.mending.damaged.len() < DAMAGED_MAX {
            let is_last = self.height().last_block() == Some(number);
            let hash = hash.or(if is_last { self.tip } else { None });
            let hash = hash.or_else(|| self.conflicts.committed_hash(number));
            let damage = Damage { hash, not_before: Mono::ZERO };
            self.mending.damaged.entry(number).or_insert(damage);
        }
        Vec::new()
    }

    /// Asks the best source for the next damaged block.
    pub(crate) fn ask_for_damaged(&mut self, now: Mono) -> Option<Action> {
        let number = self.mending.next(now)?;
        let action = self.ask(now, number, number.next(), &[])?;
        if let Action::Request { id, .. } = &action {
            self.mending.asked = Some((number, *id));
        }
        Some(action)
    }

    /// A block that was asked for to mend the ledger; nothing if it is another one.
    pub(crate) fn on_mending_part(&mut self, now: Mono, slot: &Slot) -> Option<Vec<Action>> {
        if !self.mending.is_asked(slot) {
            return None;
        }
        let (number, origin) = (slot.block.number, slot.origin);
        let expected = self.mending.damaged.get(&number)?.hash;
        if expected.is_some_and(|hash| hash != slot.hash) {
            // Its header is not the one that the next block names.
            return Some(vec![self.drop(number, origin, DropReason::NotAsked)]);
        }
        if let Err(actions) = self.note_part(now, slot) {
            return Some(actions);
        }
        self.mending.checking = Some((slot.block.clone(), origin));
        Some(vec![Action::Verify { block: slot.block.clone(), origin }])
    }

    /// The verdict on it; nothing if it is one on another block.
    pub(crate) fn on_mending_verdict(
        &mut self,
        now: Mono,
        number: SeqNum,
        origin: BlockOrigin,
        verdict: Result<(), BlockError>,
    ) -> Option<Vec<Action>> {
        let is_it =
            |(block, from): &(Block, BlockOrigin)| block.number == number && *from == origin;
        if !self.mending.checking.as_ref().is_some_and(is_it) {
            return None;
        }
        let (block, _) = self.mending.checking.take()?;
        Some(match verdict {
            Ok(()) => {
                // Not asked for again while the ledger is at work on it.
                self.wait_with(number, now);
                vec![Action::Mend { block }]
            }
            Err(error) => self.refuse(now, number, origin, error, true),
        })
    }

    pub(crate) fn on_mended(&mut self, now: Mono, number: SeqNum, done: bool) -> Vec<Action> {
        if done {
            let was_damaged = self.mending.damaged.remove(&number).is_some();
            self.stats.mended = self.stats.mended.saturating_add(u64::from(was_damaged));
        } else {
            self.wait_with(number, now);
        }
        Vec::new()
    }

    fn wait_with(&mut self, number: SeqNum, now: Mono) {
        if let Some(damage) = self.mending.damaged.get_mut(&number) {
            damage.not_before = now.after(self.config.commit_retry_max);
        }
    }
}

/// Damaged blocks remembered; others are found again when they are read the next time.
const DAMAGED_MAX: usize = 64;

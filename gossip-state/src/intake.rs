//! What happens to a block between its offer and its place among the verified ones.

use gossip_api::{Block, BlockError, BlockHash, Mono, PkiId, SeqNum};

use crate::conflict::{self, Signed};
use crate::payloads::{Slot, Stage};
use crate::transfer::StateTransfer;
use crate::words::{Action, BlockOrigin, DropReason};

impl StateTransfer {
    pub(crate) fn on_offered(&mut self, now: Mono, slot: Slot) -> Vec<Action> {
        let number = slot.block.number;
        let origin = slot.origin;
        self.catchup.note_size(slot.block.len());
        self.largest_block = self.largest_block.max(slot.block.len());
        if origin == BlockOrigin::Source {
            self.source_next = Some(number.next());
        }
        if let Some(actions) = self.on_mending_part(now, &slot) {
            return actions;
        }
        if let Err(actions) = self.note_part(now, &slot) {
            return actions;
        }
        if self.started && self.payloads.refusal(number) == Some(DropReason::Known) {
            return self.on_known(slot);
        }
        if !self.wants(number) {
            let reason = self.payloads.refusal(number).unwrap_or(DropReason::Halted);
            return vec![self.drop(number, origin, reason)];
        }
        if self.conflicts.is_ruled_out(number, slot.hash) {
            return vec![self.drop(number, origin, DropReason::Halted)];
        }
        if self.breaks_chain(&slot) {
            let error = BlockError::PreviousHashMismatch(number);
            return self.refuse(now, number, origin, error, true);
        }
        let evicted = match self.payloads.insert(slot) {
            Ok(evicted) => evicted,
            Err(reason) => return vec![self.drop(number, origin, reason)],
        };
        let mut actions: Vec<Action> = evicted
            .into_iter()
            .map(|slot| self.drop(slot.block.number, slot.origin, DropReason::Evicted))
            .collect();
        actions.extend(self.verify_next());
        actions
    }

    /// A number that we have already: the same block, or a contradiction that is worth a look.
    pub(crate) fn on_known(&mut self, slot: Slot) -> Vec<Action> {
        let Slot { block, origin, .. } = slot;
        let number = block.number;
        self.on_sighted(block, origin)
            .unwrap_or_else(|| vec![self.drop(number, origin, DropReason::Known)])
    }

    /// A header that contradicts what we believe is judged, one at a time.
    pub(crate) fn on_sighted(&mut self, block: Block, origin: BlockOrigin) -> Option<Vec<Action>> {
        if !self.is_conflict(&block) {
            return None;
        }
        let header = conflict::bare(block);
        self.conflicts.suspect(header.clone(), origin);
        Some(vec![Action::Judge { header, origin }])
    }

    /// A header that was verified elsewhere: kept for comparison, or a conflict already.
    pub(crate) fn on_header(&mut self, header: Block) -> Vec<Action> {
        let number = header.number;
        self.proved = self.proved.max(number.height());
        match self.believed_hash(number) {
            Some(_) => self.on_conflict(Signed { header, presently: true }),
            None if number >= self.height().next_block() && number < self.payloads.window_end() => {
                self.conflicts.note_header(header);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    /// Who shows us a header that was not signed is at fault.
    pub(crate) fn on_judged(
        &mut self,
        now: Mono,
        (number, origin): (SeqNum, BlockOrigin),
        then: Result<(), BlockError>,
        presently: bool,
    ) -> Vec<Action> {
        let Some(header) = self.conflicts.take_judged(number, origin) else {
            return vec![self.drop(number, origin, DropReason::NotAsked)];
        };
        match then {
            Ok(()) => self.on_conflict(Signed { header, presently }),
            Err(error) => self.refuse(now, number, origin, error, true),
        }
    }

    /// Hash of the header that we believe to carry `number`.
    pub(crate) fn believed_hash(&self, number: SeqNum) -> Option<BlockHash> {
        let buffered = self.payloads.get(number).filter(|slot| slot.is_verified());
        let buffered = buffered.map(|slot| slot.hash);
        let committed = || self.conflicts.committed_hash(number);
        buffered.or_else(committed).or_else(|| self.conflicts.header_hash(number))
    }

    /// Whether the block below is known and the block does not continue it.
    pub(crate) fn breaks_chain(&self, slot: &Slot) -> bool {
        let below = if slot.block.number == self.height().next_block() {
            self.tip
        } else {
            let below = slot.block.number.get().checked_sub(1).map(SeqNum::new);
            below.and_then(|number| self.believed_hash(number))
        };
        below.is_some_and(|hash| slot.block.previous_hash.as_ref() != hash.as_bytes())
    }

    /// Sends to verification what may be verified: nothing above a configuration that is not committed.
    pub(crate) fn verify_next(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let mut expected = self.height().next_block();
        let generation = self.generation;
        for (number, slot) in self.payloads.iter_mut() {
            if slot.stage == Stage::Held {
                slot.stage = Stage::Verifying;
                slot.generation = generation;
                slot.certain = *number == expected;
                actions.push(Action::Verify { block: slot.block.clone(), origin: slot.origin });
            }
            if slot.is_config {
                break;
            }
            expected = if *number == expected { expected.next() } else { expected };
        }
        actions
    }

    /// Whether a configuration below `number` is not in force yet.
    pub(crate) fn is_below_config(&self, number: SeqNum) -> bool {
        self.payloads
            .iter()
            .take_while(|(other, _)| **other < number)
            .any(|(_, slot)| slot.is_config)
    }

    pub(crate) fn on_verified(
        &mut self,
        now: Mono,
        block: &Block,
        origin: BlockOrigin,
    ) -> Vec<Action> {
        let number = block.number;
        if let Some(actions) = self.on_mending_verdict(now, number, origin, Ok(())) {
            return actions;
        }
        let below_config = self.is_below_config(number);
        let generation = self.generation;
        let Some(slot) = self.payloads.get_mut(number).filter(|slot| is_answered(slot, block))
        else {
            return vec![self.drop(number, origin, DropReason::NotAsked)];
        };
        if below_config || slot.generation != generation {
            slot.stage = Stage::Held;
            return self.verify_next();
        }
        slot.stage = Stage::Verified;
        let slot = slot.clone();
        if let Some(proved) = self.conflicts.header_hash(number).filter(|hash| *hash != slot.hash) {
            // Nothing of it is told on: an operator decides between the two.
            let header = conflict::bare(slot.block.clone());
            return self.contradict(Signed { header, presently: true }, proved);
        }
        if self.breaks_chain(&slot) {
            self.payloads.remove(number);
            let error = BlockError::PreviousHashMismatch(number);
            return self.refuse(now, number, origin, error, false);
        }
        let mut actions = self.drop_unlinked(now, number, slot.hash);
        if !slot.accepted {
            self.mark_accepted(number);
            actions.push(Action::Accepted { block: slot.block, origin });
        }
        actions
    }

    pub(crate) fn mark_accepted(&mut self, number: SeqNum) {
        if let Some(slot) = self.payloads.get_mut(number) {
            slot.accepted = true;
        }
    }

    /// Drops what lies right above a valid block and does not continue it.
    pub(crate) fn drop_unlinked(
        &mut self,
        now: Mono,
        number: SeqNum,
        hash: BlockHash,
    ) -> Vec<Action> {
        let next = number.next();
        let Some(slot) = self.payloads.get(next) else { return Vec::new() };
        let is_judged = matches!(slot.stage, Stage::Held | Stage::Verified);
        if !is_judged || slot.block.previous_hash.as_ref() == hash.as_bytes() {
            return Vec::new();
        }
        let origin = slot.origin;
        let is_forged = !slot.is_verified() && !slot.accepted;
        self.payloads.remove(next);
        self.refuse(now, next, origin, BlockError::PreviousHashMismatch(next), is_forged)
    }

    pub(crate) fn on_refused(
        &mut self,
        now: Mono,
        number: SeqNum,
        origin: BlockOrigin,
        error: BlockError,
    ) -> Vec<Action> {
        let error = match self.on_mending_verdict(now, number, origin, Err(error.clone())) {
            Some(actions) => return actions,
            None => error,
        };
        let generation = self.generation;
        let is_policy = matches!(error, BlockError::PolicyNotSatisfied { .. });
        let Some(slot) =
            self.payloads.get_mut(number).filter(|slot| slot.stage == Stage::Verifying)
        else {
            return vec![self.drop(number, origin, DropReason::NotAsked)];
        };
        if is_policy && slot.generation != generation {
            slot.stage = Stage::Held;
            return self.verify_next();
        }
        let is_fault = slot.certain || !is_policy;
        self.payloads.remove(number);
        if !is_fault {
            self.catchup.cap(number);
        }
        let mut actions = self.refuse(now, number, origin, error, is_fault);
        actions.extend(self.verify_next());
        actions
    }

    /// Reports a block that is not believed, and, if an honest peer would not have sent it, its sender.
    pub(crate) fn refuse(
        &mut self,
        now: Mono,
        number: SeqNum,
        origin: BlockOrigin,
        error: BlockError,
        is_fault: bool,
    ) -> Vec<Action> {
        let reason = error.class();
        let mut actions = vec![self.drop(number, origin, DropReason::Refused(error))];
        if let Some(peer) = origin.peer().filter(|_| is_fault) {
            actions.push(self.blame(now, peer, reason));
        }
        actions
    }

    pub(crate) fn blame(&mut self, now: Mono, peer: PkiId, reason: &'static str) -> Action {
        self.sources.distrust(&peer, now);
        Action::Blame { peer, reason }
    }

    pub(crate) fn drop(
        &mut self,
        number: SeqNum,
        origin: BlockOrigin,
        reason: DropReason,
    ) -> Action {
        let count = self.stats.dropped.entry(reason.label()).or_default();
        *count = count.saturating_add(1);
        Action::Drop { number, origin, reason }
    }

    fn on_conflict(&mut self, other: Signed) -> Vec<Action> {
        match self.believed_hash(other.header.number) {
            Some(kept) => self.contradict(other, kept),
            None => Vec::new(),
        }
    }

    fn contradict(&mut self, other: Signed, kept: BlockHash) -> Vec<Action> {
        let number = other.header.number;
        let ours = self.payloads.get(number).filter(|slot| slot.is_verified() && slot.hash == kept);
        let ours = ours.map(|slot| &slot.block);
        let proved = self.conflicts.prove(other, kept, ours, self.payloads.height());
        proved.map(|conflict| Action::Conflict(Box::new(conflict))).into_iter().collect()
    }

    /// The operator's word: buffered blocks that it rules out go, with what lies above them.
    pub(crate) fn on_resume(&mut self, accept: BlockHash) -> Vec<Action> {
        let next = self.height().next_block();
        let Some(decided) = self.conflicts.resume(accept, next) else { return Vec::new() };
        let mut actions = vec![Action::Resumed { number: decided }];
        let untold = |slot: &&mut Slot| slot.hash == accept && slot.is_verified() && !slot.accepted;
        if let Some(slot) = self.payloads.get_mut(decided).filter(untold) {
            slot.accepted = true;
            actions.push(Action::Accepted { block: slot.block.clone(), origin: slot.origin });
        }
        if self.payloads.get(decided).is_none_or(|slot| slot.hash == accept) {
            return actions;
        }
        let above = self.payloads.iter().map(|(number, _)| *number).filter(|n| *n >= decided);
        let above: Vec<SeqNum> = above.collect();
        let removed: Vec<Slot> =
            above.into_iter().filter_map(|n| self.payloads.remove(n)).collect();
        let dropped = removed
            .into_iter()
            .map(|slot| self.drop(slot.block.number, slot.origin, DropReason::Halted));
        actions.extend(dropped);
        actions
    }
}

/// Whether `slot` waits for a verdict on `block`.
fn is_answered(slot: &Slot, block: &Block) -> bool {
    slot.stage == Stage::Verifying && slot.block.header() == block.header()
}

//! The window of blocks ahead of the ledger's height.

use std::collections::BTreeMap;

use gossip_api::{Block, BlockHash, Height, SeqNum};

use crate::words::{BlockOrigin, DropReason};

/// Blocks ahead of the height, by number: the payload buffer.
///
/// Its cursor is the ledger's height and moves by [`advance`](Self::advance) alone.
// fabric: gossip/state/payloads_buffer.go PayloadsBufferImpl
#[derive(Debug)]
pub(crate) struct Payloads {
    height: Height,
    slots: BTreeMap<SeqNum, Slot>,
    bytes: usize,
    window: u64,
    budget: usize,
}

/// One block of the window.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) block: Block,
    pub(crate) origin: BlockOrigin,
    pub(crate) hash: BlockHash,
    pub(crate) is_config: bool,
    pub(crate) stage: Stage,
    /// How many configurations had been committed when its verification began.
    pub(crate) generation: u64,
    /// Whether no configuration could hide between the height and it when its verification began.
    pub(crate) certain: bool,
    /// Whether others have been told that it is valid.
    pub(crate) accepted: bool,
}

/// How far a block has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Waits until the configuration below it is in force.
    Held,
    /// Is being verified outside.
    Verifying,
    /// Valid under the configuration in force.
    Verified,
    /// Is being committed outside.
    Committing,
}

impl Slot {
    pub(crate) fn new(block: Block, origin: BlockOrigin, is_config: bool) -> Self {
        let hash = block.header().hash();
        Self {
            block,
            origin,
            hash,
            is_config,
            stage: Stage::Held,
            generation: 0,
            certain: false,
            accepted: false,
        }
    }

    /// Whether orderers' signatures under the present configuration vouch for it.
    pub(crate) const fn is_verified(&self) -> bool {
        matches!(self.stage, Stage::Verified | Stage::Committing)
    }

    /// Whether nobody outside is at work on it.
    const fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Held | Stage::Verified)
    }
}

impl Payloads {
    pub(crate) const fn new(height: Height, window: u64, budget: usize) -> Self {
        Self { height, slots: BTreeMap::new(), bytes: 0, window, budget }
    }

    pub(crate) const fn height(&self) -> Height {
        self.height
    }

    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// First number that the window does not reach.
    pub(crate) const fn window_end(&self) -> SeqNum {
        SeqNum::new(self.height.get().saturating_add(self.window))
    }

    /// Whether the number is neither below the height, nor here, nor too far up.
    pub(crate) fn wants(&self, number: SeqNum) -> bool {
        self.refusal(number).is_none()
    }

    /// Why the number is not wanted, if it is not.
    pub(crate) fn refusal(&self, number: SeqNum) -> Option<DropReason> {
        if number < self.height.next_block() || self.slots.contains_key(&number) {
            Some(DropReason::Known)
        } else if number >= self.window_end() {
            Some(DropReason::BeyondWindow)
        } else {
            None
        }
    }

    /// Whether so many more bytes fit into the budget, `reserved` bytes being promised to others.
    pub(crate) fn fits(&self, bytes: usize, reserved: usize) -> bool {
        self.bytes.saturating_add(reserved).saturating_add(bytes) <= self.budget
    }

    /// Puts a block in. Lower numbers matter more: returns the higher ones that made room for it.
    // fabric: gossip/state/payloads_buffer.go Push
    pub(crate) fn insert(&mut self, slot: Slot) -> Result<Vec<Slot>, DropReason> {
        let number = slot.block.number;
        if let Some(reason) = self.refusal(number) {
            return Err(reason);
        }
        let len = slot.block.len();
        let victims = self.victims(number, len);
        let freed: usize = victims.iter().filter_map(|n| self.get(*n)).map(|s| s.block.len()).sum();
        let is_next = number == self.height.next_block();
        if !is_next && self.bytes.saturating_sub(freed).saturating_add(len) > self.budget {
            return Err(DropReason::Budget);
        }
        let evicted = victims.into_iter().filter_map(|victim| self.remove(victim)).collect();
        self.bytes = self.bytes.saturating_add(len);
        self.slots.insert(number, slot);
        Ok(evicted)
    }

    /// The highest idle numbers above `number` that would have to go for `len` more bytes.
    fn victims(&self, number: SeqNum, len: usize) -> Vec<SeqNum> {
        let mut excess = self.bytes.saturating_add(len).saturating_sub(self.budget);
        let mut victims = Vec::new();
        for (candidate, slot) in self.slots.range(number..).rev() {
            if excess == 0 {
                break;
            }
            if slot.is_idle() {
                excess = excess.saturating_sub(slot.block.len());
                victims.push(*candidate);
            }
        }
        victims
    }

    pub(crate) fn remove(&mut self, number: SeqNum) -> Option<Slot> {
        let slot = self.slots.remove(&number)?;
        self.bytes = self.bytes.saturating_sub(slot.block.len());
        Some(slot)
    }

    pub(crate) fn get(&self, number: SeqNum) -> Option<&Slot> {
        self.slots.get(&number)
    }

    pub(crate) fn get_mut(&mut self, number: SeqNum) -> Option<&mut Slot> {
        self.slots.get_mut(&number)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&SeqNum, &Slot)> {
        self.slots.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&SeqNum, &mut Slot)> {
        self.slots.iter_mut()
    }

    /// The highest number here.
    pub(crate) fn last(&self) -> Option<SeqNum> {
        self.slots.keys().next_back().copied()
    }

    /// The lowest number that is neither in the ledger nor here.
    pub(crate) fn next_missing(&self) -> SeqNum {
        self.missing_from(self.height.next_block())
    }

    /// The lowest number from `from` on that is not here.
    pub(crate) fn missing_from(&self, from: SeqNum) -> SeqNum {
        let mut number = from;
        for present in self.slots.range(from..).map(|(present, _)| *present) {
            if present != number {
                break;
            }
            number = number.next();
        }
        number
    }

    /// The longest run of verified blocks from the height on, within the caps of one commit.
    ///
    /// A configuration ends it: what follows has to be verified under it.
    // fabric: gossip/state/payloads_buffer.go Pop
    pub(crate) fn ready(&self, blocks_max: usize, bytes_max: usize) -> Vec<SeqNum> {
        let mut bytes = 0usize;
        let mut run = Vec::new();
        let mut expected = self.height.next_block();
        for (number, slot) in self.slots.iter().take(blocks_max) {
            bytes = bytes.saturating_add(slot.block.len());
            let fits = run.is_empty() || bytes <= bytes_max;
            if *number != expected || slot.stage != Stage::Verified || !fits {
                break;
            }
            run.push(*number);
            if slot.is_config {
                break;
            }
            expected = expected.next();
        }
        run
    }

    /// The ledger lost its end: the cursor goes back with it, and what lay ahead is forgotten.
    pub(crate) fn retreat(&mut self, height: Height) {
        *self = Self::new(height, self.window, self.budget);
    }

    /// Moves the cursor to `height`; returns what lies below it, in order.
    pub(crate) fn advance(&mut self, height: Height) -> Vec<Slot> {
        if height <= self.height {
            return Vec::new();
        }
        self.height = height;
        let kept = self.slots.split_off(&height.next_block());
        let done: Vec<Slot> = std::mem::replace(&mut self.slots, kept).into_values().collect();
        let freed: usize = done.iter().map(|slot| slot.block.len()).sum();
        self.bytes = self.bytes.saturating_sub(freed);
        done
    }
}

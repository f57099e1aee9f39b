//! New blocks of one channel on their way: who has the header, who has the data, what is missing.
//!
//! ```text
//!   header:  Unknown --a header came--> Checking --it holds--> Proved     announced on the mesh
//!   data:    missing --planned, pushed, or wanted from a holder--> held   served down the tree, told with Have
//! ```
//!
//! A [`Slot`] is one block. Slots exist for numbers from a little below the height up to the window above
//! what is proved; their number is bounded by that.

mod header;
mod plan;
mod repair;
pub(crate) mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::Plan;
use gossip_api::{
    Block, BlockHash, Height, Message, Mono, Nonce, PkiId, SeqNum, Verified, Wakeup, earliest,
};

use super::words::Via;

/// How the data of a block travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With its header, on the mesh.
    Whole,
    /// Down a tree that the source plans.
    Tree,
}

/// One channel's blocks on their way.
#[derive(Debug)]
pub(crate) struct Spread {
    /// To whom headers go: whole to the first two, by their hash to the others.
    edges: Vec<PkiId>,
    /// Who missed headers and asked us for ours, and until when.
    fed: BTreeMap<PkiId, Mono>,
    redraw_at: Mono,
    tip_at: Mono,
    /// One past the newest header that holds.
    proved: Height,
    /// Headers in a row that did not come over the mesh.
    missed: u32,
    slots: BTreeMap<SeqNum, Slot>,
    alarms: BTreeMap<SeqNum, Mono>,
    /// Our questions for the tip.
    tips: BTreeMap<Nonce, (PkiId, Mono)>,
    /// Height that each peer has shown by what it says it has.
    heights: BTreeMap<PkiId, Height>,
    /// Who is too far behind, by its own word.
    behind: BTreeSet<PkiId>,
    /// Copies that our plans asked of each.
    relayed: BTreeMap<PkiId, u64>,
    /// Since when a member has not said that it has what we planned for it, and how many blocks.
    owing: BTreeMap<PkiId, (Mono, u64)>,
    /// Who leads, until when.
    leases: BTreeMap<PkiId, Mono>,
    /// Whose plan we served last: where leaders are appointed, nobody holds a lease.
    planner: Option<PkiId>,
    leading: bool,
    /// Questions of each peer in the present second.
    wants: BTreeMap<PkiId, (Mono, u32)>,
    info_pulls: BTreeMap<PkiId, (Mono, u32)>,
}

/// One block.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    header: Stage,
    /// Length of the data, as far as somebody told.
    data_len: u64,
    /// Who has the header, in the order in which we heard of it.
    tellers: Vec<PkiId>,
    /// Of these, who was asked for it.
    header_asked: BTreeSet<PkiId>,
    /// Who has the data.
    holders: BTreeSet<PkiId>,
    /// We have the data, verified.
    held: bool,
    /// The block, until the ledger has it.
    block: Option<Block>,
    /// A block that waits for the verdict on its header.
    parked: Option<(Block, Via)>,
    /// When the block was last handed on to be verified.
    offered: Option<Mono>,
    plan: Planned,
    /// When it is our turn to spread a block that another gateway should spread first.
    turn: Option<(Mono, Block)>,
    /// Copies of the data that we uploaded.
    uploads: usize,
    /// Of these, how many to each who wanted one.
    given: BTreeMap<PkiId, usize>,
    /// Headers that we sent because they were asked for.
    header_uploads: usize,
    /// From when on what is missing may be asked for.
    repair_at: Option<Mono>,
    wanted: BTreeMap<Nonce, (PkiId, Mono)>,
    /// Who was asked for the data.
    tried: BTreeSet<PkiId>,
}

/// How far we are with the plan of a block.
#[derive(Debug, Default)]
enum Planned {
    /// There is none yet.
    #[default]
    No,
    /// Served as soon as the block is verified; kept without the block.
    Waits(Box<Verified<Message>>),
    /// Served, or too late for it.
    Done(Plan),
}

impl Planned {
    fn plan(&self) -> Option<&Plan> {
        match self {
            Self::No => None,
            Self::Waits(signed) => {
                let Message::Plan(planned) = signed.message() else { return None };
                Some(&planned.plan)
            }
            Self::Done(plan) => Some(plan),
        }
    }
}

/// How far we are with a header.
#[derive(Debug, Default)]
enum Stage {
    /// Not seen.
    #[default]
    Unknown,
    /// Being verified.
    Checking { from: PkiId, hash: BlockHash },
    /// It holds; the block has no data.
    Proved { hash: BlockHash, header: Block },
}

impl Slot {
    /// Remembers who has the header.
    fn note_teller(&mut self, peer: PkiId) {
        if self.tellers.len() < TELLERS_MAX && !self.tellers.contains(&peer) {
            self.tellers.push(peer);
        }
    }

    fn note_holder(&mut self, peer: PkiId) {
        if self.holders.len() < HOLDERS_MAX {
            self.holders.insert(peer);
        }
    }

    fn hash(&self) -> Option<BlockHash> {
        if let Stage::Proved { hash, .. } = &self.header { Some(*hash) } else { None }
    }
}

impl Spread {
    pub(crate) fn new(now: Mono, height: Height) -> Self {
        Self {
            edges: Vec::new(),
            fed: BTreeMap::new(),
            redraw_at: now,
            tip_at: now.after(TIP_EVERY),
            proved: height,
            missed: 0,
            slots: BTreeMap::new(),
            alarms: BTreeMap::new(),
            tips: BTreeMap::new(),
            heights: BTreeMap::new(),
            behind: BTreeSet::new(),
            relayed: BTreeMap::new(),
            owing: BTreeMap::new(),
            leases: BTreeMap::new(),
            planner: None,
            leading: false,
            wants: BTreeMap::new(),
            info_pulls: BTreeMap::new(),
        }
    }

    /// Whether header and signatures of a block were verified already, byte for byte.
    pub(crate) fn is_attested(&self, block: &Block) -> bool {
        let slot = self.slots.get(&block.number);
        slot.is_some_and(|slot| match &slot.header {
            Stage::Proved { header, .. } => {
                header.metadata == block.metadata && header.header() == block.header()
            }
            Stage::Unknown | Stage::Checking { .. } => false,
        })
    }

    /// Whether a plan for a block that we have may still be served: the ledger does not have it yet.
    pub(crate) fn awaits_plan(&self, number: SeqNum) -> bool {
        let slot = self.slots.get(&number);
        slot.is_some_and(|slot| slot.plan.plan().is_none() && slot.block.is_some())
    }

    /// Numbers on their way, not yet to be asked for.
    pub(crate) fn awaited(&self, now: Mono) -> impl Iterator<Item = SeqNum> {
        self.slots.keys().copied().filter(move |number| self.is_awaited(now, *number))
    }

    fn is_awaited(&self, now: Mono, number: SeqNum) -> bool {
        let slot = self.slots.get(&number);
        slot.is_some_and(|slot| {
            slot.offered.is_some_and(|at| now.since(at) < VERDICT_PATIENCE)
                || slot.repair_at.is_some_and(|at| now < at)
        })
    }

    /// The height that a peer has shown, or states.
    pub(crate) fn height_of(&self, peer: &PkiId, stated: Height) -> Height {
        self.heights.get(peer).copied().unwrap_or_default().max(stated)
    }

    /// The ledger has everything below `height`: it serves that from now on.
    pub(crate) fn on_height(&mut self, height: Height) {
        self.proved = self.proved.max(height);
        for (_, slot) in self.slots.range_mut(..height.next_block()) {
            slot.block = None;
            slot.parked = None;
        }
        let kept = SeqNum::new(height.get().saturating_sub(KEPT_BELOW));
        self.slots = self.slots.split_off(&kept);
        self.alarms = self.alarms.split_off(&kept);
    }

    /// Another configuration decides who is believed: no verdict on a header counts any more.
    pub(crate) fn forget_verdicts(&mut self) {
        for slot in self.slots.values_mut() {
            slot.header = Stage::Unknown;
            slot.header_asked.clear();
        }
        let numbers: Vec<SeqNum> = self.slots.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.arm(number, Mono::ZERO));
        self.edges.clear();
    }

    /// A peer is no longer one of the channel.
    pub(crate) fn forget(&mut self, peer: &PkiId) {
        self.edges.retain(|edge| edge != peer);
        self.fed.remove(peer);
        self.heights.remove(peer);
        self.behind.remove(peer);
        self.relayed.remove(peer);
        self.owing.remove(peer);
        self.leases.remove(peer);
        self.wants.remove(peer);
        self.info_pulls.remove(peer);
    }

    pub(crate) fn set_leading(&mut self, leading: bool) {
        self.leading = leading;
    }

    /// A peer of our organisation leads until then, or no longer.
    pub(crate) fn set_lease(&mut self, peer: PkiId, until: Option<Mono>) {
        match until {
            Some(until) if self.leases.len() < LEASES_MAX || self.leases.contains_key(&peer) => {
                self.leases.insert(peer, until);
            }
            Some(_) => {}
            None => {
                self.leases.remove(&peer);
            }
        }
    }

    /// Who leads now, by its own word.
    pub(crate) fn leased(&self, now: Mono) -> impl Iterator<Item = PkiId> {
        self.leases.iter().filter(move |(_, until)| now < **until).map(|(peer, _)| *peer)
    }

    pub(crate) const fn is_leading(&self) -> bool {
        self.leading
    }

    /// Whether the data of a block is here, verified.
    pub(crate) fn holds(&self, number: SeqNum) -> bool {
        self.slots.get(&number).is_some_and(|slot| slot.held)
    }

    fn has_lease(&self, now: Mono, peer: &PkiId) -> bool {
        self.leases.get(peer).is_some_and(|until| now < *until)
    }

    pub(crate) fn next_wakeup(&self, header_first: bool) -> Option<Wakeup> {
        if !header_first {
            return None;
        }
        let tip = Wakeup { at: self.tip_at, why: "ask for the newest header" };
        let alarm = self.alarms.values().min();
        let alarm = alarm.map(|at| Wakeup { at: *at, why: "a header or a block is late" });
        earliest([Some(tip), alarm])
    }

    /// The block, as long as the ledger does not have it.
    pub(crate) fn held_block(&self, number: SeqNum) -> Option<Block> {
        self.slots.get(&number)?.block.clone()
    }

    /// The mesh need not be told of a header: everybody gets it from its source.
    pub(crate) fn spare_edges(&mut self, number: SeqNum) {
        let edges = self.edges.clone();
        let slot = self.slot(number);
        edges.into_iter().for_each(|edge| slot.note_teller(edge));
    }

    /// Not to be asked for before then.
    pub(crate) fn postpone(&mut self, number: SeqNum, until: Mono) {
        let Some(slot) = self.slots.get_mut(&number).filter(|slot| !slot.held) else { return };
        slot.repair_at = Some(until);
        self.alarms.insert(number, until);
    }

    /// Why headers of this number are not looked at; nothing if they are.
    pub(crate) fn refusal(&self, height: Height, number: SeqNum) -> Option<&'static str> {
        let end = self.proved.max(height).get().saturating_add(WINDOW);
        if number < height.next_block() {
            return Some("old header");
        }
        (number.get() >= end).then_some("header beyond the window")
    }

    /// The slot of a number for which [`refusal`](Self::refusal) says nothing.
    fn slot(&mut self, number: SeqNum) -> &mut Slot {
        self.slots.entry(number).or_default()
    }

    pub(crate) fn arm(&mut self, number: SeqNum, at: Mono) {
        let alarm = self.alarms.entry(number).or_insert(at);
        *alarm = (*alarm).min(at);
    }
}

/// Headers are looked at this far above what is proved.
const WINDOW: u64 = 256;

/// Slots kept below the height: their late repeats are known as such.
const KEPT_BELOW: u64 = 32;

/// How often a random peer is asked for its newest header.
const TIP_EVERY: Duration = Duration::from_secs(1);

/// Peers remembered as having a header.
const TELLERS_MAX: usize = 16;

/// Peers remembered as having the data.
const HOLDERS_MAX: usize = 4096;

/// A block that is being verified is not asked for meanwhile.
const VERDICT_PATIENCE: Duration = Duration::from_secs(2);

/// Leases remembered.
const LEASES_MAX: usize = 64;

#[cfg(test)]
mod tests;

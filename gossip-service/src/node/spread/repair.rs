//! What did not come: when it is asked for, of whom, and what others are given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::{BlockNote, BlockWord, PullUpdate};
use gossip_api::{Block, ChannelId, Message, Mono, Nonce, Now, PkiId, SeqNum, select_peers};
use rand_core::Rng;

use super::{Stage, shape};
use crate::node::Node;
use crate::node::words::{Action, Outgoing, Via};

impl Node {
    /// How long the data of a block is awaited after its header, by what is measured.
    pub(super) fn repair_wait(&self, name: &ChannelId, number: SeqNum, members: usize) -> Duration {
        let slot = self.channels.get(name).and_then(|channel| channel.spread.slots.get(&number));
        let (hop, transfer) = (self.hop(), self.transfer(slot.map_or(0, |slot| slot.data_len)));
        let fan_out = shape::fan_out(members, hop, transfer);
        let planned = shape::time_of(members, fan_out, hop, transfer);
        (planned + planned / 2).max(REPAIR_MIN)
    }

    /// Deadlines of a channel: late headers, late blocks, the question for the tip.
    pub(crate) fn tick_spread(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        if !self.config.mode.is_header_first() {
            return Vec::new();
        }
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let spread = &mut channel.spread;
        let mut actions = Vec::new();
        let is_tip_due = now.mono >= spread.tip_at;
        let due: Vec<SeqNum> = spread
            .alarms
            .iter()
            .filter_map(|(number, at)| (now.mono >= *at).then_some(*number))
            .collect();
        due.iter().for_each(|number| {
            spread.alarms.remove(number);
        });
        for number in due {
            actions.extend(self.take_turn(now, name, number));
            let Some(slot) =
                self.channels.get(name).and_then(|channel| channel.spread.slots.get(&number))
            else {
                continue;
            };
            actions.extend(match &slot.header {
                Stage::Unknown if !slot.held => self.ask_header(now, name, number),
                Stage::Unknown | Stage::Checking { .. } => Vec::new(),
                Stage::Proved { .. } if slot.held => Vec::new(),
                Stage::Proved { .. } => self.ask_unless_shared(now, name, number),
            });
        }
        if is_tip_due {
            actions.extend(self.ask_tip(now, name));
            actions.extend(self.tell_behind(name));
        }
        actions
    }

    /// Asks the next holder for a block that is late. Several late blocks go to several holders, since each
    /// choice is drawn anew.
    pub(crate) fn ask_block(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let members = self.data_members(name);
        let len = self.channels.get(name).and_then(|channel| channel.spread.slots.get(&number));
        let transfer = self.transfer(len.map_or(0, |slot| slot.data_len));
        let wait = self.latency.round_trip().saturating_add(transfer).saturating_mul(2);
        let nonce = Nonce::new(self.rng.next_u64());
        let stated: Vec<PkiId> = members
            .iter()
            .filter(|peer| {
                let channel = self.channels.get(name);
                let height = channel.and_then(|channel| channel.height_of(peer));
                height.is_some_and(|height| height >= number.height())
            })
            .copied()
            .collect();
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let spread = &mut channel.spread;
        let in_flight: usize = spread.slots.values().map(|slot| slot.wanted.len()).sum();
        let Some(slot) = spread.slots.get_mut(&number) else { return Vec::new() };
        slot.wanted.retain(|_, (_, until)| now.mono < *until);
        if slot.repair_at.is_some_and(|at| now.mono < at) {
            let at = slot.repair_at.unwrap_or(now.mono);
            spread.arm(number, at);
            return Vec::new();
        }
        let untried = |peer: &PkiId| !slot.tried.contains(peer);
        let holders: Vec<PkiId> =
            slot.holders.iter().filter(|peer| members.contains(peer)).copied().collect();
        let pick =
            |pool: &[PkiId], rng: &mut _| select_peers(rng, 1, pool, untried).first().copied();
        let chosen = pick(&holders, &mut self.rng)
            .or_else(|| pick(&stated, &mut self.rng))
            .or_else(|| pick(&members, &mut self.rng));
        let Some(peer) = chosen.filter(|_| in_flight < WANTS_IN_FLIGHT_MAX) else {
            if chosen.is_none() {
                // Everybody was asked: once more from the beginning, after a while.
                slot.tried.clear();
            }
            spread.arm(number, now.mono.after(REPAIR_AGAIN));
            return Vec::new();
        };
        slot.tried.insert(peer);
        let until = now.mono.after(wait.max(WANT_MIN));
        slot.wanted.insert(nonce, (peer, now.mono.after(WANT_PATIENCE)));
        spread.arm(number, until);
        let word = BlockWord::Want { nonce, number };
        let note = Message::BlockNote(BlockNote { channel: name.clone(), word });
        self.send(name, peer, Outgoing::Plain(note)).into_iter().collect()
    }

    /// Says to who leads that we are too far behind to use what is new.
    fn tell_behind(&self, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let (height, spread) = (channel.height(), &channel.spread);
        if spread.proved.get().saturating_sub(height.get()) < self.config.push_window {
            return Vec::new();
        }
        let told: BTreeSet<PkiId> = spread.leases.keys().copied().chain(spread.planner).collect();
        let word = BlockWord::Behind { height };
        let note = Message::BlockNote(BlockNote { channel: name.clone(), word });
        told.into_iter()
            .filter_map(|peer| self.send(name, peer, Outgoing::Plain(note.clone())))
            .collect()
    }

    pub(crate) fn on_block_note(&mut self, now: Now, from: PkiId, note: BlockNote) -> Vec<Action> {
        let BlockNote { channel: name, word } = note;
        if !self.shares_data_with(&from) || !self.is_entitled(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        match word {
            BlockWord::Have { number } => {
                let mut actions: Vec<Action> =
                    self.note_has(&name, from, number).into_iter().collect();
                let held = self.channels.get_mut(&name);
                let slot = held.and_then(|channel| channel.spread.slots.get_mut(&number));
                match slot {
                    Some(slot) if slot.held => slot.note_holder(from),
                    _ => actions.extend(self.on_header_told(now, &name, from, number, None, true)),
                }
                actions
            }
            BlockWord::Want { nonce, number } => self.on_wanted(now, &name, from, nonce, number),
            BlockWord::Lack { nonce } => self.on_lack(now, &name, from, nonce),
            BlockWord::Behind { height } => {
                let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
                let spread = &mut channel.spread;
                spread.owing.remove(&from);
                if spread.behind.len() < super::HOLDERS_MAX {
                    spread.behind.insert(from);
                }
                spread.heights.insert(from, height);
                Vec::new()
            }
        }
    }

    /// Gives a block that is asked for: as often as it may be, then no more.
    fn on_wanted(
        &mut self,
        now: Now,
        name: &ChannelId,
        from: PkiId,
        nonce: Nonce,
        number: SeqNum,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = channel.height();
        let spread = &mut channel.spread;
        if spread.is_flooding(now.mono, from) {
            return vec![Action::Drop { from, reason: "too many wants" }];
        }
        let word = BlockWord::Lack { nonce };
        let lack = Message::BlockNote(BlockNote { channel: name.clone(), word });
        self.course.note_asked(name, number);
        if let Some(slot) = spread.slots.get_mut(&number) {
            let mut fan_out = FAN_OUT_DEFAULT;
            if let Some(plan) = slot.plan.plan() {
                fan_out = (plan.fan_out as usize).clamp(fan_out, shape::FAN_OUT_MAX);
            }
            let given = slot.given.get(&from).copied().unwrap_or_default();
            if slot.uploads >= fan_out * 4 || given >= COPIES_EACH_MAX {
                return self.send(name, from, Outgoing::Plain(lack)).into_iter().collect();
            }
            if slot.block.is_some() || number < height.next_block() {
                slot.uploads += 1;
                slot.given.insert(from, given + 1);
            }
            if let Some(block) = slot.block.clone() {
                let update = PullUpdate { nonce, channel: name.clone(), block };
                let update = Outgoing::Plain(Message::Update(update));
                return self.send(name, from, update).into_iter().collect();
            }
        }
        if number < height.next_block() {
            return vec![Action::Read { channel: name.clone(), number, to: from, nonce }];
        }
        self.send(name, from, Outgoing::Plain(lack)).into_iter().collect()
    }

    /// Who was asked does not have it: the next one is asked at once.
    fn on_lack(&mut self, now: Now, name: &ChannelId, from: PkiId, nonce: Nonce) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let found = channel.spread.slots.iter_mut().find_map(|(number, slot)| {
            let asked = slot.wanted.get(&nonce).filter(|(peer, _)| *peer == from).is_some();
            asked.then(|| {
                slot.wanted.remove(&nonce);
                slot.holders.remove(&from);
                *number
            })
        });
        match found {
            Some(number) => self.ask_block(now, name, number),
            None => vec![Action::Drop { from, reason: "unsolicited lack" }],
        }
    }

    /// A block that we wanted has come, if this is one.
    pub(crate) fn take_wanted(
        &mut self,
        now: Now,
        name: &ChannelId,
        from: PkiId,
        nonce: Nonce,
        block: &Block,
    ) -> Option<Vec<Action>> {
        let slot = self.channels.get_mut(name)?.spread.slots.get_mut(&block.number)?;
        let asked = slot.wanted.get(&nonce).filter(|(peer, _)| *peer == from);
        asked?;
        slot.wanted.remove(&nonce);
        slot.note_holder(from);
        Some(self.take_block(now, name, block.clone(), Via::Pull(from)))
    }
}

impl super::Spread {
    /// Counts a question of a peer; true if it asks too many.
    fn is_flooding(&mut self, now: Mono, peer: PkiId) -> bool {
        is_above(&mut self.wants, now, peer, WANTS_MAX)
    }

    /// Counts a question for all state infos; true if a peer asks too many.
    pub(crate) fn is_asking_infos_too_often(&mut self, now: Mono, peer: PkiId) -> bool {
        is_above(&mut self.info_pulls, now, peer, INFO_PULLS_MAX)
    }
}

/// Counts one more of a peer's questions in the present period; true above `max`.
fn is_above(counts: &mut BTreeMap<PkiId, (Mono, u32)>, now: Mono, peer: PkiId, max: u32) -> bool {
    if counts.len() >= super::HOLDERS_MAX {
        counts.retain(|_, (since, _)| now.since(*since) < WANTS_PERIOD);
    }
    let count = counts.entry(peer).or_insert((now, 0));
    if now.since(count.0) >= WANTS_PERIOD {
        *count = (now, 0);
    }
    count.1 = count.1.saturating_add(1);
    count.1 > max
}

/// State infos of a whole channel that one peer may ask for in a period.
const INFO_PULLS_MAX: u32 = 8;

/// Data is not asked for earlier after its header.
const REPAIR_MIN: Duration = Duration::from_millis(150);

/// Wait after everybody was asked for a block.
const REPAIR_AGAIN: Duration = Duration::from_secs(1);

/// The next holder is not asked earlier after the one before.
const WANT_MIN: Duration = Duration::from_millis(50);

/// An answer that comes later was not asked for.
const WANT_PATIENCE: Duration = Duration::from_secs(10);

/// Blocks wanted at once.
const WANTS_IN_FLIGHT_MAX: usize = 64;

/// Copies of one block that one peer is given for the asking: an answer may get lost once.
const COPIES_EACH_MAX: usize = 2;

/// Blocks that one peer may want in a period.
const WANTS_MAX: u32 = 64;

/// The period.
const WANTS_PERIOD: Duration = Duration::from_secs(1);

/// A copy is given to at least four times as many, whatever the plan says.
const FAN_OUT_DEFAULT: usize = 8;

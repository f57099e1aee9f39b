//! Trees: what we plan as the source of a block, and what others planned for us.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{BlockNote, BlockWord, DataMessage, Plan, PlanPart, PlannedBlock};
use gossip_api::{
    Block, ChannelId, Height, MerkleTree, Message, Mono, Now, PkiId, SeqNum, Verified,
};
use rand_core::Rng;

use super::{Planned, Way, shape};
use crate::node::Node;
use crate::node::words::{Action, Outgoing, Via};

impl Node {
    /// A block is verified: its header is told, its plan is made or served, and who may miss it hears of it.
    pub(crate) fn spread_accepted(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: &Block,
        via: Via,
    ) -> Vec<Action> {
        let number = block.number;
        let way = self.way_of(block);
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = channel.height();
        let spread = &mut channel.spread;
        let is_old = number < height.next_block() || number.height() < spread.proved;
        // What fills a gap is no news to anybody, unless others were told of it moments ago.
        if matches!(via, Via::Range(_)) && is_old && !spread.slots.contains_key(&number) {
            return Vec::new();
        }
        let slot = spread.slot(number);
        slot.held = true;
        slot.block = Some(block.clone());
        slot.data_len = block.data.len() as u64;
        slot.parked = None;
        slot.repair_at = None;
        slot.wanted.clear();
        if let Via::Push(from) | Via::Pull(from) | Via::Range(from) = via {
            slot.note_holder(from);
            slot.note_teller(from);
        }
        let was_proved = slot.hash().is_some();
        let was_told = was_proved || slot.tellers.len() > 1;
        spread.alarms.remove(&number);
        spread.missed = match (way, via) {
            (_, Via::Source) | (Way::Whole, _) => spread.missed,
            (Way::Tree, _) if was_told => 0,
            (Way::Tree, _) => spread.missed.saturating_add(1),
        };
        let leading = spread.leading;
        let mut actions = self.shares_settled(now, name, number);
        if via == Via::Source && leading {
            actions.extend(self.plan_in_turn(now, name, block));
        }
        if !was_proved {
            actions.extend(self.prove(now, name, block.clone()));
        }
        actions.extend(self.serve_plan(name, block));
        if way == Way::Tree || was_proved {
            actions.extend(self.tell_have(name, number));
        }
        actions
    }

    /// Of several gateways the first by a hash of the number spreads a block, and the next one only if after a
    /// while nobody else has told of it. In shares all of them spread it: each gives out the same ones.
    fn plan_in_turn(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        let own = self.me.pki_id;
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let turn = |peer: &PkiId| turn_of(name, block.number, peer);
        let leases = channel.spread.leases.iter();
        let others = leases.filter(|(peer, until)| now.mono < **until && **peer != own);
        let before = others.filter(|(peer, _)| turn(peer) < turn(&own)).count();
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        let in_shares = self.way_of(block) == Way::Tree && self.goes_in_shares(name, block);
        if before == 0 || in_shares {
            return self.spread_now(now, name, block);
        }
        let members = self.data_members(name).len();
        let wait = self.repair_wait(name, block.number, members).saturating_mul(before);
        if let Some(channel) = self.channels.get_mut(name) {
            let at = now.mono.after(wait);
            channel.spread.slot(block.number).turn = Some((at, block.clone()));
            channel.spread.arm(block.number, at);
        }
        Vec::new()
    }

    /// Our turn has come: spreads the block, unless another gateway has done so.
    pub(super) fn take_turn(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let Some(slot) = channel.spread.slots.get_mut(&number) else { return Vec::new() };
        let Some((at, block)) = slot.turn.take() else { return Vec::new() };
        if slot.plan.plan().is_some() || !slot.tellers.is_empty() {
            return Vec::new();
        }
        if now.mono < at {
            slot.turn = Some((at, block));
            channel.spread.arm(number, at);
            return Vec::new();
        }
        self.spread_now(now, name, &block)
    }

    fn spread_now(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        self.course.note_sent(name, block.number);
        let (way, mut actions) = match self.way_of(block) {
            Way::Tree if self.goes_in_shares(name, block) => {
                ("coded", self.give_shares(now, name, block))
            }
            Way::Tree => ("tree", self.plan(now, name, block)),
            Way::Whole => ("whole", self.give_whole(now, name, block)),
        };
        actions.push(Action::Chosen { channel: name.clone(), way });
        actions
    }

    /// Gives a small block to every member that can use it; if they are too many, down a tree.
    fn give_whole(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        let members = self.usable_members(name, block.number);
        if members.len() > WHOLE_MEMBERS_MAX {
            return self.plan(now, name, block);
        }
        let channel = name.clone();
        let message = Message::Data(DataMessage { channel, block: block.clone() });
        let sent = members
            .iter()
            .filter_map(|peer| self.send(name, *peer, Outgoing::Plain(message.clone())));
        let actions: Vec<Action> = sent.collect();
        if let Some(channel) = self.channels.get_mut(name) {
            let slot = channel.spread.slot(block.number);
            for peer in members {
                slot.note_holder(peer);
                slot.note_teller(peer);
            }
        }
        actions
    }

    /// Plans the way of a block to all members that can use it; the plan has to be signed.
    pub(crate) fn plan(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        let members = self.usable_members(name, block.number);
        if members.is_empty() {
            return Vec::new();
        }
        let (hop, transfer) = (self.hop(), self.transfer(block.data.len() as u64));
        let fan_out = shape::fan_out(members.len(), hop, transfer);
        let list = self.place(now.mono, name, members, fan_out);
        let tree = MerkleTree::new(list.iter().map(PkiId::as_bytes));
        let (Ok(total), Ok(width)) = (u32::try_from(list.len()), u32::try_from(fan_out)) else {
            return Vec::new();
        };
        let plan = Plan {
            channel: name.clone(),
            number: block.number,
            header: block.header().hash(),
            source: self.me.pki_id,
            issued: now.mono.as_nanos() / 1_000_000,
            members: total,
            fan_out: width,
            root: tree.root(),
        };
        let Some(part) = PlanPart::whole(list) else { return Vec::new() };
        let planned = PlannedBlock { plan, part, block: block.clone() };
        vec![Action::Sign(Message::Plan(planned))]
    }

    /// Members that a block is of use to, at random: alive, in the channel, neither behind nor ahead.
    pub(crate) fn usable_members(&mut self, name: &ChannelId, number: SeqNum) -> Vec<PkiId> {
        let all = self.data_members(name);
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let spread = &channel.spread;
        let silent_for = self.config.push_window.saturating_mul(2);
        let usable: Vec<PkiId> = all
            .into_iter()
            .filter(|peer| {
                let owes = spread.owing.get(peer).map_or(0, |(_, blocks)| *blocks);
                !spread.behind.contains(peer)
                    && owes < silent_for
                    && self.can_use(name, peer, number)
            })
            .collect();
        let mut keyed: Vec<(u64, PkiId)> =
            usable.into_iter().map(|peer| (self.rng.next_u64(), peer)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|(_, peer)| peer).take(PlanPart::MEMBERS_MAX).collect()
    }

    /// Puts members into the places of the tree: who has relayed least so far relays most now, and who does
    /// not say that it has what it was sent relays last.
    fn place(
        &mut self,
        now: Mono,
        name: &ChannelId,
        members: Vec<PkiId>,
        fan_out: usize,
    ) -> Vec<PkiId> {
        let Some(channel) = self.channels.get_mut(name) else { return members };
        let spread = &mut channel.spread;
        let key = |peer: &PkiId| {
            let owing = spread.owing.get(peer);
            let is_suspect = owing.is_some_and(|(since, _)| now.since(*since) >= OWING_MAX);
            (is_suspect, spread.relayed.get(peer).copied().unwrap_or_default())
        };
        let mut ranked = members;
        ranked.sort_by_key(key);
        let loads = shape::loads(ranked.len(), fan_out);
        let mut places: Vec<(usize, usize)> = loads.into_iter().enumerate().collect();
        places.sort_by_key(|(_, load)| std::cmp::Reverse(*load));
        let mut list: Vec<(usize, PkiId)> = Vec::with_capacity(ranked.len());
        for ((place, load), peer) in places.into_iter().zip(ranked) {
            let relayed = spread.relayed.entry(peer).or_default();
            *relayed = relayed.saturating_add(load as u64);
            let owing = spread.owing.entry(peer).or_insert((now, 0));
            owing.1 = owing.1.saturating_add(1);
            list.push((place, peer));
        }
        list.sort_unstable();
        list.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Our own plan is signed: it goes out, though the ledger may have the block meanwhile.
    pub(crate) fn on_plan_signed(&mut self, message: Verified<Message>) -> Vec<Action> {
        let Message::Plan(planned) = message.message() else { return Vec::new() };
        let (name, block) = (planned.plan.channel.clone(), planned.block.clone());
        let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
        channel.spread.slot(block.number).plan = Planned::Waits(Box::new(message));
        self.serve_plan(&name, &block)
    }

    /// Somebody sends a block down a tree. Its list is served once the block is verified; whatever is wrong
    /// with the plan, the block may be good.
    pub(crate) fn on_plan(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Message::Plan(planned) = message.message() else { return Vec::new() };
        let (name, number) = (planned.plan.channel.clone(), planned.plan.number);
        if !self.shares_data_with(&from) || !self.is_entitled(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        let block = planned.block.clone();
        let fault = self.plan_fault(now, &name, planned);
        let plan = planned.plan.clone();
        let bare = Block { data: Bytes::new(), metadata: Bytes::new(), ..block.clone() };
        let bare = message.replan(planned.part.clone(), bare);
        let Some(channel) = self.channels.get_mut(&name) else { return Vec::new() };
        let slot = channel.spread.slot(number);
        slot.note_holder(from);
        slot.note_teller(from);
        let mut actions = Vec::new();
        let mut planner = None;
        match fault {
            Some(reason) => actions.push(Action::Drop { from, reason }),
            None => {
                planner = Some(plan.source);
                slot.plan = bare.map_or(Planned::Done(plan), |bare| Planned::Waits(Box::new(bare)))
            }
        }
        let held = (slot.held, slot.block.clone());
        channel.spread.planner = planner.or(channel.spread.planner);
        match held {
            (false, _) => actions.extend(self.take_block(now, &name, block, Via::Push(from))),
            (true, Some(block)) => actions.extend(self.serve_plan(&name, &block)),
            (true, None) => {}
        }
        actions
    }

    /// What is wrong with a plan, if anything is.
    fn plan_fault(
        &self,
        now: Now,
        name: &ChannelId,
        planned: &PlannedBlock,
    ) -> Option<&'static str> {
        let PlannedBlock { plan, part, block } = planned;
        let spread = &self.channels.get(name)?.spread;
        let own = self.me.pki_id;
        let fan_out = plan.fan_out as usize;
        let members = part.members.as_slice();
        let is_planner = plan.source != own
            && self.shares_data_with(&plan.source)
            && self.is_entitled(name, &plan.source);
        if !is_planner {
            return Some("foreign planner");
        }
        if self.lease_needed && !spread.has_lease(now.mono, &plan.source) {
            return Some("planner without a lease");
        }
        if plan.number != block.number || plan.header != block.header().hash() {
            return Some("plan of another block");
        }
        if spread.slots.get(&plan.number).is_some_and(|slot| slot.plan.plan().is_some()) {
            return Some("second plan");
        }
        if fan_out == 0 || fan_out > shape::FAN_OUT_MAX {
            return Some("fan-out of a plan");
        }
        // Nobody is given more than the first of the source's own runs.
        if members.len() > (plan.members as usize).div_ceil(fan_out) {
            return Some("too long a list");
        }
        if !members.contains(&own) {
            return Some("list without us");
        }
        if members.iter().collect::<BTreeSet<_>>().len() != members.len() {
            return Some("list with repeats");
        }
        part.tree(plan).is_none().then_some("list of another plan")
    }

    /// Hands a block on to be verified, or has it wait for the verdict on its header.
    pub(crate) fn take_block(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: Block,
        via: Via,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = channel.height();
        if channel.spread.refusal(height, block.number).is_none() {
            let slot = channel.spread.slot(block.number);
            if matches!(slot.header, super::Stage::Checking { .. }) && slot.parked.is_none() {
                slot.parked = Some((block, via));
                return Vec::new();
            }
            slot.offered = Some(now.mono);
        }
        vec![Action::Offer { channel: name.clone(), block, via }]
    }

    /// Gives a verified block to one member of each run of our part of its plan, once.
    fn serve_plan(&mut self, name: &ChannelId, block: &Block) -> Vec<Action> {
        let number = block.number;
        let own = self.me.pki_id;
        let alive = |node: &Self, peer: &PkiId| node.members.contains_key(peer);
        let Some(slot) =
            self.channels.get(name).and_then(|channel| channel.spread.slots.get(&number))
        else {
            return Vec::new();
        };
        let Planned::Waits(signed) = &slot.plan else { return Vec::new() };
        let Message::Plan(planned) = signed.message() else { return Vec::new() };
        let (plan, part) = (planned.plan.clone(), &planned.part);
        let Some(tree) = part.tree(&plan) else { return Vec::new() };
        let members = part.members.as_slice();
        let place = members.iter().position(|peer| *peer == own);
        let mut actions = Vec::new();
        let mut told = Vec::new();
        for (at, len) in shape::cut(members.len(), place, plan.fan_out as usize) {
            let run = members.iter().skip(at).take(len);
            let mut able = run.filter(|peer| !slot.holders.contains(peer) && alive(self, peer));
            let (Some(child), Some(part)) = (able.next(), part.cut(&tree, at, len)) else {
                continue;
            };
            let Some(onward) = signed.replan(part, block.clone()) else { continue };
            if let Some(sent) = self.send(name, *child, Outgoing::Signed(onward)) {
                actions.push(sent);
                told.push(*child);
            }
        }
        if let Some(channel) = self.channels.get_mut(name)
            && let Some(slot) = channel.spread.slots.get_mut(&number)
        {
            slot.plan = Planned::Done(plan);
            slot.uploads += told.len();
            told.into_iter().for_each(|peer| slot.note_holder(peer));
        }
        actions
    }

    /// Says that we have a block: to our edges, and to who planned it, or leads and did not plan for us.
    fn tell_have(&self, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let Some(slot) = channel.spread.slots.get(&number) else { return Vec::new() };
        if !self.config.mode.is_header_first() {
            return Vec::new();
        }
        let source = slot.plan.plan().map(|plan| plan.source);
        let source = source.filter(|source| *source != self.me.pki_id);
        let is_planned = slot.plan.plan().is_some();
        let leaders = channel.spread.leases.keys().copied().chain(channel.spread.planner);
        let leaders = leaders.filter(|peer| !is_planned && *peer != self.me.pki_id);
        let edges = channel.spread.edges.iter().copied();
        let told: BTreeSet<PkiId> = edges
            .filter(|peer| !slot.holders.contains(peer))
            .chain(source)
            .chain(leaders)
            .collect();
        let word = BlockWord::Have { number };
        let note = Message::BlockNote(BlockNote { channel: name.clone(), word });
        told.into_iter()
            .filter(|peer| self.shares_data_with(peer))
            .filter_map(|peer| self.send(name, peer, Outgoing::Plain(note.clone())))
            .collect()
    }

    /// A peer has a block, and all below it by its own word: it is to be planned for, and may be asked.
    pub(super) fn note_has(
        &mut self,
        name: &ChannelId,
        peer: PkiId,
        number: SeqNum,
    ) -> Option<Action> {
        let channel = self.channels.get_mut(name)?;
        let limit = channel.spread.proved.max(channel.height());
        let stated = channel.height_of(&peer);
        let spread = &mut channel.spread;
        spread.behind.remove(&peer);
        spread.owing.remove(&peer);
        // Beyond what is proved a word proves nothing.
        let shown = number.height().min(limit);
        let held = spread.heights.entry(peer).or_insert(Height::new(0));
        *held = (*held).max(shown);
        let height = (*held).max(stated?);
        let member = self.members.get(&peer)?;
        let (channel, own_org) = (name.clone(), member.org.as_ref() == Some(&self.me.org));
        Some(Action::PeerHeight { channel, peer: member.remote(), height, own_org })
    }

    /// A hop of a tree without the time that copies take.
    pub(crate) fn hop(&self) -> Duration {
        self.latency.one_way().saturating_add(HOP_WORK)
    }

    /// The same for the usual member instead of a slow one.
    pub(crate) fn usual_hop(&self) -> Duration {
        self.latency.usual_one_way().saturating_add(HOP_WORK)
    }

    /// How long a copy of `len` bytes occupies an uplink.
    pub(crate) fn transfer(&self, len: u64) -> Duration {
        let bits = len.min(LEN_MAX).saturating_mul(8);
        let nanos = bits.saturating_mul(1_000_000_000) / self.config.uplink.max(1);
        Duration::from_nanos(nanos)
    }
}

/// Smaller comes first among the gateways that have one block.
fn turn_of(name: &ChannelId, number: SeqNum, peer: &PkiId) -> [u8; 32] {
    let number = number.get().to_le_bytes();
    MerkleTree::new([name.as_str().as_bytes(), &number, peer.as_bytes()]).root()
}

/// A member that owes us word of a block for this long relays last.
const OWING_MAX: Duration = Duration::from_secs(1);

/// Members that one peer gives small blocks to by itself.
const WHOLE_MEMBERS_MAX: usize = 256;

/// What a relay needs to verify a block, more or less.
const HOP_WORK: Duration = Duration::from_millis(2);

/// A told length beyond this is not believed when waits are computed; no block is larger.
const LEN_MAX: u64 = 100 << 20;

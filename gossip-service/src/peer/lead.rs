//! Who takes blocks from the ordering service: what the election is told, and what follows from its word.

use std::collections::{BTreeSet, VecDeque};

use gossip_api::message::{LeadershipKind, LeadershipMessage};
use gossip_api::{Block, ChannelId, Height, Machine, Message, Mono, Now, PkiId, Verified};
use gossip_election::{Claim, ClaimKind, Election};
use gossip_state::BlockOrigin;

use super::{Action, Peer};
use crate::node;

/// One channel's leadership, as far as it concerns delivery.
#[derive(Debug, Default)]
pub(crate) struct Lead {
    /// The election says that we lead.
    pub(crate) leading: bool,
    /// Since when it says so, and why.
    pub(crate) since: Mono,
    /// The reason in words.
    pub(crate) why: &'static str,
    /// The election wants us to fetch although another leads: it withholds.
    pub(crate) withheld: bool,
    /// The state transfer wants us to fetch: no peer has what is missing.
    pub(crate) missing: bool,
    /// A term is being stored: what the election said after it has to wait.
    storing: bool,
    held: VecDeque<gossip_election::Action>,
    arrived: Height,
    /// Who of our organisation is in the channel, ourselves excluded.
    candidates: BTreeSet<PkiId>,
    /// Who leads, as it was last told.
    led_by: Option<PkiId>,
}

impl Lead {
    /// Whether blocks are to be taken from our own source.
    pub(crate) const fn wants_source(&self) -> bool {
        self.leading || self.withheld || self.missing
    }
}

impl Peer {
    /// A candidate of our organisation speaks for itself.
    pub(super) fn on_claim(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Message::Leadership(claim) = message.into_parts().0 else { return Vec::new() };
        let channel = claim.channel.clone();
        let held = self.channels.get(&channel);
        if !held.is_some_and(|channel| channel.lead.candidates.contains(&from)) {
            return vec![Action::Drop { from: Some(from), reason: "leadership of a stranger" }];
        }
        let kind = match claim.kind {
            LeadershipKind::Propose => ClaimKind::Propose,
            LeadershipKind::Declare => ClaimKind::Declare,
            LeadershipKind::Resign => ClaimKind::Resign,
        };
        let told = Action::Deliver { from, message: Message::Leadership(claim.clone()) };
        let until = match kind {
            ClaimKind::Declare => Some(Some(now.mono.after(self.config.election.lease))),
            ClaimKind::Resign => Some(None),
            ClaimKind::Propose => None,
        };
        let mut actions = Vec::new();
        if let Some(until) = until {
            let input = node::Input::Lease { channel: channel.clone(), peer: from, until };
            actions.extend(self.tell_node(now, input));
        }
        let claim = Claim { kind, term: claim.term, height: claim.height };
        let heard = gossip_election::Input::Heard { from, claim };
        actions.extend(self.tell_election(now, &channel, heard));
        actions.push(told);
        actions
    }

    /// A peer of our organisation is one of the channel, or no longer: the election hears who could lead.
    pub(super) fn note_candidate(
        &mut self,
        now: Now,
        name: &ChannelId,
        peer: PkiId,
        is_here: bool,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let candidates = &mut channel.lead.candidates;
        let is_news = if is_here { candidates.insert(peer) } else { candidates.remove(&peer) };
        if !is_news || !matches!(self.config.election.mode, gossip_election::Mode::Dynamic) {
            return Vec::new();
        }
        let alive = candidates.iter().copied().collect();
        self.tell_election(now, name, gossip_election::Input::Members { alive })
    }

    /// The election hears how far blocks have arrived, when that changed.
    pub(super) fn tell_arrivals(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let height = Height::new(channel.state.next_missing().get());
        if channel.lead.arrived == height {
            return Vec::new();
        }
        channel.lead.arrived = height;
        self.tell_election(now, name, gossip_election::Input::Arrived { height })
    }

    /// The election hears of a height that a verified block proves, and of the hashes that rank candidates.
    pub(super) fn tell_proof(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        let height = block.number.height();
        if let Some(held) = self.channels.get_mut(name) {
            held.proved = held.proved.max(height);
        }
        let proved = gossip_election::Input::Proved { height };
        let mut actions = self.tell_election(now, name, proved);
        if block.number.get().is_multiple_of(Election::BEACON_EVERY) {
            let (number, hash) = (block.number, self.codec.header_hash(block));
            let beacon = gossip_election::Input::Beacon { number, hash };
            actions.extend(self.tell_election(now, name, beacon));
        }
        actions
    }

    /// Our own source gave a block: it is alive, whoever else had the block before.
    pub(super) fn on_source_block(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: Block,
    ) -> Vec<Action> {
        let height = block.number.height();
        let mut actions = self.offer(now, name, block, BlockOrigin::Source);
        let delivered = gossip_election::Input::Delivered { height };
        actions.extend(self.tell_election(now, name, delivered));
        actions
    }

    /// The ordering service has this header: everybody learns of it, and what does not arrive soon is withheld.
    pub(super) fn on_probed(&mut self, now: Now, name: &ChannelId, newest: Block) -> Vec<Action> {
        let height = newest.number.height();
        let mut actions = self.tell_election(now, name, gossip_election::Input::Proved { height });
        let sighted =
            gossip_state::Input::Sighted { header: newest.clone(), origin: BlockOrigin::Source };
        actions.extend(self.tell_state(now, name, sighted));
        let probed = node::Input::Probed { channel: name.clone(), header: newest };
        actions.extend(self.tell_node(now, probed));
        actions
    }

    /// A term is on disk: what was said after it may go out.
    pub(super) fn on_term_stored(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        channel.lead.storing = false;
        let held: Vec<gossip_election::Action> = channel.lead.held.drain(..).collect();
        self.lift_election(now, name, held)
    }

    pub(super) fn tell_election(
        &mut self,
        now: Now,
        name: &ChannelId,
        input: gossip_election::Input,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let actions = channel.election.handle(now, input);
        let leadership = channel.election.leadership().clone();
        let is_news = channel.lead.led_by != leadership.leader;
        channel.lead.led_by = leadership.leader;
        let mut lifted = self.lift_election(now, name, actions);
        if is_news && !leadership.is_own {
            let (leader, why) = (leadership.leader, leadership.why);
            lifted.push(Action::Led { channel: name.clone(), leader, why });
        }
        lifted
    }

    fn lift_election(
        &mut self,
        now: Now,
        name: &ChannelId,
        actions: Vec<gossip_election::Action>,
    ) -> Vec<Action> {
        let mut lifted = Vec::new();
        for action in actions {
            let Some(channel) = self.channels.get_mut(name) else { return lifted };
            if channel.lead.storing {
                // A declaration that waits too long is worth nothing: the next one says the same.
                let is_stale = matches!(action, gossip_election::Action::Say(_))
                    && channel.lead.held.len() >= HELD_MAX;
                if !is_stale {
                    channel.lead.held.push_back(action);
                }
                continue;
            }
            lifted.extend(self.lift_one(now, name, action));
        }
        lifted
    }

    fn lift_one(
        &mut self,
        now: Now,
        name: &ChannelId,
        action: gossip_election::Action,
    ) -> Vec<Action> {
        use gossip_election::Action as Child;
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        match action {
            Child::Lead { why } => self.set_leading(now, name, true, why),
            Child::Follow { why } => self.set_leading(now, name, false, why),
            Child::Say(claim) => self.say(name, claim),
            Child::Persist { term } => {
                channel.lead.storing = true;
                vec![Action::StoreTerm { channel: name.clone(), term }]
            }
            Child::Fetch { wanted } => {
                channel.lead.withheld = wanted;
                self.align_delivery(name)
            }
            Child::Probe => vec![Action::ProbeSource { channel: name.clone() }],
        }
    }

    fn set_leading(
        &mut self,
        now: Now,
        name: &ChannelId,
        leading: bool,
        why: &'static str,
    ) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        channel.lead.leading = leading;
        channel.lead.since = now.mono;
        channel.lead.why = why;
        let mut actions = vec![Action::Leader { channel: name.clone(), leading, why }];
        let input = node::Input::Leading { channel: name.clone(), leading };
        actions.extend(self.tell_node(now, input));
        actions.extend(self.align_delivery(name));
        actions
    }

    /// Tells every candidate of our organisation.
    fn say(&self, name: &ChannelId, claim: Claim) -> Vec<Action> {
        let kind = match claim.kind {
            ClaimKind::Propose => LeadershipKind::Propose,
            ClaimKind::Declare => LeadershipKind::Declare,
            ClaimKind::Resign => LeadershipKind::Resign,
        };
        let message = Message::Leadership(LeadershipMessage {
            channel: name.clone(),
            kind,
            term: claim.term,
            height: claim.height,
        });
        let peers = self.node.peers_of_channel(name);
        peers
            .into_iter()
            .filter(|peer| peer.own_org)
            .filter(|peer| self.node.may_be_told(name, &peer.member.pki_id, message.tag()))
            .map(|peer| Self::send(peer.member.remote(), &message))
            .collect()
    }

    /// Blocks are taken from our own source while we lead, while the leader withholds, or while no peer has
    /// what is missing.
    pub(super) fn align_delivery(&mut self, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let wanted = channel.lead.wants_source();
        if wanted == channel.delivering {
            return Vec::new();
        }
        channel.delivering = wanted;
        if !wanted {
            return vec![Action::StopDelivery(name.clone())];
        }
        let from = channel.state.next_missing();
        // Who does not lead fetches because no peer brings what is proved to exist.
        let direct = !channel.lead.leading;
        let direct = direct.then(|| Action::Chosen { channel: name.clone(), way: "direct" });
        let start = Action::StartDelivery { channel: name.clone(), from };
        direct.into_iter().chain([start]).collect()
    }
}

/// What the election may say while a term is being stored: a second or two of it.
const HELD_MAX: usize = 16;

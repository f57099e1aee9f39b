//! Large blocks: what the relay of shares is told of a channel, and what becomes of its steps.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{ChannelRef, HeaderMessage, Share, ShareReport};
use gossip_api::{
    Admit, Block, BlockError, ChannelId, Message, Now, OrgId, PkiId, SeqNum, ShareRoot,
    SignedMessage, Verified,
};

use super::Node;
use super::choose::Facts;
use super::coded::{Coded, CodedConfig, PeerView, ProvenShare, Step, View, is_datas_fault};
use super::config::{NodeConfig, SpreadMode};
use super::words::{Action, Outgoing, Via};

/// The relay's part of the configuration.
pub(super) fn config_of(node: &NodeConfig) -> CodedConfig {
    CodedConfig {
        cross_orgs: node.data_cross_orgs,
        window: node.push_window,
        ratio_most: node.redundancy_max,
        ..CodedConfig::default()
    }
}

impl Node {
    /// Whether a share is worth proving: asked before anything of it is hashed.
    pub fn admit_share(&self, from: &PkiId, share: &Share) -> Admit {
        self.shares.admit(from, share)
    }

    /// Whether the signature of a commitment is worth checking.
    pub fn admit_commitment(&self, message: &SignedMessage) -> Admit {
        self.shares.admit_commitment(message)
    }

    /// Bytes of shares held.
    pub fn share_bytes(&self) -> usize {
        self.shares.bytes()
    }

    /// Shares, and word of them, come from whoever may give us data.
    pub(super) fn admit_large(&self, from: &PkiId) -> Admit {
        if self.config.mode.is_header_first() && self.shares_data_with(from) {
            Admit::Accept
        } else {
            Admit::Drop("not entitled")
        }
    }

    /// Whether the data of a large block is to travel in shares.
    pub(super) fn goes_in_shares(&mut self, name: &ChannelId, block: &Block) -> bool {
        let len = block.data.len() as u64;
        match self.config.mode {
            SpreadMode::Coded => true,
            SpreadMode::Push
            | SpreadMode::Pull
            | SpreadMode::PushPull
            | SpreadMode::HeaderFirst => false,
            SpreadMode::Auto => Facts {
                len,
                members: self.usable_members(name, block.number).len(),
                slow_hop: self.hop(),
                usual_hop: self.usual_hop(),
                transfer: self.transfer(len),
                asked: self.course.asked(),
                shares: self.shares.ratio(),
                redundancy_max: self.config.redundancy_max,
            }
            .favour_shares(),
        }
    }

    /// We are a source of a block that is to travel in shares: every member hears of its header from us.
    pub(super) fn give_shares(&mut self, now: Now, name: &ChannelId, block: &Block) -> Vec<Action> {
        let members = self.usable_members(name, block.number);
        if let Some(channel) = self.channels.get_mut(name) {
            channel.spread.spare_edges(block.number);
        }
        let header = HeaderMessage {
            channel: name.clone(),
            block: Block { data: Bytes::new(), ..block.clone() },
            data_len: block.data.len() as u64,
        };
        let header = Outgoing::Plain(Message::Header(header));
        let mut actions: Vec<Action> =
            members.iter().filter_map(|peer| self.send(name, *peer, header.clone())).collect();
        let steps = self.shares.on_source(now.mono, name, block);
        actions.extend(self.lift_shares(now, steps));
        actions
    }

    /// A header is proved: shares of its data have a place.
    pub(super) fn shares_header(
        &mut self,
        now: Now,
        name: &ChannelId,
        header: &Block,
    ) -> Vec<Action> {
        let holds = |node: &Self| {
            node.channels.get(name).is_some_and(|channel| channel.spread.holds(header.number))
        };
        if !self.config.mode.is_header_first() || holds(self) {
            return Vec::new();
        }
        let view = self.share_view(now, name);
        let steps = self.shares.on_header(now.mono, &view, name, header);
        self.lift_shares(now, steps)
    }

    /// A block is here and verified, however it came.
    pub(super) fn shares_settled(
        &mut self,
        now: Now,
        name: &ChannelId,
        number: SeqNum,
    ) -> Vec<Action> {
        if !self.shares.knows(name, number) {
            return Vec::new();
        }
        let view = self.share_view(now, name);
        let steps = self.shares.on_whole(now.mono, &view, name, number);
        self.lift_shares(now, steps)
    }

    pub(super) fn on_commitment(
        &mut self,
        now: Now,
        from: PkiId,
        message: Verified<Message>,
    ) -> Vec<Action> {
        let Some(ChannelRef::Name(name)) = message.message().channel() else { return Vec::new() };
        let view = self.share_view(now, &name);
        let steps = self.shares.on_commitment(now.mono, &view, from, message);
        self.lift_shares(now, steps)
    }

    pub(super) fn on_share(&mut self, now: Now, from: PkiId, share: ProvenShare) -> Vec<Action> {
        let view = self.share_view(now, &share.share().channel);
        let steps = self.shares.on_share(now.mono, &view, from, share);
        self.lift_shares(now, steps)
    }

    /// Everybody proves a share before sending it on: who sends a false one is at fault.
    pub(super) fn on_false_share(&mut self, now: Now, from: PkiId) -> Vec<Action> {
        self.shun(now.mono, from);
        vec![Action::Blame { peer: from, reason: "share with a false branch" }]
    }

    pub(super) fn on_share_report(
        &mut self,
        now: Now,
        from: PkiId,
        report: &ShareReport,
    ) -> Vec<Action> {
        if !report.wanted.is_empty() {
            self.course.note_asked(&report.channel, report.number);
        }
        let view = self.share_view(now, &report.channel);
        let steps = self.shares.on_report(&view, from, report);
        self.lift_shares(now, steps)
    }

    /// The shares of our block are made. Without them, or without room for them, it goes down a tree.
    pub(super) fn on_encoded(
        &mut self,
        now: Now,
        name: &ChannelId,
        number: SeqNum,
        coded: Option<Coded>,
    ) -> Vec<Action> {
        let view = self.share_view(now, name);
        let steps = match coded {
            Some(coded) => self.shares.on_encoded(&view, name, number, coded),
            None => vec![Step::GiveUp { channel: name.clone(), number }],
        };
        self.lift_shares(now, steps)
    }

    pub(super) fn on_share_signed(&mut self, now: Now, message: Verified<Message>) -> Vec<Action> {
        let Some(ChannelRef::Name(name)) = message.message().channel() else { return Vec::new() };
        let view = self.share_view(now, &name);
        let steps = self.shares.on_committed(now.mono, &view, message);
        self.lift_shares(now, steps)
    }

    /// Shares gave data: the block is verified like any other, or they convict their source.
    pub(super) fn on_decoded(
        &mut self,
        now: Now,
        name: &ChannelId,
        number: SeqNum,
        root: ShareRoot,
        block: Option<Block>,
    ) -> Vec<Action> {
        let Some(source) = self.shares.decoding(name, number, root) else { return Vec::new() };
        match block {
            Some(block) => {
                self.shares.on_decoded(name, &block);
                self.take_block(now, name, block, Via::Push(source))
            }
            None => {
                let steps = self.shares.on_garbled(name, number);
                self.lift_shares(now, steps)
            }
        }
    }

    /// A block did not pass verification: perhaps the one that shares gave.
    pub(super) fn on_refused(
        &mut self,
        now: Now,
        name: &ChannelId,
        block: &Block,
        error: &BlockError,
    ) -> Vec<Action> {
        if !self.shares.gave(name, block) {
            return Vec::new();
        }
        let steps = if is_datas_fault(error) {
            self.shares.on_garbled(name, block.number)
        } else {
            self.shares.abandon(name, block.number)
        };
        self.lift_shares(now, steps)
    }

    /// Asks for a block whole, unless its data comes in shares now.
    pub(super) fn ask_unless_shared(
        &mut self,
        now: Now,
        name: &ChannelId,
        number: SeqNum,
    ) -> Vec<Action> {
        if !self.shares.is_coming(now.mono, name, number) {
            return self.ask_block(now, name, number);
        }
        if let Some(channel) = self.channels.get_mut(name) {
            channel.spread.postpone(number, now.mono.after(LOOK_AGAIN));
        }
        Vec::new()
    }

    pub(super) fn tick_shares(&mut self, now: Now) -> Vec<Action> {
        if self.shares.next_wakeup().is_none_or(|wakeup| now.mono < wakeup.at) {
            return Vec::new();
        }
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        let views: BTreeMap<ChannelId, Arc<View>> =
            names.into_iter().map(|name| (name.clone(), self.share_view(now, &name))).collect();
        let view = |name: &ChannelId| views.get(name).cloned().unwrap_or_default();
        let steps = self.shares.on_tick(now.mono, view);
        self.lift_shares(now, steps)
    }

    /// The channel's members, as they were known a moment ago.
    fn share_view(&mut self, now: Now, name: &ChannelId) -> Arc<View> {
        if let Some((since, view)) = self.views.get(name)
            && now.mono.since(*since) < VIEW_FOR
        {
            return Arc::clone(view);
        }
        let view = Arc::new(self.draw_view(now, name));
        self.views.insert(name.clone(), (now.mono, Arc::clone(&view)));
        view
    }

    fn draw_view(&self, now: Now, name: &ChannelId) -> View {
        let Some(channel) = self.channels.get(name) else { return View::default() };
        let own = &self.me.org;
        let others = channel.orgs().filter(|org| *org != own);
        let numbers: BTreeMap<&OrgId, u32> = others.zip(1..).chain([(own, 0)]).collect();
        let seen = |(id, member): (&PkiId, &gossip_api::NetworkMember)| {
            let org = *numbers.get(member.org.as_ref()?)?;
            let may_have = org == 0 || self.config.data_cross_orgs;
            let stated = channel.height_of(id).filter(|_| may_have)?;
            let height = channel.spread.height_of(id, stated);
            Some(PeerView { id: *id, org, height, connected: self.connected.contains(id) })
        };
        let mut sources: Vec<PkiId> = Vec::new();
        if self.lease_needed {
            let own = channel.spread.is_leading().then_some(self.me.pki_id);
            sources.extend(channel.spread.leased(now.mono).chain(own));
        }
        View { peers: self.members.iter().filter_map(seen).collect(), sources }
    }

    fn lift_shares(&mut self, now: Now, steps: Vec<Step>) -> Vec<Action> {
        steps.into_iter().flat_map(|step| self.lift_share(now, step)).collect()
    }

    fn lift_share(&mut self, now: Now, step: Step) -> Vec<Action> {
        match step {
            Step::Send { to, message } => {
                let Some(ChannelRef::Name(name)) = message.message().channel() else {
                    return Vec::new();
                };
                self.send(&name, to, message).into_iter().collect()
            }
            Step::Sign(message) => vec![Action::Sign(message)],
            Step::Encode { channel, number, data } => {
                vec![Action::EncodeShares { channel, number, data }]
            }
            Step::Decode(job) => vec![Action::DecodeShares(job)],
            Step::Convicted { channel, evidence } => vec![Action::Convicted { channel, evidence }],
            Step::GiveUp { channel, number } => self.on_shares_given_up(now, &channel, number),
            Step::Drop { from, reason } => vec![Action::Drop { from, reason }],
        }
    }

    /// Shares do not bring a block: as its source we plan a tree, else it is asked for whole.
    fn on_shares_given_up(&mut self, now: Now, name: &ChannelId, number: SeqNum) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        match channel.spread.held_block(number) {
            Some(block) => self.plan(now, name, &block),
            None => {
                channel.spread.postpone(number, now.mono);
                Vec::new()
            }
        }
    }
}

/// What is known of members changes all the time by a block or two, which makes no difference.
const VIEW_FOR: Duration = Duration::from_millis(250);

/// While shares come in, it is looked at this often whether they still do.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

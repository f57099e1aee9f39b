//! How news travel: channels, who is in them, how new blocks spread, pull.
//!
//! New blocks spread header first (`spread`), or by push, or by pull alone: [`SpreadMode`].
//!
//! One [`Node`] serves all channels; each channel is a value of its own. The node
//! knows peers only by what it is told of them, and blocks only by their numbers: it hands every block on
//! to the state transfer, which decides whether it is wanted, and is told when one was accepted.
//!
//! ```text
//!            Received, MemberUp, Accepted                 Send, Sign, Offer, PeerHeight
//!   parent ------------------------------> Node -------------------------------------> parent
//!                                           |
//!                                    channel, channel, ...   each: state infos, pull rounds
//! ```
//!
//! # Invariants
//! - Nothing leaves but what `Node::may_be_told` allows its recipient.
//! - A block is pushed on by a peer at most once, and only after it was accepted.
//! - This module imports `gossip_api` and itself alone; `coded` also what computes its codes.

mod channel;
mod choose;
pub mod coded;
mod config;
mod infos;
mod large;
mod latency;
mod pull;
mod push;
mod spread;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gossip_api::message::{ChannelRef, Kind};
use gossip_api::{
    Admit, Block, BlockHash, ChannelId, ChannelTag, Height, Machine, Message, MessageHeader, Mono,
    NetworkMember, Now, PkiId, SeqNum, Tag, Verified, Wakeup, earliest, select_peers,
};
use rand_chacha::ChaCha8Rng;

pub use config::{NodeConfig, SpreadMode};
use gossip_api::Checked;
pub use words::{Action, ChannelPeer, ChannelView, Input, Me, Outgoing, Via};

use channel::Channel;
use latency::Latency;
use pull::exchange::Word;
use push::Pushed;

/// The machine.
#[derive(Debug)]
pub struct Node {
    me: Me,
    config: Checked<NodeConfig>,
    rng: ChaCha8Rng,
    members: BTreeMap<PkiId, NetworkMember>,
    channels: BTreeMap<ChannelId, Channel>,
    /// Channels that we left in this life, and how often we had announced ourselves there: who comes back
    /// goes on counting, or nobody believes it.
    left: BTreeMap<ChannelId, u64>,
    lease_needed: bool,
    latency: Latency,
    /// Whose headers did not hold, and until when they are not listened to.
    shunned: BTreeMap<PkiId, Mono>,
    connected: BTreeSet<PkiId>,
    /// How what we sent fared.
    course: choose::Course,
    /// Large blocks in shares.
    shares: coded::Shares,
    /// The members of channels as the relay of shares sees them, and since when.
    views: BTreeMap<ChannelId, (Mono, Arc<coded::View>)>,
}

impl Machine for Node {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match input {
            Input::Join(view) => self.on_join(now, view),
            Input::Leave(channel) => self.on_leave(&channel),
            Input::MemberUp(member) => self.on_member_up(now, member),
            Input::MemberDown(peer) => self.on_member_down(&peer),
            Input::Connected(peer) => self.on_connected(peer),
            Input::Disconnected(peer) => {
                self.connected.remove(&peer);
                self.views.clear();
                Vec::new()
            }
            Input::Received { from, message } => self.on_message(now, from, message),
            Input::ShareProved { from, share } => self.on_share(now, from, share),
            Input::ShareFalse { from } => self.on_false_share(now, from),
            Input::Encoded { channel, number, coded } => {
                self.on_encoded(now, &channel, number, coded)
            }
            Input::Decoded { channel, number, root, block } => {
                self.on_decoded(now, &channel, number, root, block)
            }
            Input::Refused { channel, block, error } => {
                self.on_refused(now, &channel, &block, &error)
            }
            Input::Signed(message) => self.on_signed(now, message),
            Input::Rechecked { channel, sequence, held } => {
                self.on_rechecked(now, &channel, sequence, held)
            }
            Input::Height { channel, height } => self.on_height(now, &channel, height),
            Input::HeaderChecked { channel, sequence, from, header, verdict } => {
                self.on_header_checked(now, &channel, sequence, from, header, verdict)
            }
            Input::Probed { channel, header } => self.on_probed(now, &channel, header),
            Input::Contradicted { channel, header } => self.on_contradicted(now, &channel, &header),
            Input::Leading { channel, leading } => self.on_leading(&channel, leading),
            Input::Lease { channel, peer, until } => self.on_lease(&channel, peer, until),
            Input::Accepted { channel, block, via } => self.on_accepted(now, &channel, &block, via),
            Input::Read { channel, to, nonce, block } => self.on_read(&channel, to, nonce, block),
            Input::EpochRaised(epoch) => self.on_epoch_raised(epoch),
            Input::Tick => self.on_tick(now),
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        let channels = self.channels.values().map(Channel::next_wakeup);
        earliest(channels.chain([self.shares.next_wakeup()]))
    }
}

impl Node {
    /// A node without channels.
    pub fn new(me: Me, config: Checked<NodeConfig>, mut rng: ChaCha8Rng) -> Self {
        let shares = coded::Shares::new(me.pki_id, large::config_of(&config), &mut rng);
        Self {
            me,
            config,
            rng,
            connected: BTreeSet::new(),
            course: choose::Course::default(),
            shares,
            views: BTreeMap::new(),
            members: BTreeMap::new(),
            channels: BTreeMap::new(),
            left: BTreeMap::new(),
            lease_needed: true,
            latency: Latency::default(),
            shunned: BTreeMap::new(),
        }
    }

    /// Whether whoever plans how a block spreads has to hold a lease; not where leaders are appointed.
    #[must_use]
    pub fn with_leases(self, lease_needed: bool) -> Self {
        Self { lease_needed, ..self }
    }

    /// Whether a message is worth verifying. Asked before any cryptography.
    pub fn admit(&self, now: Now, from: &PkiId, header: &MessageHeader) -> Admit {
        let channel = self.channel_of(from, header);
        let channel = channel.and_then(|name| self.channels.get(&name));
        // One answer for a channel that we are not in and one that the sender is not in.
        let Some(channel) = channel else { return Admit::Drop("channel") };
        match self.members.get(from).and_then(|member| member.org.as_ref()) {
            Some(org) if channel.is_member_org(org) => {
                let tells_of_blocks = matches!(
                    header.kind,
                    Kind::Header | Kind::ShareCommitment | Kind::Share | Kind::ShareReport
                );
                if !tells_of_blocks {
                    channel.admit(now.mono, header)
                } else if self.is_shunned(from) {
                    Admit::Drop("shunned")
                } else if header.kind == Kind::Header {
                    channel.admit_header(header)
                } else {
                    self.admit_large(from)
                }
            }
            _ => Admit::Drop("channel"),
        }
    }

    /// Whether a block's header and signatures were verified already, byte for byte, under the present configuration.
    pub fn is_attested(&self, channel: &ChannelId, block: &Block) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.spread.is_attested(block))
    }

    /// Whether a plan for a block that is held may still be served.
    pub fn awaits_plan(&self, channel: &ChannelId, number: SeqNum) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.spread.awaits_plan(number))
    }

    /// The channel that a message is about, if we are in it.
    // fabric: gossip/gossip/chanstate.go lookupChannelForMsg
    pub fn channel_of(&self, from: &PkiId, header: &MessageHeader) -> Option<ChannelId> {
        match header.channel.as_ref()? {
            ChannelRef::Name(name) => self.channels.contains_key(name).then(|| name.clone()),
            ChannelRef::Tag(tag) => {
                let originator = header.originator.unwrap_or(*from);
                let mut channels = self.channels.iter();
                let found = channels.find(|(_, channel)| channel.tag_of(&originator) == *tag);
                found.map(|(name, _)| name.clone())
            }
        }
    }

    /// The sequence of a channel's configuration.
    pub fn config_sequence(&self, channel: &ChannelId) -> Option<u64> {
        self.channels.get(channel).map(Channel::sequence)
    }

    /// The channels joined.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelId> {
        self.channels.keys()
    }

    /// What is believed of who is in a channel, ourselves included: state infos, each signed by its author.
    pub fn announcements(&self, channel: &ChannelId) -> impl Iterator<Item = &Verified<Message>> {
        self.channels.get(channel).into_iter().flat_map(Channel::announcements)
    }

    /// Whether `peer` may be served blocks of `channel`: it is alive, of a member organisation, and has
    /// announced itself under an identity that the channel accepts.
    // fabric: gossip/gossip/channel/channel.go EligibleForChannel
    pub fn is_entitled(&self, channel: &ChannelId, peer: &PkiId) -> bool {
        let org = self.members.get(peer).and_then(|member| member.org.as_ref());
        match (self.channels.get(channel), org) {
            (Some(channel), Some(org)) => {
                channel.is_member_org(org) && channel.height_of(peer).is_some()
            }
            _ => false,
        }
    }

    /// Alive members that announced themselves in the channel and have not left it.
    // fabric: gossip/gossip/channel/channel.go GetPeers
    pub fn peers_of_channel(&self, channel: &ChannelId) -> Vec<ChannelPeer> {
        let Some(channel) = self.channels.get(channel) else { return Vec::new() };
        self.members
            .values()
            .filter_map(|member| {
                let org = member.org.as_ref().filter(|org| channel.is_member_org(org))?;
                let height = channel.height_of(&member.pki_id)?;
                let member = NetworkMember { height: Some(height), ..member.clone() };
                Some(ChannelPeer { own_org: *org == self.me.org, member })
            })
            .collect()
    }

    fn on_join(&mut self, now: Now, view: ChannelView) -> Vec<Action> {
        let name = view.channel.clone();
        if self.channels.contains_key(&name) {
            return self.reconfigure(&name, view);
        }
        let mut channel = Channel::new(now, self.me.pki_id, view, self.config.clone());
        if let Some(announcements) = self.left.remove(&name) {
            channel.resume_announcing(announcements);
        }
        let own = channel.announcement(&self.me);
        self.shares.on_height(&name, channel.height());
        self.channels.insert(name, channel);
        vec![Action::Sign(Message::StateInfo(own))]
    }

    fn on_member_up(&mut self, now: Now, member: NetworkMember) -> Vec<Action> {
        for channel in self.channels.values_mut() {
            channel.expect_info(now, member.pki_id);
        }
        self.views.clear();
        self.members.insert(member.pki_id, member);
        Vec::new()
    }

    fn on_member_down(&mut self, peer: &PkiId) -> Vec<Action> {
        self.members.remove(peer);
        self.views.clear();
        self.channels
            .iter_mut()
            .filter_map(|(name, channel)| {
                channel
                    .forget(peer)
                    .then(|| Action::PeerGone { channel: name.clone(), peer: *peer })
            })
            .collect()
    }

    fn on_connected(&mut self, peer: PkiId) -> Vec<Action> {
        if self.connected.insert(peer) {
            self.views.clear();
        }
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        names.iter().flat_map(|name| self.tell_own_info(name, peer)).collect()
    }

    fn on_message(&mut self, now: Now, from: PkiId, message: Verified<Message>) -> Vec<Action> {
        match message.message() {
            Message::StateInfo(_) => self.on_state_info(now, from, message),
            Message::StateInfoPullRequest(_) => self.on_info_pull(now, from, &message),
            Message::Data(data) => {
                let data = data.clone();
                self.on_data(now, from, &data.channel, data.block)
            }
            Message::Header(header) => {
                let header = header.clone();
                self.on_header(now, from, header)
            }
            Message::HeaderNote(note) => {
                let note = note.clone();
                self.on_header_note(now, from, note)
            }
            Message::BlockNote(note) => {
                let note = note.clone();
                self.on_block_note(now, from, note)
            }
            Message::Plan(_) => self.on_plan(now, from, message),
            Message::Hello(hello) => {
                let of = (&hello.channel, hello.kind);
                self.on_pull(now, from, of, hello.nonce, Word::Hello)
            }
            Message::Digest(digest) => {
                let (of, items) = ((&digest.channel, digest.kind), digest.items.clone());
                self.on_pull(now, from, of, digest.nonce, Word::Digest(items))
            }
            Message::Request(request) => {
                let (of, items) = ((&request.channel, request.kind), request.items.clone());
                self.on_pull(now, from, of, request.nonce, Word::Request(items))
            }
            Message::Update(update) => {
                let update = update.clone();
                self.on_update(now, from, update)
            }
            Message::Record(_)
            | Message::Beats(_)
            | Message::MembershipRequest(_)
            | Message::MembershipResponse(_)
            | Message::StateRequest(_)
            | Message::StateResponse(_)
            | Message::Probe(_)
            | Message::ProofOfLife(_)
            | Message::Leadership(_)
            | Message::StateInfoSnapshot(_)
            | Message::PeerIdentities(_)
            | Message::Acknowledgement(_)
            | Message::PrivateData(_)
            | Message::PrivateDataRequest(_)
            | Message::PrivateDataResponse(_)
            | Message::Share(_) => vec![Action::Drop { from, reason: "kind" }],
            Message::ShareCommitment(_) => self.on_commitment(now, from, message),
            Message::ShareReport(report) => {
                let report = report.clone();
                self.on_share_report(now, from, &report)
            }
        }
    }

    fn on_height(&mut self, now: Now, channel: &ChannelId, height: Height) -> Vec<Action> {
        if let Some(held) = self.channels.get_mut(channel) {
            held.on_height(now, height);
            self.shares.on_height(channel, held.height());
        }
        Vec::new()
    }

    /// An accepted block may be news to others.
    fn on_accepted(&mut self, now: Now, name: &ChannelId, block: &Block, via: Via) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        channel.on_accepted(block.number);
        match self.config.mode {
            SpreadMode::Push => {}
            SpreadMode::Pull | SpreadMode::PushPull => return Vec::new(),
            SpreadMode::HeaderFirst | SpreadMode::Coded | SpreadMode::Auto => {
                return self.spread_accepted(now, name, block, via);
            }
        }
        let from = match via {
            Via::Source => None,
            Via::Push(from) => Some(from),
            // Who asks is behind; what it gets is no news to the others.
            Via::Pull(_) | Via::Range(_) => return Vec::new(),
        };
        let batch = channel.push.add(now.mono, block.number, (), block.clone(), from);
        self.push_blocks(name, batch)
    }

    /// Batches that have waited long enough.
    fn tick_pushes(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let blocks = channel.push.on_tick(now.mono);
        let infos = channel.info_push.on_tick(now.mono);
        let mut actions = self.push_blocks(name, blocks);
        actions.extend(self.push_infos(name, infos));
        actions
    }

    /// Passes a batch of blocks on: to a few peers of our organisation, the same for all of them.
    // fabric: gossip/gossip/gossip_impl.go gossipInChan
    fn push_blocks(&mut self, name: &ChannelId, batch: Vec<Pushed<SeqNum, Block>>) -> Vec<Action> {
        if batch.is_empty() {
            return Vec::new();
        }
        let takes = |node: &Self, peer: &PkiId, item: &Pushed<SeqNum, Block>| {
            item.from != Some(*peer) && node.can_use(name, peer, item.key)
        };
        let mut pool = self.data_members(name);
        pool.retain(|peer| batch.iter().any(|item| takes(self, peer, item)));
        let chosen = select_peers(&mut self.rng, self.config.push_peers, &pool, |_| true);
        let mut actions = Vec::new();
        for item in batch {
            let message = Message::Data(gossip_api::message::DataMessage {
                channel: name.clone(),
                block: item.value.clone(),
            });
            let to = chosen.iter().filter(|peer| takes(self, peer, &item));
            actions.extend(
                to.filter_map(|peer| self.send(name, *peer, Outgoing::Plain(message.clone()))),
            );
        }
        actions
    }

    /// Whether the block lies in the peer's window: not in its ledger, not so far ahead that it must throw it away.
    fn can_use(&self, name: &ChannelId, peer: &PkiId, number: SeqNum) -> bool {
        let Some(channel) = self.channels.get(name) else { return false };
        let height = channel.height_of(peer);
        height.map(|stated| channel.spread.height_of(peer, stated)).is_some_and(|height| {
            number.get() >= height.get() && number.get() - height.get() < self.config.push_window
        })
    }

    fn on_tick(&mut self, now: Now) -> Vec<Action> {
        self.shunned.retain(|_, until| now.mono < *until);
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        let mut actions: Vec<Action> =
            names.iter().flat_map(|name| self.tick_channel(now, name)).collect();
        actions.extend(self.tick_shares(now));
        actions
    }

    fn tick_channel(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let mut actions = Vec::new();
        if channel.is_announcement_due(now) {
            actions.push(Action::Sign(Message::StateInfo(channel.announcement(&self.me))));
        }
        actions.extend(self.tick_pushes(now, name));
        actions.extend(self.tick_pulls(now, name));
        actions.extend(self.ask_silent(now, name));
        actions.extend(self.tick_spread(now, name));
        actions
    }

    /// The one rule of what leaves about a channel: whether `to` is a living member whose organisation may have
    /// messages of this tag. Everything that a peer sends about a channel is asked here first.
    // fabric: gossip/gossip/gossip_impl.go gossipBatch
    pub(crate) fn may_be_told(&self, name: &ChannelId, to: &PkiId, tag: Tag) -> bool {
        let org = self.members.get(to).and_then(|member| member.org.as_ref());
        let (Some(channel), Some(org)) = (self.channels.get(name), org) else { return false };
        let is_close = *org == self.me.org || self.config.data_cross_orgs;
        let is_of_channel = channel.is_member_org(org);
        match tag {
            Tag::Empty => true,
            Tag::OrgOnly => is_close,
            Tag::ChanOnly | Tag::ChanOrOrg => is_of_channel,
            Tag::ChanAndOrg => is_close && is_of_channel,
        }
    }

    /// Nothing is sent that the recipient may not have.
    fn send(&self, name: &ChannelId, to: PkiId, message: Outgoing) -> Option<Action> {
        let member = self.members.get(&to)?;
        let names =
            if let Message::StateInfo(info) = message.message() { Some(info.pki_id) } else { None };
        let allowed = self.may_be_told(name, &to, message.message().tag())
            && names.is_none_or(|peer| self.may_learn_of(&to, &peer));
        allowed.then(|| Action::Send { to: member.remote(), message })
    }

    /// Whether a peer may learn that another one, perhaps we, is there: within our organisation of everybody,
    /// outside it of ours only if it has an external endpoint, and of others, whose organisations tell themselves.
    // fabric: gossip/gossip/channel/channel.go createStateInfoSnapshot
    fn may_learn_of(&self, to: &PkiId, peer: &PkiId) -> bool {
        let is_me = *peer == self.me.pki_id;
        let known = self.members.get(peer);
        let is_external =
            if is_me { self.me.is_external } else { known.is_some_and(|of| of.endpoint.is_some()) };
        let is_ours = is_me || self.is_own_org(peer);
        *to == self.me.pki_id || self.is_own_org(to) || !is_ours || is_external
    }

    fn own_org_members(&self, name: &ChannelId) -> Vec<PkiId> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        self.members
            .values()
            .filter(|member| {
                let org = member.org.as_ref();
                org == Some(&self.me.org) && channel.is_member_org(&self.me.org)
            })
            .map(|member| member.pki_id)
            .collect()
    }

    /// Members that the data of a channel's blocks may be given to.
    fn data_members(&self, name: &ChannelId) -> Vec<PkiId> {
        if !self.config.data_cross_orgs {
            return self.own_org_members(name);
        }
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        let is_there = |member: &&NetworkMember| {
            member.org.as_ref().is_some_and(|org| channel.is_member_org(org))
        };
        self.members.values().filter(is_there).map(|member| member.pki_id).collect()
    }

    /// Whether a peer may be given, and may give, the data of blocks.
    fn shares_data_with(&self, peer: &PkiId) -> bool {
        self.config.data_cross_orgs || self.is_own_org(peer)
    }

    fn is_shunned(&self, peer: &PkiId) -> bool {
        self.shunned.contains_key(peer)
    }

    fn on_leading(&mut self, channel: &ChannelId, leading: bool) -> Vec<Action> {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.spread.set_leading(leading);
        }
        self.views.clear();
        Vec::new()
    }

    fn on_lease(&mut self, channel: &ChannelId, peer: PkiId, until: Option<Mono>) -> Vec<Action> {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.spread.set_lease(peer, until);
        }
        self.views.remove(channel);
        Vec::new()
    }

    /// A block came whole, without a plan.
    fn on_data(&mut self, now: Now, from: PkiId, name: &ChannelId, block: Block) -> Vec<Action> {
        self.note_sender(name, from, block.number);
        self.take_block(now, name, block, Via::Push(from))
    }

    fn is_own_org(&self, peer: &PkiId) -> bool {
        self.members.get(peer).and_then(|member| member.org.as_ref()) == Some(&self.me.org)
    }
}

/// The tag under which a peer speaks of a channel.
fn tag_for(channel: &ChannelId, genesis: &BlockHash, peer: &PkiId) -> ChannelTag {
    ChannelTag::derive(channel, genesis, peer)
}

#[cfg(test)]
mod tests;

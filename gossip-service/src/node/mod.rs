//! How news travel: channels, who is in them, push and pull of blocks.
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
//! - Nothing leaves but through `Node::send`, which asks `routing` whether the recipient may have it.
//! - A block is pushed on by a peer at most once, and only after it was accepted.
//! - This module imports `gossip_api` and itself alone.

mod channel;
mod config;
mod infos;
mod pull;
mod routing;
mod words;

use std::collections::BTreeMap;

use gossip_api::message::{ChannelRef, PullKind};
use gossip_api::{
    Admit, Block, BlockHash, ChannelId, ChannelTag, Height, Machine, Message, MessageHeader,
    NetworkMember, Nonce, Now, PkiId, SeqNum, Verified, Wakeup, earliest, select_peers,
};
use rand_chacha::ChaCha8Rng;

pub use config::NodeConfig;
use gossip_api::Checked;
pub use words::{Action, ChannelPeer, ChannelView, Input, Me, Outgoing, Via};

use channel::Channel;

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
            Input::Received { from, message } => self.on_message(now, from, message),
            Input::Signed(message) => self.on_signed(message),
            Input::Rechecked { channel, sequence, held } => {
                self.on_rechecked(&channel, sequence, held)
            }
            Input::Height { channel, height } => self.on_height(now, &channel, height),
            Input::Accepted { channel, block, via } => self.on_accepted(&channel, &block, via),
            Input::Read { channel, to, nonce, block } => self.on_read(&channel, to, nonce, block),
            Input::EpochRaised(epoch) => self.on_epoch_raised(epoch),
            Input::Tick => self.on_tick(now),
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        earliest(self.channels.values().map(Channel::next_wakeup))
    }
}

impl Node {
    /// A node without channels.
    pub fn new(me: Me, config: Checked<NodeConfig>, rng: ChaCha8Rng) -> Self {
        Self {
            me,
            config,
            rng,
            members: BTreeMap::new(),
            channels: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// Whether a message is worth verifying. Asked before any cryptography.
    pub fn admit(&self, from: &PkiId, header: &MessageHeader) -> Admit {
        let channel = self.channel_of(from, header);
        let channel = channel.and_then(|name| self.channels.get(&name));
        // One answer for a channel that we are not in and one that the sender is not in.
        let Some(channel) = channel else { return Admit::Drop("channel") };
        match self.members.get(from).and_then(|member| member.org.as_ref()) {
            Some(org) if channel.is_member_org(org) => channel.admit(header),
            _ => Admit::Drop("channel"),
        }
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
        self.channels.insert(name, channel);
        vec![Action::Sign(Message::StateInfo(own))]
    }

    fn on_member_up(&mut self, now: Now, member: NetworkMember) -> Vec<Action> {
        for channel in self.channels.values_mut() {
            channel.expect_info(now, member.pki_id);
        }
        self.members.insert(member.pki_id, member);
        Vec::new()
    }

    fn on_member_down(&mut self, peer: &PkiId) -> Vec<Action> {
        self.members.remove(peer);
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
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        names.iter().flat_map(|name| self.tell_infos(name, peer)).collect()
    }

    fn on_message(&mut self, now: Now, from: PkiId, message: Verified<Message>) -> Vec<Action> {
        match message.message() {
            Message::StateInfo(_) => self.on_state_info(from, message),
            Message::StateInfoPullRequest(_) => self.on_info_pull(from, &message),
            Message::Data(data) => {
                let data = data.clone();
                vec![Action::Offer {
                    channel: data.channel,
                    block: data.block,
                    via: Via::Push(from),
                }]
            }
            Message::Hello(_) | Message::Digest(_) | Message::Request(_) | Message::Update(_) => {
                self.on_pull(now, from, message.into_parts().0)
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
            | Message::Header(_)
            | Message::HeaderNote(_)
            | Message::BlockNote(_)
            | Message::Plan(_) => vec![Action::Drop { from, reason: "kind" }],
        }
    }

    fn on_height(&mut self, now: Now, channel: &ChannelId, height: Height) -> Vec<Action> {
        if let Some(channel) = self.channels.get_mut(channel) {
            channel.on_height(now, height);
        }
        Vec::new()
    }

    /// Pushes an accepted block on: to a few peers of our organisation that can use it.
    // fabric: gossip/gossip/gossip_impl.go gossipInChan
    fn on_accepted(&mut self, name: &ChannelId, block: &Block, via: Via) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        channel.on_accepted(block.number);
        let exclude = match via {
            Via::Source => None,
            Via::Push(from) => Some(from),
            // Who asks is behind; what it gets is no news to the others.
            Via::Pull(_) | Via::Range(_) => return Vec::new(),
        };
        let pool: Vec<PkiId> = self
            .own_org_members(name)
            .into_iter()
            .filter(|peer| self.can_use(name, peer, block.number))
            .collect();
        let chosen = select_peers(&mut self.rng, self.config.push_peers, &pool, |peer| {
            Some(*peer) != exclude
        });
        let message = Message::Data(gossip_api::message::DataMessage {
            channel: name.clone(),
            block: block.clone(),
        });
        chosen
            .into_iter()
            .filter_map(|peer| self.send(name, peer, Outgoing::Plain(message.clone())))
            .collect()
    }

    /// Whether the block lies in the peer's window: not in its ledger, not so far ahead that it must throw it away.
    fn can_use(&self, name: &ChannelId, peer: &PkiId, number: SeqNum) -> bool {
        let height = self.channels.get(name).and_then(|channel| channel.height_of(peer));
        height.is_some_and(|height| {
            number.get() >= height.get() && number.get() - height.get() < self.config.push_window
        })
    }

    fn on_pull(&mut self, now: Now, from: PkiId, message: Message) -> Vec<Action> {
        let name = match message.channel() {
            Some(ChannelRef::Name(name)) => name,
            _ => return vec![Action::Drop { from, reason: "channel" }],
        };
        if !self.is_own_org(&from) || !self.is_entitled(&name, &from) {
            return vec![Action::Drop { from, reason: "not entitled" }];
        }
        let Some(channel) = self.channels.get_mut(&name) else {
            return vec![Action::Drop { from, reason: "channel" }];
        };
        let steps = channel.on_pull(now, &mut self.rng, from, message);
        self.lift_pull(&name, steps)
    }

    fn on_read(
        &mut self,
        name: &ChannelId,
        to: PkiId,
        nonce: Nonce,
        block: Option<Block>,
    ) -> Vec<Action> {
        let Some(block) = block else { return Vec::new() };
        let update = gossip_api::message::PullUpdate { nonce, channel: name.clone(), block };
        self.send(name, to, Outgoing::Plain(Message::Update(update))).into_iter().collect()
    }

    fn on_tick(&mut self, now: Now) -> Vec<Action> {
        let names: Vec<ChannelId> = self.channels.keys().cloned().collect();
        names.iter().flat_map(|name| self.tick_channel(now, name)).collect()
    }

    fn tick_channel(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let partners: Vec<PkiId> = self
            .own_org_members(name)
            .into_iter()
            .filter(|peer| {
                self.channels.get(name).is_some_and(|channel| channel.height_of(peer).is_some())
            })
            .collect();
        let chosen = select_peers(&mut self.rng, self.config.pull_peers, &partners, |_| true);
        let me = self.me.clone();
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let mut actions = Vec::new();
        if channel.is_announcement_due(now) {
            actions.push(Action::Sign(Message::StateInfo(channel.announcement(&me))));
        }
        let steps = channel.tick_pull(now, &mut self.rng, &chosen);
        actions.extend(self.lift_pull(name, steps));
        actions.extend(self.ask_silent(now, name));
        actions
    }

    fn lift_pull(&self, name: &ChannelId, steps: Vec<pull::Step>) -> Vec<Action> {
        steps
            .into_iter()
            .filter_map(|step| match step {
                pull::Step::Send { to, message } => self.send(name, to, Outgoing::Plain(message)),
                pull::Step::Serve { to, nonce, item } => {
                    let number = item.as_block()?;
                    Some(Action::Read { channel: name.clone(), number, to, nonce })
                }
                pull::Step::Deliver { from, block } => {
                    Some(Action::Offer { channel: name.clone(), block, via: Via::Pull(from) })
                }
                pull::Step::Drop { from, reason } => Some(Action::Drop { from, reason }),
            })
            .collect()
    }

    /// The one way out: nothing is sent that the recipient may not have.
    fn send(&self, name: &ChannelId, to: PkiId, message: Outgoing) -> Option<Action> {
        let channel = self.channels.get(name)?;
        let member = self.members.get(&to)?;
        let org = member.org.as_ref()?;
        let allowed = routing::may_send(
            message.message().tag(),
            *org == self.me.org,
            channel.is_member_org(org),
        );
        allowed.then(|| Action::Send { to: member.remote(), message })
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

    fn is_own_org(&self, peer: &PkiId) -> bool {
        self.members.get(peer).and_then(|member| member.org.as_ref()) == Some(&self.me.org)
    }
}

/// The tag under which a peer speaks of a channel.
fn tag_for(channel: &ChannelId, genesis: &BlockHash, peer: &PkiId) -> ChannelTag {
    ChannelTag::derive(channel, genesis, peer)
}

/// The only kind pulled so far.
const PULLED: PullKind = PullKind::Block;

#[cfg(test)]
mod tests;

//! How news travel: channels, who is in them, push and pull of blocks.
//!
//! One [`Node`] serves all channels; each channel is a [`Channel`](channel::Channel) of its own. The node
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
//! - Nothing leaves but through `Node::send`, which asks [`routing`] whether the recipient may have it.
//! - A block is pushed on by a peer at most once, and only after it was accepted.
//! - This module imports `gossip_api` and itself alone.

mod channel;
mod config;
mod pull;
mod routing;

use std::collections::{BTreeMap, BTreeSet};

use gossip_api::message::{ChannelRef, PullKind};
use gossip_api::{
    Admit, Block, BlockHash, ChannelId, ChannelTag, Epoch, Height, Machine, Message, MessageHeader,
    NetworkMember, Nonce, Now, OrgId, PkiId, RemotePeer, SeqNum, Verified, Wakeup, earliest,
    select_peers,
};
use rand_chacha::ChaCha8Rng;

pub use config::NodeConfig;
use gossip_api::Checked;

use channel::Channel;

/// What the node is told.
#[derive(Debug)]
pub enum Input {
    /// Join a channel, or take over its newer configuration.
    Join(ChannelView),
    /// Leave a channel; its state is dropped.
    Leave(ChannelId),
    /// A member is alive, or something about it changed.
    MemberUp(NetworkMember),
    /// A member is dead or unknown from now on.
    MemberDown(PkiId),
    /// A connection to a member is there: what it missed can be told.
    Connected(PkiId),
    /// A message of one of the node's kinds.
    Received {
        /// Over whose connection.
        from: PkiId,
        /// The message, vouched for.
        message: Verified<Message>,
    },
    /// Answer to [`Action::Sign`].
    Signed(Verified<Message>),
    /// Answer to [`Action::Recheck`]: those that still hold.
    Rechecked {
        /// The channel.
        channel: ChannelId,
        /// State infos.
        held: Vec<Verified<Message>>,
    },
    /// Our ledger's height in a channel.
    Height {
        /// The channel.
        channel: ChannelId,
        /// The height.
        height: Height,
    },
    /// A block passed verification: others may lack it.
    Accepted {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        via: Via,
    },
    /// Answer to [`Action::Read`]; nothing if the ledger does not hold the block.
    Read {
        /// The channel.
        channel: ChannelId,
        /// Who asked for it, and under which nonce.
        to: PkiId,
        /// Of the pull.
        nonce: Nonce,
        /// The block.
        block: Option<Block>,
    },
    /// We live under a newer epoch: what we say of ourselves is said again.
    EpochRaised(Epoch),
    /// A deadline passed.
    Tick,
}

/// What the node wants done.
#[derive(Debug)]
pub enum Action {
    /// Send, in the bytes given.
    Send {
        /// To whom.
        to: RemotePeer,
        /// What; kinds vouched for by the connection are wrapped unsigned.
        message: Outgoing,
    },
    /// Sign a message of ours; answered by [`Input::Signed`].
    Sign(Message),
    /// Check state infos again under the channel's new configuration; answered by [`Input::Rechecked`].
    ///
    /// Until then their authors are not peers of the channel.
    Recheck {
        /// The channel.
        channel: ChannelId,
        /// What was believed under the old one.
        infos: Vec<Verified<Message>>,
    },
    /// A block came in, not verified.
    Offer {
        /// The channel.
        channel: ChannelId,
        /// The block.
        block: Block,
        /// How it came.
        via: Via,
    },
    /// A peer of the channel states a height.
    PeerHeight {
        /// The channel.
        channel: ChannelId,
        /// Who.
        peer: RemotePeer,
        /// What it states.
        height: Height,
        /// Whether it is of our organisation.
        own_org: bool,
    },
    /// A peer is no longer one of the channel.
    PeerGone {
        /// The channel.
        channel: ChannelId,
        /// Who.
        peer: PkiId,
    },
    /// Read a block from the ledger, to serve a pull; answered by [`Input::Read`].
    Read {
        /// The channel.
        channel: ChannelId,
        /// Which block.
        number: SeqNum,
        /// For whom.
        to: PkiId,
        /// Of the pull.
        nonce: Nonce,
    },
    /// A message was not acted upon.
    Drop {
        /// Who sent it.
        from: PkiId,
        /// Why; a label for counters.
        reason: &'static str,
    },
}

/// A message on its way out: ours to encode, or another's to relay as it came.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// Vouched for by our connection.
    Plain(Message),
    /// Signed by its originator, in its own bytes.
    Signed(Verified<Message>),
}

impl Outgoing {
    fn message(&self) -> &Message {
        match self {
            Self::Plain(message) => message,
            Self::Signed(verified) => verified.message(),
        }
    }
}

/// How a block came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// From our own source, or from the host.
    Source,
    /// Pushed by a peer.
    Push(PkiId),
    /// Asked for in a pull.
    Pull(PkiId),
    /// Part of a range that the state transfer asked for.
    Range(PkiId),
}

/// What the node has to know of a channel's configuration.
#[derive(Clone, Debug)]
pub struct ChannelView {
    /// Its name.
    pub channel: ChannelId,
    /// Header hash of its genesis block: the key of its tags.
    pub genesis: BlockHash,
    /// Its member organisations.
    pub orgs: BTreeSet<OrgId>,
    /// Sequence of the configuration; a smaller one than the last is ignored.
    pub sequence: u64,
    /// Our ledger's height.
    pub height: Height,
}

/// What others may want to know of a channel.
#[derive(Clone, Debug)]
pub struct ChannelPeer {
    /// The peer, with the height it states.
    pub member: NetworkMember,
    /// Whether it is of our organisation.
    pub own_org: bool,
}

/// The machine.
#[derive(Debug)]
pub struct Node {
    me: Me,
    config: Checked<NodeConfig>,
    rng: ChaCha8Rng,
    members: BTreeMap<PkiId, NetworkMember>,
    channels: BTreeMap<ChannelId, Channel>,
}

/// Who we are.
#[derive(Clone, Debug)]
pub struct Me {
    /// Our fingerprint.
    pub pki_id: PkiId,
    /// Our organisation.
    pub org: OrgId,
    /// Which life of ours.
    pub epoch: Epoch,
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
            Input::Rechecked { channel, held } => self.on_rechecked(&channel, held),
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
        Self { me, config, rng, members: BTreeMap::new(), channels: BTreeMap::new() }
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

    /// The channels joined.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelId> {
        self.channels.keys()
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
        let own = channel.announcement(&self.me);
        self.channels.insert(name, channel);
        vec![Action::Sign(Message::StateInfo(own))]
    }

    /// Takes over a newer configuration. Nobody is a peer of the channel until it is known to be one still.
    // fabric: gossip/gossip/channel/channel.go ConfigureChannel
    fn reconfigure(&mut self, name: &ChannelId, view: ChannelView) -> Vec<Action> {
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        if !channel.reconfigure(view) {
            return Vec::new();
        }
        let infos = channel.take_infos();
        let gone = infos.iter().map(Verified::author);
        let mut actions: Vec<Action> =
            gone.map(|peer| Action::PeerGone { channel: name.clone(), peer }).collect();
        actions.push(Action::Recheck { channel: name.clone(), infos });
        actions
    }

    fn on_rechecked(&mut self, name: &ChannelId, held: Vec<Verified<Message>>) -> Vec<Action> {
        held.into_iter().flat_map(|info| self.admit_info(name, info)).collect()
    }

    fn on_leave(&mut self, channel: &ChannelId) -> Vec<Action> {
        match self.channels.get_mut(channel) {
            Some(state) => {
                let info = state.farewell(&self.me);
                vec![Action::Sign(Message::StateInfo(info))]
            }
            None => Vec::new(),
        }
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

    /// Tells a peer who is in a channel, ourselves included.
    fn tell_infos(&self, name: &ChannelId, peer: PkiId) -> Vec<Action> {
        let Some(channel) = self.channels.get(name) else { return Vec::new() };
        channel
            .announcements()
            .filter_map(|info| self.send(name, peer, Outgoing::Signed(info.clone())))
            .collect()
    }

    // fabric: gossip/gossip/channel/channel.go handleStateInfoPullRequest
    fn on_info_pull(&mut self, from: PkiId, message: &Verified<Message>) -> Vec<Action> {
        match self.channel_of(&from, &message.message().header()) {
            Some(name) => self.tell_infos(&name, from),
            None => vec![Action::Drop { from, reason: "channel" }],
        }
    }

    /// Asks members that have not announced themselves in a channel, less and less often: what they said
    /// when we met may have come before we knew them.
    // fabric: gossip/gossip/channel/channel.go requestStateInfo
    fn ask_silent(&mut self, now: Now, name: &ChannelId) -> Vec<Action> {
        let members: Vec<PkiId> = self
            .members
            .values()
            .filter(|member| {
                let org = member.org.as_ref();
                let channel = self.channels.get(name);
                org.zip(channel).is_some_and(|(org, channel)| channel.is_member_org(org))
            })
            .map(|member| member.pki_id)
            .collect();
        let Some(channel) = self.channels.get_mut(name) else { return Vec::new() };
        let tag = channel.tag_of(&self.me.pki_id);
        let due = channel.silent_due(now, &members);
        due.into_iter()
            .filter_map(|peer| {
                let request = gossip_api::message::StateInfoPullRequest { tag };
                self.send(name, peer, Outgoing::Plain(Message::StateInfoPullRequest(request)))
            })
            .collect()
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
            | Message::PrivateDataResponse(_) => vec![Action::Drop { from, reason: "kind" }],
        }
    }

    fn on_state_info(&mut self, from: PkiId, message: Verified<Message>) -> Vec<Action> {
        let Some(name) = self.channel_of(&from, &message.message().header()) else {
            return vec![Action::Drop { from, reason: "channel" }];
        };
        let mut actions = self.admit_info(&name, message.clone());
        if actions.is_empty() {
            return vec![Action::Drop { from, reason: "stale or of no member" }];
        }
        actions.extend(self.relay_state_info(&name, from, &message));
        actions
    }

    /// Keeps a state info that its channel accepts; nothing happens if it is old, or of no member.
    fn admit_info(&mut self, name: &ChannelId, message: Verified<Message>) -> Vec<Action> {
        let Message::StateInfo(info) = message.message().clone() else { return Vec::new() };
        let member = self.members.get(&info.pki_id);
        let (Some(member), Some(channel)) = (member, self.channels.get_mut(name)) else {
            return Vec::new();
        };
        let Some(org) = member.org.as_ref().filter(|org| channel.is_member_org(org)) else {
            return Vec::new();
        };
        let (own_org, peer) = (*org == self.me.org, member.remote());
        if !channel.learn(message) {
            return Vec::new();
        }
        let channel = name.clone();
        vec![if info.left_channel {
            Action::PeerGone { channel, peer: info.pki_id }
        } else {
            Action::PeerHeight { channel, peer, height: info.height, own_org }
        }]
    }

    /// Passes a new state info on to a few peers that may not have it.
    fn relay_state_info(
        &mut self,
        name: &ChannelId,
        from: PkiId,
        message: &Verified<Message>,
    ) -> Vec<Action> {
        let author = message.author();
        let pool: Vec<PkiId> = self.own_org_members(name);
        let fan_out = self.config.push_peers;
        select_peers(&mut self.rng, fan_out, &pool, |peer| *peer != from && *peer != author)
            .into_iter()
            .filter_map(|peer| self.send(name, peer, Outgoing::Signed(message.clone())))
            .collect()
    }

    fn on_signed(&mut self, message: Verified<Message>) -> Vec<Action> {
        let Message::StateInfo(info) = message.message() else { return Vec::new() };
        let left = info.left_channel;
        let tag = info.tag;
        let own = self.me.pki_id;
        let found = self.channels.iter_mut().find(|(_, channel)| channel.tag_of(&own) == tag);
        let Some((name, channel)) = found else { return Vec::new() };
        channel.learn(message.clone());
        let name = name.clone();
        let everybody: Vec<PkiId> = self.members.keys().copied().collect();
        let actions = everybody
            .into_iter()
            .filter_map(|peer| self.send(&name, peer, Outgoing::Signed(message.clone())))
            .collect();
        if left {
            self.channels.remove(&name);
        }
        actions
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

    fn on_epoch_raised(&mut self, epoch: Epoch) -> Vec<Action> {
        self.me.epoch = epoch;
        let me = self.me.clone();
        let announce =
            |channel: &mut Channel| Action::Sign(Message::StateInfo(channel.announcement(&me)));
        self.channels.values_mut().map(announce).collect()
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

//! A whole peer as one machine: discovery, the node, and per channel a state transfer, its server and an
//! election.
//!
//! The peer routes: what one child wants of another, or of the outside, passes through here and nowhere
//! else. It reads no child's fields; it lifts their actions.
//!
//! ```text
//!   comm events, answers ---> Peer ---> commands, Verify, Sign, Commit, Read, deliveries
//!                              |
//!        Discovery    Node    { StateTransfer  Server  Election } per channel
//! ```

mod blocks;
mod channels;
mod host;
mod lead;
mod lift;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use gossip_api::message::{MessageHeader, Share};
use gossip_api::{
    Admit, BlockCodec, ChannelId, Checked, ConfigError, Envelope, Height, Machine, Message,
    NetworkMember, Now, PkiId, SeqNum, SignedMessage, Wakeup, earliest,
};
use gossip_comm::{Command, RequestId};
use gossip_discovery::{Discovery, DiscoveryConfig};
use gossip_election::ElectionConfig;
use gossip_state::{ServeConfig, StateConfig, Stats};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use crate::node::{self, ChannelPeer, Node, NodeConfig};
use blocks::shown_block;
pub use channels::ChannelStatus;
use channels::PeerChannel;
pub use words::{Action, Input, JoinRequest, PeerSelf, ReadPurpose};

/// Every child's configuration.
#[derive(Clone, Debug)]
pub struct PeerConfig {
    /// Membership.
    pub discovery: Checked<DiscoveryConfig>,
    /// Spreading.
    pub node: Checked<NodeConfig>,
    /// Catching up.
    pub state: Checked<StateConfig>,
    /// Helping others to catch up.
    pub serve: Checked<ServeConfig>,
    /// Leadership.
    pub election: Checked<ElectionConfig>,
}

impl PeerConfig {
    /// The defaults of every machine; the peers of an organisation elect who leads.
    ///
    /// # Errors
    /// Never, as long as the defaults do not contradict themselves.
    pub fn new() -> Result<Self, ConfigError> {
        Ok(Self {
            discovery: DiscoveryConfig::default().checked()?,
            node: NodeConfig::default().checked()?,
            state: StateConfig::default().checked()?,
            serve: ServeConfig::default().checked()?,
            election: ElectionConfig::dynamic().checked()?,
        })
    }
}

/// The machine.
pub struct Peer {
    me: PeerSelf,
    config: PeerConfig,
    codec: Arc<dyn BlockCodec>,
    rng: ChaCha8Rng,
    discovery: Discovery,
    node: Node,
    channels: BTreeMap<ChannelId, PeerChannel>,
    connected: BTreeSet<PkiId>,
    /// Those of them that dialled us.
    inbound: BTreeSet<PkiId>,
    /// Our open questions: which channel's state transfer asked, and under which of its own numbers.
    requests: BTreeMap<RequestId, (ChannelId, u64)>,
    next_request: u64,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("me", &self.me.pki_id).finish_non_exhaustive()
    }
}

impl Machine for Peer {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match input {
            Input::Connect(endpoint) => {
                self.tell_discovery(now, gossip_discovery::Input::Connect { endpoint })
            }
            Input::Unname(endpoint) => {
                self.tell_discovery(now, gossip_discovery::Input::Unname { endpoint })
            }
            Input::Connected(connected) => self.on_connected(now, connected),
            Input::Disconnected(peer) => self.on_disconnected(now, peer),
            Input::DialFailed(endpoint) => {
                self.tell_discovery(now, gossip_discovery::Input::DialFailed { endpoint })
            }
            Input::Received { from, message } => self.on_received(now, from, message),
            Input::ShareProved { from, share } => {
                self.tell_node(now, node::Input::ShareProved { from, share })
            }
            Input::ShareFalse { from } => self.tell_node(now, node::Input::ShareFalse { from }),
            Input::Encoded { channel, number, coded } => {
                self.tell_node(now, node::Input::Encoded { channel, number, coded })
            }
            Input::Decoded { channel, number, root, block } => {
                self.tell_node(now, node::Input::Decoded { channel, number, root, block })
            }
            Input::Asked { from, inbound, message } => self.on_asked(now, from, inbound, message),
            Input::AskedInVain(inbound) => {
                vec![Action::Comm(Command::EndResponse { to: inbound })]
            }
            Input::Answered { from, request, message } => {
                self.on_answered(now, from, request, message)
            }
            Input::AnswerEnded { request, outcome } => self.on_answer_ended(now, request, outcome),
            Input::Signed(message) => self.on_signed(now, message),
            Input::MemberChecked { from, member } => self.on_member_checked(now, from, member),
            Input::EpochRaised(epoch) => self.on_epoch_raised(now, epoch),
            Input::Join(request) => self.on_join(now, request),
            Input::Leave(channel) => self.on_leave(now, &channel),
            Input::Reconfigured(view) => self.tell_node(now, node::Input::Join(view)),
            Input::Rechecked { channel, sequence, held } => {
                self.tell_node(now, node::Input::Rechecked { channel, sequence, held })
            }
            Input::Expelled(peer) => {
                self.tell_discovery(now, gossip_discovery::Input::Expelled { peer })
            }
            Input::FromHost { channel, block } => {
                self.offer(now, &channel, block, gossip_state::BlockOrigin::Local)
            }
            Input::LedgerMoved { channel, height } => self.on_ledger_moved(now, &channel, height),
            Input::FromSource { channel, block } => self.on_source_block(now, &channel, block),
            Input::SourceFailed(channel) => {
                self.tell_election(now, &channel, gossip_election::Input::Yield)
            }
            Input::Probed { channel, newest } => self.on_probed(now, &channel, newest),
            Input::HeaderJudged { channel, number, origin, then, now: presently } => {
                let judged = gossip_state::Input::Judged { number, origin, then, now: presently };
                self.tell_state(now, &channel, judged)
            }
            Input::BlockChecked { channel, block, origin, verdict } => {
                self.on_block_checked(now, &channel, block, origin, verdict)
            }
            Input::HeaderChecked { channel, sequence, from, header, verdict } => {
                let input = node::Input::HeaderChecked { channel, sequence, from, header, verdict };
                self.tell_node(now, input)
            }
            Input::Committed { channel, outcome } => self.on_committed(now, &channel, outcome),
            Input::BlockRead { channel, purpose, block } => {
                self.on_block_read(now, &channel, purpose, block)
            }
            Input::BlockDamaged { channel, number, hash } => {
                self.tell_state(now, &channel, gossip_state::Input::Damaged { number, hash })
            }
            Input::BlockMended { channel, number, done } => {
                self.tell_state(now, &channel, gossip_state::Input::Mended { number, done })
            }
            Input::LedgerFell { channel, height } => self.on_ledger_fell(now, &channel, height),
            Input::TermStored(channel) => self.on_term_stored(now, &channel),
            Input::Resume { channel, accept } => {
                self.tell_state(now, &channel, gossip_state::Input::Resume { accept })
            }
            Input::Stopping => self.on_stopping(now),
            Input::UpdateMetadata(metadata) => {
                self.tell_discovery(now, gossip_discovery::Input::UpdateMetadata(metadata))
            }
            Input::Tick => self.on_tick(now),
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        let children = [self.discovery.next_wakeup(), self.node.next_wakeup()];
        let channels = self.channels.values().map(PeerChannel::next_wakeup);
        earliest(children.into_iter().chain(channels))
    }
}

impl Peer {
    /// A peer without channels and without members.
    pub fn new(
        me: PeerSelf,
        config: PeerConfig,
        codec: Arc<dyn BlockCodec>,
        mut rng: ChaCha8Rng,
        now: Now,
    ) -> Self {
        let discovery = Discovery::new(
            config.discovery.clone(),
            gossip_discovery::Me {
                pki_id: me.pki_id,
                identity: me.identity.clone(),
                org: me.org.clone(),
                epoch: me.epoch,
                external_endpoint: me.external_endpoint.clone(),
                internal_endpoint: me.internal_endpoint.clone(),
                metadata: me.metadata.clone(),
            },
            ChaCha8Rng::from_rng(&mut rng),
            now,
        );
        let node_me = node::Me {
            pki_id: me.pki_id,
            org: me.org.clone(),
            is_external: me.external_endpoint.is_some(),
            epoch: me.epoch,
        };
        let lease_needed = matches!(config.election.mode, gossip_election::Mode::Dynamic);
        let node = Node::new(node_me, config.node.clone(), ChaCha8Rng::from_rng(&mut rng))
            .with_leases(lease_needed);
        Self {
            me,
            config,
            codec,
            rng,
            discovery,
            node,
            channels: BTreeMap::new(),
            connected: BTreeSet::new(),
            inbound: BTreeSet::new(),
            requests: BTreeMap::new(),
            next_request: 0,
        }
    }

    /// Whether a message is worth verifying. Asked before any cryptography, of the header alone.
    pub fn admit(&self, now: Now, from: &PkiId, header: &MessageHeader) -> Admit {
        use gossip_api::message::Kind;
        match header.kind {
            Kind::Record
            | Kind::Beats
            | Kind::MembershipRequest
            | Kind::MembershipResponse
            | Kind::Probe
            | Kind::ProofOfLife => self.discovery.admit(now, from, header),
            Kind::Data | Kind::Update => match self.node.admit(now, from, header) {
                Admit::Accept => self.admit_block(header),
                refused @ Admit::Drop(_) => refused,
            },
            Kind::Plan => match self.node.admit(now, from, header) {
                Admit::Accept => self.admit_plan(header),
                refused @ Admit::Drop(_) => refused,
            },
            Kind::StateResponse => self.admit_block(header),
            Kind::StateInfo
            | Kind::StateInfoPullRequest
            | Kind::Leadership
            | Kind::Hello
            | Kind::Digest
            | Kind::Request
            | Kind::StateRequest
            | Kind::Header
            | Kind::HeaderNote
            | Kind::BlockNote
            | Kind::ShareCommitment
            | Kind::Share
            | Kind::ShareReport => self.node.admit(now, from, header),
            Kind::PrivateData | Kind::PrivateDataRequest | Kind::PrivateDataResponse => {
                self.admit_private(from, header)
            }
            Kind::Acknowledgement => Admit::Accept,
            Kind::StateInfoSnapshot | Kind::PeerIdentities => Admit::Drop("kind"),
        }
    }

    /// Whether a message shows a header that contradicts one that we believe in: worth a look even where
    /// nothing else about it is wanted.
    pub fn is_evidence(&self, from: &PkiId, message: &Message) -> bool {
        let Some((name, block)) = shown_block(message) else { return false };
        let channel = self.channels.get(name);
        channel.is_some_and(|channel| channel.state.is_conflict(block))
            && self.node.is_entitled(name, from)
    }

    /// Whether a share is worth proving: asked after [`admit`](Self::admit), before anything is hashed.
    pub fn admit_share(&self, from: &PkiId, share: &Share) -> Admit {
        self.node.admit_share(from, share)
    }

    /// Whether the signature of a commitment to shares is worth checking.
    pub fn admit_commitment(&self, message: &SignedMessage) -> Admit {
        self.node.admit_commitment(message)
    }

    fn admit_block(&self, header: &MessageHeader) -> Admit {
        let Some(gossip_api::message::ChannelRef::Name(name)) = &header.channel else {
            return Admit::Drop("channel");
        };
        match self.channels.get(name) {
            Some(channel) if channel.wants(SeqNum::new(header.sequence)) => Admit::Accept,
            Some(_) => Admit::Drop("not wanted"),
            None => Admit::Drop("channel"),
        }
    }

    /// A plan is wanted for its block, or because others wait for their part of it.
    fn admit_plan(&self, header: &MessageHeader) -> Admit {
        let number = SeqNum::new(header.sequence);
        match (self.admit_block(header), &header.channel) {
            (Admit::Drop("not wanted"), Some(gossip_api::message::ChannelRef::Name(name)))
                if self.node.awaits_plan(name, number) =>
            {
                Admit::Accept
            }
            (judged, _) => judged,
        }
    }

    /// The channel that a message is about, where we are in it.
    pub fn channel_of(&self, from: &PkiId, message: &Message) -> Option<ChannelId> {
        self.node.channel_of(from, &message.header())
    }

    /// The sequence of the configuration by which a channel is judged now.
    pub fn config_sequence(&self, channel: &ChannelId) -> Option<u64> {
        self.node.config_sequence(channel)
    }

    /// Alive members of the whole network, never ourselves.
    pub fn members(&self) -> Vec<NetworkMember> {
        self.discovery.members()
    }

    /// Alive members that announced themselves in a channel.
    pub fn peers_of_channel(&self, channel: &ChannelId) -> Vec<ChannelPeer> {
        self.node.peers_of_channel(channel)
    }

    /// Who is connected.
    pub fn connected(&self) -> impl Iterator<Item = &PkiId> {
        self.connected.iter()
    }

    /// How many of those connected dialled us.
    pub fn dialled_us(&self) -> usize {
        self.inbound.len()
    }

    /// How many peers are connected.
    pub fn connections(&self) -> usize {
        self.connected.len()
    }

    /// How each channel stands.
    pub fn channel_statuses(&self, now: Now) -> Vec<ChannelStatus> {
        self.channels
            .iter()
            .map(|(name, channel)| {
                channel.status(now, name.clone(), self.node.peers_of_channel(name))
            })
            .collect()
    }

    /// Numbers of the membership of the whole network.
    pub fn member_stats(&self) -> gossip_discovery::Stats {
        self.discovery.stats()
    }

    /// Numbers of each channel: state transfer, and peers known.
    pub fn channel_stats(&self) -> impl Iterator<Item = (ChannelId, Stats, usize)> + '_ {
        self.channels.iter().map(|(name, channel)| {
            let peers = self.node.peers_of_channel(name).len();
            (name.clone(), channel.state.stats(), peers)
        })
    }

    /// Whether the channel has room for more blocks of its source.
    pub fn has_room(&self, channel: &ChannelId) -> bool {
        self.channels.get(channel).is_some_and(PeerChannel::has_room)
    }

    /// The block that a channel misses first.
    pub fn next_missing(&self, channel: &ChannelId) -> SeqNum {
        self.channels.get(channel).map_or(SeqNum::new(0), PeerChannel::next_missing)
    }

    /// The height of a channel's ledger as the peer knows it.
    pub fn height(&self, channel: &ChannelId) -> Option<Height> {
        self.channels.get(channel).map(PeerChannel::height)
    }

    fn send(to: gossip_api::RemotePeer, message: &Message) -> Action {
        Action::Comm(Command::Send { to, envelope: Envelope::unsigned(message) })
    }
}

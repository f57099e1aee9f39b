//! The interfaces of the core and of the whole service, as Fabric 1.0 has them.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::channel::JoinChannelMessage;
use crate::criteria::{
    Acks, Handed, PeerIdentitySet, RoutingFilter, SendCriteria, SubChannelSelectionCriteria,
};
use crate::error::LedgerError;
use crate::id::{ChannelId, Height, PkiId, SeqNum};
use crate::identity::PeerIdentity;
use crate::ledger::Block;
use crate::member::{NetworkMember, RemotePeer};
use crate::message::Message;
use crate::verify::Verified;

/// A stream of messages a subscriber asked for; ends when the service stops.
pub type Accepted = Pin<Box<dyn Stream<Item = (PkiId, Message)> + Send>>;

/// A stream of messages that the core leaves to the host; ends when the service stops.
pub type PassedThrough = Pin<Box<dyn Stream<Item = Handed> + Send>>;

/// Which messages a subscriber wants.
pub type Predicate = Arc<dyn Fn(&Message) -> bool + Send + Sync>;

/// Tells which identities might have lost their validity, so that they are looked at again.
// fabric: gossip/api/channel.go PeerSuspector
pub type PeerSuspector = Arc<dyn Fn(&PeerIdentity) -> bool + Send + Sync>;

/// Why the service did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GossipError {
    /// The channel is not joined here.
    #[error("channel {0} is not joined")]
    NoSuchChannel(ChannelId),
    /// The service is stopping or has stopped.
    #[error("the gossip service has stopped")]
    Stopped,
    /// Too many requests wait already; try again later.
    #[error("the gossip service is overloaded: {0}")]
    Overloaded(&'static str),
    /// The ledger refused.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Our own organisation is not in the channel.
    #[error("our organisation is not a member of channel {0}")]
    NotAMember(ChannelId),
    /// Messages of this kind are the core's own, or go to single peers: the host cannot spread them.
    #[error("a message of kind {0} is not the host's to spread")]
    NotSpread(&'static str),
    /// Messages of this kind are never acknowledged.
    #[error("a message of kind {0} is not acknowledged by anybody")]
    NotAcknowledged(&'static str),
    /// The criteria contradict themselves, or too few peers meet them.
    #[error("cannot be sent to enough peers: {0}")]
    Criteria(String),
    /// It was sent, and too few peers acknowledged it in time.
    #[error("acknowledged by too few: {0}")]
    TooFewAcks(Acks),
    /// The height told is above what the ledger holds: others would ask for blocks that are not there.
    #[error("the ledger of channel {channel} holds {held} blocks, not {told}")]
    AboveLedger {
        /// The channel.
        channel: ChannelId,
        /// What the host told.
        told: Height,
        /// What the ledger holds.
        held: Height,
    },
}

/// The core: membership, channels, spreading.
// fabric: gossip/gossip/gossip.go Gossip
#[async_trait]
pub trait Gossip: Send + Sync {
    /// Sends to each peer, without acknowledgement, best effort.
    ///
    /// # Errors
    /// If the service has stopped or its queue is full.
    async fn send(&self, message: Message, peers: Vec<RemotePeer>) -> Result<(), GossipError>;

    /// Alive members of the whole network, never ourselves.
    async fn peers(&self) -> Vec<NetworkMember>;

    /// Alive members that announced themselves in the channel; none for an unknown channel.
    async fn peers_of_channel(&self, channel: &ChannelId) -> Vec<NetworkMember>;

    /// Replaces the metadata in our record.
    ///
    /// # Errors
    /// If the service has stopped.
    async fn update_metadata(&self, metadata: Bytes) -> Result<(), GossipError>;

    /// Tells that the host moved the channel's ledger itself: all that Fabric 1.0's channel metadata held.
    ///
    /// Nobody has to tell what the service commits. Blocks below the height are no longer asked for.
    ///
    /// # Errors
    /// If the channel is not joined, or its ledger is not that high.
    // fabric: gossip/gossip/gossip.go UpdateChannelMetadata, UpdateLedgerHeight
    async fn update_ledger_height(
        &self,
        channel: &ChannelId,
        height: Height,
    ) -> Result<(), GossipError>;

    /// Spreads a block to those entitled to it, once it is found valid here.
    ///
    /// # Errors
    /// If its channel is not joined, its kind is not the host's to spread, or the service has stopped.
    async fn gossip(&self, message: Message) -> Result<(), GossipError>;

    /// Subscribes to messages that the core has verified and acted upon and that `wanted` picks: blocks
    /// when they are first found valid, leadership, state infos.
    ///
    /// In force when it returns. A subscriber that does not read loses the oldest messages; it delays
    /// nobody.
    // fabric: gossip/gossip/gossip.go Accept
    async fn accept(&self, wanted: Predicate) -> Accepted;

    /// Subscribes to messages that the core does nothing with: private data, questions for it and
    /// answers, from peers of the channel that they are about. Each can be answered and acknowledged.
    ///
    /// As [`accept`](Self::accept) otherwise.
    async fn accept_passed_through(&self, wanted: Predicate) -> PassedThrough;

    /// Takes over a newer configuration of a channel, and connects to its anchor peers.
    ///
    /// The first join of a channel takes a ledger: the host's service has a method of its own for it.
    /// A configuration with a smaller sequence than the one in force, or without members, changes nothing.
    ///
    /// # Errors
    /// If the channel is not joined, or our organisation is not a member of it.
    async fn join_chan(&self, config: Arc<dyn JoinChannelMessage>) -> Result<(), GossipError>;

    /// Tells the channel that we leave it, and leaves.
    ///
    /// # Errors
    /// If the channel is not joined.
    async fn leave_chan(&self, channel: &ChannelId) -> Result<(), GossipError>;

    /// Validates again every identity that `suspect` flags; cuts off those that fail.
    async fn suspect_peers(&self, suspect: PeerSuspector);

    /// Sends to up to `max_peers` random peers that meet the criteria, under a nonce of its own, and waits
    /// until `min_ack` of them have acknowledged it or the time is over.
    ///
    /// # Errors
    /// If the kind is never acknowledged, fewer than `min_ack` peers meet the criteria, or too few of
    /// them acknowledge.
    // fabric: gossip/gossip/gossip.go SendByCriteria
    async fn send_by_criteria(
        &self,
        message: Message,
        criteria: SendCriteria,
    ) -> Result<Acks, GossipError>;

    /// A filter that takes the members whose signed state info of the channel `criteria` accepts, as
    /// known now.
    ///
    /// # Errors
    /// If the channel is not joined.
    // fabric: gossip/gossip/gossip.go PeerFilter
    async fn peer_filter(
        &self,
        channel: &ChannelId,
        criteria: SubChannelSelectionCriteria,
    ) -> Result<RoutingFilter, GossipError>;

    /// Ourselves as others outside our organisation see us: without the internal endpoint. Nothing once
    /// the service has stopped.
    // fabric: gossip/gossip/gossip.go SelfMembershipInfo
    async fn self_membership_info(&self) -> Option<NetworkMember>;

    /// Our newest state info in the channel; nothing if it is not joined, or not signed yet.
    // fabric: gossip/gossip/gossip.go SelfChannelInfo
    async fn self_channel_info(&self, channel: &ChannelId) -> Option<Verified<Message>>;

    /// Every identity known, with its organisation.
    // fabric: gossip/gossip/gossip.go IdentityInfo
    fn identity_info(&self) -> PeerIdentitySet;

    /// Whether the member's identity is known and of our organisation.
    // fabric: gossip/gossip/gossip.go IsInMyOrg
    fn is_in_my_org(&self, member: &NetworkMember) -> bool;

    /// Stops: nothing is sent afterwards, no task is left. Idempotent.
    async fn stop(&self);
}

/// The whole service: the core, and per channel a ledger, a source of blocks and a leader.
// fabric: gossip/service/gossip_service.go GossipService
#[async_trait]
pub trait GossipService: Gossip {
    /// Block `number` of the channel's ledger, or nothing if it is not that high.
    ///
    /// # Errors
    /// If the channel is not joined or its ledger cannot be read.
    async fn block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
    ) -> Result<Option<Block>, GossipError>;

    /// Hands over a block that the host trusts; it is committed in its turn and spread.
    ///
    /// Waits while the channel's buffer is full.
    ///
    /// # Errors
    /// If the channel is not joined or the service stops meanwhile.
    async fn add_payload(&self, channel: &ChannelId, block: Block) -> Result<(), GossipError>;

    /// Takes over a newer configuration of a channel, as [`Gossip::join_chan`]. If our organisation is no
    /// member any more, that is logged as an error, and the channel exchanges nothing from then on.
    ///
    /// # Errors
    /// If the channel is not joined, or the service has stopped.
    // fabric: gossip/service/gossip_service.go configUpdated
    async fn config_updated(&self, config: Arc<dyn JoinChannelMessage>) -> Result<(), GossipError>;

    /// Whether our organisation is a member of the channel under this configuration.
    // fabric: gossip/service/gossip_service.go amIinChannel
    fn am_i_in_channel(&self, config: &dyn JoinChannelMessage) -> bool;
}

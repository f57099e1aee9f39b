//! The interfaces of the core and of the whole service, as Fabric 1.0 has them.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::channel::JoinChannelMessage;
use crate::error::LedgerError;
use crate::id::{ChannelId, Height, PkiId, SeqNum};
use crate::identity::PeerIdentity;
use crate::ledger::Block;
use crate::member::{NetworkMember, RemotePeer};
use crate::message::Message;

/// A stream of messages a subscriber asked for; ends when the service stops.
pub type Accepted = Pin<Box<dyn Stream<Item = (PkiId, Message)> + Send>>;

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

    /// Tells the channel our ledger's height: all that Fabric 1.0's channel metadata held.
    ///
    /// # Errors
    /// If the channel is not joined.
    // fabric: gossip/gossip/gossip.go UpdateChannelMetadata, UpdateLedgerHeight
    async fn update_ledger_height(
        &self,
        channel: &ChannelId,
        height: Height,
    ) -> Result<(), GossipError>;

    /// Spreads a message to those entitled to it.
    ///
    /// # Errors
    /// If its channel is not joined, or the service has stopped.
    async fn gossip(&self, message: Message) -> Result<(), GossipError>;

    /// Subscribes to verified messages that `wanted` picks.
    ///
    /// A subscriber that does not read loses the oldest messages; it delays nobody.
    async fn accept(&self, wanted: Predicate) -> Accepted;

    /// Joins the channel, or takes over its newer configuration.
    ///
    /// # Errors
    /// If the service has stopped.
    async fn join_chan(&self, config: Arc<dyn JoinChannelMessage>) -> Result<(), GossipError>;

    /// Tells the channel that we leave it, and leaves.
    ///
    /// # Errors
    /// If the channel is not joined.
    async fn leave_chan(&self, channel: &ChannelId) -> Result<(), GossipError>;

    /// Validates again every identity that `suspect` flags; cuts off those that fail.
    async fn suspect_peers(&self, suspect: PeerSuspector);

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
}

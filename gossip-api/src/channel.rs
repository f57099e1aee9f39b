//! What a channel's configuration tells the layer.

use std::sync::Arc;

use crate::id::{ChannelId, OrgId};

/// A channel configuration, already verified by the host, in the layer's terms.
// fabric: gossip/api/channel.go JoinChannelMessage
pub trait JoinChannelMessage: Send + Sync {
    /// Sequence number of the configuration. A smaller one than the last is refused, an equal one accepted.
    fn sequence_number(&self) -> u64;

    /// All organisations of the channel. With none, joining is a no-op with a warning.
    fn members(&self) -> Vec<OrgId>;

    /// Anchor peers of one organisation; may be none.
    fn anchor_peers_of(&self, org: &OrgId) -> Vec<AnchorPeer>;

    /// The channel's name.
    fn channel(&self) -> &ChannelId;
}

/// The host's word to the layer that a channel is to be joined, or has a newer configuration.
// fabric: gossip/api/channel.go ChannelNotifier
pub trait ChannelNotifier: Send + Sync {
    /// Takes over the configuration. Returns at once.
    fn join_channel(&self, config: Arc<dyn JoinChannelMessage>);
}

/// A peer that its organisation names in the channel configuration, for others to connect to.
// fabric: gossip/api/channel.go AnchorPeer
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnchorPeer {
    /// Host name or address. An empty one makes the entry useless; it is skipped with a warning.
    pub host: String,
    /// UDP port; 0 as for an empty host.
    pub port: u16,
}

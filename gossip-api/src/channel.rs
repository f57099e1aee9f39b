//! What a channel's configuration tells the layer.

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

/// A peer that its organisation names in the channel configuration, for others to connect to.
// fabric: gossip/api/channel.go AnchorPeer
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnchorPeer {
    /// Host name or address. An empty one makes the entry useless; it is skipped with a warning.
    pub host: String,
    /// UDP port; 0 as for an empty host.
    pub port: u16,
}

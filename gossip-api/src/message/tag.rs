//! Who may see a message.

/// Fabric's message tags. Ours are not on the wire: each kind has exactly one.
// fabric: gossip/message.proto GossipMessage_Tag
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// Anybody in the network.
    Empty,
    /// Peers of our organisation.
    OrgOnly,
    /// Peers of the channel.
    ChanOnly,
    /// Peers of our organisation that are in the channel.
    ChanAndOrg,
    /// Peers of the channel, or of our organisation.
    ChanOrOrg,
}

impl Tag {
    /// Whether a channel decides about recipients.
    // fabric: gossip/protoext/message.go IsChannelRestricted
    pub const fn is_channel_restricted(self) -> bool {
        matches!(self, Self::ChanOnly | Self::ChanAndOrg | Self::ChanOrOrg)
    }

    /// Whether only our organisation may see it.
    // fabric: gossip/protoext/message.go IsOrgRestricted
    pub const fn is_org_restricted(self) -> bool {
        matches!(self, Self::ChanAndOrg | Self::OrgOnly)
    }
}

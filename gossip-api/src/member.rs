//! The two nouns for another peer.

use bytes::Bytes;

use crate::id::{Endpoint, Height, OrgId, PkiId};

/// Whom to send to: an identity, and where to dial if there is no connection yet.
// fabric: gossip/comm/comm.go RemotePeer
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemotePeer {
    /// Who.
    pub pki_id: PkiId,
    /// Where to dial; nothing if it is to be reached over its own connection only.
    pub endpoint: Option<Endpoint>,
}

/// A member of the network as this peer knows it.
// fabric: gossip/discovery/discovery.go NetworkMember
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkMember {
    /// Who.
    pub pki_id: PkiId,
    /// Its organisation, where its identity is known.
    pub org: Option<OrgId>,
    /// Endpoint told to everyone; nothing hides the peer from other organisations.
    pub endpoint: Option<Endpoint>,
    /// Endpoint told inside the organisation only.
    pub internal_endpoint: Option<Endpoint>,
    /// Opaque to the layer.
    pub metadata: Bytes,
    /// Height it states for the channel asked about; a hint, not a proof.
    pub height: Option<Height>,
}

impl NetworkMember {
    /// The internal endpoint if known, else the external one.
    // fabric: gossip/discovery/discovery.go PreferredEndpoint
    pub fn preferred_endpoint(&self) -> Option<&Endpoint> {
        self.internal_endpoint.as_ref().or(self.endpoint.as_ref())
    }

    /// Address of this member for sending.
    pub fn remote(&self) -> RemotePeer {
        RemotePeer { pki_id: self.pki_id, endpoint: self.preferred_endpoint().cloned() }
    }
}

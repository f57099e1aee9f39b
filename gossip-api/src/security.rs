//! What the layer asks about organisations.

use crate::id::OrgId;
use crate::identity::PeerIdentity;

/// Tells the organisation of an identity.
///
/// Called on every routing decision: implementations cache. Callable concurrently, never blocks.
// fabric: gossip/api/crypto.go SecurityAdvisor
pub trait SecurityAdvisor: Send + Sync {
    /// The organisation of `identity`, or nothing on any error, empty input included.
    ///
    /// Does not validate the identity.
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId>;
}

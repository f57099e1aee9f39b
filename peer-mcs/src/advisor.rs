//! The security advisor: whose peer is it?

use std::sync::Arc;

use gossip_api::{OrgId, PeerIdentity, SecurityAdvisor};

use crate::channels::Channels;
use crate::msp::directory::LocalMsp;

/// Tells organisations by the MSPs of the peer and of the channels it has joined.
#[derive(Debug)]
pub struct Advisor {
    local: Arc<LocalMsp>,
    channels: Arc<Channels>,
}

impl Advisor {
    /// An advisor for the peer whose MSP is `local`.
    pub fn new(local: Arc<LocalMsp>, channels: Arc<Channels>) -> Self {
        Self { local, channels }
    }
}

impl SecurityAdvisor for Advisor {
    // fabric: internal/peer/gossip/sa.go OrgByPeerIdentity
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        if identity.is_empty() {
            return None;
        }
        let bytes = identity.as_bytes();
        let known = match self.local.msp.deserialize(bytes) {
            Ok(known) => known,
            Err(_) => self.channels.find_map(|channel| channel.msps.deserialize(bytes).ok())?,
        };
        OrgId::new(&known.msp).ok()
    }
}

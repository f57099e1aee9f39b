//! Configurations of one channel as they come, and those of them that change something.

use std::collections::BTreeMap;
use std::sync::Arc;

use gossip_api::{AnchorPeer, ChannelId, GossipError, GossipService, JoinChannelMessage, OrgId};

/// Hands a channel's configurations on to the service when members or anchor peers differ from the last.
// fabric: gossip/service/eventer.go configEventer
#[derive(Debug)]
pub struct ConfigEventer<S> {
    service: S,
    channel: ChannelId,
    last: Option<BTreeMap<OrgId, Vec<AnchorPeer>>>,
}

impl<S: GossipService> ConfigEventer<S> {
    /// An eventer that has seen nothing yet.
    // fabric: gossip/service/gossip_service.go NewConfigEventer
    pub fn new(service: S, channel: ChannelId) -> Self {
        Self { service, channel, last: None }
    }

    /// Looks at a configuration; tells whether it was handed on.
    ///
    /// # Errors
    /// If it is of another channel, or the service does not take it.
    // fabric: gossip/service/eventer.go ProcessConfigUpdate
    pub async fn process(
        &mut self,
        config: Arc<dyn JoinChannelMessage>,
    ) -> Result<bool, GossipError> {
        if *config.channel() != self.channel {
            return Err(GossipError::NoSuchChannel(config.channel().clone()));
        }
        let orgs = config.members().into_iter().map(|org| {
            let mut anchors = config.anchor_peers_of(&org);
            anchors.sort();
            (org, anchors)
        });
        let orgs = orgs.collect();
        if self.last.as_ref() == Some(&orgs) {
            return Ok(false);
        }
        self.service.config_updated(config).await?;
        self.last = Some(orgs);
        Ok(true)
    }
}

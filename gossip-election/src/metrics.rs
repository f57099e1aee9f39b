//! What dashboards see, under Fabric's names.

use gossip_api::ChannelId;
use prometheus::{IntGaugeVec, Opts, Registry};

/// Whether this peer leads, per channel.
// fabric: gossip/metrics/metrics.go ElectionMetrics
#[derive(Clone, Debug)]
pub struct ElectionMetrics {
    leader: IntGaugeVec,
}

impl ElectionMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let leader = IntGaugeVec::new(
            Opts::new("gossip_leader_election_leader", "Peer is leader (1) or follower (0)"),
            &["channel"],
        )?;
        registry.register(Box::new(leader.clone()))?;
        Ok(Self { leader })
    }

    /// Sets whether this peer leads in `channel`.
    // fabric: gossip/election/adapter.go ReportMetrics
    pub fn leader(&self, channel: &ChannelId, is_leader: bool) {
        self.leader.with_label_values(&[channel.as_str()]).set(i64::from(is_leader));
    }
}

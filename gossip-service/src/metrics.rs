//! What the service counts, under Fabric's names where Fabric has one.

use std::time::Duration;

use gossip_api::ChannelId;
use gossip_election::ElectionMetrics;
use gossip_state::{StateMetrics, Stats};
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The service's own metrics, and those of its machines.
#[derive(Debug, Clone)]
pub(crate) struct ServiceMetrics {
    state: StateMetrics,
    election: ElectionMetrics,
    discovery: gossip_discovery::Metrics,
    total_peers_known: IntGaugeVec,
    dropped: IntCounterVec,
    blocks_refused: IntCounterVec,
    unread: IntCounter,
    conflicts: IntCounterVec,
    convicted: IntCounterVec,
    chosen: IntCounterVec,
}

impl ServiceMetrics {
    /// Registers everything with `registry`.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            state: StateMetrics::new(registry)?,
            election: ElectionMetrics::new(registry)?,
            discovery: gossip_discovery::Metrics::new(registry)?,
            total_peers_known: IntGaugeVec::new(
                Opts::new(
                    "gossip_membership_total_peers_known",
                    "Alive peers that announced themselves in the channel",
                ),
                &["channel"],
            )?,
            dropped: IntCounterVec::new(
                Opts::new("gossip_messages_dropped", "Messages not acted upon, by reason"),
                &["reason"],
            )?,
            blocks_refused: IntCounterVec::new(
                Opts::new("gossip_blocks_refused", "Blocks not believed, by class of error"),
                &["channel", "class"],
            )?,
            conflicts: IntCounterVec::new(
                Opts::new(
                    "gossip_conflicts",
                    "Pairs of different blocks that orderers signed with one number",
                ),
                &["channel"],
            )?,
            convicted: IntCounterVec::new(
                Opts::new(
                    "gossip_sources_convicted",
                    "Sources of blocks in shares that signed what no honest one signs",
                ),
                &["channel"],
            )?,
            chosen: IntCounterVec::new(
                Opts::new(
                    "gossip_spread_chosen",
                    "Blocks by the way that we chose as their source: whole, tree, coded; direct each \
                     time that we fetched from the ordering service because no peer brought a block",
                ),
                &["channel", "way"],
            )?,
            unread: IntCounter::new(
                "gossip_subscriptions_lost",
                "Messages that subscribers of the host lost because they did not read",
            )?,
        };
        registry.register(Box::new(metrics.unread.clone()))?;
        registry.register(Box::new(metrics.conflicts.clone()))?;
        registry.register(Box::new(metrics.convicted.clone()))?;
        registry.register(Box::new(metrics.chosen.clone()))?;
        registry.register(Box::new(metrics.total_peers_known.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.blocks_refused.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn dropped(&self, reason: &'static str) {
        self.dropped.with_label_values(&[reason]).inc();
    }

    pub(crate) fn conflict(&self, channel: &ChannelId) {
        self.conflicts.with_label_values(&[channel.as_str()]).inc();
    }

    pub(crate) fn convicted(&self, channel: &ChannelId) {
        self.convicted.with_label_values(&[channel.as_str()]).inc();
    }

    pub(crate) fn chosen(&self, channel: &ChannelId, way: &str) {
        self.chosen.with_label_values(&[channel.as_str(), way]).inc();
    }

    pub(crate) fn unread(&self, lost: u64) {
        self.unread.inc_by(lost);
    }

    pub(crate) fn refused(&self, channel: &ChannelId, class: &'static str) {
        self.blocks_refused.with_label_values(&[channel.as_str(), class]).inc();
    }

    pub(crate) fn leader(&self, channel: &ChannelId, leading: bool) {
        self.election.leader(channel, leading);
    }

    pub(crate) fn peers_known(&self, channel: &ChannelId, peers: usize) {
        let peers = i64::try_from(peers).unwrap_or(i64::MAX);
        self.total_peers_known.with_label_values(&[channel.as_str()]).set(peers);
    }

    pub(crate) fn members(&self, stats: &gossip_discovery::Stats) {
        self.discovery.record(stats);
    }

    pub(crate) fn committed(&self, channel: &ChannelId, took: Duration) {
        self.state.committed(channel, took);
    }

    pub(crate) fn state(&self, channel: &ChannelId, stats: &Stats) {
        self.state.record(channel, stats);
    }
}

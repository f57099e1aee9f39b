//! What dashboards see, under Fabric's names.

use std::time::Duration;

use gossip_api::ChannelId;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::stats::Stats;

/// Gauges and histograms of the state transfer; one set for all channels.
// fabric: gossip/metrics/metrics.go StateMetrics
#[derive(Clone, Debug)]
pub struct StateMetrics {
    height: IntGaugeVec,
    commit_duration: HistogramVec,
    buffer_size: IntGaugeVec,
    dropped: IntCounterVec,
    damaged: IntGaugeVec,
    mended: IntCounterVec,
}

impl StateMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// If one of the names is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let channel = &["channel"];
        let height =
            IntGaugeVec::new(Opts::new("gossip_state_height", "Current ledger height"), channel)?;
        let commit_duration = HistogramVec::new(
            HistogramOpts::new("gossip_state_commit_duration", "Seconds it takes to commit blocks")
                .buckets(COMMIT_BUCKETS.to_vec()),
            channel,
        )?;
        let buffer_size = IntGaugeVec::new(
            Opts::new("gossip_payload_buffer_size", "Blocks ahead of the ledger's height"),
            channel,
        )?;
        let dropped = IntCounterVec::new(
            Opts::new("gossip_state_blocks_dropped", "Offered blocks that were not taken"),
            &["channel", "reason"],
        )?;
        let damaged = IntGaugeVec::new(
            Opts::new(
                "gossip_state_blocks_damaged",
                "Blocks that the ledger holds and cannot read",
            ),
            channel,
        )?;
        let mended = IntCounterVec::new(
            Opts::new("gossip_state_blocks_mended", "Damaged blocks that were fetched again"),
            channel,
        )?;
        registry.register(Box::new(damaged.clone()))?;
        registry.register(Box::new(mended.clone()))?;
        registry.register(Box::new(height.clone()))?;
        registry.register(Box::new(commit_duration.clone()))?;
        registry.register(Box::new(buffer_size.clone()))?;
        registry.register(Box::new(dropped.clone()))?;
        Ok(Self { height, commit_duration, buffer_size, dropped, damaged, mended })
    }

    /// Sets what a look at the machine shows.
    pub fn record(&self, channel: &ChannelId, stats: &Stats) {
        let name = &[channel.as_str()];
        self.height.with_label_values(name).set(gauge(stats.height.get()));
        self.buffer_size.with_label_values(name).set(gauge(stats.buffered_blocks as u64));
        self.damaged.with_label_values(name).set(gauge(stats.damaged as u64));
        let mended = self.mended.with_label_values(name);
        mended.inc_by(stats.mended.saturating_sub(mended.get()));
        for (reason, count) in &stats.dropped {
            let counter = self.dropped.with_label_values(&[channel.as_str(), reason]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }

    /// Notes how long a commit took.
    pub fn committed(&self, channel: &ChannelId, took: Duration) {
        self.commit_duration.with_label_values(&[channel.as_str()]).observe(took.as_secs_f64());
    }
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A group commit takes a few milliseconds, which the usual buckets do not resolve.
const COMMIT_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

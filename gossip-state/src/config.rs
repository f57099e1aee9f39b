//! What an operator may choose.

use std::time::Duration;

use gossip_api::{Checked, ConfigError};

/// How blocks are buffered, fetched and committed.
#[derive(Clone, Debug)]
pub struct StateConfig {
    /// Whether peers are asked for missing blocks. The ordering service is asked in any case.
    ///
    /// Fabric: `peer.gossip.state.enabled`, false since 2.2.
    pub enabled: bool,
    /// How long a few missing blocks at the tip may last before they are asked for: push is usually faster.
    ///
    /// Fabric: `peer.gossip.state.checkInterval`, 10 s.
    pub tip_wait: Duration,
    /// Greatest number of missing blocks for which `tip_wait` holds. More are asked for at once.
    pub tip_blocks: u64,
    /// Silence after which a source has failed.
    ///
    /// Fabric: `peer.gossip.state.responseTimeout`, 3 s.
    pub patience: Duration,
    /// Greatest number of blocks asked for at a time.
    ///
    /// Fabric: `peer.gossip.state.batchSize`, 10.
    pub range_blocks: u64,
    /// Greatest number of bytes asked for at a time.
    pub range_bytes: u64,
    /// Requests in flight, all sources together.
    pub requests_max: usize,
    /// Requests in flight at one source: two keep its pipe full.
    pub requests_per_source: usize,
    /// How long the very next block may be awaited from one source before another is asked too.
    pub hedge_after: Duration,
    /// Numbers ahead of the height that are buffered.
    ///
    /// Fabric: `peer.gossip.state.blockBufferSize`, 20.
    pub window_blocks: u64,
    /// Bytes ahead of the height, buffered and asked for.
    pub budget_bytes: usize,
    /// Blocks in one commit.
    pub commit_blocks: usize,
    /// Bytes in one commit; at least one block.
    pub commit_bytes: usize,
    /// Wait after a failed commit; doubles up to `commit_retry_max`.
    pub commit_retry: Duration,
    /// Longest wait after a failed commit.
    pub commit_retry_max: Duration,
    /// How long a source that failed is left alone; doubles up to `penalty_max`.
    pub penalty: Duration,
    /// Longest time that a source is left alone.
    pub penalty_max: Duration,
    /// How long blocks may be missing without a usable peer before the ordering service is asked.
    pub source_after: Duration,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            tip_wait: Duration::from_millis(500),
            tip_blocks: 8,
            patience: Duration::from_secs(3),
            range_blocks: 32,
            range_bytes: 4 << 20,
            requests_max: 6,
            requests_per_source: 2,
            hedge_after: Duration::from_millis(500),
            window_blocks: 512,
            budget_bytes: 64 << 20,
            commit_blocks: 128,
            commit_bytes: 16 << 20,
            commit_retry: Duration::from_secs(1),
            commit_retry_max: Duration::from_secs(30),
            penalty: Duration::from_secs(1),
            penalty_max: Duration::from_secs(60),
            source_after: Duration::from_secs(2),
        }
    }
}

impl StateConfig {
    /// Rules out contradictions.
    ///
    /// # Errors
    /// Names the two values that do not go together.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        let zero = [
            ("tip_wait", self.tip_wait.is_zero()),
            ("patience", self.patience.is_zero()),
            ("hedge_after", self.hedge_after.is_zero()),
            ("range_blocks", self.range_blocks == 0),
            ("range_bytes", self.range_bytes == 0),
            ("requests_max", self.requests_max == 0),
            ("requests_per_source", self.requests_per_source == 0),
            ("window_blocks", self.window_blocks == 0),
            ("commit_blocks", self.commit_blocks == 0),
            ("commit_retry", self.commit_retry.is_zero()),
            ("penalty", self.penalty.is_zero()),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError(format!("{name} must not be zero")));
        }
        if self.range_blocks > self.window_blocks {
            return Err(ConfigError(format!(
                "range_blocks ({}) must not exceed window_blocks ({})",
                self.range_blocks, self.window_blocks
            )));
        }
        if self.range_bytes > self.budget_bytes as u64 {
            return Err(ConfigError(format!(
                "range_bytes ({}) must not exceed budget_bytes ({})",
                self.range_bytes, self.budget_bytes
            )));
        }
        if self.commit_retry > self.commit_retry_max {
            return Err(ConfigError(format!(
                "commit_retry ({:?}) must not exceed commit_retry_max ({:?})",
                self.commit_retry, self.commit_retry_max
            )));
        }
        if self.penalty > self.penalty_max {
            return Err(ConfigError(format!(
                "penalty ({:?}) must not exceed penalty_max ({:?})",
                self.penalty, self.penalty_max
            )));
        }
        Ok(Checked::assume(self))
    }
}

/// How much of others' catching up we carry.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Requests of one peer served at a time; more of its are ended at once.
    pub per_peer: usize,
    /// Requests served at a time.
    pub active_max: usize,
    /// Requests that wait for their turn; more are ended at once.
    ///
    /// Fabric: `peer.gossip.state.channelSize`, 100.
    pub waiting_max: usize,
    /// Greatest number of bytes in one answer, whatever was asked; at least one block.
    pub bytes_max: u64,
    /// How long a read of the ledger may take before the request is given up.
    pub read_patience: Duration,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            per_peer: 4,
            active_max: 16,
            waiting_max: 48,
            bytes_max: 8 << 20,
            read_patience: Duration::from_secs(10),
        }
    }
}

impl ServeConfig {
    /// Rules out contradictions.
    ///
    /// # Errors
    /// Names the value that would refuse everybody.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        if self.per_peer == 0 || self.active_max == 0 || self.bytes_max == 0 {
            return Err(ConfigError(
                "per_peer, active_max and bytes_max must not be zero: nobody would be served"
                    .into(),
            ));
        }
        Ok(Checked::assume(self))
    }
}

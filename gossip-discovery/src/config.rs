//! How a peer learns about, and gives up on, other peers.

use std::time::Duration;

use gossip_api::message::Record;
use gossip_api::{Checked, ConfigError};

/// Timings and bounds of the membership protocol.
///
/// Everything that grows is bounded by a field here or by a constant beside the code that uses it.
#[derive(Clone, Debug)]
pub struct DiscoveryConfig {
    /// How often we disclose the next link of our chain, to say that we live.
    ///
    /// Shorter finds dead peers sooner; traffic grows with its inverse.
    /// Fabric: `peer.gossip.aliveTimeInterval`, 5 s.
    pub beat_every: Duration,
    /// Silence after which a member is asked for a proof of life. Must exceed `beat_every`.
    ///
    /// Fabric: `peer.gossip.aliveExpirationTimeout`, 25 s, after which the member is dead without being asked.
    pub late_after: Duration,
    /// Beats are collected for this long before they are relayed in one frame per neighbour. Fabric:
    /// `peer.gossip.maxPropagationBurstLatency`, 10 ms.
    pub relay_every: Duration,
    /// Neighbours we choose to exchange beats with; as many choose us on average, and we answer those.
    ///
    /// Fabric: `peer.gossip.propagatePeerNum`, 3.
    pub relay_to: usize,
    /// How often views are compared with one random neighbour. Fabric: `peer.gossip.pullInterval`, 4 s.
    pub sync_every: Duration,
    /// The same during the first `sync_fast_for` after our first connection. Fabric: none.
    pub sync_fast_every: Duration,
    /// How long the quicker exchange lasts. Fabric: none.
    pub sync_fast_for: Duration,
    /// How long a direct probe is alone, health permitting. Its answer counts until the probes through
    /// others have waited as well; both together must exceed two round trips and 100 ms for the signature.
    ///
    /// Fabric: none; the nearest is `peer.gossip.connTimeout`, 2 s.
    pub probe_wait: Duration,
    /// How long the probes through others may take after that.
    pub probe_through_wait: Duration,
    /// Through how many others a member is probed that did not answer us.
    pub probe_helpers: usize,
    /// How often one random dead member is dialled; how soon a healed partition is noticed.
    ///
    /// Fabric: `peer.gossip.reconnectInterval`, 25 s, and then all of them.
    pub dead_retry_every: Duration,
    /// How long a dead member is remembered. Fabric: `peer.gossip.msgExpirationFactor` (20) times the
    /// expiration time-out, 500 s.
    pub forget_after: Duration,
    /// First pause after a dial that failed; doubles up to `dial_retry_max`. Fabric: `reconnectInterval`.
    pub dial_retry: Duration,
    /// Longest pause between dials of a bootstrap or anchor peer, which never end. Fabric:
    /// `peer.gossip.maxConnectionAttempts` (120) times `reconnectInterval`, then never again.
    pub dial_retry_max: Duration,
    /// Dials under way at the same time.
    pub dials_max: usize,
    /// With up to this many live members a peer keeps a connection to each; every pair is dialled by one
    /// side, so that a peer dials half of them.
    pub mesh_max: usize,
    /// With more members, connections to this many drawn at random.
    pub sparse_degree: usize,
    /// Connections beyond this many are closed, the least useful first.
    pub links_max: usize,
    /// Members remembered in all, the dead included.
    pub members_max: usize,
    /// Members remembered of one organisation, the dead included.
    pub org_members_max: usize,
    /// Dead members remembered; bootstrap and anchor peers do not count.
    pub dead_max: usize,
    /// Beats per signed record. Longer: fewer signatures; and more hashing for whoever joins late.
    pub chain_len: u32,
    /// Whether our own slowness counts against us before it counts against others.
    pub local_health: bool,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self {
            beat_every: Duration::from_secs(2),
            late_after: Duration::from_millis(2800),
            relay_every: Duration::from_millis(200),
            relay_to: 2,
            sync_every: Duration::from_secs(4),
            sync_fast_every: Duration::from_millis(250),
            sync_fast_for: Duration::from_secs(5),
            probe_wait: Duration::from_millis(100),
            probe_through_wait: Duration::from_millis(400),
            probe_helpers: 3,
            dead_retry_every: Duration::from_secs(1),
            forget_after: Duration::from_secs(600),
            dial_retry: Duration::from_millis(250),
            dial_retry_max: Duration::from_secs(5),
            dials_max: 16,
            mesh_max: 128,
            sparse_degree: 16,
            links_max: 256,
            members_max: 2048,
            org_members_max: 1024,
            dead_max: 512,
            chain_len: 512,
            local_health: true,
        }
    }
}

impl DiscoveryConfig {
    /// Rules out contradictions.
    ///
    /// # Errors
    /// The first contradiction found: both values, and what to change.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        let shorter = [
            ("beat_every", self.beat_every, "late_after", self.late_after),
            ("relay_every", self.relay_every, "beat_every", self.beat_every),
            ("late_after", self.late_after, "forget_after", self.forget_after),
        ];
        for (name, value, bound, limit) in shorter {
            if value >= limit {
                return Err(ConfigError(format!(
                    "{name} ({value:?}) must be shorter than {bound} ({limit:?})"
                )));
            }
        }
        if self.dial_retry > self.dial_retry_max {
            return Err(ConfigError(format!(
                "dial_retry ({:?}) must not exceed dial_retry_max ({:?})",
                self.dial_retry, self.dial_retry_max
            )));
        }
        let durations = [
            ("beat_every", self.beat_every),
            ("relay_every", self.relay_every),
            ("sync_every", self.sync_every),
            ("sync_fast_every", self.sync_fast_every),
            ("probe_wait", self.probe_wait),
            ("probe_through_wait", self.probe_through_wait),
            ("dead_retry_every", self.dead_retry_every),
            ("dial_retry", self.dial_retry),
        ];
        if let Some((name, _)) = durations.iter().find(|(_, value)| value.is_zero()) {
            return Err(ConfigError(format!("{name} (0s) must be longer than zero")));
        }
        let counts = [
            ("relay_to", self.relay_to),
            ("dials_max", self.dials_max),
            ("mesh_max", self.mesh_max),
            ("sparse_degree", self.sparse_degree),
            ("dead_max", self.dead_max),
        ];
        if let Some((name, _)) = counts.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError(format!("{name} (0) must be at least 1")));
        }
        let at_most = [
            ("sparse_degree", self.sparse_degree, "links_max", self.links_max),
            ("mesh_max", self.mesh_max, "links_max", self.links_max),
            ("dead_max", self.dead_max, "members_max", self.members_max),
            ("org_members_max", self.org_members_max, "members_max", self.members_max),
        ];
        for (name, value, bound, limit) in at_most {
            if value > limit {
                return Err(ConfigError(format!(
                    "{name} ({value}) must not exceed {bound} ({limit})"
                )));
            }
        }
        if self.chain_len == 0 || self.chain_len > Record::CHAIN_MAX {
            return Err(ConfigError(format!(
                "chain_len ({}) must be at least 1 and at most {}",
                self.chain_len,
                Record::CHAIN_MAX
            )));
        }
        Ok(Checked::assume(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_free_of_contradictions() {
        assert!(DiscoveryConfig::default().checked().is_ok());
    }

    #[test]
    fn a_contradiction_names_both_values() {
        let config = DiscoveryConfig { late_after: Duration::from_secs(1), ..Default::default() };
        let error = config.checked().expect_err("beats come slower than lateness");
        assert_eq!(error.to_string(), "beat_every (2s) must be shorter than late_after (1s)");
    }

    #[test]
    fn zeroes_and_overlong_chains_are_refused() {
        let refused = [
            DiscoveryConfig { sync_every: Duration::ZERO, ..Default::default() },
            DiscoveryConfig { relay_to: 0, ..Default::default() },
            DiscoveryConfig { chain_len: 0, ..Default::default() },
            DiscoveryConfig { chain_len: Record::CHAIN_MAX + 1, ..Default::default() },
            DiscoveryConfig { dead_max: 4096, ..Default::default() },
            DiscoveryConfig { dial_retry: Duration::from_secs(60), ..Default::default() },
        ];
        for config in refused {
            assert!(config.checked().is_err());
        }
    }
}

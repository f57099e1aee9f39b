//! What an operator may choose.

use std::time::Duration;

use gossip_api::{Checked, ConfigError};

/// Who leads, and how fast that is found out.
#[derive(Clone, Debug)]
pub struct ElectionConfig {
    /// How leaders are found.
    pub mode: Mode,
    /// How many peers of the organisation lead at the same time.
    pub gateways: usize,
    /// For how long a declaration holds.
    ///
    /// Shorter replaces a dead leader sooner, and a slow one too. Fabric:
    /// `peer.gossip.election.leaderAliveThreshold`, 10 s.
    pub lease: Duration,
    /// How often a leader declares itself. Fabric: half its threshold.
    pub renew_every: Duration,
    /// How long proposals are collected. Fabric: `peer.gossip.election.leaderElectionDuration`, 5 s.
    pub propose_for: Duration,
    /// How long the membership must not have changed before the first proposal.
    ///
    /// Fabric: `peer.gossip.election.membershipSampleInterval`, 1 s.
    pub stable_for: Duration,
    /// How long to wait for that at most. Fabric: `peer.gossip.election.startupGracePeriod`, 15 s.
    pub grace: Duration,
    /// How long a proved block may be missing before its leader is under suspicion.
    pub withheld_after: Duration,
    /// How often the ordering service is asked on a quiet channel, at most.
    pub probe_every: Duration,
}

impl Default for ElectionConfig {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            gateways: 1,
            lease: Duration::from_secs(2),
            renew_every: Duration::from_millis(500),
            propose_for: Duration::from_millis(120),
            stable_for: Duration::from_millis(600),
            grace: Duration::from_secs(5),
            withheld_after: Duration::from_secs(1),
            probe_every: Duration::from_secs(5),
        }
    }
}

/// How leaders are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Each peer is told.
    ///
    /// Fabric: `peer.gossip.orgLeader`. True on one peer of each organisation names the leader, true on
    /// all of them makes every peer pull for itself, false on all of them leaves it to the neighbours.
    Static {
        /// Whether this peer leads.
        leads: bool,
    },
    /// Nobody leads.
    #[default]
    Nobody,
    /// The live peers of the organisation elect. Fabric: `peer.gossip.useLeaderElection`.
    Dynamic,
}

impl ElectionConfig {
    /// Every peer named leads: Fabric's `orgLeader: true`.
    pub fn fixed(leads: bool) -> Self {
        Self { mode: Mode::Static { leads }, ..Self::default() }
    }

    /// Leaders are elected.
    pub fn dynamic() -> Self {
        Self { mode: Mode::Dynamic, ..Self::default() }
    }

    /// Rules out contradictions.
    ///
    /// # Errors
    /// Names the values that do not go together.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        if self.gateways == 0 {
            return Err(ConfigError("gateways must be at least 1".into()));
        }
        if self.renew_every.is_zero() || self.renew_every.saturating_mul(2) > self.lease {
            return Err(ConfigError(format!(
                "renew_every ({:?}) must be at most half of lease ({:?})",
                self.renew_every, self.lease
            )));
        }
        if self.propose_for.is_zero() || self.propose_for > self.lease {
            return Err(ConfigError(format!(
                "propose_for ({:?}) must not exceed lease ({:?})",
                self.propose_for, self.lease
            )));
        }
        if self.stable_for > self.grace {
            return Err(ConfigError(format!(
                "stable_for ({:?}) must not exceed grace ({:?})",
                self.stable_for, self.grace
            )));
        }
        if self.withheld_after.is_zero() || self.probe_every.is_zero() {
            return Err(ConfigError("withheld_after and probe_every must not be zero".into()));
        }
        Ok(Checked::assume(self))
    }
}

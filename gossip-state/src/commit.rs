//! One commit at a time, and what happens when the ledger refuses.

use std::time::Duration;

use gossip_api::{Mono, SeqNum};

/// Where the commit of the next blocks stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is under way.
    Idle,
    /// The ledger is at work on blocks up to and including `through`.
    InFlight { since: Mono, through: SeqNum },
    /// The ledger refused; it is asked again at `until`.
    Waiting { until: Mono, reason: String },
}

/// The state of committing.
#[derive(Clone, Debug)]
pub(crate) struct Commits {
    phase: Phase,
    failures: u32,
    retry: Duration,
    retry_max: Duration,
}

impl Commits {
    pub(crate) const fn new(retry: Duration, retry_max: Duration) -> Self {
        Self { phase: Phase::Idle, failures: 0, retry, retry_max }
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Whether a commit may begin. Ends a wait that is over.
    pub(crate) fn may_begin(&mut self, now: Mono) -> bool {
        if let Phase::Waiting { until, .. } = &self.phase
            && *until <= now
        {
            self.phase = Phase::Idle;
        }
        self.phase == Phase::Idle
    }

    pub(crate) fn began(&mut self, now: Mono, through: SeqNum) {
        self.phase = Phase::InFlight { since: now, through };
    }

    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
        self.phase = Phase::Idle;
    }

    pub(crate) fn failed(&mut self, now: Mono, reason: String) {
        let doubled =
            self.retry.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { until: now.after(doubled.min(self.retry_max)), reason };
    }

    /// When the next attempt is due.
    pub(crate) const fn retry_at(&self) -> Option<Mono> {
        match &self.phase {
            Phase::Waiting { until, .. } => Some(*until),
            Phase::Idle | Phase::InFlight { .. } => None,
        }
    }
}

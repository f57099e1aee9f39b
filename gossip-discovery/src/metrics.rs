//! Numbers of the membership protocol.
//!
//! Fabric counts members per channel (`gossip_membership_total_peers_known`): that gauge belongs to the
//! layer that knows channels. These are of the network as a whole.

use prometheus::{IntCounter, IntGauge, Registry};

/// What the machine holds and has done; taken by `Discovery::stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Live members.
    pub alive: usize,
    /// Dead members remembered.
    pub dead: usize,
    /// Members remembered in all.
    pub known: usize,
    /// Connections.
    pub links: usize,
    /// Members being asked for a proof of life.
    pub probes: usize,
    /// 0 is well; waits are stretched by one more than this.
    pub local_health: u32,
    /// Whether evictions wait because nobody answers us.
    pub frozen: bool,
    /// What has been done since the start.
    pub counters: Counters,
}

/// What has been done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages sent.
    pub sent: u64,
    /// Remote inputs refused.
    pub dropped: u64,
    /// Signatures over our own record.
    pub signed: u64,
    /// Signatures over nonces of others.
    pub proofs_signed: u64,
    /// Entries given away to be checked: each costs a signature check.
    pub checks: u64,
    /// Of those, how many were wrong.
    pub checks_failed: u64,
    /// Beats whose links were hashed.
    pub beats_hashed: u64,
    /// Requests for membership sent.
    pub requests_sent: u64,
    /// Answers sent.
    pub answers_sent: u64,
    /// Dials.
    pub dials: u64,
    /// Questions for proofs of life.
    pub probes_sent: u64,
    /// Members that became late or lost their connection.
    pub suspected: u64,
    /// Intervals in which fewer than half of the live members were heard.
    pub starved: u64,
    /// Members announced as alive.
    pub became_alive: u64,
    /// Members announced as dead.
    pub became_dead: u64,
    /// Evictions put off because nobody answered us.
    pub evictions_delayed: u64,
}

/// Gauges and counters of a registry, to be brought up to date from [`Stats`].
#[derive(Clone, Debug)]
pub struct Metrics {
    alive: IntGauge,
    dead: IntGauge,
    known: IntGauge,
    links: IntGauge,
    local_health: IntGauge,
    counters: Vec<(IntCounter, Read)>,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Errors
    /// If `registry` has one of the names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let mut counters = Vec::new();
        for (name, help, read) in COUNTERS {
            let counter = IntCounter::new(*name, *help)?;
            registry.register(Box::new(counter.clone()))?;
            counters.push((counter, *read));
        }
        Ok(Self {
            alive: gauge("gossip_discovery_members_alive", "Live members of the network")?,
            dead: gauge("gossip_discovery_members_dead", "Dead members remembered")?,
            known: gauge("gossip_discovery_members_known", "Members remembered in all")?,
            links: gauge("gossip_discovery_connections", "Connections to members")?,
            local_health: gauge("gossip_discovery_local_health", "0 is well; waits are stretched")?,
            counters,
        })
    }

    /// Brings the metrics up to date.
    pub fn record(&self, stats: &Stats) {
        let gauges = [
            (&self.alive, stats.alive),
            (&self.dead, stats.dead),
            (&self.known, stats.known),
            (&self.links, stats.links),
        ];
        for (gauge, value) in gauges {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
        self.local_health.set(i64::from(stats.local_health));
        for (counter, read) in &self.counters {
            counter.inc_by(read(&stats.counters).saturating_sub(counter.get()));
        }
    }
}

/// Picks one counter.
type Read = fn(&Counters) -> u64;

/// Name, help, and where the value comes from.
type Row = (&'static str, &'static str, Read);

const COUNTERS: &[Row] = &[
    ("gossip_discovery_messages_sent", "Membership messages sent", |c| c.sent),
    ("gossip_discovery_dropped", "Remote inputs refused", |c| c.dropped),
    ("gossip_discovery_records_signed", "Signatures over our record", |c| c.signed),
    ("gossip_discovery_proofs_signed", "Signatures over nonces of others", |c| c.proofs_signed),
    ("gossip_discovery_checks", "Entries of members checked", |c| c.checks),
    ("gossip_discovery_checks_failed", "Entries of members refused", |c| c.checks_failed),
    ("gossip_discovery_dials", "Dials", |c| c.dials),
    ("gossip_discovery_probes_sent", "Questions for proofs of life", |c| c.probes_sent),
    ("gossip_discovery_suspected", "Members that were late", |c| c.suspected),
    ("gossip_discovery_became_alive", "Members announced as alive", |c| c.became_alive),
    ("gossip_discovery_became_dead", "Members announced as dead", |c| c.became_dead),
    ("gossip_discovery_evictions_delayed", "Evictions put off", |c| c.evictions_delayed),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_follow_the_stats() {
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).expect("fresh names");
        let counters = Counters { sent: 5, ..Counters::default() };
        metrics.record(&Stats { alive: 3, counters, ..Stats::default() });
        metrics.record(&Stats { alive: 2, counters, ..Stats::default() });
        assert_eq!(metrics.alive.get(), 2);
        let sent = metrics.counters.first().map(|(counter, _)| counter.get());
        assert_eq!(sent, Some(5));
        assert!(Metrics::new(&registry).is_err());
    }
}

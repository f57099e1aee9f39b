//! Leaders named by configuration.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use gossip_api::{ChannelId, Machine, Mono, Now, PkiId, Wall};
use gossip_election::{Action, Election, ElectionConfig, ElectionMetrics, Input};
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

const NOW: Now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(0) };

fn election(config: ElectionConfig) -> Election {
    let channel = ChannelId::new("trade").unwrap();
    let me = PkiId::from_bytes([1; 32]);
    Election::new(channel, me, config.checked().unwrap(), ChaCha8Rng::seed_from_u64(1), NOW)
}

#[test]
fn a_named_leader_leads_at_once_and_until_it_is_stopped() {
    let mut election = election(ElectionConfig::fixed(true));
    let actions = election.handle(NOW, Input::Tick);
    assert!(matches!(actions.as_slice(), [Action::Lead { .. }]));
    assert!(election.is_leader());
    assert!(election.leadership().is_own);
    assert!(election.handle(NOW, Input::Tick).is_empty());
    let actions = election.handle(NOW, Input::Stop);
    assert_eq!(actions, [Action::Follow { why: "stopped" }]);
}

// fabric: gossip/election/election_test.go TestStop
#[test]
fn nothing_is_said_after_the_stop() {
    let mut election = election(ElectionConfig::fixed(false));
    assert!(election.handle(NOW, Input::Stop).is_empty());
    assert!(election.handle(NOW, Input::Tick).is_empty());
    assert!(!election.is_leader());
    assert_eq!(election.next_wakeup(), None);
}

#[test]
fn by_default_nobody_leads() {
    let mut election = election(ElectionConfig::default());
    assert!(election.handle(NOW, Input::Tick).is_empty());
    assert!(!election.is_leader());
}

// fabric: gossip/election/adapter_test.go TestReportMetrics
#[test]
fn the_gauge_is_one_for_a_leader_and_zero_for_a_follower() {
    let registry = Registry::new();
    let metrics = ElectionMetrics::new(&registry).unwrap();
    let channel = ChannelId::new("trade").unwrap();
    metrics.leader(&channel, true);
    let value = || registry.gather()[0].get_metric()[0].get_gauge().get_value();
    assert_eq!(value(), 1.0);
    metrics.leader(&channel, false);
    assert_eq!(value(), 0.0);
    assert_eq!(registry.gather()[0].name(), "gossip_leader_election_leader");
}

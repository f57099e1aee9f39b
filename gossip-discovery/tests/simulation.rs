//! Whole networks of peers that do nothing but membership, on virtual time.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use gossip_comm::sim::check;
use gossip_discovery::DiscoveryConfig;
use support::{Net, ms, secs};

#[test]
fn ten_peers_find_each_other_from_one_address() {
    check(0..6, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        let took = net.until(secs(3), "full view", Net::views_are_full);
        assert!(took < ms(1500), "{took:?}");
        net.run(secs(20));
        assert!(net.views_are_full());
        assert_eq!(net.deaths(), 0);
    });
}

#[test]
fn fifty_peers_find_each_other_from_one_address() {
    check(0..1, |seed| {
        let mut net = Net::started(seed, 50, DiscoveryConfig::default());
        let took = net.until(secs(3), "full view", Net::views_are_full);
        assert!(took < ms(1500), "{took:?}");
        net.run(secs(20));
        assert!(net.views_are_full());
        assert_eq!(net.deaths(), 0);
    });
}

#[test]
fn a_killed_peer_is_dead_for_all_and_a_restarted_one_comes_back() {
    check(0..4, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.until(secs(3), "full view", Net::views_are_full);
        net.run(secs(5));
        net.cluster.crash(3);
        let took = net.until(secs(6), "death known to all", Net::views_are_full);
        assert!(took > ms(500), "{took:?}");
        net.run(secs(5));
        let person = net.people[3].clone().epoch(2);
        net.restart(3, person);
        net.connect(3, 0);
        net.until(secs(4), "return known to all", Net::views_are_full);
        net.run(secs(10));
        assert!(net.views_are_full());
    });
}

#[test]
fn a_partition_heals() {
    check(0..2, |seed| {
        let mut net = Net::started(seed, 20, DiscoveryConfig::default());
        net.until(secs(3), "full view", Net::views_are_full);
        net.cluster.split(|peer| u32::from(peer % 2 == 0));
        net.run(secs(30));
        for peer in 0..20 {
            assert_eq!(net.sees(peer), 9, "SIM_SEED={seed}");
        }
        net.cluster.heal();
        let took = net.until(secs(10), "healed", Net::views_are_full);
        assert!(took < secs(5), "{took:?}");
    });
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let run = |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.run(secs(5));
        net.cluster.crash(2);
        net.run(secs(10));
        net.cluster.history_hash()
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

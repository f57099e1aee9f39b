//! The figures that membership has to reach on a local network; smaller networks without optimisation.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::time::Duration;

use gossip_api::Mono;
use gossip_discovery::{DiscoveryConfig, MembershipEvent};
use support::{Net, ms, secs};

/// As many peers as the figures are about, or few enough for a build without optimisation.
fn peers(optimised: u32, otherwise: u32) -> u32 {
    if cfg!(debug_assertions) { otherwise } else { optimised }
}

#[test]
fn a_hundred_peers_have_the_full_view_within_a_second_and_a_half() {
    for seed in 0..u64::from(peers(10, 1)) {
        let mut net = Net::started(seed, peers(100, 30), DiscoveryConfig::default());
        let took = net.until(secs(3), "full view", Net::views_are_full);
        println!("full view {took:?}, {} connections", net.cluster.stats().connections);
        assert!(took <= ms(1500), "{took:?} SIM_SEED={seed}");
    }
}

#[test]
fn a_crash_is_known_to_everybody_within_six_seconds() {
    // How long it takes depends on how old the last beat was: one crash per seed, all of them together.
    let mut took: Vec<Duration> = Vec::new();
    for seed in 0..u64::from(peers(12, 9)) {
        let count = peers(100, 20);
        let mut net = Net::started(seed, count, DiscoveryConfig::default());
        net.run(secs(10));
        let crashed = net.pki_id(5);
        let start = net.cluster.now().mono;
        net.cluster.crash(5);
        net.run(secs(8));
        let others = (0..count as usize).filter(|peer| *peer != 5);
        let before = took.len();
        took.extend(
            others.map(|peer| {
                death_of(&net, peer, &crashed).expect("everybody notices").since(start)
            }),
        );
        assert_eq!(net.deaths(), took.len() - before, "nobody else dies, SIM_SEED={seed}");
    }
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("detected: median {median:?}, max {longest:?}");
    assert!(median <= secs(3), "{median:?}");
    assert!(longest <= secs(6), "{longest:?}");
}

#[test]
fn fifty_peers_cost_less_than_they_do_in_fabric() {
    let count = peers(50, 50);
    let mut net = Net::started(1, count, DiscoveryConfig::default());
    net.run(secs(10));
    let before = net.cluster.stats().clone();
    let checks = net.authority.signature_checks();
    net.run(secs(20));
    let after = net.cluster.stats();
    let per_second = f64::from(count) * 20.0;
    let messages = (after.messages - before.messages) as f64 / per_second;
    let bytes = (after.bytes - before.bytes) as f64 / per_second;
    println!("{messages:.1} messages, {bytes:.0} bytes a second and peer");
    println!("{} signatures checked", net.authority.signature_checks() - checks);
    assert!(messages < 33.8, "{messages}");
    assert!(bytes < 22_638.0, "{bytes}");
    assert_eq!(net.authority.signature_checks(), checks, "what is known is not verified again");
}

#[test]
fn a_network_too_large_for_a_mesh_for_a_minute() {
    let count = peers(300, 150);
    let mut net = Net::started(1, count, DiscoveryConfig::default());
    let took = net.until(secs(20), "full view", Net::views_are_full);
    println!("full view of {count} {took:?}");
    net.run(secs(60).saturating_sub(took));
    assert!(net.views_are_full());
    assert_eq!(net.deaths(), 0);
    let stats = net.cluster.stats();
    println!("{} messages, {} bytes, {} steps", stats.messages, stats.bytes, stats.steps);
    println!("{} signatures checked", net.authority.signature_checks());
}

fn death_of(net: &Net, peer: usize, whose: &gossip_api::PkiId) -> Option<Mono> {
    let deaths = net.events(peer).iter();
    deaths
        .filter(|(_, event)| matches!(event, MembershipEvent::Dead(dead) if dead == whose))
        .map(|(at, _)| *at)
        .next()
}

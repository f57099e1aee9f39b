//! Large blocks among whole peers: in shares, whoever is silent, lies or damages them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "tests fail by panicking"
)]

mod support;

use std::time::Duration;

use gossip_api::SeqNum;
use gossip_comm::sim::Link;
use gossip_service::node::{NodeConfig, SpreadMode};
use support::Consortium;

const BLOCK_LEN: usize = 256 << 10;

/// `peers` of `orgs` that know each other.
fn given(peers: usize, orgs: usize, node: NodeConfig) -> Consortium {
    let mut net = Consortium::new(7, orgs, Link::wan(), BLOCK_LEN).with_node(node);
    for _ in 0..peers {
        let peer = net.add_peer();
        net.cluster.set_uplink(peer, 1_000_000_000);
    }
    net.cluster.run_for(Duration::from_secs(10));
    net
}

fn coded() -> NodeConfig {
    NodeConfig { mode: SpreadMode::Coded, ..NodeConfig::default() }
}

/// Orders blocks one after the other; how long the last of `receivers` took for each, in milliseconds.
fn order(net: &mut Consortium, blocks: usize, receivers: &[usize]) -> Vec<f64> {
    let mut ordered = Vec::new();
    for _ in 0..blocks {
        let at = net.cluster.now().mono;
        ordered.push((net.order_block(), at));
        net.cluster.run_for(Duration::from_secs(1));
    }
    net.cluster.run_for(Duration::from_secs(5));
    let took = |(number, at): &(SeqNum, gossip_api::Mono)| {
        let last = receivers.iter().map(|peer| {
            let valid = net.outside(*peer).valid_at.get(number);
            let valid = valid.unwrap_or_else(|| panic!("seed 7: peer {peer} lacks block {number}"));
            valid.since(*at).as_secs_f64() * 1e3
        });
        last.fold(0.0, f64::max)
    };
    ordered.iter().map(took).collect()
}

fn all_drops(net: &Consortium, reason: &str) -> u64 {
    let drops = |peer| net.outside(peer).drops.get(reason).copied().unwrap_or_default();
    (0..net.cluster.peers()).map(drops).sum()
}

#[test]
fn a_large_block_comes_in_shares_unasked_and_is_verified_once() {
    let mut net = given(12, 1, coded());
    let receivers: Vec<usize> = (1..12).collect();
    let last = order(&mut net, 3, &receivers);
    assert!(last.iter().all(|ms| *ms < 150.0), "{last:?}");
    assert_eq!(net.outside(0).chosen["coded"], 3);
    for peer in receivers {
        let outside = net.outside(peer);
        assert_eq!(outside.by_push, 3, "peer {peer} did not have to ask");
        let copies = outside.block_bytes as f64 / (3 * BLOCK_LEN) as f64;
        assert!(copies < 1.5, "{copies}");
        assert!(outside.refused.is_empty());
    }
    let checks = net.authority.block_checks();
    assert_eq!(checks, 3 * 12, "each peer looks at each signature set once");
}

#[test]
fn a_third_of_silent_relays_costs_a_question_and_then_their_turn() {
    let mut net = given(24, 1, coded());
    let silent = [3, 5, 8, 11, 14, 17, 20, 23];
    silent.iter().for_each(|peer| net.silence(*peer));
    let honest: Vec<usize> = (1..24).filter(|peer| !silent.contains(peer)).collect();
    let last = order(&mut net, 6, &honest);
    assert!(last.iter().all(|ms| *ms < 600.0), "{last:?}");
    assert!(last[5] < 150.0, "who was silent is passed by: {last:?}");
}

#[test]
fn where_nobody_relays_the_source_gives_everything_itself() {
    let mut net = given(6, 1, coded());
    (2..6).for_each(|peer| net.silence(peer));
    let last = order(&mut net, 2, &[1]);
    assert!(last.iter().all(|ms| *ms < 1000.0), "{last:?}");
}

#[test]
fn shares_stay_in_the_organisation_unless_they_may_cross_and_then_cross_once() {
    let mut apart = given(16, 2, coded());
    order(&mut apart, 2, &(2..16).collect::<Vec<_>>());
    assert!((0..16).all(|peer| apart.outside(peer).across == 0));

    let mut open = given(16, 2, NodeConfig { data_cross_orgs: true, ..coded() });
    order(&mut open, 2, &(1..16).collect::<Vec<_>>());
    let across =
        |org: usize| (org..16).step_by(2).map(|peer| open.outside(peer).across).sum::<u64>();
    let copies = across(1) as f64 / (2 * BLOCK_LEN) as f64;
    assert!(copies > 0.9 && copies < 8.0, "{copies}");
}

#[test]
fn a_source_that_lies_is_convicted_and_the_block_comes_whole() {
    let mut net = given(8, 1, coded());
    net.outside_mut(0).lies = true;
    let receivers: Vec<usize> = (1..8).collect();
    let last = order(&mut net, 1, &receivers);
    assert!(last[0] < 2500.0, "{last:?}");
    for peer in receivers {
        let outside = net.outside(peer);
        assert_eq!(outside.convicted.len(), 1, "peer {peer}");
        assert!(outside.ledger.len() == 2);
    }
}

#[test]
fn a_relay_that_damages_shares_is_cut_off_and_costs_nothing_more() {
    let mut net = given(12, 1, coded());
    net.outside_mut(4).damages = true;
    let honest: Vec<usize> = (1..12).filter(|peer| *peer != 4).collect();
    let last = order(&mut net, 3, &honest);
    assert!(last.iter().all(|ms| *ms < 600.0), "{last:?}");
    assert!(all_drops(&net, "share with a false branch") > 0);
}

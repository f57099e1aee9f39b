//! The late catch up, whatever their neighbours do.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, ms, n, peer, pki};
use gossip_api::Height;
use gossip_state::{Action, BlockOrigin, Input, RequestOutcome, StateConfig};

fn one_at_a_time() -> StateConfig {
    StateConfig { requests_max: 1, ..StateConfig::default() }
}

// fabric: gossip/state/state_test.go TestNewGossipStateProvider_BatchingOfStateRequest
#[test]
fn missing_blocks_are_asked_for_in_ranges() {
    let config = StateConfig { range_blocks: 10, ..one_at_a_time() };
    let blocks = chain(16, 10);
    let mut host = Host::with(1, config);
    host.claim(2, 16);
    let mut ranges = Vec::new();
    while let Some(request) = host.requests().pop() {
        ranges.push((request.from, request.through));
        host.answer(&request, &blocks);
    }
    host.pass(ms(500));
    while let Some(request) = host.requests().pop() {
        ranges.push((request.from, request.through));
        host.answer(&request, &blocks);
    }
    assert_eq!(ranges, [(n(1), n(10)), (n(11), n(15))]);
    assert_eq!(host.height(), 16);
    assert_eq!(host.machine.stats().committed.catch_up, 15);
}

// fabric: gossip/state/state_test.go TestLedgerHeightFromProperties
#[test]
fn only_peers_that_claim_a_block_are_asked() {
    let mut host = Host::at(5);
    host.claim(1, 5);
    host.claim(2, 0);
    host.claim(3, 100);
    let requests = host.requests();
    assert!(!requests.is_empty());
    assert!(requests.iter().all(|request| request.to == pki(3)));
}

#[test]
fn own_organisation_is_asked_first() {
    let mut host = Host::with(1, StateConfig { requests_per_source: 6, ..StateConfig::default() });
    host.actions.clear();
    host.tell(Input::PeerHeight { peer: peer(1), height: Height::new(200), own_org: false });
    host.requests();
    let mut host = Host::with(1, one_at_a_time());
    host.tell(Input::PeerHeight { peer: peer(2), height: Height::new(1), own_org: false });
    host.claim(3, 200);
    assert_eq!(host.requests()[0].to, pki(3));
}

#[test]
fn a_small_gap_at_the_tip_is_left_to_push_for_a_while() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.claim(2, 4);
    host.pass(ms(499));
    assert!(host.requests().is_empty());
    host.pass(ms(1));
    let request = host.requests().pop().unwrap();
    host.answer(&request, &blocks);
    assert_eq!(host.height(), 4);
}

#[test]
fn several_sources_serve_disjoint_ranges_at_once() {
    let blocks = chain(200, 10);
    let mut host = Host::at(1);
    for who in 1..=3 {
        host.claim(who, 200);
    }
    let mut requests = host.requests();
    let mut askers: Vec<_> = requests.iter().map(|request| request.to).collect();
    askers.sort();
    askers.dedup();
    assert_eq!(askers.len(), 3);
    requests.sort_by_key(|request| request.from);
    assert!(requests.windows(2).all(|pair| pair[0].through < pair[1].from));
    while let Some(request) = requests.pop() {
        host.answer(&request, &blocks);
        requests.extend(host.requests());
    }
    host.pass(ms(500));
    for request in host.requests() {
        host.answer(&request, &blocks);
    }
    assert_eq!(host.height(), 200);
}

// hardening B7
#[test]
fn a_liar_about_its_height_costs_one_request() {
    let mut host = Host::with(1, one_at_a_time());
    host.claim(1, 1 << 63);
    let request = host.requests().pop().unwrap();
    assert!(request.through <= n(256), "capped by our own height and the window");
    host.answer(&request, &chain(1, 10));
    host.pass(ms(30_000));
    assert!(host.requests().is_empty());
    assert_eq!(host.stalled(), None);
    assert!(!host.actions.contains(&Action::Source { wanted: true }));
}

// hardening B8
#[test]
fn a_source_of_garbage_is_blamed_and_last_choice_from_then_on() {
    let blocks = chain(60, 10);
    let garbage = fork(&blocks[..1], 60, 10, 1);
    let mut host = Host::with(1, StateConfig { range_blocks: 5, ..one_at_a_time() });
    host.forged = garbage[1..].to_vec();
    host.claim(1, 60);
    let request = host.requests().pop().unwrap();
    host.claim(2, 60);
    host.answer(&request, &garbage);
    assert!(host.blamed().contains(&pki(1)));
    while let Some(request) = host.requests().pop() {
        assert_eq!(request.to, pki(2));
        host.answer(&request, &blocks);
    }
    host.pass(ms(500));
    while let Some(request) = host.requests().pop() {
        host.answer(&request, &blocks);
    }
    assert_eq!(host.height(), 60);
}

#[test]
fn a_part_outside_its_range_is_not_looked_at() {
    let blocks = chain(60, 10);
    let mut host = Host::with(1, StateConfig { range_blocks: 5, ..one_at_a_time() });
    host.claim(1, 60);
    let request = host.requests().pop().unwrap();
    host.offer(&blocks[20], BlockOrigin::Range { from: request.to, request: request.id });
    assert_eq!(host.blamed(), [pki(1)]);
    assert_eq!(host.machine.stats().buffered_blocks, 0);
}

#[test]
fn silence_costs_one_timeout_and_another_source_takes_over() {
    let blocks = chain(30, 10);
    let mut host = Host::with(1, one_at_a_time());
    host.claim(1, 30);
    let request = host.requests().pop().unwrap();
    host.claim(2, 30);
    host.end(&request, RequestOutcome::TimedOut);
    let request = host.requests().pop().unwrap();
    assert_eq!(request.to, pki(2));
    host.answer(&request, &blocks);
    assert_eq!(host.height(), 30);
}

// hardening B9
#[test]
fn a_source_that_drips_is_left_for_a_better_one() {
    let blocks = chain(120, 10);
    let mut host = Host::with(1, StateConfig { hedge_after: ms(60_000), ..one_at_a_time() });
    host.claim(1, 120);
    let slow = host.requests().pop().unwrap();
    host.claim(2, 120);
    for block in &blocks[1..5] {
        host.offer(block, BlockOrigin::Range { from: slow.to, request: slow.id });
        host.pass(ms(2_500));
    }
    assert!(host.requests().is_empty(), "its slot is taken until it ends");
    host.end(&slow, RequestOutcome::Broken);
    assert_eq!(host.requests().pop().unwrap().to, pki(2));
}

#[test]
fn the_next_block_is_asked_for_twice_if_it_is_late() {
    let blocks = chain(30, 10);
    let mut host = Host::with(1, StateConfig { requests_max: 1, ..StateConfig::default() });
    host.claim(1, 30);
    let first = host.requests().pop().unwrap();
    host.claim(2, 30);
    host.pass(ms(500));
    let hedge = host.requests().pop().unwrap();
    assert_eq!((hedge.to, hedge.from), (pki(2), n(1)));
    host.answer(&hedge, &blocks);
    host.answer(&first, &blocks);
    assert_eq!(host.height(), 30);
}

#[test]
fn a_lone_source_that_failed_is_asked_again() {
    let blocks = chain(30, 10);
    let mut host = Host::with(1, one_at_a_time());
    host.claim(1, 30);
    for _ in 0..3 {
        let request = host.requests().pop().unwrap();
        host.end(&request, RequestOutcome::Broken);
        host.pass(ms(60_000));
    }
    let request = host.requests().pop().unwrap();
    host.answer(&request, &blocks);
    assert_eq!(host.height(), 30);
}

#[test]
fn without_a_usable_peer_the_ordering_service_is_asked_and_the_wait_has_a_reason() {
    let blocks = chain(30, 10);
    let mut host = Host::with(1, StateConfig { enabled: false, ..StateConfig::default() });
    host.claim(1, 30);
    host.pass(ms(4_000));
    assert!(host.requests().is_empty());
    assert!(host.stalled().unwrap().contains("peer.gossip.state.enabled"));
    assert!(host.actions.contains(&Action::Source { wanted: true }));
    for block in &blocks[1..] {
        host.offer(block, BlockOrigin::Source);
    }
    assert!(host.actions.contains(&Action::Source { wanted: false }));
    assert_eq!(host.stalled(), None);
}

// fabric: gossip/state/state_test.go TestLargeBlockGap
#[test]
fn far_behind_with_a_slow_ledger_the_window_stays_within_its_budget() {
    let config = StateConfig {
        budget_bytes: 200_000,
        range_bytes: 20_000,
        commit_bytes: 50_000,
        ..StateConfig::default()
    };
    let blocks = chain(500, 1_000);
    let mut host = Host::with(1, config);
    host.claim(1, 500);
    host.claim(2, 500);
    host.commits = false;
    for _ in 0..2_000 {
        host.pass(ms(10));
        for request in host.requests() {
            host.answer(&request, &blocks);
        }
        host.commit_asked();
    }
    assert_eq!(host.height(), 500);
    assert!(host.machine.stats().buffered_bytes_max <= 200_000);
}

#[test]
fn a_block_refused_above_a_missing_configuration_is_nobodys_fault_and_fetched_again() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.configs.insert(1);
    host.verifies = false;
    host.push(&blocks[3]);
    host.tell(Input::Refused {
        number: n(3),
        origin: BlockOrigin::Push { from: pki(9) },
        error: gossip_api::BlockError::PolicyNotSatisfied { number: n(3), policy: "p".into() },
    });
    assert!(host.blamed().is_empty());
    host.verifies = true;
    host.claim(1, 4);
    host.pass(ms(500));
    let request = host.requests().pop().unwrap();
    assert_eq!(request.through, n(2), "not asked for before something was committed");
    host.answer(&request, &blocks);
    host.pass(ms(500));
    let request = host.requests().pop().unwrap();
    host.answer(&request, &blocks);
    assert_eq!(host.height(), 4);
}

#[test]
fn whoever_answers_nothing_at_the_start_is_soon_asked_again_for_it_may_not_know_us_yet() {
    let blocks = chain(200, 10);
    let mut host = Host::with(1, one_at_a_time());
    host.claim(2, 200);
    let request = host.requests().pop().unwrap();
    host.end(&request, RequestOutcome::Complete);
    host.pass(ms(100));
    let request = host.requests().pop().expect("asked again without another word of its own");
    host.answer(&request, &blocks);
    let request = host.requests().pop().unwrap();
    host.end(&request, RequestOutcome::Complete);
    host.pass(ms(60_000));
    assert!(host.requests().is_empty(), "it served others before: now it has not what it claimed");
}

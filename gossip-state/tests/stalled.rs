//! A channel that stands still says what it waits for; and no setting leaves it without a way to catch up.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use std::time::Duration;

use common::{Host, chain, fork, ms, n};
use gossip_api::{Block, ChannelId, Mono, Now, Wall};
use gossip_state::{
    Action, BlockOrigin, Input, RequestOutcome, StalledReason, StateConfig, StateTransfer,
};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

fn reason(host: &Host) -> Option<StalledReason> {
    host.machine.stalled_reason(Now { mono: host.now, wall: Wall::default() })
}

#[test]
fn before_the_ledger_has_told_its_height() {
    let channel = ChannelId::new("trade").unwrap();
    let config = StateConfig::default().checked().unwrap();
    let machine = StateTransfer::new(channel, config, ChaCha8Rng::seed_from_u64(1));
    let now = Now { mono: Mono::ZERO, wall: Wall::default() };
    let told = machine.stalled_reason(now).unwrap();
    assert_eq!(told, StalledReason::NotStarted);
    assert_eq!(told.to_string(), "waits for the ledger to tell its height");
}

#[test]
fn a_channel_at_its_tip_waits_for_nothing() {
    let mut host = Host::at(5);
    host.claim(1, 5);
    host.pass(ms(60_000));
    assert_eq!(reason(&host), None);
}

#[test]
fn a_conflict_an_operator_has_to_decide() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    host.push(&fork(&blocks[..1], 2, 10, 1)[1]);
    assert_eq!(reason(&host), Some(StalledReason::Halted { number: n(1) }));
    assert!(host.stalled().unwrap().contains("an operator must decide"));
}

#[test]
fn a_ledger_that_refuses_and_one_that_is_slow() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.commits = false;
    host.push(&blocks[1]);
    host.pass(ms(4_000));
    assert_eq!(reason(&host), None, "a commit may take a while");
    host.pass(ms(2_000));
    assert!(matches!(reason(&host), Some(StalledReason::LedgerSlow { .. })));
    assert_eq!(host.stalled().unwrap(), "the ledger has been committing up to block 1 for 6.0 s");
    host.tell(Input::CommitFailed { reason: "disk full".into() });
    assert!(matches!(reason(&host), Some(StalledReason::LedgerFails { .. })));
    let told = host.stalled().unwrap();
    assert_eq!(told, "the ledger refuses block 1 (disk full); next attempt in 1.0 s");
}

#[test]
fn a_verification_that_does_not_end() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.verifies = false;
    host.push(&blocks[1]);
    host.pass(ms(4_000));
    assert_eq!(reason(&host), Some(StalledReason::Verifying { number: n(1) }));
    assert_eq!(host.stalled().unwrap(), "block 1 is still being verified");
}

#[test]
fn fetching_that_is_switched_off() {
    let mut host = Host::with(1, StateConfig { enabled: false, ..StateConfig::default() });
    host.claim(1, 9);
    host.pass(ms(4_000));
    assert!(matches!(reason(&host), Some(StalledReason::FetchingOff { .. })));
    let told = host.stalled().unwrap();
    assert!(told.contains("block 1 is missing, peers are at height 9"), "{told}");
    assert!(told.contains("peer.gossip.state.enabled"), "{told}");
}

#[test]
fn a_block_that_nobody_claims_and_one_that_nobody_delivers() {
    let blocks = chain(9, 10);
    let mut host = Host::at(1);
    host.push(&blocks[5]);
    host.pass(ms(4_000));
    assert_eq!(reason(&host), Some(StalledReason::NoSource { number: n(1) }));
    assert!(host.stalled().unwrap().contains("no connected peer claims to have it"));
    host.claim(1, 9);
    host.claim(2, 9);
    for _ in 0..2 {
        for request in host.requests() {
            host.end(&request, RequestOutcome::TimedOut);
        }
        host.pass(ms(500));
    }
    let failed = StalledReason::SourcesFail { number: n(1), claimants: 2 };
    assert_eq!(reason(&host), Some(failed));
    assert!(host.stalled().unwrap().contains("none of the 2 peers"));
}

fn settings() -> impl Strategy<Value = StateConfig> {
    let times = proptest::array::uniform8(0..20_000_u64);
    let counts = (0..20_u64, 1..60_u64, 1..8_usize, 1..4_usize, 0..600_u64, 1..10_usize);
    let bytes = (1..20_000_u64, 0..60_000_usize, 0..4_000_usize);
    (any::<bool>(), times, counts, bytes).prop_map(|(enabled, times, counts, bytes)| {
        let [tip_wait, patience, hedge, retry, retry_more, penalty, penalty_more, source] = times;
        let (tip_blocks, range_blocks, requests, per_source, window_more, commit) = counts;
        let (range_bytes, budget_more, commit_bytes) = bytes;
        StateConfig {
            enabled,
            tip_wait: ms(tip_wait + 1),
            tip_blocks,
            patience: ms(patience + 1),
            range_blocks,
            range_bytes,
            requests_max: requests,
            requests_per_source: per_source,
            hedge_after: ms(hedge + 1),
            window_blocks: range_blocks + window_more,
            budget_bytes: range_bytes as usize + budget_more,
            commit_blocks: commit,
            commit_bytes,
            commit_retry: ms(retry + 1),
            commit_retry_max: ms(retry + retry_more + 1),
            penalty: ms(penalty + 1),
            penalty_max: ms(penalty + penalty_more + 1),
            source_after: ms(source),
        }
    })
}

/// The ordering service gives what there is room for, if it is asked.
fn pour(host: &mut Host, blocks: &[Block], is_open: &mut bool) {
    for action in std::mem::take(&mut host.actions) {
        match action {
            Action::Source { wanted } => *is_open = wanted,
            other => host.actions.push(other),
        }
    }
    while *is_open && host.machine.room() {
        let next = host.machine.next_missing().get() as usize;
        let Some(block) = blocks.get(next) else { return };
        host.offer(block, BlockOrigin::Source);
        if host.machine.next_missing().get() as usize == next {
            return;
        }
    }
}

/// Whether a peer 80 blocks behind arrives within ten minutes, and what it is told to wait at the tip: with a window
/// as small as the tip every block is waited for.
fn catches_up(config: StateConfig, peers: bool) -> bool {
    let blocks = chain(81, 700);
    let waits = config.tip_wait.saturating_mul(80);
    let mut host = Host::with(1, config);
    let mut is_open = false;
    // A neighbour that has everything and one that has nothing, or only the second.
    host.claim(1, if peers { 81 } else { 1 });
    host.claim(2, 81);
    // What a follower probes or the mesh tells: that much is certain.
    host.tell(Input::Header { header: Block { data: bytes::Bytes::new(), ..blocks[80].clone() } });
    let end = host.now.after(Duration::from_secs(600)).after(waits);
    while host.now < end && host.height() < 81 {
        for request in host.requests() {
            if request.to == common::pki(1) {
                host.answer(&request, &blocks);
            } else {
                host.end(&request, RequestOutcome::TimedOut);
            }
        }
        pour(&mut host, &blocks, &mut is_open);
        host.pass(ms(200));
    }
    host.height() == 81
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn no_setting_leaves_a_peer_without_a_way_to_catch_up(config in settings(), peers: bool) {
        prop_assume!(config.clone().checked().is_ok());
        prop_assert!(catches_up(config.clone(), peers), "{config:?}");
    }
}

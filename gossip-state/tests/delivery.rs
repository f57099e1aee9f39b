//! Blocks reach the ledger in order and exactly once, whatever order they come in.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, ms, n, pki};
use gossip_api::{BlockError, Height};
use gossip_state::invariants::in_order_exactly_once;
use gossip_state::{Action, BlockOrigin, DropReason, Input, StateConfig};
use proptest::prelude::*;

// fabric: gossip/state/payloads_buffer_test.go TestNewPayloadsBuffer
#[test]
fn the_cursor_is_the_ledgers_height() {
    let host = Host::at(10);
    assert_eq!(host.machine.height(), Height::new(10));
    assert_eq!(host.machine.next_missing(), n(10));
}

// fabric: gossip/state/payloads_buffer_test.go TestPayloadsBufferImpl_Push
#[test]
fn an_older_block_is_refused_and_the_expected_one_committed() {
    let blocks = chain(12, 10);
    let mut host = Host::at(10);
    assert!(!host.machine.wants(n(4)));
    host.push(&blocks[4]);
    assert_eq!(host.dropped(), [(4, DropReason::Known)]);
    host.push(&blocks[10]);
    assert_eq!(host.ledger, [n(10)]);
}

// fabric: gossip/state/payloads_buffer_test.go TestPayloadsBufferImpl_ConcurrentPush
#[test]
fn ten_pushes_of_one_block_cost_one_verification() {
    let blocks = chain(2, 10);
    let mut host = Host::at(1);
    host.verifies = false;
    for _ in 0..10 {
        host.push(&blocks[1]);
    }
    let verifications = host.actions.iter().filter(|a| matches!(a, Action::Verify { .. })).count();
    assert_eq!(verifications, 1);
    assert_eq!(host.dropped().len(), 9);
}

// fabric: gossip/state/payloads_buffer_test.go TestPayloadsBufferImpl_Interleave
#[test]
fn blocks_that_come_while_a_commit_is_under_way_are_committed_after_it() {
    let blocks = chain(5, 10);
    let mut host = Host::at(1);
    host.commits = false;
    host.push(&blocks[1]);
    host.push(&blocks[3]);
    host.push(&blocks[2]);
    let commits = |host: &Host| {
        let commits = host.actions.iter().filter_map(|action| match action {
            Action::Commit { blocks, .. } => Some(blocks.len()),
            _ => None,
        });
        commits.collect::<Vec<_>>()
    };
    assert_eq!(commits(&host), [1]);
    host.commit(&blocks[1..2]);
    assert_eq!(commits(&host), [1, 2]);
}

// fabric: gossip/state/state_test.go TestOverPopulation
#[test]
fn blocks_too_far_ahead_are_refused_and_the_contiguous_prefix_is_committed() {
    let config = StateConfig { window_blocks: 10, range_blocks: 10, ..StateConfig::default() };
    let blocks = chain(40, 10);
    let mut host = Host::with(1, config);
    for block in &blocks[1..4] {
        host.push(block);
    }
    for block in &blocks[6..40] {
        host.push(block);
        assert!(host.machine.stats().buffered_blocks <= 10);
    }
    assert_eq!(host.ledger, [n(1), n(2), n(3)]);
    assert!(!host.machine.wants(n(14)));
    assert!(host.dropped().contains(&(14, DropReason::BeyondWindow)));
    assert!(!host.machine.wants(n(u64::MAX)));
}

// fabric: gossip/state/state_test.go TestGossipReception
#[test]
fn a_valid_block_is_passed_on_once_and_its_height_announced() {
    let blocks = chain(2, 10);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    let accepted = host.actions.iter().filter(|a| matches!(a, Action::Accepted { .. })).count();
    assert_eq!(accepted, 1);
    assert!(host.actions.contains(&Action::Announce { height: Height::new(2) }));
    assert_eq!(host.machine.stats().committed.push, 1);
}

// fabric: gossip/state/state_test.go TestHaltChainProcessing
#[test]
fn a_ledger_that_refuses_is_asked_again_and_the_wait_has_a_reason() {
    let blocks = chain(3, 10);
    let mut host = Host::at(1);
    host.commits = false;
    host.push(&blocks[1]);
    host.push(&blocks[2]);
    host.tell(Input::CommitFailed { reason: "disk full".into() });
    assert!(host.stalled().unwrap().contains("disk full"));
    assert!(!host.machine.wants(n(1)));
    host.commits = true;
    host.pass(ms(999));
    assert!(host.ledger.is_empty());
    host.pass(ms(1));
    assert_eq!(host.ledger, [n(1), n(2)]);
    assert_eq!(host.stalled(), None);
}

#[test]
fn nothing_above_a_configuration_is_verified_before_it_is_committed() {
    let blocks = chain(5, 10);
    let mut host = Host::at(1);
    host.configs.insert(2);
    host.commits = false;
    for block in &blocks[1..5] {
        host.push(block);
    }
    let verified = |host: &Host| {
        let accepted = host.actions.iter().filter_map(|action| match action {
            Action::Accepted { block, .. } => Some(block.number.get()),
            _ => None,
        });
        accepted.collect::<Vec<_>>()
    };
    assert_eq!(verified(&host), [1, 2]);
    host.commit(&blocks[1..2]);
    assert_eq!(verified(&host), [1, 2]);
    host.commits = true;
    host.commit(&blocks[2..3]);
    assert_eq!(verified(&host), [1, 2, 3, 4]);
    assert_eq!(host.height(), 5);
}

#[test]
fn what_was_verified_ahead_of_a_gap_is_verified_again_if_a_configuration_filled_it() {
    let blocks = chain(4, 10);
    let mut host = Host::at(1);
    host.configs.insert(2);
    host.push(&blocks[3]);
    host.push(&blocks[2]);
    host.verifies = false;
    host.push(&blocks[1]);
    let Some(Action::Verify { block, origin }) = host.actions.pop() else { panic!("not verified") };
    host.tell(Input::Verified { block, origin });
    assert_eq!(host.height(), 3, "the configuration is committed");
    let again =
        Action::Verify { block: blocks[3].clone(), origin: BlockOrigin::Push { from: pki(9) } };
    assert!(host.actions.contains(&again));
}

#[test]
fn a_block_that_does_not_continue_the_chain_is_refused_and_its_sender_blamed() {
    let blocks = chain(4, 10);
    let other = fork(&blocks[..2], 4, 10, 1);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    host.push(&blocks[2]);
    host.push(&other[3]);
    let error = BlockError::PreviousHashMismatch(n(3));
    assert_eq!(host.dropped(), [(3, DropReason::Refused(error))]);
    assert_eq!(host.blamed(), [pki(9)]);
    host.push(&blocks[3]);
    assert_eq!(host.height(), 4);
}

#[test]
fn a_forged_block_makes_room_for_the_genuine_one() {
    let blocks = chain(3, 10);
    let forged = fork(&blocks[..1], 2, 10, 1);
    let mut host = Host::at(1);
    host.forged.push(forged[1].clone());
    host.push(&forged[1]);
    assert_eq!(host.blamed(), [pki(9)]);
    assert!(host.machine.wants(n(1)));
    host.push(&blocks[1]);
    assert_eq!(host.height(), 2);
}

// fabric: gossip/state/state_test.go TestBlockingEnqueue
#[test]
fn the_source_waits_while_the_window_is_full() {
    let config = StateConfig { window_blocks: 4, range_blocks: 4, ..StateConfig::default() };
    let blocks = chain(20, 10);
    let mut host = Host::with(1, config);
    host.commits = false;
    let mut read = 1;
    while host.machine.room() {
        host.offer(&blocks[read], BlockOrigin::Source);
        read += 1;
    }
    assert_eq!(read, 5);
    assert!(host.dropped().is_empty());
    host.commits = true;
    host.commit(&blocks[1..2]);
    assert!(host.machine.room());
}

#[test]
fn low_numbers_displace_high_ones_when_bytes_run_out() {
    let config = StateConfig { budget_bytes: 5_000, range_bytes: 1_000, ..StateConfig::default() };
    let blocks = chain(20, 1_000);
    let mut host = Host::with(1, config);
    for block in blocks[5..12].iter().rev() {
        host.push(block);
    }
    assert!(host.machine.stats().buffered_bytes <= 5_000);
    assert_eq!(host.machine.next_missing(), n(1));
    for block in &blocks[1..5] {
        host.push(block);
    }
    assert!(host.height() >= 5);
    assert!(host.machine.stats().buffered_bytes_max <= 5_000 + 2_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_order_with_repetitions_gives_one_ordered_ledger(
        order in proptest::collection::vec(1_usize..30, 0..200),
        configs in proptest::collection::btree_set(1_u64..30, 0..6),
        slow in any::<bool>(),
    ) {
        let blocks = chain(30, 10);
        let mut host = Host::at(1);
        host.configs = configs;
        host.commits = !slow;
        for index in order {
            host.push(&blocks[index]);
            host.commit_asked();
        }
        host.commits = true;
        host.commit_asked();
        for block in &blocks[1..] {
            host.push(block);
        }
        prop_assert!(in_order_exactly_once(Height::new(1), host.ledger.iter().copied()));
        prop_assert_eq!(host.height(), 30);
    }
}

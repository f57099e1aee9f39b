//! Orderers that sign two blocks with one number. hardening B12, B13; protocol.md 6.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, n};
use gossip_api::{Block, SeqNum};
use gossip_state::{Action, Conflict, DropReason, Input};

fn conflicts(host: &Host) -> Vec<Conflict> {
    let conflicts = host.actions.iter().filter_map(|action| match action {
        Action::Conflict(conflict) => Some((**conflict).clone()),
        _ => None,
    });
    conflicts.collect()
}

/// A host at height 4 that was shown another signed block 3.
fn halted() -> (Host, Vec<Block>, Vec<Block>) {
    let blocks = chain(6, 10);
    let other = fork(&blocks[..3], 6, 10, 1);
    let mut host = Host::at(1);
    for block in &blocks[1..4] {
        host.push(block);
    }
    assert!(host.machine.is_conflict(&other[3]));
    host.push(&other[3]);
    (host, blocks, other)
}

#[test]
fn two_signed_blocks_with_one_number_stop_the_channel_with_evidence() {
    let (mut host, blocks, other) = halted();
    let found = conflicts(&host);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].number, found[0].halt), (n(3), true));
    assert_eq!(found[0].kept, blocks[3].header().hash());
    assert_eq!(found[0].other.header, other[3].header());
    assert!(!host.machine.wants(n(4)));
    assert!(!host.machine.room());
    host.push(&blocks[4]);
    assert_eq!(host.height(), 4);
    assert!(host.stalled().unwrap().contains("an operator must decide"));
}

#[test]
fn the_operator_lets_the_channel_go_on_with_the_block_it_has() {
    let (mut host, blocks, _) = halted();
    host.tell(Input::Resume { accept: blocks[3].header().hash() });
    host.push(&blocks[4]);
    assert_eq!(host.height(), 5);
}

#[test]
fn a_channel_whose_ledger_holds_the_wrong_block_stays_stopped() {
    let (mut host, blocks, other) = halted();
    host.tell(Input::Resume { accept: other[3].header().hash() });
    host.push(&blocks[4]);
    assert_eq!(host.height(), 4);
    assert!(host.stalled().is_some());
}

#[test]
fn a_wrong_block_that_is_not_committed_yet_is_replaced() {
    let blocks = chain(6, 10);
    let other = fork(&blocks[..3], 6, 10, 1);
    let mut host = Host::at(1);
    host.push(&blocks[3]);
    host.push(&other[3]);
    assert_eq!(conflicts(&host).len(), 1);
    host.tell(Input::Resume { accept: other[3].header().hash() });
    for block in [&blocks[1], &blocks[2], &blocks[3]] {
        host.push(block);
    }
    assert_eq!(host.height(), 3, "the block that was ruled out is not taken again");
    host.push(&other[3]);
    host.push(&other[4]);
    assert_eq!(host.height(), 5);
}

#[test]
fn another_set_of_signatures_over_one_header_is_no_conflict() {
    let blocks = chain(3, 10);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    let mut same = blocks[1].clone();
    same.metadata = b"other signatures".as_slice().into();
    assert!(!host.machine.is_conflict(&same));
    host.push(&same);
    assert_eq!(host.dropped(), [(1, DropReason::Known)]);
    assert!(conflicts(&host).is_empty());
}

#[test]
fn forged_conflicts_cost_one_verification_each_and_no_memory() {
    let blocks = chain(3, 10);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    for flavour in 1..=200 {
        let forged = fork(&blocks[..1], 2, 10, flavour);
        host.forged = vec![forged[1].clone()];
        host.push(&forged[1]);
    }
    assert!(conflicts(&host).is_empty());
    host.push(&blocks[2]);
    assert_eq!(host.height(), 3);
}

#[test]
fn below_the_last_configuration_a_conflict_is_evidence_only() {
    let blocks = chain(4, 10);
    let other = fork(&blocks[..1], 2, 10, 1);
    let mut host = Host::at(1);
    host.configs.insert(2);
    for block in &blocks[1..3] {
        host.push(block);
    }
    host.push(&other[1]);
    assert!(!conflicts(&host)[0].halt);
    host.push(&blocks[3]);
    assert_eq!(host.height(), 4);
}

#[test]
fn a_halt_outlives_a_restart_until_the_operator_decides() {
    let blocks = chain(6, 10);
    let mut host = Host::at(4);
    host.tell(Input::Halted { number: SeqNum::new(4), kept: None });
    assert!(!host.machine.wants(n(4)));
    host.tell(Input::Resume { accept: blocks[4].header().hash() });
    let other = fork(&blocks[..4], 6, 10, 1);
    host.push(&other[4]);
    assert_eq!(host.height(), 4);
    host.push(&blocks[4]);
    assert_eq!(host.height(), 5);
}

#[test]
fn after_a_restart_the_operator_cannot_decide_against_the_ledger() {
    let blocks = chain(6, 10);
    let other = fork(&blocks[..3], 6, 10, 1);
    let mut host = Host::at(4);
    let kept = Some(blocks[3].header().hash());
    host.tell(Input::Halted { number: n(3), kept });
    host.tell(Input::Resume { accept: other[3].header().hash() });
    assert!(host.stalled().unwrap().contains("an operator must decide"));
    host.tell(Input::Resume { accept: blocks[3].header().hash() });
    assert!(host.actions.contains(&Action::Resumed { number: n(3) }));
    assert_eq!(host.machine.halted(), None);
}

#[test]
fn evidence_of_a_conflict_above_the_ledger_holds_both_headers_with_their_signatures() {
    let blocks = chain(6, 10);
    let other = fork(&blocks[..3], 6, 10, 1);
    let mut host = Host::at(2);
    host.push(&blocks[3]);
    host.push(&other[3]);
    let found = conflicts(&host);
    let kept = found[0].kept_evidence.as_ref().unwrap().to_block();
    assert_eq!((kept.header(), kept.metadata), (blocks[3].header(), blocks[3].metadata.clone()));
    let other_block = found[0].other.to_block();
    assert_eq!(other_block.header(), other[3].header());
    assert!(kept.data.is_empty() && other_block.data.is_empty());
}

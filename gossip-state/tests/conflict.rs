//! Orderers that sign two blocks with one number. hardening B12, B13; protocol.md 6.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, n, pki};
use gossip_api::{Block, SeqNum};
use gossip_state::{Action, BlockOrigin, Conflict, DropReason, Input};

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

/// Blocks 1 to `len` committed, block 2 of them a configuration; another signed block 1 is shown.
fn contradicted_below_a_configuration(len: u64, dismissed: bool) -> Conflict {
    let blocks = chain(len + 1, 10);
    let other = fork(&blocks[..1], 2, 10, 1);
    let mut host = Host::at(1);
    host.configs.insert(2);
    host.dismissed = dismissed;
    let kept = blocks[1].clone();
    for block in &blocks[1..] {
        host.push(block);
    }
    assert_eq!(host.height(), len + 1);
    assert!(host.machine.is_conflict(&other[1]) && !host.machine.is_conflict(&kept));
    host.push(&other[1]);
    let found = conflicts(&host);
    assert_eq!(host.machine.halted().is_some(), found[0].halt);
    found[0].clone()
}

#[test]
fn below_the_last_configuration_a_conflict_near_the_tip_stops_the_channel() {
    assert!(contradicted_below_a_configuration(3, false).halt);
    assert!(contradicted_below_a_configuration(1_000, false).halt);
}

#[test]
fn what_dismissed_orderers_signed_is_evidence_only() {
    assert!(!contradicted_below_a_configuration(3, true).halt);
}

#[test]
fn a_header_above_the_ledger_contradicts_as_a_block_does() {
    let blocks = chain(6, 10);
    let other = fork(&blocks[..3], 6, 10, 1);
    let mut host = Host::at(1);
    let header = |block: &Block| Block { data: bytes::Bytes::new(), ..block.clone() };
    host.tell(Input::Header { header: header(&blocks[3]) });
    assert!(host.machine.is_conflict(&other[3]));
    let origin = BlockOrigin::Push { from: pki(4) };
    host.tell(Input::Sighted { header: header(&other[3]), origin });
    let found = conflicts(&host);
    assert_eq!((found[0].number, found[0].halt), (n(3), true));
    assert_eq!(found[0].kept_evidence.as_ref().unwrap().header, blocks[3].header());
    assert!(!host.machine.is_conflict(&other[3]), "shown again it says nothing new");
    assert!(host.blamed().is_empty());
}

#[test]
fn a_block_that_contradicts_a_verified_header_is_not_committed_until_the_operator_says_so() {
    let blocks = chain(4, 10);
    let other = fork(&blocks[..2], 4, 10, 1);
    for accepted in [&blocks, &other] {
        let mut host = Host::at(1);
        host.tell(Input::Header { header: blocks[2].clone() });
        host.push(&blocks[1]);
        host.push(&other[2]);
        assert_eq!((host.height(), conflicts(&host).len()), (2, 1));
        host.tell(Input::Resume { accept: accepted[2].header().hash() });
        host.push(&accepted[2]);
        assert_eq!(host.height(), 3, "{:?}", host.actions);
        assert_eq!(host.last_hash, Some(accepted[2].header().hash()));
    }
}

#[test]
fn who_shows_a_forged_contradiction_is_blamed_and_nothing_stops() {
    let blocks = chain(3, 10);
    let forged = fork(&blocks[..1], 2, 10, 1);
    let mut host = Host::at(1);
    host.push(&blocks[1]);
    host.forged = vec![forged[1].clone()];
    let origin = BlockOrigin::Push { from: pki(4) };
    host.tell(Input::Sighted { header: forged[1].clone(), origin });
    assert_eq!(host.blamed(), [pki(4)]);
    assert!(conflicts(&host).is_empty() && host.machine.halted().is_none());
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

//! A ledger whose records go bad while it runs, or that has lost its end. Cases K4 and K2 of the threat model.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{Host, chain, fork, ms, n, pki};
use gossip_api::{Block, Height};
use gossip_state::{Action, Input, RequestOutcome};

fn mended(host: &Host) -> Vec<Block> {
    let mends = host.actions.iter().filter_map(|action| match action {
        Action::Mend { block } => Some(block.clone()),
        _ => None,
    });
    mends.collect()
}

/// Height 20, two neighbours that have all of it, and block 7 unreadable.
fn damaged(blocks: &[Block]) -> Host {
    let mut host = Host::at(20);
    host.claim(1, 20);
    host.claim(2, 20);
    assert!(host.requests().is_empty(), "nothing is missing");
    host.tell(Input::Damaged { number: n(7), hash: Some(blocks[7].header().hash()) });
    host
}

#[test]
fn a_damaged_block_is_fetched_from_a_neighbour_and_put_back_once() {
    let blocks = chain(20, 100);
    let mut host = damaged(&blocks);
    let asked = host.requests();
    assert_eq!((asked[0].from, asked[0].through, asked.len()), (n(7), n(7), 1));
    assert!(host.machine.wants(n(7)) && !host.machine.wants(n(8)));
    host.tell(Input::Damaged { number: n(7), hash: None });
    assert!(host.requests().is_empty(), "once");
    host.answer(&asked[0], &blocks);
    assert_eq!(mended(&host), [blocks[7].clone()]);
    host.tell(Input::Mended { number: n(7), done: true });
    host.pass(ms(600_000));
    assert!(host.requests().is_empty());
    assert_eq!((host.machine.stats().mended, host.machine.stats().damaged), (1, 0));
    assert_eq!(host.height(), 20);
}

#[test]
fn another_block_than_the_one_that_was_there_is_not_put_back() {
    let blocks = chain(20, 100);
    let mut host = damaged(&blocks);
    let asked = host.requests();
    // Signed as it may be, its header is not the one that block 8 names.
    host.answer(&asked[0], &fork(&blocks[..7], 20, 100, 1));
    assert!(mended(&host).is_empty());
    // The right header over wrong data does not verify, and its sender is at fault.
    host.pass(ms(2_000));
    host.claim(1, 20);
    host.claim(2, 20);
    let asked = host.requests();
    let forged = Block { data: vec![1; 100].into(), ..blocks[7].clone() };
    host.forged = vec![forged.clone()];
    let mut spoiled = blocks.clone();
    spoiled[7] = forged;
    host.answer(&asked[0], &spoiled);
    assert!(mended(&host).is_empty());
    assert_eq!(host.blamed(), [asked[0].to]);
    let again = host.requests();
    assert_ne!(again[0].to, asked[0].to, "the other one is asked");
    host.answer(&again[0], &blocks);
    assert_eq!(mended(&host).len(), 1);
}

#[test]
fn a_neighbour_that_gives_nothing_is_followed_by_another() {
    let blocks = chain(20, 100);
    let mut host = damaged(&blocks);
    for outcome in [RequestOutcome::TimedOut, RequestOutcome::Broken, RequestOutcome::Complete] {
        let asked = host.requests();
        host.end(&asked[0], outcome);
        host.pass(ms(10_000));
    }
    let asked = host.requests();
    host.answer(&asked[0], &blocks);
    assert_eq!(mended(&host).len(), 1);
}

#[test]
fn a_ledger_that_does_not_take_it_is_given_it_again_later() {
    let blocks = chain(20, 100);
    let mut host = damaged(&blocks);
    let asked = host.requests();
    host.answer(&asked[0], &blocks);
    host.tell(Input::Mended { number: n(7), done: false });
    assert!(host.requests().is_empty(), "not at once");
    host.pass(ms(31_000));
    let asked = host.requests();
    assert_eq!(asked[0].from, n(7));
    assert_eq!(host.machine.stats().damaged, 1);
}

#[test]
fn what_nobody_can_give_back_is_not_asked_for() {
    let mut host = Host::at(20);
    host.claim(1, 30);
    host.requests();
    for number in [0, 20, 21, u64::MAX] {
        host.tell(Input::Damaged { number: n(number), hash: None });
    }
    assert_eq!(host.machine.stats().damaged, 0);
}

#[test]
fn damage_is_remembered_within_bounds_and_mended_while_blocks_arrive() {
    let blocks = chain(400, 100);
    let mut host = Host::at(300);
    for number in 1..300 {
        host.tell(Input::Damaged { number: n(number), hash: None });
    }
    assert_eq!(host.machine.stats().damaged, 64);
    host.claim(1, 400);
    host.claim(2, 400);
    for _ in 0..400 {
        for request in host.requests() {
            host.answer(&request, &blocks);
        }
        for block in mended(&host) {
            host.actions.retain(|action| !matches!(action, Action::Mend { .. }));
            host.tell(Input::Mended { number: block.number, done: true });
        }
    }
    assert_eq!(host.height(), 400);
    assert_eq!((host.machine.stats().mended, host.machine.stats().damaged), (64, 0));
}

#[test]
fn a_ledger_that_lost_its_end_is_followed_down_and_filled_again() {
    let blocks = chain(40, 100);
    let mut host = Host::at(1);
    for block in &blocks[1..30] {
        host.push(block);
    }
    host.push(&blocks[32]);
    assert_eq!(host.height(), 30);
    let lost = blocks[11].header().hash();
    host.tell(Input::Started { height: Height::new(12), tip: Some(lost) });
    assert_eq!(host.height(), 12);
    assert!(host.actions.contains(&Action::Announce { height: Height::new(12) }));
    host.last_hash = Some(lost);
    host.claim(1, 40);
    for _ in 0..20 {
        for request in host.requests() {
            assert_eq!(request.to, pki(1));
            host.answer(&request, &blocks);
        }
    }
    assert_eq!(host.height(), 40);
}

//! Serving others: bounded, in order, block by block.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

mod common;

use common::{chain, n, pki};
use gossip_api::message::StateRequest;
use gossip_api::{Block, ChannelId, Height, Machine, Message, Mono, Nonce, Now, Wall};
use gossip_state::{ServeAction, ServeConfig, ServeDrop, ServeInput, Server};

fn now() -> Now {
    Now { mono: Mono::ZERO, wall: Wall::default() }
}

fn server(config: ServeConfig) -> Server {
    Server::new(ChannelId::new("trade").unwrap(), config.checked().unwrap())
}

fn ask(from: u64, to: u64, bytes_max: u64) -> StateRequest {
    let channel = ChannelId::new("trade").unwrap();
    StateRequest { nonce: Nonce::new(5), channel, from: n(from), to: n(to), bytes_max }
}

fn asked(who: u8, inbound: u64, request: StateRequest) -> ServeInput {
    ServeInput::Asked { from: pki(who), inbound, request, height: Height::new(20) }
}

/// Answers reads from `blocks` until nothing is read; returns the numbers sent.
fn run(server: &mut Server, input: ServeInput, blocks: &[Block]) -> (Vec<u64>, usize) {
    let mut sent = Vec::new();
    let mut ends = 0;
    let mut actions = server.handle(now(), input);
    while !actions.is_empty() {
        let mut next = Vec::new();
        for action in actions {
            match action {
                ServeAction::Read { inbound, number } => {
                    let block = blocks.get(number.get() as usize).cloned();
                    next.extend(server.handle(now(), ServeInput::Read { inbound, block }));
                }
                ServeAction::Respond { message: Message::StateResponse(response), .. } => {
                    assert_eq!(response.nonce, Nonce::new(5));
                    sent.push(response.block.number.get());
                }
                ServeAction::End { .. } => ends += 1,
                ServeAction::Respond { .. } | ServeAction::Drop { .. } => {}
            }
        }
        actions = next;
    }
    (sent, ends)
}

#[test]
fn a_range_is_served_in_order_up_to_the_height() {
    let blocks = chain(20, 10);
    let mut server = server(ServeConfig::default());
    let (sent, ends) = run(&mut server, asked(1, 1, ask(17, u64::MAX, 1 << 20)), &blocks);
    assert_eq!((sent, ends), (vec![17, 18, 19], 1));
}

#[test]
fn an_answer_ends_at_its_byte_bound_but_has_one_block_at_least() {
    let blocks = chain(20, 1_000);
    let mut server = server(ServeConfig::default());
    let (sent, _) = run(&mut server, asked(1, 1, ask(0, 19, 2_500)), &blocks);
    assert_eq!(sent, [0, 1]);
    let (sent, _) = run(&mut server, asked(1, 2, ask(0, 19, 0)), &blocks);
    assert_eq!(sent, [0]);
}

// fabric: gossip/state/state_test.go TestStateRequestValidator
#[test]
fn reversed_and_foreign_and_too_high_requests_are_ended_at_once() {
    let mut server = server(ServeConfig::default());
    let mut foreign = ask(0, 1, 10);
    foreign.channel = ChannelId::new("other").unwrap();
    let cases = [
        (ask(5, 4, 10), ServeDrop::Reversed),
        (ask(20, 30, 10), ServeDrop::AboveHeight),
        (ask(u64::MAX, u64::MAX, 10), ServeDrop::AboveHeight),
        (foreign, ServeDrop::WrongChannel),
    ];
    for (request, reason) in cases {
        let actions = server.handle(now(), asked(1, 1, request));
        let expected =
            [ServeAction::Drop { from: pki(1), reason }, ServeAction::End { inbound: 1 }];
        assert_eq!(actions, expected);
    }
    assert_eq!(server.stats().active, 0);
}

// hardening B10
#[test]
fn a_thousand_requests_at_once_are_bounded_per_peer_and_in_total() {
    let mut server = server(ServeConfig::default());
    for inbound in 0..1_000 {
        let _ = server.handle(now(), asked((inbound % 50) as u8, inbound, ask(0, 19, u64::MAX)));
    }
    let stats = server.stats();
    assert_eq!((stats.active, stats.waiting), (16, 48));
    let _ = server.handle(now(), ServeInput::Gone { from: pki(0) });
    assert_eq!(server.stats().active, 16, "others take the place");
}

#[test]
fn an_exchange_that_is_withdrawn_ends_and_no_other() {
    let blocks = chain(20, 10);
    let mut server = server(ServeConfig::default());
    for inbound in [1, 2] {
        let _ = server.handle(now(), asked(1, inbound, ask(0, 19, 1 << 20)));
    }
    let withdrawn = server.handle(now(), ServeInput::Withdrawn { inbound: 1 });
    assert_eq!(withdrawn, [ServeAction::End { inbound: 1 }]);
    let late = ServeInput::Read { inbound: 1, block: blocks.first().cloned() };
    assert!(server.handle(now(), late).is_empty(), "nothing goes out any more");
    assert_eq!(server.stats().active, 1);
}

#[test]
fn a_ledger_that_does_not_answer_frees_the_place() {
    let mut server = server(ServeConfig::default());
    let _ = server.handle(now(), asked(1, 1, ask(0, 19, 100)));
    let wakeup = server.next_wakeup().unwrap();
    let late = Now { mono: wakeup.at, wall: Wall::default() };
    assert_eq!(server.handle(late, ServeInput::Tick), [ServeAction::End { inbound: 1 }]);
    assert_eq!(server.next_wakeup(), None);
    assert!(server.handle(late, ServeInput::Read { inbound: 1, block: None }).is_empty());
}

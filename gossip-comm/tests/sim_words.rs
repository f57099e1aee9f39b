//! Bounds and doors of the simulated network: outboxes, downlinks, dials, identities.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod sim_world;

use std::sync::Arc;

use gossip_api::message::CloseReason;
use gossip_api::{Expiration, MessageCryptoService, OrgId};
use gossip_comm::sim::crypto::Authority;
use gossip_comm::sim::{DropCause, PeerSpec};
use gossip_comm::{Command, OutboxConfig, ResponseOutcome};
use sim_world::*;

#[test]
fn a_downlink_is_shared_by_all_that_its_peer_receives() {
    let mut net = star(1, 5, plain());
    net.set_downlink(0, 1_000_000_000);
    (1..5).for_each(|peer| send(&mut net, peer, 0, &data(peer as u64, 1_000_000)));
    send(&mut net, 1, 0, &note(9));
    net.run_for(ms(100));
    let took: Vec<(u128, u64)> = notes(&net, 0)
        .into_iter()
        .map(|(at, number)| (at.since(at_ms(1000)).as_millis(), number))
        .collect();
    // Nothing but the downlink takes time, so that the first is through when it arrives.
    assert_eq!(took, [(5, 1), (5, 9), (13, 2), (21, 3), (29, 4)]);
}

#[test]
fn the_end_of_an_answer_comes_last_over_a_narrow_downlink() {
    let mut net = star(2, 3, plain());
    net.set_downlink(0, 1_000_000);
    ask(&mut net, 0, 1, 7, ms(10_000));
    net.run_for(ms(100));
    send(&mut net, 2, 0, &data(1, 100_000));
    let question = questions(&net, 1)[0];
    (0..20).for_each(|number| answer(&mut net, 1, question, number));
    net.inject(1, Input::Do(Command::EndResponse { to: question }));
    net.run_for(ms(5000));
    assert_eq!(answers(&net, 0), (0..20).collect::<Vec<_>>());
    assert_eq!(outcomes(&net, 0)[0].2, ResponseOutcome::Complete);
}

#[test]
fn the_oldest_control_messages_give_way_when_too_many_wait() {
    let mut net = small_outboxes(3).0;
    net.set_uplink(0, 8_000_000);
    let before = net.stats().peers[1].received_total();
    (0..60_000).for_each(|number| send(&mut net, 0, 1, &note(number)));
    net.run_for(ms(30_000));
    let arrived = notes(&net, 1);
    let bytes = net.stats().peers[1].received_total().bytes - before.bytes;
    let len = bytes as usize / arrived.len();
    // A window with QUIC, and the outbox.
    let kept = (4 << 20) / len + 10_000 / len;
    assert!((kept - 2..=kept + 2).contains(&arrived.len()), "{} of {kept}", arrived.len());
    assert_eq!(net.stats().drops[&DropCause::OutboxFull], 60_000 - arrived.len() as u64);
    let numbers: Vec<u64> = arrived.iter().map(|(_, number)| *number).collect();
    assert!(numbers.is_sorted(), "in order");
    let newest = 10_000 / len as u64;
    assert_eq!(numbers[numbers.len() - newest as usize..][0], 60_000 - newest, "the newest stay");
    let last = arrived.last().unwrap().0.since(at_ms(1000)).as_secs_f64();
    assert!((4.1..4.3).contains(&last), "the uplink is used for what is sent alone: {last} s");
}

#[test]
fn what_gives_way_leaves_its_capacity_to_what_comes() {
    let mut net = small_outboxes(4).0;
    net.set_uplink(0, 8_000_000);
    // Nearly twice as much as the uplink takes, for ten seconds.
    for number in 0..10_000 {
        (0..20).for_each(|part| send(&mut net, 0, 1, &note(number * 20 + part)));
        net.run_for(ms(1));
    }
    net.run_for(ms(10_000));
    let bytes = net.stats().peers[1].received_total().bytes;
    let sent = net.stats().peers[0].sent_total().bytes;
    assert!(sent > 17_500_000, "{sent}");
    // Ten seconds and a window.
    assert!((13_500_000..14_300_000).contains(&bytes), "{bytes}");
}

#[test]
fn a_block_that_does_not_fit_is_refused_and_other_peers_do_not_suffer() {
    let mut net = star(5, 3, plain());
    net.set_uplink(0, 80_000_000);
    (0..40).for_each(|number| send(&mut net, 0, 1, &data(number, 1_000_000)));
    send(&mut net, 0, 2, &data(99, 1_000_000));
    net.run_for(ms(10_000));
    let numbers: Vec<u64> = notes(&net, 1).into_iter().map(|(_, number)| number).collect();
    // 4 MiB are with QUIC, 16 MiB wait, and one was under way between the two.
    assert_eq!(numbers, (0..21).collect::<Vec<_>>());
    assert_eq!(net.stats().drops[&DropCause::OutboxFull], 19);
    assert_eq!(notes(&net, 2).len(), 1);
}

#[test]
fn an_answer_that_outgrows_its_bound_is_broken_off() {
    let mut net = star(6, 2, plain());
    net.set_uplink(1, 8_000_000);
    ask(&mut net, 0, 1, 7, ms(10_000));
    net.run_for(ms(100));
    let question = questions(&net, 1)[0];
    (0..25_000).for_each(|number| answer(&mut net, 1, question, number));
    net.run_for(ms(60_000));
    assert_eq!(outcomes(&net, 0)[0].2, ResponseOutcome::Refused);
    assert!(answers(&net, 0).len() < 25_000);
    assert_eq!(net.stats().drops[&DropCause::OutboxFull], 1);
}

#[test]
fn a_silent_link_keeps_no_more_than_a_sender_does() {
    let mut net = star(7, 2, plain());
    net.split(|peer| u32::from(peer == 1));
    (0..60).for_each(|number| send(&mut net, 0, 1, &data(number, 1_000_000)));
    send(&mut net, 0, 1, &note(99));
    net.run_for(ms(3000));
    net.heal();
    net.run_for(ms(6000));
    let mut numbers: Vec<u64> = notes(&net, 1).into_iter().map(|(_, number)| number).collect();
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..20).chain([99]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(net.stats().drops[&DropCause::OutboxFull], 40);
}

#[test]
fn an_endpoint_that_did_not_answer_is_left_alone_for_a_while_unless_asked_for() {
    let mut net = world(8, 2, plain());
    net.crash(1);
    let message = |net: &mut World| {
        let envelope = gossip_api::Envelope::unsigned(&note(1));
        net.inject(0, Input::Do(Command::Send { to: reachable(1), envelope }));
    };
    message(&mut net);
    net.run_for(ms(3000));
    assert_eq!(words(&net, 0), ["no peer1:7051: no answer"]);
    message(&mut net);
    net.run_for(ms(10_000));
    assert_eq!(words(&net, 0).len(), 1, "the second message came too soon to dial again");
    assert_eq!(net.stats().drops[&DropCause::DialFailed], 2);
    message(&mut net);
    net.run_for(ms(3000));
    assert_eq!(words(&net, 0).len(), 2, "the third did not");
    dial(&mut net, 0, 1);
    net.run_for(ms(3000));
    assert_eq!(words(&net, 0).len(), 3, "and who asks for it has it dialled");
    net.restart(1, spec(1), Puppet::default());
    dial(&mut net, 0, 1);
    net.run_for(ms(3000));
    message(&mut net);
    net.run_for(ms(100));
    assert_eq!((&words(&net, 0)[3..], notes(&net, 1).len()), (&["dialled 1".to_owned()][..], 1));
}

#[test]
fn no_more_dials_are_under_way_than_the_transport_allows() {
    let mut net = world(9, 1, plain());
    (1..=130).for_each(|other| dial(&mut net, 0, other));
    net.run_for(ms(100));
    let crowded: Vec<String> = words(&net, 0);
    assert_eq!(crowded.len(), 2, "{crowded:?}");
    assert!(crowded[0].ends_with("too many dials under way"), "{crowded:?}");
}

#[test]
fn who_is_not_valid_is_not_let_in_by_either_side() {
    let (mut net, authority) = guarded(10, 3);
    authority.revoke(&authority.identity(&org(), 1));
    dial(&mut net, 0, 1);
    dial(&mut net, 1, 2);
    dial(&mut net, 0, 2);
    net.run_for(ms(1000));
    assert_eq!(words(&net, 0), ["no peer1:7051: refused", "dialled 2"]);
    assert_eq!(words(&net, 1), ["no peer2:7051: refused"]);
    assert_eq!(words(&net, 2), ["accepted 0"]);
    assert_eq!((net.stats().refused, net.stats().connections), (2, 1));
}

#[test]
fn a_connection_ends_with_the_identity_of_its_other_side() {
    let (mut net, authority) = guarded(11, 4);
    let wall = net.now().wall.as_unix_seconds();
    let end = |seconds| Expiration::At(gossip_api::Wall::from_unix_seconds(wall + seconds));
    authority.set_expiration(&authority.identity(&org(), 1), end(20));
    authority.set_expiration(&authority.identity(&org(), 2), end(1_000_000));
    (1..4).for_each(|other| dial(&mut net, 0, other));
    net.run_for(ms(20_999));
    assert_eq!(words(&net, 0).len(), 3);
    net.run_for(ms(1000));
    assert_eq!(words(&net, 0)[3..], ["lost 1: Local(Expelled)"], "within a second");
    net.set_wall_ahead(0, 2_000_000);
    net.run_for(ms(100));
    assert_eq!(words(&net, 0)[4..], ["lost 2: Local(Expelled)"], "the calendar jumped");
    authority.revoke(&authority.identity(&org(), 3));
    net.recheck(0);
    net.run_for(ms(100));
    assert_eq!(words(&net, 0)[5..], ["lost 3: Local(Expelled)"]);
    assert_eq!(words(&net, 3)[1..], [format!("lost 0: Remote({:?})", CloseReason::Expelled)]);
}

#[test]
fn jitter_is_uniform_up_to_its_bound() {
    let mut net = star(12, 2, plain().jitter(ms(20)));
    let mut sum = 0;
    for number in 0..4000 {
        let sent = net.now().mono;
        send(&mut net, 0, 1, &note(number));
        net.run_for(ms(100));
        let took = notes(&net, 1).last().unwrap().0.since(sent).as_micros();
        assert!((5_000..=25_000).contains(&took), "{took} us");
        sum += took;
    }
    // The mean of 4,000 draws is within four standard deviations: 5.8 ms / sqrt(4000) = 0.09 ms each.
    assert!((14_640..15_360).contains(&(sum / 4000)), "{} us on average", sum / 4000);
}

/// Two connected peers whose outboxes take 10,000 bytes of control messages.
fn small_outboxes(seed: u64) -> (World, OutboxConfig) {
    let bounds = OutboxConfig { control_bytes: 10_000, ..OutboxConfig::default() };
    (star(seed, 2, plain()).with_outbox(bounds.clone()), bounds)
}

/// Peers with identities that are looked at.
fn guarded(seed: u64, peers: u32) -> (World, Arc<Authority>) {
    let authority = Authority::new(seed);
    let mut net = world(seed, 0, plain()).with_door(authority.door());
    for index in 0..peers {
        let identity = authority.identity(&org(), index);
        assert!(authority.crypto(identity.clone()).validate_identity(&identity).is_ok());
        net.add_peer(PeerSpec { identity, ..spec(index as usize) }, Puppet::default());
    }
    (net, authority)
}

fn org() -> OrgId {
    OrgId::new("Org").unwrap()
}

//! What the simulated network promises: delivery, order, time, loss, and nothing by chance.

#![cfg(feature = "sim")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, and look for one event among others"
)]

mod sim_world;

use gossip_api::message::Kind;
use gossip_comm::Command;
use gossip_comm::sim::{DropCause, Link};
use sim_world::*;

#[test]
fn a_dial_takes_one_round_trip_and_tells_both_sides() {
    let mut net = world(1, 2, plain());
    dial(&mut net, 0, 1);
    net.run_for(ms(100));
    assert_eq!(connections(&net, 0), [(at_ms(10), "dialled 1".into())]);
    assert_eq!(connections(&net, 1), [(at_ms(10), "accepted 0".into())]);
}

#[test]
fn two_peers_that_dial_each_other_share_one_connection() {
    let mut net = world(1, 2, plain());
    dial(&mut net, 0, 1);
    dial(&mut net, 1, 0);
    net.run_for(ms(100));
    assert_eq!(net.stats().connections, 1);
    assert!(words(&net, 0).contains(&"dialled 1".to_owned()));
    assert!(words(&net, 1).contains(&"dialled 0".to_owned()));
}

#[test]
fn a_message_arrives_one_latency_later_over_either_side_of_the_connection() {
    let mut net = star(1, 2, plain());
    send(&mut net, 0, 1, &note(1));
    send(&mut net, 1, 0, &note(2));
    net.run_for(ms(100));
    assert_eq!(notes(&net, 1), [(at_ms(1005), 1)]);
    assert_eq!(notes(&net, 0), [(at_ms(1005), 2)]);
    assert_eq!(net.stats().messages, 2);
    assert_eq!(net.stats().peers[1].received[&Kind::Beats].messages, 1);
}

#[test]
fn a_message_to_a_stranger_dials_first() {
    let mut net = world(1, 2, plain());
    let envelope = gossip_api::Envelope::unsigned(&note(1));
    net.inject(0, Input::Do(Command::Send { to: reachable(1), envelope }));
    net.run_for(ms(100));
    assert_eq!(words(&net, 0), ["dialled 1"]);
    assert_eq!(notes(&net, 1), [(at_ms(15), 1)]);
}

#[test]
fn a_message_to_a_stranger_without_endpoint_is_counted_as_dropped() {
    let mut net = world(1, 2, plain());
    send(&mut net, 0, 1, &note(1));
    net.run_for(ms(100));
    assert_eq!(net.stats().drops[&DropCause::NoConnection], 1);
}

#[test]
fn a_dial_to_nobody_fails_after_the_time_allowed() {
    let mut net = world(1, 1, plain());
    dial(&mut net, 0, 7);
    net.run_for(ms(5000));
    assert_eq!(connections(&net, 0), [(at_ms(3000), "no peer7:7051: no answer".into())]);
}

#[test]
fn a_dial_answered_by_somebody_else_fails() {
    let mut net = world(1, 2, plain());
    let command = Command::Dial { endpoint: endpoint(1), expect: Some(id(7)) };
    net.inject(0, Input::Do(command));
    net.run_for(ms(100));
    assert_eq!(words(&net, 0), ["no peer1:7051: somebody else answered"]);
}

#[test]
fn each_pair_has_a_latency_of_its_own_from_the_range() {
    let mut net = star(3, 30, Link::lan().bandwidth(None));
    let sent = net.now().mono;
    (1..30).for_each(|peer| send(&mut net, 0, peer, &note(1)));
    net.run_for(ms(100));
    let mut times: Vec<_> = (1..30).map(|peer| notes(&net, peer)[0].0.since(sent)).collect();
    assert!(times.iter().all(|time| (ms(1)..=ms(5)).contains(time)), "{times:?}");
    times.sort();
    times.dedup();
    assert!(times.len() > 25, "latencies differ");
}

#[test]
fn control_messages_keep_their_order_under_jitter_and_loss() {
    let mut net = star(4, 2, plain().jitter(ms(20)).loss(0.2));
    for number in 0..200 {
        send(&mut net, 0, 1, &note(number));
        net.run_for(ms(1));
    }
    net.run_for(ms(10_000));
    let numbers: Vec<u64> = notes(&net, 1).into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

#[test]
fn loss_delays_a_stream_and_loses_datagrams() {
    let lossy = plain().loss(0.1);
    let mut stream = star(5, 2, lossy.clone());
    let mut datagram = star(5, 2, lossy).with_datagrams([Kind::Beats]);
    for net in [&mut stream, &mut datagram] {
        for number in 0..2000 {
            send(net, 0, 1, &note(number));
            net.run_for(ms(100));
        }
        net.run_for(ms(5000));
    }
    assert_eq!(notes(&stream, 1).len(), 2000);
    let late =
        notes(&stream, 1).iter().filter(|(at, n)| at.since(at_ms(1000 + 100 * n)) > ms(5)).count();
    assert!((150..250).contains(&late), "one in ten arrives late: {late}");
    let lost = 2000 - notes(&datagram, 1).len();
    assert!((150..250).contains(&lost), "one in ten is gone: {lost}");
    assert_eq!(datagram.stats().drops[&DropCause::Lost], lost as u64);
}

#[test]
fn a_lone_lost_packet_costs_three_latencies_each_time() {
    let mut net = star(6, 2, plain().loss(0.3));
    for number in 0..300 {
        let sent = net.now().mono;
        send(&mut net, 0, 1, &note(number));
        net.run_for(ms(3000));
        let took = notes(&net, 1).last().unwrap().0.since(sent).as_micros();
        assert_eq!((took - 5000) % 15_000, 0, "{took} us");
    }
}

#[test]
fn lost_packets_of_many_cost_one_and_an_eighth_round_trips_each_time() {
    let mut net = star(6, 2, plain().loss(0.1));
    let mut seen = Vec::new();
    for number in 0..100 {
        let sent = net.now().mono;
        send(&mut net, 0, 1, &data(number, 160 << 10));
        net.run_for(ms(3000));
        let took = notes(&net, 1).last().unwrap().0.since(sent).as_micros();
        // Some rounds in which several packets were under way, then some in which one was.
        let fits = |lone: u128| (took - 5000).checked_sub(15_000 * lone).map(|rest| rest % 11_250);
        assert!((0..9).any(|lone| fits(lone) == Some(0)), "{took} us");
        seen.push(took);
    }
    assert!(seen.iter().all(|took| *took >= 16_250), "of 137 packets some are lost");
}

#[test]
fn a_dropped_message_is_gone_and_counted() {
    let mut net = star(7, 2, plain().drop(0.25));
    (0..1000).for_each(|number| send(&mut net, 0, 1, &note(number)));
    net.run_for(ms(1000));
    let lost = 1000 - notes(&net, 1).len();
    assert!((200..300).contains(&lost), "{lost}");
    assert_eq!(net.stats().drops[&DropCause::Lost], lost as u64);
}

#[test]
fn messages_are_duplicated_and_overtaken_where_the_link_says_so() {
    let mut net = star(8, 2, plain().duplicate(0.5));
    (0..1000).for_each(|number| send(&mut net, 0, 1, &note(number)));
    net.run_for(ms(1000));
    assert!((1400..1600).contains(&notes(&net, 1).len()));

    let mut net = star(8, 2, plain().reorder(0.1));
    for number in 0..1000 {
        send(&mut net, 0, 1, &note(number));
        net.run_for(ms(1));
    }
    net.run_for(ms(1000));
    let numbers: Vec<u64> = notes(&net, 1).into_iter().map(|(_, number)| number).collect();
    let swaps = numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(numbers.len() == 1000 && (50..150).contains(&swaps), "{swaps} swaps");
}

#[test]
fn a_damaged_message_arrives_altered_or_is_counted() {
    let mut net = star(9, 2, plain().corrupt(1.0));
    (0..500).for_each(|number| send(&mut net, 0, 1, &note(number)));
    net.run_for(ms(1000));
    let malformed = net.stats().drops.get(&DropCause::Malformed).copied().unwrap_or(0);
    assert_eq!(notes(&net, 1).len() as u64 + malformed, 500);
    assert!(malformed > 50, "a flipped bit in the head does not decode: {malformed}");
}

#[test]
fn a_megabyte_takes_eight_milliseconds_on_a_gigabit() {
    let mut net = star(10, 2, plain().bandwidth(1_000_000_000));
    send(&mut net, 0, 1, &data(0, 1_000_000));
    net.run_for(ms(100));
    let took = notes(&net, 1)[0].0.since(at_ms(1000));
    assert!((ms(13)..ms(13) + ms(1) / 100).contains(&took), "{took:?}");
}

#[test]
fn an_uplink_is_shared_by_all_that_its_peer_sends() {
    let mut net = star(11, 5, plain());
    net.set_uplink(0, 1_000_000_000);
    (1..5).for_each(|peer| send(&mut net, 0, peer, &data(0, 1_000_000)));
    net.run_for(ms(100));
    let took: Vec<u128> =
        (1..5).map(|peer| notes(&net, peer)[0].0.since(at_ms(1000)).as_millis()).collect();
    assert_eq!(took, [13, 21, 29, 37]);
}

#[test]
fn control_overtakes_data() {
    let mut net = star(12, 2, plain().bandwidth(100_000_000));
    net.set_uplink(0, 100_000_000);
    (0..10).for_each(|number| send(&mut net, 0, 1, &data(number, 1_000_000)));
    send(&mut net, 0, 1, &note(99));
    net.run_for(ms(2000));
    let arrived = notes(&net, 1);
    assert_eq!(arrived.len(), 11);
    assert_eq!(arrived[0].1, 99, "the small message comes first");
    assert!(arrived[0].0.since(at_ms(1000)) < ms(6));
}

#[test]
fn a_wakeup_comes_when_it_was_asked_for_and_once() {
    let mut net = world(13, 1, plain());
    net.inject(0, Input::WakeAt(at_ms(700)));
    net.inject(0, Input::WakeAt(at_ms(300)));
    net.run_for(ms(500));
    net.inject(0, Input::WakeAt(at_ms(600)));
    net.inject(0, Input::WakeAt(at_ms(900)));
    net.run_for(ms(5000));
    assert_eq!(net.machine(0).woke, [at_ms(300), at_ms(900)]);
}

#[test]
fn a_machine_may_be_woken_any_number_of_times() {
    let mut net = world(13, 1, plain());
    for millis in 0..3000 {
        net.inject(0, Input::WakeAt(at_ms(millis)));
        net.run_for(ms(1));
    }
    assert_eq!(net.machine(0).woke.len(), 3000);
}

#[test]
fn running_while_a_condition_holds_tells_whether_it_ended() {
    let mut net = star(14, 2, plain());
    send(&mut net, 0, 1, &note(1));
    assert!(net.run_while(ms(100), |net| notes(net, 1).is_empty()));
    assert_eq!(net.now().mono, at_ms(1005));
    assert!(!net.run_while(ms(100), |net| notes(net, 1).len() == 1));
    assert_eq!(net.now().mono, at_ms(1105));
}

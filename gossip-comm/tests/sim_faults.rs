//! Connections under faults: crash, close, restart, pause, partition, and questions without answer.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod sim_world;

use gossip_api::Epoch;
use gossip_api::message::{CloseReason, Kind};
use gossip_comm::sim::{DropCause, PeerSpec, seeded};
use gossip_comm::{Command, RequestId, ResponseOutcome};
use sim_world::*;

#[test]
fn a_crash_is_noticed_by_silence_and_a_stop_at_once() {
    let mut net = star(1, 3, plain());
    net.crash(1);
    net.stop(2);
    net.run_for(ms(20_000));
    let heard = connections(&net, 0);
    assert_eq!(heard[2], (at_ms(1005), "lost 2: Remote(Done)".into()));
    assert_eq!(heard[3], (at_ms(11_000), "lost 1: Silent".into()));
    assert_eq!(heard.len(), 4);
}

#[test]
fn a_crashed_peer_does_nothing_and_its_unsent_data_never_arrives() {
    let mut net = star(2, 2, plain().bandwidth(8_000_000));
    send(&mut net, 0, 1, &data(0, 1000));
    send(&mut net, 0, 1, &data(1, 1_000_000));
    net.run_for(ms(10));
    net.crash(0);
    net.inject(0, Input::WakeAt(at_ms(2000)));
    net.run_for(ms(5000));
    assert_eq!(notes(&net, 1).len(), 1, "the first had left, the second had not");
    assert_eq!(net.stats().drops[&DropCause::SenderCrashed], 1);
    assert!(net.machine(0).woke.is_empty());
}

#[test]
fn a_restarted_peer_resets_old_connections_when_they_are_used() {
    let mut net = star(3, 3, plain());
    net.crash(1);
    net.run_for(ms(1000));
    let reborn = PeerSpec { epoch: Epoch::new(2), ..spec(1) };
    net.restart(1, reborn, Puppet::default());
    net.run_for(ms(1000));
    assert_eq!(words(&net, 0).len(), 2, "nothing was noticed so far");
    send(&mut net, 0, 1, &note(1));
    net.run_for(ms(100));
    assert_eq!(connections(&net, 0)[2], (at_ms(3010), "lost 1: Broken".into()));
    dial(&mut net, 0, 1);
    net.run_for(ms(20_000));
    assert_eq!(words(&net, 0)[3..], ["dialled 1"]);
    assert_eq!(words(&net, 1), ["accepted 0"]);
}

#[test]
fn a_restarted_peer_that_dials_takes_the_place_of_its_old_self() {
    let mut net = star(4, 2, plain());
    net.restart(1, spec(1), Puppet::default());
    dial(&mut net, 1, 0);
    net.run_for(ms(20_000));
    assert_eq!(words(&net, 0), ["dialled 1", "accepted 1"]);
    send(&mut net, 0, 1, &note(1));
    net.run_for(ms(100));
    assert_eq!(notes(&net, 1).len(), 1);
}

#[test]
fn a_close_tells_both_sides_why() {
    let mut net = star(5, 2, plain());
    let command = Command::Close { peer: id(1), reason: CloseReason::Expelled };
    net.inject(0, Input::Do(command));
    send(&mut net, 1, 0, &note(1));
    net.run_for(ms(100));
    assert_eq!(connections(&net, 0)[1], (at_ms(1000), "lost 1: Local(Expelled)".into()));
    assert_eq!(connections(&net, 1)[1..], [(at_ms(1005), "lost 0: Remote(Expelled)".into())]);
    assert_eq!(net.stats().drops[&DropCause::ConnectionGone], 1);
}

#[test]
fn a_short_partition_delays_streams_and_loses_datagrams() {
    let mut net = star(6, 3, plain()).with_datagrams([Kind::Data]);
    net.split(|peer| u32::from(peer == 1));
    (0..5).for_each(|number| send(&mut net, 0, 1, &note(number)));
    send(&mut net, 0, 1, &data(9, 100));
    send(&mut net, 0, 2, &note(7));
    net.run_for(ms(5000));
    assert!(notes(&net, 1).is_empty());
    assert_eq!(notes(&net, 2).len(), 1);
    net.heal();
    net.run_for(ms(6000));
    let numbers: Vec<u64> = notes(&net, 1).into_iter().map(|(_, number)| number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    assert_eq!(net.stats().drops[&DropCause::Lost], 1);
    assert_eq!(words(&net, 0).len(), 2, "the connection outlived it");
}

/// As over packets, see `sim_quic_packets`: an acknowledgement tells the sender what was lost.
#[test]
fn what_is_sent_after_a_partition_brings_what_was_sent_before() {
    for seed in 0..20 {
        let mut net = star(seed, 2, plain());
        net.split(|peer| u32::from(peer == 1));
        (0..5).for_each(|number| send(&mut net, 0, 1, &note(number)));
        net.run_for(ms(5000));
        net.heal();
        let healed = net.now().mono;
        send(&mut net, 0, 1, &note(5));
        net.run_for(ms(100));
        let notes = notes(&net, 1);
        assert!(notes.iter().all(|(at, _)| at.since(healed) <= ms(15)), "{notes:?}");
        let numbers: Vec<u64> = notes.into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_long_partition_ends_connections_and_dials_across_fail_until_it_heals() {
    let mut net = star(7, 2, plain());
    net.split(|peer| u32::from(peer == 1));
    net.run_for(ms(15_000));
    dial(&mut net, 0, 1);
    net.run_for(ms(4000));
    assert_eq!(
        connections(&net, 0)[1..],
        [
            (at_ms(11_000), "lost 1: Silent".into()),
            (at_ms(19_000), "no peer1:7051: no answer".into())
        ]
    );
    assert_eq!(connections(&net, 1)[1], (at_ms(11_000), "lost 0: Silent".into()));
    net.heal();
    dial(&mut net, 0, 1);
    net.run_for(ms(1000));
    assert_eq!(words(&net, 0)[3..], ["dialled 1"]);
}

#[test]
fn a_dial_is_tried_again_while_there_is_time() {
    let mut net = world(8, 2, plain());
    net.split(|peer| u32::from(peer == 1));
    dial(&mut net, 0, 1);
    net.run_for(ms(500));
    net.heal();
    net.run_for(ms(5000));
    assert_eq!(connections(&net, 0), [(at_ms(1020), "dialled 1".into())]);
}

#[test]
fn a_cut_of_one_way_silences_that_way_first() {
    let mut net = star(9, 2, plain());
    net.cut_one_way(0, 1, true);
    send(&mut net, 0, 1, &note(1));
    send(&mut net, 1, 0, &note(2));
    net.run_for(ms(25_000));
    assert_eq!(notes(&net, 0).len(), 1);
    assert!(notes(&net, 1).is_empty());
    assert_eq!(connections(&net, 1)[1], (at_ms(11_000), "lost 0: Silent".into()));
    assert_eq!(connections(&net, 0)[1], (at_ms(21_000), "lost 1: Silent".into()));
}

#[test]
fn a_paused_peer_finds_everything_waiting_and_the_time_gone() {
    let mut net = star(10, 2, plain());
    net.pause(1);
    net.inject(1, Input::WakeAt(at_ms(2000)));
    (0..3).for_each(|number| send(&mut net, 0, 1, &note(number)));
    net.run_for(ms(4000));
    assert!(net.machine(1).heard.len() == 1 && net.machine(1).woke.is_empty());
    net.resume(1);
    net.run_for(ms(1));
    assert_eq!(notes(&net, 1), [(at_ms(5000), 0), (at_ms(5000), 1), (at_ms(5000), 2)]);
    assert_eq!(net.machine(1).woke, [at_ms(5000)]);
    assert_eq!(words(&net, 0).len(), 1, "four seconds are no silence yet");
}

#[test]
fn a_peer_paused_for_long_is_given_up_and_learns_of_it() {
    let mut net = star(11, 2, plain());
    net.pause(1);
    net.run_for(ms(30_000));
    assert_eq!(connections(&net, 0)[1], (at_ms(11_000), "lost 1: Silent".into()));
    net.resume(1);
    net.run_for(ms(1000));
    assert_eq!(connections(&net, 1)[1], (at_ms(31_000), "lost 0: Silent".into()));
}

#[test]
fn an_answer_comes_in_order_and_is_complete() {
    let mut net = star(12, 2, plain().jitter(ms(30)));
    ask(&mut net, 0, 1, 77, ms(1000));
    net.run_for(ms(100));
    let question = questions(&net, 1)[0];
    (0..20).for_each(|number| answer(&mut net, 1, question, number));
    net.inject(1, Input::Do(Command::EndResponse { to: question }));
    net.run_for(ms(5000));
    let numbers = answers(&net, 0);
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    assert_eq!(outcomes(&net, 0).len(), 1);
    assert_eq!(outcomes(&net, 0)[0].1, RequestId(77));
    assert_eq!(outcomes(&net, 0)[0].2, ResponseOutcome::Complete);
}

#[test]
fn patience_counts_from_the_last_part() {
    let mut net = star(13, 2, plain());
    ask(&mut net, 0, 1, 1, ms(1000));
    net.run_for(ms(500));
    let question = questions(&net, 1)[0];
    answer(&mut net, 1, question, 0);
    net.run_for(ms(5000));
    let ended = outcomes(&net, 0);
    assert_eq!(ended, [(at_ms(2505), RequestId(1), ResponseOutcome::TimedOut)]);
    answer(&mut net, 1, question, 1);
    net.run_for(ms(100));
    assert_eq!(answers(&net, 0), [0], "what comes later is not delivered");
    assert_eq!(net.stats().drops[&DropCause::ExchangeOver], 1);
}

#[test]
fn a_question_ends_broken_with_its_connection_or_without_one() {
    let mut net = star(14, 2, plain());
    ask(&mut net, 0, 1, 1, ms(60_000));
    net.run_for(ms(100));
    net.stop(1);
    net.run_for(ms(100));
    ask(&mut net, 0, 1, 2, ms(60_000));
    net.run_for(ms(100));
    let broken = ResponseOutcome::Broken;
    let expected = [(at_ms(1105), RequestId(1), broken), (at_ms(1200), RequestId(2), broken)];
    assert_eq!(outcomes(&net, 0), expected);
}

#[test]
fn a_question_is_refused_by_a_peer_that_answers_no_more() {
    let mut net = star(16, 2, plain());
    net.set_refusing(1, true);
    ask(&mut net, 0, 1, 1, ms(60_000));
    net.run_for(ms(100));
    let refused = (at_ms(1010), RequestId(1), ResponseOutcome::Refused);
    assert_eq!(outcomes(&net, 0), [refused]);
    assert!(questions(&net, 1).is_empty());
}

#[test]
fn something_can_be_done_at_a_time_in_the_future() {
    let mut net = star(15, 2, plain());
    net.call_at(at_ms(2000), |net| net.stop(1));
    net.run_for(ms(5000));
    assert_eq!(connections(&net, 0)[1], (at_ms(2005), "lost 1: Remote(Done)".into()));
}

#[test]
fn planned_partitions_and_clogs_cut_a_network_and_leave_it_whole() {
    let mut cut = 0;
    for seed in 0..20 {
        let mut net = star(seed, 8, plain());
        let mut rng = seeded(seed, 1);
        net.plan_partitions(&mut rng, at_ms(2000)..at_ms(12_000), ms(200)..ms(900));
        net.plan_swizzle(&mut rng, &(at_ms(12_000)..at_ms(16_000)));
        for number in 0..80 {
            (1..8).for_each(|other| send(&mut net, other, 0, &note(number)));
            net.run_for(ms(200));
        }
        // What lay before a cut arrives as late as the cut was long.
        net.run_for(ms(10_000));
        let late =
            |(at, number): &(gossip_api::Mono, u64)| at.since(at_ms(1000 + 200 * number)) > ms(5);
        cut += notes(&net, 0).iter().filter(|note| late(note)).count();
        assert_eq!(notes(&net, 0).len(), 7 * 80, "streams outlive it, seed {seed}");
        let before = net.now().mono;
        (1..8).for_each(|other| send(&mut net, 0, other, &note(99)));
        net.run_for(ms(100));
        let whole = |other: &usize| {
            notes(&net, *other).last().map(|(at, _)| at.since(before)) == Some(ms(5))
        };
        assert!((1..8).all(|other| whole(&other)), "it is whole again, seed {seed}");
    }
    assert!(cut > 500, "{cut} messages met a cut");
}

#[test]
fn a_clogged_peer_hears_nothing_and_is_not_heard_until_it_is_cleared() {
    let mut net = star(17, 3, plain());
    net.clog(1, true);
    send(&mut net, 0, 1, &note(1));
    send(&mut net, 1, 0, &note(2));
    send(&mut net, 0, 2, &note(3));
    net.run_for(ms(2000));
    assert_eq!([notes(&net, 0).len(), notes(&net, 1).len(), notes(&net, 2).len()], [0, 0, 1]);
    net.clog(1, false);
    net.run_for(ms(3000));
    assert_eq!([notes(&net, 0).len(), notes(&net, 1).len()], [1, 1]);
}

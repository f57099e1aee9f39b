//! What only packets can show: floods of streams, damage, other addresses, black holes, other keys.

#![cfg(feature = "sim-quic")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod packet_world;

use std::collections::BTreeSet;

use gossip_comm::sim::{Link, check, seeded};
use gossip_comm::sim_quic::Datagram;
use packet_world::*;
use quinn_proto::{Dir, VarInt};
use rand_core::Rng;

/// H7: streams that begin and do not end.
#[test]
fn streams_that_are_begun_and_left_cost_little_and_end_in_time() {
    let mut world = star(1, 3, &plain());
    let mut opened = 0;
    world.net.meddle(1, 0, |quic| {
        for dir in [Dir::Uni, Dir::Bi] {
            while let Some(id) = quic.streams().open(dir) {
                assert_eq!(quic.send_stream(id).write(&[9]).unwrap(), 1);
                opened += 1;
            }
        }
    });
    // 16 blocks, a control stream and 8 questions.
    assert_eq!(opened, 25);
    for number in 0..20 {
        world.net.send(2, 0, &note(number)).unwrap();
        world.net.send(2, 0, &data(number, 50_000)).unwrap();
    }
    world.net.run_for(ms(3000));
    assert_eq!(world.net.held(0), 17, "a byte each; questions are refused at once");
    let (notes, blocks) = numbers(&world.net, 0);
    assert_eq!((notes.len(), blocks.len()), (20, 20), "the other peer does not suffer");
    world.net.run_for(ms(8000));
    assert_eq!(world.net.offences(0)["stalled"], 17, "given up after ten still seconds");
    assert_eq!(world.net.held(0), 0);
    assert_eq!(world.net.connections(0), 2);
}

/// H7: streams that are begun and broken, again and again.
#[test]
fn a_storm_of_resets_costs_nothing_that_stays() {
    let mut world = star(2, 3, &plain());
    let mut broken = 0;
    for round in 0..200 {
        world.net.meddle(1, 0, |quic| {
            while let Some(id) = quic.streams().open(Dir::Uni) {
                quic.send_stream(id).write(&[9, 0, 0]).unwrap();
                quic.send_stream(id).reset(VarInt::from_u32(7)).unwrap();
                broken += 1;
            }
        });
        world.net.send(2, 0, &note(round)).unwrap();
        world.net.run_for(ms(20));
    }
    world.net.run_for(ms(1000));
    assert!(broken > 1000, "{broken} streams");
    assert_eq!(world.net.held(0), 0);
    assert_eq!(numbers(&world.net, 0).0, (0..200).collect::<Vec<_>>());
}

/// H7: a peer that lets nothing be sent to it.
#[test]
fn a_peer_without_a_window_costs_a_bounded_outbox() {
    let mut world = star(3, 3, &plain());
    world.net.meddle(1, 0, |quic| quic.set_receive_window(VarInt::from_u32(0)));
    for number in 0..60 {
        world.net.send(0, 1, &data(number, 1 << 20)).unwrap();
        world.net.send(0, 2, &note(number)).unwrap();
        world.net.run_for(ms(50));
    }
    world.net.run_for(ms(2000));
    // 16 MiB wait and 4 MiB are QUIC's, but for what the first window let through.
    assert!(world.net.waiting(0) <= 21 << 20, "{} bytes", world.net.waiting(0));
    assert!(world.net.overflow(0) > 0);
    assert_eq!(numbers(&world.net, 2).0.len(), 60);
}

/// H8: whatever comes, the connection lives and what it carries is right.
#[test]
fn a_live_endpoint_bears_random_truncated_and_flipped_datagrams() {
    check(0..5, |seed| {
        let mut world = star(100 + seed, 2, &plain());
        let mut rng = seeded(seed, 77);
        world.net.set_tap(Some(Box::new(move |datagram| {
            let mut forged = datagram.clone();
            match rng.next_u32() % 4 {
                0 => forged.bytes.truncate(rng.next_u32() as usize % datagram.bytes.len()),
                1 => {
                    let at = rng.next_u32() as usize % forged.bytes.len();
                    forged.bytes[at] ^= 1 << (rng.next_u32() % 8);
                }
                2 => rng.fill_bytes(&mut forged.bytes),
                _ => return Vec::new(),
            }
            vec![forged]
        })));
        let mut rng = seeded(seed, 78);
        for number in 0..100 {
            world.net.send(0, 1, &note(number)).unwrap();
            world.net.send(1, 0, &data(number, 10_000)).unwrap();
            for _ in 0..20 {
                let mut bytes = vec![0; rng.next_u32() as usize % 1500];
                rng.fill_bytes(&mut bytes);
                // Half of them look like long headers of this version.
                if let Some(head) = bytes.first_chunk_mut::<5>().filter(|_| number % 2 == 0) {
                    *head = [0xc0 | head[0] & 0x3f, 0, 0, 0, 1];
                }
                world.net.inject(Datagram::new(address(0), address(1), &bytes));
            }
            world.net.run_for(ms(20));
        }
        world.net.run_for(ms(3000));
        assert_eq!(numbers(&world.net, 1).0, (0..100).collect::<Vec<_>>());
        let blocks = numbers(&world.net, 0).1;
        assert_eq!(blocks.len(), 100);
        assert_eq!(blocks.into_iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!((words(&world.net, 0).len(), words(&world.net, 1).len()), (0, 0));
    });
}

/// H10: another address in front of a peer. Connections do not follow it, and nobody is flooded.
#[test]
fn a_peer_behind_a_new_address_is_back_as_soon_as_it_dials() {
    let mut world = star(4, 2, &plain());
    world.net.rebind(0, address(500));
    for number in 0..50 {
        world.net.send(0, 1, &note(number)).unwrap();
        world.net.send(1, 0, &data(number, 10_000)).unwrap();
    }
    world.net.run_for(ms(3000));
    assert_eq!(numbers(&world.net, 1).0.len(), 0, "an unproved address is not believed");
    assert_eq!(world.net.traffic(address(500)).to, 0, "nor is anything sent there");
    world.net.close(0, 1, gossip_api::message::CloseReason::Done);
    world.net.clear_events(0);
    let before = world.net.now().mono;
    world.net.dial(0, 1);
    world.net.send(0, 1, &note(99)).unwrap();
    assert!(world.net.run_while(ms(1000), |net| numbers(net, 1).0.is_empty()));
    let took = world.net.now().mono.since(before);
    assert!(took < ms(100), "back after {took:?}");
    world.net.send(1, 0, &note(98)).unwrap();
    world.net.run_for(ms(1000));
    assert!(numbers(&world.net, 0).0.contains(&98), "and it is heard where it is now");
}

/// H10: datagrams repeated from an attacker's address.
#[test]
fn nothing_is_sent_to_whoever_repeats_datagrams_from_elsewhere() {
    let mut world = star(5, 2, &plain());
    let victim = address(600);
    world.net.set_tap(Some(Box::new(move |datagram| {
        let mut repeated = datagram.clone();
        repeated.from = victim;
        if datagram.to == address(1) { vec![repeated] } else { Vec::new() }
    })));
    for number in 0..100 {
        world.net.send(0, 1, &note(number)).unwrap();
        world.net.send(1, 0, &data(number, 10_000)).unwrap();
        world.net.run_for(ms(20));
    }
    world.net.run_for(ms(1000));
    assert_eq!(world.net.traffic(victim).to, 0);
    assert!(world.net.traffic(victim).from > 10_000);
    assert_eq!(numbers(&world.net, 1).0, (0..100).collect::<Vec<_>>());
    assert_eq!(numbers(&world.net, 0).1.len(), 100);
}

/// H12: packets above a length vanish from one moment on.
#[test]
fn a_black_hole_for_long_packets_delays_and_loses_nothing() {
    let mut world = world(6, 2, &plain());
    world.net.set_mtu(1452);
    world.net.dial(0, 1);
    world.net.run_for(ms(1000));
    for number in 0..30 {
        world.net.send(0, 1, &data(number, 500_000)).unwrap();
        world.net.run_for(ms(100));
        if number == 10 {
            world.net.set_mtu(1280);
        }
    }
    world.net.run_for(ms(20_000));
    let (_, blocks) = received(&world.net, 1);
    let all: BTreeSet<u64> = blocks.iter().map(|(_, number)| *number).collect();
    assert_eq!((all.len(), blocks.len()), (30, 30));
    let gaps = blocks.windows(2).map(|pair| pair[1].0.since(pair[0].0));
    let longest = gaps.max().unwrap();
    println!("a black hole stalls blocks for {longest:?}");
    assert!(longest < ms(2000), "stalled for {longest:?}");
    assert!(words(&world.net, 0).len() == 1, "{:?}", words(&world.net, 0));
}

/// H12: a path that wipes out the marks of congestion.
#[test]
fn a_path_that_bleaches_marks_does_no_harm() {
    let mut world = star(7, 2, &plain());
    for number in 0..20 {
        world.net.set_bleaching(number >= 10);
        world.net.send(0, 1, &data(number, 200_000)).unwrap();
        world.net.run_for(ms(100));
    }
    world.net.run_for(ms(1000));
    assert_eq!(numbers(&world.net, 1).1.len(), 20);
}

/// H14: new keys every thousand packets or so.
#[test]
fn keys_change_under_way_and_nothing_is_lost() {
    let mut world = star(8, 2, &plain().loss(0.002));
    for number in 0..30 {
        world.net.meddle(usize::from(number % 2 == 0), usize::from(number % 2 == 1), |quic| {
            quic.force_key_update();
        });
        for part in 0..4 {
            world.net.send(0, 1, &data(4 * number + part, 300_000)).unwrap();
        }
        world.net.send(1, 0, &note(number)).unwrap();
        world.net.run_for(ms(500));
    }
    assert!(looked_for(&mut world.net, 60_000, |net| numbers(net, 1).1.len() == 120));
    assert_eq!(world.net.overflow(0), 0);
    let blocks = numbers(&world.net, 1).1;
    let distinct: BTreeSet<u64> = blocks.iter().copied().collect();
    assert_eq!((blocks.len(), distinct), (120, (0..120).collect()));
    assert_eq!(numbers(&world.net, 0).0, (0..30).collect::<Vec<_>>());
    assert!(world.net.traffic(address(1)).to > 30 * 1000 * 1200, "a thousand packets for each key");
}

/// N9: three datagrams in ten are damaged.
#[test]
fn a_link_that_damages_packets_slows_down_and_hands_up_nothing_wrong() {
    let mut world = star(9, 2, &plain());
    world.net.set_link(&plain().corrupt(0.3));
    for number in 0..50 {
        world.net.send(0, 1, &note(number)).unwrap();
        world.net.send(0, 1, &data(number, 20_000)).unwrap();
    }
    let begun = world.net.now().mono;
    assert!(looked_for(&mut world.net, 120_000, |net| {
        let (notes, blocks) = numbers(net, 1);
        notes.len() == 50 && blocks.len() == 50
    }));
    let took = world.net.now().mono.since(begun);
    println!("a megabyte over a link that damages 30 %: {took:?}");
    assert_eq!(numbers(&world.net, 1).0, (0..50).collect::<Vec<_>>());
    assert!(world.net.offences(1).is_empty(), "what is damaged never gets as far as a frame");
    assert_eq!(words(&world.net, 0).len(), 0, "the connection lives");
}

/// N5: ten megabits and a queue of a second, filled by blocks.
#[test]
fn a_bloated_queue_delays_control_and_breaks_nothing() {
    let mut world = star(10, 2, &plain());
    world.net.set_link(&plain().bandwidth(10_000_000));
    for number in 0..40 {
        world.net.send(0, 1, &data(number, 300_000)).unwrap();
        world.net.send(0, 1, &note(number)).unwrap();
        world.net.run_for(ms(200));
    }
    assert!(looked_for(&mut world.net, 30_000, |net| numbers(net, 1).1.len() == 40));
    let (notes, _) = received(&world.net, 1);
    let sent = |number: u64| gossip_api::Mono::ZERO.after(ms(2000 + 200 * number));
    let slowest = notes.iter().map(|(at, number)| at.since(sent(*number))).max().unwrap();
    println!("control messages through a full queue of a second: at most {slowest:?}");
    assert_eq!(notes.len(), 40);
    assert!(slowest < ms(2500), "{slowest:?}");
    assert_eq!((words(&world.net, 0).len(), words(&world.net, 1).len()), (0, 0));
}

/// B2: the most that a swarm draws.
#[test]
fn three_in_ten_lost_and_half_of_the_rest_repeated_lose_and_repeat_nothing() {
    check(0..3, |seed| {
        let mut world = star(200 + seed, 2, &plain());
        world.net.set_link(&plain().loss(0.3).duplicate(0.5).reorder(0.2));
        for number in 0..40 {
            world.net.send(0, 1, &note(number)).unwrap();
            world.net.send(1, 0, &data(number, 10_000)).unwrap();
        }
        assert!(looked_for(&mut world.net, 120_000, |net| {
            numbers(net, 1).0.len() == 40 && numbers(net, 0).1.len() == 40
        }));
        world.net.run_for(ms(5000));
        assert_eq!(numbers(&world.net, 1).0, (0..40).collect::<Vec<_>>());
        let blocks = numbers(&world.net, 0).1;
        assert_eq!((blocks.len(), blocks.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    });
}

/// V12: and with other keys, too.
/// What is sent after a cut is a probe of its own: nobody waits for the next one that QUIC would send.
#[test]
fn who_speaks_twice_a_second_is_heard_half_a_second_after_a_cut_however_long_it_was() {
    for cut in [1_000, 2_000, 3_000, 5_000, 8_000, 9_000] {
        for phase in [20, 250, 480] {
            let mut world = star(cut + phase, 2, &plain());
            let cut_off = |world: &mut World, is_cut| {
                world.net.cut_one_way(0, 1, is_cut);
                world.net.cut_one_way(1, 0, is_cut);
            };
            let (mut number, mut healed) = (0, None);
            for at in (0..cut + 2_000).step_by(10) {
                if at == 1_000 {
                    cut_off(&mut world, true);
                } else if at == 1_000 + cut {
                    cut_off(&mut world, false);
                    healed = Some((world.net.now().mono, number));
                }
                if at % 500 == phase {
                    world.net.send(0, 1, &note(number)).unwrap();
                    number += 1;
                }
                world.net.run_for(ms(10));
            }
            let (healed, spoken) = healed.unwrap();
            let (heard, _) = received(&world.net, 1);
            let last = heard.iter().find(|(_, number)| *number == spoken);
            let took =
                last.unwrap_or_else(|| panic!("cut {cut}: nothing is heard")).0.since(healed);
            assert!(took <= ms(600), "cut {cut}, phase {phase}: {took:?}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let run = |seed| {
        let link = Link::wan().jitter(ms(7)).loss(0.05).duplicate(0.05).reorder(0.05);
        let mut world = world(seed, 4, &link.corrupt(0.02).bandwidth(20_000_000));
        (0..4).for_each(|peer| world.net.dial(peer, (peer + 1) % 4));
        world.net.dial(1, 0);
        for number in 0..20 {
            for peer in 0..4 {
                world.net.send(peer, (peer + 1) % 4, &note(number)).unwrap();
                world.net.send((peer + 1) % 4, peer, &data(number, 30_000)).unwrap();
            }
            world.net.run_for(ms(200));
            world.net.cut_one_way(2, 3, number % 5 == 4);
        }
        world.net.run_for(ms(20_000));
        let received: Vec<_> = (0..4).map(|peer| numbers(&world.net, peer)).collect();
        (world.net.trace_hash(), received)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

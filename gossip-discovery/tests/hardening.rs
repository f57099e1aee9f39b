//! What others may try, one named test per case of the hardening list (M1 to M17), and what must come of it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use std::collections::BTreeSet;

use gossip_api::message::{Ask, Beats, Message, Probe, ShortId};
use gossip_api::{Bounded, Epoch, Nonce};
use gossip_comm::sim::{Link, check};
use gossip_discovery::{Action, DiscoveryConfig, DropReason, Input, MembershipEvent};
use support::bench::{Bench, Other};
use support::{Net, Person, ms, secs};

#[test]
fn m1_a_newcomer_with_one_address_is_known_by_all() {
    let mut net = Net::started(1, 12, DiscoveryConfig::default());
    net.until(secs(3), "full view", Net::views_are_full);
    net.run(secs(10));
    let newcomer = net.add(Person::new("A", 99));
    net.connect(newcomer, 4);
    let took = net.until(secs(3), "newcomer known", Net::views_are_full);
    assert!(took < secs(2), "{took:?}");
}

#[test]
fn m2_everybody_restarts_at_once() {
    check(0..2, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.until(secs(3), "full view", Net::views_are_full);
        for peer in 0..10 {
            let person = net.people[peer].clone().epoch(2);
            net.restart(peer, person);
        }
        net.bootstrap_all(0);
        net.until(secs(6), "full view again", Net::views_are_full);
        net.run(secs(10));
        assert!(net.views_are_full());
    });
}

#[test]
fn m3_a_peer_that_sleeps_declares_nobody_dead() {
    check(0..2, |seed| {
        let deaths = |local_health| {
            let config = DiscoveryConfig { local_health, ..DiscoveryConfig::default() };
            let mut net = Net::started(seed, 10, config);
            net.run(secs(8));
            net.cluster.pause(3);
            net.run(secs(15));
            net.cluster.resume(3);
            net.run(secs(15));
            assert!(net.views_are_full(), "SIM_SEED={seed}");
            let own = net.pki_id(3);
            let events = net.events(3).iter();
            events.filter(|(_, e)| matches!(e, MembershipEvent::Dead(dead) if *dead != own)).count()
        };
        assert_eq!(deaths(true), 0, "SIM_SEED={seed}");
    });
}

#[test]
fn m4_a_way_lost_in_one_direction_kills_nobody() {
    check(0..2, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.run(secs(8));
        net.cluster.cut_one_way(2, 5, true);
        net.run(secs(40));
        assert_eq!(net.deaths(), 0, "SIM_SEED={seed}");
        assert!(net.views_are_full());
    });
}

#[test]
fn m5_a_flapping_link_is_not_announced() {
    let mut net = Net::started(1, 8, DiscoveryConfig::default());
    net.run(secs(8));
    for _ in 0..20 {
        net.cluster.cut_one_way(2, 5, true);
        net.cluster.cut_one_way(5, 2, true);
        net.run(secs(1));
        net.cluster.heal();
        net.run(secs(1));
    }
    assert_eq!(net.deaths(), 0);
    assert!(net.views_are_full());
}

#[test]
fn m6_epochs_that_nobody_can_have_reached_are_refused() {
    let mut bench = Bench::new();
    let (teller, subject) = (bench.other(1), bench.other(2));
    bench.befriend(&teller);
    bench.befriend(&subject);
    for epoch in [2 + (1 << 20), 1 << 48, i64::MAX as u64 + 1, u64::MAX] {
        bench.actions.clear();
        let future = bench.other(2).saying(|record| record.epoch = Epoch::new(epoch));
        let before = bench.checks;
        bench.receive(&teller, future.signed.clone());
        let mut entry = future.entry();
        entry.secret = None;
        bench.give(Input::Received {
            from: teller.pki_id,
            message: teller.message(Message::MembershipRequest(
                gossip_api::message::MembershipRequest {
                    nonce: Nonce::new(9),
                    me: teller.entry(),
                    known: Bounded::default(),
                },
            )),
        });
        assert_eq!(bench.checks, before, "epoch {epoch} cost a signature check");
        assert!(bench.drops().contains(&DropReason::EpochTooFar), "epoch {epoch}");
        assert!(bench.sees(&subject.pki_id), "the old state is kept");
    }
    let unknown = bench.other(3).saying(|record| record.epoch = Epoch::new(1 << 48));
    bench.connect(&unknown);
    bench.ask_from(&unknown, Vec::new());
    assert!(!bench.sees(&unknown.pki_id));
}

#[test]
fn m7_a_wrong_clock_is_no_matter() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..6 {
        let peer = net.add(Person::new("A", index));
        net.cluster.set_wall_ahead(peer, i64::from(index) * 3600 - 7200);
    }
    net.bootstrap_all(0);
    net.until(secs(2), "full view", Net::views_are_full);
    net.cluster.set_wall_ahead(5, -1_000_000);
    net.run(secs(20));
    assert!(net.views_are_full());
    assert_eq!(net.deaths(), 0);
}

#[test]
fn m8_what_was_true_a_day_ago_resurrects_nobody() {
    let config = DiscoveryConfig { forget_after: secs(60), ..DiscoveryConfig::default() };
    let mut bench = Bench::with(config, Person::new("A", 0));
    let (teller, subject) = (bench.other(1), bench.other(2));
    bench.befriend(&teller);
    bench.befriend(&subject);
    bench.give(Input::Disconnected { peer: subject.pki_id });
    keep_alive(&mut bench, &teller, 10);
    assert!(!bench.sees(&subject.pki_id));
    // Everything captured comes again: while it is remembered as dead, and after it is forgotten.
    for _ in 0..2 {
        bench.actions.clear();
        let beats = Bounded::truncated((0..20).map(|sequence| subject.beat(sequence)));
        bench.send_from(&teller, Message::Beats(Beats { beats }));
        bench.receive(&teller, subject.signed.clone());
        keep_alive(&mut bench, &teller, 3);
        if bench.question_to(&teller).is_some() {
            bench.answer_from(&teller, vec![subject.entry()]);
        }
        keep_alive(&mut bench, &teller, 30);
        assert!(!bench.sees(&subject.pki_id), "only a proof of life brings it back");
        keep_alive(&mut bench, &teller, 100);
    }
    assert_eq!(bench.machine.lookup(&subject.pki_id), None, "forgotten by now");
}

#[test]
fn m9_forged_records_and_beats_are_not_believed() {
    let mut bench = Bench::new();
    let (teller, subject) = (bench.other(1), bench.other(2));
    bench.befriend(&teller);
    // Another's record under the teller's identity, and the teller's signature.
    let stranger = bench.other(3);
    let mut entry = stranger.entry();
    entry.identity = teller.crypto.identity().clone();
    bench.pass(ms(300));
    bench.answer_from(&teller, vec![entry]);
    assert!(bench.drops().contains(&DropReason::Forged));
    assert!(!bench.sees(&stranger.pki_id));
    // Mutated beats.
    bench.befriend(&subject);
    bench.send_from(&subject, beats([subject.beat(3)]));
    for bit in 0..256 {
        let mut beat = subject.beat(4);
        beat.preimage[bit / 8] ^= 1 << (bit % 8);
        bench.actions.clear();
        bench.give(Input::Received { from: teller.pki_id, message: teller.message(beats([beat])) });
        let drops = bench.drops();
        let refused = [DropReason::ForgedBeat, DropReason::TooMany];
        assert!(drops.iter().any(|drop| refused.contains(drop)), "bit {bit}");
        bench.pass(ms(60));
    }
    assert_eq!(bench.machine.stats().counters.checks_failed, 1);
}

#[test]
fn m10_a_secret_of_another_record_is_not_believed() {
    let mut bench = Bench::new();
    let teller = bench.other(1);
    bench.befriend(&teller);
    let stranger = bench.other(3);
    let mut spliced = stranger.entry();
    spliced.secret.as_mut().unwrap().internal_endpoint = support::endpoint("evil:1");
    bench.pass(ms(300));
    bench.answer_from(&teller, vec![spliced]);
    assert!(bench.drops().contains(&DropReason::Forged));
    assert!(bench.machine.lookup(&stranger.pki_id).is_none());
}

#[test]
fn m11_nobody_dies_by_the_word_of_others() {
    // No message says so: the worst that neighbours can do is to be silent about a member.
    check(0..2, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.run(secs(8));
        for liar in 4..9 {
            net.cluster.cut_one_way(9, liar, true);
        }
        net.run(secs(30));
        assert_eq!(net.deaths(), 0, "SIM_SEED={seed}");
    });
}

#[test]
fn m12_the_dead_are_bounded() {
    let config = DiscoveryConfig { dead_max: 16, ..DiscoveryConfig::default() };
    let mut bench = Bench::with(config, Person::new("A", 0));
    let teller = bench.other(1);
    bench.befriend(&teller);
    for page in 0..20u32 {
        bench.actions.clear();
        while bench.question_to(&teller).is_none() {
            keep_alive(&mut bench, &teller, 1);
        }
        let entries = (0..64).map(|n| bench.other(100 + page * 64 + n).entry()).collect();
        bench.answer_from(&teller, entries);
    }
    keep_alive(&mut bench, &teller, 60);
    let stats = bench.machine.stats();
    assert!(stats.dead <= 16, "{stats:?}");
    assert!(stats.known <= 1024, "{stats:?}");
    assert_eq!(stats.alive, 1);
    let announced = bench.events().len();
    assert!(announced <= 2, "who never lived is not announced: {announced}");
}

#[test]
fn m13_two_processes_with_one_identity_are_reported_and_do_not_flap() {
    let mut bench = Bench::new();
    let teller = bench.other(1);
    bench.befriend(&teller);
    let me = |epoch| Other::new(&bench_authority(&bench), Person::new("A", 0).epoch(epoch));
    let (first, second) = (me(5), me(9));
    bench.receive(&teller, first.signed.clone());
    let raised = bench.actions.iter().filter(|a| matches!(a, Action::RaiseEpoch { .. })).count();
    assert_eq!(raised, 1, "a lost epoch is made good");
    for _ in 0..10 {
        bench.pass(ms(500));
        bench.receive(&teller, second.signed.clone());
    }
    let conflicts = bench.actions.iter().filter(|a| matches!(a, Action::Conflict { .. })).count();
    let raised = bench.actions.iter().filter(|a| matches!(a, Action::RaiseEpoch { .. })).count();
    assert_eq!((raised, conflicts), (1, 1), "another self is reported, once a minute");
}

#[test]
fn m14_whoever_claims_anothers_endpoint_gains_nothing() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..6 {
        net.add(Person::new("A", index));
    }
    let victim = net.people[2].internal.clone();
    // The hijacker is dialled where it says that it is, which is where the victim answers.
    let hijacker = net.add(Person { external: Some(victim), ..Person::new("A", 66) });
    net.bootstrap_all(0);
    net.run(secs(10));
    assert_eq!(net.deaths(), 0);
    for peer in (0..6).filter(|peer| *peer != 2) {
        assert!(net.sees_peer(peer, 2), "the victim stays");
        assert!(net.cluster.is_connected(peer, 2), "and reachable");
    }
    assert!(net.cluster.is_up(hijacker));
}

#[test]
fn m15_anchors_that_were_down_for_ten_hours_are_found_again() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    let anchor = net.add(Person::new("A", 0));
    let peer = net.add(Person::new("A", 1));
    net.cluster.crash(anchor);
    net.connect(peer, anchor);
    net.run(secs(36_000));
    let person = net.people[anchor].clone().epoch(2);
    net.restart(anchor, person);
    let took = net.until(secs(15), "found again", Net::views_are_full);
    assert!(took < secs(10), "{took:?}");
}

#[test]
fn m16_answers_nobody_asked_for_are_ignored() {
    let mut bench = Bench::new();
    let (teller, other, stranger) = (bench.other(1), bench.other(2), bench.other(3));
    bench.befriend(&teller);
    bench.befriend(&other);
    bench.pass(ms(300));
    let nonce = bench.question_to(&teller).or(bench.question_to(&other)).expect("asked");
    let (asked, bystander) = if bench.question_to(&teller) == Some(nonce) {
        (&teller, &other)
    } else {
        (&other, &teller)
    };
    let before = bench.checks;
    // Another's answer with the right nonce, and the right one's with a wrong nonce.
    bench.answer_as(bystander, nonce, vec![stranger.entry()]);
    bench.answer_as(asked, Nonce::new(nonce.get() ^ 1), vec![stranger.entry()]);
    assert_eq!(bench.checks, before);
    assert!(bench.answer_as(asked, nonce, vec![stranger.entry()]));
    assert_eq!(bench.checks, before + 1);
    // The right one again: refused before anything is looked at.
    assert!(!bench.answer_as(asked, nonce, vec![bench.other(4).entry()]));
    assert_eq!(bench.checks, before + 1);
}

#[test]
fn m17_ten_thousand_requests_a_second_get_a_few_answers() {
    let mut bench = Bench::new();
    let greedy = bench.other(1);
    bench.befriend(&greedy);
    for index in 2..40 {
        let member = bench.other(index);
        bench.befriend(&member);
    }
    bench.actions.clear();
    for _ in 0..10_000 {
        bench.ask_from(&greedy, Vec::new());
    }
    let answers = bench.responses_to(&greedy).len();
    assert!(answers <= 32, "{answers} answers");
    assert!(bench.drops().iter().filter(|drop| **drop == DropReason::TooMany).count() > 9_900);
    // Questions for proofs are bounded as well, and so are signatures.
    bench.actions.clear();
    let own = ShortId::of(&bench.crypto.pki_id());
    for burst in 0..100u64 {
        let asks = (0..64).map(|n| Ask { target: own, nonce: Nonce::new(burst * 64 + n), hops: 0 });
        let asks = Bounded::truncated(asks);
        bench.send_from(&greedy, Message::Probe(Probe { asks }));
    }
    bench.pass(secs(1));
    let signatures = bench.actions.iter().filter(|a| matches!(a, Action::Prove(_))).count();
    assert!(signatures <= 12, "{signatures} signatures in a second");
}

#[test]
fn p2_a_third_organisation_is_never_named() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for org in ["A", "B", "C"] {
        for index in 0..3 {
            net.add(Person::new(org, index));
        }
        net.add(Person::new(org, 3).hidden());
    }
    for peer in 0..12 {
        // Inside everybody knows the first; A and B, and B and C, know each other.
        net.connect(peer, peer - peer % 4);
    }
    net.connect(0, 4);
    net.connect(4, 8);
    net.run(secs(30));
    for peer in 0..12 {
        let org = |peer: usize| peer / 4;
        let expected: BTreeSet<usize> = (0..12)
            .filter(|other| *other != peer)
            .filter(|other| {
                let near = org(*other).abs_diff(org(peer)) <= 1;
                let same = org(*other) == org(peer);
                let open = other % 4 != 3 && peer % 4 != 3;
                same || (near && open)
            })
            .collect();
        let seen: BTreeSet<usize> = (0..12).filter(|other| net.sees_peer(peer, *other)).collect();
        let leaked: Vec<_> = seen.difference(&expected).filter(|o| org(**o) != org(peer)).collect();
        let hidden: Vec<_> = leaked.iter().filter(|other| **other % 4 == 3).collect();
        assert!(hidden.is_empty(), "{peer} was told of hidden {hidden:?}");
        let third: Vec<_> = leaked.iter().filter(|o| org(***o).abs_diff(org(peer)) > 1).collect();
        assert!(third.is_empty(), "{peer} was told of a third organisation: {third:?}");
        for member in net.cluster.machine(peer).members() {
            if member.org.as_ref() != Some(&net.people[peer].org) {
                assert_eq!(member.internal_endpoint, None, "secrets stay inside");
            }
        }
        if peer % 4 != 3 {
            let missing: Vec<_> = expected.difference(&seen).collect();
            assert!(missing.is_empty(), "{peer} lacks {missing:?}");
        }
    }
}

/// Seconds in which `friend` proves that it lives whenever it is asked to.
fn keep_alive(bench: &mut Bench, friend: &Other, seconds: u64) {
    for _ in 0..seconds * 10 {
        bench.pass(ms(100));
        bench.answer_probes(friend);
        if !bench.machine.connected(&friend.pki_id) {
            bench.befriend(friend);
        }
    }
}

fn beats(beats: impl IntoIterator<Item = gossip_api::message::Beat>) -> Message {
    Message::Beats(Beats { beats: Bounded::truncated(beats) })
}

fn bench_authority(bench: &Bench) -> std::sync::Arc<gossip_comm::sim::crypto::Authority> {
    std::sync::Arc::clone(&bench.authority)
}

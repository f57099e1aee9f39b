//! Fabric's scenarios of `gossip/discovery`, by their names, on the machine and the simulated network.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::print_stdout,
    reason = "tests"
)]

mod support;

use bytes::Bytes;
use gossip_api::message::{Beats, Message, ShortId};
use gossip_api::{Bounded, Nonce};
use gossip_comm::sim::Link;
use gossip_discovery::{Action, DiscoveryConfig, DropReason, Input, MembershipEvent};
use support::bench::Bench;
use support::{Net, Person, endpoint, ms, secs};

// fabric: gossip/discovery/discovery_test.go TestHasExternalEndpoints
// fabric: gossip/discovery/discovery_test.go TestToString
#[test]
fn the_internal_endpoint_is_preferred() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    net.add(Person::new("A", 0));
    net.add(Person { external: Some(endpoint("outside:1")), ..Person::new("A", 1) });
    net.add(Person::new("A", 2).hidden());
    net.bootstrap_all(0);
    net.until(secs(2), "full view", Net::views_are_full);
    let member = |peer| net.cluster.machine(0).lookup(&net.pki_id(peer)).unwrap();
    assert_eq!(member(1).endpoint, Some(endpoint("outside:1")));
    assert_eq!(member(1).preferred_endpoint(), Some(&endpoint("A-1:7051")));
    assert_eq!(member(2).endpoint, None);
    assert_eq!(member(2).preferred_endpoint(), Some(&endpoint("A-2:7051")));
}

// fabric: gossip/discovery/discovery_test.go TestBadInput
#[test]
fn messages_of_other_layers_are_refused() {
    let mut bench = Bench::new();
    let other = bench.other(1);
    let beats = || Message::Beats(Beats { beats: Bounded::default() });
    assert!(!bench.send_from(&other, beats()), "not connected");
    bench.befriend(&other);
    let hello = gossip_api::message::PullHello {
        nonce: Nonce::new(1),
        channel: gossip_api::ChannelId::new("c").unwrap(),
        kind: gossip_api::message::PullKind::Block,
    };
    assert!(!bench.send_from(&other, Message::Hello(hello.clone())));
    let message = other.message(Message::Hello(hello));
    bench.give(Input::Received { from: other.pki_id, message });
    assert!(bench.drops().contains(&DropReason::Misdelivered));
    assert!(bench.send_from(&other, beats()));
}

// fabric: gossip/discovery/discovery_test.go TestConnect
#[test]
fn ten_peers_connected_in_a_ring_learn_of_each_other() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..10 {
        net.add(Person::new("A", index));
    }
    for peer in 0..10 {
        net.connect(peer, (peer + 1) % 10);
    }
    net.until(secs(5), "full view", Net::views_are_full);
}

// fabric: gossip/discovery/discovery_test.go TestConnect
#[test]
fn a_foreign_peer_is_asked_without_the_secret() {
    let mut bench = Bench::new();
    let own = bench.other(1);
    let foreign = support::bench::Other::new(&bench.authority, Person::new("B", 1));
    for other in [&own, &foreign] {
        bench.connect_as(other, Some(other.person.internal.clone()));
    }
    let secret_told = |to| {
        bench.sent_to(to).into_iter().any(|message| match message {
            Message::MembershipRequest(request) => request.me.secret.is_some(),
            _ => false,
        })
    };
    assert!(secret_told(&own));
    assert!(!secret_told(&foreign));
    assert!(bench.question_to(&foreign).is_some());
}

// fabric: gossip/discovery/discovery_test.go TestNoSigningIfNoMembership
#[test]
fn a_peer_that_knows_nobody_signs_nothing() {
    let mut bench = Bench::new();
    bench.give(Input::Connect { endpoint: endpoint("nobody:1") });
    for _ in 0..20 {
        bench.give(Input::DialFailed { endpoint: endpoint("nobody:1") });
        bench.pass(secs(3));
    }
    bench.give(Input::UpdateMetadata(Bytes::from_static(b"new")));
    assert!(!bench.actions.iter().any(|a| matches!(a, Action::Sign(_) | Action::Prove(_))));
}

// fabric: gossip/discovery/discovery_test.go TestValidation
// fabric: gossip/discovery/discovery_test.go TestAliveMsgStore
#[test]
fn a_record_is_checked_once_however_often_it_comes() {
    let mut bench = Bench::new();
    let (first, second) = (bench.other(1), bench.other(2));
    bench.befriend(&first);
    bench.befriend(&second);
    assert_eq!(bench.checks, 2);
    for _ in 0..10 {
        bench.ask_from(&first, Vec::new());
        assert!(!bench.receive(&second, first.signed.clone()), "not even admitted");
    }
    assert_eq!(bench.checks, 2);
}

// fabric: gossip/discovery/discovery_test.go TestUpdate
#[test]
fn new_metadata_reaches_everybody() {
    let mut net = Net::started(1, 5, DiscoveryConfig::default());
    net.until(secs(2), "full view", Net::views_are_full);
    for peer in [1, 3] {
        let metadata = Bytes::from(format!("bla {peer}"));
        net.cluster.inject(peer, Input::UpdateMetadata(metadata));
    }
    let knows = |net: &Net, at: usize, of: usize| {
        let member = net.cluster.machine(at).lookup(&net.pki_id(of)).unwrap();
        member.metadata == format!("bla {of}")
    };
    net.until(secs(6), "metadata everywhere", |net| {
        (0..5).all(|at| knows(net, at, 1) && knows(net, at, 3))
    });
    let changed = net.events(0).iter().filter(|(_, e)| matches!(e, MembershipEvent::Changed(_)));
    assert_eq!(changed.count(), 2, "once per change");
}

#[test]
fn a_new_endpoint_reaches_everybody() {
    let mut net = Net::started(1, 5, DiscoveryConfig::default());
    net.until(secs(2), "full view", Net::views_are_full);
    let moved = endpoint("moved.example.com:7051");
    net.cluster.inject(2, Input::UpdateEndpoint(Some(moved.clone())));
    net.until(secs(6), "endpoint everywhere", |net| {
        (0..5).filter(|at| *at != 2).all(|at| {
            let member = net.cluster.machine(at).lookup(&net.pki_id(2));
            member.is_some_and(|member| member.endpoint.as_ref() == Some(&moved))
        })
    });
}

// fabric: gossip/discovery/discovery_test.go TestInitiateSync
#[test]
fn views_fill_by_exchange_alone() {
    // Beats and records are never relayed within the test: what is learned comes by request and answer.
    let config = DiscoveryConfig {
        beat_every: secs(500),
        late_after: secs(1000),
        forget_after: secs(2000),
        ..DiscoveryConfig::default()
    };
    let mut net = Net::started(1, 10, config);
    net.until(secs(5), "full view", Net::views_are_full);
}

// fabric: gossip/discovery/discovery_test.go TestSelf
#[test]
fn we_see_ourselves_as_we_were_told_to_be() {
    let bench = Bench::new();
    let own = bench.machine.self_member();
    assert_eq!(own.pki_id, bench.crypto.pki_id());
    assert_eq!(own.endpoint, bench.me.external);
    assert_eq!(own.internal_endpoint, Some(bench.me.internal.clone()));
    assert_eq!(bench.machine.lookup(&own.pki_id), Some(own));
    assert!(bench.machine.members().is_empty());
}

// fabric: gossip/discovery/discovery_test.go TestExpiration
#[test]
fn stopped_peers_leave_every_view() {
    let mut net = Net::started(1, 5, DiscoveryConfig::default());
    net.until(secs(2), "full view", Net::views_are_full);
    net.run(secs(5));
    net.cluster.stop(3);
    net.cluster.crash(4);
    net.until(secs(6), "both gone", Net::views_are_full);
}

// fabric: gossip/discovery/discovery_test.go TestGetFullMembership
#[test]
fn fifteen_peers_whose_bootstrap_starts_last() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..15 {
        net.add(Person::new("A", index));
    }
    net.cluster.crash(0);
    net.bootstrap_all(0);
    net.run(secs(4));
    let person = net.people[0].clone();
    net.restart(0, person);
    net.until(secs(15), "full view", Net::views_are_full);
    for peer in 0..15 {
        for member in net.cluster.machine(peer).members() {
            assert!(member.internal_endpoint.is_some());
            assert_eq!(net.cluster.machine(peer).lookup(&member.pki_id), Some(member));
        }
    }
}

// fabric: gossip/discovery/discovery_test.go TestGossipDiscoverySkipConnectingToLocalhostBootstrap
// fabric: gossip/discovery/discovery_test.go TestGossipDiscoveryStopping
#[test]
fn our_own_addresses_are_never_dialled() {
    let mut bench = Bench::new();
    for own in ["A-0:7051", "localhost:7051", "127.0.0.1:7051", "[::1]:7051"] {
        bench.give(Input::Connect { endpoint: endpoint(own) });
    }
    bench.pass(secs(30));
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Dial { .. })));
    bench.give(Input::Connect { endpoint: endpoint("127.0.0.1:7052") });
    assert!(bench.actions.iter().any(|action| matches!(action, Action::Dial { .. })));
}

// fabric: gossip/discovery/discovery_test.go TestConvergence
#[test]
fn groups_merged_by_a_connector_stay_merged() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..12 {
        net.add(Person::new("A", index));
    }
    for peer in 0..12 {
        net.connect(peer, peer - peer % 4);
    }
    net.run(secs(5));
    assert!((0..12).all(|peer| net.sees(peer) == 3));
    let connector = net.add(Person::new("A", 99));
    for group in [0, 4, 8] {
        net.connect(connector, group);
    }
    net.until(secs(5), "merged", Net::views_are_full);
    net.cluster.crash(connector);
    net.until(secs(6), "connector gone", Net::views_are_full);
    assert!((0..12).all(|peer| net.sees(peer) == 11));
}

// fabric: gossip/discovery/discovery_test.go TestDisclosurePolicyWithPull
#[test]
fn only_members_with_external_endpoints_are_known_outside() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for org in ["A", "B"] {
        for index in 0..5 {
            let person = Person::new(org, index);
            net.add(if index < 2 { person } else { person.hidden() });
        }
    }
    for peer in 0..10 {
        net.connect(peer, peer - peer % 5);
    }
    net.connect(0, 5);
    net.run(secs(20));
    for peer in 0..10 {
        let org = peer / 5;
        for other in (0..10).filter(|other| *other != peer) {
            let told = other / 5 == org || other % 5 < 2;
            let told = told && (other / 5 == org || peer % 5 < 2 || net.sees_peer(peer, other));
            assert_eq!(net.sees_peer(peer, other), told, "{peer} of {other}");
        }
        for member in net.cluster.machine(peer).members() {
            let foreign = member.org.as_ref() != Some(&net.people[peer].org);
            assert_eq!(foreign, member.internal_endpoint.is_none());
        }
    }
}

// fabric: gossip/discovery/discovery_test.go TestMemRespDisclosurePol
#[test]
fn whoever_may_not_know_us_gets_no_answer() {
    let mut bench = Bench::with(DiscoveryConfig::default(), Person::new("A", 0).hidden());
    let foreign = support::bench::Other::new(&bench.authority, Person::new("B", 1));
    bench.connect(&foreign);
    bench.ask_from(&foreign, Vec::new());
    assert!(bench.responses_to(&foreign).is_empty());
    let closed = bench
        .actions
        .iter()
        .any(|action| matches!(action, Action::Disconnect { peer, .. } if *peer == foreign.pki_id));
    assert!(closed);
}

// fabric: gossip/discovery/discovery_test.go TestCertificateChange
#[test]
fn a_renewed_certificate_on_the_same_endpoint_leaves_one_entry() {
    let mut net = Net::started(1, 6, DiscoveryConfig::default());
    net.run(secs(6));
    let person = Person { serial: 1, ..net.people[3].clone() };
    let old = net.pki_id(3);
    net.restart(3, person);
    net.connect(3, 0);
    net.until(secs(4), "one entry, the new one", Net::views_are_full);
    net.run(secs(20));
    assert!(net.views_are_full());
    for peer in (0..6).filter(|peer| *peer != 3) {
        let endpoint = net.people[3].internal.clone();
        let there = net.cluster.machine(peer).members().into_iter();
        let there: Vec<_> =
            there.filter(|m| m.internal_endpoint == Some(endpoint.clone())).collect();
        assert_eq!(there.len(), 1);
        assert_ne!(there[0].pki_id, old);
    }
}

// fabric: gossip/discovery/discovery_test.go TestMsgStoreExpiration
// fabric: gossip/discovery/discovery_test.go TestExpirationNoSecretEnvelope
// fabric: gossip/discovery/discovery_test.go TestMsgStoreExpirationWithMembershipMessages
#[test]
fn the_long_dead_leave_no_trace() {
    let config = DiscoveryConfig { forget_after: secs(20), ..DiscoveryConfig::default() };
    let mut net = Net::started(1, 4, config);
    net.run(secs(6));
    net.cluster.crash(2);
    net.cluster.crash(3);
    net.run(secs(40));
    for peer in 0..2 {
        let stats = net.cluster.machine(peer).stats();
        assert_eq!((stats.alive, stats.dead, stats.known), (1, 0, 1));
        for gone in [2, 3] {
            assert_eq!(net.cluster.machine(peer).lookup(&net.pki_id(gone)), None);
        }
        let forgotten = net.events(peer).iter();
        let forgotten = forgotten.filter(|(_, e)| matches!(e, MembershipEvent::Forgotten(_)));
        assert_eq!(forgotten.count(), 2);
    }
}

// fabric: gossip/discovery/discovery_test.go TestPeerIsolation
// fabric: gossip/discovery/discovery_test.go TestMembershipAfterExpiration
#[test]
fn an_anchor_is_remembered_when_the_others_are_forgotten() {
    let config = DiscoveryConfig { forget_after: secs(20), ..DiscoveryConfig::default() };
    let mut net = Net::started(1, 3, config);
    net.run(secs(6));
    net.cluster.crash(0);
    net.cluster.crash(1);
    net.run(secs(60));
    let stats = net.cluster.machine(2).stats();
    assert_eq!((stats.alive, stats.dead), (0, 1), "the anchor stays among the dead");
    assert!(net.cluster.machine(2).lookup(&net.pki_id(0)).is_some());
    assert!(net.cluster.machine(2).lookup(&net.pki_id(1)).is_none());
    for peer in [0, 1] {
        let person = net.people[peer].clone().epoch(2);
        net.restart(peer, person);
    }
    net.connect(1, 0);
    net.until(secs(15), "all views complete", Net::views_are_full);
}

// fabric: gossip/discovery/discovery_test.go TestHandleAliveMessage_RelearnsMemberAfterConcurrentPurge
#[test]
fn a_member_that_was_purged_is_learned_again() {
    let mut bench = Bench::new();
    let other = bench.other(1);
    bench.befriend(&other);
    bench.give(Input::Expelled { peer: other.pki_id });
    assert!(!bench.sees(&other.pki_id));
    assert!(bench.events().contains(&MembershipEvent::Forgotten(other.pki_id)));
    bench.pass(secs(11));
    bench.befriend(&other);
    assert!(bench.sees(&other.pki_id));
}

#[test]
fn a_late_member_is_asked_directly_then_through_others_and_a_proof_saves_it() {
    let mut bench = Bench::new();
    let (late, helper) = (bench.other(1), bench.other(2));
    bench.befriend(&late);
    bench.befriend(&helper);
    bench.pass(ms(2700));
    bench.send_from(&helper, Message::Beats(Beats { beats: Bounded::truncated([helper.beat(0)]) }));
    bench.actions.clear();
    bench.pass(ms(200));
    let short = ShortId::of(&late.pki_id);
    let direct = bench.asked_of(&late).remove(&short).expect("asked directly");
    bench.pass(ms(250));
    let through = bench.asked_of(&helper);
    assert_eq!(through[&short].len(), 1, "and through another");
    assert!(through.contains_key(&ShortId::of(&helper.pki_id)), "who shows that it hears us");
    assert!(bench.sees(&late.pki_id), "alive for everybody above meanwhile");
    // A proof that came through the helper, over the nonce that went through it.
    assert!(bench.receive(&helper, late.proof(through[&short].clone())));
    bench.pass(ms(500));
    assert!(bench.sees(&late.pki_id));
    assert!(!bench.receive(&helper, late.proof(direct)), "and again: nothing is awaited");
}

#[test]
fn a_member_that_proves_nothing_dies_once() {
    let mut bench = Bench::new();
    let (late, helper) = (bench.other(1), bench.other(2));
    bench.befriend(&late);
    bench.befriend(&helper);
    for step in 0..80 {
        bench.pass(ms(100));
        bench.answer_probes(&helper);
        if step % 20 == 0 {
            let beats = Bounded::truncated([helper.beat(step / 20)]);
            bench.send_from(&helper, Message::Beats(Beats { beats }));
        }
    }
    assert!(!bench.sees(&late.pki_id));
    assert!(bench.sees(&helper.pki_id));
    let deaths = bench.events().into_iter().filter(|e| matches!(e, MembershipEvent::Dead(_)));
    assert_eq!(deaths.count(), 1);
}

//! Shapes and faults of the network, and what organisations learn of each other; each test is named by the case
//! of the plan it covers: N for the network, P for privacy.
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

use gossip_comm::sim::{Link, check};
use gossip_discovery::DiscoveryConfig;
use support::{Net, Person, endpoint, ms, secs};

#[test]
fn n2_peers_clogged_one_by_one_and_let_go_in_another_order() {
    check(0..3, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.run(secs(6));
        for peer in [3, 7, 5, 8] {
            net.cluster.clog(peer, true);
            net.run(ms(1700));
        }
        for peer in [5, 3, 8, 7] {
            net.cluster.clog(peer, false);
            net.run(ms(1300));
        }
        net.until(secs(10), "right views", Net::views_are_full);
        net.run(secs(10));
        assert!(net.views_are_full());
    });
}

#[test]
fn n3_two_halves_joined_by_one_peer_that_crashes_and_returns() {
    check(0..2, |seed| {
        let mut net = Net::new(seed, Link::lan(), DiscoveryConfig::default());
        for index in 0..11 {
            net.add(Person::new("A", index));
        }
        // Halves that never reach each other, and peer 10 that reaches both.
        for left in 0..5 {
            for right in 5..10 {
                net.cluster.cut_one_way(left, right, true);
                net.cluster.cut_one_way(right, left, true);
            }
        }
        net.bootstrap_all(10);
        net.until(secs(10), "all live, some through the bridge alone", Net::views_are_full);
        net.cluster.crash(10);
        net.run(secs(20));
        for peer in 0..10 {
            assert_eq!(net.sees(peer), 4, "{peer} sees its half");
        }
        let person = net.people[10].clone().epoch(2);
        net.restart(10, person);
        net.connect(10, 0);
        net.connect(10, 5);
        net.until(secs(20), "all again", Net::views_are_full);
    });
}

#[test]
fn n4_three_sites_far_apart_are_one_network() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..15 {
        net.add(Person::new("A", index));
    }
    for a in 0..15 {
        for b in a + 1..15 {
            let one_way = match (a / 5, b / 5) {
                (near, also_near) if near == also_near => ms(1)..=ms(1),
                (0, 1) => ms(25)..=ms(25),
                _ => ms(75)..=ms(75),
            };
            net.cluster.set_link(a, b, Link::lan().latency(one_way));
        }
    }
    net.bootstrap_all(0);
    net.until(secs(5), "full view", Net::views_are_full);
    net.run(secs(60));
    assert_eq!(net.deaths(), 0);
    assert!(net.views_are_full());
}

#[test]
fn n6_a_network_card_that_goes_down_and_comes_back() {
    check(0..2, |seed| {
        let mut net = Net::started(seed, 10, DiscoveryConfig::default());
        net.run(secs(6));
        net.cluster.clog(4, true);
        net.run(secs(30));
        assert!((0..10).filter(|peer| *peer != 4).all(|peer| net.sees(peer) == 8));
        net.cluster.clog(4, false);
        let took = net.until(secs(10), "back", Net::views_are_full);
        assert!(took < secs(4), "{took:?}");
    });
}

#[test]
fn n7_a_heal_among_forty_is_no_stampede() {
    let count: usize = if cfg!(debug_assertions) { 40 } else { 100 };
    let config = DiscoveryConfig::default();
    let dials_max = config.dials_max;
    let mut net = Net::started(1, u32::try_from(count).unwrap(), config);
    net.until(secs(5), "full view", Net::views_are_full);
    net.run(secs(5));
    net.cluster.split(|peer| u32::from(peer >= count / 2));
    net.run(secs(30));
    let dials = |net: &Net| -> u64 {
        (0..count).map(|peer| net.cluster.machine(peer).stats().counters.dials).sum()
    };
    let before = dials(&net);
    net.cluster.heal();
    net.until(secs(5), "right views", Net::views_are_full);
    net.run(secs(5));
    let pairs = count / 2 * count.div_ceil(2);
    let dialled = usize::try_from(dials(&net) - before).unwrap();
    println!("{dialled} dials for {pairs} new pairs");
    // Each pair is dialled by one side, hardly ever by both; and a dial or two to the dead a second.
    assert!(dialled <= 2 * pairs + 2 * count * dials_max, "{dialled} dials for {pairs} pairs");
    assert!(net.views_are_full());
}

#[test]
fn n8_who_answers_at_a_bootstrap_address_is_judged_by_its_identity() {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for index in 0..4 {
        net.add(Person::new("A", index));
    }
    // The name leads nowhere, then to somebody else than before.
    let name = endpoint("bootstrap:7051");
    for peer in 0..4 {
        let input = gossip_discovery::Input::Connect { endpoint: name.clone() };
        net.cluster.inject(peer, input);
    }
    net.run(secs(30));
    assert!((0..4).all(|peer| net.sees(peer) == 0));
    let renamed = Person { internal: name.clone(), ..Person::new("A", 9) };
    net.add(Person { external: Some(name), ..renamed });
    net.until(secs(15), "found through whoever answers there", Net::views_are_full);
}

#[test]
fn n9_a_link_that_damages_three_messages_in_ten() {
    check(0..2, |seed| {
        let link = Link::lan().corrupt(0.3);
        let mut net = Net::new(seed, link, DiscoveryConfig::default());
        for index in 0..8 {
            net.add(Person::new("A", index));
        }
        net.bootstrap_all(0);
        net.until(secs(30), "full view", Net::views_are_full);
        for peer in 0..8 {
            for member in net.cluster.machine(peer).members() {
                let known = net.people.iter().any(|person| person.external == member.endpoint);
                assert!(known, "damage is believed by nobody");
            }
        }
    });
}

#[test]
fn p1_internal_endpoints_stay_inside_their_organisation() {
    let net = two_organisations();
    let inside: BTreeSet<String> =
        net.people.iter().map(|person| person.internal.as_str().to_owned()).collect();
    for peer in 0..net.people.len() {
        for member in net.cluster.machine(peer).members() {
            let foreign = member.org.as_ref() != Some(&net.people[peer].org);
            assert_eq!(member.internal_endpoint.is_none(), foreign);
            let told = member.endpoint.as_ref().is_some_and(|at| inside.contains(at.as_str()));
            assert!(!(foreign && told), "not as an external one either");
        }
    }
    assert_eq!(net.cluster.host().leaks.first(), None);
    let refused = format!("{:?}", net.cluster.host().drops);
    assert!(!refused.contains("inside"), "reasons of refusal name no endpoint");
}

#[test]
fn p3_peers_without_external_endpoint_are_never_named_outside() {
    let net = two_organisations();
    for peer in 0..net.people.len() {
        for other in (0..net.people.len()).filter(|other| *other != peer) {
            let (a, b) = (&net.people[peer], &net.people[other]);
            let seen = net.sees_peer(peer, other);
            assert!(seen || a.org != b.org, "{peer} knows {other} of its own organisation");
            assert!(
                !seen || a.org == b.org || b.external.is_some(),
                "{other} is hidden from {peer}"
            );
            let open = a.external.is_some() && b.external.is_some();
            assert!(seen || !open, "{peer} knows {other}, who is open");
        }
    }
    assert_eq!(net.cluster.host().leaks.first(), None);
}

/// Two organisations of four, one of each without external endpoint; the first of each know each other.
fn two_organisations() -> Net {
    let mut net = Net::new(1, Link::lan(), DiscoveryConfig::default());
    for org in ["A", "B"] {
        for index in 0..4 {
            let person = Person::new(org, index);
            let internal = endpoint(&format!("inside-{org}-{index}:7051"));
            let person = Person { internal, ..person };
            net.add(if index == 3 { person.hidden() } else { person });
        }
    }
    for peer in 0..8 {
        net.connect(peer, peer - peer % 4);
    }
    // The others' address as their own organisation knows it: what answers there is judged by its identity.
    net.connect(0, 4);
    net.run(secs(30));
    net
}

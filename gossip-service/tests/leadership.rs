//! Who leads, since when and why, as operators see it.
#![cfg(feature = "peer")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "support/processes.rs"]
mod processes;

use processes::{Peer, feed, trade_from};
use serde_json::Value;

fn channel(peer: &Peer) -> Value {
    peer.get("/status").map_or(Value::Null, |status| status.json()["channels"][0].clone())
}

fn leads(peer: &Peer) -> bool {
    channel(peer)["leader"] == true
}

fn gauge(peer: &Peer) -> Option<String> {
    let metrics = peer.get("/metrics")?.body;
    let name = "gossip_leader_election_leader{channel=\"trade\"} ";
    metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
}

fn lines(peer: &Peer, words: &str) -> usize {
    peer.log().lines().filter(|line| line.contains(words)).count()
}

/// One line for each beginning and each end: as many more of the one kind as it leads.
fn changes(peer: &Peer) -> usize {
    lines(peer, "leading=true why=") - lines(peer, "leading=false why=")
}

#[test]
fn who_leads_since_when_and_why_is_told_by_status_gauge_and_one_line_per_change() {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    feed(&source, 0..=3);
    let mut first = Peer::new(root.path(), 0, None, &trade_from(&source), "");
    let mut second = Peer::new(root.path(), 1, Some(first.gossip), &trade_from(&source), "");
    first.edit("orgLeader: true", "orgLeader: false");
    for peer in [&first, &second] {
        peer.edit("useLeaderElection: false", "useLeaderElection: true");
    }
    first.start();
    second.start();
    second.wait_until("the blocks", |peer| peer.height() == 4);
    second.wait_until("one leader, known to both", |second| {
        let (one, two) = (channel(&first), channel(second));
        one["leader"] != two["leader"]
            && one["leader_peer"].is_string()
            && one["leader_peer"] == two["leader_peer"]
    });
    let (mut leader, mut follower) = if leads(&first) { (first, second) } else { (second, first) };
    assert_eq!(channel(&leader)["leader_why"], ELECTED);
    assert_eq!(channel(&follower)["leader_why"], "it declared itself");
    for peer in [&leader, &follower] {
        let status = peer.get("/status").unwrap().json();
        let since = status["channels"][0]["leader_since_s"].as_f64().unwrap();
        assert!(since > 0.0 && since <= status["uptime_s"].as_f64().unwrap());
    }
    assert!(leader.told(&["status"]).contains("leads since"), "{}", leader.told(&["status"]));
    assert!(follower.told(&["status"]).contains("follows "), "{}", follower.told(&["status"]));
    leader.wait_until("its gauge", |peer| gauge(peer).as_deref() == Some("1"));
    follower.wait_until("its gauge", |peer| gauge(peer).as_deref() == Some("0"));
    assert_eq!(changes(&leader), 1, "{}", leader.log());
    assert_eq!(changes(&follower), 0, "{}", follower.log());
    assert!(lines(&follower, "leadership of another peer") >= 1, "{}", follower.log());

    let before = channel(&follower)["leader_since_s"].as_f64().unwrap();
    leader.kill();
    follower.wait_until("its own leadership", leads);
    let own = channel(&follower);
    assert!(own["leader_since_s"].as_f64().unwrap() > before);
    assert_eq!(own["leader_why"], ELECTED);
    follower.wait_until("its gauge", |peer| gauge(peer).as_deref() == Some("1"));
    assert_eq!(changes(&follower), 1, "{}", follower.log());
}

const ELECTED: &str = "elected: no better candidate is alive";

//! Whole peers on virtual time: a block reaches everybody, whatever happens to the network.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use gossip_comm::sim::{Link, check};
use support::Consortium;

const BLOCK_LEN: usize = 4 << 10;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// All started at once, and a few seconds to find each other.
fn settled(seed: u64, peers: usize, orgs: usize, link: Link) -> Consortium {
    let mut consortium = Consortium::new(seed, orgs, link, BLOCK_LEN);
    for _ in 0..peers {
        consortium.add_peer();
    }
    consortium.cluster.run_for(secs(5));
    consortium
}

fn assert_same_ledgers(consortium: &Consortium, height: usize) {
    let first = &consortium.outside(0).ledger;
    assert_eq!(first.len(), height);
    for peer in 0..consortium.cluster.peers() {
        let ledger = &consortium.outside(peer).ledger;
        assert_eq!(ledger.len(), height, "height of peer {peer}");
        assert!(ledger == first, "ledger of peer {peer}");
    }
}

fn spread(seed: u64, peers: usize, blocks: usize) -> u64 {
    let mut consortium = settled(seed, peers, 2, Link::lan());
    for _ in 0..blocks {
        consortium.order_block();
        consortium.cluster.run_for(Duration::from_millis(200));
    }
    consortium.cluster.run_for(secs(10));
    assert_same_ledgers(&consortium, blocks + 1);
    consortium.cluster.history_hash()
}

#[test]
fn a_block_reaches_all_of_fifty_peers_and_the_same_seed_gives_the_same_history() {
    check([7], |seed| {
        assert_eq!(spread(seed, 50, 10), spread(seed, 50, 10), "same seed, same history");
    });
    assert_ne!(spread(1, 10, 2), spread(2, 10, 2), "another seed, another history");
}

#[test]
fn blocks_arrive_in_spite_of_loss_and_broken_streams() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 12, 2, Link::lan().loss(0.05).drop(0.05));
        for _ in 0..20 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(200));
        }
        consortium.cluster.run_for(secs(20));
        assert_same_ledgers(&consortium, 21);
    });
}

#[test]
fn a_late_peer_and_a_crashed_one_catch_up() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 6, 2, Link::lan());
        for _ in 0..100 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(50));
        }
        consortium.cluster.crash(4);
        for _ in 0..50 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(50));
        }
        consortium.restart(4);
        consortium.add_peer();
        for _ in 0..10 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(50));
        }
        consortium.cluster.run_for(secs(20));
        assert_same_ledgers(&consortium, 161);
    });
}

#[test]
fn a_partition_heals_into_equal_ledgers() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 8, 2, Link::lan());
        // The second half of each organisation loses sight of its leader.
        consortium.cluster.split(|peer| u32::from(peer >= 4));
        for _ in 0..20 {
            consortium.order_block();
            consortium.cluster.run_for(secs(1));
        }
        consortium.cluster.heal();
        consortium.cluster.run_for(secs(40));
        assert_same_ledgers(&consortium, 21);
    });
}

#[test]
fn a_tampered_block_is_stored_by_nobody_and_stops_nothing() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 6, 2, Link::lan());
        let good = consortium.blocks.next_block();
        let mut bad = good.clone();
        let mut data = bad.data.to_vec();
        *data.last_mut().unwrap() ^= 1;
        bad.data = data.into();
        consortium.deliver(&bad);
        consortium.cluster.run_for(secs(2));
        assert_same_ledgers(&consortium, 1);
        assert_eq!(consortium.outside(0).refused.values().sum::<u64>(), 1);
        assert!(consortium.outside(2).refused.is_empty(), "and forwarded by nobody");
        consortium.deliver(&good);
        consortium.cluster.run_for(secs(5));
        assert_same_ledgers(&consortium, 2);
    });
}

//! Whole peers on virtual time: a block reaches everybody, whatever happens to the network.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use gossip_api::{Block, SeqNum};
use gossip_comm::sim::crypto::BlockFactory;
use gossip_comm::sim::{Link, check};
use gossip_service::Input;
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

/// K4: bits rot in a ledger while its peer runs.
#[test]
fn a_damaged_block_comes_back_from_a_neighbour() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 6, 2, Link::lan());
        for _ in 0..10 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(100));
        }
        consortium.cluster.run_for(secs(5));
        assert_same_ledgers(&consortium, 11);
        let channel = consortium.cluster.host().channel.clone();
        let held = &mut consortium.cluster.host_mut().peers[4].ledger;
        let whole = held[4].clone();
        held[4].data = Bytes::from_static(b"rot");
        let hash = Some(whole.header().hash());
        let damaged = Input::BlockDamaged { channel, number: SeqNum::new(4), hash };
        consortium.cluster.inject(4, damaged);
        consortium.cluster.run_for(secs(3));
        assert_same_ledgers(&consortium, 11);
    });
}

/// Two chains of one authority that differ from block 5 on.
fn forked(consortium: &Consortium) -> (Vec<Block>, Vec<Block>) {
    let channel = consortium.cluster.host().channel.clone();
    let chain = |fork: bool| {
        let mut factory = BlockFactory::new(&consortium.authority, channel.clone(), BLOCK_LEN);
        let mut blocks = factory.chain(5);
        if fork {
            factory.set_data_len(BLOCK_LEN + 1);
        }
        blocks.extend(factory.chain(3));
        blocks
    };
    (chain(false), chain(true))
}

fn hand_in(consortium: &mut Consortium, peer: usize, block: &Block) {
    let channel = consortium.cluster.host().channel.clone();
    let block = block.clone();
    consortium.cluster.inject(peer, Input::FromSource { channel, block });
}

fn assert_halted(consortium: &Consortium, chains: [&[Block]; 2]) {
    for peer in 0..consortium.cluster.peers() {
        let outside = consortium.outside(peer);
        assert!((1..=2).contains(&outside.conflicts.len()), "peer {peer} saw it, and keeps little");
        let conflict = &outside.conflicts[0];
        assert_eq!((conflict.number.get(), conflict.halt), (5, true), "of peer {peer}");
        let height = outside.ledger.len();
        assert!((5..=6).contains(&height), "peer {peer} goes no further: {height}");
        let is_prefix = chains.iter().any(|chain| chain.starts_with(&outside.ledger));
        assert!(is_prefix, "the ledger of peer {peer} is one chain");
        let now = consortium.cluster.now();
        let status = consortium.cluster.machine(peer).channel_statuses(now).remove(0);
        assert_eq!(status.halted, Some(SeqNum::new(5)));
        assert!(status.is_failing() && status.stalled_reason.unwrap().contains("operator"));
    }
}

/// B12: orderers give each half of the channel another block with one number.
#[test]
fn orderers_that_sign_two_blocks_stop_every_peer_with_evidence() {
    check(1..6, |seed| {
        let mut consortium = settled(seed, 8, 2, Link::lan());
        let (one, other) = forked(&consortium);
        for block in &one[1..5] {
            consortium.deliver(block);
            consortium.cluster.run_for(Duration::from_millis(200));
        }
        for number in 5..8 {
            hand_in(&mut consortium, 0, &one[number]);
            hand_in(&mut consortium, 1, &other[number]);
            consortium.cluster.run_for(Duration::from_millis(200));
        }
        consortium.cluster.run_for(secs(5));
        assert_halted(&consortium, [&one, &other]);
    });
}

/// Each half has committed its block before it hears of the other half's.
#[test]
fn a_fork_during_a_partition_is_found_when_it_heals() {
    check(1..6, |seed| {
        let mut consortium = settled(seed, 8, 2, Link::lan());
        let (one, other) = forked(&consortium);
        for block in &one[1..5] {
            consortium.deliver(block);
            consortium.cluster.run_for(Duration::from_millis(200));
        }
        // Peers of organisation 0 here, of organisation 1 there.
        consortium.cluster.split(|peer| u32::from(peer % 2 == 1));
        hand_in(&mut consortium, 0, &one[5]);
        hand_in(&mut consortium, 1, &other[5]);
        consortium.cluster.run_for(secs(2));
        assert_eq!(consortium.outside(2).ledger.len(), 6);
        assert_eq!(consortium.outside(3).ledger.len(), 6);
        consortium.cluster.heal();
        // The source's newest header is asked for by somebody: it shows block 5 to whoever has another one.
        consortium.cluster.run_for(secs(5));
        let channel = consortium.cluster.host().channel.clone();
        let newest = Block { data: Bytes::new(), ..other[5].clone() };
        consortium.cluster.inject(2, Input::Probed { channel, newest });
        consortium.cluster.run_for(secs(5));
        assert_halted(&consortium, [&one, &other]);
    });
}

/// What one peer asks of the ordering service on a quiet channel, all learn.
#[test]
fn a_probed_header_reaches_everybody_and_so_do_its_blocks() {
    let mut consortium = settled(3, 6, 2, Link::lan());
    let (blocks, _) = forked(&consortium);
    let channel = consortium.cluster.host().channel.clone();
    let newest = Block { data: Bytes::new(), ..blocks[1].clone() };
    consortium.cluster.inject(4, Input::Probed { channel, newest });
    consortium.cluster.run_for(secs(2));
    for peer in 0..6 {
        let now = consortium.cluster.now();
        let status = consortium.cluster.machine(peer).channel_statuses(now).remove(0);
        assert_eq!((status.proved.get(), status.height.get()), (2, 1), "peer {peer}");
    }
    consortium.deliver(&blocks[1]);
    consortium.cluster.run_for(secs(5));
    assert_same_ledgers(&consortium, 2);
}

#[test]
fn a_tree_is_planned_though_the_ledger_is_quicker_than_a_signature() {
    check(1..4, |seed| {
        let mut consortium = Consortium::new(seed, 1, Link::lan(), 160 << 10);
        for _ in 0..20 {
            consortium.add_peer();
        }
        consortium.cluster.host_mut().verify_cost = Duration::from_millis(3);
        consortium.cluster.host_mut().commit_cost = Duration::from_micros(10);
        consortium.cluster.run_for(secs(10));
        for _ in 0..10 {
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(500));
        }
        assert_same_ledgers(&consortium, 11);
        let pushed: u64 = (1..20).map(|peer| consortium.outside(peer).by_push).sum();
        assert_eq!(pushed, 190, "nobody had to ask");
        let uploads: Vec<u64> = (1..20).map(|peer| consortium.outside(peer).uploaded).collect();
        assert!(uploads.iter().sum::<u64>() > 10 * (160 << 10), "others than the source relay");
    });
}

/// B3: half, four fifths, all but two crash in one instant while a block is on its way.
#[test]
fn who_is_left_of_a_mass_crash_gets_the_block_and_the_others_get_it_when_they_are_back() {
    for left in [5, 2, 2] {
        check(1..4, |seed| {
            let mut consortium = settled(seed, 10, 1, Link::lan());
            consortium.order_block();
            consortium.cluster.run_for(Duration::from_millis(seed * 2));
            let crashed: Vec<usize> = (1..10).rev().take(10 - left).collect();
            crashed.iter().for_each(|peer| consortium.cluster.crash(*peer));
            consortium.cluster.run_for(secs(5));
            for peer in (0..10).filter(|peer| !crashed.contains(peer)) {
                assert_eq!(consortium.outside(peer).ledger.len(), 2, "peer {peer} of {left} left");
            }
            crashed.iter().for_each(|peer| consortium.restart(*peer));
            consortium.cluster.run_for(secs(20));
            assert_same_ledgers(&consortium, 2);
        });
    }
}

/// B18, K10: everybody is killed at once, again and again, and comes back with the ledger that it had.
#[test]
fn everybody_may_be_killed_at_once_again_and_again() {
    check(1..4, |seed| {
        let mut consortium = settled(seed, 6, 2, Link::lan());
        for cycle in 1..=10 {
            let block = consortium.blocks.next_block();
            consortium.deliver(&block);
            consortium.cluster.run_for(Duration::from_millis(seed * 3 + cycle));
            (0..6).for_each(|peer| consortium.cluster.crash(peer));
            consortium.cluster.run_for(secs(1));
            (0..6).for_each(|peer| consortium.restart(peer));
            consortium.cluster.run_for(secs(8));
            // What a leader had not committed its source gives again.
            consortium.deliver(&block);
            consortium.cluster.run_for(secs(8));
            assert_same_ledgers(&consortium, cycle as usize + 1);
        }
    });
}

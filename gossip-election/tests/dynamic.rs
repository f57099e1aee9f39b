//! Elections among live peers, on virtual time.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::{Org, ms, pki};
use gossip_api::{BlockHash, Height, SeqNum};
use gossip_election::{Claim, ClaimKind, ElectionConfig, Input};

fn settled(count: usize, seed: u64) -> Org {
    let mut org = Org::of(count, seed);
    org.run(ms(4_000));
    assert_eq!(org.leaders().len(), 1, "seed {seed}");
    org
}

// fabric: gossip/election/election_test.go TestInitPeersAtSameTime
#[test]
fn ten_peers_that_start_together_have_one_leader_within_two_seconds() {
    for seed in 0..200 {
        let mut org = Org::of(10, seed);
        let first = org.run_until(ms(10_000), |org| !org.leaders().is_empty()).unwrap();
        assert!(first <= ms(2_000), "seed {seed}: {first:?}");
        org.run(ms(5_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
        let leader = pki(org.leaders()[0]);
        assert!(org.peers.iter().all(|p| p.election.leadership().leader == Some(leader)));
    }
}

// fabric: gossip/election/election_test.go TestInitPeersStartAtIntervals
#[test]
fn who_leads_already_is_not_displaced_by_newcomers() {
    for seed in 0..20 {
        let mut org = settled(1, seed);
        for _ in 0..6 {
            org.add();
            org.run(ms(1_500));
        }
        assert_eq!(org.leaders(), [0], "seed {seed}");
        assert_eq!(org.peers[0].changes.len(), 1);
    }
}

// fabric: gossip/election/election_test.go TestLeadershipTakeover
#[test]
fn a_leader_that_dies_is_replaced_within_three_seconds() {
    for seed in 0..200 {
        let mut org = settled(5, seed);
        let leader = org.leaders()[0];
        org.crash(leader);
        let took = org.run_until(ms(10_000), |org| !org.leaders().is_empty()).unwrap();
        assert!(took <= ms(3_000), "seed {seed}: {took:?}");
        org.run(ms(3_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
    }
}

#[test]
fn a_leader_that_says_goodbye_is_replaced_within_200_ms() {
    for seed in 0..200 {
        let mut org = settled(5, seed);
        let leader = org.leaders()[0];
        org.tell(leader, Input::Stop);
        assert!(org.leaders().is_empty());
        let took = org.run_until(ms(10_000), |org| !org.leaders().is_empty()).unwrap();
        assert!(took <= ms(200), "seed {seed}: {took:?}");
        org.run(ms(3_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
    }
}

// fabric: gossip/election/election_test.go TestPartition, TestConvergence
#[test]
fn each_part_has_a_leader_and_the_whole_has_one_again_within_an_interval() {
    for seed in 0..200 {
        let mut org = settled(6, seed);
        org.split(|index| index % 2 == 0);
        org.run(ms(30_000));
        assert_eq!(org.leaders().len(), 2, "seed {seed}");
        org.heal();
        let took = org.run_until(ms(20_000), |org| org.leaders().len() == 1).unwrap();
        assert!(took <= ms(2_000), "seed {seed}: {took:?}");
        org.run(ms(5_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
    }
}

// E2 of the threat model; `cargo xtask sim election --partition 1..30` is the same over connections.
#[test]
fn two_leaders_last_an_interval_at_most_after_a_partition_of_any_length() {
    for seed in 0..120 {
        let mut org = settled(5, seed);
        let leader = org.leaders()[0];
        // The leader is in the minority in every other run.
        let with_leader = seed % 2 == 0;
        org.split(|index| (index == leader || index == (leader + 1) % 5) == with_leader);
        let lasts = ms(1_000 + seed * 29_000 / 119);
        org.run(lasts);
        org.heal();
        let took = org.run_until(ms(20_000), |org| org.leaders().len() == 1).unwrap();
        assert!(took <= ms(2_000), "seed {seed}, {lasts:?}: {took:?}");
        org.run(ms(5_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}, {lasts:?}");
    }
}

// E1: any number of candidates, whatever part of the claims is lost.
#[test]
fn whatever_is_lost_any_number_of_candidates_settles_on_one_leader() {
    for seed in 0..150 {
        let mut org = Org::of(1 + seed as usize % 50, seed);
        org.loss_percent = (seed % 31) as u32;
        org.run(ms(8_000));
        org.loss_percent = 0;
        org.run(ms(4_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
    }
}

// fabric: gossip/election/election_test.go TestYieldAllPeers
#[test]
fn where_everybody_has_yielded_somebody_leads_all_the_same() {
    for seed in 0..20 {
        let mut org = settled(2, seed);
        let first = org.leaders()[0];
        org.tell(first, Input::Yield);
        let took = org.run_until(ms(10_000), |org| org.leaders() == [1 - first]);
        assert!(took.is_some(), "seed {seed}: the other one leads");
        org.tell(1 - first, Input::Yield);
        let took = org.run_until(ms(10_000), |org| org.leaders().len() == 1);
        assert!(took.is_some(), "seed {seed}: nobody leads");
    }
}

/// Everybody agrees on who leads, since when and why; the reason changes with the leader.
#[test]
fn who_leads_since_when_and_why_is_known_to_all() {
    for seed in 0..20 {
        let mut org = settled(5, seed);
        let first = org.leaders()[0];
        assert_eq!(
            org.peers[first].election.leadership().why,
            "elected: no better candidate is alive"
        );
        let died = org.now;
        org.crash(first);
        org.run(ms(4_000));
        let second = org.leaders()[0];
        for (index, peer) in org.peers.iter().enumerate().filter(|(_, peer)| peer.alive) {
            let told = peer.election.leadership();
            assert_eq!(told.leader, Some(pki(second)), "seed {seed}");
            assert_eq!(told.is_own, index == second);
            assert!(told.since > died && told.since <= died.after(ms(3_200)), "seed {seed}");
            assert!(told.term >= 2, "a take-over is a new term");
            assert!(
                ["elected: no better candidate is alive", "it declared itself"].contains(&told.why)
            );
        }
        org.tell(second, Input::Stop);
        assert_eq!(org.peers[second].election.leadership().why, "stopped");
        assert_eq!(org.peers[second].election.leadership().leader, None);
    }
}

// E3
#[test]
fn a_leader_that_slept_steps_down_before_it_does_anything_else() {
    let mut org = settled(5, 1);
    let leader = org.leaders()[0];
    org.pause(leader);
    org.run(ms(30_000));
    let first = org.peers[leader].said;
    org.peers[leader].paused = false;
    let claim = Claim { kind: ClaimKind::Propose, term: 1, height: Height::new(1) };
    org.tell(leader, Input::Heard { from: pki((leader + 1) % 5), claim });
    assert!(!org.peers[leader].leads, "it would have answered as leader");
    assert_eq!(org.peers[leader].said, first + 1, "it resigned");
    org.resume(leader);
    org.run(ms(4_000));
    assert_eq!(org.leaders().len(), 1);
}

// fabric: gossip/election/election_test.go TestYield
#[test]
fn a_leader_that_yields_does_not_come_back_while_another_can_lead() {
    for seed in 0..20 {
        let mut org = settled(5, seed);
        let leader = org.leaders()[0];
        org.tell(leader, Input::Yield);
        org.tell(leader, Input::Yield);
        org.run(ms(15_000));
        assert_eq!(org.leaders().len(), 1);
        assert_ne!(org.leaders()[0], leader, "seed {seed}");
        assert_eq!(org.peers[leader].changes.len(), 2, "led once, was told once to follow");
    }
}

// fabric: gossip/election/election_test.go TestYieldSinglePeer
#[test]
fn a_lone_peer_that_yields_leads_again_after_a_while() {
    let mut org = settled(1, 3);
    org.tell(0, Input::Yield);
    org.run(ms(10_000));
    assert!(org.leaders().is_empty());
    org.run(ms(15_000));
    assert_eq!(org.leaders(), [0]);
}

// hardening E4
#[test]
fn a_leader_that_withholds_blocks_is_replaced_and_everybody_fetches_meanwhile() {
    for seed in 0..20 {
        let mut org = settled(5, seed);
        org.start_blocks(ms(1_000));
        org.run(ms(20_000));
        let leader = org.leaders()[0];
        org.peers[leader].withholds = true;
        let honest = (leader + 1) % 5;
        let before = org.peers[honest].height;
        let took = org.run_until(ms(30_000), |org| org.peers[honest].height > before + 1).unwrap();
        assert!(took <= ms(8_500), "seed {seed}: {took:?}");
        org.run(ms(10_000));
        let lag = org.tip - org.peers[honest].height;
        assert!(lag <= 1, "seed {seed}: {lag} blocks behind");
        assert!(org.leaders().iter().any(|other| *other != leader));
        assert!(org.peers.iter().enumerate().all(|(i, p)| i == leader || !p.fetches), "{seed}");
    }
}

#[test]
fn a_quiet_channel_is_probed_by_one_follower_at_a_modest_rate() {
    for seed in 0..20 {
        let mut org = settled(5, seed);
        org.probes = 0;
        org.run(ms(200_000));
        assert!(org.probes >= 20 && org.probes <= 50, "seed {seed}: {} in 200 s", org.probes);
        assert_eq!(org.leaders().len(), 1);
        assert!(org.peers.iter().all(|peer| !peer.fetches));
    }
}

#[test]
fn a_candidate_far_behind_does_not_lead_and_a_leader_that_falls_behind_is_replaced() {
    for seed in 0..30 {
        let mut org = Org::of(4, seed);
        for index in 0..4 {
            org.tell(index, Input::Proved { height: Height::new(1_000) });
        }
        for index in 1..4 {
            org.tell(index, Input::Height { height: Height::new(1_000) });
        }
        org.run(ms(4_000));
        assert_eq!(org.leaders().len(), 1);
        let leader = org.leaders()[0];
        assert_ne!(leader, 0, "seed {seed}");
        for index in 0..4 {
            org.tell(index, Input::Proved { height: Height::new(5_000) });
        }
        for index in (1..4).filter(|index| *index != leader) {
            org.tell(index, Input::Height { height: Height::new(5_000) });
        }
        org.run(ms(20_000));
        assert_eq!(org.leaders().len(), 1, "seed {seed}");
        assert!(![0, leader].contains(&org.leaders()[0]), "seed {seed}");
    }
}

#[test]
fn a_claimed_height_of_2_to_the_63_wins_nothing() {
    let mut org = settled(3, 5);
    let leader = org.leaders()[0];
    let liar = pki((leader + 1) % 3);
    for kind in [ClaimKind::Propose, ClaimKind::Declare] {
        for _ in 0..20 {
            let claim = Claim { kind: ClaimKind::Propose, term: 1, height: Height::new(1 << 63) };
            org.tell(leader, Input::Heard { from: liar, claim: Claim { kind, ..claim } });
            if kind == ClaimKind::Propose {
                assert_eq!(org.leaders(), [leader]);
            }
        }
    }
}

// E6
#[test]
fn a_term_from_the_far_future_is_not_listened_to() {
    let mut org = settled(3, 5);
    let leader = org.leaders()[0];
    let claim = Claim { kind: ClaimKind::Resign, term: u64::MAX, height: Height::new(1) };
    let follower = (leader + 1) % 3;
    org.tell(follower, Input::Heard { from: pki(leader), claim });
    assert_eq!(org.peers[follower].election.leadership().leader, Some(pki(leader)));
    org.run(ms(10_000));
    assert_eq!(org.leaders(), [leader]);
    assert!(org.peers.iter().all(|peer| peer.persisted.iter().all(|term| *term < 10)));
}

#[test]
fn strangers_are_not_listened_to() {
    let mut org = settled(3, 5);
    let leader = org.leaders()[0];
    let claim = Claim { kind: ClaimKind::Declare, term: 1, height: Height::new(1) };
    for stranger in 50..90 {
        org.tell(leader, Input::Heard { from: pki(stranger), claim });
    }
    assert_eq!(org.leaders(), [leader]);
}

#[test]
fn two_gateways_lead_when_two_are_asked_for() {
    for seed in 0..20 {
        let config = ElectionConfig { gateways: 2, ..ElectionConfig::dynamic() };
        let mut org = Org::with(6, seed, config);
        org.run(ms(8_000));
        assert_eq!(org.leaders().len(), 2, "seed {seed}");
        let gone = org.leaders()[0];
        org.crash(gone);
        org.run(ms(6_000));
        assert_eq!(org.leaders().len(), 2, "seed {seed}");
    }
}

// E5
#[test]
fn leadership_follows_the_beacon_not_the_key() {
    let mut led = [0; 4];
    for seed in 0..200_u8 {
        let mut org = Org::of(4, 9);
        for index in 0..4 {
            let hash = BlockHash::from_bytes([seed; 32]);
            org.tell(index, Input::Beacon { number: SeqNum::new(0), hash });
        }
        org.run(ms(4_000));
        led[org.leaders()[0]] += 1;
    }
    assert!(led.iter().all(|times| (25..=85).contains(times)), "{led:?}");
}

#[test]
fn a_term_is_kept_before_it_is_spoken_and_survives_a_restart() {
    let org = settled(2, 1);
    let leader = org.leaders()[0];
    assert_eq!(org.peers[leader].persisted, [1]);
    let mut org = Org::of(1, 1);
    org.tell(0, Input::Term { term: 40 });
    org.run(ms(4_000));
    assert_eq!(org.peers[0].persisted, [41]);
    assert_eq!(org.peers[0].election.leadership().term, 41);
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let history = |seed| {
        let mut org = Org::of(7, seed);
        org.loss_percent = 20;
        org.run(ms(20_000));
        org.peers.into_iter().map(|peer| (peer.changes, peer.said)).collect::<Vec<_>>()
    };
    assert_eq!(history(3), history(3));
}

#[test]
fn a_leader_that_is_cut_off_is_not_suspected_and_gives_way_as_soon_as_it_meets_a_better_one() {
    for cut_for in [2_500, 5_000, 8_000] {
        for seed in 0..40 {
            let mut org = settled(5, seed);
            org.start_blocks(ms(1_000));
            org.run(ms(10_000));
            let leader = org.leaders()[0];
            // Those without a leader learn from the ordering service that blocks are missing.
            org.split(|index| index == leader || index == (leader + 1) % 5);
            for part in 1..=cut_for / 500 {
                org.run(ms(500));
                let prober = (leader + 2 + part % 3) % 5;
                let height = Height::new(org.tip);
                org.tell(prober, Input::Proved { height });
            }
            org.heal();
            let took = org.run_until(ms(20_000), |org| org.leaders().len() == 1);
            let took = took.unwrap_or_else(|| panic!("seed {seed}: two leaders for ever"));
            assert!(took <= ms(2_000), "seed {seed}, {cut_for} ms: two leaders for {took:?}");
        }
    }
}

#[test]
fn a_leader_whose_own_source_is_stuck_gives_way_although_it_gets_the_blocks_by_others() {
    let mut org = settled(3, 7);
    let leader = org.leaders()[0];
    for tip in 2..30 {
        // Somebody else fetches, and spreads what it got.
        for index in 0..3 {
            org.tell(index, Input::Proved { height: Height::new(tip) });
            org.tell(index, Input::Height { height: Height::new(tip) });
        }
        org.run(ms(500));
    }
    assert_eq!(org.leaders().len(), 1);
    assert_ne!(org.leaders()[0], leader);
}

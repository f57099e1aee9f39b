//! Who relays which share: highest random weight over the members alive now.
//!
//! Nobody has to agree with the choice, so that it is salted with a secret of the chooser: no peer can pick
//! an identity that is chosen often.

use std::collections::BTreeMap;

use gossip_api::{PkiId, SeqNum};

use super::words::{PeerView, View};

/// Relays that were silent, as the source itself saw it in what receivers said of its own blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blame {
    scores: BTreeMap<PkiId, u8>,
}

impl Blame {
    /// The relay owed shares that hardly anybody has.
    pub(crate) fn silent(&mut self, relay: PkiId) {
        if self.scores.len() < RELAYS_MAX || self.scores.contains_key(&relay) {
            let score = self.scores.entry(relay).or_default();
            *score = score.saturating_add(SILENT).min(WORST);
        }
    }

    /// The relay did what it owed.
    pub(crate) fn served(&mut self, relay: &PkiId) {
        self.lower(relay, 2);
    }

    /// A block went by. Each score falls by one now and then, not all at the same time: else all silent relays
    /// would get their turn back with the same block.
    pub(crate) fn age(&mut self, salt: u64, number: SeqNum) {
        let due: Vec<PkiId> = self.scores.keys().copied().collect();
        for relay in due {
            if weight(salt ^ AGE, number, 0, &relay).is_multiple_of(AGE_EVERY) {
                self.lower(&relay, 1);
            }
        }
    }

    /// Whether it has lost its turn.
    pub(crate) fn is_out(&self, relay: &PkiId) -> bool {
        self.score(relay) >= SILENT
    }

    fn score(&self, relay: &PkiId) -> u8 {
        self.scores.get(relay).copied().unwrap_or(0)
    }

    /// Of how many draws a relay's best one counts.
    fn tickets(&self, relay: &PkiId) -> u8 {
        WORST.saturating_sub(self.score(relay)).max(1)
    }

    fn lower(&mut self, relay: &PkiId, by: u8) {
        if let Some(score) = self.scores.get_mut(relay) {
            *score = score.saturating_sub(by);
            if *score == 0 {
                self.scores.remove(relay);
            }
        }
    }
}

/// Who chooses what: a secret number, and the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chooser {
    pub(crate) salt: u64,
    pub(crate) number: SeqNum,
}

impl Chooser {
    /// A relay for each share: as many different ones as there are, and nobody with two more than another.
    pub(crate) fn relays(
        self,
        blame: &Blame,
        pool: &[PkiId],
        shares: impl Iterator<Item = u8>,
    ) -> Vec<(u8, PkiId)> {
        let able: Vec<PkiId> = pool.iter().filter(|peer| !blame.is_out(peer)).copied().collect();
        let pool = if able.is_empty() { pool.to_vec() } else { able };
        let mut free = pool.clone();
        let mut chosen = Vec::new();
        for share in shares {
            if free.is_empty() {
                free.clone_from(&pool);
            }
            let best = free.iter().enumerate().max_by_key(|(_, peer)| {
                let draws = (0..blame.tickets(peer)).map(|ticket| {
                    weight(self.salt.wrapping_add(ticket.into()), self.number, share, peer)
                });
                draws.max()
            });
            let Some(place) = best.map(|(place, _)| place) else { break };
            chosen.push((share, free.swap_remove(place)));
        }
        chosen
    }

    /// One peer of each other organisation, for one share; connected ones first.
    pub(crate) fn entries(self, view: &View, share: u8) -> Vec<PkiId> {
        let mut best: BTreeMap<u32, (bool, u64, PkiId)> = BTreeMap::new();
        for PeerView { id, org, connected, .. } in view.peers.iter().filter(|peer| peer.org != 0) {
            let draw = (*connected, weight(self.salt, self.number, share, id), *id);
            let held = best.entry(*org).or_insert(draw);
            if draw > *held {
                *held = draw;
            }
        }
        best.into_values().map(|(_, _, peer)| peer).collect()
    }

    /// Whether a coin that falls on one side `wanted` times in `of` does so for this peer.
    pub(crate) fn draws(self, peer: &PkiId, wanted: usize, of: usize) -> bool {
        let draw = weight(self.salt ^ DRAW, self.number, 0, peer) % of.max(1) as u64;
        draw < wanted as u64
    }
}

/// A peer's weight for a share.
fn weight(salt: u64, number: SeqNum, share: u8, peer: &PkiId) -> u64 {
    let mut hash = mix(salt ^ number.get()) ^ u64::from(share);
    for word in peer.as_bytes().chunks_exact(8).take(2) {
        let word = word.try_into().map_or(0, u64::from_le_bytes);
        hash = mix(hash ^ word);
    }
    hash
}

/// Steele and Vigna's finaliser of SplitMix64.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// What a silent block adds to a relay's score, and from where on it has lost its turn.
const SILENT: u8 = 4;

/// The worst score.
const WORST: u8 = 8;

/// A score falls by one with every so many blocks on average: who was silent once has its turn back after that.
const AGE_EVERY: u64 = 32;

/// Relays with a score.
const RELAYS_MAX: usize = 4096;

/// Keep the draws of different questions apart.
const AGE: u64 = 0x6167_6500;
const DRAW: u64 = 0x6472_6177;

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(count: u8) -> Vec<PkiId> {
        (0..count).map(|peer| PkiId::from_bytes([peer; 32])).collect()
    }

    fn chooser(number: u64) -> Chooser {
        Chooser { salt: 7, number: SeqNum::new(number) }
    }

    fn loads(chosen: &[(u8, PkiId)]) -> BTreeMap<PkiId, usize> {
        let mut loads = BTreeMap::new();
        chosen.iter().for_each(|(_, peer)| *loads.entry(*peer).or_insert(0) += 1);
        loads
    }

    #[test]
    fn relays_are_distinct_while_there_are_enough_and_evenly_burdened_after() {
        let blame = Blame::default();
        let chosen = chooser(1).relays(&blame, &peers(99), 0..98);
        assert_eq!(loads(&chosen).len(), 98);
        let chosen = chooser(1).relays(&blame, &peers(24), 0..98);
        let loads = loads(&chosen);
        assert_eq!(loads.len(), 24);
        assert!(loads.values().all(|load| *load == 4 || *load == 5));
        assert!(chooser(1).relays(&blame, &[], 0..98).is_empty());
    }

    #[test]
    fn another_block_or_another_secret_gives_other_relays() {
        let blame = Blame::default();
        let of = |chooser: Chooser| chooser.relays(&blame, &peers(99), 0..98);
        assert_eq!(of(chooser(1)), of(chooser(1)));
        assert_ne!(of(chooser(1)), of(chooser(2)));
        assert_ne!(of(chooser(1)), of(Chooser { salt: 8, ..chooser(1) }));
    }

    #[test]
    fn a_silent_relay_loses_its_turn_and_gets_it_back_in_the_end() {
        let (mut blame, all) = (Blame::default(), peers(10));
        let silent = all.first().copied().unwrap_or(PkiId::from_bytes([0; 32]));
        for _ in 0..100 {
            blame.silent(silent);
        }
        assert!(blame.is_out(&silent));
        let chosen = chooser(1).relays(&blame, &all, 0..98);
        assert!(!loads(&chosen).contains_key(&silent));
        let ages = (0..10_000).take_while(|number| {
            blame.age(7, SeqNum::new(*number));
            blame.is_out(&silent)
        });
        let ages = ages.count();
        assert!((1..1000).contains(&ages), "bounded and decays: {ages}");
    }

    #[test]
    fn who_is_alone_relays_in_spite_of_blame() {
        let (mut blame, all) = (Blame::default(), peers(2));
        all.iter().for_each(|peer| blame.silent(*peer));
        assert_eq!(loads(&chooser(1).relays(&blame, &all, 0..4)).len(), 2);
        blame.served(&PkiId::from_bytes([0; 32]));
        assert_eq!(loads(&chooser(1).relays(&blame, &all, 0..4)).len(), 1);
    }

    #[test]
    fn one_entry_of_each_other_organisation_is_chosen_and_a_connected_one_first() {
        let peer = |id: u8, org, connected| PeerView {
            id: PkiId::from_bytes([id; 32]),
            org,
            connected,
            height: gossip_api::Height::new(1),
        };
        let peers = vec![peer(1, 0, true), peer(2, 1, false), peer(3, 1, true), peer(4, 2, false)];
        let view = View { peers, ..View::default() };
        for share in 0..16 {
            let entries = chooser(1).entries(&view, share);
            assert_eq!(entries, [PkiId::from_bytes([3; 32]), PkiId::from_bytes([4; 32])]);
        }
    }
}

//! Engines that pull from each other, whatever the items are. fabric: gossip/gossip/algo/pull_test.go
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gossip_api::{Mono, Nonce, Now, PkiId, Wall};
use gossip_comm::sim::seeded;
use rand_chacha::ChaCha8Rng;

use super::{Course, Holdings, Pull, Step};

const EVERY: Duration = Duration::from_secs(4);

const COURSE: Course = Course {
    every: EVERY,
    digest_wait: Duration::from_secs(1),
    request_wait: Duration::from_millis(1500),
    response_wait: Duration::from_secs(2),
    back_again: false,
};

/// A store of words by name, each in its newest version.
#[derive(Clone, Debug, Default)]
struct Words {
    held: BTreeMap<&'static str, u32>,
    /// To whom nothing but names of this length is told.
    filter: BTreeMap<PkiId, usize>,
}

impl Holdings for Words {
    type Key = &'static str;
    type Version = u32;

    fn served(&self, to: &PkiId) -> Vec<(&'static str, u32)> {
        let fits = |name: &&str| self.filter.get(to).is_none_or(|len| name.len() == *len);
        self.held.iter().filter(|(name, _)| fits(name)).map(|(name, of)| (*name, *of)).collect()
    }

    fn lacks(&self, name: &&'static str, version: &u32) -> bool {
        self.held.get(name).is_none_or(|held| version > held)
    }

    fn owed(&self, to: &PkiId, listed: &BTreeMap<&'static str, u32>) -> Vec<(&'static str, u32)> {
        let is_owed = |(name, of): &(&str, u32)| listed.get(name).is_none_or(|known| of > known);
        self.served(to).into_iter().filter(is_owed).collect()
    }
}

type Said = (PkiId, Step<&'static str, u32>);

/// Engines in one room: what one says, another hears at once, unless it is deaf.
struct Room {
    engines: Vec<Pull<&'static str, u32>>,
    words: Vec<Words>,
    rng: ChaCha8Rng,
    now: Now,
    said: VecDeque<Said>,
    deaf: BTreeSet<usize>,
    /// Requests heard, and items asked for, by who was asked.
    asked: BTreeMap<usize, Vec<&'static str>>,
    drops: Vec<&'static str>,
}

fn name(engine: usize) -> PkiId {
    PkiId::from_bytes([u8::try_from(engine).unwrap() + 1; 32])
}

impl Room {
    fn new(course: Course, words: &[&[(&'static str, u32)]]) -> Self {
        let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(0) };
        let of = |words: &&[(&'static str, u32)]| Words {
            held: words.iter().copied().collect(),
            ..Words::default()
        };
        Self {
            engines: words.iter().map(|_| Pull::new(now.mono, course)).collect(),
            words: words.iter().map(of).collect(),
            rng: seeded(1, 0),
            now,
            said: VecDeque::new(),
            deaf: BTreeSet::new(),
            asked: BTreeMap::new(),
            drops: Vec::new(),
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now.mono = self.now.mono.after(time);
    }

    /// One engine's tick, with these partners.
    fn tick(&mut self, engine: usize, partners: &[usize]) {
        let partners: Vec<PkiId> = partners.iter().map(|partner| name(*partner)).collect();
        let steps =
            self.engines[engine].on_tick(self.now, &mut self.rng, &partners, &self.words[engine]);
        self.say(engine, steps);
        self.talk();
    }

    /// A whole round of one engine, waits included.
    fn round(&mut self, engine: usize, partners: &[usize]) {
        self.advance(EVERY);
        self.tick(engine, partners);
        self.advance(COURSE.digest_wait);
        self.tick(engine, partners);
        self.advance(COURSE.response_wait);
        self.tick(engine, partners);
    }

    fn say(&mut self, engine: usize, steps: Vec<Step<&'static str, u32>>) {
        self.said.extend(steps.into_iter().map(|step| (name(engine), step)));
    }

    fn talk(&mut self) {
        while let Some((from, step)) = self.said.pop_front() {
            self.hear(from, step);
        }
    }

    fn hear(&mut self, from: PkiId, step: Step<&'static str, u32>) {
        let index = |peer: PkiId| usize::from(peer.as_bytes()[0]) - 1;
        let (now, rng) = (self.now, &mut self.rng);
        let to = match &step {
            Step::Hello { to, .. }
            | Step::Digest { to, .. }
            | Step::Request { to, .. }
            | Step::Serve { to, .. }
            | Step::Give { to, .. } => index(*to),
            Step::Drop { reason, .. } => {
                self.drops.push(reason);
                return;
            }
        };
        if self.deaf.contains(&to) {
            return;
        }
        let (engine, words) = (&mut self.engines[to], &self.words[to]);
        let steps = match step {
            Step::Hello { nonce, .. } => engine.on_hello(now, from, nonce, words),
            Step::Digest { nonce, items, .. } => {
                engine.on_digest(now, rng, from, nonce, items, words)
            }
            Step::Request { nonce, items, .. } => {
                let asked = self.asked.entry(to).or_default();
                asked.extend(items.iter().map(|(key, _)| key));
                engine.on_request(now, from, nonce, items, words)
            }
            Step::Serve { nonce, key, .. } => {
                let version = self.words[index(from)].held[key];
                if engine.on_update(now, from, Some(nonce), &key) {
                    self.words[to].held.insert(key, version);
                } else {
                    self.drops.push("unsolicited update");
                }
                Vec::new()
            }
            Step::Give { key, .. } => {
                let version = self.words[index(from)].held[key];
                self.words[to].held.insert(key, version);
                Vec::new()
            }
            Step::Drop { .. } => Vec::new(),
        };
        self.say(to, steps);
    }

    fn names(&self, engine: usize) -> Vec<&'static str> {
        self.words[engine].held.keys().copied().collect()
    }
}

#[test]
fn only_what_is_missing_or_older_is_requested_and_sent() {
    // fabric: gossip/gossip/algo/pull_test.go TestPullEngineSelectiveUpdates
    let held: [&[_]; 2] = [&[("a", 1), ("b", 1)], &[("a", 1), ("b", 2), ("c", 1), ("d", 1)]];
    let mut room = Room::new(COURSE, &held);
    room.round(0, &[1]);
    assert_eq!(room.asked[&1], ["b", "c", "d"], "of b there is a newer version");
    assert_eq!(room.words[0].held, room.words[1].held);
    room.round(0, &[1]);
    assert_eq!(room.asked[&1].len(), 3, "nothing is asked for twice");
    // fabric: gossip/gossip/algo/pull_test.go TestPullEngine_Remove
    room.words[0].held.remove("c");
    room.words[1].held.remove("c");
    room.round(0, &[1]);
    assert_eq!(room.names(0), ["a", "b", "d"], "what nobody has is not pulled again");
}

#[test]
fn an_engine_that_stopped_gives_nothing_more() {
    // fabric: gossip/gossip/algo/pull_test.go TestPullEngine_Stop
    let mut room = Room::new(COURSE, &[&[], &[("a", 1)]]);
    room.round(0, &[1]);
    assert_eq!(room.names(0), ["a"]);
    room.words[1].held.insert("b", 1);
    room.deaf.insert(1);
    room.round(0, &[1]);
    assert_eq!(room.names(0), ["a"]);
}

#[test]
fn ten_engines_that_come_one_after_the_other_end_equal() {
    // fabric: gossip/gossip/algo/pull_test.go TestPullEngineAll2AllWithIncrementalSpawning
    const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let held: Vec<[(&'static str, u32); 1]> = NAMES.iter().map(|name| [(*name, 1)]).collect();
    let held: Vec<&[(&'static str, u32)]> = held.iter().map(<[_; 1]>::as_slice).collect();
    let mut room = Room::new(COURSE, &held);
    for round in 0..9 {
        for engine in 0..10 {
            let partners: Vec<usize> = (1..=3).map(|step| (engine + step + round) % 10).collect();
            room.round(engine, &partners);
        }
    }
    for engine in 0..10 {
        assert_eq!(room.names(engine), NAMES);
    }
}

#[test]
fn a_digest_and_an_item_that_nobody_asked_for_are_dropped() {
    // fabric: gossip/gossip/algo/pull_test.go TestByzantineResponder
    let mut room = Room::new(COURSE, &[&[], &[("a", 1)], &[("evil", 1)]]);
    room.advance(EVERY);
    room.deaf.insert(1);
    room.tick(0, &[1]);
    let (to, nonce) = (name(0), Nonce::new(7));
    room.say(2, vec![Step::Digest { to, nonce, items: vec![("evil", 1)] }]);
    room.say(2, vec![Step::Serve { to, nonce, key: "evil" }]);
    room.talk();
    room.drops.sort_unstable();
    assert_eq!(room.drops, ["unsolicited digest", "unsolicited update"]);
    assert!(room.names(0).is_empty());
}

#[test]
fn three_that_pull_from_one_at_the_same_time_all_get_everything() {
    // fabric: gossip/gossip/algo/pull_test.go TestMultipleInitiators
    let all: &[(&'static str, u32)] = &[("a", 1), ("b", 1), ("c", 1)];
    let mut room = Room::new(COURSE, &[&[], &[], &[], all]);
    room.advance(EVERY);
    (0..3).for_each(|engine| room.tick(engine, &[3]));
    for engine in 0..3 {
        assert_eq!(room.names(engine), ["a", "b", "c"]);
    }
}

#[test]
fn who_is_late_is_left_out_and_the_others_items_arrive() {
    // fabric: gossip/gossip/algo/pull_test.go TestLatePeers
    let mut room = Room::new(COURSE, &[&[], &[("a", 1)], &[("late", 1)]]);
    room.deaf.insert(2);
    room.advance(EVERY);
    room.tick(0, &[1, 2]);
    assert!(room.names(0).is_empty(), "the other digest is awaited");
    room.advance(COURSE.digest_wait);
    room.tick(0, &[1, 2]);
    assert_eq!(room.names(0), ["a"]);
    let nonce = Nonce::new(1);
    room.say(2, vec![Step::Digest { to: name(0), nonce, items: vec![("late", 1)] }]);
    room.talk();
    assert_eq!((room.names(0), room.drops.pop()), (vec!["a"], Some("unsolicited digest")));
}

#[test]
fn two_that_pull_from_each_other_end_equal_and_push_pull_needs_one_round_for_it() {
    // fabric: gossip/gossip/algo/pull_test.go TestBiDiUpdates
    let held: [&[_]; 2] = [&[("a", 1), ("c", 2)], &[("b", 1), ("c", 1)]];
    let mut room = Room::new(COURSE, &held);
    room.round(0, &[1]);
    assert_eq!(room.names(1), ["b", "c"], "who is asked learns nothing");
    room.round(1, &[0]);
    assert_eq!(room.words[0].held, room.words[1].held);
    let mut room = Room::new(Course { back_again: true, ..COURSE }, &held);
    room.round(0, &[1]);
    assert_eq!(room.words[0].held, BTreeMap::from([("a", 1), ("b", 1), ("c", 2)]));
    assert_eq!(room.words[0].held, room.words[1].held);
}

#[test]
fn requests_are_spread_over_all_who_were_chosen() {
    // fabric: gossip/gossip/algo/pull_test.go TestSpread
    let all: &[(&'static str, u32)] = &[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1)];
    let mut room = Room::new(COURSE, &[&[], all, all, all, all]);
    for _ in 0..20 {
        room.words[0].held.clear();
        room.round(0, &[1, 2, 3]);
        assert_eq!(room.names(0).len(), 5);
    }
    for chosen in 1..=3 {
        assert!(room.asked[&chosen].len() > 10, "{:?}", room.asked);
    }
    assert!(!room.asked.contains_key(&4), "who was not chosen is never asked");
}

#[test]
fn a_filter_decides_what_each_peer_gets() {
    // fabric: gossip/gossip/algo/pull_test.go TestFilter
    // fabric: gossip/gossip/pull/pullstore_test.go TestFilter
    let all: &[(&'static str, u32)] = &[("a", 1), ("bb", 1), ("c", 1), ("dd", 1)];
    let mut room = Room::new(COURSE, &[all, &[], &[]]);
    room.words[0].filter = BTreeMap::from([(name(1), 1), (name(2), 2)]);
    room.round(1, &[0]);
    room.round(2, &[0]);
    assert_eq!((room.names(1), room.names(2)), (vec!["a", "c"], vec!["bb", "dd"]));
    // Asking for the others by name does not help.
    let steps = room.engines[0].on_hello(room.now, name(1), Nonce::new(5), &room.words[0]);
    assert_eq!(steps.len(), 1);
    let wanted = [("a", 1), ("bb", 1)];
    let steps =
        room.engines[0].on_request(room.now, name(1), Nonce::new(5), wanted, &room.words[0]);
    assert!(matches!(steps[..], [Step::Serve { key: "a", .. }]), "{steps:?}");
}

#[test]
fn a_nonce_is_good_for_one_request_of_whom_it_was_given_for_a_while() {
    let mut room = Room::new(COURSE, &[&[("a", 1)], &[], &[]]);
    let nonce = Nonce::new(5);
    let ask = |room: &mut Room, peer: usize| {
        let has = room.words[0].clone();
        let steps = room.engines[0].on_request(room.now, name(peer), nonce, [("a", 1)], &has);
        matches!(steps[..], [Step::Serve { .. }])
    };
    let greet = |room: &mut Room| {
        let has = room.words[0].clone();
        assert_eq!(room.engines[0].on_hello(room.now, name(1), nonce, &has).len(), 1);
    };
    greet(&mut room);
    assert!(!ask(&mut room, 2), "another's nonce");
    assert!(ask(&mut room, 1));
    assert!(!ask(&mut room, 1), "once");
    greet(&mut room);
    room.advance(COURSE.request_wait);
    assert!(!ask(&mut room, 1), "too late");
}

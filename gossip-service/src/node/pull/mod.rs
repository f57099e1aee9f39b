//! Pull: ask a few peers what they have, then ask one of them for what is missing.
//!
//! ```text
//!   Idle --every--> Digests --all answered, or digest_wait--> Updates --all came, or response_wait--> Idle
//! ```
//!
//! Each phase ends as soon as nothing more can come, so a round costs two round trips, not two timers.
//!
//! The engine works on keyed, versioned items: what they are, which versions are news, and how an item
//! travels is its user's affair ([`Holdings`], [`Step`]). A channel pulls its blocks with one engine (a key is a
//! number, there is one version) and its state infos with another (a key is a peer, versions are epoch and
//! sequence).

pub(crate) mod exchange;
pub(crate) mod items;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::{Checked, Mono, Nonce, Now, PkiId, Wakeup, select_peers};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::NodeConfig;

/// What one side has, looked at when a step needs it.
pub(crate) trait Holdings {
    /// Names an item whatever its version.
    type Key: Clone + Ord + std::fmt::Debug;
    /// Of two versions of an item the larger is the newer.
    type Version: Clone + Ord + std::fmt::Debug;

    /// What may be served to a peer, in the order of keys.
    fn served(&self, to: &PkiId) -> Vec<(Self::Key, Self::Version)>;

    /// Whether an item is news to us, and wanted.
    fn lacks(&self, key: &Self::Key, version: &Self::Version) -> bool;

    /// Of what may be served to a peer that lists `listed`, what it lacks: the other half of push-pull.
    fn owed(
        &self,
        to: &PkiId,
        listed: &BTreeMap<Self::Key, Self::Version>,
    ) -> Vec<(Self::Key, Self::Version)>;
}

/// An item as a digest lists it.
pub(crate) type Item<H> = (<H as Holdings>::Key, <H as Holdings>::Version);

/// What a pull wants done.
#[derive(Debug)]
pub(crate) enum Step<K, V> {
    /// Ask a peer what it has.
    Hello { to: PkiId, nonce: Nonce },
    /// Say what we have.
    Digest { to: PkiId, nonce: Nonce, items: Vec<(K, V)> },
    /// Ask for what is missing.
    Request { to: PkiId, nonce: Nonce, items: Vec<(K, V)> },
    /// Send an item that was asked for.
    Serve { to: PkiId, nonce: Nonce, key: K },
    /// Give an item to a peer whose digest lacks it.
    Give { to: PkiId, key: K },
    /// A message did not fit.
    Drop { from: PkiId, reason: &'static str },
}

/// Steps of a pull over `H`.
pub(crate) type Steps<H> = Vec<Step<<H as Holdings>::Key, <H as Holdings>::Version>>;

/// When one engine asks, how long it waits, and whether it gives as well.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) every: Duration,
    pub(crate) digest_wait: Duration,
    pub(crate) request_wait: Duration,
    pub(crate) response_wait: Duration,
    /// Whoever asks also gives what the other's digest lacks.
    pub(crate) back_again: bool,
}

impl Course {
    pub(crate) fn new(config: &Checked<NodeConfig>, back_again: bool) -> Self {
        Self {
            every: config.pull_every,
            digest_wait: config.digest_wait,
            request_wait: config.request_wait,
            response_wait: config.response_wait,
            back_again,
        }
    }
}

/// One kind of items of one channel, both sides.
#[derive(Debug)]
pub(crate) struct Pull<K, V> {
    course: Course,
    phase: Phase<K, V>,
    /// Hellos that we answered and may still be sent a request for.
    heard: BTreeMap<(PkiId, Nonce), Mono>,
}

#[derive(Debug)]
enum Phase<K, V> {
    /// Waiting for the next round.
    Idle { until: Mono },
    /// Hellos are out.
    Digests {
        until: Mono,
        asked: BTreeMap<PkiId, Nonce>,
        answered: BTreeSet<PkiId>,
        owners: BTreeMap<(K, V), Vec<PkiId>>,
    },
    /// Requests are out.
    Updates { until: Mono, asked: BTreeMap<PkiId, (Nonce, BTreeSet<K>)> },
}

impl<K: Clone + Ord + std::fmt::Debug, V: Clone + Ord + std::fmt::Debug> Pull<K, V> {
    pub(crate) fn new(now: Mono, course: Course) -> Self {
        let phase = Phase::Idle { until: now.after(course.every) };
        Self { course, phase, heard: BTreeMap::new() }
    }

    /// Rounds begin so often from the next one on.
    pub(crate) fn set_every(&mut self, every: Duration) {
        self.course.every = every;
    }

    /// Whether a tick would do anything.
    pub(crate) fn is_due(&self, now: Mono) -> bool {
        now >= self.next_wakeup().at
    }

    /// Begins a round with `partners`, or ends a phase, if it is time.
    pub(crate) fn on_tick<H: Holdings<Key = K, Version = V>>(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        partners: &[PkiId],
        has: &H,
    ) -> Steps<H> {
        self.heard.retain(|_, until| now.mono < *until);
        match &self.phase {
            Phase::Idle { until } if now.mono >= *until => self.begin(now, rng, partners),
            Phase::Digests { until, .. } if now.mono >= *until => self.ask(now, rng, has),
            Phase::Updates { until, .. } if now.mono >= *until => {
                self.rest(now);
                Vec::new()
            }
            Phase::Idle { .. } | Phase::Digests { .. } | Phase::Updates { .. } => Vec::new(),
        }
    }

    pub(crate) fn next_wakeup(&self) -> Wakeup {
        match &self.phase {
            Phase::Idle { until } => Wakeup { at: *until, why: "pull round" },
            Phase::Digests { until, .. } => Wakeup { at: *until, why: "pull digests are late" },
            Phase::Updates { until, .. } => Wakeup { at: *until, why: "pull updates are late" },
        }
    }

    // fabric: gossip/gossip/algo/pull.go initiatePull
    fn begin(&mut self, now: Now, rng: &mut ChaCha8Rng, partners: &[PkiId]) -> Vec<Step<K, V>> {
        if partners.is_empty() {
            self.rest(now);
            return Vec::new();
        }
        let asked: BTreeMap<PkiId, Nonce> =
            partners.iter().map(|peer| (*peer, Nonce::new(rng.next_u64()))).collect();
        let hellos = asked.iter().map(|(to, nonce)| Step::Hello { to: *to, nonce: *nonce });
        let steps = hellos.collect();
        self.phase = Phase::Digests {
            until: now.mono.after(self.course.digest_wait),
            asked,
            answered: BTreeSet::new(),
            owners: BTreeMap::new(),
        };
        steps
    }

    /// A peer asks what we have. Nothing is answered if that is nothing.
    // fabric: gossip/gossip/algo/pull.go OnHello
    pub(crate) fn on_hello<H: Holdings<Key = K, Version = V>>(
        &mut self,
        now: Now,
        from: PkiId,
        nonce: Nonce,
        has: &H,
    ) -> Steps<H> {
        self.heard.retain(|_, until| now.mono < *until);
        let of_peer =
            self.heard.range((from, Nonce::new(0))..=(from, Nonce::new(u64::MAX))).count();
        if of_peer >= HEARD_PER_PEER_MAX || self.heard.len() >= HEARD_MAX {
            return vec![Step::Drop { from, reason: "too many hellos" }];
        }
        let items = has.served(&from);
        if items.is_empty() {
            return Vec::new();
        }
        self.heard.insert((from, nonce), now.mono.after(self.course.request_wait));
        vec![Step::Digest { to: from, nonce, items }]
    }

    /// A peer says what it has.
    // fabric: gossip/gossip/algo/pull.go OnDigest
    pub(crate) fn on_digest<H: Holdings<Key = K, Version = V>>(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        from: PkiId,
        nonce: Nonce,
        items: impl IntoIterator<Item = Item<H>>,
        has: &H,
    ) -> Steps<H> {
        let Phase::Digests { asked, answered, owners, .. } = &mut self.phase else {
            return vec![Step::Drop { from, reason: "unsolicited digest" }];
        };
        if asked.get(&from) != Some(&nonce) || !answered.insert(from) {
            return vec![Step::Drop { from, reason: "unsolicited digest" }];
        }
        // A digest lists each item once, whatever it repeats.
        let listed: BTreeMap<K, V> = items.into_iter().collect();
        let mut steps: Steps<H> = Vec::new();
        if self.course.back_again {
            let owed = has.owed(&from, &listed).into_iter().take(GIVEN_MAX);
            steps.extend(owed.map(|(key, _)| Step::Give { to: from, key }));
        }
        let news = listed.into_iter().filter(|(key, version)| has.lacks(key, version));
        news.for_each(|item| owners.entry(item).or_default().push(from));
        if answered.len() == asked.len() {
            steps.extend(self.ask(now, rng, has));
        }
        steps
    }

    /// Requests the newest version of each missing item from one of its owners.
    // fabric: gossip/gossip/algo/pull.go processIncomingDigests
    fn ask<H: Holdings<Key = K, Version = V>>(
        &mut self,
        now: Now,
        rng: &mut ChaCha8Rng,
        has: &H,
    ) -> Steps<H> {
        let until = now.mono.after(self.course.response_wait);
        let phase = std::mem::replace(&mut self.phase, Phase::Idle { until });
        let Phase::Digests { asked: nonces, owners, .. } = phase else { return Vec::new() };
        // Later entries are newer versions: of each key the last one stays.
        let newest: BTreeMap<K, (V, Vec<PkiId>)> =
            owners.into_iter().map(|((key, version), owners)| (key, (version, owners))).collect();
        let mut asked: BTreeMap<PkiId, Vec<(K, V)>> = BTreeMap::new();
        for (key, (version, owners)) in newest {
            let owner = select_peers(rng, 1, &owners, |_| true).into_iter().next();
            if let Some(owner) = owner.filter(|_| has.lacks(&key, &version)) {
                asked.entry(owner).or_default().push((key, version));
            }
        }
        let mut open = BTreeMap::new();
        let mut steps = Vec::new();
        for (to, items) in asked {
            let Some(nonce) = nonces.get(&to).copied() else { continue };
            open.insert(to, (nonce, items.iter().map(|(key, _)| key.clone()).collect()));
            steps.push(Step::Request { to, nonce, items });
        }
        if open.is_empty() {
            self.rest(now);
        } else {
            self.phase = Phase::Updates { until, asked: open };
        }
        steps
    }

    /// A peer asks for items of our digest.
    // fabric: gossip/gossip/algo/pull.go OnReq
    pub(crate) fn on_request<H: Holdings<Key = K, Version = V>>(
        &mut self,
        now: Now,
        from: PkiId,
        nonce: Nonce,
        items: impl IntoIterator<Item = Item<H>>,
        has: &H,
    ) -> Steps<H> {
        let known = self.heard.remove(&(from, nonce));
        if known.is_none_or(|until| now.mono >= until) {
            return vec![Step::Drop { from, reason: "unsolicited request" }];
        }
        let wanted: BTreeSet<K> = items.into_iter().map(|(key, _)| key).collect();
        let served = has.served(&from).into_iter().filter(|(key, _)| wanted.contains(key));
        served.map(|(key, _)| Step::Serve { to: from, nonce, key }).collect()
    }

    /// An item has come; false if it was not asked for. Items that prove themselves carry no nonce.
    // fabric: gossip/gossip/algo/pull.go OnRes
    pub(crate) fn on_update(
        &mut self,
        now: Now,
        from: PkiId,
        nonce: Option<Nonce>,
        key: &K,
    ) -> bool {
        let Phase::Updates { asked, .. } = &mut self.phase else { return false };
        let expected = asked.get_mut(&from);
        let expected = expected.filter(|(of, _)| nonce.is_none_or(|nonce| *of == nonce));
        if !expected.is_some_and(|(_, keys)| keys.remove(key)) {
            return false;
        }
        if asked.values().all(|(_, keys)| keys.is_empty()) {
            self.rest(now);
        }
        true
    }

    fn rest(&mut self, now: Now) {
        self.phase = Phase::Idle { until: now.mono.after(self.course.every) };
    }
}

/// Items given for one digest.
const GIVEN_MAX: usize = 16;

/// Hellos remembered in all; each is two words.
const HEARD_MAX: usize = 1024;

/// Hellos remembered of one peer.
const HEARD_PER_PEER_MAX: usize = 4;

//! Whom to ask: peers ranked by organisation and by what they delivered.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Height, Mono, PkiId, RemotePeer, SeqNum};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// The peers of the channel that may be asked, and our experience with them.
///
/// Experience outlives a peer's absence, so that a liar gains nothing by coming back.
#[derive(Debug)]
pub(crate) struct Sources {
    known: BTreeMap<PkiId, Source>,
    penalty: Duration,
    penalty_max: Duration,
    per_source: usize,
    /// Whether anybody has delivered anything yet.
    is_served: bool,
    /// How many of those present claim each height, and how many credible ones: looked at in every step.
    claims: Claims,
    /// Nobody is left alone for longer than until then.
    blocked_until: Mono,
}

#[derive(Debug, Default)]
struct Claims {
    present: BTreeMap<Height, usize>,
    credible: BTreeMap<Height, usize>,
}

impl Claims {
    const fn new() -> Self {
        Self { present: BTreeMap::new(), credible: BTreeMap::new() }
    }

    fn add(&mut self, source: &Source) {
        if source.present {
            *self.present.entry(source.claimed).or_default() += 1;
        }
        if source.is_credible() {
            *self.credible.entry(source.claimed).or_default() += 1;
        }
    }

    fn take(&mut self, source: &Source) {
        if source.present {
            Self::less(&mut self.present, source.claimed);
        }
        if source.is_credible() {
            Self::less(&mut self.credible, source.claimed);
        }
    }

    fn less(claims: &mut BTreeMap<Height, usize>, height: Height) {
        if let Some(count) = claims.get_mut(&height) {
            *count -= 1;
            if *count == 0 {
                claims.remove(&height);
            }
        }
    }
}

#[derive(Debug)]
struct Source {
    peer: RemotePeer,
    own_org: bool,
    present: bool,
    claimed: Height,
    in_flight: usize,
    /// Requests that failed since the last one that did not.
    failures: u32,
    /// It sent what honest peers do not: last choice for good.
    distrusted: bool,
    blocked_until: Mono,
    /// Bytes a second, a moving average; nothing before its first answer.
    rate: Option<u64>,
}

impl Source {
    fn may_serve(&self, number: SeqNum) -> bool {
        self.present && self.claimed.next_block() > number
    }

    /// Whether its claim alone is worth worrying about.
    const fn is_credible(&self) -> bool {
        self.present && !self.distrusted && self.failures < CREDIBLE_FAILURES
    }

    /// Smaller is better; a random number decides between equals.
    fn rank(&self) -> impl Ord + use<> {
        let speed = self.rate.map_or(u32::MAX, |rate| rate.max(1).ilog2());
        (self.distrusted, self.failures > 0, !self.own_org, self.in_flight, Reverse(speed))
    }
}

impl Sources {
    pub(crate) const fn new(penalty: Duration, penalty_max: Duration, per_source: usize) -> Self {
        Self {
            known: BTreeMap::new(),
            penalty,
            penalty_max,
            per_source,
            is_served: false,
            claims: Claims::new(),
            blocked_until: Mono::ZERO,
        }
    }

    /// The one way to change what is known of a peer.
    fn change(&mut self, peer: &PkiId, change: impl FnOnce(&mut Source)) {
        if let Some(source) = self.known.get_mut(peer) {
            self.claims.take(source);
            change(source);
            self.claims.add(source);
            self.blocked_until = self.blocked_until.max(source.blocked_until);
        }
    }

    /// Notes a claim. What a peer claims last holds, be it lower.
    pub(crate) fn claim(&mut self, peer: RemotePeer, claimed: Height, own_org: bool) {
        if self.known.contains_key(&peer.pki_id) {
            let pki_id = peer.pki_id;
            self.change(&pki_id, |source| {
                source.peer = peer;
                source.own_org = own_org;
                source.claimed = claimed;
                source.present = true;
            });
            return;
        }
        if self.known.len() >= SOURCES_MAX && !self.forget_one() {
            return;
        }
        let source = Source {
            own_org,
            present: true,
            claimed,
            in_flight: 0,
            failures: 0,
            distrusted: false,
            blocked_until: Mono::ZERO,
            rate: None,
            peer,
        };
        self.claims.add(&source);
        self.known.insert(source.peer.pki_id, source);
    }

    /// Makes room by forgetting an absent peer, an honest one first.
    fn forget_one(&mut self) -> bool {
        let absent =
            self.known.iter().filter(|(_, source)| !source.present && source.in_flight == 0);
        let victim = absent.min_by_key(|(_, source)| (source.distrusted, source.failures));
        let victim = victim.map(|(pki_id, _)| *pki_id);
        let forgotten = victim.and_then(|pki_id| self.known.remove(&pki_id));
        forgotten.is_some_and(|source| {
            self.claims.take(&source);
            true
        })
    }

    pub(crate) fn gone(&mut self, peer: &PkiId) {
        self.change(peer, |source| source.present = false);
    }

    /// The best peer to ask for `number` now.
    pub(crate) fn pick(
        &self,
        number: SeqNum,
        now: Mono,
        exclude: &[PkiId],
        rng: &mut ChaCha8Rng,
    ) -> Option<(RemotePeer, Height)> {
        let able = |source: &&Source| {
            source.may_serve(number)
                && source.blocked_until <= now
                && !exclude.contains(&source.peer.pki_id)
        };
        let able = self.known.values().filter(able);
        // Who is busy delivering is worth waiting for, if the others are those who never do.
        let is_trusted = |source: &&Source| !source.distrusted && source.claimed.get() < BELIEVABLE;
        let others_do = able.clone().any(|source| is_trusted(&source));
        let is_second = !exclude.is_empty();
        // What the others state is tried with one request at a time.
        let most = |source: &Source| if is_trusted(&source) { self.per_source } else { 1 };
        able.filter(|source| source.in_flight < most(source))
            .filter(|source| is_trusted(source) || !(others_do || is_second))
            .map(|source| (source.rank(), rng.next_u32(), source))
            .min_by(|left, right| (&left.0, left.1).cmp(&(&right.0, right.1)))
            .map(|(_, _, source)| (source.peer.clone(), source.claimed))
    }

    pub(crate) fn began(&mut self, peer: &PkiId) {
        self.change(peer, |source| source.in_flight = source.in_flight.saturating_add(1));
    }

    pub(crate) fn ended(&mut self, peer: &PkiId) {
        self.change(peer, |source| source.in_flight = source.in_flight.saturating_sub(1));
    }

    /// It delivered `bytes` in `took`.
    pub(crate) fn delivered(&mut self, peer: &PkiId, bytes: u64, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = bytes.saturating_mul(1_000_000) / micros;
        self.is_served = true;
        self.change(peer, |source| {
            if !source.distrusted {
                source.failures = 0;
                source.rate = Some(source.rate.map_or(rate, |old| old / 4 * 3 + rate / 4));
            }
        });
    }

    /// It did not deliver: left alone for a while, longer each time.
    pub(crate) fn failed(&mut self, peer: &PkiId, now: Mono) {
        self.leave_alone(peer, now, self.penalty);
    }

    /// Not asked again for `penalty`, twice that after the next failure, and so on.
    fn leave_alone(&mut self, peer: &PkiId, now: Mono, penalty: Duration) {
        let most = self.penalty_max;
        self.change(peer, |source| {
            let factor = 1u32.checked_shl(source.failures).unwrap_or(u32::MAX);
            source.failures = source.failures.saturating_add(1);
            source.blocked_until = now.after(penalty.saturating_mul(factor).min(most));
        });
    }

    /// Its answer was empty. As long as nobody serves us, that may be because we are not known as a member
    /// of the channel yet: it is asked a few times more, and soon. Later, and of a claim that no channel
    /// can reach, it means that it has not what it claimed.
    pub(crate) fn empty_handed(&mut self, peer: &PkiId, missing: SeqNum, now: Mono) {
        let Some(source) = self.known.get(peer) else { return };
        if source.claimed.get() >= BELIEVABLE {
            self.distrust(peer, now);
            self.disprove(peer, missing);
            return;
        }
        let may_not_know_us = !self.is_served && source.failures < UNKNOWN_TRIES;
        if !may_not_know_us {
            self.failed(peer, now);
            self.disprove(peer, missing);
            return;
        }
        self.leave_alone(peer, now, self.penalty / SOON);
    }

    /// It had not what it claimed; it may claim again.
    fn disprove(&mut self, peer: &PkiId, missing: SeqNum) {
        self.change(peer, |source| {
            source.claimed = source.claimed.min(Height::new(missing.get()));
        });
    }

    /// It sent what honest peers do not: last choice from now on.
    pub(crate) fn distrust(&mut self, peer: &PkiId, now: Mono) {
        self.failed(peer, now);
        self.change(peer, |source| source.distrusted = true);
    }

    /// The highest claim of all who are present, be they believed or not.
    pub(crate) fn highest_claim(&self) -> Height {
        self.claims.present.last_key_value().map(|(height, _)| *height).unwrap_or_default()
    }

    /// The highest claim of those who have not failed repeatedly.
    pub(crate) fn credible_claim(&self) -> Height {
        self.claims.credible.last_key_value().map(|(height, _)| *height).unwrap_or_default()
    }

    /// Whether anybody may be asked for `number` now, or is being asked, who has not failed repeatedly: else
    /// short penalties would keep us with peers that never deliver.
    pub(crate) fn has_usable(&self, number: SeqNum, now: Mono) -> bool {
        if self.highest_claim().next_block() <= number {
            return false;
        }
        self.known.values().any(|source| {
            source.may_serve(number)
                && source.failures < CREDIBLE_FAILURES
                && (source.blocked_until <= now || source.in_flight > 0)
        })
    }

    /// How many present peers claim to have `number`.
    pub(crate) fn claimants(&self, number: SeqNum) -> usize {
        self.known.values().filter(|source| source.may_serve(number)).count()
    }

    /// When the next peer that claims `number` may be asked again.
    pub(crate) fn next_unblocked(&self, number: SeqNum, after: Mono) -> Option<Mono> {
        if self.blocked_until <= after || self.highest_claim().next_block() <= number {
            return None;
        }
        self.known
            .values()
            .filter(|source| source.may_serve(number) && source.blocked_until > after)
            .map(|source| source.blocked_until)
            .min()
    }
}

/// Peers remembered; beyond that only better-behaved ones are forgotten for new ones.
const SOURCES_MAX: usize = 4096;

/// Who may not know us yet is left alone for so small a part of the penalty.
const SOON: u32 = 16;

/// So often it is asked again: for a second, with the default penalty.
const UNKNOWN_TRIES: u32 = 4;

/// No channel is higher: a million blocks a second for nine years.
const BELIEVABLE: u64 = 1 << 48;

/// Failures in a row after which a claim alone no longer makes us look elsewhere.
const CREDIBLE_FAILURES: u32 = 3;

//! Our own health: whoever is slow himself waits longer before he accuses.

use std::collections::BTreeSet;
use std::time::Duration;

use gossip_api::{Mono, PkiId};

/// What we think of ourselves.
///
/// Four signs of our own slowness: wake-ups come late, nothing at all is heard for a while, probes of members
/// fail that others reach, and helpers whom we asked do not answer either.
// fabric-differs: Fabric expires members by its own clock alone, however late it runs.
#[derive(Debug)]
pub(crate) struct Health {
    enabled: bool,
    /// 0 is well; every probe waits 1 + score times as long.
    score: u32,
    /// No sign of life is older than this: we were not there to hear it.
    floor: Mono,
    /// Evictions wait since then.
    frozen: Option<Mono>,
    /// When we last handled a message of anybody.
    heard: Mono,
    /// Start of the period whose probes are counted.
    period: Mono,
    failed: u32,
    answered: u32,
    /// Who answered a fresh nonce of ours in this period.
    witnesses: BTreeSet<PkiId>,
}

impl Health {
    pub(crate) fn new(enabled: bool, now: Mono) -> Self {
        Self {
            enabled,
            score: 0,
            floor: now,
            frozen: None,
            heard: now,
            period: now,
            failed: 0,
            answered: 0,
            witnesses: BTreeSet::new(),
        }
    }

    /// Notices that we come later than we asked to. True if we were away so long that whatever we waited
    /// for has to be waited for again.
    pub(crate) fn woke(&mut self, now: Mono, wanted: Option<Mono>) -> bool {
        let Some(wanted) = wanted.filter(|_| self.enabled) else { return false };
        let late = now.since(wanted);
        if late < LATE_WAKEUP {
            return false;
        }
        self.worse();
        if late < ABSENCE {
            return false;
        }
        self.floor = now;
        self.start_period(now);
        true
    }

    /// A message is being handled. True if nothing was heard for so long that others' silence says nothing:
    /// whatever we waited for has to be waited for again.
    pub(crate) fn heard(&mut self, now: Mono) -> bool {
        let silence = now.since(std::mem::replace(&mut self.heard, now));
        if !self.enabled || silence < SILENCE {
            return false;
        }
        self.worse();
        self.floor = now;
        self.frozen = None;
        self.start_period(now);
        true
    }

    /// The instant from which silence is counted: no sign of life is older than this.
    pub(crate) const fn floor(&self) -> Mono {
        self.floor
    }

    /// A wait of ours, stretched by our slowness.
    pub(crate) fn stretch(&self, wait: Duration) -> Duration {
        if self.enabled { wait.saturating_mul(1 + self.score) } else { wait }
    }

    /// A peer answered a fresh nonce.
    pub(crate) fn answered(&mut self, now: Mono, who: PkiId) {
        self.roll(now);
        self.answered = self.answered.saturating_add(1);
        self.score = self.score.saturating_sub(1);
        if self.witnesses.len() < WITNESSES_MAX {
            self.witnesses.insert(who);
        }
    }

    /// A probe came to nothing although there are `others` who count as alive.
    /// True if the member may be declared dead on the strength of it.
    pub(crate) fn may_evict(&mut self, now: Mono, others: usize) -> bool {
        self.roll(now);
        self.failed = self.failed.saturating_add(1);
        if !self.enabled {
            return true;
        }
        let many_fail = u64::from(self.failed) * 10
            > u64::from(self.failed.saturating_add(self.answered)) * FAILED_TENTHS;
        if !many_fail || self.witnesses.len() >= others.min(WITNESSES_WANTED) {
            self.frozen = None;
            return true;
        }
        self.worse();
        let since = *self.frozen.get_or_insert(now);
        let longest = if self.heard < since { ISOLATED_MAX } else { FREEZE_MAX };
        now.since(since) >= longest
    }

    /// A member that we could not reach was reached by others.
    pub(crate) fn worse(&mut self) {
        self.score = (self.score + 1).min(SCORE_MAX);
    }

    pub(crate) const fn score(&self) -> u32 {
        self.score
    }

    pub(crate) const fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    fn roll(&mut self, now: Mono) {
        if now.since(self.period) >= PERIOD {
            self.start_period(now);
        }
    }

    fn start_period(&mut self, now: Mono) {
        self.period = now;
        self.failed = 0;
        self.answered = 0;
        self.witnesses.clear();
    }
}

/// A wake-up later than this is a sign of our slowness.
const LATE_WAKEUP: Duration = Duration::from_millis(200);
/// A wake-up later than this means that we were not there.
const ABSENCE: Duration = Duration::from_millis(500);
/// Longest stretch is 1 + this; Lifeguard's default is 8 as well.
const SCORE_MAX: u32 = 7;
/// Probes are counted over periods of this length.
const PERIOD: Duration = Duration::from_secs(2);
/// Evictions wait if more than this many tenths of a period's probes fail ...
const FAILED_TENTHS: u64 = 3;
/// ... and fewer than this many others answered in it (or fewer than there are) ...
const WITNESSES_WANTED: usize = 2;
/// ... but no longer than this ...
const FREEZE_MAX: Duration = Duration::from_secs(10);
/// ... or than this, if we hear nobody at all: a process that handles no messages looks, to itself, like one
/// whose neighbours are all gone.
const ISOLATED_MAX: Duration = Duration::from_secs(20);
/// Hearing nothing for this long means that we were not listening; in a pair of peers a beat comes every 2 s.
const SILENCE: Duration = Duration::from_secs(3);
const WITNESSES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Mono {
        Mono::ZERO.after(Duration::from_millis(millis))
    }

    fn peer(n: u8) -> PkiId {
        PkiId::from_bytes([n; 32])
    }

    #[test]
    fn late_wakeups_stretch_our_waits() {
        let mut health = Health::new(true, at(0));
        assert!(!health.woke(at(300), Some(at(10))));
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(2));
        health.answered(at(310), peer(1));
        assert_eq!(health.stretch(Duration::from_secs(1)), Duration::from_secs(1));
    }

    #[test]
    fn whoever_was_away_hears_everybody_anew() {
        let mut health = Health::new(true, at(0));
        assert!(health.woke(at(20_000), Some(at(100))));
        assert_eq!(health.floor(), at(20_000));
    }

    #[test]
    fn evictions_wait_while_nobody_answers_us() {
        let mut health = Health::new(true, at(0));
        assert!(!health.may_evict(at(0), 5));
        assert!(!health.heard(at(1_000)), "somebody is heard");
        assert!(!health.may_evict(at(5_000), 5));
        assert!(health.may_evict(at(10_000), 5), "but not for ever");
    }

    #[test]
    fn evictions_wait_longer_while_nobody_is_heard() {
        let mut health = Health::new(true, at(0));
        assert!(!health.may_evict(at(2_000), 5));
        assert!(!health.may_evict(at(21_999), 5));
        assert!(health.may_evict(at(22_000), 5), "but not for ever");
    }

    #[test]
    fn whoever_did_not_listen_hears_everybody_anew() {
        let mut health = Health::new(true, at(0));
        assert!(!health.heard(at(2_000)));
        assert!(!health.may_evict(at(4_000), 5));
        assert!(health.heard(at(15_000)));
        assert_eq!(health.floor(), at(15_000));
        assert!(!health.may_evict(at(15_600), 5), "what failed before does not count");
    }

    #[test]
    fn two_witnesses_show_that_it_is_not_us() {
        let mut health = Health::new(true, at(0));
        health.answered(at(1), peer(1));
        health.answered(at(1), peer(2));
        for _ in 0..50 {
            assert!(health.may_evict(at(2), 5));
        }
    }

    #[test]
    fn where_there_is_nobody_else_nobody_is_waited_for() {
        assert!(Health::new(true, at(0)).may_evict(at(0), 0));
    }

    #[test]
    fn without_local_health_nothing_waits() {
        let mut health = Health::new(false, at(0));
        assert!(!health.woke(at(20_000), Some(at(100))));
        assert_eq!(health.floor(), at(0));
        assert!(health.may_evict(at(0), 5));
    }
}

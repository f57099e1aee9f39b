//! How fast one peer, and one organisation, may make us work before anything of it is verified.
//!
//! Buckets of units: a message costs one, and one more per KiB. What comes over an empty bucket is
//! dropped before it is decoded (shed); who goes on all the same is not read from until its debt is paid
//! (paused), so that flow control holds it back; and who needs that again and again is closed and left
//! alone, each time for twice as long. An organisation has a bucket of its own: a thousand certificates
//! are worth no more than its known members, and who is within its own share pays for its
//! organisation's excess by shedding alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gossip_api::{Mono, OrgId, PkiId};

use crate::config::QuotaConfig;

/// What one connection may still send.
#[derive(Debug)]
pub(super) struct Quota {
    own: Bucket,
    org: Arc<OrgQuota>,
    pauses: Pauses,
}

/// What is to be done with a peer that has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pressure {
    /// Nothing.
    None,
    /// Do not read from it for so long.
    Pause(Duration),
    /// Close it.
    Close,
}

impl Quota {
    pub(super) fn new(config: &QuotaConfig, org: Arc<OrgQuota>, now: Mono) -> Self {
        Self { own: Bucket::new(config, now), org, pauses: Pauses::default() }
    }

    /// Whether what comes now is to be dropped unread.
    pub(super) fn is_over(&mut self, now: Mono) -> bool {
        self.own.fill(1, now);
        self.own.left < 0.0 || self.org.is_over(now)
    }

    /// Takes the price of what came.
    pub(super) fn charge(&mut self, units: u64, now: Mono) -> Pressure {
        self.org.charge(units, now);
        self.own.fill(1, now);
        self.own.take(units, 1);
        let debt = self.own.debt();
        if debt < DEBT_MAX {
            return Pressure::None;
        }
        if self.pauses.count(now, debt) > PAUSES_MAX {
            Pressure::Close
        } else {
            Pressure::Pause(debt)
        }
    }
}

/// What all peers of one organisation may still send together.
#[derive(Debug)]
pub(super) struct OrgQuota {
    bucket: Mutex<Bucket>,
    /// As many peers' shares as this.
    shares: Mutex<u32>,
}

impl OrgQuota {
    fn new(config: &QuotaConfig, now: Mono) -> Self {
        let mut bucket = Bucket::new(config, now);
        bucket.left *= f64::from(SHARES_MIN);
        Self { bucket: Mutex::new(bucket), shares: Mutex::new(SHARES_MIN) }
    }

    fn is_over(&self, now: Mono) -> bool {
        let shares = self.shares();
        let mut bucket = lock(&self.bucket);
        bucket.fill(shares, now);
        bucket.left < 0.0
    }

    fn charge(&self, units: u64, now: Mono) {
        let shares = self.shares();
        let mut bucket = lock(&self.bucket);
        bucket.fill(shares, now);
        bucket.take(units, shares);
    }

    /// Whether nothing is lost by forgetting it.
    fn is_full(&self, now: Mono) -> bool {
        let shares = self.shares();
        let mut bucket = lock(&self.bucket);
        bucket.fill(shares, now);
        bucket.left >= bucket.burst * f64::from(shares)
    }

    fn shares(&self) -> u32 {
        *lock(&self.shares)
    }
}

/// The buckets of organisations that have connections, or had some and have used them up: who comes back at
/// once finds its organisation's as it left it.
#[derive(Debug, Default)]
pub(super) struct OrgQuotas(Mutex<Orgs>);

#[derive(Debug, Default)]
struct Orgs {
    quotas: BTreeMap<Option<OrgId>, Arc<OrgQuota>>,
    alive: BTreeMap<OrgId, usize>,
}

impl OrgQuotas {
    /// The bucket of `org`; peers without an organisation share one. One that nobody uses is kept until it is
    /// full again, a few seconds.
    pub(super) fn of(&self, org: Option<&OrgId>, config: &QuotaConfig, now: Mono) -> Arc<OrgQuota> {
        let mut orgs = lock(&self.0);
        orgs.quotas.retain(|_, quota| Arc::strong_count(quota) > 1 || !quota.is_full(now));
        let alive = org.and_then(|org| orgs.alive.get(org)).copied();
        let fresh = || Arc::new(OrgQuota::new(config, now));
        let quota = Arc::clone(orgs.quotas.entry(org.cloned()).or_insert_with(fresh));
        *lock(&quota.shares) = shares(alive);
        quota
    }

    /// So many members of each organisation are known to live.
    pub(super) fn set_alive(&self, alive: BTreeMap<OrgId, usize>) {
        let mut orgs = lock(&self.0);
        for (org, quota) in &orgs.quotas {
            let alive = org.as_ref().and_then(|org| alive.get(org)).copied();
            *lock(&quota.shares) = shares(alive);
        }
        orgs.alive = alive;
    }
}

fn shares(alive: Option<usize>) -> u32 {
    let alive = u32::try_from(alive.unwrap_or_default()).unwrap_or(SHARES_MAX);
    alive.clamp(SHARES_MIN, SHARES_MAX)
}

/// Units that are left.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Mono,
}

impl Bucket {
    fn new(config: &QuotaConfig, now: Mono) -> Self {
        let burst = f64::from(config.burst);
        Self { per_second: f64::from(config.per_second), burst, left: burst, at: now }
    }

    fn fill(&mut self, shares: u32, now: Mono) {
        let shares = f64::from(shares);
        let filled = now.since(self.at).as_secs_f64() * self.per_second * shares;
        self.at = self.at.max(now);
        self.left = (self.left + filled).min(self.burst * shares);
    }

    /// Down to a bound: what is shed may not keep a peer out for long, nor its organisation.
    fn take(&mut self, units: u64, shares: u32) {
        let floor = -self.per_second * f64::from(shares) * DEBT_MAX.as_secs_f64() * 2.0;
        self.left = (self.left - units_as_f64(units)).max(floor);
    }

    /// How long it takes until nothing is owed.
    fn debt(&self) -> Duration {
        Duration::try_from_secs_f64(-self.left / self.per_second).unwrap_or_default()
    }
}

/// How often a peer had to be paused lately.
#[derive(Debug, Default)]
struct Pauses {
    count: u32,
    last: Mono,
    /// End of the pause that lasts: what comes during it, as datagrams do, is part of it.
    until: Mono,
}

impl Pauses {
    /// How many they are with one of `length` that begins now, unless one lasts.
    fn count(&mut self, now: Mono, length: Duration) -> u32 {
        if self.count > 0 && now < self.until {
            return self.count;
        }
        let forgiven = now.since(self.last).as_secs() / PAUSE_FORGIVEN.as_secs();
        self.count = self.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX));
        self.count = self.count.saturating_add(1);
        self.last = now;
        self.until = now.after(length);
        self.count
    }
}

fn units_as_f64(units: u64) -> f64 {
    f64::from(u32::try_from(units).unwrap_or(u32::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Units that a message of `len` bytes costs.
pub(super) const fn price(len: usize) -> u64 {
    1 + (len / UNIT_BYTES) as u64
}

/// Peers that were closed for sending too much, and for how long they are left alone.
#[derive(Debug, Default)]
pub(super) struct Bans(Mutex<BTreeMap<PkiId, Ban>>);

#[derive(Debug)]
struct Ban {
    times: u32,
    until: Mono,
}

impl Bans {
    /// Whether `peer` is left alone at `now`.
    pub(super) fn holds(&self, peer: &PkiId, now: Mono) -> bool {
        lock(&self.0).get(peer).is_some_and(|ban| now < ban.until)
    }

    /// Leaves `peer` alone, each time for twice as long; returns how long.
    pub(super) fn add(&self, peer: PkiId, now: Mono) -> Duration {
        let mut bans = lock(&self.0);
        // Who behaved for as long as the longest ban begins anew.
        bans.retain(|_, ban| now < ban.until.after(BAN_MAX));
        if !bans.contains_key(&peer) && bans.len() >= BANS_MAX {
            let soonest = bans.iter().min_by_key(|(_, ban)| ban.until).map(|(id, _)| *id);
            soonest.and_then(|id| bans.remove(&id));
        }
        let ban = bans.entry(peer).or_insert(Ban { times: 0, until: now });
        let wait = FIRST_BAN.saturating_mul(1 << ban.times.min(DOUBLINGS_MAX)).min(BAN_MAX);
        ban.times = ban.times.saturating_add(1);
        ban.until = now.after(wait);
        wait
    }
}

/// An organisation has the share of so many peers at least.
const SHARES_MIN: u32 = 4;
/// And of so many at most.
const SHARES_MAX: u32 = 128;
/// Debt up to here is shed; from here on, reading pauses.
const DEBT_MAX: Duration = Duration::from_secs(1);
/// Pauses before a connection is closed.
const PAUSES_MAX: u32 = 10;
/// One pause is forgiven after so long a time without another.
const PAUSE_FORGIVEN: Duration = Duration::from_secs(10);
const UNIT_BYTES: usize = 1 << 10;
const FIRST_BAN: Duration = Duration::from_secs(10);
const BAN_MAX: Duration = Duration::from_secs(600);
/// Beyond any number of doublings that stays below the longest ban.
const DOUBLINGS_MAX: u32 = 16;
/// Peers remembered.
const BANS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: QuotaConfig = QuotaConfig { per_second: 100, burst: 10 };

    fn at(millis: u64) -> Mono {
        Mono::ZERO.after(Duration::from_millis(millis))
    }

    #[test]
    fn a_burst_passes_then_messages_are_shed_then_reading_pauses_and_then_it_ends() {
        let orgs = OrgQuotas::default();
        let mut quota = Quota::new(&CONFIG, orgs.of(None, &CONFIG, at(0)), at(0));
        assert_eq!(quota.charge(10 * price(100), at(0)), Pressure::None);
        assert!(!quota.is_over(at(0)));
        assert_eq!(quota.charge(1, at(0)), Pressure::None);
        assert!(quota.is_over(at(0)), "shed");
        assert!(!quota.is_over(at(10)), "one unit later it may send again");
        let mut now = at(10);
        let mut pauses = 0;
        let last = loop {
            match quota.charge(150, now) {
                Pressure::Pause(pause) => now = now.after(pause),
                other @ (Pressure::None | Pressure::Close) => break other,
            }
            pauses += 1;
        };
        assert_eq!((pauses, last), (PAUSES_MAX, Pressure::Close));
    }

    /// Datagrams go on coming while reading pauses.
    #[test]
    fn what_comes_during_a_pause_is_part_of_it() {
        let orgs = OrgQuotas::default();
        let mut quota = Quota::new(&CONFIG, orgs.of(None, &CONFIG, at(0)), at(0));
        let ended = (0..60_000).find(|millis| {
            let pressure = quota.charge(2, at(*millis));
            pressure == Pressure::Close
        });
        let seconds = ended.expect("it does not go on for ever") / 1000;
        assert!(seconds >= u64::from(PAUSES_MAX), "closed after {seconds} s");
    }

    #[test]
    fn who_comes_back_at_once_finds_its_organisation_as_it_left_it() {
        let orgs = OrgQuotas::default();
        let bad = OrgId::new("bad").expect("short");
        let peer = |now| Quota::new(&CONFIG, orgs.of(Some(&bad), &CONFIG, now), now);
        let mut first = peer(at(0));
        first.charge(10_000, at(0));
        drop(first);
        assert!(peer(at(10)).is_over(at(10)), "its debt waited for it");
        assert!(!peer(at(60_000)).is_over(at(60_000)));
        drop(orgs.of(None, &CONFIG, at(60_000)));
        assert_eq!(lock(&orgs.0).quotas.len(), 1, "what is full is forgotten");
    }

    #[test]
    fn pauses_far_apart_are_forgiven() {
        let orgs = OrgQuotas::default();
        let mut quota = Quota::new(&CONFIG, orgs.of(None, &CONFIG, at(0)), at(0));
        for round in 0..10 * u64::from(PAUSES_MAX) {
            let pressure = quota.charge(200, at(round * 12_000));
            assert!(matches!(pressure, Pressure::Pause(_)), "{pressure:?}");
        }
    }

    #[test]
    fn many_certificates_of_one_organisation_share_its_quota() {
        let orgs = OrgQuotas::default();
        let (bad, good) = (OrgId::new("bad").expect("short"), OrgId::new("good").expect("short"));
        let peer = |org| Quota::new(&CONFIG, orgs.of(Some(org), &CONFIG, at(0)), at(0));
        let mut crowd: Vec<Quota> = (0..100).map(|_| peer(&bad)).collect();
        let mut passed = 0;
        for quota in &mut crowd {
            for _ in 0..10 {
                if !quota.is_over(at(0)) {
                    passed += 1;
                    quota.charge(1, at(0));
                }
            }
        }
        assert_eq!(passed, 4 * 10 + 1, "as much as four peers, and the one that went over");
        assert!(!peer(&good).is_over(at(0)), "others are not concerned");
        orgs.set_alive(BTreeMap::from([(bad.clone(), 50)]));
        assert!(!crowd[0].is_over(at(20)), "known members count");
    }

    #[test]
    fn bans_double_up_to_ten_minutes_and_are_forgotten() {
        let (bans, peer) = (Bans::default(), PkiId::from_bytes([1; 32]));
        let mut now = Mono::ZERO;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = bans.add(peer, now);
            waits.push(wait.as_secs());
            assert!(bans.holds(&peer, now));
            now = now.after(wait);
            assert!(!bans.holds(&peer, now));
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(bans.add(peer, now.after(BAN_MAX)), FIRST_BAN);
    }
}

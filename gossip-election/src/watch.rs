//! A quiet channel, or a leader that withholds blocks?

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Height, Mono, PkiId};
use rand_core::Rng;

use crate::election::{Declared, Election, Phase};
use crate::words::Action;

/// What is proved to exist against what has arrived.
#[derive(Debug)]
pub(crate) struct Watch {
    /// Since when proved blocks have been missing without any arriving.
    missing_since: Option<Mono>,
    height: Height,
    /// When the last block arrived, and the mean time between arrivals.
    arrived_at: Mono,
    interval: Option<Duration>,
    /// When the ordering service is to be asked next, should that be our task.
    pub(crate) probe_at: Mono,
    /// Whether our parent fetches for itself.
    pub(crate) fetching: bool,
}

impl Watch {
    pub(crate) const fn new(now: Mono) -> Self {
        Self {
            missing_since: None,
            height: Height::new(0),
            arrived_at: now,
            interval: None,
            probe_at: now,
            fetching: false,
        }
    }

    /// Looks at what has arrived and at what is proved to exist.
    ///
    /// Who is far behind catches up: what it misses says nothing about the leader.
    pub(crate) fn look(&mut self, now: Mono, height: Height, proved: Height, is_far: bool) {
        if height > self.height {
            self.note_arrivals(now, height);
            self.missing_since = None;
        }
        if proved <= height {
            self.missing_since = None;
        } else if self.missing_since.is_none() && !is_far {
            self.missing_since = Some(now);
        }
    }

    fn note_arrivals(&mut self, now: Mono, height: Height) {
        let blocks = height.get().saturating_sub(self.height.get());
        let each = now.since(self.arrived_at) / u32::try_from(blocks).unwrap_or(u32::MAX).max(1);
        let is_first = self.height == Height::new(0);
        self.height = height;
        self.arrived_at = now;
        if !is_first {
            // The end of a quiet spell is no sign of slow blocks: one gap changes the mean by little.
            let old = self.interval.unwrap_or(INTERVAL_FIRST);
            let each = each.min(old.saturating_mul(2));
            self.interval = Some((old + each) / 2);
        }
    }

    /// When missing blocks become a reason for suspicion.
    pub(crate) fn suspicious_at(&self, withheld_after: Duration) -> Option<Mono> {
        self.missing_since.map(|since| since.after(withheld_after))
    }

    /// Begins the wait anew: another leader deserves the same patience.
    pub(crate) fn give_time(&mut self, now: Mono) {
        self.missing_since = self.missing_since.map(|_| now);
    }

    pub(crate) const fn is_missing(&self) -> bool {
        self.missing_since.is_some()
    }

    /// protocol.md 2: every max(5 s, 4 x mean block interval), give or take a fifth.
    pub(crate) fn schedule_probe(&mut self, now: Mono, at_least: Duration, jitter: u32) {
        let four = self.interval.unwrap_or_default().saturating_mul(4).max(at_least);
        let share = jitter % 401;
        self.probe_at = now.after(four.saturating_mul(800_u32.saturating_add(share)) / 1000);
    }
}

impl Election {
    /// Proved blocks do not arrive: the leader is last choice, and everybody fetches for itself.
    pub(crate) fn check_withholding(&mut self, now: Mono) -> Vec<Action> {
        let arrived = if self.is_leader() { self.delivered } else { self.has_arrived() };
        let is_far = self.order.is_lower_class(arrived, self.order.proved());
        self.watch.look(now, arrived, self.order.proved(), is_far);
        let suspicious_at = self.watch.suspicious_at(self.patience());
        if suspicious_at.is_none_or(|at| at > now) {
            let is_led = self.is_leader() || !self.leaders.is_empty();
            if self.watch.fetching && is_led && !self.watch.is_missing() {
                self.watch.fetching = false;
                return vec![Action::Fetch { wanted: false }];
            }
            return Vec::new();
        }
        let missing_since = self.watch.missing_since;
        self.watch.give_time(now);
        let mut actions = Vec::new();
        if !self.watch.fetching {
            self.watch.fetching = true;
            actions.push(Action::Fetch { wanted: true });
        }
        if self.is_leader() {
            actions.extend(self.on_yield(now));
            return actions;
        }
        // Who has not spoken since is silent or cut off, which its lease takes care of. Suspecting it would
        // outlast the partition, and it would lead beside its successor for as long.
        let until = now.after(self.config.lease.saturating_mul(SUSPECT_LEASES));
        let spoke = |leader: &Declared| missing_since.is_some_and(|since| leader.heard_at > since);
        let (withholding, silent) =
            std::mem::take(&mut self.leaders).into_iter().partition(|(_, leader)| spoke(leader));
        self.leaders = silent;
        let withholding: BTreeMap<PkiId, Declared> = withholding;
        withholding.into_keys().for_each(|leader| self.order.suspect(leader, until));
        actions
    }

    /// How far blocks have arrived, by whatever way.
    pub(crate) fn has_arrived(&self) -> Height {
        self.arrived.max(self.order.height())
    }

    /// How long proved blocks may be missing.
    pub(crate) fn patience(&self) -> Duration {
        let factor = if self.is_leader() { LEADER_PATIENCES } else { 1 };
        self.config.withheld_after.saturating_mul(factor)
    }

    /// One follower at a time asks the ordering service whether the channel is quiet.
    pub(crate) fn check_probe(&mut self, now: Mono) -> Vec<Action> {
        let is_follower = matches!(self.phase, Phase::Following { .. });
        if !is_follower || self.watch.probe_at > now {
            return Vec::new();
        }
        self.watch.schedule_probe(now, self.config.probe_every, self.rng.next_u32());
        let me = std::iter::once(self.me);
        let followers = self.members.iter().copied().chain(me);
        let followers = followers.filter(|peer| !self.leaders.contains_key(peer));
        if self.order.first(followers, now) == Some(self.me) {
            return vec![Action::Probe];
        }
        Vec::new()
    }
}

/// What the time between blocks is taken to be before it is known.
const INTERVAL_FIRST: Duration = Duration::from_secs(1);

/// protocol.md 2: a leader that withholds is last choice for ten leases.
pub(crate) const SUSPECT_LEASES: u32 = 10;

/// A leader has to connect to the ordering service first: it gets this many times the patience.
const LEADER_PATIENCES: u32 = 4;

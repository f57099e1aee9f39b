//! The term: a fence against former leaders.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Mono, PkiId};

/// Our term, and what others state.
#[derive(Debug)]
pub(crate) struct Terms {
    own: Option<u64>,
    changed_at: Mono,
    heard: BTreeMap<PkiId, u64>,
}

impl Terms {
    pub(crate) const fn new(now: Mono) -> Self {
        Self { own: None, changed_at: now, heard: BTreeMap::new() }
    }

    pub(crate) fn own(&self) -> u64 {
        self.own.unwrap_or_default()
    }

    pub(crate) fn restore(&mut self, now: Mono, term: u64) {
        self.raise(now, term);
    }

    /// Whether a stated term is possible: it rises by one per take-over, and a take-over needs a lease.
    pub(crate) fn accepts(&self, now: Mono, term: u64, lease: Duration) -> bool {
        let Some(own) = self.own else { return term < FIRST_TERM_MAX };
        let leases = now.since(self.changed_at).as_nanos() / lease.as_nanos().max(1);
        let leases = u64::try_from(leases).unwrap_or(u64::MAX);
        term <= own.saturating_add(1).saturating_add(leases)
    }

    /// Notes what a peer states; adopts it if it is larger than ours. Without one of our own we wait
    /// for [`settle`](Self::settle).
    pub(crate) fn heard(&mut self, now: Mono, from: PkiId, term: u64) {
        self.heard.insert(from, term);
        if self.own.is_some() {
            self.raise(now, term);
        }
    }

    pub(crate) fn retain(&mut self, is_member: impl Fn(&PkiId) -> bool) {
        self.heard.retain(|peer, _| is_member(peer));
    }

    /// A peer without a term takes the median of what the live ones state: one liar cannot move it.
    pub(crate) fn settle(&mut self, now: Mono) {
        if self.own.is_some() {
            return;
        }
        let mut stated: Vec<u64> = self.heard.values().copied().collect();
        stated.sort_unstable();
        let median = stated.get(stated.len().saturating_sub(1) / 2).copied();
        self.raise(now, median.unwrap_or_default());
    }

    /// A take-over begins a new term.
    pub(crate) fn take_over(&mut self, now: Mono) {
        self.settle(now);
        self.raise(now, self.own().saturating_add(1));
    }

    fn raise(&mut self, now: Mono, term: u64) {
        if self.own.is_none_or(|own| term > own) {
            self.own = Some(term);
            self.changed_at = now;
        }
    }
}

/// What a peer without a term believes at most: at a take-over a second it lasts nine million years.
const FIRST_TERM_MAX: u64 = 1 << 48;

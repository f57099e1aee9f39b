//! Who is connected, who is being dialled, and which of two connections stays.
//!
//! # Which connection stays
//!
//! Both ends must choose alike without asking each other, and neither may know of both connections at
//! the same time as the other. Of two connections between the same peers
//!
//! 1. the one whose two hellos state the greater epochs stays: a peer that was restarted has forgotten the other;
//! 2. else, if the older is older than any dial can have been under way, the newer stays: whoever dialled
//!    has lost the older, for nobody dials a peer it is connected to;
//! 3. else the two were dialled at the same time: the one that the lower PKI-ID dialled stays;
//! 4. if one side dialled both, that side keeps the older, and the other side follows it.
//!
//! The one that gives way is retired (see [`super::link`]), so nothing sent on it is lost.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::{Endpoint, PkiId};

use super::exchange::{Answer, Question};
use super::link::{Link, Mode};
use super::outbox::Outbox;
use crate::backoff::Backoff;
use crate::comm::{InboundId, RequestId};

/// Everything that changes as peers come and go. Held under one lock, never across a wait.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) stopping: bool,
    pub(super) peers: BTreeMap<PkiId, Peer>,
    pub(super) dials: BTreeMap<Endpoint, Dial>,
    pub(super) backoff: Backoff,
    pub(super) answers: BTreeMap<InboundId, Arc<Answer>>,
    /// Questions that have no outcome yet.
    pub(super) requests: std::collections::BTreeSet<RequestId>,
    pub(super) links: usize,
    next_number: u64,
}

/// A peer that is connected, or that something waits to be sent to.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) outbox: Arc<Outbox>,
    /// Oldest first.
    pub(super) links: Vec<Arc<Link>>,
    /// Where it was reached.
    pub(super) endpoints: Vec<Endpoint>,
    /// Where it is being dialled, while it has no link.
    pub(super) dialling: Option<Endpoint>,
    /// Questions for when it is connected.
    pub(super) questions: Vec<Question>,
}

/// A dial under way.
#[derive(Debug, Default)]
pub(super) struct Dial {
    /// Whom those who asked for it want to find; nothing if anybody will do.
    pub(super) wanted: Vec<Option<PkiId>>,
}

/// What becomes of two connections to the same peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The newer gives way.
    KeepOld,
    /// The older gives way.
    KeepNew,
    /// The other side decides; until then the newer is used and both are read.
    Defer,
}

impl Table {
    /// A number not given out before.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// The link that sends to `peer`, if it is connected.
    pub(super) fn active(&self, peer: &PkiId) -> Option<&Arc<Link>> {
        self.peers.get(peer)?.active()
    }

    /// The connected peer that was reached at `endpoint`.
    pub(super) fn at(&self, endpoint: &Endpoint) -> Option<PkiId> {
        let reached = |peer: &Peer| !peer.links.is_empty() && peer.endpoints.contains(endpoint);
        self.peers.iter().find(|(_, peer)| reached(peer)).map(|(id, _)| *id)
    }

    /// Removes the peers that wait for a dial of `endpoint`, but for `found`.
    pub(super) fn give_up(&mut self, endpoint: &Endpoint, found: Option<PkiId>) -> Vec<Peer> {
        let waits = |id: &PkiId, peer: &Peer| {
            peer.links.is_empty() && peer.dialling.as_ref() == Some(endpoint) && Some(*id) != found
        };
        let waiting = self.peers.iter().filter(|(id, peer)| waits(id, peer)).map(|(id, _)| *id);
        let waiting: Vec<PkiId> = waiting.collect();
        waiting.iter().filter_map(|id| self.peers.remove(id)).collect()
    }
}

impl Peer {
    pub(super) fn new(outbox: Outbox) -> Self {
        Self {
            outbox: Arc::new(outbox),
            links: Vec::new(),
            endpoints: Vec::new(),
            dialling: None,
            questions: Vec::new(),
        }
    }

    pub(super) fn active(&self) -> Option<&Arc<Link>> {
        self.links.iter().find(|link| link.mode() == Mode::Active)
    }

    /// Remembers where the peer was reached; the oldest of too many is forgotten.
    pub(super) fn reached_at(&mut self, endpoint: &Endpoint) {
        if !self.endpoints.contains(endpoint) {
            if self.endpoints.len() >= ENDPOINTS_MAX {
                self.endpoints.remove(0);
            }
            self.endpoints.push(endpoint.clone());
        }
    }

    /// Adds a link and settles which ones stay. At most one is active afterwards.
    pub(super) fn add(&mut self, own: PkiId, fresh: Arc<Link>, window: Duration) {
        let mut keep = true;
        for old in self.links.iter().filter(|old| old.is_live()) {
            match verdict(own, old, &fresh, window) {
                Verdict::KeepNew => old.set_mode(Mode::Retired),
                Verdict::Defer => old.set_mode(Mode::Standby),
                Verdict::KeepOld => keep = false,
            }
        }
        if keep {
            fresh.set_mode(Mode::Active);
        } else {
            fresh.set_mode(Mode::Retired);
            // One that an earlier, now retired, connection had put on standby may have to take over.
            self.promote();
        }
        if self.links.len() >= LINKS_MAX
            && let Some(oldest) = self.links.first()
        {
            oldest.close(gossip_api::message::CloseReason::Duplicate);
        }
        self.links.push(fresh);
    }

    /// Sees to it that some link is active if one can be; the newest first.
    pub(super) fn promote(&mut self) {
        if self.active().is_some_and(|link| link.is_live()) {
            return;
        }
        if let Some(next) = self.links.iter().rev().find(|link| link.is_live()) {
            next.set_mode(Mode::Active);
        }
    }

    /// The other side has ended `link` in favour of another, if there is another.
    pub(super) fn follow(&mut self, link: &Link) {
        let other = self.links.iter().any(|other| other.id != link.id && other.is_live());
        if other {
            link.set_mode(Mode::Retired);
            self.promote();
        }
    }
}

fn verdict(own: PkiId, old: &Link, fresh: &Link, window: Duration) -> Verdict {
    if old.other_done.is_cancelled() {
        return Verdict::KeepNew;
    }
    let age = fresh.born.since(old.born);
    judge(own, fresh.greeting.peer, &facts(old), &facts(fresh), age > window)
}

/// What both ends know alike of a connection.
#[derive(Clone, Copy, Debug)]
struct Facts {
    epochs: u128,
    by_us: bool,
}

fn facts(link: &Link) -> Facts {
    let greeting = &link.greeting;
    let epochs = u128::from(greeting.epoch.get()) + u128::from(greeting.own_epoch.get());
    Facts { epochs, by_us: link.by_us }
}

fn judge(own: PkiId, peer: PkiId, old: &Facts, fresh: &Facts, outdated: bool) -> Verdict {
    match fresh.epochs.cmp(&old.epochs) {
        Ordering::Greater => return Verdict::KeepNew,
        Ordering::Less => return Verdict::KeepOld,
        Ordering::Equal => {}
    }
    match (old.by_us, fresh.by_us) {
        (true, true) => Verdict::KeepOld,
        (false, false) => Verdict::Defer,
        _ if outdated => Verdict::KeepNew,
        (_, by_us) if by_us == (own < peer) => Verdict::KeepNew,
        _ => Verdict::KeepOld,
    }
}

/// Connections to one peer at once; more than two are a sign of trouble.
const LINKS_MAX: usize = 4;
/// Places where one peer was reached.
const ENDPOINTS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_the_same_connection() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        for epochs in [(7, 7), (7, 8), (8, 7)] {
            // Whichever of the two connections each end sees first.
            let kept = [true, false].map(|low_dialled_first| {
                let (first, second) = if low_dialled_first { epochs } else { (epochs.1, epochs.0) };
                [(low, high), (high, low)].map(|(own, peer)| {
                    let old = Facts { epochs: first, by_us: (own == low) == low_dialled_first };
                    let fresh = Facts { epochs: second, by_us: (own == low) != low_dialled_first };
                    match judge(own, peer, &old, &fresh, false) {
                        Verdict::KeepOld => low_dialled_first,
                        Verdict::KeepNew => !low_dialled_first,
                        Verdict::Defer => panic!("two diallers"),
                    }
                })
            });
            let expected = epochs.0 >= epochs.1;
            assert_eq!(kept, [[expected; 2]; 2], "low's connection stays with epochs {epochs:?}");
        }
    }

    #[test]
    fn an_old_connection_gives_way_to_a_fresh_dial() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        let old = Facts { epochs: 1, by_us: true };
        let fresh = Facts { epochs: 1, by_us: false };
        assert_eq!(judge(low, high, &old, &fresh, true), Verdict::KeepNew);
        assert_eq!(judge(low, high, &old, &fresh, false), Verdict::KeepOld);
    }

    #[test]
    fn who_dialled_both_decides() {
        let low = PkiId::from_bytes([1; 32]);
        let high = PkiId::from_bytes([2; 32]);
        let ours = Facts { epochs: 1, by_us: true };
        let theirs = Facts { epochs: 1, by_us: false };
        assert_eq!(judge(low, high, &ours, &ours, true), Verdict::KeepOld);
        assert_eq!(judge(low, high, &theirs, &theirs, true), Verdict::Defer);
    }
}

//! Who is connected, who is being dialled, and which of two connections stays.
//! Which connection stays, [`crate::duplicate`] says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::{Endpoint, Mono, PkiId};

use super::exchange::{Answer, Question};
use super::link::Link;
use super::outbox::Outbox;
use crate::backoff::Backoff;
use crate::comm::{InboundId, RequestId};
use crate::duplicate::{Facts, Mode, Verdict, judge};

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
    /// When our own identity or certificate last changed.
    pub(super) renewed: Mono,
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
    if old.other_done.is_cancelled() || old.greeting.own != fresh.greeting.own {
        // The other side is done with it, or takes us for two peers.
        return Verdict::KeepNew;
    }
    let age = fresh.born.since(old.born);
    let facts = |link: &Link| Facts::of(&link.greeting, link.by_us);
    judge(own, fresh.greeting.peer, &facts(old), &facts(fresh), age > window)
}

/// Connections to one peer at once; more than two are a sign of trouble.
const LINKS_MAX: usize = 4;
/// Places where one peer was reached.
const ENDPOINTS_MAX: usize = 4;

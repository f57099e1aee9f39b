//! Whom to be connected to.
//!
//! Few members: everybody with everybody, each pair dialled by the side that a bit of both fingerprints
//! picks, so that nobody dials more than half of them and no pair dials at once. Many members: a random
//! few. Bootstrap and anchor addresses are dialled until somebody answers there, for ever, and again
//! whenever whoever answered is not alive.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::message::{CloseReason, ShortId};
use gossip_api::{Endpoint, Epoch, Mono, Nonce, OrgId, PkiId, select_peers};

use crate::discovery::{Action, Discovery, SWEEP_EVERY};
use crate::limit::Bucket;
use crate::member::{Backoff, Member, Status};
use crate::timers::Deadline;

/// A connection, and what its peer may do over it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which of all our connections so far, from 1.
    pub(crate) serial: u32,
    pub(crate) org: Option<OrgId>,
    /// Which life of the peer said hello.
    pub(crate) epoch: Epoch,
    /// Where we dialled it, unless somebody else has answered there since.
    pub(crate) dialled: Option<Endpoint>,
    pub(crate) since: Mono,
    /// Our open question, and since when.
    pub(crate) asked: Option<(Nonce, Mono)>,
    pub(crate) last_ask: Option<Mono>,
    /// When it is to be asked out of turn.
    pub(crate) ask_at: Option<Mono>,
    /// It is asked only if it does not introduce itself before.
    pub(crate) awaits_introduction: bool,
    /// It is to be asked as soon as our record is signed.
    pub(crate) waits_for_record: bool,
    /// Its last answer had more behind it.
    pub(crate) more: bool,
    /// Entries of it that are being checked.
    pub(crate) checking: u32,
    /// When it last sent beats.
    pub(crate) beats_from: Option<Mono>,
    pub(crate) requests: Bucket,
    pub(crate) beat_frames: Bucket,
    pub(crate) probes: Bucket,
}

/// An address that is never given up.
#[derive(Debug, Default)]
struct Anchor {
    /// Who answered there last.
    peer: Option<PkiId>,
    backoff: Backoff,
}

/// Connections, dials, and addresses to hold on to.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) links: BTreeMap<PkiId, Link>,
    anchors: BTreeMap<Endpoint, Anchor>,
    /// Dials under way: who is expected, and since when.
    dials: BTreeMap<Endpoint, (Option<PkiId>, Mono)>,
    /// Connections so far.
    serials: u32,
    /// Which peer is at the other end, by the connection's serial.
    by_serial: BTreeMap<u32, PkiId>,
}

impl Connections {
    pub(crate) fn is_dialling(&self, endpoint: &Endpoint) -> bool {
        self.dials.contains_key(endpoint)
    }

    pub(crate) fn dials_len(&self) -> usize {
        self.dials.len()
    }

    pub(crate) fn anchors_len(&self) -> usize {
        self.anchors.len()
    }

    /// The peer at the other end of a connection.
    pub(crate) fn peer_of(&self, serial: u32) -> Option<PkiId> {
        self.by_serial.get(&serial).copied()
    }

    /// Whether a member is one that an operator or a channel named.
    // fabric: gossip/discovery/discovery_impl.go isBootstrapPeer
    fn is_anchor(&self, member: &Member) -> bool {
        self.anchors.iter().any(|(endpoint, anchor)| {
            anchor.peer == Some(member.pki_id()) || member.claims(endpoint)
        })
    }
}

impl Discovery {
    // fabric: gossip/discovery/discovery_impl.go Connect
    pub(crate) fn on_connect(&mut self, now: Mono, endpoint: Endpoint) {
        let anchors = &mut self.connections.anchors;
        if self.own.is_own_endpoint(&endpoint) || anchors.len() >= ANCHORS_MAX {
            return;
        }
        anchors.entry(endpoint).or_default();
        self.timers.at_latest(Deadline::Connect, now);
        self.start_sweeping(now);
    }

    /// Whoever answered there stays a member like any other, and is forgotten like any other.
    pub(crate) fn on_unname(&mut self, endpoint: &Endpoint) {
        self.connections.anchors.remove(endpoint);
    }

    pub(crate) fn on_connected(
        &mut self,
        now: Mono,
        peer: PkiId,
        org: Option<OrgId>,
        epoch: Epoch,
        dialled: Option<Endpoint>,
    ) {
        if self.health.heard(now) {
            self.restart_probes(now);
        }
        if let Some(endpoint) = &dialled {
            self.connections.dials.remove(endpoint);
            if let Some(anchor) = self.connections.anchors.get_mut(endpoint) {
                *anchor = Anchor { peer: Some(peer), backoff: Backoff::default() };
            }
        }
        if peer == self.own.me.pki_id {
            if let Some(endpoint) = &dialled {
                self.connections.anchors.remove(endpoint);
            }
            return self.out.push(Action::Disconnect { peer, reason: CloseReason::Done });
        }
        let Connections { links, serials, by_serial, .. } = &mut self.connections;
        let link = links.entry(peer).or_insert_with(|| {
            *serials = serials.wrapping_add(1).max(1);
            by_serial.insert(*serials, peer);
            Link::new(now, epoch, *serials)
        });
        link.org = org;
        link.epoch = epoch;
        if let Some(endpoint) = &dialled {
            link.dialled = Some(endpoint.clone());
        }
        if !self.may_introduce(&peer) {
            self.out.push(Action::Disconnect { peer, reason: CloseReason::Done });
            return self.drop_link(now, &peer);
        }
        if self.exchange.started.is_none() {
            self.exchange.started = Some(now);
        }
        self.consider_for_beats(peer);
        let wait = self.jittered(self.config.sync_fast_every);
        self.timers.at_latest(Deadline::Sync, now.after(wait));
        self.start_beating(now);
        self.timers.at_latest(Deadline::Connect, now);
        self.start_sweeping(now);
        if let Some(endpoint) = &dialled {
            self.retire_predecessor(now, endpoint, &peer);
        }
        self.greet(now, peer, epoch, dialled.is_some());
    }

    /// The hello proves that a member with a record of the same epoch lives; whose record we lack is asked.
    fn greet(&mut self, now: Mono, peer: PkiId, epoch: Epoch, dialled: bool) {
        let known = self.view.find(&peer).map(|row| (row.epoch, row.status));
        match known {
            Some((known, status)) if known == epoch => {
                if status.is_dead() {
                    self.ask_soon(now, peer);
                }
                self.mark_alive(now, ShortId::of(&peer));
                self.question_rivals(now, &peer);
            }
            Some(_) => self.ask_soon(now, peer),
            None if dialled => self.ask_soon(now, peer),
            // Whoever dials introduces itself.
            None => {
                // Where many join at once, a stranger's record comes with those of others.
                let times = if self.is_meshed() { 1 } else { 4 };
                let wait = self.jittered(INTRODUCTION.saturating_mul(times));
                self.await_introduction(peer, now.after(wait));
            }
        }
    }

    /// Whoever answers at an address has taken the place of whoever had it: a renewed certificate is a new
    /// identity on the same endpoint.
    // fabric: gossip/discovery/discovery_impl.go handleEvents
    // fabric-differs: found out by dialling, without the help of the identity layer.
    fn retire_predecessor(&mut self, now: Mono, endpoint: &Endpoint, successor: &PkiId) {
        let links = self.connections.links.iter_mut();
        let mut replaced = Vec::new();
        for (peer, link) in links.filter(|(peer, _)| *peer != successor) {
            if link.dialled.as_ref() == Some(endpoint) {
                link.dialled = None;
                replaced.push(ShortId::of(peer));
            }
        }
        for short in replaced {
            self.question(now, short);
        }
        let links = &self.connections.links;
        let gone: Vec<ShortId> = self
            .view
            .at_endpoint(endpoint)
            .filter(|row| {
                let pki_id = row.member().pki_id();
                pki_id != *successor && !links.contains_key(&pki_id)
            })
            .map(|row| row.short)
            .collect();
        for short in gone {
            self.forget(short);
        }
    }

    /// Somebody who is connected claims an endpoint that live members claim, too. One of them is mistaken,
    /// or gone: those who were there before are asked.
    pub(crate) fn question_rivals(&mut self, now: Mono, peer: &PkiId) {
        let rival = self.view.find(peer);
        let Some(endpoint) = rival.and_then(|row| row.member().dial_endpoint().cloned()) else {
            return;
        };
        let rivals: Vec<ShortId> = self
            .view
            .at_endpoint(&endpoint)
            .filter(|row| row.status == Status::Alive && row.member().pki_id() != *peer)
            .map(|row| row.short)
            .collect();
        for short in rivals {
            self.question(now, short);
        }
    }

    fn question(&mut self, now: Mono, short: ShortId) {
        if self.view.row(&short).is_some_and(|row| row.status == Status::Alive) {
            self.suspect(now, short);
        }
    }

    // fabric: gossip/discovery/discovery_impl.go handlePresumedDeadPeers
    // fabric-differs: a lost connection is a reason to ask, not a death.
    pub(crate) fn on_disconnected(&mut self, now: Mono, peer: PkiId) {
        // Whom we left ourselves has not failed.
        if !self.connected(&peer) {
            return;
        }
        self.drop_link(now, &peer);
        let wait = self.jittered(REDIAL);
        let back_off = |member: &mut Member| {
            member.backoff.not_before = now.after(wait);
            member.status
        };
        if self.view.find(&peer).is_none() {
            return;
        }
        if self.view.change(&ShortId::of(&peer), back_off) == Some(Status::Alive) {
            self.suspect(now, ShortId::of(&peer));
        }
        self.timers.at_latest(Deadline::Connect, now.after(wait));
    }

    /// Forgets a connection and what hangs on it.
    pub(crate) fn drop_link(&mut self, now: Mono, peer: &PkiId) {
        if let Some(link) = self.connections.links.remove(peer) {
            self.connections.by_serial.remove(&link.serial);
        }
        self.relay.chosen.remove(peer);
        self.timers.at_latest(Deadline::Connect, now.after(REDIAL));
    }

    pub(crate) fn on_dial_failed(&mut self, now: Mono, endpoint: &Endpoint) {
        let expected = self.connections.dials.remove(endpoint).and_then(|(expected, _)| expected);
        let (retry, longest) = (self.config.dial_retry, self.config.dial_retry_max);
        let jitter = self.jittered(Duration::from_secs(1));
        let failed = |backoff: &mut Backoff| {
            let wait = retry.saturating_mul(1 << backoff.failures.min(16)).min(longest);
            backoff.failures = backoff.failures.saturating_add(1);
            // The jitter is drawn once and scaled: 0.75 to 1.25 of the pause.
            backoff.not_before = now.after(wait.mul_f64(jitter.as_secs_f64()));
        };
        if let Some(anchor) = self.connections.anchors.get_mut(endpoint) {
            failed(&mut anchor.backoff);
        }
        if let Some(peer) = expected.filter(|peer| self.view.find(peer).is_some()) {
            self.view.change(&ShortId::of(&peer), |member| failed(&mut member.backoff));
        }
        self.timers.at_latest(Deadline::Connect, now.after(REDIAL));
    }

    /// Dials whoever we should be connected to, as far as dials are free.
    pub(crate) fn fill_connections(&mut self, now: Mono) {
        let mut next = self.dial_anchors(now);
        let (due, later) = self.wanted(now);
        let wanted = self.config.dials_max.saturating_sub(self.connections.dials.len());
        let connected = self.connections.links.len() + self.connections.dials.len();
        let wanted = if self.is_meshed() {
            wanted
        } else {
            wanted.min(self.config.sparse_degree.saturating_sub(connected))
        };
        for (endpoint, peer) in select_peers(&mut self.rng, wanted, &due, |_| true) {
            self.dial(now, endpoint, Some(peer));
        }
        next = next.into_iter().chain(later).min();
        if let Some(next) = next {
            self.timers.at_latest(Deadline::Connect, next.max(now.after(CONNECT_AGAIN)));
        }
    }

    /// Whether there are few enough members to be connected to all of them; not while there are more than we
    /// have heard of.
    pub(crate) fn is_meshed(&self) -> bool {
        !self.exchange.partial && self.view.len() - self.view.dead() <= self.config.mesh_max
    }

    /// Members to dial, and when the next that is not due will be.
    fn wanted(&self, now: Mono) -> (Vec<(Endpoint, PkiId)>, Option<Mono>) {
        let mut due = Vec::new();
        let mut later: Option<Mono> = None;
        if !self.is_meshed() && self.connections.links.len() >= self.config.sparse_degree {
            return (due, later);
        }
        for (_, member) in self.view.iter() {
            let peer = member.pki_id();
            let Some(endpoint) = member.dial_endpoint() else { continue };
            if member.status.is_dead()
                || self.connections.links.contains_key(&peer)
                || self.connections.is_dialling(endpoint)
                || self.own.is_own_endpoint(endpoint)
            {
                continue;
            }
            let turn = if dials_first(&self.own.me.pki_id, &peer) {
                member.learned
            } else {
                member.learned.after(SECOND_DIAL)
            };
            let at = turn.max(member.backoff.not_before);
            if at <= now {
                due.push((endpoint.clone(), peer));
            } else {
                later = Some(later.map_or(at, |later| later.min(at)));
            }
        }
        (due, later)
    }

    /// Dials the addresses whose peer is not alive; gives when the next is due.
    fn dial_anchors(&mut self, now: Mono) -> Option<Mono> {
        let view = &self.view;
        let links = &self.connections.links;
        let idle = self.connections.anchors.iter().filter(|(endpoint, anchor)| {
            let alive = anchor.peer.is_some_and(|peer| {
                links.contains_key(&peer) || view.find(&peer).is_some_and(|m| m.status.is_live())
            });
            !alive && !self.connections.dials.contains_key(*endpoint)
        });
        let (due, later): (Vec<_>, Vec<_>) = idle
            .map(|(endpoint, anchor)| (endpoint.clone(), anchor.backoff.not_before))
            .partition(|(_, at)| *at <= now);
        for (endpoint, _) in due {
            self.dial(now, endpoint, None);
        }
        later.into_iter().map(|(_, at)| at).min()
    }

    pub(crate) fn dial(&mut self, now: Mono, endpoint: Endpoint, expect: Option<PkiId>) {
        if self.connections.is_dialling(&endpoint) {
            return;
        }
        self.counters.dials = self.counters.dials.saturating_add(1);
        self.connections.dials.insert(endpoint.clone(), (expect, now));
        self.out.push(Action::Dial { endpoint, expect });
    }

    /// Gives one random dead member another chance: this is how partitions heal.
    // fabric: gossip/discovery/discovery_impl.go periodicalReconnectToDead
    // fabric-differs: one at random a second, not all of them every 25 s.
    pub(crate) fn retry_dead(&mut self, now: Mono) {
        let dead: Vec<(Endpoint, PkiId)> = self
            .view
            .iter()
            .filter(|(_, member)| member.status.is_dead())
            .filter_map(|(_, member)| {
                let endpoint = member.dial_endpoint()?.clone();
                (!self.connections.is_dialling(&endpoint)).then(|| (endpoint, member.pki_id()))
            })
            .collect();
        for (endpoint, peer) in select_peers(&mut self.rng, 1, &dead, |_| true) {
            self.dial(now, endpoint, Some(peer));
        }
        if self.view.dead() > 0 {
            let wait = self.jittered(self.config.dead_retry_every);
            self.timers.set(Deadline::RetryDead, now.after(wait));
        }
    }

    /// A dead member was heard of by a beat that only it can have made.
    pub(crate) fn revive(&mut self, now: Mono, short: ShortId) {
        self.begin_probe(now, short);
        let Some(member) = self.view.get(&short) else { return };
        let (peer, endpoint) = (member.pki_id(), member.dial_endpoint().cloned());
        if let Some(endpoint) = endpoint
            && self.connections.dials.len() < self.config.dials_max + REVIVALS_MAX
        {
            self.dial(now, endpoint, Some(peer));
        }
        // Word of a healed partition does not wait for the next interval.
        self.relay.hurry();
    }

    /// Everything that only ages.
    // fabric: gossip/discovery/discovery_impl.go periodicalCheckAlive
    pub(crate) fn sweep(&mut self, now: Mono) {
        self.find_late(now);
        self.forget_long_dead(now);
        self.connections.dials.retain(|_, (_, since)| now.since(*since) < DIAL_LOST);
        self.exchange.prune(now);
        self.probes.prune(now);
        self.close_surplus(now);
        let idle = self.view.len() == 0
            && self.connections.links.is_empty()
            && self.connections.anchors.is_empty();
        if !idle {
            self.timers.set(Deadline::Sweep, now.after(SWEEP_EVERY));
        }
    }

    fn forget_long_dead(&mut self, now: Mono) {
        if self.view.dead() == 0 {
            return;
        }
        let members = self.view.iter();
        let long: Vec<ShortId> = members
            .filter(|(_, member)| match member.status {
                Status::Dead { since } => {
                    now.since(since) >= self.config.forget_after
                        && !self.connections.is_anchor(member)
                }
                Status::Known | Status::Alive | Status::Suspect => false,
            })
            .map(|(short, _)| *short)
            .collect();
        for short in long {
            self.forget(short);
        }
    }

    /// The member dead for longest, of `org` or of any; never an anchor.
    pub(crate) fn oldest_dead(&self, org: Option<&OrgId>) -> Option<ShortId> {
        let members = self.view.iter().filter(|(_, m)| org.is_none_or(|org| m.org == *org));
        let dead = members.filter_map(|(short, member)| match member.status {
            Status::Dead { since } if !self.connections.is_anchor(member) => Some((since, *short)),
            Status::Dead { .. } | Status::Known | Status::Alive | Status::Suspect => None,
        });
        dead.min().map(|(_, short)| short)
    }

    pub(crate) fn bound_the_dead(&mut self) {
        while self.view.dead() > self.config.dead_max + self.connections.anchors.len() {
            match self.oldest_dead(None) {
                Some(short) => self.forget(short),
                None => break,
            }
        }
    }

    /// Closes a few of the connections beyond the bound, old ones that we do not exchange beats over.
    fn close_surplus(&mut self, now: Mono) {
        let surplus = self.connections.links.len().saturating_sub(self.config.links_max);
        if surplus == 0 {
            return;
        }
        let links = self.connections.links.iter();
        let pool: Vec<PkiId> = links
            .filter(|(peer, link)| {
                now.since(link.since) >= LINK_YOUNG && !self.relay.chosen.contains(*peer)
            })
            .map(|(peer, _)| *peer)
            .collect();
        let count = surplus.min(CLOSED_AT_ONCE);
        for peer in select_peers(&mut self.rng, count, &pool, |_| true) {
            self.out.push(Action::Disconnect { peer, reason: CloseReason::Done });
            self.drop_link(now, &peer);
        }
    }
}

impl Link {
    fn new(now: Mono, epoch: Epoch, serial: u32) -> Self {
        Self {
            serial,
            org: None,
            epoch,
            dialled: None,
            since: now,
            asked: None,
            last_ask: None,
            ask_at: None,
            awaits_introduction: false,
            waits_for_record: false,
            more: false,
            checking: 0,
            beats_from: None,
            requests: Bucket::full(now),
            beat_frames: Bucket::full(now),
            probes: Bucket::full(now),
        }
    }
}

/// Which side of a pair dials first: fair over all pairs, and both sides agree.
fn dials_first(own: &PkiId, other: &PkiId) -> bool {
    let parity = own.as_bytes().iter().zip(other.as_bytes()).fold(0, |acc, (a, b)| acc ^ a ^ b);
    (own < other) == (parity.count_ones() % 2 == 0)
}

/// Bootstrap and anchor addresses held on to.
pub(crate) const ANCHORS_MAX: usize = 64;
/// Dials beyond the usual bound for members of whom there is fresh word.
pub(crate) const REVIVALS_MAX: usize = 64;
/// The side that does not dial first waits this long for the other one.
const SECOND_DIAL: Duration = Duration::from_secs(1);
/// Whoever dialled us has this long to introduce itself; then it is asked.
const INTRODUCTION: Duration = Duration::from_millis(400);
/// After a lost connection the peer is dialled this much later, jittered.
const REDIAL: Duration = Duration::from_millis(20);
/// Connections are looked at no more often than this.
const CONNECT_AGAIN: Duration = Duration::from_millis(20);
/// The transport answers every dial; one that takes longer than this is taken for lost.
const DIAL_LOST: Duration = Duration::from_secs(30);
/// A connection younger than this is not closed for being one too many.
const LINK_YOUNG: Duration = Duration::from_secs(10);
/// Connections closed at once for being too many.
const CLOSED_AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_pair_exactly_one_dials_first_and_the_work_is_shared() {
        let peers: Vec<PkiId> = (0..100u8)
            .map(|n| {
                let mut bytes = [n; 32];
                bytes[1] = n.wrapping_mul(37);
                PkiId::from_bytes(bytes)
            })
            .collect();
        for a in &peers {
            let dialled = peers.iter().filter(|b| *b != a && dials_first(a, b)).count();
            assert!((20..80).contains(&dialled), "{dialled} of 99");
            for b in peers.iter().filter(|b| *b != a) {
                assert_ne!(dials_first(a, b), dials_first(b, a));
            }
        }
    }
}

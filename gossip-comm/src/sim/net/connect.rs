//! Connections: how they come about, and how they end.
//!
//! A connection is two [`Half`]s with one number. Each side drops its half when it learns of the end,
//! which may be long after the other.

use gossip_api::message::CloseReason;
use gossip_api::{Endpoint, Mono, PkiId, SignedMessage};

use super::bottleneck::Queues;
use super::exchange::Question;
use super::outbox::{Outbox, Parked};
use super::transit::Cargo;
use super::{DropCause, Net, NetTask, What};
use crate::bounds::DIALS_MAX;
use crate::comm::{Connected, DisconnectCause, Event, ResponseOutcome};
use crate::sim::link::nanos;

/// One side's view of a connection.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) conn: u64,
    /// Since when nothing can arrive.
    silent_since: Option<Mono>,
    /// The way to the other side.
    pub(super) queues: Queues,
    /// When the last message of each ordered stream arrives at the other side.
    pub(super) last: [Mono; 2],
    /// What waits at us because there is too much of it.
    pub(super) outbox: Option<Box<Outbox>>,
    /// What was sent to us and waits for the link to come back.
    pub(super) parked: Option<Box<Parked>>,
    /// When that comes, now that the link is back.
    pub(super) revives: Option<Mono>,
}

/// Where, and who must answer.
pub(super) type DialKey = (Endpoint, Option<PkiId>);

/// An attempt to connect.
#[derive(Debug)]
pub(super) struct Dial {
    serial: u64,
    waiting: Vec<Waiting>,
}

/// What is to be sent once there is a connection.
#[derive(Debug)]
pub(super) enum Waiting {
    Message(SignedMessage),
    Question(Question),
}

impl Net {
    pub(super) fn dial(
        &mut self,
        now: Mono,
        from: usize,
        endpoint: Endpoint,
        expect: Option<PkiId>,
        waiting: Option<Waiting>,
    ) {
        let answers = self.by_endpoint.get(&endpoint).copied();
        if let Some(other) = answers
            && self.is_connected(from, other)
            && self.is_expected(other, expect)
        {
            self.notify_connected(now, from, other, Some(endpoint));
            waiting.into_iter().for_each(|waiting| self.release(now, from, other, waiting));
            return;
        }
        let key = (endpoint, expect);
        if let Some(dial) = self.end_mut(from).dials.get_mut(&key) {
            dial.waiting.extend(waiting);
            return;
        }
        let end = self.end(from);
        if waiting.is_some() && end.backoff.holds(&key.0, now) {
            return self.abandon(now, from, waiting);
        }
        if end.dials.len() >= DIALS_MAX {
            if waiting.is_none() {
                let reason = "too many dials under way".to_owned();
                self.notify(now, from, Event::DialFailed { endpoint: key.0, reason });
            }
            return self.abandon(now, from, waiting);
        }
        let serial = self.next_serial();
        let dial = Dial { serial, waiting: waiting.into_iter().collect() };
        self.end_mut(from).dials.insert(key.clone(), dial);
        let over = now.after(self.timing.dial_for);
        self.later.push((over, NetTask::DialOver { at: from, key: key.clone(), serial }));
        self.try_handshake(now, from, key, serial, 0);
    }

    /// The handshake's round trip begins, if there is anybody at the endpoint.
    fn try_handshake(&mut self, now: Mono, at: usize, key: DialKey, serial: u64, attempt: u32) {
        let Some(other) = self.by_endpoint.get(&key.0).copied() else { return };
        let wire = self.wire_between(at, other);
        let one_way = self.base_latency(at, other, &wire);
        let mut trip = 2 * one_way + self.dice.up_to(2 * wire.jitter);
        if self.packets_lost(1, &wire) > 0 {
            trip += nanos(INITIAL_RETRY);
        }
        trip += self.resending(HANDSHAKE_PACKETS, one_way, &wire);
        let done = Mono::from_nanos(now.as_nanos().saturating_add(trip));
        self.later.push((done, NetTask::Handshake { at, key, serial, attempt }));
    }

    pub(super) fn handshake(
        &mut self,
        now: Mono,
        at: usize,
        key: &DialKey,
        serial: u64,
        attempt: u32,
    ) {
        let under_way = self.end(at).dials.get(key).is_some_and(|dial| dial.serial == serial);
        if !under_way {
            return;
        }
        let answers = self.by_endpoint.get(&key.0).copied();
        let Some(other) = answers.filter(|other| self.answers(at, *other)) else {
            // The first packet is repeated after 1 s, then after twice as long each time.
            let wait = INITIAL_RETRY * (1 << attempt.min(8));
            self.try_handshake(now.after(wait), at, key.clone(), serial, attempt + 1);
            return;
        };
        if other == at {
            self.dial_over(now, at, key, serial, "that is ourselves");
        } else if !self.admits(now, at, other) {
            self.dial_over(now, at, key, serial, "refused");
        } else if self.is_expected(other, key.1) {
            let dial = self.end_mut(at).dials.remove(key);
            self.end_mut(at).backoff.succeeded(&key.0);
            self.establish(now, at, other, key.0.clone());
            for waiting in dial.into_iter().flat_map(|dial| dial.waiting) {
                self.release(now, at, other, waiting);
            }
        } else {
            self.dial_over(now, at, key, serial, "somebody else answered");
        }
    }

    fn answers(&self, at: usize, other: usize) -> bool {
        let end = self.end(other);
        end.up && !end.paused && self.reaches(at, other) && self.reaches(other, at)
    }

    fn is_expected(&self, other: usize, expect: Option<PkiId>) -> bool {
        expect.is_none_or(|expected| expected == self.end(other).spec.pki_id)
    }

    pub(super) fn dial_over(
        &mut self,
        now: Mono,
        at: usize,
        key: &DialKey,
        serial: u64,
        reason: &str,
    ) {
        if self.end(at).dials.get(key).is_none_or(|dial| dial.serial != serial) {
            return;
        }
        let dial = self.end_mut(at).dials.remove(key);
        #[expect(clippy::cast_precision_loss, reason = "below 2^16")]
        let luck = self.dice.up_to(u64::from(u16::MAX)) as f64 / f64::from(u16::MAX);
        self.end_mut(at).backoff.failed(&key.0, reason, now, luck);
        self.abandon(now, at, dial.into_iter().flat_map(|dial| dial.waiting));
        let event = Event::DialFailed { endpoint: key.0.clone(), reason: reason.to_owned() };
        self.notify(now, at, event);
    }

    /// Drops what was to be sent over a connection that does not come about.
    fn abandon(&mut self, now: Mono, at: usize, waiting: impl IntoIterator<Item = Waiting>) {
        for waiting in waiting {
            self.drop_one(DropCause::DialFailed);
            if let Waiting::Question(question) = waiting {
                self.notify(now, at, question.ended(ResponseOutcome::Broken));
            }
        }
    }

    /// Both sides have proved who they are.
    fn establish(&mut self, now: Mono, dialler: usize, other: usize, endpoint: Endpoint) {
        if self.is_whole(dialler, other) {
            self.notify_connected(now, dialler, other, Some(endpoint));
            return;
        }
        let conn = self.next_serial();
        for (at, to) in [(dialler, other), (other, dialler)] {
            if self.end(at).halves.contains_key(&to) {
                self.break_exchanges(now, at, to);
            }
            let half = Half {
                conn,
                silent_since: None,
                queues: Queues::default(),
                last: [Mono::ZERO; 2],
                outbox: None,
                parked: None,
                revives: None,
            };
            if let Some(old) = self.end_mut(at).halves.insert(to, half) {
                self.drop_parked(&old);
            }
            self.watch_expiry(now, at, to, conn);
        }
        self.stats.connections += 1;
        self.record(now, dialler, other, What::Connected, 0);
        self.notify_connected(now, dialler, other, Some(endpoint));
        self.notify_connected(now, other, dialler, None);
        self.refresh(now, dialler, other);
        self.refresh(now, other, dialler);
    }

    fn notify_connected(&mut self, now: Mono, at: usize, other: usize, dialled: Option<Endpoint>) {
        let spec = &self.end(other).spec;
        let connected = Connected {
            peer: spec.pki_id,
            identity: spec.identity.clone(),
            org: spec.org.clone(),
            epoch: spec.epoch,
            dialled,
        };
        self.notify(now, at, Event::Connected(connected));
    }

    fn release(&mut self, now: Mono, from: usize, to: usize, waiting: Waiting) {
        match waiting {
            Waiting::Message(message) => {
                self.ship(now, from, to, Cargo::Message(message), Mono::ZERO);
            }
            Waiting::Question(question) => self.ask(now, from, to, question),
        }
    }

    /// Closes the connections that `from` has with this peer, telling both sides.
    pub(super) fn close(&mut self, now: Mono, from: usize, peer: &PkiId, reason: CloseReason) {
        while let Some(other) = self.neighbour(from, peer) {
            self.tell_closed(now, from, other, reason);
            self.forget(now, from, other);
            let cause = DisconnectCause::Local(reason);
            self.notify(now, from, Event::Disconnected { peer: *peer, cause });
        }
    }

    /// Closes everything that `peer` has, without telling its own machine.
    pub(super) fn close_all(&mut self, now: Mono, peer: usize) {
        let others: Vec<usize> = self.end(peer).halves.keys().copied().collect();
        for other in others {
            self.tell_closed(now, peer, other, CloseReason::Done);
        }
    }

    fn tell_closed(&mut self, now: Mono, from: usize, other: usize, reason: CloseReason) {
        let Some(conn) = self.end(from).halves.get(&other).map(|half| half.conn) else { return };
        if self.reaches(from, other) {
            let wire = self.wire_between(from, other);
            let at = now.as_nanos().saturating_add(self.base_latency(from, other, &wire));
            let task = NetTask::Closed { at: other, other: from, conn, reason: Some(reason) };
            self.later.push((Mono::from_nanos(at), task));
        }
    }

    /// `at` got something over a connection that it does not know, and says so.
    pub(super) fn reset(&mut self, now: Mono, at: usize, other: usize, conn: u64) {
        if self.reaches(at, other) {
            let wire = self.wire_between(at, other);
            let when = now.as_nanos().saturating_add(self.base_latency(at, other, &wire));
            let task = NetTask::Closed { at: other, other: at, conn, reason: None };
            self.later.push((Mono::from_nanos(when), task));
        }
    }

    pub(super) fn closed(
        &mut self,
        now: Mono,
        at: usize,
        other: usize,
        conn: u64,
        reason: Option<CloseReason>,
    ) -> Option<(usize, Event)> {
        let cause = reason.map_or(DisconnectCause::Broken, DisconnectCause::Remote);
        self.disconnect(now, at, other, conn, cause)
    }

    pub(super) fn idle(
        &mut self,
        now: Mono,
        at: usize,
        other: usize,
        conn: u64,
        since: Mono,
    ) -> Option<(usize, Event)> {
        let half = self.end(at).halves.get(&other)?;
        if half.silent_since != Some(since) {
            return None;
        }
        self.disconnect(now, at, other, conn, DisconnectCause::Silent)
    }

    fn disconnect(
        &mut self,
        now: Mono,
        at: usize,
        other: usize,
        conn: u64,
        cause: DisconnectCause,
    ) -> Option<(usize, Event)> {
        if self.end(at).halves.get(&other).is_none_or(|half| half.conn != conn) {
            return None;
        }
        self.forget(now, at, other);
        let peer = self.end(other).spec.pki_id;
        Some((at, Event::Disconnected { peer, cause }))
    }

    /// Drops `at`'s half; the other side hears nothing more.
    fn forget(&mut self, now: Mono, at: usize, other: usize) {
        self.break_exchanges(now, at, other);
        if let Some(half) = self.end_mut(at).halves.remove(&other) {
            self.drop_parked(&half);
        }
        self.record(now, at, other, What::Disconnected, 0);
        self.refresh(now, other, at);
    }

    fn drop_parked(&mut self, half: &Half) {
        let parked = half.parked.as_ref().map_or(0, |parked| parked.parcels.len());
        (0..parked).for_each(|_| self.drop_one(DropCause::ConnectionGone));
    }

    /// Whether both sides have the same connection.
    fn is_whole(&self, a: usize, b: usize) -> bool {
        let ours = self.end(a).halves.get(&b).map(|half| half.conn);
        let theirs = self.end(b).halves.get(&a).map(|half| half.conn);
        ours.is_some() && ours == theirs
    }

    /// Works out anew whether `at` hears `other`.
    pub(in crate::sim) fn refresh(&mut self, now: Mono, at: usize, other: usize) {
        let talks = {
            let end = self.end(other);
            end.up && !end.paused && self.reaches(other, at) && self.is_whole(at, other)
        };
        let idle_after = self.timing.idle_after;
        let Some(half) = self.end_mut(at).halves.get_mut(&other) else { return };
        match (talks, half.silent_since) {
            (true, Some(since)) => {
                half.silent_since = None;
                self.await_revival(now, at, other, since);
            }
            (false, None) => {
                half.silent_since = Some(now);
                half.revives = None;
                let task = NetTask::Idle { at, other, conn: half.conn, since: now };
                self.later.push((now.after(idle_after), task));
            }
            (true, None) | (false, Some(_)) => {}
        }
    }

    /// The same for everybody who may be connected to `peer`, both ways.
    pub(super) fn refresh_around(&mut self, now: Mono, peer: usize) {
        for other in 0..self.ends.len() {
            self.refresh(now, other, peer);
            self.refresh(now, peer, other);
        }
    }

    /// The same for everybody.
    pub(in crate::sim) fn refresh_all(&mut self, now: Mono) {
        for at in 0..self.ends.len() {
            let others: Vec<usize> = self.end(at).halves.keys().copied().collect();
            others.into_iter().for_each(|other| self.refresh(now, at, other));
        }
    }
}

/// Packets of the handshake after the first, with the certificates.
const HANDSHAKE_PACKETS: usize = 5;

/// When the first packet is sent again: no round trip is measured yet (RFC 9002, 6.2.2), so about 1 s.
const INITIAL_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

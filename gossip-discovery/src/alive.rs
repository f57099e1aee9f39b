//! Beats and records: ours sent, others' relayed.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::time::Duration;

use gossip_api::message::{Beat, Beats, Message, Record, ShortId};
use gossip_api::{Bounded, MessageHeader, Mono, PkiId, Verified, select_peers};
use rand_core::Rng;

use crate::disclose::{Subject, may_tell};
use crate::discovery::{Action, Discovery, MembershipEvent};
use crate::error::DropReason;
use crate::limit::Rate;
use crate::member::Status;
use crate::row::Row;
use crate::timers::Deadline;

/// Who is to hear which beats.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Members whose newest beat is not relayed yet.
    pub(crate) fresh: Vec<ShortId>,
    /// Our own, likewise.
    own: Option<Beat>,
    /// Neighbours that we chose to exchange beats with.
    pub(crate) chosen: BTreeSet<PkiId>,
    last: Option<Mono>,
    /// New beats of others since our own last one: about one of each live member is to be expected.
    heard: usize,
}

impl Relay {
    /// The next beats do not wait for their interval.
    pub(crate) fn hurry(&mut self) {
        self.last = None;
    }
}

/// A beat to be relayed, with what decides who is to hear it.
#[derive(Clone, Debug)]
struct Fresh<'a> {
    beat: Beat,
    subject: Subject<'a>,
    /// Whose beat; nothing if it is ours.
    row: Option<&'a Row>,
}

impl Fresh<'_> {
    /// Whether the neighbour at the other end of this connection has it already.
    fn is_known_to(&self, link: u32, peer: ShortId) -> bool {
        self.row.is_some_and(|row| row.was_told_by(link) || row.short == peer)
    }
}

/// What became of a beat.
enum Heard {
    /// It is its member's newest, and the member was in this state.
    Newer(Status),
    /// Known already.
    Stale,
    /// We lack its member, or its member's present record.
    Unknown,
    /// No link of its chain.
    Forged,
}

impl Discovery {
    /// Asks the host to sign our record, if something changed.
    pub(crate) fn sign(&mut self, now: Mono) {
        if let Some(record) = self.own.record_due(now, &mut self.rng) {
            self.counters.signed = self.counters.signed.saturating_add(1);
            self.out.push(Action::Sign(record));
        }
    }

    pub(crate) fn on_signed(&mut self, now: Mono, record: Verified<Record>) {
        let Some(message) = self.own.signed(record) else { return };
        for peer in self.beat_neighbours(now) {
            if self.may_tell(self.own.subject(), &peer) {
                self.forward(peer, message.clone());
            }
        }
        self.ask_who_waited(now);
        self.timers.at_latest(Deadline::Beat, now);
    }

    /// Has our beats sent from now on, if they are not.
    pub(crate) fn start_beating(&mut self, now: Mono) {
        if self.timers.get(Deadline::Beat).is_none() {
            self.timers.set(Deadline::Beat, now);
        }
    }

    /// Sends our next beat, if there is anybody to hear it.
    // fabric: gossip/discovery/discovery_impl.go periodicalSendAlive
    // fabric-differs: a beat is a preimage, not a signature; nothing is signed before there is a neighbour.
    pub(crate) fn beat(&mut self, now: Mono) {
        if self.connections.links.is_empty() {
            return;
        }
        self.sign(now);
        let every = self.beat_wait(now);
        // Peers that were started together do not beat in step.
        let phase = Duration::from_nanos(self.rng.next_u64() % 1_000_000_000);
        let first = self.own.progress() == 0;
        let wait = if first { every.mul_f64(phase.as_secs_f64()) } else { every };
        self.timers.set(Deadline::Beat, now.after(wait));
        self.check_supply(now);
        if let Some(beat) = self.own.next_beat() {
            self.relay.own = Some(beat);
            self.schedule_relay(now);
        }
        self.sign(now);
    }

    /// How long until our next beat. A newcomer's come quickly at first: where not everybody is connected to
    /// everybody, proofs of life are asked for along the ways of beats.
    fn beat_wait(&self, now: Mono) -> Duration {
        let new = self.exchange.started.is_some_and(|at| now.since(at) < QUICK_BEATS_FOR);
        if new { self.config.beat_every / QUICK_BEATS } else { self.config.beat_every }
    }

    /// Whoever hears of few members while all of them live has the wrong neighbours: others are chosen, and
    /// one is asked for what was missed, before anybody is accused of being late.
    fn check_supply(&mut self, now: Mono) {
        let heard = std::mem::take(&mut self.relay.heard);
        let live = self.view.live();
        if live < SUPPLY_LIVE || heard.saturating_mul(2) >= live {
            return;
        }
        self.counters.starved = self.counters.starved.saturating_add(1);
        self.relay.chosen.clear();
        let pool: Vec<PkiId> = self.connections.links.keys().copied().collect();
        for peer in select_peers(&mut self.rng, 1, &pool, |_| true) {
            self.ask_soon(now, peer);
        }
    }

    pub(crate) fn on_beats(&mut self, now: Mono, from: PkiId, beats: &[Beat]) {
        let Some(link) = self.connections.links.get_mut(&from) else { return };
        if !link.beat_frames.take(now, BEAT_FRAMES, 1) {
            return self.refuse(from, DropReason::TooMany);
        }
        link.beats_from = Some(now);
        let link = link.serial;
        let mut unknown = false;
        let mut place = 0;
        for beat in beats {
            match self.hear(now, link, beat, &mut place) {
                Heard::Newer(status) => self.react(now, beat.member, status),
                Heard::Stale => {}
                Heard::Unknown => unknown = true,
                // Whoever relays has verified: the rest of the frame is not worth hashing.
                Heard::Forged => {
                    self.refuse(from, DropReason::ForgedBeat);
                    break;
                }
            }
        }
        if unknown {
            self.ask_on_hint(now, from);
        }
        if !self.relay.fresh.is_empty() {
            self.schedule_relay(now);
        }
    }

    /// Takes one beat in that came over connection `link`, 0 for none. `place` is where the one before it was
    /// found: frames are in order.
    fn hear(&mut self, now: Mono, link: u32, beat: &Beat, place: &mut usize) -> Heard {
        if beat.member == self.own.short() {
            return if beat.epoch > self.own.me.epoch { Heard::Unknown } else { Heard::Stale };
        }
        let late_at = now.after(self.late_after());
        let Some(row) = self.view.row_mut(&beat.member, place) else { return Heard::Unknown };
        match beat.epoch.cmp(&row.epoch) {
            Ordering::Less => return Heard::Stale,
            Ordering::Equal => {}
            Ordering::Greater => return Heard::Unknown,
        }
        if beat.sequence < row.progress {
            if beat.sequence.checked_add(1) == Some(row.progress) {
                row.told_by(link);
            }
            return Heard::Stale;
        }
        match row.place_in_chain(beat.sequence) {
            Ordering::Less => return Heard::Stale,
            Ordering::Equal => {}
            Ordering::Greater => return Heard::Unknown,
        }
        self.counters.beats_hashed = self.counters.beats_hashed.saturating_add(1);
        if !row.accepts(beat) {
            return Heard::Forged;
        }
        row.advance(beat, link);
        if row.status == Status::Alive {
            row.due = late_at;
        }
        if !std::mem::replace(&mut row.fresh, true) {
            self.relay.fresh.push(beat.member);
        }
        self.relay.heard += 1;
        Heard::Newer(row.status)
    }

    /// How long a member may be silent. Where beats come over several hops, the next may come over more.
    pub(crate) fn late_after(&self) -> Duration {
        let way = if self.is_meshed() { 0 } else { HOPS_MORE };
        self.config.late_after + self.config.relay_every.saturating_mul(way)
    }

    /// What a newer beat means for a member that is not simply alive.
    fn react(&mut self, now: Mono, short: ShortId, status: Status) {
        match status {
            Status::Alive => {}
            Status::Known => self.ask_first(now, short),
            // It lived when it disclosed the beat: it gets the time to prove that it still does.
            Status::Suspect => self.restart_probe(now, short),
            Status::Dead { .. } => self.revive(now, short),
        }
    }

    /// A beat that came inside an entry or an answer.
    pub(crate) fn hear_one(&mut self, now: Mono, from: PkiId, beat: &Beat) {
        let link = self.connections.links.get(&from).map_or(0, |link| link.serial);
        match self.hear(now, link, beat, &mut 0) {
            Heard::Newer(status) => {
                self.react(now, beat.member, status);
                self.schedule_relay(now);
            }
            Heard::Stale | Heard::Unknown => {}
            Heard::Forged => self.refuse(from, DropReason::ForgedBeat),
        }
    }

    /// A record that was passed on: verified by its member's signature.
    pub(crate) fn on_record(&mut self, now: Mono, from: PkiId, message: Verified<Message>) {
        let (Message::Record(record), Some(sealed)) = (
            message.message().clone(),
            gossip_api::message::SealedRecord::from_envelope(message.envelope()),
        ) else {
            return self.refuse(from, DropReason::Malformed);
        };
        let short = ShortId::of(&record.pki_id);
        if record.pki_id == self.own.me.pki_id {
            return self.on_self_heard(now, &record);
        }
        if let Err(reason) = self.judge(&record) {
            return self.refuse(from, reason);
        }
        let entry_len = crate::sync::entry_len_of(&message);
        let changed = self.view.change(&short, |member| {
            member.entry_len = entry_len + member.identity.as_bytes().len();
            member.sealed = sealed;
            member.via = Some(from);
        });
        if changed.is_none() {
            return self.refuse(from, DropReason::Stale);
        }
        self.replace_record(short, record);
        for peer in self.beat_neighbours(now) {
            let told = self.view.row(&short).map(Row::subject);
            if peer != from && told.is_some_and(|subject| self.may_tell(subject, &peer)) {
                self.forward(peer, message.clone());
            }
        }
    }

    /// Puts a newer record in the place of a member's former one.
    pub(crate) fn replace_record(&mut self, short: ShortId, record: Record) {
        let changed = self.view.change(&short, |member| {
            if member.secret.as_ref().is_some_and(|secret| !secret.belongs_to(&record)) {
                member.secret = None;
            }
            member.record = record;
            member.status.is_live().then(|| member.network_member())
        });
        if let Some(member) = changed.flatten() {
            self.notify(MembershipEvent::Changed(member));
        }
    }

    /// Whether a record's header promises news of a member whose identity we have.
    pub(crate) fn is_newer(&self, header: &MessageHeader) -> bool {
        let (Some(originator), Some(epoch)) = (header.originator, header.epoch) else {
            return false;
        };
        if originator == self.own.me.pki_id {
            return epoch > self.own.me.epoch;
        }
        let known = self.view.find(&originator);
        known.is_some_and(|row| (epoch, header.sequence) > (row.epoch, u64::from(row.version)))
    }

    /// Beats are relayed at once after a quiet time, else once per interval.
    pub(crate) fn schedule_relay(&mut self, now: Mono) {
        let due = self.relay.last.map_or(now, |last| last.after(self.config.relay_every).max(now));
        self.timers.at_latest(Deadline::Relay, due);
    }

    /// One frame of new beats to every neighbour with whom beats are exchanged.
    // fabric: gossip/discovery/discovery_impl.go handleAliveMessage
    pub(crate) fn relay_beats(&mut self, now: Mono) {
        let mut shorts = std::mem::take(&mut self.relay.fresh);
        let own = self.relay.own.take();
        if shorts.is_empty() && own.is_none() {
            return;
        }
        self.relay.last = Some(now);
        // In order, so that the receiver finds one beside the other.
        shorts.sort_unstable();
        let neighbours = self.beat_neighbours(now);
        let mut frames: Vec<(PkiId, Message)> = Vec::new();
        let fresh = self.fresh_beats(&shorts, own.as_ref());
        for peer in neighbours {
            let Some(link) = self.connections.links.get(&peer).map(|link| link.serial) else {
                continue;
            };
            let Some(listener) = self.listener(&peer) else { continue };
            let short = ShortId::of(&peer);
            let told = fresh.iter().filter(|fresh| {
                !fresh.is_known_to(link, short) && may_tell(fresh.subject, listener)
            });
            let mut told = told.map(|fresh| fresh.beat.clone()).peekable();
            while told.peek().is_some() {
                let beats = Bounded::truncated(told.by_ref().take(BEATS_PER_FRAME));
                frames.push((peer, Message::Beats(Beats { beats })));
            }
        }
        for (peer, frame) in frames {
            self.send(peer, frame);
        }
        let mut place = 0;
        for short in shorts {
            if let Some(row) = self.view.row_mut(&short, &mut place) {
                row.fresh = false;
            }
        }
    }

    /// The newest beats of these members, and ours.
    fn fresh_beats(&self, shorts: &[ShortId], own: Option<&Beat>) -> Vec<Fresh<'_>> {
        let own = own.cloned();
        let own = own.map(|beat| Fresh { beat, subject: self.own.subject(), row: None });
        let mut place = 0;
        let rows = shorts.iter().filter_map(|short| self.view.row_after(short, &mut place));
        let others = rows.filter_map(|row| {
            Some(Fresh { beat: row.beat()?, subject: row.subject(), row: Some(row) })
        });
        let mut fresh: Vec<Fresh<'_>> = others.chain(own).collect();
        fresh.sort_unstable_by_key(|fresh| fresh.beat.member);
        fresh
    }

    /// Keeps the neighbours we chose a uniform sample of all: else everybody would stay with whom it met
    /// first, which is the bootstrap peer.
    pub(crate) fn consider_for_beats(&mut self, peer: PkiId) {
        let links = u64::try_from(self.connections.links.len()).unwrap_or(u64::MAX).max(1);
        let drawn = usize::try_from(self.rng.next_u64() % links).unwrap_or(usize::MAX);
        let full = self.relay.chosen.len() >= self.config.relay_to;
        if full && drawn < self.relay.chosen.len() && !self.relay.chosen.contains(&peer) {
            let replaced = self.relay.chosen.iter().nth(drawn).copied();
            replaced.map(|replaced| self.relay.chosen.remove(&replaced));
            self.relay.chosen.insert(peer);
        }
    }

    /// With whom beats are exchanged: a few that we chose, and those who chose us. The relation is
    /// symmetric, so that a flood over it reaches everybody, and each edge carries a beat once or twice.
    pub(crate) fn beat_neighbours(&mut self, now: Mono) -> Vec<PkiId> {
        let links = &self.connections.links;
        let silent = |peer: &PkiId| {
            links.get(peer).is_none_or(|link| {
                let since = link.beats_from.unwrap_or(link.since);
                now.since(since) > self.config.beat_every.saturating_mul(SILENT_BEATS)
            })
        };
        self.relay.chosen.retain(|peer| !silent(peer));
        let missing = self.config.relay_to.saturating_sub(self.relay.chosen.len());
        if missing > 0 {
            let pool: Vec<PkiId> =
                links.keys().filter(|peer| !self.relay.chosen.contains(*peer)).copied().collect();
            // A neighbour that keeps what it hears to itself is replaced by another, if there is one.
            let mut drawn = select_peers(&mut self.rng, missing, &pool, |peer| !silent(peer));
            if drawn.len() < missing {
                let rest = missing - drawn.len();
                drawn.extend(select_peers(&mut self.rng, rest, &pool, silent));
            }
            self.relay.chosen.extend(drawn);
        }
        let recent = self.config.beat_every.saturating_mul(SILENT_BEATS);
        let chose_us = links.iter().filter(|(peer, link)| {
            let heard = link.beats_from.is_some_and(|at| now.since(at) <= recent);
            heard && !self.relay.chosen.contains(*peer)
        });
        let mut peers: Vec<PkiId> =
            chose_us.map(|(peer, _)| *peer).take(self.config.relay_to * CHOSE_US_MAX).collect();
        peers.extend(self.relay.chosen.iter().copied());
        peers
    }
}

/// How many times as often a newcomer beats, and for how long.
const QUICK_BEATS: u32 = 4;
const QUICK_BEATS_FOR: Duration = Duration::from_secs(3);
/// With fewer live members than this, hearing of few proves nothing.
const SUPPLY_LIVE: usize = 8;
/// Hops by which the ways of two beats of a member differ in a large network.
const HOPS_MORE: u32 = 6;
/// Frames of beats that one neighbour may send: five a second are usual.
const BEAT_FRAMES: Rate = Rate { per_second: 20, burst: 60 };
/// Beats in one frame; the message's own bound.
const BEATS_PER_FRAME: usize = 1024;
/// A neighbour that sent no beats for this many intervals is none to exchange them with.
const SILENT_BEATS: u32 = 3;
/// Of those who chose us, at most this many times as many as we choose are answered.
const CHOSE_US_MAX: usize = 4;

//! Beats and records: ours sent, others' relayed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gossip_api::message::{Beat, Beats, Message, Record, ShortId};
use gossip_api::{Bounded, MessageHeader, Mono, OrgId, PkiId, Verified, select_peers};
use rand_core::Rng;

use crate::disclose::{Listener, Subject, may_tell};
use crate::discovery::{Action, Discovery, MembershipEvent};
use crate::error::DropReason;
use crate::limit::Rate;
use crate::timers::Deadline;
use crate::view::Status;

/// Who is to hear which beats.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// Members' newest beats, not relayed yet.
    pub(crate) fresh: BTreeMap<ShortId, Fresh>,
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

/// A beat to be relayed, with what decides who may hear it.
#[derive(Debug)]
pub(crate) struct Fresh {
    beat: Beat,
    /// The neighbour that it came from.
    source: PkiId,
    member: PkiId,
    org: OrgId,
    external: bool,
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
        let every = self.config.beat_every;
        // Peers that were started together do not beat in step.
        let phase = Duration::from_nanos(self.rng.next_u64() % 1_000_000_000);
        let first = self.own.progress() == 0;
        let wait = if first { every.mul_f64(phase.as_secs_f64()) } else { every };
        self.timers.set(Deadline::Beat, now.after(wait));
        self.check_supply(now);
        if let Some(beat) = self.own.next_beat() {
            let external = self.own.me.external_endpoint.is_some();
            let (member, org) = (self.own.me.pki_id, self.own.me.org.clone());
            let fresh = Fresh { beat, source: member, member, org, external };
            self.relay.fresh.insert(self.own.short(), fresh);
            self.schedule_relay(now);
        }
        self.sign(now);
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
        let mut unknown = false;
        for beat in beats {
            match self.hear(now, from, beat) {
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

    /// Takes one beat in.
    fn hear(&mut self, now: Mono, from: PkiId, beat: &Beat) -> Heard {
        if beat.member == self.own.short() {
            return if beat.epoch > self.own.me.epoch { Heard::Unknown } else { Heard::Stale };
        }
        let Some(member) = self.view.get_mut(&beat.member) else { return Heard::Unknown };
        let record = &member.record;
        if beat.epoch < record.epoch
            || (beat.epoch == record.epoch && beat.sequence < member.progress())
        {
            return Heard::Stale;
        }
        let end = record.first_beat.saturating_add(u64::from(record.chain_len));
        if beat.epoch > record.epoch || beat.sequence >= end {
            return Heard::Unknown;
        }
        if beat.sequence < record.first_beat {
            return Heard::Stale;
        }
        self.counters.beats_hashed = self.counters.beats_hashed.saturating_add(1);
        if !record.accepts(beat, member.newest()) {
            return Heard::Forged;
        }
        member.beat = Some(beat.clone());
        member.via = Some(from);
        if member.status == Status::Alive {
            member.heard = now;
        }
        let fresh = Fresh {
            beat: beat.clone(),
            source: from,
            member: member.pki_id(),
            org: member.org.clone(),
            external: member.record.endpoint.is_some(),
        };
        self.relay.fresh.insert(beat.member, fresh);
        self.relay.heard += 1;
        Heard::Newer(member.status)
    }

    /// What a newer beat means for a member that is not simply alive.
    fn react(&mut self, now: Mono, short: ShortId, status: Status) {
        match status {
            Status::Alive | Status::Known => {}
            // It lived when it disclosed the beat: it gets the time to prove that it still does.
            Status::Suspect => self.restart_probe(now, short),
            Status::Dead { .. } => self.revive(now, short),
        }
    }

    /// A beat that came inside an entry or an answer.
    pub(crate) fn hear_one(&mut self, now: Mono, from: PkiId, beat: &Beat) {
        match self.hear(now, from, beat) {
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
        let Some(member) = self.view.get_mut(&short) else {
            return self.refuse(from, DropReason::Stale);
        };
        member.entry_len = entry_len + member.identity.as_bytes().len();
        member.sealed = sealed;
        member.via = Some(from);
        self.replace_record(short, record);
        for peer in self.beat_neighbours(now) {
            let told = self.view.get(&short).map(crate::view::Member::subject);
            if peer != from && told.is_some_and(|subject| self.may_tell(subject, &peer)) {
                self.forward(peer, message.clone());
            }
        }
    }

    /// Puts a newer record in the place of a member's former one.
    pub(crate) fn replace_record(&mut self, short: ShortId, record: Record) {
        let Some(member) = self.view.get_mut(&short) else { return };
        if member.secret.as_ref().is_some_and(|secret| !secret.belongs_to(&record)) {
            member.secret = None;
        }
        if member.record.epoch != record.epoch {
            member.beat = None;
        }
        member.record = record;
        if member.status.is_live() {
            let changed = member.network_member();
            self.notify(MembershipEvent::Changed(changed));
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
        self.view.find(&originator).is_some_and(|member| {
            (epoch, header.sequence) > (member.record.epoch, u64::from(member.record.version))
        })
    }

    /// Beats are relayed at once after a quiet time, else once per interval.
    pub(crate) fn schedule_relay(&mut self, now: Mono) {
        let due = self.relay.last.map_or(now, |last| last.after(self.config.relay_every).max(now));
        self.timers.at_latest(Deadline::Relay, due);
    }

    /// One frame of new beats to every neighbour with whom beats are exchanged.
    // fabric: gossip/discovery/discovery_impl.go handleAliveMessage
    pub(crate) fn relay_beats(&mut self, now: Mono) {
        let fresh = std::mem::take(&mut self.relay.fresh);
        if fresh.is_empty() {
            return;
        }
        self.relay.last = Some(now);
        for peer in self.beat_neighbours(now) {
            let Some(told) = self.told_of(&peer) else { continue };
            let beats: Vec<&Beat> = fresh
                .values()
                .filter(|fresh| fresh.source != peer && fresh.member != peer && told(fresh))
                .map(|fresh| &fresh.beat)
                .collect();
            for frame in beats.chunks(BEATS_PER_FRAME) {
                let beats = Bounded::truncated(frame.iter().copied().cloned());
                self.send(peer, Message::Beats(Beats { beats }));
            }
        }
    }

    /// Whether a neighbour may hear a beat; nothing if it may hear none.
    fn told_of(&self, peer: &PkiId) -> Option<impl Fn(&Fresh) -> bool + use<>> {
        let org = self.connections.links.get(peer)?.org.clone()?;
        let external = self.view.find(peer).is_some_and(|m| m.record.endpoint.is_some());
        let own = self.own.me.org.clone();
        Some(move |fresh: &Fresh| {
            let subject = Subject { org: &fresh.org, external: fresh.external };
            may_tell(&own, subject, Listener { org: &org, external })
        })
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

/// With fewer live members than this, hearing of few proves nothing.
const SUPPLY_LIVE: usize = 8;
/// Frames of beats that one neighbour may send: five a second are usual.
const BEAT_FRAMES: Rate = Rate { per_second: 20, burst: 60 };
/// Beats in one frame; the message's own bound.
const BEATS_PER_FRAME: usize = 1024;
/// A neighbour that sent no beats for this many intervals is none to exchange them with.
const SILENT_BEATS: u32 = 3;
/// Of those who chose us, at most this many times as many as we choose are answered.
const CHOSE_US_MAX: usize = 4;

//! Proof of life instead of rumours of death.
//!
//! A probe carries a nonce to its target: over our connection to it, or along the way that its beats
//! take to us, or through a few others. Only the target can sign the nonce. A helper signs one as well,
//! so that silence of the target can be told from silence around us.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use gossip_api::message::{Ask, Message, Probe, ProofOfLife, ShortId};
use gossip_api::{Bounded, MessageHeader, Mono, Nonce, PkiId, Verified, select_peers};
use rand_core::Rng;

use crate::discovery::{Action, Discovery};
use crate::error::DropReason;
use crate::limit::Rate;
use crate::timers::Deadline;
use crate::view::{Member, Status};

/// How far a probe has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Direct,
    Through,
}

/// A probe of one member.
#[derive(Debug)]
struct Running {
    stage: Stage,
    until: Mono,
    nonces: Vec<Nonce>,
}

/// A question that we passed on.
#[derive(Debug)]
struct Route {
    target: ShortId,
    from: PkiId,
}

/// Questions: ours, those passed on, and those that we have to answer.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    running: BTreeMap<ShortId, Running>,
    /// Our nonces: whose signature they wait for.
    nonces: BTreeMap<Nonce, ShortId>,
    routes: BTreeMap<Nonce, Route>,
    /// Nonces passed on, oldest first.
    routed: VecDeque<(Mono, Nonce)>,
    /// How many nonces wait for whose signature, ours and others'.
    awaited: BTreeMap<ShortId, u32>,
    /// Nonces that wait for our signature, and since when, by who brought them.
    unsigned: BTreeMap<PkiId, VecDeque<(Nonce, Mono)>>,
    /// Nonces that the host is signing.
    signing: BTreeMap<Nonce, (PkiId, Mono)>,
    last_proof: Option<Mono>,
    /// Nobody becomes late, and nobody is to be asked for a first proof, before this.
    look_at: Mono,
    /// Questions to be sent, by neighbour.
    outbox: BTreeMap<PkiId, Vec<Ask>>,
}

impl Probes {
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Questions held for others.
    pub(crate) fn routes_len(&self) -> usize {
        self.routes.len()
    }

    pub(crate) fn unsigned_len(&self) -> usize {
        self.unsigned.values().map(VecDeque::len).sum()
    }

    /// Drops what aged.
    pub(crate) fn prune(&mut self, now: Mono) {
        while let Some((at, nonce)) = self.routed.front().copied()
            && (now.since(at) >= ROUTE_KEPT || !self.routes.contains_key(&nonce))
        {
            self.routed.pop_front();
            self.take_route(&nonce);
        }
        self.signing.retain(|_, (_, at)| now.since(*at) < ROUTE_KEPT);
    }

    /// Keeps the list of nonces in the order of their age from outgrowing the nonces themselves.
    fn forget_answered(&mut self) {
        if self.routed.len() >= 2 * ROUTES_MAX {
            let routes = &self.routes;
            self.routed.retain(|(_, nonce)| routes.contains_key(nonce));
        }
    }

    fn take_route(&mut self, nonce: &Nonce) -> Option<Route> {
        let route = self.routes.remove(nonce)?;
        self.no_longer_awaited(route.target);
        Some(route)
    }

    fn take_nonce(&mut self, nonce: &Nonce) -> Option<ShortId> {
        let target = self.nonces.remove(nonce)?;
        self.no_longer_awaited(target);
        Some(target)
    }

    fn no_longer_awaited(&mut self, target: ShortId) {
        if let Some(count) = self.awaited.get_mut(&target) {
            *count -= 1;
            if *count == 0 {
                self.awaited.remove(&target);
            }
        }
    }
}

impl Discovery {
    /// Asks a member for a proof of life, unless it is being asked.
    pub(crate) fn begin_probe(&mut self, now: Mono, short: ShortId) {
        if self.probes.running.contains_key(&short) {
            return;
        }
        let until = now.after(self.health.stretch(self.config.probe_wait));
        self.probes
            .running
            .insert(short, Running { stage: Stage::Direct, until, nonces: Vec::new() });
        self.timers.at_latest(Deadline::Probe, until);
        if let Some(hop) = self.view.get(&short).and_then(|member| self.next_hop(member, None)) {
            self.put_question(now, short, short, hop);
        }
    }

    /// Begins anew: what was asked before no longer counts against the member.
    pub(crate) fn restart_probe(&mut self, now: Mono, short: ShortId) {
        self.cancel_probe(&short);
        self.begin_probe(now, short);
    }

    pub(crate) fn restart_probes(&mut self, now: Mono) {
        let all: Vec<ShortId> = self.probes.running.keys().copied().collect();
        for short in all {
            self.restart_probe(now, short);
        }
    }

    pub(crate) fn cancel_probe(&mut self, short: &ShortId) {
        let Some(running) = self.probes.running.remove(short) else { return };
        for nonce in running.nonces {
            self.probes.take_nonce(&nonce);
        }
    }

    /// A member that should have been heard: it is asked, and dialled if need be.
    pub(crate) fn suspect(&mut self, now: Mono, short: ShortId) {
        self.counters.suspected = self.counters.suspected.saturating_add(1);
        self.view.set_status(&short, Status::Suspect);
        self.begin_probe(now, short);
    }

    /// Looks for members that are late, and for those known by hearsay alone.
    pub(crate) fn find_late(&mut self, now: Mono) {
        if self.probes.look_at > now {
            return;
        }
        let mut look_at = now.after(self.config.late_after);
        let mut late = Vec::new();
        let mut unproved = Vec::new();
        for (short, member) in self.view.iter() {
            match member.status {
                Status::Alive => {
                    let due = self.health.silent_since(member.heard).after(self.config.late_after);
                    if due <= now {
                        late.push(*short);
                    } else {
                        look_at = look_at.min(due);
                    }
                }
                Status::Known => {
                    let due = member.proof_after;
                    if due <= now && unproved.len() < PROOFS_AT_ONCE {
                        unproved.push(*short);
                    } else {
                        look_at = look_at.min(due);
                    }
                }
                Status::Suspect | Status::Dead { .. } => {}
            }
        }
        // Whoever is heard meanwhile is due later, so that nobody is due before this.
        self.probes.look_at = look_at;
        for short in late {
            self.suspect(now, short);
        }
        for short in unproved {
            self.begin_probe(now, short);
        }
    }

    /// Takes probes that have waited long enough to their next stage.
    pub(crate) fn advance_probes(&mut self, now: Mono) {
        let running = self.probes.running.iter();
        let due: Vec<(ShortId, Stage)> = running
            .filter(|(_, running)| running.until <= now)
            .map(|(short, running)| (*short, running.stage))
            .collect();
        for (short, stage) in due {
            let status = self.view.get(&short).map(|member| member.status);
            match (stage, status) {
                (_, None | Some(Status::Alive | Status::Dead { .. })) => self.cancel_probe(&short),
                (_, Some(Status::Known)) => self.not_proved(now, short),
                (Stage::Direct, Some(Status::Suspect)) => self.probe_through(now, short),
                (Stage::Through, Some(Status::Suspect)) => self.conclude(now, short),
            }
        }
        if let Some(next) = self.probes.running.values().map(|running| running.until).min() {
            self.timers.at_latest(Deadline::Probe, next);
        }
    }

    /// Asks through others; each of them is to prove that it heard us, too.
    fn probe_through(&mut self, now: Mono, short: ShortId) {
        let helpers = self.helpers(&short);
        let chosen = select_peers(&mut self.rng, self.config.probe_helpers, &helpers, |_| true);
        let until = now.after(self.health.stretch(self.config.probe_through_wait));
        let Some(running) = self.probes.running.get_mut(&short) else { return };
        running.stage = Stage::Through;
        running.until = until;
        if chosen.is_empty() {
            return self.conclude(now, short);
        }
        for helper in chosen {
            self.put_question(now, short, short, helper);
            self.put_question(now, short, ShortId::of(&helper), helper);
        }
    }

    /// Live neighbours, `short` itself not among them.
    fn helpers(&self, short: &ShortId) -> Vec<PkiId> {
        let links = self.connections.links.keys();
        links
            .filter(|peer| {
                let alive = self.view.find(peer).is_some_and(|m| m.status == Status::Alive);
                alive && ShortId::of(peer) != *short
            })
            .copied()
            .collect()
    }

    /// Neither we nor anybody else brought a proof.
    fn conclude(&mut self, now: Mono, short: ShortId) {
        let helpers = self.helpers(&short).len();
        if self.health.may_evict(now, helpers) {
            return self.mark_dead(now, short);
        }
        self.counters.evictions_delayed = self.counters.evictions_delayed.saturating_add(1);
        self.cancel_probe(&short);
        self.begin_probe(now, short);
    }

    /// A member known by hearsay did not prove itself: it is asked again, less and less often.
    fn not_proved(&mut self, now: Mono, short: ShortId) {
        self.cancel_probe(&short);
        let Some(member) = self.view.get_mut(&short) else { return };
        member.proof_tries = member.proof_tries.saturating_add(1);
        if member.proof_tries >= PROOF_TRIES {
            return self.mark_dead(now, short);
        }
        let pause = PROOF_PAUSE.saturating_mul(1 << member.proof_tries.min(4));
        member.proof_after = now.after(pause);
        self.look_by(now.after(pause));
    }

    /// How long a new member has to prove itself by a connection before it is asked. Where not everybody
    /// is connected to everybody, the many first questions are spread over time, so that neither a bootstrap
    /// peer, which all of them would go through, nor those who sign are flooded.
    pub(crate) fn first_proof_after(&mut self) -> Duration {
        let live = self.view.len() - self.view.dead();
        if live <= self.config.mesh_max {
            return HELLO_FIRST;
        }
        let spread = u64::try_from(live).unwrap_or(u64::MAX).saturating_mul(FIRST_PROOFS_MS);
        HELLO_FIRST + Duration::from_millis(self.rng.next_u64() % spread)
    }

    /// A member is due at this time.
    pub(crate) fn look_by(&mut self, at: Mono) {
        self.probes.look_at = self.probes.look_at.min(at);
    }

    /// The neighbour towards a member: itself, or whoever brought its newest beat.
    fn next_hop(&self, member: &Member, not: Option<&PkiId>) -> Option<PkiId> {
        let links = &self.connections.links;
        let itself = Some(member.pki_id());
        [itself, member.via]
            .into_iter()
            .flatten()
            .find(|peer| links.contains_key(peer) && Some(peer) != not)
    }

    /// Draws a nonce for `target` on account of the probe of `probed`, to be sent to `hop`.
    fn put_question(&mut self, now: Mono, probed: ShortId, target: ShortId, hop: PkiId) {
        let nonce = Nonce::new(self.rng.next_u64());
        let Some(running) = self.probes.running.get_mut(&probed) else { return };
        if running.nonces.len() >= NONCES_PER_PROBE {
            return;
        }
        running.nonces.push(nonce);
        self.probes.nonces.insert(nonce, target);
        *self.probes.awaited.entry(target).or_default() += 1;
        self.counters.probes_sent = self.counters.probes_sent.saturating_add(1);
        self.probes.outbox.entry(hop).or_default().push(Ask { target, nonce, hops: HOPS });
        self.timers.at_latest(Deadline::Questions, now);
    }

    /// Sends the questions collected: a frame per neighbour.
    pub(crate) fn send_questions(&mut self) {
        for (peer, asks) in std::mem::take(&mut self.probes.outbox) {
            for frame in asks.chunks(ASKS_PER_FRAME) {
                let asks = Bounded::truncated(frame.iter().cloned());
                self.send(peer, Message::Probe(Probe { asks }));
            }
        }
    }

    pub(crate) fn on_probe(&mut self, now: Mono, from: PkiId, asks: &[Ask]) {
        for ask in asks {
            let Some(link) = self.connections.links.get_mut(&from) else { return };
            if !link.probes.take(now, ASKS, 1) {
                return self.refuse(from, DropReason::TooMany);
            }
            let refused = if ask.target == self.own.short() {
                self.owe_proof(now, from, ask.nonce)
            } else {
                self.pass_on(now, from, ask)
            };
            if let Err(reason) = refused {
                self.refuse(from, reason);
            }
        }
    }

    /// A nonce waits for our signature: at once after a quiet time, else with others.
    fn owe_proof(&mut self, now: Mono, from: PkiId, nonce: Nonce) -> Result<(), DropReason> {
        if !self.may_introduce(&from) {
            return Err(DropReason::Undisclosed);
        }
        let unsigned = self.probes.unsigned_len();
        let waiting = self.probes.unsigned.entry(from).or_default();
        // Whoever waited longest has given up first.
        if unsigned >= UNSIGNED_MAX || waiting.len() >= UNSIGNED_PER_LINK {
            waiting.pop_front().ok_or(DropReason::TooMany)?;
        }
        waiting.push_back((nonce, now));
        let due = self.probes.last_proof.map_or(now, |last| last.after(PROVE_EVERY).max(now));
        self.timers.at_latest(Deadline::Prove, due);
        Ok(())
    }

    fn pass_on(&mut self, now: Mono, from: PkiId, ask: &Ask) -> Result<(), DropReason> {
        let member = self.view.get(&ask.target).ok_or(DropReason::Undisclosed)?;
        if !self.may_tell(member.subject(), &from) {
            return Err(DropReason::Undisclosed);
        }
        let hops = ask.hops.min(HOPS).checked_sub(1).ok_or(DropReason::NoRoute)?;
        let hop = self.next_hop(member, Some(&from)).ok_or(DropReason::NoRoute)?;
        if self.probes.routes.contains_key(&ask.nonce)
            || self.probes.nonces.contains_key(&ask.nonce)
        {
            return Err(DropReason::Stale);
        }
        if self.probes.routes.len() >= ROUTES_MAX {
            return Err(DropReason::TooMany);
        }
        self.probes.forget_answered();
        self.probes.routes.insert(ask.nonce, Route { target: ask.target, from });
        self.probes.routed.push_back((now, ask.nonce));
        *self.probes.awaited.entry(ask.target).or_default() += 1;
        let ask = Ask { target: ask.target, nonce: ask.nonce, hops };
        self.probes.outbox.entry(hop).or_default().push(ask);
        self.timers.at_latest(Deadline::Questions, now.after(PASS_ON_AFTER));
        Ok(())
    }

    /// Has nonces signed, as many as one signature covers: the newest of each neighbour in turn, so that
    /// nobody's flood keeps another waiting, and nobody is answered who no longer listens.
    pub(crate) fn prove(&mut self, now: Mono) {
        let mut taken: Vec<(Nonce, PkiId)> = Vec::new();
        let unsigned = &mut self.probes.unsigned;
        unsigned.retain(|_, waiting| {
            waiting.retain(|(_, since)| now.since(*since) < UNSIGNED_KEPT);
            !waiting.is_empty()
        });
        while taken.len() < NONCES_PER_PROOF && !unsigned.is_empty() {
            unsigned.retain(|from, waiting| {
                if taken.len() < NONCES_PER_PROOF {
                    taken.extend(waiting.pop_back().map(|(nonce, _)| (nonce, *from)));
                }
                !waiting.is_empty()
            });
        }
        if taken.is_empty() {
            return;
        }
        self.probes.last_proof = Some(now);
        if !self.probes.unsigned.is_empty() {
            self.timers.set(Deadline::Prove, now.after(PROVE_EVERY));
        }
        let nonces = Bounded::truncated(taken.iter().map(|(nonce, _)| *nonce));
        self.probes.signing.extend(taken.into_iter().map(|(nonce, from)| (nonce, (from, now))));
        self.counters.proofs_signed = self.counters.proofs_signed.saturating_add(1);
        self.out.push(Action::Prove(ProofOfLife {
            pki_id: self.own.me.pki_id,
            epoch: self.own.me.epoch,
            sequence: self.own.progress(),
            nonces,
        }));
    }

    pub(crate) fn on_proved(&mut self, _now: Mono, message: &Verified<Message>) {
        let Message::ProofOfLife(proof) = message.message() else { return };
        let nonces = proof.nonces.as_slice().iter();
        let askers: BTreeSet<PkiId> = nonces
            .filter_map(|nonce| self.probes.signing.remove(nonce))
            .map(|(from, _)| from)
            .collect();
        for asker in askers {
            self.forward(asker, message.clone());
        }
    }

    /// Whether a proof of life by the header's originator was asked for, by us or through us.
    pub(crate) fn awaits_proof(&self, header: &MessageHeader) -> bool {
        let originator = header.originator.as_ref();
        originator.is_some_and(|peer| self.probes.awaited.contains_key(&ShortId::of(peer)))
    }

    pub(crate) fn on_proof(&mut self, now: Mono, from: PkiId, message: &Verified<Message>) {
        let Message::ProofOfLife(proof) = message.message() else { return };
        let short = ShortId::of(&proof.pki_id);
        let mut ours = false;
        let mut askers = BTreeSet::new();
        for nonce in proof.nonces.as_slice() {
            if self.probes.nonces.get(nonce) == Some(&short) {
                self.probes.take_nonce(nonce);
                ours = true;
            }
            if self.probes.routes.get(nonce).is_some_and(|route| route.target == short) {
                askers.extend(self.probes.take_route(nonce).map(|route| route.from));
            }
        }
        if !ours && askers.is_empty() {
            return self.refuse(from, DropReason::Unsolicited);
        }
        for asker in askers {
            self.forward(asker, message.clone());
        }
        if ours {
            self.proved(now, from, proof);
        }
    }

    /// A member signed a nonce of ours.
    fn proved(&mut self, now: Mono, from: PkiId, proof: &ProofOfLife) {
        self.health.answered(now, proof.pki_id);
        let Some(member) = self.view.find_mut(&proof.pki_id) else { return };
        if proof.epoch < member.record.epoch {
            return self.refuse(from, DropReason::Stale);
        }
        if proof.epoch > member.record.epoch {
            self.ask_soon(now, from);
        }
        let short = ShortId::of(&proof.pki_id);
        match self.probes.running.get(&short).map(|running| running.stage) {
            // Others reach it and we do not.
            Some(Stage::Through) if from != proof.pki_id => self.health.worse(),
            Some(Stage::Direct | Stage::Through) | None => {}
        }
        self.mark_alive(now, short);
    }
}

/// Questions of others are collected for this long before they are passed on together.
const PASS_ON_AFTER: Duration = Duration::from_millis(10);
/// How many peers may pass a question on.
const HOPS: u8 = 6;
/// Questions in a frame; the message's own bound.
const ASKS_PER_FRAME: usize = 64;
/// Questions that one neighbour may put.
const ASKS: Rate = Rate { per_second: 512, burst: 1024 };
/// Nonces under one signature; the message's own bound.
const NONCES_PER_PROOF: usize = 64;
/// Ten signatures a second.
const PROVE_EVERY: Duration = Duration::from_millis(100);
/// Nonces that may wait for our signature: what ten signatures cover, and half as much again.
pub(crate) const UNSIGNED_MAX: usize = 1024;
/// Of one neighbour.
const UNSIGNED_PER_LINK: usize = 256;
/// How long a nonce waits for our signature; nobody listens for longer.
const UNSIGNED_KEPT: Duration = Duration::from_secs(1);
/// Questions remembered that were passed on.
pub(crate) const ROUTES_MAX: usize = 32_768;
/// For how long: as long as a nonce may wait for its signature, and a second for the way there and back.
const ROUTE_KEPT: Duration = Duration::from_secs(2);
/// Nonces of one probe.
const NONCES_PER_PROBE: usize = 16;
/// A new member is expected to be proved by a connection in this time; then it is asked.
const HELLO_FIRST: Duration = Duration::from_millis(250);
/// First questions of members known by hearsay: one per this many milliseconds.
const FIRST_PROOFS_MS: u64 = 8;
/// Members known by hearsay that are asked at once, ten times a second.
const PROOFS_AT_ONCE: usize = 32;
/// How often a member known by hearsay is asked before it counts as dead.
const PROOF_TRIES: u32 = 6;
/// Pause after the first time; doubles.
const PROOF_PAUSE: Duration = Duration::from_millis(500);

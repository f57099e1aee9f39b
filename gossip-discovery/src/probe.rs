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
use crate::limit::{Bucket, Rate};
use crate::member::Status;
use crate::row::Row;
use crate::timers::Deadline;

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
    /// What was asked on its account, and of whom.
    questions: Vec<(ShortId, Nonce)>,
}

/// A nonce that waits for a member's signature.
#[derive(Debug)]
struct Awaited {
    nonce: Nonce,
    asker: Asker,
    since: Mono,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    We,
    /// A neighbour whose question we passed on.
    Neighbour(PkiId),
}

/// Questions: ours, those passed on, and those that we have to answer.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    running: BTreeMap<ShortId, Running>,
    /// Nonces that wait for whose signature, oldest first; none without a nonce.
    awaited: BTreeMap<ShortId, Vec<Awaited>>,
    /// How many of them are others'.
    routes: usize,
    pruned: Mono,
    /// Nonces that wait for our signature, and since when, by who brought them.
    unsigned: BTreeMap<PkiId, VecDeque<(Nonce, Mono)>>,
    /// Nonces that the host is signing.
    signing: BTreeMap<Nonce, (PkiId, Mono)>,
    /// When we signed last, and the times before, newest first.
    proved: [Option<Mono>; PROOFS_IN_A_ROW],
    /// Nobody becomes late, and nobody is to be asked for a first proof, before this.
    look_at: Mono,
    /// Questions to be sent, by neighbour.
    outbox: BTreeMap<PkiId, Vec<Ask>>,
    /// First questions that we may put.
    first_questions: Option<Bucket>,
}

impl Probes {
    pub(crate) fn len(&self) -> usize {
        self.running.len()
    }

    /// Questions held for others.
    pub(crate) const fn routes_len(&self) -> usize {
        self.routes
    }

    pub(crate) fn unsigned_len(&self) -> usize {
        self.unsigned.values().map(VecDeque::len).sum()
    }

    /// Drops what aged.
    pub(crate) fn prune(&mut self, now: Mono) {
        if now.since(self.pruned) < PRUNE_EVERY {
            return;
        }
        self.pruned = now;
        self.signing.retain(|_, (_, at)| now.since(*at) < ROUTE_KEPT);
        let routes = &mut self.routes;
        self.awaited.retain(|_, awaited| {
            awaited.retain(|one| {
                let aged = one.asker != Asker::We && now.since(one.since) >= ROUTE_KEPT;
                *routes -= usize::from(aged);
                !aged
            });
            !awaited.is_empty()
        });
    }

    fn is_awaited(&self, target: &ShortId, nonce: Nonce) -> bool {
        self.awaited.get(target).is_some_and(|awaited| awaited.iter().any(|a| a.nonce == nonce))
    }

    /// Whether one more question of this neighbour for this member can be remembered.
    fn has_room(&self, target: &ShortId, from: &PkiId) -> bool {
        let awaited = self.awaited.get(target).map_or(&[][..], Vec::as_slice);
        let of_asker = |one: &&Awaited| one.asker == Asker::Neighbour(*from);
        self.routes < ROUTES_MAX
            && awaited.len() < ROUTES_PER_TARGET
            && (awaited.len() < ROUTES_PER_ASKER
                || awaited.iter().filter(of_asker).count() < ROUTES_PER_ASKER)
    }

    fn await_proof(&mut self, target: ShortId, awaited: Awaited) {
        self.routes += usize::from(awaited.asker != Asker::We);
        self.awaited.entry(target).or_default().push(awaited);
    }

    /// Takes out the nonces of a target that `taken` holds for; says whether we asked one of them, and which
    /// neighbours did.
    fn take(&mut self, target: &ShortId, taken: impl Fn(Nonce) -> bool) -> (bool, BTreeSet<PkiId>) {
        let (mut ours, mut others) = (false, BTreeSet::new());
        let Some(awaited) = self.awaited.get_mut(target) else { return (ours, others) };
        let routes = &mut self.routes;
        awaited.retain(|one| {
            let take = taken(one.nonce);
            match one.asker {
                Asker::We => ours |= take,
                Asker::Neighbour(peer) if take => {
                    others.insert(peer);
                    *routes -= 1;
                }
                Asker::Neighbour(_) => {}
            }
            !take
        });
        if awaited.is_empty() {
            self.awaited.remove(target);
        }
        (ours, others)
    }
}

impl Discovery {
    /// Asks a member for a proof of life, unless it is being asked.
    pub(crate) fn begin_probe(&mut self, now: Mono, short: ShortId) {
        if self.probes.running.contains_key(&short) {
            return;
        }
        let status = self.view.row(&short).map(|row| row.status);
        let first = status == Some(Status::Known);
        let wait = match status {
            Some(Status::Known) if !self.is_meshed() => FIRST_PROOF_WAIT,
            // Of a partition that heals all ask at once, and nothing follows if the answer comes too late.
            Some(Status::Dead { .. }) => {
                self.over_hops(self.config.probe_wait + self.config.probe_through_wait)
            }
            Some(_) | None => self.over_hops(self.config.probe_wait),
        };
        let until = now.after(self.health.stretch(wait));
        let questions = Vec::new();
        self.probes.running.insert(short, Running { stage: Stage::Direct, until, questions });
        self.timers.at_latest(Deadline::Probe, until);
        match self.view.row(&short).and_then(|row| self.next_hop(row, None)) {
            Some(hop) => self.put_question(now, short, short, hop),
            // There is no way to ask it directly: others are asked for theirs.
            None if first || self.helpers(&short).is_empty() => {}
            None => self.probe_through(now, short),
        }
    }

    /// A wait for an answer, longer where it takes several hops.
    fn over_hops(&self, wait: Duration) -> Duration {
        if self.is_meshed() { wait } else { wait.saturating_mul(HOPS_USUAL) }
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
        for (target, nonce) in running.questions {
            self.probes.take(&target, |awaited| awaited == nonce);
        }
    }

    /// A member that should have been heard: it is asked, and dialled if need be.
    pub(crate) fn suspect(&mut self, now: Mono, short: ShortId) {
        self.counters.suspected = self.counters.suspected.saturating_add(1);
        self.view.change(&short, |member| member.status = Status::Suspect);
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
        let spared = self.health.floor().after(self.late_after());
        for row in self.view.rows() {
            match row.status {
                Status::Alive => {
                    let due = row.due.max(spared);
                    if due <= now {
                        late.push(row.short);
                    } else {
                        look_at = look_at.min(due);
                    }
                }
                Status::Known => {
                    if row.due <= now && unproved.len() < PROOFS_AT_ONCE {
                        unproved.push(row.short);
                    } else {
                        look_at = look_at.min(row.due);
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
            let status = self.view.row(&short).map(|row| row.status);
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
        let until = now.after(self.health.stretch(self.over_hops(self.config.probe_through_wait)));
        let Some(running) = self.probes.running.get_mut(&short) else { return };
        running.stage = Stage::Through;
        running.until = until;
        // Where nobody helps, the member itself is asked once more.
        if chosen.is_empty()
            && let Some(hop) = self.view.row(&short).and_then(|row| self.next_hop(row, None))
        {
            self.put_question(now, short, short, hop);
        }
        for helper in chosen {
            self.put_question(now, short, short, helper);
            self.put_question(now, short, ShortId::of(&helper), helper);
        }
    }

    /// Live neighbours that may hear of `short`, itself not among them.
    fn helpers(&self, short: &ShortId) -> Vec<PkiId> {
        let links = self.connections.links.keys();
        let probed = self.view.row(short);
        links
            .filter(|peer| {
                let alive = self.view.find(peer).is_some_and(|row| row.status == Status::Alive);
                let told = probed.is_some_and(|row| self.may_tell(row.subject(), peer));
                alive && told && ShortId::of(peer) != *short
            })
            .copied()
            .collect()
    }

    /// Neither we nor anybody else brought a proof.
    fn conclude(&mut self, now: Mono, short: ShortId) {
        // Suspects and lost neighbours included: each of them could still show that it is not us.
        let others = self.view.live().saturating_sub(1);
        if self.health.may_evict(now, others) {
            return self.mark_dead(now, short);
        }
        self.counters.evictions_delayed = self.counters.evictions_delayed.saturating_add(1);
        self.cancel_probe(&short);
        self.begin_probe(now, short);
    }

    /// A member known by hearsay did not prove itself: it is asked again, less and less often.
    fn not_proved(&mut self, now: Mono, short: ShortId) {
        self.cancel_probe(&short);
        let tries = self.view.change(&short, |member| {
            member.proof_tries = member.proof_tries.saturating_add(1);
            member.proof_tries
        });
        let Some(tries) = tries else { return };
        if tries >= PROOF_TRIES {
            return self.mark_dead(now, short);
        }
        self.set_due(short, now.after(PROOF_PAUSE.saturating_mul(1 << tries.min(4))));
    }

    /// How long a new member has to prove itself by a connection before it is asked. Where not everybody is
    /// connected to everybody it is rather asked when a beat of it comes by: see [`Self::ask_first`].
    pub(crate) fn first_proof_after(&mut self) -> Duration {
        if self.is_meshed() {
            return HELLO_FIRST;
        }
        let every = u64::try_from(self.config.beat_every.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.config.beat_every.saturating_mul(2) + Duration::from_nanos(self.rng.next_u64() % every)
    }

    /// A beat came from a member known by hearsay alone. Everybody hears it at about this time, and asks back
    /// along the way that it came, so that the questions meet on it, and one signature answers many.
    pub(crate) fn ask_first(&mut self, now: Mono, short: ShortId) {
        let ripe = |row: &Row| now.since(row.member().learned) >= HELLO_FIRST;
        if self.is_meshed()
            || self.probes.running.contains_key(&short)
            || !self.view.row(&short).is_some_and(ripe)
        {
            return;
        }
        let bucket = self.probes.first_questions.get_or_insert_with(|| Bucket::full(now));
        if bucket.take(now, FIRST_QUESTIONS, 1) {
            self.begin_probe(now, short);
        }
    }

    /// A member is to be looked at at this time.
    pub(crate) fn set_due(&mut self, short: ShortId, at: Mono) {
        self.view.set_due(&short, at);
        self.look_at(at);
    }

    /// Somebody is to be looked at at this time.
    pub(crate) fn look_at(&mut self, at: Mono) {
        self.probes.look_at = self.probes.look_at.min(at);
    }

    /// The neighbour towards a member: itself, or whoever brought its newest beat.
    fn next_hop(&self, to: &Row, not: Option<&PkiId>) -> Option<PkiId> {
        let itself = Some(to.member().pki_id());
        let told = |peer: &PkiId| Some(*peer) == itself || self.may_tell(to.subject(), peer);
        [itself, self.connections.peer_of(to.first_told_by()), to.member().via]
            .into_iter()
            .flatten()
            .find(|peer| self.connected(peer) && Some(peer) != not && told(peer))
    }

    /// Somebody else who may know a way.
    fn detour(&self, to: &Row, not: &PkiId) -> Option<PkiId> {
        let mut chosen = self.relay.chosen.iter();
        chosen.find(|peer| *peer != not && self.may_tell(to.subject(), peer)).copied()
    }

    /// Draws a nonce for `target` on account of the probe of `probed`, to be sent to `hop`.
    fn put_question(&mut self, now: Mono, probed: ShortId, target: ShortId, hop: PkiId) {
        let nonce = Nonce::new(self.rng.next_u64());
        let Some(running) = self.probes.running.get_mut(&probed) else { return };
        if running.questions.len() >= NONCES_PER_PROBE {
            return;
        }
        running.questions.push((target, nonce));
        self.probes.await_proof(target, Awaited { nonce, asker: Asker::We, since: now });
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

    /// When we may sign again: after a quiet time a few times in a row, then ten times a second.
    fn may_prove_at(&self) -> Mono {
        let oldest = self.probes.proved.last().copied().flatten();
        oldest.map_or(Mono::ZERO, |oldest| oldest.after(PROOFS_IN_A_ROW_EVERY))
    }

    /// A nonce waits for our signature, for a moment: who asks first is seldom alone.
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
        let soon = now.after(PROVE_AFTER);
        let due = self.may_prove_at().max(soon);
        self.timers.at_latest(Deadline::Prove, due);
        Ok(())
    }

    fn pass_on(&mut self, now: Mono, from: PkiId, ask: &Ask) -> Result<(), DropReason> {
        let row = self.view.row(&ask.target).ok_or(DropReason::Undisclosed)?;
        if !self.may_tell(row.subject(), &from) {
            return Err(DropReason::Undisclosed);
        }
        let hops = ask.hops.min(HOPS).checked_sub(1).ok_or(DropReason::NoRoute)?;
        let hop = self.next_hop(row, Some(&from)).or_else(|| self.detour(row, &from));
        let hop = hop.ok_or(DropReason::NoRoute)?;
        if self.probes.is_awaited(&ask.target, ask.nonce) {
            return Err(DropReason::Stale);
        }
        if !self.probes.has_room(&ask.target, &from) {
            return Err(DropReason::TooMany);
        }
        let awaited = Awaited { nonce: ask.nonce, asker: Asker::Neighbour(from), since: now };
        self.probes.await_proof(ask.target, awaited);
        let ask = Ask { target: ask.target, nonce: ask.nonce, hops };
        self.probes.outbox.entry(hop).or_default().push(ask);
        self.timers.at_latest(Deadline::Questions, now.after(PASS_ON_AFTER));
        Ok(())
    }

    /// Has nonces signed, as many as one signature covers: of who waited longest first, and of one neighbour as
    /// many as may be, so that the answer goes few ways; but no more than half of them while others wait, so
    /// that nobody's flood keeps another waiting for long.
    pub(crate) fn prove(&mut self, now: Mono) {
        let unsigned = &mut self.probes.unsigned;
        unsigned.retain(|_, waiting| {
            waiting.retain(|(_, since)| now.since(*since) < UNSIGNED_KEPT);
            !waiting.is_empty()
        });
        let mut turns: Vec<(Mono, PkiId)> = unsigned
            .iter()
            .filter_map(|(from, waiting)| waiting.front().map(|(_, since)| (*since, *from)))
            .collect();
        turns.sort_unstable();
        let mut taken: Vec<(Nonce, PkiId)> = Vec::new();
        for most in [NONCES_PER_PROOF / 2, NONCES_PER_PROOF] {
            for (_, from) in &turns {
                let Some(waiting) = unsigned.get_mut(from) else { continue };
                let room = (NONCES_PER_PROOF - taken.len()).min(most).min(waiting.len());
                taken.extend(waiting.drain(..room).map(|(nonce, _)| (nonce, *from)));
            }
        }
        unsigned.retain(|_, waiting| !waiting.is_empty());
        if taken.is_empty() {
            return;
        }
        self.probes.proved.rotate_right(1);
        if let Some(newest) = self.probes.proved.first_mut() {
            *newest = Some(now);
        }
        if !self.probes.unsigned.is_empty() {
            let due = self.may_prove_at().max(now.after(PROVE_AFTER));
            self.timers.set(Deadline::Prove, due);
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
        let mut signed = proof.nonces.as_slice().to_vec();
        signed.sort_unstable();
        let (ours, askers) = self.probes.take(&short, |nonce| signed.binary_search(&nonce).is_ok());
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
        let Some(known) = self.view.find(&proof.pki_id).map(|row| row.epoch) else { return };
        if proof.epoch < known {
            return self.refuse(from, DropReason::Stale);
        }
        if proof.epoch > known {
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
const HOPS: u8 = 12;
/// How many times longer an answer may take where it comes through others.
const HOPS_USUAL: u32 = 2;
/// Questions in a frame; the message's own bound.
const ASKS_PER_FRAME: usize = 64;
/// Questions that one neighbour may put.
const ASKS: Rate = Rate { per_second: 4096, burst: 16_384 };
/// Nonces under one signature; the message's own bound.
const NONCES_PER_PROOF: usize = 64;
/// Nonces are collected for this long before they are signed together.
const PROVE_AFTER: Duration = Duration::from_millis(10);
/// Signatures in a row, and how long these many take at least: ten a second.
const PROOFS_IN_A_ROW: usize = 3;
const PROOFS_IN_A_ROW_EVERY: Duration = Duration::from_millis(300);
/// Nonces that may wait for our signature: what is signed in two seconds.
pub(crate) const UNSIGNED_MAX: usize = 1280;
/// Of one neighbour, over whom half a large network may ask.
const UNSIGNED_PER_LINK: usize = 640;
/// How long a nonce waits for our signature; nobody listens for longer.
const UNSIGNED_KEPT: Duration = Duration::from_secs(2);
/// Questions remembered that were passed on.
pub(crate) const ROUTES_MAX: usize = 65_536;
/// Of these, with one member to answer.
const ROUTES_PER_TARGET: usize = 1024;
/// Of these, of one asker: a few who ask without end leave room for the others.
const ROUTES_PER_ASKER: usize = ROUTES_PER_TARGET / 4;
/// How often those who were not answered are looked for.
const PRUNE_EVERY: Duration = Duration::from_millis(500);
/// For how long: as long as a nonce may wait for its signature, and a second for the way there and back.
const ROUTE_KEPT: Duration = Duration::from_secs(3);
/// Nonces of one probe.
const NONCES_PER_PROBE: usize = 16;
/// A new member is expected to be proved by a connection in this time; then it is asked.
const HELLO_FIRST: Duration = Duration::from_millis(250);
/// How long a member may take for its first proof: others ask at the same time, and it signs ten times a
/// second.
const FIRST_PROOF_WAIT: Duration = Duration::from_millis(2200);
/// First questions that we put as beats come by.
const FIRST_QUESTIONS: Rate = Rate { per_second: 1024, burst: 1024 };
/// Members known by hearsay that are asked at once, ten times a second.
const PROOFS_AT_ONCE: usize = 32;
/// How often a member known by hearsay is asked before it counts as dead.
const PROOF_TRIES: u32 = 6;
/// Pause after the first time; doubles.
const PROOF_PAUSE: Duration = Duration::from_millis(500);

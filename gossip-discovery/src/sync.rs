//! The exchange of views: ask with a digest, answer with what the asker lacks.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::message::{
    Beat, Known, MemberEntry, MembershipRequest, MembershipResponse, Message, Record, ShortId,
};
use gossip_api::{Bounded, Epoch, Mono, Nonce, OrgId, PkiId, Verified, select_peers};
use rand_core::Rng;
use sha2::{Digest, Sha256};

use crate::disclose::{Listener, may_tell, may_tell_secret};
use crate::discovery::{Action, CheckedMember, Discovery, MembershipEvent};
use crate::error::DropReason;
use crate::limit::{Bucket, Rate};
use crate::member::{Announced, Backoff, Member, Status};
use crate::row::Row;
use crate::timers::Deadline;

/// What the exchange remembers beside what is kept per connection.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// When we had our first connection.
    pub(crate) started: Option<Mono>,
    /// Entries being checked or checked lately, whatever came of it: none is checked twice.
    checks: BTreeMap<[u8; 32], Mono>,
    /// What each foreign or own organisation may still ask, all its peers together.
    requests: BTreeMap<OrgId, Bucket>,
    /// When we last heard a newer record of ourselves, and how new it was.
    raised: Option<Mono>,
    conflict: Option<Mono>,
    /// When we last asked because somebody mentioned a stranger.
    hinted: Option<Mono>,
    /// When we last asked anybody.
    asked: Option<Mono>,
    /// Whose pages we are turning, and since when: one neighbour's at a time.
    paging: Option<(PkiId, Mono)>,
    /// Whether the last answer had more behind it: we know a part of the network only.
    pub(crate) partial: bool,
    pruned: Mono,
}

impl Exchange {
    /// Drops what aged.
    pub(crate) fn prune(&mut self, now: Mono) {
        if now.since(self.pruned) < PRUNE_EVERY {
            return;
        }
        self.pruned = now;
        self.checks.retain(|_, at| now.since(*at) < CHECKS_KEPT);
    }

    pub(crate) fn checks_len(&self) -> usize {
        self.checks.len()
    }
}

impl Discovery {
    /// Compares views with one random neighbour.
    // fabric: gossip/discovery/discovery_impl.go InitiateSync
    pub(crate) fn sync(&mut self, now: Mono) {
        let Some(started) = self.exchange.started else { return };
        if self.connections.links.is_empty() {
            return;
        }
        let fast = now.since(started) < self.config.sync_fast_for;
        let every = if fast { self.config.sync_fast_every } else { self.config.sync_every };
        let wait = self.jittered(every);
        self.timers.set(Deadline::Sync, now.after(wait));
        if fast && self.is_turning_pages(now) {
            return;
        }
        let pool: Vec<PkiId> = self.connections.links.keys().copied().collect();
        for peer in select_peers(&mut self.rng, 1, &pool, |_| true) {
            self.ask(now, peer);
        }
    }

    /// Whether we ask often enough as it is, in a network whose views are many pages long.
    fn is_turning_pages(&self, now: Mono) -> bool {
        !self.is_meshed() && self.exchange.asked.is_some_and(|at| now.since(at) < ASK_AGAIN)
    }

    /// Asks a neighbour as soon as its turn comes again.
    pub(crate) fn ask_soon(&mut self, now: Mono, peer: PkiId) {
        let Some(link) = self.connections.links.get_mut(&peer) else { return };
        let due = link.last_ask.map_or(now, |last| last.after(ASK_AGAIN).max(now));
        let due = link.ask_at.map_or(due, |at| at.min(due));
        link.ask_at = Some(due);
        link.awaits_introduction = false;
        self.timers.at_latest(Deadline::Ask, due);
    }

    /// A neighbour knows somebody whom we do not. One of those who say so is asked, not all of them.
    pub(crate) fn ask_on_hint(&mut self, now: Mono, peer: PkiId) {
        let lately = self.exchange.hinted.is_some_and(|at| now.since(at) < ASK_AGAIN);
        if !lately && !self.is_turning_pages(now) {
            self.exchange.hinted = Some(now);
            self.ask_soon(now, peer);
        }
    }

    /// Asks a neighbour at `due`, unless it introduces itself before.
    pub(crate) fn await_introduction(&mut self, peer: PkiId, due: Mono) {
        let Some(link) = self.connections.links.get_mut(&peer) else { return };
        if link.ask_at.is_none() {
            link.ask_at = Some(due);
            link.awaits_introduction = true;
            self.timers.at_latest(Deadline::Ask, due);
        }
    }

    fn introduced(&mut self, peer: &PkiId) {
        if let Some(link) = self.connections.links.get_mut(peer)
            && std::mem::take(&mut link.awaits_introduction)
        {
            link.ask_at = None;
        }
    }

    pub(crate) fn ask_those_due(&mut self, now: Mono) {
        let links = self.connections.links.iter();
        let due: Vec<PkiId> = links
            .filter(|(_, link)| link.ask_at.is_some_and(|at| at <= now))
            .map(|(peer, _)| *peer)
            .collect();
        for peer in due {
            self.ask(now, peer);
        }
        let links = self.connections.links.values();
        if let Some(next) = links.filter_map(|link| link.ask_at).min() {
            self.timers.at_latest(Deadline::Ask, next);
        }
    }

    /// Our record is signed: those who were to be asked meanwhile are asked.
    pub(crate) fn ask_who_waited(&mut self, now: Mono) {
        let links = self.connections.links.iter();
        let waited: Vec<PkiId> =
            links.filter(|(_, link)| link.waits_for_record).map(|(peer, _)| *peer).collect();
        for peer in waited {
            self.ask(now, peer);
        }
    }

    // fabric: gossip/discovery/discovery_impl.go createMembershipRequest
    // fabric-differs: the request says what is known, so that the answer tells only what is not.
    fn ask(&mut self, now: Mono, peer: PkiId) {
        if !self.may_introduce(&peer) {
            return;
        }
        let with_secret = self.may_tell_secret(&self.own.me.org, &peer);
        let Some(me) = self.own.entry(with_secret) else {
            if let Some(link) = self.connections.links.get_mut(&peer) {
                link.waits_for_record = true;
                link.ask_at = None;
            }
            return self.sign(now);
        };
        let known = self.digest(&peer);
        let nonce = Nonce::new(self.rng.next_u64());
        let Some(link) = self.connections.links.get_mut(&peer) else { return };
        link.ask_at = None;
        if link.asked.is_some_and(|(_, at)| now.since(at) < ANSWER_WAIT) {
            return;
        }
        link.waits_for_record = false;
        link.asked = Some((nonce, now));
        link.last_ask = Some(now);
        self.exchange.asked = Some(now);
        self.counters.requests_sent = self.counters.requests_sent.saturating_add(1);
        self.send(peer, Message::MembershipRequest(MembershipRequest { nonce, me, known }));
    }

    /// What we know and may tell, live members first; beyond the bound the rest is told again, which costs
    /// bytes only.
    fn digest(&self, listener: &PkiId) -> Bounded<Known, 1024> {
        let Some(listener) = self.listener(listener) else { return Bounded::default() };
        let told = |row: &&Row| may_tell(row.subject(), listener);
        let live = self.view.rows().iter().filter(|row| !row.status.is_dead()).filter(told);
        let dead = self.view.rows().iter().filter(|row| row.status.is_dead()).filter(told);
        Bounded::truncated(live.chain(dead).map(Row::known))
    }

    // fabric: gossip/discovery/discovery_impl.go sendMemResponse
    pub(crate) fn on_request(&mut self, now: Mono, from: PkiId, request: MembershipRequest) {
        if let Err(reason) = self.charge_request(now, &from) {
            return self.refuse(from, reason);
        }
        let Ok((record, _)) = request.me.record.open() else {
            return self.refuse(from, DropReason::Malformed);
        };
        if record.pki_id != from {
            return self.refuse(from, DropReason::ForeignSelf);
        }
        self.introduced(&from);
        self.take_in(now, from, request.me);
        let response = self.answer(now, &from, &record, request.nonce, request.known.into_vec());
        self.counters.answers_sent = self.counters.answers_sent.saturating_add(1);
        self.send(from, Message::MembershipResponse(response));
    }

    /// Whether a peer, and its organisation, may ask once more.
    fn charge_request(&mut self, now: Mono, from: &PkiId) -> Result<(), DropReason> {
        let link = self.connections.links.get_mut(from).ok_or(DropReason::NotConnected)?;
        if !link.requests.take(now, REQUESTS, 1) {
            return Err(DropReason::TooMany);
        }
        let Some(org) = link.org.clone() else { return Err(DropReason::UnknownOrg) };
        let peers = u32::try_from(self.view.live_of(&org).clamp(4, 128)).unwrap_or(4);
        let full = self.exchange.requests.len() >= ORGS_MAX;
        if full && !self.exchange.requests.contains_key(&org) {
            return Err(DropReason::TooMany);
        }
        let bucket = self.exchange.requests.entry(org).or_insert_with(|| Bucket::full(now));
        if bucket.take(now, REQUESTS.times(peers), 1) { Ok(()) } else { Err(DropReason::TooMany) }
    }

    /// A page of what the asker lacks and may know.
    fn answer(
        &self,
        now: Mono,
        asker: &PkiId,
        asker_record: &Record,
        nonce: Nonce,
        mut known: Vec<Known>,
    ) -> MembershipResponse {
        known.sort_by_key(|known| known.member);
        let knows = |short: &ShortId| {
            let at = known.binary_search_by_key(short, |known| known.member).ok();
            at.and_then(|at| known.get(at))
        };
        let mut page = Page::default();
        let own = knows(&self.own.short());
        if let Some(entry) = self.own_entry_for(asker, own) {
            page.entry(OWN_ENTRY_LEN, || entry);
        } else if let Some(beat) = self.own.newest_beat()
            && own.is_some_and(|known| known.sequence < self.own.progress())
        {
            page.beat(beat);
        }
        // A member that lost its epoch is told how far it had come, dead as it may be to us.
        if let Some(row) = self.view.find(asker)
            && (asker_record.epoch, asker_record.version) < (row.epoch, row.version)
        {
            page.entry(row.member().entry_len, || row.entry(false));
        }
        let listener = self.listener(asker);
        let listener =
            listener.map(|of| Listener { external: asker_record.endpoint.is_some(), ..of });
        let mut told = known.iter().peekable();
        let asker_short = ShortId::of(asker);
        for row in self.view.rows().iter().filter(|row| is_told(now, row)) {
            while told.next_if(|known| known.member < row.short).is_some() {}
            let known = told.peek().filter(|known| known.member == row.short);
            let lacks =
                known.is_none_or(|known| (known.epoch, known.version) < (row.epoch, row.version));
            let newer_beat = known
                .is_some_and(|known| known.epoch == row.epoch && known.sequence < row.progress);
            if !(lacks || newer_beat) {
                continue;
            }
            let Some(listener) = listener else { break };
            if row.short == asker_short || !may_tell(row.subject(), listener) {
                continue;
            }
            if lacks {
                let member = row.member();
                let secret = may_tell_secret(&self.own.me.org, &member.org, listener.org);
                page.entry(member.entry_len, || row.entry(secret));
            } else if let Some(beat) = row.beat() {
                page.beat(&beat);
            }
        }
        MembershipResponse {
            nonce,
            alive: Bounded::truncated(page.entries),
            beats: Bounded::truncated(page.beats),
            more: page.more,
        }
    }

    /// Our own entry, if the asker lacks it and may have it.
    fn own_entry_for(&self, asker: &PkiId, known: Option<&Known>) -> Option<MemberEntry> {
        let (record, _) = self.own.published()?;
        let lacks =
            known.is_none_or(|known| (known.epoch, known.version) < (record.epoch, record.version));
        if !lacks || !self.may_introduce(asker) {
            return None;
        }
        self.own.entry(self.may_tell_secret(&self.own.me.org, asker))
    }

    // fabric: gossip/discovery/discovery_impl.go handleMsgFromComm
    pub(crate) fn on_response(&mut self, now: Mono, from: PkiId, response: MembershipResponse) {
        let Some(link) = self.connections.links.get_mut(&from) else { return };
        if link.asked.is_none_or(|(nonce, _)| nonce != response.nonce) {
            return self.refuse(from, DropReason::Unsolicited);
        }
        link.asked = None;
        link.more = response.more && !response.alive.as_slice().is_empty();
        self.exchange.partial = link.more;
        for entry in response.alive.into_vec() {
            self.take_in(now, from, entry);
        }
        for beat in response.beats.as_slice() {
            self.hear_one(now, from, beat);
        }
        self.next_page(now, from);
    }

    /// Asks for the next page once the last one is judged, so that the digest covers it.
    fn next_page(&mut self, now: Mono, from: PkiId) {
        let Some(link) = self.connections.links.get_mut(&from) else { return };
        if !link.more || link.checking > 0 {
            return;
        }
        link.more = false;
        let busy = self
            .exchange
            .paging
            .is_some_and(|(peer, at)| peer != from && now.since(at) < PAGING_STALLED);
        if busy {
            // What is behind it comes from somebody else, or at the next exchange.
            self.exchange.partial = false;
        } else {
            self.exchange.paging = Some((from, now));
            self.ask(now, from);
        }
    }

    /// Judges an entry by what can be told for nothing, and has the rest checked.
    fn take_in(&mut self, now: Mono, from: PkiId, entry: MemberEntry) {
        let Ok((record, signed)) = entry.record.open() else {
            return self.refuse(from, DropReason::Malformed);
        };
        match self.judge(&record) {
            Ok(()) => {}
            Err(DropReason::Stale) => return self.complete(now, from, &record, entry),
            Err(reason) => return self.refuse(from, reason),
        }
        let Some(link) = self.connections.links.get_mut(&from) else { return };
        if link.checking >= CHECKS_PER_LINK || self.exchange.checks.len() >= CHECKS_MAX {
            return self.refuse(from, DropReason::TooMany);
        }
        let mut hasher = Sha256::new();
        hasher.update(signed.envelope.body());
        hasher.update(signed.envelope.signature());
        hasher.update(entry.identity.as_bytes());
        hasher.update([u8::from(entry.secret.is_some())]);
        if let Some(secret) = &entry.secret {
            hasher.update(secret.salt);
            hasher.update(secret.internal_endpoint.as_str().as_bytes());
        }
        let before = self.exchange.checks.insert(hasher.finalize().into(), now);
        if before.is_some_and(|at| now.since(at) < CHECKS_KEPT) {
            return;
        }
        link.checking += 1;
        self.counters.checks = self.counters.checks.saturating_add(1);
        self.out.push(Action::Check { from, entry });
    }

    /// Whether a record is news, and possible.
    pub(crate) fn judge(&self, record: &Record) -> Result<(), DropReason> {
        if record.chain_len == 0 || record.chain_len > Record::CHAIN_MAX {
            return Err(DropReason::Malformed);
        }
        if record.pki_id == self.own.me.pki_id {
            let far = epoch_too_far(record.epoch, Some(self.own.me.epoch));
            let stale = record.epoch <= self.own.me.epoch;
            return if far {
                Err(DropReason::EpochTooFar)
            } else if stale {
                Err(DropReason::Stale)
            } else {
                Ok(())
            };
        }
        let known = self.view.row(&ShortId::of(&record.pki_id));
        if known.is_some_and(|row| row.member().pki_id() != record.pki_id) {
            return Err(DropReason::ShortIdTaken);
        }
        if epoch_too_far(record.epoch, known.map(|row| row.epoch)) {
            return Err(DropReason::EpochTooFar);
        }
        let newer =
            known.is_none_or(|row| (record.epoch, record.version) > (row.epoch, row.version));
        if newer { Ok(()) } else { Err(DropReason::Stale) }
    }

    /// A record that we have: its entry may still bring the secret, or a newer beat.
    fn complete(&mut self, now: Mono, from: PkiId, record: &Record, entry: MemberEntry) {
        if record.pki_id == self.own.me.pki_id {
            return;
        }
        if let Some(member) = self.view.find(&record.pki_id).map(Row::member)
            && member.secret.is_none()
            && member.org == self.own.me.org
            && let Some(secret) = entry.secret
            && secret.belongs_to(&member.record)
        {
            let changed = self.view.change(&ShortId::of(&record.pki_id), |member| {
                member.secret = Some(secret);
                member.status.is_live().then(|| member.network_member())
            });
            if let Some(member) = changed.flatten() {
                self.notify(MembershipEvent::Changed(member));
            }
        }
        if let Some(beat) = &entry.beat {
            self.hear_one(now, from, beat);
        }
    }

    pub(crate) fn on_check_failed(&mut self, now: Mono, from: PkiId) {
        self.counters.checks_failed = self.counters.checks_failed.saturating_add(1);
        if let Some(link) = self.connections.links.get_mut(&from) {
            link.checking = link.checking.saturating_sub(1);
        }
        self.refuse(from, DropReason::Forged);
        self.next_page(now, from);
    }

    pub(crate) fn on_checked(&mut self, now: Mono, from: PkiId, member: CheckedMember) {
        if let Some(link) = self.connections.links.get_mut(&from) {
            link.checking = link.checking.saturating_sub(1);
        }
        if let Err(reason) = self.learn(now, from, member) {
            self.refuse(from, reason);
        }
        self.next_page(now, from);
    }

    // fabric: gossip/discovery/discovery_impl.go learnNewMembers
    // fabric: gossip/discovery/discovery_impl.go learnExistingMembers
    fn learn(&mut self, now: Mono, from: PkiId, checked: CheckedMember) -> Result<(), DropReason> {
        let CheckedMember { identity, org, record, sealed, secret, beat } = checked;
        let entry_len =
            ENTRY_OVERHEAD + record.envelope().encoded_len() + identity.as_bytes().len();
        let record = record.message().clone();
        if record.pki_id == self.own.me.pki_id {
            self.on_self_heard(now, &record);
            return Ok(());
        }
        match self.judge(&record) {
            Ok(()) => {}
            // Another neighbour was quicker.
            Err(DropReason::Stale) => {
                let entry = MemberEntry { identity, record: sealed, secret, beat };
                self.complete(now, from, &record, entry);
                return Ok(());
            }
            Err(reason) => return Err(reason),
        }
        let org = org.ok_or(DropReason::UnknownOrg)?;
        let secret = secret.filter(|secret| org == self.own.me.org && secret.belongs_to(&record));
        let (pki_id, epoch) = (record.pki_id, record.epoch);
        let short = ShortId::of(&pki_id);
        let first_proof = now.after(self.first_proof_after());
        if self.view.get(&short).is_some() {
            self.view.change(&short, |member| {
                member.sealed = sealed;
                member.entry_len = entry_len;
                member.identity = identity;
                member.via = Some(from);
                if secret.is_some() {
                    member.secret = secret;
                }
            });
            self.replace_record(short, record);
        } else {
            self.make_room(&org)?;
            let announced = Announced::Nothing;
            let (status, backoff) = (Status::Known, Backoff::default());
            let (learned, via) = (now, Some(from));
            let member = Member {
                identity,
                org,
                record,
                sealed,
                entry_len,
                secret,
                status,
                announced,
                learned,
                via,
                backoff,
                proof_tries: 0,
            };
            self.view.insert(member, first_proof, &self.own.me.org);
            self.look_at(first_proof);
        }
        if let Some(beat) = &beat {
            self.hear_one(now, from, beat);
        }
        self.judge_link(now, pki_id, epoch);
        self.timers.at_latest(Deadline::Connect, now.after(CONNECT_SOON));
        self.start_sweeping(now);
        Ok(())
    }

    /// A hello in this epoch is the proof of life that a new record waits for.
    fn judge_link(&mut self, now: Mono, pki_id: PkiId, epoch: Epoch) {
        if self.connections.links.get(&pki_id).is_some_and(|link| link.epoch == epoch) {
            self.introduced(&pki_id);
            self.mark_alive(now, ShortId::of(&pki_id));
            self.question_rivals(now, &pki_id);
        }
    }

    /// Makes room for one more member of `org`; the dead go first.
    fn make_room(&mut self, org: &OrgId) -> Result<(), DropReason> {
        if self.view.of_org(org) >= self.config.org_members_max {
            let victim = self.oldest_dead(Some(org)).ok_or(DropReason::Full)?;
            self.forget(victim);
        }
        if self.view.len() >= self.config.members_max {
            let victim = self.oldest_dead(None).ok_or(DropReason::Full)?;
            self.forget(victim);
        }
        Ok(())
    }

    /// A newer record of our own: we lost our epoch, or we are two.
    // fabric-differs: Fabric logs that two peers share an identity and goes on.
    pub(crate) fn on_self_heard(&mut self, now: Mono, record: &Record) {
        if record.epoch <= self.own.me.epoch {
            return;
        }
        let lately = |at: Option<Mono>| at.is_some_and(|at| now.since(at) < CONFLICT_EVERY);
        if !lately(self.exchange.raised) {
            self.exchange.raised = Some(now);
            self.out.push(Action::RaiseEpoch { seen: record.epoch });
        } else if !lately(self.exchange.conflict) && self.exchange.raised != Some(now) {
            self.exchange.conflict = Some(now);
            self.out.push(Action::Conflict { epoch: record.epoch });
        }
    }

    pub(crate) fn on_epoch_raised(&mut self, now: Mono, epoch: Epoch) {
        if epoch <= self.own.me.epoch {
            return;
        }
        self.own.set_epoch(epoch, &mut self.rng);
        let peers: Vec<PkiId> = self.connections.links.keys().copied().collect();
        for peer in peers {
            self.ask_soon(now, peer);
        }
    }
}

/// Whether others are told of a member: if it is alive, or if we heard of it a short while ago, so that word of
/// many newcomers does not wait for their proofs at each step of its way. A record of somebody who is no more
/// is told by each peer for this while only, once, and makes nobody alive.
fn is_told(now: Mono, row: &Row) -> bool {
    let news = || now.since(row.member().learned) < HEARSAY_TOLD;
    row.status.is_live() || (row.status == Status::Known && news())
}

/// What is put in one answer.
#[derive(Debug, Default)]
struct Page {
    entries: Vec<MemberEntry>,
    beats: Vec<Beat>,
    len: usize,
    more: bool,
}

impl Page {
    fn entry(&mut self, len: usize, entry: impl FnOnce() -> MemberEntry) {
        if self.entries.len() >= PAGE_ENTRIES || self.len + len > PAGE_LEN {
            self.more = true;
            return;
        }
        self.len += len;
        self.entries.push(entry());
    }

    fn beat(&mut self, beat: &Beat) {
        if self.beats.len() < PAGE_BEATS {
            self.beats.push(beat.clone());
        }
    }
}

/// Bytes of a relayed record's entry, its identity not counted.
pub(crate) fn entry_len_of(message: &Verified<Message>) -> usize {
    ENTRY_OVERHEAD + message.envelope().encoded_len()
}

/// Whether nobody can have restarted that often.
fn epoch_too_far(epoch: Epoch, known: Option<Epoch>) -> bool {
    match known {
        None => epoch.get() >= EPOCH_FIRST_MAX,
        Some(known) => epoch.get() > known.get().saturating_add(EPOCH_STEP_MAX),
    }
}

/// First epoch accepted of an unknown member: below this.
const EPOCH_FIRST_MAX: u64 = 1 << 48;
/// Epochs accepted above the last one known.
const EPOCH_STEP_MAX: u64 = 1 << 20;
/// A neighbour is asked out of turn at most this often.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// Pages of another neighbour are asked for if the one we turned to is silent for this long.
const PAGING_STALLED: Duration = Duration::from_millis(250);
/// How long a member of whom we only heard is told of to others.
const HEARSAY_TOLD: Duration = Duration::from_secs(5);
/// An answer is waited for this long; then the neighbour may be asked again.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Requests that one neighbour may send: four a second at first, and sixteen pages for a thousand members.
const REQUESTS: Rate = Rate { per_second: 8, burst: 32 };
/// Organisations whose requests are counted apart.
const ORGS_MAX: usize = 256;
/// Entries of one neighbour that may be checked at a time: two pages.
pub(crate) const CHECKS_PER_LINK: u32 = 128;
/// Entries remembered as checked or being checked.
pub(crate) const CHECKS_MAX: usize = 8192;
/// For how long.
const CHECKS_KEPT: Duration = Duration::from_secs(10);
/// How often old ones are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(1);
/// Entries and beats in an answer; the message's own bounds.
const PAGE_ENTRIES: usize = 64;
const PAGE_BEATS: usize = 1024;
/// Bytes of entries in an answer: the frame of 256 KiB holds them and the beats.
const PAGE_LEN: usize = (256 << 10) - PAGE_BEATS * 56 - 4096;
/// Bytes of an entry beside record, signature and identity.
const ENTRY_OVERHEAD: usize = 64 + 300 + 80;
/// Bytes of our own entry, at most.
const OWN_ENTRY_LEN: usize = ENTRY_OVERHEAD + (16 << 10) + 2048 + 112;
/// A new member is connected to this much later, with others that came in the same page.
const CONNECT_SOON: Duration = Duration::from_millis(5);
/// Another life of ours is reported at most this often.
const CONFLICT_EVERY: Duration = Duration::from_secs(60);

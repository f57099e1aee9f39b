//! Membership alone on the simulated network, with cheap cryptography.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::panic, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

pub(crate) mod bench;
pub(crate) mod byzantine;
pub(crate) mod swarm;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{MemberEntry, Message, Record, SealedRecord, ShortId};
use gossip_api::{
    Admit, Endpoint, Epoch, IdentityMap, IdentityMapConfig, MessageCryptoService, Mono, NetworkId,
    Now, OrgId, PeerIdentity, PkiId, SecurityAdvisor, Verified, Wall,
};
use gossip_comm::sim::crypto::{Authority, CheapCrypto};
use gossip_comm::sim::{Cluster, Link, PeerSpec, seeded};
use gossip_comm::{Command, Connected, Effect, Event, Host};
use gossip_discovery::{
    Action, CheckedMember, Discovery, DiscoveryConfig, DropReason, Input, Me, MembershipEvent,
};

/// Performs the machine's actions: cryptography at once, the rest over the network.
pub(crate) struct Membership {
    pub(crate) network: NetworkId,
    pub(crate) peers: Vec<Seat>,
    /// (peer, who sent it, why).
    pub(crate) drops: Vec<(usize, PkiId, DropReason)>,
    pub(crate) conflicts: Vec<(usize, Epoch)>,
    /// Whether an epoch that is asked for is granted.
    pub(crate) raise_epochs: bool,
    /// Records verified by anybody, by signature: a thousand peers check a thousand of them, not a million.
    verified: BTreeMap<Bytes, (SealedRecord, PeerIdentity, Verified<Record>)>,
    /// Checks of records that were answered from there.
    pub(crate) checks_saved: u64,
    /// Whoever there is, for judging what is said of whom.
    names: BTreeMap<ShortId, Name>,
    /// The kinds of people among them.
    kinds: BTreeSet<Name>,
    /// What was told, by message, to who must not know it.
    pub(crate) leaks: Vec<String>,
    /// Records that verified, and those of our own making, by whose they are.
    genuine: BTreeMap<ShortId, Vec<Record>>,
    /// What was passed on that nobody can have verified.
    pub(crate) unverified: Vec<String>,
    /// Members that do not keep to the protocol.
    pub(crate) evil: BTreeMap<usize, byzantine::Evil>,
    /// The peer whose machine was given something last.
    pub(crate) touched: usize,
    /// Who handles no message before when: it waits, while the peer's own timers run.
    pub(crate) deaf: BTreeMap<usize, Mono>,
}

/// What disclosure depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    org: OrgId,
    external: bool,
}

/// What the host keeps for one peer.
pub(crate) struct Seat {
    pub(crate) crypto: Arc<CheapCrypto>,
    pub(crate) identities: Arc<IdentityMap>,
    pub(crate) org: OrgId,
    pub(crate) events: Vec<(Mono, MembershipEvent)>,
    /// Which of all starts of peers this one was.
    pub(crate) start: u64,
}

impl Membership {
    pub(crate) fn new() -> Self {
        Self {
            network: NetworkId::new("sim").unwrap(),
            peers: Vec::new(),
            drops: Vec::new(),
            conflicts: Vec::new(),
            raise_epochs: true,
            verified: BTreeMap::new(),
            checks_saved: 0,
            names: BTreeMap::new(),
            kinds: BTreeSet::new(),
            leaks: Vec::new(),
            genuine: BTreeMap::new(),
            unverified: Vec::new(),
            evil: BTreeMap::new(),
            touched: 0,
            deaf: BTreeMap::new(),
        }
    }

    fn check(&mut self, peer: usize, now: Now, from: PkiId, entry: MemberEntry) -> Input {
        match self.checked(peer, now, entry) {
            Some(member) => Input::Checked { from, member },
            None => Input::CheckFailed { from },
        }
    }

    pub(crate) fn checked(
        &mut self,
        peer: usize,
        now: Now,
        entry: MemberEntry,
    ) -> Option<CheckedMember> {
        let MemberEntry { identity, record: sealed, secret, beat } = entry;
        let (identity, sealed, record) = self.verified(peer, now, identity, sealed)?;
        if secret.as_ref().is_some_and(|secret| !secret.belongs_to(record.message())) {
            return None;
        }
        let org = self.peers[peer].crypto.org_by_peer_identity(&identity);
        Some(CheckedMember { org, identity, record, sealed, secret, beat })
    }

    /// The verdict on identity and record, which is the same for everybody: all peers have one authority, and
    /// it is asked once. That a peer would have had to ask is counted all the same.
    fn verified(
        &mut self,
        peer: usize,
        now: Now,
        identity: PeerIdentity,
        sealed: SealedRecord,
    ) -> Option<(PeerIdentity, SealedRecord, Verified<Record>)> {
        let signature = sealed.signature().clone();
        if let Some((known, of, record)) = self.verified.get(&signature)
            && (known, of) == (&sealed, &identity)
        {
            self.checks_saved += 1;
            return Some((of.clone(), known.clone(), record.clone()));
        }
        let seat = &self.peers[peer];
        let (map, network, crypto) = (&seat.identities, &self.network, seat.crypto.as_ref());
        let pki_id = map.put(&identity, crypto, crypto, now).ok()?;
        let (_, signed) = sealed.open().ok()?;
        let message = Verified::signed(signed, None, map, network, crypto, now.mono).ok()?;
        let record = message.narrow(|message| match message {
            Message::Record(record) => Some(record),
            _ => None,
        })?;
        if pki_id != record.message().pki_id {
            return None;
        }
        self.is_genuine(record.message());
        let kept = (sealed.clone(), identity.clone(), record.clone());
        self.verified.insert(signature, kept);
        Some((identity, sealed, record))
    }

    fn is_genuine(&mut self, record: &Record) {
        let known = self.genuine.entry(ShortId::of(&record.pki_id)).or_default();
        if !known.contains(record) {
            known.push(record.clone());
        }
    }

    /// Whoever keeps to the protocol passes on what it verified: records that their members signed, and beats
    /// that are links of their chains. Looked at in small networks, as it costs hashing.
    fn note_unverified(&mut self, teller: usize, message: &Message) {
        let (entries, beats) = match message {
            Message::MembershipResponse(response) => {
                (response.alive.as_slice(), response.beats.as_slice())
            }
            Message::Beats(beats) => (&[][..], beats.beats.as_slice()),
            _ => return,
        };
        if self.names.len() > STEPWISE {
            return;
        }
        let known = |of: &ShortId| self.genuine.get(of).map_or(&[][..], Vec::as_slice);
        let records = entries.iter().map(|entry| entry.record.open().unwrap().0);
        let forged = records.filter(|record| !known(&ShortId::of(&record.pki_id)).contains(record));
        let mut found: Vec<String> =
            forged.map(|record| format!("{teller} passes on {record:?}")).collect();
        let carried = entries.iter().filter_map(|entry| entry.beat.as_deref());
        let forged = beats
            .iter()
            .chain(carried)
            .filter(|beat| !known(&beat.member).iter().any(|record| record.accepts(beat, None)));
        found.extend(forged.map(|beat| format!("{teller} passes on {beat:?}")));
        self.unverified.extend(found);
    }

    pub(crate) fn sign(&self, peer: usize, message: Message) -> Verified<Message> {
        let seat = &self.peers[peer];
        Verified::own(message, seat.crypto.pki_id(), &self.network, seat.crypto.as_ref()).unwrap()
    }

    /// Every name in a message is one that its listener may hear from its teller.
    fn note(&mut self, teller: usize, to: PkiId, message: &Message) {
        let (own, to) = (ShortId::of(&self.peers[teller].crypto.pki_id()), ShortId::of(&to));
        let (Some(from), Some(listener)) = (self.names.get(&own), self.names.get(&to)) else {
            return;
        };
        let inside = from.org == listener.org;
        let entries = match message {
            Message::MembershipResponse(response) => response.alive.as_slice(),
            Message::MembershipRequest(request) => std::slice::from_ref(&request.me),
            _ => &[],
        };
        // Where everybody may be told of everybody, names are looked at in small networks alone.
        if self.names.len() > STEPWISE
            && self.kinds.iter().all(|kind| may_hear(from, listener, kind, false))
            && (inside || entries.iter().all(|entry| entry.secret.is_none()))
        {
            return;
        }
        let entries = entries.iter().map(|entry| {
            (ShortId::of(&entry.record.open().unwrap().0.pki_id), entry.secret.is_some())
        });
        let named: Vec<ShortId> = match message {
            Message::MembershipResponse(response) => {
                response.beats.as_slice().iter().map(|beat| beat.member).collect()
            }
            Message::MembershipRequest(request) => {
                request.known.as_slice().iter().map(|known| known.member).collect()
            }
            Message::Beats(beats) => beats.beats.as_slice().iter().map(|b| b.member).collect(),
            Message::Probe(probe) => probe.asks.as_slice().iter().map(|ask| ask.target).collect(),
            Message::Record(record) => vec![ShortId::of(&record.pki_id)],
            Message::ProofOfLife(proof) => vec![ShortId::of(&proof.pki_id)],
            _ => Vec::new(),
        };
        let told = entries.chain(named.into_iter().map(|about| (about, false)));
        let kind = message.kind();
        let mut leaks = Vec::new();
        for (about, secret) in told {
            let Some(subject) = self.names.get(&about) else {
                leaks.push(format!("{kind:?} names {about:?}, whom nobody made"));
                continue;
            };
            let allowed = about == to || may_hear(from, listener, subject, about == own);
            if !allowed || (secret && !(inside && subject.org == from.org)) {
                leaks.push(format!(
                    "{kind:?} of {own:?} tells {to:?} of {about:?}, secret {secret}"
                ));
            }
        }
        self.leaks.extend(leaks);
    }
}

/// Fabric's rules of disclosure, said once more: who may be told of whom.
fn may_hear(from: &Name, listener: &Name, subject: &Name, oneself: bool) -> bool {
    if from.org == listener.org {
        subject.org == from.org || subject.external
    } else if subject.org == listener.org {
        true
    } else {
        subject.org == from.org && subject.external && (listener.external || oneself)
    }
}

impl Host for Membership {
    type Machine = Discovery;

    fn perform(&mut self, peer: usize, now: Now, action: Action) -> Vec<Effect<Input>> {
        match action {
            Action::Dial { endpoint, expect } => {
                vec![Effect::Command(Command::Dial { endpoint, expect })]
            }
            Action::Send { to, message } => {
                if self.evil.contains_key(&peer) {
                    return self.twist(peer, to, message);
                }
                self.note(peer, to.pki_id, &message);
                self.note_unverified(peer, &message);
                let envelope = gossip_api::Envelope::unsigned(&message);
                vec![Effect::Command(Command::Send { to, envelope })]
            }
            Action::Forward { to, message } => {
                self.note(peer, to.pki_id, message.message());
                let envelope = message.envelope().clone();
                vec![Effect::Command(Command::Send { to, envelope })]
            }
            Action::Sign(record) => {
                self.is_genuine(&record);
                let signed = self.sign(peer, Message::Record(record));
                let record = signed.narrow(|message| match message {
                    Message::Record(record) => Some(record),
                    _ => None,
                });
                vec![Effect::Input(Input::Signed(record.unwrap()))]
            }
            Action::Prove(proof) => {
                let signed = self.sign(peer, Message::ProofOfLife(proof));
                vec![Effect::Input(Input::Proved(signed))]
            }
            Action::Check { from, entry } => {
                vec![Effect::Input(self.check(peer, now, from, entry))]
            }
            Action::Disconnect { peer, reason } => {
                vec![Effect::Command(Command::Close { peer, reason })]
            }
            Action::RaiseEpoch { seen } => {
                let raised = Epoch::new(seen.get() + 1);
                let granted =
                    self.raise_epochs.then_some(Effect::Input(Input::EpochRaised(raised)));
                granted.into_iter().collect()
            }
            Action::Conflict { epoch } => {
                self.conflicts.push((peer, epoch));
                Vec::new()
            }
            Action::Notify(event) => {
                self.peers[peer].events.push((now.mono, event));
                Vec::new()
            }
            Action::Drop { from, reason } => {
                self.drops.push((peer, from, reason));
                Vec::new()
            }
        }
    }

    fn receive(
        &mut self,
        machine: &Discovery,
        peer: usize,
        now: Now,
        event: Event,
    ) -> Vec<Effect<Input>> {
        self.touched = peer;
        let input = match event {
            Event::Connected(Connected { peer: who, identity, org, epoch, dialled }) => {
                let seat = &self.peers[peer];
                let crypto = seat.crypto.as_ref();
                seat.identities.put(&identity, crypto, crypto, now).ok();
                Input::Connected { peer: who, identity, org, epoch, dialled }
            }
            Event::Disconnected { peer, .. } => Input::Disconnected { peer },
            Event::DialFailed { endpoint, .. } => Input::DialFailed { endpoint },
            Event::Received { from, message } => {
                let header = message.message.header();
                if let Admit::Drop(_) = machine.admit(now, &from, &header) {
                    return Vec::new();
                }
                let seat = &self.peers[peer];
                let verified = match message.message.origin() {
                    gossip_api::message::Origin::Sender => Verified::sender(message, from),
                    gossip_api::message::Origin::Signed(_) => Verified::signed(
                        message,
                        None,
                        &seat.identities,
                        &self.network,
                        seat.crypto.as_ref(),
                        now.mono,
                    ),
                };
                let Ok(message) = verified else { return Vec::new() };
                Input::Received { from, message }
            }
            _ => return Vec::new(),
        };
        match self.deaf.get(&peer).filter(|until| **until > now.mono) {
            Some(until) => vec![Effect::InputAfter(until.since(now.mono), input)],
            None => vec![Effect::Input(input)],
        }
    }

    fn tick(&mut self, peer: usize, _now: Now) -> Input {
        self.touched = peer;
        Input::Tick
    }
}

/// Who a peer of a test is.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) org: OrgId,
    pub(crate) index: u32,
    pub(crate) serial: u32,
    pub(crate) epoch: Epoch,
    pub(crate) internal: Endpoint,
    pub(crate) external: Option<Endpoint>,
}

impl Person {
    pub(crate) fn new(org: &str, index: u32) -> Self {
        let internal = endpoint(&format!("{org}-{index}:7051"));
        Self {
            org: OrgId::new(org).unwrap(),
            index,
            serial: 0,
            epoch: Epoch::new(1),
            external: Some(internal.clone()),
            internal,
        }
    }

    pub(crate) fn hidden(self) -> Self {
        Self { external: None, ..self }
    }

    pub(crate) fn epoch(self, epoch: u64) -> Self {
        Self { epoch: Epoch::new(epoch), ..self }
    }
}

/// Peers that do nothing but membership.
pub(crate) struct Net {
    pub(crate) cluster: Cluster<Membership>,
    pub(crate) authority: Arc<Authority>,
    pub(crate) config: DiscoveryConfig,
    pub(crate) people: Vec<Person>,
    starts: u64,
}

impl Net {
    pub(crate) fn new(seed: u64, link: Link, config: DiscoveryConfig) -> Self {
        let mut cluster = Cluster::new(seed, link, Membership::new());
        cluster.on_step(|cluster| {
            let few = cluster.peers() <= STEPWISE;
            // Whose machine was not touched is as it was.
            let touched = cluster.host().touched;
            let looked_at = if few { touched..touched + 1 } else { 0..cluster.peers() };
            for peer in looked_at {
                if let Err(broken) = gossip_discovery::invariants::check(cluster.machine(peer)) {
                    panic!("peer {peer} at {}: {broken}", cluster.now().mono);
                }
            }
        });
        Self { cluster, authority: Authority::new(seed), config, people: Vec::new(), starts: 0 }
    }

    /// Peers of one organisation that all know the first one's address.
    pub(crate) fn started(seed: u64, count: u32, config: DiscoveryConfig) -> Self {
        let mut net = Self::new(seed, Link::lan(), config);
        for index in 0..count {
            net.add(Person::new("A", index));
        }
        net.bootstrap_all(0);
        net
    }

    pub(crate) fn add(&mut self, person: Person) -> usize {
        let (spec, machine, seat) = self.make(&person);
        self.name(spec.pki_id, &person);
        self.cluster.host_mut().peers.push(seat);
        self.people.push(person);
        self.cluster.add_peer(spec, machine)
    }

    /// Everybody is told the address of `peer`.
    pub(crate) fn bootstrap_all(&mut self, peer: usize) {
        for other in 0..self.people.len() {
            self.connect(other, peer);
        }
    }

    pub(crate) fn connect(&mut self, peer: usize, to: usize) {
        let endpoint = self.people[to].internal.clone();
        self.cluster.inject(peer, Input::Connect { endpoint });
    }

    pub(crate) fn restart(&mut self, peer: usize, person: Person) {
        let (spec, machine, seat) = self.make(&person);
        self.name(spec.pki_id, &person);
        let events = std::mem::take(&mut self.cluster.host_mut().peers[peer].events);
        self.cluster.host_mut().peers[peer] = Seat { events, ..seat };
        self.people[peer] = person;
        self.cluster.restart(peer, spec, machine);
    }

    fn name(&mut self, pki_id: PkiId, person: &Person) {
        let name = Name { org: person.org.clone(), external: person.external.is_some() };
        let host = self.cluster.host_mut();
        host.kinds.insert(name.clone());
        host.names.insert(ShortId::of(&pki_id), name);
    }

    fn make(&mut self, person: &Person) -> (PeerSpec, Discovery, Seat) {
        let identity = self.authority.renewed(&person.org, person.index, person.serial);
        let crypto = Arc::new(self.authority.crypto(identity.clone()));
        let now = self.cluster.now();
        let config = IdentityMapConfig::default().checked().unwrap();
        // One map for all, so that a thousand peers validate a thousand identities, not a million.
        let identities = match self.cluster.host().peers.first() {
            Some(seat) => Arc::clone(&seat.identities),
            None => Arc::new(
                IdentityMap::new(config, &identity, crypto.as_ref(), crypto.as_ref(), now).unwrap(),
            ),
        };
        identities.put(&identity, crypto.as_ref(), crypto.as_ref(), now).unwrap();
        let pki_id = crypto.pki_id_of_cert(&identity).unwrap();
        let me = Me {
            pki_id,
            identity: identity.clone(),
            org: person.org.clone(),
            epoch: person.epoch,
            external_endpoint: person.external.clone(),
            internal_endpoint: person.internal.clone(),
            metadata: Bytes::from_static(b"metadata"),
        };
        self.starts += 1;
        let rng = seeded(self.cluster.seed(), 1_000 + self.starts);
        let machine = Discovery::new(self.config.clone().checked().unwrap(), me, rng, now);
        let spec = PeerSpec {
            pki_id,
            identity,
            org: Some(person.org.clone()),
            endpoint: person.internal.clone(),
            epoch: person.epoch,
        };
        let (events, start) = (Vec::new(), self.starts);
        (spec, machine, Seat { crypto, identities, org: person.org.clone(), events, start })
    }

    pub(crate) fn pki_id(&self, peer: usize) -> PkiId {
        self.cluster.spec(peer).pki_id
    }

    /// How many members `peer` sees alive.
    pub(crate) fn sees(&self, peer: usize) -> usize {
        self.cluster.machine(peer).members().len()
    }

    pub(crate) fn sees_peer(&self, peer: usize, other: usize) -> bool {
        let other = self.pki_id(other);
        self.cluster.machine(peer).members().iter().any(|member| member.pki_id == other)
    }

    /// Whether every running peer sees exactly the other running ones.
    pub(crate) fn views_are_full(&self) -> bool {
        let running: BTreeSet<PkiId> = (0..self.people.len())
            .filter(|p| self.cluster.is_up(*p))
            .map(|p| self.pki_id(p))
            .collect();
        (0..self.people.len()).filter(|peer| self.cluster.is_up(*peer)).all(|peer| {
            let machine = self.cluster.machine(peer);
            machine.stats().alive == running.len() - 1
                && machine.members().iter().all(|member| running.contains(&member.pki_id))
        })
    }

    /// Runs until `holds`; the virtual time it took. Panics after `limit`.
    pub(crate) fn until(
        &mut self,
        limit: Duration,
        what: &str,
        holds: impl Fn(&Self) -> bool,
    ) -> Duration {
        let start = self.cluster.now().mono;
        let end = start.after(limit);
        while !holds(self) {
            if self.cluster.now().mono >= end {
                let seen: Vec<usize> = (0..self.people.len()).map(|p| self.sees(p)).collect();
                panic!(
                    "not within {limit:?}: {what}; seen {seen:?}\nSIM_SEED={}",
                    self.cluster.seed()
                );
            }
            self.cluster.run_for(Duration::from_millis(10));
        }
        self.cluster.now().mono.since(start)
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.cluster.run_for(time);
    }

    pub(crate) fn events(&self, peer: usize) -> &[(Mono, MembershipEvent)] {
        &self.cluster.host().peers[peer].events
    }

    pub(crate) fn deaths(&self) -> usize {
        let peers = self.cluster.host().peers.iter();
        peers
            .flat_map(|seat| &seat.events)
            .filter(|(_, event)| matches!(event, MembershipEvent::Dead(_)))
            .count()
    }
}

/// Up to this many peers the simulation looks at invariants after every step.
const STEPWISE: usize = 20;

pub(crate) fn endpoint(name: &str) -> Endpoint {
    Endpoint::new(name).unwrap()
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn at(time: Duration) -> Now {
    Now { mono: Mono::ZERO.after(time), wall: Wall::from_unix_seconds(1_767_225_600) }
}

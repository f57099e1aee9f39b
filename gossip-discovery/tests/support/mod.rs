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
use gossip_api::message::{Kind, MemberEntry, Message, Record, SealedRecord, ShortId};
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
    /// Pairs (listener, subject) of whom the listener was told a record, for tests of disclosure.
    pub(crate) told: BTreeSet<(PkiId, PkiId)>,
    /// Whoever there is, for judging what is said of whom.
    names: BTreeMap<ShortId, Name>,
    /// What was told, by message, to who must not know it.
    pub(crate) leaks: Vec<String>,
    /// Members that do not keep to the protocol.
    pub(crate) evil: BTreeMap<usize, byzantine::Evil>,
    /// The peer whose machine was given something last.
    pub(crate) touched: usize,
}

/// What disclosure depends on.
#[derive(Clone, Debug)]
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
            told: BTreeSet::new(),
            names: BTreeMap::new(),
            leaks: Vec::new(),
            evil: BTreeMap::new(),
            touched: 0,
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
        let seat = &self.peers[peer];
        let crypto = seat.crypto.as_ref();
        let pki_id = seat.identities.put(&entry.identity, crypto, crypto, now).ok()?;
        let (identity, sealed, record) = self.verified(peer, now, entry.identity, entry.record)?;
        if pki_id != record.message().pki_id {
            return None;
        }
        if entry.secret.as_ref().is_some_and(|secret| !secret.belongs_to(record.message())) {
            return None;
        }
        let org = self.peers[peer].crypto.org_by_peer_identity(&identity);
        let (secret, beat) = (entry.secret, entry.beat);
        Some(CheckedMember { org, identity, record, sealed, secret, beat })
    }

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
        let (_, signed) = sealed.open().ok()?;
        let (map, network, crypto) = (&seat.identities, &self.network, seat.crypto.as_ref());
        let message = Verified::signed(signed, None, map, network, crypto, now.mono).ok()?;
        let record = message.narrow(|message| match message {
            Message::Record(record) => Some(record),
            _ => None,
        })?;
        let kept = (sealed.clone(), identity.clone(), record.clone());
        self.verified.insert(signature, kept);
        Some((identity, sealed, record))
    }

    pub(crate) fn sign(&self, peer: usize, message: Message) -> Verified<Message> {
        let seat = &self.peers[peer];
        Verified::own(message, seat.crypto.pki_id(), &self.network, seat.crypto.as_ref()).unwrap()
    }

    /// Every name in a message is one that its listener may hear from its teller.
    fn note(&mut self, teller: usize, to: PkiId, message: &Message) {
        let kind = message.kind();
        let entries = match message {
            Message::MembershipResponse(response) => response.alive.as_slice().to_vec(),
            Message::MembershipRequest(request) => vec![request.me.clone()],
            _ => Vec::new(),
        };
        for entry in entries {
            let about = entry.record.open().unwrap().0.pki_id;
            if matches!(message, Message::MembershipResponse(_)) {
                self.told.insert((to, about));
            }
            self.judge(teller, to, ShortId::of(&about), entry.secret.is_some(), kind);
        }
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
        for about in named {
            self.judge(teller, to, about, false, kind);
        }
    }

    /// behaviour.md 6.13, said once more: who may be told of whom, and who its secret.
    fn judge(&mut self, teller: usize, to: PkiId, about: ShortId, secret: bool, kind: Kind) {
        let own = ShortId::of(&self.peers[teller].crypto.pki_id());
        let to = ShortId::of(&to);
        let (Some(from), Some(listener), Some(subject)) =
            (self.names.get(&own), self.names.get(&to), self.names.get(&about))
        else {
            return self.leaks.push(format!("{kind:?} names {about:?}, whom nobody made"));
        };
        let inside = from.org == listener.org;
        let named = if about == to {
            true
        } else if inside {
            subject.org == from.org || subject.external
        } else if subject.org == listener.org {
            true
        } else {
            subject.org == from.org && subject.external && (listener.external || about == own)
        };
        if !named || (secret && !(inside && subject.org == from.org)) {
            let text = format!("{kind:?} of {own:?} tells {to:?} of {about:?}, secret {secret}");
            self.leaks.push(text);
        }
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
                    return self.twist(peer, now, to, message);
                }
                self.note(peer, to.pki_id, &message);
                let envelope = gossip_api::Envelope::unsigned(&message);
                vec![Effect::Command(Command::Send { to, envelope })]
            }
            Action::Forward { to, message } => {
                self.note(peer, to.pki_id, message.message());
                let envelope = message.envelope().clone();
                vec![Effect::Command(Command::Send { to, envelope })]
            }
            Action::Sign(record) => {
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
        vec![Effect::Input(input)]
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
        self.cluster.host_mut().names.insert(ShortId::of(&pki_id), name);
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

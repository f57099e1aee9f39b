//! One machine, driven by hand, with everybody else played by the test.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{
    Beat, Known, MemberEntry, MembershipRequest, MembershipResponse, Message, ProofOfLife, Record,
    SealedRecord, Secret, ShortId, chain_step,
};
use gossip_api::{
    Admit, Blob, Bounded, Epoch, IdentityMap, IdentityMapConfig, Machine, Mono, NetworkId, Nonce,
    Now, PkiId, SecurityAdvisor, Verified, Wall,
};
use gossip_comm::sim::crypto::{Authority, CheapCrypto};
use gossip_comm::sim::seeded;
use gossip_discovery::{
    Action, CheckedMember, Discovery, DiscoveryConfig, DropReason, Input, Me, MembershipEvent,
    invariants,
};

use super::{Person, ms};

/// The machine under test, its clock, and what it did.
pub(crate) struct Bench {
    pub(crate) authority: Arc<Authority>,
    pub(crate) crypto: CheapCrypto,
    pub(crate) identities: IdentityMap,
    pub(crate) network: NetworkId,
    pub(crate) machine: Discovery,
    pub(crate) me: Person,
    pub(crate) now: Now,
    /// Every action since it was last taken, checks and signatures done.
    pub(crate) actions: Vec<Action>,
    /// Checks of signatures made.
    pub(crate) checks: usize,
    /// Whether epochs asked for are granted.
    pub(crate) raise_epochs: bool,
    answered: BTreeSet<Nonce>,
}

/// A peer played by the test.
pub(crate) struct Other {
    pub(crate) person: Person,
    pub(crate) crypto: CheapCrypto,
    pub(crate) pki_id: PkiId,
    pub(crate) record: Record,
    pub(crate) secret: Secret,
    pub(crate) sealed: SealedRecord,
    pub(crate) signed: Verified<Message>,
    links: Vec<[u8; 32]>,
    network: NetworkId,
}

impl Other {
    pub(crate) fn new(authority: &Arc<Authority>, person: Person) -> Self {
        let network = NetworkId::new("sim").unwrap();
        let identity = authority.renewed(&person.org, person.index, person.serial);
        let crypto = authority.crypto(identity);
        let pki_id = crypto.pki_id();
        let seed = [u8::try_from(person.index % 251).unwrap(); 32];
        let links: Vec<[u8; 32]> =
            std::iter::successors(Some(seed), |link| Some(chain_step(link))).take(65).collect();
        let secret = Secret { internal_endpoint: person.internal.clone(), salt: [5; 32] };
        let record = Record {
            pki_id,
            epoch: person.epoch,
            version: 0,
            endpoint: person.external.clone(),
            secret: secret.commitment(&pki_id, person.epoch),
            metadata: Blob::default(),
            first_beat: 0,
            chain_len: 64,
            chain_end: links[64],
        };
        let signed =
            Verified::own(Message::Record(record.clone()), pki_id, &network, &crypto).unwrap();
        let sealed = SealedRecord::from_envelope(signed.envelope()).unwrap();
        Self { person, crypto, pki_id, record, secret, sealed, signed, links, network }
    }

    /// The same peer, saying something else of itself.
    pub(crate) fn saying(mut self, change: impl FnOnce(&mut Record)) -> Self {
        change(&mut self.record);
        let message = Message::Record(self.record.clone());
        self.signed = Verified::own(message, self.pki_id, &self.network, &self.crypto).unwrap();
        self.sealed = SealedRecord::from_envelope(self.signed.envelope()).unwrap();
        self
    }

    pub(crate) fn beat(&self, sequence: u64) -> Beat {
        let index = 63 - usize::try_from(sequence).unwrap();
        Beat {
            member: ShortId::of(&self.pki_id),
            epoch: self.record.epoch,
            sequence,
            preimage: self.links[index],
        }
    }

    pub(crate) fn entry(&self) -> MemberEntry {
        MemberEntry {
            identity: self.crypto.identity().clone(),
            record: self.sealed.clone(),
            secret: Some(self.secret.clone()),
            beat: None,
        }
    }

    pub(crate) fn proof(&self, nonces: Vec<Nonce>) -> Verified<Message> {
        let proof = ProofOfLife {
            pki_id: self.pki_id,
            epoch: self.record.epoch,
            sequence: 0,
            nonces: Bounded::truncated(nonces),
        };
        Verified::own(Message::ProofOfLife(proof), self.pki_id, &self.network, &self.crypto)
            .unwrap()
    }

    pub(crate) fn message(&self, message: Message) -> Verified<Message> {
        Verified::own(message, self.pki_id, &self.network, &self.crypto).unwrap()
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(DiscoveryConfig::default(), Person::new("A", 0))
    }

    pub(crate) fn with(config: DiscoveryConfig, me: Person) -> Self {
        let authority = Authority::new(1);
        let identity = authority.renewed(&me.org, me.index, me.serial);
        let crypto = authority.crypto(identity.clone());
        let now =
            Now { mono: Mono::ZERO.after(ms(1)), wall: Wall::from_unix_seconds(1_767_225_600) };
        let map = IdentityMapConfig::default().checked().unwrap();
        let identities = IdentityMap::new(map, &identity, &crypto, &crypto, now).unwrap();
        let who = Me {
            pki_id: crypto.pki_id(),
            identity,
            org: me.org.clone(),
            epoch: me.epoch,
            external_endpoint: me.external.clone(),
            internal_endpoint: me.internal.clone(),
            metadata: Bytes::new(),
        };
        let machine = Discovery::new(config.checked().unwrap(), who, seeded(1, 0), now);
        let network = NetworkId::new("sim").unwrap();
        Self {
            authority,
            crypto,
            identities,
            network,
            machine,
            me,
            now,
            actions: Vec::new(),
            checks: 0,
            raise_epochs: true,
            answered: BTreeSet::new(),
        }
    }

    pub(crate) fn other(&self, index: u32) -> Other {
        Other::new(&self.authority, Person::new("A", index))
    }

    /// Gives one input, and does at once what the machine asks the host for.
    pub(crate) fn give(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for action in self.machine.handle(self.now, input) {
                inputs.extend(self.perform(&action));
                self.actions.push(action);
            }
        }
        invariants::check(&self.machine).unwrap();
    }

    fn perform(&mut self, action: &Action) -> Option<Input> {
        match action {
            Action::Sign(record) => {
                let own = self.crypto.pki_id();
                let message = Message::Record(record.clone());
                let signed = Verified::own(message, own, &self.network, &self.crypto).unwrap();
                signed
                    .narrow(|message| match message {
                        Message::Record(record) => Some(record),
                        _ => None,
                    })
                    .map(Input::Signed)
            }
            Action::Prove(proof) => {
                let own = self.crypto.pki_id();
                let message = Message::ProofOfLife(proof.clone());
                Some(Input::Proved(
                    Verified::own(message, own, &self.network, &self.crypto).unwrap(),
                ))
            }
            Action::Check { from, entry } => {
                self.checks += 1;
                let from = *from;
                Some(match self.check(entry.clone()) {
                    Some(member) => Input::Checked { from, member },
                    None => Input::CheckFailed { from },
                })
            }
            Action::RaiseEpoch { seen } if self.raise_epochs => {
                Some(Input::EpochRaised(Epoch::new(seen.get() + 1)))
            }
            _ => None,
        }
    }

    fn check(&self, entry: MemberEntry) -> Option<CheckedMember> {
        let (record, signed) = entry.record.open().ok()?;
        let put =
            self.identities.put(&entry.identity, &self.crypto, &self.crypto, self.now).ok()?;
        if put != record.pki_id
            || entry.secret.as_ref().is_some_and(|secret| !secret.belongs_to(&record))
        {
            return None;
        }
        let map = &self.identities;
        let signed =
            Verified::signed(signed, None, map, &self.network, &self.crypto, self.now.mono).ok()?;
        Some(CheckedMember {
            org: self.crypto.org_by_peer_identity(&entry.identity),
            identity: entry.identity,
            record: signed.narrow(|message| match message {
                Message::Record(record) => Some(record),
                _ => None,
            })?,
            sealed: entry.record,
            secret: entry.secret,
            beat: entry.beat,
        })
    }

    /// Lets time pass, with every wake-up on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.mono.after(time);
        while let Some(wakeup) = self.machine.next_wakeup().filter(|wakeup| wakeup.at <= end) {
            self.now.mono = wakeup.at.max(self.now.mono);
            self.give(Input::Tick);
        }
        self.now.mono = end;
    }

    pub(crate) fn connect(&mut self, other: &Other) {
        self.connect_as(other, None);
    }

    pub(crate) fn connect_as(&mut self, other: &Other, dialled: Option<gossip_api::Endpoint>) {
        self.identities.put(other.crypto.identity(), &self.crypto, &self.crypto, self.now).unwrap();
        self.give(Input::Connected {
            peer: other.pki_id,
            identity: other.crypto.identity().clone(),
            org: Some(other.person.org.clone()),
            epoch: other.record.epoch,
            dialled,
        });
    }

    /// Connected, introduced and alive.
    pub(crate) fn befriend(&mut self, other: &Other) {
        self.connect(other);
        self.ask_from(other, Vec::new());
        assert!(self.sees(&other.pki_id));
    }

    /// What arrives from a peer: admitted first, as by the driver. Whether it was.
    pub(crate) fn receive(&mut self, from: &Other, message: Verified<Message>) -> bool {
        let header = message.message().header();
        match self.machine.admit(self.now, &from.pki_id, &header) {
            Admit::Accept => {
                self.give(Input::Received { from: from.pki_id, message });
                true
            }
            Admit::Drop(_) => false,
        }
    }

    pub(crate) fn send_from(&mut self, from: &Other, message: Message) -> bool {
        self.receive(from, from.message(message))
    }

    pub(crate) fn ask_from(&mut self, from: &Other, known: Vec<Known>) -> bool {
        let (nonce, known) = (Nonce::new(1), Bounded::truncated(known));
        let request = MembershipRequest { nonce, me: from.entry(), known };
        self.send_from(from, Message::MembershipRequest(request))
    }

    /// Answers the machine's open question to `from` with these entries.
    pub(crate) fn answer_from(&mut self, from: &Other, alive: Vec<MemberEntry>) -> bool {
        let nonce = self.question_to(from).expect("a question is open");
        self.answer_as(from, nonce, alive)
    }

    pub(crate) fn answer_as(
        &mut self,
        from: &Other,
        nonce: Nonce,
        alive: Vec<MemberEntry>,
    ) -> bool {
        let alive = Bounded::truncated(alive);
        let response = MembershipResponse { nonce, alive, beats: Bounded::default(), more: false };
        self.send_from(from, Message::MembershipResponse(response))
    }

    /// The nonce of the newest request to `to`.
    pub(crate) fn question_to(&self, to: &Other) -> Option<Nonce> {
        self.sent_to(to).into_iter().rev().find_map(|message| match message {
            Message::MembershipRequest(request) => Some(request.nonce),
            _ => None,
        })
    }

    pub(crate) fn sent_to(&self, to: &Other) -> Vec<Message> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                Action::Send { to: peer, message } if peer.pki_id == to.pki_id => {
                    Some(message.clone())
                }
                Action::Forward { to: peer, message } if peer.pki_id == to.pki_id => {
                    Some(message.message().clone())
                }
                _ => None,
            })
            .collect()
    }

    pub(crate) fn responses_to(&self, to: &Other) -> Vec<MembershipResponse> {
        let sent = self.sent_to(to).into_iter();
        sent.filter_map(|message| match message {
            Message::MembershipResponse(response) => Some(response),
            _ => None,
        })
        .collect()
    }

    /// Nonces asked for, by target, in what was sent to `to`.
    pub(crate) fn asked_of(&self, to: &Other) -> BTreeMap<ShortId, Vec<Nonce>> {
        let mut asked: BTreeMap<ShortId, Vec<Nonce>> = BTreeMap::new();
        for message in self.sent_to(to) {
            if let Message::Probe(probe) = message {
                for ask in probe.asks.as_slice() {
                    asked.entry(ask.target).or_default().push(ask.nonce);
                }
            }
        }
        asked
    }

    /// Proves that `friend` lives, as often as it was asked to.
    pub(crate) fn answer_probes(&mut self, friend: &Other) {
        let asked = self.asked_of(friend).remove(&ShortId::of(&friend.pki_id)).unwrap_or_default();
        let fresh: Vec<Nonce> =
            asked.into_iter().filter(|nonce| self.answered.insert(*nonce)).collect();
        for nonces in fresh.chunks(64) {
            self.receive(friend, friend.proof(nonces.to_vec()));
        }
    }

    pub(crate) fn drops(&self) -> Vec<DropReason> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                Action::Drop { reason, .. } => Some(*reason),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn events(&self) -> Vec<MembershipEvent> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                Action::Notify(event) => Some(event.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn sees(&self, peer: &PkiId) -> bool {
        self.machine.members().iter().any(|member| member.pki_id == *peer)
    }
}

//! The machine: what goes in, what comes out, and who handles what.

use bytes::Bytes;
use gossip_api::message::{
    Beat, CloseReason, Kind, MemberEntry, ProofOfLife, Record, SealedRecord, Secret, ShortId,
};
use gossip_api::{
    Admit, Checked, Endpoint, Epoch, Machine, Message, MessageHeader, Mono, NetworkMember, Now,
    OrgId, PeerIdentity, PkiId, RemotePeer, Verified, Wakeup,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::alive::Relay;
use crate::config::DiscoveryConfig;
use crate::connect::Connections;
use crate::disclose::{Listener, Subject, may_tell, may_tell_secret};
use crate::error::DropReason;
use crate::health::Health;
use crate::member::{Announced, Status};
use crate::metrics::{Counters, Stats};
use crate::own::{Me, Own};
use crate::probe::Probes;
use crate::sync::Exchange;
use crate::timers::{Deadline, Timers};
use crate::view::View;

/// A fact or a request that the machine is told.
#[derive(Clone, Debug)]
pub enum Input {
    /// Dial this address and keep trying: a bootstrap or anchor peer. Who answers is known by its identity.
    Connect {
        /// Where.
        endpoint: Endpoint,
    },
    /// Nobody names this address any more: it is no longer dialled for its own sake.
    Unname {
        /// Where.
        endpoint: Endpoint,
    },
    /// A peer proved its identity on a connection.
    Connected {
        /// Who.
        peer: PkiId,
        /// Its identity, valid when the connection was made.
        identity: PeerIdentity,
        /// Its organisation.
        org: Option<OrgId>,
        /// Which life of it, as its hello says.
        epoch: Epoch,
        /// The endpoint that we dialled; nothing if it dialled us.
        dialled: Option<Endpoint>,
    },
    /// The last connection to a peer is gone.
    Disconnected {
        /// Whose.
        peer: PkiId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Where.
        endpoint: Endpoint,
    },
    /// A message, vouched for by its connection, or by its signature if it is of a signed kind.
    Received {
        /// Whose connection.
        from: PkiId,
        /// The message.
        message: Verified<Message>,
    },
    /// Answer to [`Action::Check`]: all of it is as it should be.
    Checked {
        /// Who sent the entry.
        from: PkiId,
        /// The entry, proved.
        member: CheckedMember,
    },
    /// Answer to [`Action::Check`]: something is wrong with the entry.
    CheckFailed {
        /// Who sent it.
        from: PkiId,
    },
    /// Answer to [`Action::Sign`].
    Signed(Verified<Record>),
    /// Answer to [`Action::Prove`].
    Proved(Verified<Message>),
    /// Answer to [`Action::RaiseEpoch`]: this epoch of ours is stored.
    EpochRaised(Epoch),
    /// The host replaced our metadata.
    UpdateMetadata(Bytes),
    /// Other organisations dial us elsewhere from now on; nothing hides us from them.
    UpdateEndpoint(Option<Endpoint>),
    /// The identity of a peer is no longer valid: forget it at once.
    Expelled {
        /// Whose.
        peer: PkiId,
    },
    /// A wake-up that was asked for is due.
    Tick,
}

/// An entry whose identity is valid, whose record verifies under it, and whose secret is the record's.
#[derive(Clone, Debug)]
pub struct CheckedMember {
    /// The identity.
    pub identity: PeerIdentity,
    /// Its organisation.
    pub org: Option<OrgId>,
    /// The record, proved.
    pub record: Verified<Record>,
    /// Its bytes.
    pub sealed: SealedRecord,
    /// The secret, if it came with the entry.
    pub secret: Option<Secret>,
    /// The beat that came with the entry; judged here.
    pub beat: Option<Box<Beat>>,
}

/// What the driver is to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Have a connection to whoever answers at `endpoint`.
    Dial {
        /// Where.
        endpoint: Endpoint,
        /// Who must answer; anybody acceptable if not given.
        expect: Option<PkiId>,
    },
    /// Send a message of a kind that its connection vouches for.
    Send {
        /// To whom.
        to: RemotePeer,
        /// What.
        message: Message,
    },
    /// Pass on a signed message as it was received, or publish one of ours.
    Forward {
        /// To whom.
        to: RemotePeer,
        /// What.
        message: Verified<Message>,
    },
    /// Sign our record; answered by [`Input::Signed`].
    Sign(Record),
    /// Sign that we live; answered by [`Input::Proved`].
    Prove(ProofOfLife),
    /// Validate identity, record and secret; answered by [`Input::Checked`] or [`Input::CheckFailed`].
    Check {
        /// Who sent it.
        from: PkiId,
        /// What.
        entry: MemberEntry,
    },
    /// Close the connection to a peer.
    Disconnect {
        /// Whose.
        peer: PkiId,
        /// Why.
        reason: CloseReason,
    },
    /// A peer showed a record of ours that is newer than we are: an epoch above `seen` is to be stored,
    /// then answered by [`Input::EpochRaised`].
    RaiseEpoch {
        /// The newest epoch of ours that anybody has seen.
        seen: Epoch,
    },
    /// Somebody else runs with our identity: an operator's mistake. At most once a minute.
    Conflict {
        /// The other one's epoch.
        epoch: Epoch,
    },
    /// Tell the layers above; at most once per change.
    Notify(MembershipEvent),
    /// Remote input was refused: for counters and tests.
    Drop {
        /// Who sent it.
        from: PkiId,
        /// Why.
        reason: DropReason,
    },
}

/// A change in the view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MembershipEvent {
    /// A member is alive that was not.
    Alive(NetworkMember),
    /// A live member says something new of itself.
    Changed(NetworkMember),
    /// A member no longer answers.
    Dead(PkiId),
    /// A member is no longer remembered.
    Forgotten(PkiId),
}

/// The membership protocol of one peer.
// fabric: gossip/discovery/discovery_impl.go gossipDiscoveryImpl
#[derive(Debug)]
pub struct Discovery {
    pub(crate) config: Checked<DiscoveryConfig>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) own: Own,
    pub(crate) view: View,
    pub(crate) connections: Connections,
    pub(crate) exchange: Exchange,
    pub(crate) relay: Relay,
    pub(crate) probes: Probes,
    pub(crate) health: Health,
    pub(crate) timers: Timers,
    pub(crate) counters: Counters,
    pub(crate) out: Vec<Action>,
}

impl Machine for Discovery {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        let wanted = self.timers.next().map(|wakeup| wakeup.at);
        if self.health.woke(now.mono, wanted) {
            self.restart_probes(now.mono);
        }
        match input {
            Input::Connect { endpoint } => self.on_connect(now.mono, endpoint),
            Input::Unname { endpoint } => self.on_unname(&endpoint),
            Input::Connected { peer, identity, org, epoch, dialled } => {
                drop(identity);
                self.on_connected(now.mono, peer, org, epoch, dialled);
            }
            Input::Disconnected { peer } => self.on_disconnected(now.mono, peer),
            Input::DialFailed { endpoint } => self.on_dial_failed(now.mono, &endpoint),
            Input::Received { from, message } => self.on_received(now.mono, from, message),
            Input::Checked { from, member } => self.on_checked(now.mono, from, member),
            Input::CheckFailed { from } => self.on_check_failed(now.mono, from),
            Input::Signed(record) => self.on_signed(now.mono, record),
            Input::Proved(proof) => self.on_proved(now.mono, &proof),
            Input::EpochRaised(epoch) => self.on_epoch_raised(now.mono, epoch),
            Input::UpdateMetadata(metadata) => {
                self.own.set_metadata(metadata);
                self.publish(now.mono);
            }
            Input::UpdateEndpoint(endpoint) => {
                self.own.set_endpoint(endpoint);
                self.publish(now.mono);
            }
            Input::Expelled { peer } => self.on_expelled(now.mono, peer),
            Input::Tick => {}
        }
        while let Some(deadline) = self.timers.expired(now.mono) {
            self.on_deadline(now, deadline);
        }
        std::mem::take(&mut self.out)
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        self.timers.next()
    }
}

impl Discovery {
    /// A peer that knows nobody. It is silent until it is told to connect, or somebody connects to it.
    // fabric: gossip/discovery/discovery_impl.go NewDiscoveryService
    pub fn new(config: Checked<DiscoveryConfig>, me: Me, mut rng: ChaCha8Rng, now: Now) -> Self {
        let mut own = Own::new(me, config.chain_len, &mut rng);
        let metadata = own.me.metadata.clone();
        own.set_metadata(metadata);
        let health = Health::new(config.local_health, now.mono);
        Self {
            rng,
            own,
            view: View::default(),
            connections: Connections::default(),
            exchange: Exchange::default(),
            relay: Relay::default(),
            probes: Probes::default(),
            health,
            timers: Timers::default(),
            counters: Counters::default(),
            out: Vec::new(),
            config,
        }
    }

    /// Live members, never ourselves, ordered by fingerprint.
    // fabric: gossip/discovery/discovery_impl.go GetMembership
    pub fn members(&self) -> Vec<NetworkMember> {
        let live = self.view.rows().iter().filter(|row| row.status.is_live());
        live.map(|row| row.member().network_member()).collect()
    }

    /// A member, alive or dead, or ourselves; nothing for who is known by hearsay alone.
    // fabric: gossip/discovery/discovery_impl.go Lookup
    pub fn lookup(&self, pki_id: &PkiId) -> Option<NetworkMember> {
        if *pki_id == self.own.me.pki_id {
            return Some(self.self_member());
        }
        let row = self.view.find(pki_id)?;
        (row.announced != Announced::Nothing).then(|| row.member().network_member())
    }

    /// Ourselves as others see us, with what only our organisation sees.
    // fabric: gossip/discovery/discovery_impl.go Self
    pub fn self_member(&self) -> NetworkMember {
        self.own.network_member()
    }

    /// Members that were alive and are not, ordered by fingerprint.
    pub fn dead(&self) -> Vec<PkiId> {
        let dead = self.view.rows().iter().filter(|row| row.announced == Announced::Dead);
        dead.map(|row| row.member().pki_id()).collect()
    }

    /// Peers to which there is a connection, ordered by fingerprint.
    pub fn neighbours(&self) -> Vec<PkiId> {
        self.connections.links.keys().copied().collect()
    }

    /// Whether there is a connection to `peer`.
    pub fn connected(&self, peer: &PkiId) -> bool {
        self.connections.links.contains_key(peer)
    }

    /// Numbers for metrics.
    pub fn stats(&self) -> Stats {
        Stats {
            alive: self.view.live(),
            dead: self.view.dead(),
            known: self.view.len(),
            links: self.connections.links.len(),
            probes: self.probes.len(),
            local_health: self.health.score(),
            frozen: self.health.is_frozen(),
            counters: self.counters,
        }
    }

    /// Whether a message is worth verifying. Costs no cryptography and changes nothing.
    pub fn admit(&self, _now: Now, from: &PkiId, header: &MessageHeader) -> Admit {
        let drop = |reason: DropReason| Admit::Drop(reason.label());
        let Some(link) = self.connections.links.get(from) else {
            return drop(DropReason::NotConnected);
        };
        match header.kind {
            Kind::Beats | Kind::MembershipRequest | Kind::Probe => Admit::Accept,
            Kind::MembershipResponse if link.asked.is_some() => Admit::Accept,
            Kind::MembershipResponse => drop(DropReason::Unsolicited),
            Kind::Record if self.is_newer(header) => Admit::Accept,
            Kind::Record => drop(DropReason::Stale),
            Kind::ProofOfLife if self.awaits_proof(header) => Admit::Accept,
            Kind::ProofOfLife => drop(DropReason::Unsolicited),
            Kind::StateInfo
            | Kind::Data
            | Kind::Hello
            | Kind::Digest
            | Kind::Request
            | Kind::Update
            | Kind::StateRequest
            | Kind::StateResponse
            | Kind::StateInfoPullRequest
            | Kind::Leadership
            | Kind::StateInfoSnapshot
            | Kind::PeerIdentities
            | Kind::Acknowledgement
            | Kind::PrivateData
            | Kind::PrivateDataRequest
            | Kind::PrivateDataResponse
            | Kind::Header
            | Kind::HeaderNote
            | Kind::BlockNote
            | Kind::Plan
            | Kind::ShareCommitment
            | Kind::Share
            | Kind::ShareReport => drop(DropReason::Misdelivered),
        }
    }

    fn on_received(&mut self, now: Mono, from: PkiId, message: Verified<Message>) {
        if !self.connections.links.contains_key(&from) {
            return self.refuse(from, DropReason::NotConnected);
        }
        if self.health.heard(now) {
            self.restart_probes(now);
        }
        if let Message::Record(_) = message.message() {
            return self.on_record(now, from, message);
        }
        if let Message::ProofOfLife(_) = message.message() {
            return self.on_proof(now, from, &message);
        }
        match message.into_parts().0 {
            Message::Beats(beats) => self.on_beats(now, from, beats.beats.as_slice()),
            Message::MembershipRequest(request) => self.on_request(now, from, request),
            Message::MembershipResponse(response) => self.on_response(now, from, response),
            Message::Probe(probe) => self.on_probe(now, from, probe.asks.as_slice()),
            Message::Record(_)
            | Message::ProofOfLife(_)
            | Message::StateInfo(_)
            | Message::Data(_)
            | Message::Hello(_)
            | Message::Digest(_)
            | Message::Request(_)
            | Message::Update(_)
            | Message::StateRequest(_)
            | Message::StateResponse(_)
            | Message::StateInfoPullRequest(_)
            | Message::Leadership(_)
            | Message::StateInfoSnapshot(_)
            | Message::PeerIdentities(_)
            | Message::Acknowledgement(_)
            | Message::PrivateData(_)
            | Message::PrivateDataRequest(_)
            | Message::PrivateDataResponse(_)
            | Message::Header(_)
            | Message::HeaderNote(_)
            | Message::BlockNote(_)
            | Message::Plan(_)
            | Message::ShareCommitment(_)
            | Message::Share(_)
            | Message::ShareReport(_) => self.refuse(from, DropReason::Misdelivered),
        }
    }

    fn on_deadline(&mut self, now: Now, deadline: Deadline) {
        match deadline {
            Deadline::Beat => self.beat(now.mono),
            Deadline::Relay => self.relay_beats(now.mono),
            Deadline::Sync => self.sync(now.mono),
            Deadline::Ask => self.ask_those_due(now.mono),
            Deadline::Connect => self.fill_connections(now.mono),
            Deadline::RetryDead => self.retry_dead(now.mono),
            Deadline::Prove => self.prove(now.mono),
            Deadline::Probe => self.advance_probes(now.mono),
            Deadline::Questions => self.send_questions(),
            Deadline::Sweep => self.sweep(now.mono),
        }
    }

    /// The peer at the other end of a connection, as far as disclosure depends on it; nothing if there is no
    /// connection, or nobody knows its organisation.
    pub(crate) fn listener(&self, peer: &PkiId) -> Option<Listener<'_>> {
        let org = self.connections.links.get(peer)?.org.as_ref()?;
        let external = self.view.find(peer).is_some_and(|row| row.subject().external);
        Some(Listener { org, inside: *org == self.own.me.org, external })
    }

    /// Whether we may tell `listener` of `subject`; nobody is told of itself.
    pub(crate) fn may_tell(&self, subject: Subject<'_>, listener: &PkiId) -> bool {
        self.listener(listener).is_some_and(|listener| may_tell(subject, listener))
    }

    /// Whether we may tell the peer at the other end of a connection of ourselves. What endpoints it has is
    /// not known before it has told us.
    pub(crate) fn may_introduce(&self, peer: &PkiId) -> bool {
        let listener = self.listener(peer);
        listener.is_some_and(|listener| {
            may_tell(self.own.subject(), Listener { external: true, ..listener })
        })
    }

    pub(crate) fn may_tell_secret(&self, subject: &OrgId, listener: &PkiId) -> bool {
        let org = self.connections.links.get(listener).and_then(|link| link.org.as_ref());
        org.is_some_and(|org| may_tell_secret(&self.own.me.org, subject, org))
    }

    /// The address of a peer over its own connection.
    pub(crate) fn remote(peer: PkiId) -> RemotePeer {
        RemotePeer { pki_id: peer, endpoint: None }
    }

    pub(crate) fn send(&mut self, to: PkiId, message: Message) {
        self.counters.sent = self.counters.sent.saturating_add(1);
        self.out.push(Action::Send { to: Self::remote(to), message });
    }

    pub(crate) fn forward(&mut self, to: PkiId, message: Verified<Message>) {
        self.counters.sent = self.counters.sent.saturating_add(1);
        self.out.push(Action::Forward { to: Self::remote(to), message });
    }

    pub(crate) fn refuse(&mut self, from: PkiId, reason: DropReason) {
        self.counters.dropped = self.counters.dropped.saturating_add(1);
        self.out.push(Action::Drop { from, reason });
    }

    pub(crate) fn notify(&mut self, event: MembershipEvent) {
        self.out.push(Action::Notify(event));
    }

    /// `wait`, a quarter more or less, so that peers do not act in step.
    pub(crate) fn jittered(&mut self, wait: std::time::Duration) -> std::time::Duration {
        let permille = 750 + u32::try_from(self.rng.next_u64() % 501).unwrap_or(0);
        wait.saturating_mul(permille) / 1000
    }

    /// A member proved that it lives.
    // fabric: gossip/discovery/discovery_impl.go resurrectMember
    pub(crate) fn mark_alive(&mut self, now: Mono, short: ShortId) {
        self.cancel_probe(&short);
        let news = self.view.change(&short, |member| {
            member.status = Status::Alive;
            member.backoff = crate::member::Backoff::default();
            let before = std::mem::replace(&mut member.announced, Announced::Alive);
            (before != Announced::Alive).then(|| member.network_member())
        });
        let Some(news) = news else { return };
        if let Some(member) = news {
            self.counters.became_alive = self.counters.became_alive.saturating_add(1);
            self.notify(MembershipEvent::Alive(member));
        }
        self.set_due(short, now.after(self.late_after()));
        self.start_beating(now);
        self.start_sweeping(now);
    }

    /// A member did not answer.
    // fabric: gossip/discovery/discovery_impl.go expireDeadMembers
    pub(crate) fn mark_dead(&mut self, now: Mono, short: ShortId) {
        self.cancel_probe(&short);
        let died = self.view.change(&short, |member| {
            member.status = Status::Dead { since: now };
            let was_alive = member.announced == Announced::Alive;
            if was_alive {
                member.announced = Announced::Dead;
            }
            (member.pki_id(), was_alive)
        });
        let Some((pki_id, was_alive)) = died else { return };
        if was_alive {
            self.counters.became_dead = self.counters.became_dead.saturating_add(1);
            self.notify(MembershipEvent::Dead(pki_id));
        }
        if self.connections.links.contains_key(&pki_id) {
            self.out.push(Action::Disconnect { peer: pki_id, reason: CloseReason::Done });
        }
        self.bound_the_dead();
        let wait = self.jittered(self.config.dead_retry_every);
        self.timers.at_latest(Deadline::RetryDead, now.after(wait));
    }

    /// Removes every trace of a member.
    // fabric: gossip/discovery/discovery_impl.go purge
    pub(crate) fn forget(&mut self, short: ShortId) {
        self.cancel_probe(&short);
        self.relay.fresh.retain(|fresh| *fresh != short);
        let Some(member) = self.view.remove(&short) else { return };
        if member.announced != Announced::Nothing {
            self.notify(MembershipEvent::Forgotten(member.pki_id()));
        }
    }

    fn on_expelled(&mut self, now: Mono, peer: PkiId) {
        if self.view.find(&peer).is_some() {
            self.forget(ShortId::of(&peer));
        }
        if self.connections.links.contains_key(&peer) {
            self.out.push(Action::Disconnect { peer, reason: CloseReason::Expelled });
            self.drop_link(now, &peer);
        }
    }

    /// Signs what changed of our record, if there is anybody to hear it.
    fn publish(&mut self, now: Mono) {
        if !self.connections.links.is_empty() {
            self.sign(now);
        }
    }

    pub(crate) fn start_sweeping(&mut self, now: Mono) {
        if self.timers.get(Deadline::Sweep).is_none() {
            self.timers.set(Deadline::Sweep, now.after(SWEEP_EVERY));
        }
    }
}

/// How often ageing is looked at; a late member is noticed this much later at worst.
pub(crate) const SWEEP_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

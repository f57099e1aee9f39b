//! Membership alone: three peers over QUIC that know one address and find each other. No channels, no blocks.
//!
//! The host below is all that `gossip_comm::drive` needs to run the machine of `gossip-discovery`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use gossip_api::message::{MemberEntry, Origin};
use gossip_api::*;
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::sim::crypto::{Authority, CheapCrypto};
use gossip_comm::sim::seeded;
use gossip_comm::{Clock, Comm as _, CommConfig, Command, Effect, Event, SecretBytes, TlsMaterial};
use gossip_discovery::{
    Action, CheckedMember, Discovery, DiscoveryConfig, Input, Me, MembershipEvent,
};
use tokio::sync::watch;

/// Does what the machine asks for: sends, dials, signs, checks.
struct Host {
    own: PkiId,
    crypto: Arc<CheapCrypto>,
    identities: Arc<IdentityMap>,
    network: NetworkId,
    /// How often anybody saw somebody come alive.
    seen: watch::Sender<usize>,
}

impl Host {
    fn sign(&self, message: Message) -> Option<Verified<Message>> {
        Verified::own(message, self.own, &self.network, &*self.crypto).ok()
    }

    fn verify(&self, now: Now, message: SignedMessage) -> Option<Verified<Message>> {
        let (map, crypto) = (&self.identities, &*self.crypto);
        Verified::signed(message, None, map, &self.network, crypto, now.mono).ok()
    }

    /// Identity, record and secret of a member that another one told of.
    fn check(&self, now: Now, entry: MemberEntry) -> Option<CheckedMember> {
        let crypto = &*self.crypto;
        let pki_id = self.identities.put(&entry.identity, crypto, crypto, now).ok()?;
        let (_, signed) = entry.record.open().ok()?;
        let record = self.verify(now, signed)?.narrow(Message::into_record)?;
        let genuine = record.message().pki_id == pki_id
            && entry.secret.as_ref().is_none_or(|secret| secret.belongs_to(record.message()));
        genuine.then(|| CheckedMember {
            org: self.identities.org_of(&pki_id),
            identity: entry.identity,
            record,
            sealed: entry.record,
            secret: entry.secret,
            beat: entry.beat,
        })
    }
}

impl gossip_comm::Host for Host {
    type Machine = Discovery;

    fn perform(&mut self, _: usize, now: Now, action: Action) -> Vec<Effect<Input>> {
        let effect = match action {
            Action::Dial { endpoint, expect } => {
                Some(Effect::Command(Command::Dial { endpoint, expect }))
            }
            Action::Send { to, message } => {
                let envelope = Envelope::unsigned(&message);
                Some(Effect::Command(Command::Send { to, envelope }))
            }
            Action::Forward { to, message } => {
                let envelope = message.envelope().clone();
                Some(Effect::Command(Command::Send { to, envelope }))
            }
            Action::Disconnect { peer, reason } => {
                Some(Effect::Command(Command::Close { peer, reason }))
            }
            Action::Sign(record) => self
                .sign(Message::Record(record))
                .and_then(|signed| signed.narrow(Message::into_record))
                .map(|record| Effect::Input(Input::Signed(record))),
            Action::Prove(proof) => self
                .sign(Message::ProofOfLife(proof))
                .map(|signed| Effect::Input(Input::Proved(signed))),
            Action::Check { from, entry } => Some(Effect::Input(match self.check(now, entry) {
                Some(member) => Input::Checked { from, member },
                None => Input::CheckFailed { from },
            })),
            Action::Notify(event) => {
                if let MembershipEvent::Alive(member) = &event {
                    println!("{:?} sees {:?} alive", self.own, member.pki_id);
                    self.seen.send_modify(|seen| *seen += 1);
                }
                None
            }
            Action::RaiseEpoch { .. } | Action::Conflict { .. } | Action::Drop { .. } => None,
        };
        effect.into_iter().collect()
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "membership needs a part of what there is")]
    fn receive(
        &mut self,
        machine: &Discovery,
        _: usize,
        now: Now,
        event: Event,
    ) -> Vec<Effect<Input>> {
        let input = match event {
            Event::Connected(of) => Some(Input::Connected {
                peer: of.peer,
                identity: of.identity,
                org: of.org,
                epoch: of.epoch,
                dialled: of.dialled,
            }),
            Event::Disconnected { peer, .. } => Some(Input::Disconnected { peer }),
            Event::DialFailed { endpoint, .. } => Some(Input::DialFailed { endpoint }),
            Event::Received { from, message } => {
                let wanted = machine.admit(now, &from, &message.message.header());
                let proved = match (wanted, message.message.origin()) {
                    (Admit::Drop(_), _) => None,
                    (Admit::Accept, Origin::Sender) => Verified::sender(message, from).ok(),
                    (Admit::Accept, Origin::Signed(_)) => self.verify(now, message),
                };
                proved.map(|message| Input::Received { from, message })
            }
            _ => None,
        };
        input.map(Effect::Input).into_iter().collect()
    }

    fn tick(&mut self, _: usize, _: Now) -> Input {
        Input::Tick
    }
}

/// Runs the example.
///
/// # Errors
/// If anything does not go as it should.
#[tokio::main]
pub async fn main() -> Result<(), Box<dyn Error>> {
    let authority = Authority::new(1);
    let certificate = rcgen::generate_simple_self_signed(["peer".to_owned()])?;
    let certified = certificate.cert.der().to_vec();
    let tls = TlsMaterial {
        chain: vec![certified.clone()],
        key: SecretBytes::new(certificate.signing_key.serialize_der()),
        roots: vec![certified],
    };
    let (seen, views) = watch::channel(0);
    let start = |number, known| Peer::start(&authority, number, tls.clone(), &seen, known);
    let first = start(0, None)?;
    let known = first.endpoint.clone();
    let (second, third) = (start(1, Some(known.clone()))?, start(2, Some(known))?);
    let (first, second, third) =
        tokio::join!(first.run(views.clone()), second.run(views.clone()), third.run(views.clone()));
    for members in [first, second, third] {
        println!("a peer saw {} others in the end", members.len());
    }
    Ok(())
}

/// One of the three.
struct Peer {
    comm: QuicComm,
    clock: Clock,
    host: Host,
    machine: Discovery,
    endpoint: Endpoint,
    known: Option<Endpoint>,
}

impl Peer {
    fn start(
        authority: &Arc<Authority>,
        number: u32,
        tls: TlsMaterial,
        seen: &watch::Sender<usize>,
        known: Option<Endpoint>,
    ) -> Result<Self, Box<dyn Error>> {
        let (org, network) = (OrgId::new("Org1MSP")?, NetworkId::new("example")?);
        let identity = authority.identity(&org, number);
        let crypto = Arc::new(authority.crypto(identity.clone()));
        let (clock, epoch) = (Clock::start(), Epoch::new(1));
        let bounds = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(bounds, &identity, &*crypto, &*crypto, clock.now())?;
        let identities = Arc::new(identities);
        let own = identities.own();
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let parts = QuicParts {
            identity: identity.clone(),
            epoch,
            mcs: crypto.clone(),
            advisor: crypto.clone(),
            identities: identities.clone(),
            registry: prometheus::Registry::new(),
            clock,
        };
        let comm = QuicComm::bind(CommConfig::new(listen, network.clone(), tls).checked()?, parts)?;
        let endpoint = Endpoint::new(&comm.local_addr().to_string())?;
        let me = Me {
            pki_id: own,
            identity,
            org,
            epoch,
            external_endpoint: Some(endpoint.clone()),
            internal_endpoint: endpoint.clone(),
            metadata: Bytes::new(),
        };
        let config = DiscoveryConfig::default().checked()?;
        let machine = Discovery::new(config, me, seeded(1, u64::from(number)), clock.now());
        let host = Host { own, crypto, identities, network, seen: seen.clone() };
        Ok(Self { comm, clock, host, machine, endpoint, known })
    }

    /// Runs until each of the three has seen the two others.
    async fn run(self, mut views: watch::Receiver<usize>) -> Vec<NetworkMember> {
        let Self { comm, clock, host, machine, known, .. } = self;
        let inputs = stream::iter(known.map(|endpoint| Input::Connect { endpoint }));
        let shutdown = async move {
            // Who watches holds a sender, so that there is always one.
            let _ = views.wait_for(|seen| *seen >= 6).await;
        };
        let machine = gossip_comm::drive(host, machine, &comm, &clock, inputs, shutdown).await;
        comm.stop().await;
        machine.members()
    }
}

//! A small network of test peers over real loopback QUIC: one TLS authority, one identity authority.

#![allow(dead_code, reason = "each test file uses the part it needs")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use gossip_api::message::{DataMessage, Message, PullHello, PullKind};
use gossip_api::{
    Block, BlockError, ChannelId, CryptoError, Endpoint, Envelope, Epoch, Expiration, IdentityMap,
    IdentityMapConfig, MessageCryptoService, NetworkId, Nonce, OrgId, PeerIdentity, PkiId,
    RemotePeer, SecurityAdvisor, SeqNum, Signature, Wall,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, Comm, CommConfig, Command, Event, SecretBytes, TlsMaterial, wall};
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sha2::{Digest, Sha256};

pub(crate) mod raw;

/// Longest wait for something that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A TLS authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("key");
        let root = params.self_signed(&key).expect("root").der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A fresh certificate of this authority, trusting it alone.
    pub(crate) fn material(&self) -> TlsMaterial {
        let params = CertificateParams::new(vec!["peer.test".into()]).expect("a name");
        let key = KeyPair::generate().expect("key");
        let leaf = params.signed_by(&key, &self.issuer).expect("leaf");
        TlsMaterial {
            chain: vec![leaf.der().to_vec()],
            key: SecretBytes::new(key.serialize_der()),
            roots: vec![self.root.clone()],
        }
    }
}

/// A network: what its peers agree on.
pub(crate) struct World {
    pub(crate) tls: Authority,
    msp: SigningKey,
    pub(crate) network: NetworkId,
    revoked: Arc<Mutex<Vec<PeerIdentity>>>,
}

/// An identity with its key.
#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) identity: PeerIdentity,
    pub(crate) id: PkiId,
    /// Shared by clones: a process whose identity changes signs with the new key from then on.
    key: Arc<Mutex<SigningKey>>,
    msp: VerifyingKey,
    revoked: Arc<Mutex<Vec<PeerIdentity>>>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            tls: Authority::new(),
            msp: SigningKey::from_bytes(&[7; 32]),
            network: NetworkId::new("test").expect("short"),
            revoked: Arc::default(),
        }
    }

    /// Somebody whose identity is good for a day.
    pub(crate) fn person(&self, seed: u8) -> Person {
        self.person_until(seed, wall().as_unix_seconds() + 86_400)
    }

    /// Identity: public key, organisation, end of validity, and the authority's signature over these.
    pub(crate) fn person_until(&self, seed: u8, not_after: i64) -> Person {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let mut bytes = key.verifying_key().to_bytes().to_vec();
        bytes.push(seed % 2);
        bytes.extend(not_after.to_le_bytes());
        let signature = self.msp.sign(&bytes).to_bytes();
        bytes.extend(signature);
        let id = PkiId::from_bytes(Sha256::digest(&bytes).into());
        let identity = PeerIdentity::new(bytes).expect("short");
        let revoked = Arc::clone(&self.revoked);
        Person {
            identity,
            id,
            key: Arc::new(Mutex::new(key)),
            msp: self.msp.verifying_key(),
            revoked,
        }
    }

    /// From here on nobody's host accepts this person.
    pub(crate) fn revoke(&self, person: &Person) {
        self.revoked.lock().expect("no panic holds it").push(person.identity.clone());
    }

    pub(crate) fn config(&self) -> CommConfig {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        CommConfig::new(listen, self.network.clone(), self.tls.material())
    }

    pub(crate) fn peer(&self, seed: u8) -> TestPeer {
        self.peer_with(seed, |_| {})
    }

    pub(crate) fn peer_with(&self, seed: u8, adjust: impl FnOnce(&mut CommConfig)) -> TestPeer {
        let mut config = self.config();
        adjust(&mut config);
        TestPeer::start(self.person(seed), config, Epoch::new(1))
    }
}

impl MessageCryptoService for Person {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        let bytes = identity.as_bytes();
        (!bytes.is_empty()).then(|| PkiId::from_bytes(Sha256::digest(bytes).into()))
    }

    fn verify_block(&self, _: &ChannelId, _: SeqNum, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn verify_block_attestation(&self, _: &ChannelId, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        Ok(Bytes::copy_from_slice(
            &self.key.lock().expect("no panic holds it").sign(message).to_bytes(),
        ))
    }

    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.validate_identity(identity)?;
        let (key, _) = parse(identity)?;
        check(&key, signature, message)
    }

    fn verify_by_channel(
        &self,
        _: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.verify(identity, signature, message)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        parse(identity)?;
        if self.revoked.lock().expect("no panic holds it").contains(identity) {
            return Err(CryptoError::InvalidIdentity("revoked".into()));
        }
        let bytes = identity.as_bytes();
        let (signed, signature) = bytes.split_at(IDENTITY_LEN - 64);
        check(&self.msp, signature, signed)
            .map_err(|_| CryptoError::InvalidIdentity("another authority".into()))
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        Ok(Expiration::At(parse(identity)?.1))
    }
}

/// Tells organisations by the identity's byte for it.
pub(crate) struct Orgs;

impl SecurityAdvisor for Orgs {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        let org = identity.as_bytes().get(32)?;
        OrgId::new(&format!("org{org}")).ok()
    }
}

const IDENTITY_LEN: usize = 32 + 1 + 8 + 64;

fn parse(identity: &PeerIdentity) -> Result<(VerifyingKey, Wall), CryptoError> {
    let malformed = || CryptoError::MalformedIdentity("test identity".into());
    let bytes: &[u8; IDENTITY_LEN] =
        identity.as_bytes().as_ref().try_into().map_err(|_| malformed())?;
    let key = bytes.first_chunk::<32>().ok_or_else(malformed)?;
    let key = VerifyingKey::from_bytes(key).map_err(|_| malformed())?;
    let until = bytes.get(33..41).and_then(|b| b.try_into().ok()).ok_or_else(malformed)?;
    Ok((key, Wall::from_unix_seconds(i64::from_le_bytes(until))))
}

fn check(key: &VerifyingKey, signature: &[u8], message: &[u8]) -> Result<(), CryptoError> {
    let bytes: &[u8; 64] = signature.try_into().map_err(|_| CryptoError::BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(bytes);
    key.verify_strict(message, &signature).map_err(|_| CryptoError::BadSignature)
}

/// One running transport.
pub(crate) struct TestPeer {
    person: Person,
    pub(crate) comm: QuicComm,
    pub(crate) id: PkiId,
    pub(crate) identities: Arc<IdentityMap>,
    pub(crate) registry: Registry,
}

impl TestPeer {
    pub(crate) fn start(person: Person, config: CommConfig, epoch: Epoch) -> Self {
        let (id, kept) = (person.id, person.clone());
        let clock = Clock::start();
        let mcs: Arc<dyn MessageCryptoService> = Arc::new(person.clone());
        let map_config = IdentityMapConfig::default().checked().expect("defaults");
        let identities = IdentityMap::new(map_config, &person.identity, &*mcs, &Orgs, clock.now());
        let identities = Arc::new(identities.expect("own identity"));
        let registry = Registry::new();
        let parts = QuicParts {
            identity: person.identity,
            epoch,
            mcs,
            advisor: Arc::new(Orgs),
            identities: Arc::clone(&identities),
            registry: registry.clone(),
            clock,
        };
        let comm = QuicComm::bind(config.checked().expect("config"), parts).expect("bind");
        Self { person: kept, comm, id, identities, registry }
    }

    /// From here on its host signs with the key of `person`.
    pub(crate) fn change_person(&self, person: &Person) {
        let key = person.key.lock().expect("no panic holds it").clone();
        *self.person.key.lock().expect("no panic holds it") = key;
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::new(&self.comm.local_addr().to_string()).expect("short")
    }

    pub(crate) fn remote(&self) -> RemotePeer {
        RemotePeer { pki_id: self.id, endpoint: Some(self.endpoint()) }
    }

    pub(crate) fn dial(&self, to: &TestPeer) {
        self.comm.command(Command::Dial { endpoint: to.endpoint(), expect: Some(to.id) });
    }

    pub(crate) fn send(&self, to: &TestPeer, message: &Message) {
        let envelope = Envelope::unsigned(message);
        self.comm.command(Command::Send { to: to.remote(), envelope });
    }

    pub(crate) async fn next(&self) -> Event {
        let event = tokio::time::timeout(SOON, self.comm.next_event()).await;
        event.expect("an event in time").expect("a running transport")
    }

    /// Reads events until `pick` finds what it looks for.
    pub(crate) async fn until<T>(&self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub(crate) async fn connected(&self, to: &TestPeer) {
        self.until(|event| match event {
            Event::Connected(connected) => (connected.peer == to.id).then_some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn received(&self) -> Message {
        self.until(|event| match event {
            Event::Received { message, .. } => Some(message.message),
            _ => None,
        })
        .await
    }

    /// Value of a counter or gauge, of all its labels together.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metric_where(name, None)
    }

    /// Value of a counter or gauge under one label value.
    pub(crate) fn metric_where(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.registry.gather();
        let of_name = families.iter().filter(|family| family.name() == name);
        let metrics = of_name.flat_map(|family| family.get_metric());
        let wanted = metrics.filter(|metric| {
            label.is_none_or(|label| metric.get_label().iter().any(|pair| pair.value() == label))
        });
        wanted.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }
}

/// Polls until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let polling = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(SOON, polling).await.is_ok(), "in vain: {what}");
}

/// A small message, told apart by its number.
pub(crate) fn control(number: u64) -> Message {
    let channel = ChannelId::new("trade").expect("short");
    Message::Hello(PullHello { nonce: Nonce::new(number), channel, kind: PullKind::Block })
}

pub(crate) fn block_of(number: u64, len: usize) -> Block {
    Block {
        number: SeqNum::new(number),
        previous_hash: Bytes::from(vec![1; 32]),
        data_hash: Bytes::from(vec![2; 32]),
        data: Bytes::from(vec![u8::try_from(number % 251).unwrap_or_default(); len]),
        metadata: Bytes::from_static(b"metadata"),
    }
}

pub(crate) fn data(number: u64, len: usize) -> Message {
    let channel = ChannelId::new("trade").expect("short");
    Message::Data(DataMessage { channel, block: block_of(number, len) })
}

/// The number of a message made by [`control`] or [`data`].
pub(crate) fn number_of(message: &Message) -> u64 {
    match message {
        Message::Hello(hello) => hello.nonce.get(),
        Message::Data(data) => data.block.number.get(),
        _ => u64::MAX,
    }
}

/// Whether the message is one made by [`control`].
pub(crate) fn is_control(message: &Message) -> bool {
    matches!(message, Message::Hello(_))
}

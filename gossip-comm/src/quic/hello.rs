//! The first stream of a connection: who is there?
//!
//! The dialler speaks first, the acceptor answers once it has believed the dialler; so a dialler that has
//! believed its answer knows that the connection stands on both sides. Nothing is kept of a peer
//! before its signature over this very session has been checked.

use std::time::Duration;

use gossip_api::message::{Features, Hello, HelloBinding, HelloLimits, Role, WIRE_VERSION};
use gossip_api::{CryptoError, Epoch, Expiration, OrgId, PeerIdentity, PkiId, WireError};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;

use super::Shared;
use crate::error::HelloError;
use crate::tls::{ALPN, leaf_hash, random};

/// What a believed hello says.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) peer: PkiId,
    pub(super) identity: PeerIdentity,
    pub(super) org: Option<OrgId>,
    pub(super) epoch: Epoch,
    /// The epoch that our own hello stated.
    pub(super) own_epoch: Epoch,
    pub(super) expiration: Expiration,
    /// Greatest block frame the other side takes.
    pub(super) block_frame_max: usize,
}

/// Our own part of hellos.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) pki_id: PkiId,
    pub(super) identity: PeerIdentity,
    pub(super) epoch: Epoch,
}

/// Exchanges hellos as the side that dialled.
pub(super) async fn dial(
    shared: &Shared,
    connection: &Connection,
    own_leaf: [u8; 32],
) -> Result<Greeting, HelloError> {
    let binding = bind(shared, connection, Role::Dialler, own_leaf)?;
    let me = shared.me.load_full();
    let (mut send, mut recv) = connection.open_bi().await.map_err(lost)?;
    speak(shared, &me, &binding, &mut send).await?;
    let hello = listen(&mut recv).await?;
    believe(shared, &me, &hello, &binding.other())
}

/// Exchanges hellos as the side that was dialled.
pub(super) async fn accept(
    shared: &Shared,
    connection: &Connection,
    own_leaf: [u8; 32],
) -> Result<(Greeting, Reply), HelloError> {
    let binding = bind(shared, connection, Role::Acceptor, own_leaf)?;
    let me = shared.me.load_full();
    let (send, mut recv) = connection.accept_bi().await.map_err(lost)?;
    let hello = listen(&mut recv).await?;
    let greeting = believe(shared, &me, &hello, &binding.other())?;
    let own = sign(shared, &me, &binding)?;
    Ok((greeting, Reply { send, own }))
}

/// The acceptor's hello, signed and not sent.
pub(super) struct Reply {
    send: SendStream,
    own: Vec<u8>,
}

impl Reply {
    /// Sends it: from here on the other side may use the connection.
    pub(super) async fn send(mut self) -> Result<(), HelloError> {
        self.send.write_all(&self.own).await.map_err(lost)?;
        self.send.finish().map_err(lost)
    }
}

/// How long a refusal is held back, so that its time tells nothing about its cause.
pub(super) fn refusal_delay() -> Duration {
    let [a, b] = random::<2>();
    Duration::from_micros(u64::from(u16::from_le_bytes([a, b])) % REFUSAL_DELAY_MAX_US)
}

fn bind(
    shared: &Shared,
    connection: &Connection,
    role: Role,
    own_leaf: [u8; 32],
) -> Result<HelloBinding, HelloError> {
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    if protocol.as_deref() != Some(ALPN) {
        return Err(HelloError::Lost("another application protocol".into()));
    }
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(HelloError::NoCertificate)?;
    let peer_leaf = leaf_hash(chain.first().ok_or(HelloError::NoCertificate)?);
    let mut exporter = [0; 32];
    let context = shared.config.network.as_str().as_bytes();
    connection
        .export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, context)
        .map_err(|_| HelloError::Lost("no exporter".into()))?;
    Ok(HelloBinding { role, exporter, own_leaf, peer_leaf })
}

fn sign(shared: &Shared, me: &Me, binding: &HelloBinding) -> Result<Vec<u8>, HelloError> {
    let hello = Hello {
        identity: me.identity.clone(),
        epoch: me.epoch,
        wire_version: WIRE_VERSION,
        features: Features::default(),
        limits: HelloLimits { block_frame_max: shared.config.streams.block_frame_max as u64 },
        signature: Default::default(),
    };
    let hello =
        hello.sign(binding, &shared.config.network, &*shared.mcs).map_err(HelloError::Own)?;
    hello.encode().map_err(HelloError::Malformed)
}

async fn speak(
    shared: &Shared,
    me: &Me,
    binding: &HelloBinding,
    send: &mut SendStream,
) -> Result<(), HelloError> {
    let own = sign(shared, me, binding)?;
    send.write_all(&own).await.map_err(lost)?;
    send.finish().map_err(lost)
}

/// Reads one hello and the end of its stream.
async fn listen(recv: &mut RecvStream) -> Result<Hello, HelloError> {
    let mut length = [0; 4];
    recv.read_exact(&mut length).await.map_err(lost)?;
    let found = u32::from_le_bytes(length) as usize;
    if found > Hello::ENCODED_MAX {
        return Err(WireError::TooLarge { found, max: Hello::ENCODED_MAX }.into());
    }
    let mut body = vec![0; found];
    recv.read_exact(&mut body).await.map_err(lost)?;
    if recv.read(&mut [0]).await.map_err(lost)?.is_some() {
        return Err(WireError::Trailing(1).into());
    }
    Ok(Hello::decode(&body)?)
}

/// Checks a hello; only when everything holds is its identity kept.
fn believe(
    shared: &Shared,
    me: &Me,
    hello: &Hello,
    binding: &HelloBinding,
) -> Result<Greeting, HelloError> {
    if hello.wire_version < WIRE_VERSION {
        return Err(HelloError::Version(hello.wire_version));
    }
    let mcs = &*shared.mcs;
    let identity = &hello.identity;
    let peer =
        mcs.pki_id_of_cert(identity).ok_or(HelloError::Identity(CryptoError::EmptyIdentity))?;
    if peer == me.pki_id {
        return Err(HelloError::Itself);
    }
    let now = shared.clock.now();
    let expiration = mcs.expiration(identity).map_err(HelloError::Identity)?;
    if expiration.is_past(now.wall) {
        return Err(HelloError::Identity(CryptoError::Expired));
    }
    mcs.validate_identity(identity).map_err(HelloError::Identity)?;
    hello.verify(&peer, binding, &shared.config.network, mcs).map_err(HelloError::Signature)?;
    shared.identities.put(identity, mcs, &*shared.advisor, now).map_err(HelloError::Identity)?;
    Ok(Greeting {
        peer,
        identity: identity.clone(),
        org: shared.identities.org_of(&peer),
        epoch: hello.epoch,
        own_epoch: me.epoch,
        expiration,
        block_frame_max: usize::try_from(hello.limits.block_frame_max).unwrap_or(usize::MAX),
    })
}

fn lost(error: impl std::fmt::Display) -> HelloError {
    HelloError::Lost(error.to_string())
}

const REFUSAL_DELAY_MAX_US: u64 = 5_000;

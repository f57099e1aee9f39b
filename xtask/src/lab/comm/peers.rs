//! Transports in this process, and who they are: throw-away Ed25519 identities, one TLS authority.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use gossip_api::{
    Block, BlockError, ChannelId, CryptoError, Endpoint, Epoch, Expiration, IdentityMap,
    IdentityMapConfig, MessageCryptoService, NetworkId, OrgId, PeerIdentity, PkiId, RemotePeer,
    SecurityAdvisor, SeqNum, Signature,
};
use gossip_comm::quic::{QuicComm, QuicParts};
use gossip_comm::{Clock, Comm as _, CommConfig, Command, Event, SecretBytes, TlsMaterial};
use prometheus::Registry;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sha2::{Digest as _, Sha256};

/// One TLS authority, known to all.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let root = params.self_signed(&key)?.der().to_vec();
        Ok(Self { issuer: Issuer::new(params, key), root })
    }

    /// A fresh certificate, and its key.
    pub(crate) fn certificate(&self) -> Result<(Vec<u8>, Vec<u8>)> {
        let params = CertificateParams::new(vec![SERVER_NAME.into()])?;
        let key = KeyPair::generate()?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        Ok((leaf.der().to_vec(), key.serialize_der()))
    }

    pub(crate) fn root(&self) -> &[u8] {
        &self.root
    }

    /// What every transport here is configured with.
    pub(crate) fn config(&self) -> Result<CommConfig> {
        let (leaf, key) = self.certificate()?;
        let key = SecretBytes::new(key);
        let tls = TlsMaterial { chain: vec![leaf], key, roots: vec![self.root.clone()] };
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Ok(CommConfig::new(listen, network()?, tls))
    }
}

/// A running transport.
pub(crate) struct Peer {
    pub(crate) comm: QuicComm,
    pub(crate) id: PkiId,
}

impl Peer {
    pub(crate) fn start(number: u8, config: CommConfig) -> Result<Self> {
        let host = Arc::new(Host(SigningKey::from_bytes(&[number; 32])));
        let identity = PeerIdentity::new(host.0.verifying_key().to_bytes().to_vec())?;
        let clock = Clock::start();
        let bounds = IdentityMapConfig::default().checked()?;
        let identities = IdentityMap::new(bounds, &identity, &*host, &OneOrg, clock.now())?;
        let id = identities.own();
        let parts = QuicParts {
            identity,
            epoch: Epoch::new(1),
            mcs: host,
            advisor: Arc::new(OneOrg),
            identities: Arc::new(identities),
            registry: Registry::new(),
            clock,
        };
        Ok(Self { comm: QuicComm::bind(config.checked()?, parts)?, id })
    }

    pub(crate) fn remote(&self) -> Result<RemotePeer> {
        let endpoint = Endpoint::new(&self.comm.local_addr().to_string())?;
        Ok(RemotePeer { pki_id: self.id, endpoint: Some(endpoint) })
    }

    /// Has a connection to `other`; both ends have noticed when it returns.
    pub(crate) async fn connect(&self, other: &Self) -> Result<()> {
        let remote = other.remote()?;
        let endpoint = remote.endpoint.context("it listens")?;
        self.comm.command(Command::Dial { endpoint, expect: Some(other.id) });
        for (here, there) in [(self, other), (other, self)] {
            loop {
                match here.comm.next_event().await {
                    Some(Event::Connected(connected)) if connected.peer == there.id => break,
                    Some(Event::DialFailed { reason, .. }) => return Err(anyhow!(reason)),
                    Some(_) => {}
                    None => return Err(anyhow!("transport has stopped")),
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn network() -> Result<NetworkId> {
    Ok(NetworkId::new("bench")?)
}

/// Believes every Ed25519 key: hellos are signed and checked, and nothing else is measured by it.
struct Host(SigningKey);

impl MessageCryptoService for Host {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        Some(PkiId::from_bytes(Sha256::digest(identity.as_bytes()).into()))
    }

    fn verify_block(&self, _: &ChannelId, _: SeqNum, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn verify_block_attestation(&self, _: &ChannelId, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        Ok(Bytes::copy_from_slice(&self.0.sign(message).to_bytes()))
    }

    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        let key = identity.as_bytes().as_ref().try_into().map_err(|_| CryptoError::BadSignature)?;
        let key = VerifyingKey::from_bytes(key).map_err(|_| CryptoError::BadSignature)?;
        let signature = signature.try_into().map_err(|_| CryptoError::BadSignature)?;
        key.verify_strict(message, &signature).map_err(|_| CryptoError::BadSignature)
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

    fn validate_identity(&self, _: &PeerIdentity) -> Result<(), CryptoError> {
        Ok(())
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Expiration, CryptoError> {
        Ok(Expiration::Never)
    }
}

struct OneOrg;

impl SecurityAdvisor for OneOrg {
    fn org_by_peer_identity(&self, _: &PeerIdentity) -> Option<OrgId> {
        OrgId::new("org").ok()
    }
}

/// Stands in every certificate, for the side that looks at names.
pub(crate) const SERVER_NAME: &str = "gossip";

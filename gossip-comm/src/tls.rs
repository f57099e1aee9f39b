//! TLS 1.3 with certificates on both sides, and nothing that would skip looking at them.
//!
//! No tickets, no early data, one ALPN. A certificate must chain to one of the roots; its names mean
//! nothing here, because who a peer is, its hello proves.

use std::any::Any;
use std::sync::Arc;
#[cfg(feature = "quic")]
use std::time::Duration;

use aws_lc_rs::{hkdf, hmac};
#[cfg(feature = "quic")]
use gossip_api::Wall;
use gossip_api::message::{Hello, HelloBinding, Role};
use gossip_api::{NetworkId, PeerIdentity};
use quinn_proto::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme, version,
};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyUsage, anchor_from_trusted_cert};

use crate::config::{CommConfig, SecretBytes, TlsMaterial};
use crate::error::CommError;
use crate::hello::HelloError;
use crate::transport::transport;

/// The one protocol spoken.
const ALPN: &[u8] = b"fabric-gossip/1";

/// Everything that follows from one set of TLS material.
///
/// A session keeps the set it began with, so it knows which certificate it showed.
#[derive(Debug)]
pub(crate) struct TlsSet {
    pub(crate) server: Arc<quinn_proto::ServerConfig>,
    pub(crate) client: quinn_proto::ClientConfig,
    /// SHA-256 of our own certificate.
    pub(crate) own_leaf: [u8; 32],
    #[cfg(feature = "quic")]
    verifier: Arc<PeerVerifier>,
}

impl TlsSet {
    pub(crate) fn new(
        material: &TlsMaterial,
        config: &CommConfig,
        token_key: &Secrets,
    ) -> Result<Self, CommError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let own = certified_key(material)?;
        let own_leaf = leaf_hash(own.end_entity_cert().map_err(tls_error)?);
        let verifier = Arc::new(PeerVerifier::new(&material.roots, &provider)?);
        let resolver = Arc::new(SingleCertAndKey::from(own));
        let server = server_crypto(&provider, &verifier, &resolver)?;
        let client = client_crypto(&provider, &verifier, &resolver)?;

        let transport = Arc::new(transport(config));
        let mut server = quinn_proto::ServerConfig::new(Arc::new(server), token_key.token_key());
        server
            .transport_config(Arc::clone(&transport))
            .migration(false)
            .max_incoming(config.half_open_max)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFER * 16);
        let mut client = quinn_proto::ClientConfig::new(Arc::new(client));
        client.transport_config(transport);
        Ok(Self {
            server: Arc::new(server),
            client,
            own_leaf,
            #[cfg(feature = "quic")]
            verifier,
        })
    }
}

#[cfg(feature = "quic")]
impl TlsSet {
    /// Whether a peer that showed `chain` would be let in at `now`.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn still_trusts(
        &self,
        chain: &[CertificateDer<'_>],
        now: Wall,
    ) -> Result<(), String> {
        let now = u64::try_from(now.as_unix_seconds()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let checked = self.verifier.check_at(chain, now);
        checked.map_err(|error| error.to_string())
    }

    /// When the first certificate of a chain runs out.
    pub(crate) fn valid_until(&self, chain: &[CertificateDer<'_>]) -> Option<Wall> {
        // The library does not tell, but complains in these words at the end of time.
        let at_the_end = UnixTime::since_unix_epoch(Duration::from_secs(u64::from(u32::MAX) << 6));
        match self.verifier.check_at(chain, at_the_end) {
            Err(webpki::Error::CertExpired { not_after, .. }) => {
                i64::try_from(not_after.as_secs()).ok().map(Wall::from_unix_seconds)
            }
            Ok(()) | Err(_) => None,
        }
    }
}

/// No ticket: a resumed session would skip looking at the certificate.
fn server_crypto(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<PeerVerifier>,
    own: &Arc<SingleCertAndKey>,
) -> Result<QuicServerConfig, CommError> {
    let mut server = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(tls_error)?
        .with_client_cert_verifier(Arc::clone(verifier) as Arc<dyn ClientCertVerifier>)
        .with_cert_resolver(Arc::clone(own) as Arc<_>);
    server.alpn_protocols = vec![ALPN.to_vec()];
    server.send_tls13_tickets = 0;
    server.max_early_data_size = 0;
    server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    QuicServerConfig::try_from(server).map_err(|error| tls_text(&error))
}

fn client_crypto(
    provider: &Arc<CryptoProvider>,
    verifier: &Arc<PeerVerifier>,
    own: &Arc<SingleCertAndKey>,
) -> Result<QuicClientConfig, CommError> {
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&version::TLS13])
        .map_err(tls_error)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(Arc::clone(own) as Arc<_>);
    client.alpn_protocols = vec![ALPN.to_vec()];
    client.resumption = rustls::client::Resumption::disabled();
    client.enable_early_data = false;
    QuicClientConfig::try_from(client).map_err(|error| tls_text(&error))
}

/// A session as `role` speaks of it in its hello.
///
/// # Errors
/// If it was done with another protocol, or without the other side's certificate.
pub(crate) fn bind(
    role: Role,
    network: &NetworkId,
    own_leaf: [u8; 32],
    data: Option<Box<dyn Any>>,
    identity: Option<Box<dyn Any>>,
    export: impl FnOnce(&mut [u8; 32], &[u8], &[u8]) -> bool,
) -> Result<HelloBinding, HelloError> {
    let protocol =
        data.and_then(|data| data.downcast::<HandshakeData>().ok()).and_then(|data| data.protocol);
    if protocol.as_deref() != Some(ALPN) {
        return Err(HelloError::Lost("another application protocol".into()));
    }
    let chain = identity
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(HelloError::NoCertificate)?;
    let peer_leaf = leaf_hash(chain.first().ok_or(HelloError::NoCertificate)?);
    let mut exporter = [0; 32];
    if !export(&mut exporter, Hello::EXPORTER_LABEL, network.as_str().as_bytes()) {
        return Err(HelloError::Lost("no exporter".into()));
    }
    Ok(HelloBinding { role, exporter, own_leaf, peer_leaf })
}

/// What a peer's TLS certificate is known by in hellos.
fn leaf_hash(certificate: &CertificateDer<'_>) -> [u8; 32] {
    Sha256::digest(certificate.as_ref()).into()
}

fn certified_key(material: &TlsMaterial) -> Result<CertifiedKey, CommError> {
    let key = PrivateKeyDer::try_from(material.key.expose())
        .map_err(|reason| CommError::Tls(format!("private key: {reason}")))?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(tls_error)?;
    let chain = material.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let own = CertifiedKey::new(chain, key);
    own.keys_match().map_err(tls_error)?;
    Ok(own)
}

/// Accepts whoever chains to a root, in either role.
#[derive(Debug)]
struct PeerVerifier {
    roots: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PeerVerifier {
    fn new(roots: &[Vec<u8>], provider: &CryptoProvider) -> Result<Self, CommError> {
        let roots: Vec<TrustAnchor<'static>> = roots
            .iter()
            .map(|der| {
                let der = CertificateDer::from(der.as_slice());
                anchor_from_trusted_cert(&der).map(|anchor| anchor.to_owned())
            })
            .collect::<Result<_, _>>()
            .map_err(|reason| CommError::Tls(format!("trusted root: {reason}")))?;
        if roots.is_empty() {
            return Err(CommError::Tls("no trusted root: nobody could connect".into()));
        }
        Ok(Self { roots, algorithms: provider.signature_verification_algorithms })
    }

    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
    ) -> Result<(), Error> {
        if intermediates.len() > INTERMEDIATES_MAX {
            return Err(CertificateError::UnknownIssuer.into());
        }
        let mut chain = std::iter::once(end_entity).chain(intermediates);
        if chain.any(|certificate| certificate.len() > CERTIFICATE_MAX) {
            return Err(CertificateError::BadEncoding.into());
        }
        self.chains(end_entity, intermediates, now, usage).map_err(certificate_error)
    }

    /// As what a peer is, both a client and a server; of a chain that was let in before.
    #[cfg(feature = "quic")]
    fn check_at(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), webpki::Error> {
        let (leaf, intermediates) = chain.split_first().ok_or(webpki::Error::UnknownIssuer)?;
        self.chains(leaf, intermediates, now, KeyUsage::client_auth())
    }

    fn chains(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        usage: impl ExtendedKeyUsageValidator,
    ) -> Result<(), webpki::Error> {
        let (algorithms, roots) = (self.algorithms.all, &self.roots);
        let leaf = EndEntityCert::try_from(leaf)?;
        leaf.verify_for_usage(algorithms, roots, intermediates, now, usage, None, None).map(drop)
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }
}

impl ServerCertVerifier for PeerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now, KeyUsage::server_auth())?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for PeerVerifier {
    /// None: whoever asks without a certificate learns nothing about the organisations here.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now, KeyUsage::client_auth())?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Keys of the endpoint itself, all drawn from one secret: with the secret kept, a restarted peer can
/// tell others that the connections of its former life are gone.
pub(crate) struct Secrets(hkdf::Prk);

impl Secrets {
    pub(crate) fn new(secret: Option<&SecretBytes>) -> Self {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"fabric-gossip/1 endpoint");
        Self(match secret {
            Some(secret) => salt.extract(secret.expose()),
            None => salt.extract(&random::<32>()),
        })
    }

    /// Key of stateless resets.
    pub(crate) fn reset_key(&self) -> Arc<hmac::Key> {
        Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.derive(b"reset")))
    }

    /// Key by which connection ids of any of our lives are told from noise.
    pub(crate) fn connection_id_key(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.derive(b"connection id");
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn token_key(&self) -> Arc<hkdf::Prk> {
        Arc::new(hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &self.derive(b"token")))
    }

    fn derive(&self, label: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        self.0
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut out))
            .expect("invariant: hkdf gives as many bytes as its hash is long");
        out
    }
}

/// Bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("invariant: the operating system's generator does not fail once seeded");
    bytes
}

fn certificate_error(error: webpki::Error) -> Error {
    use webpki::Error as Chain;
    // What is said here reaches the other side as a TLS alert only.
    let error = if matches!(error, Chain::UnknownIssuer) {
        CertificateError::UnknownIssuer
    } else if matches!(error, Chain::CertExpired { .. }) {
        CertificateError::Expired
    } else {
        CertificateError::Other(rustls::OtherError(Arc::new(error)))
    };
    error.into()
}

fn tls_error(error: Error) -> CommError {
    CommError::Tls(error.to_string())
}

fn tls_text(error: &dyn std::fmt::Display) -> CommError {
    CommError::Tls(error.to_string())
}

/// Longest chain looked at, the leaf not counted.
const INTERMEDIATES_MAX: usize = 4;
/// Longest certificate looked at, in bytes: as long as an identity may be.
const CERTIFICATE_MAX: usize = PeerIdentity::MAX_LEN;
/// Bytes kept of a newcomer whose first packet has not been looked at.
const INCOMING_BUFFER: u64 = 64 << 10;
/// Sent in clear and looked at by nobody: one for all, so that it tells nothing.
pub(crate) const SERVER_NAME: &str = "gossip";

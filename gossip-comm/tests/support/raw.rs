//! A client that breaks the rules: bare quinn, with every step in the test's hands.

use std::net::SocketAddr;
use std::sync::Arc;

use gossip_api::message::{Features, Hello, HelloBinding, HelloLimits, Role, WIRE_VERSION};
use gossip_api::{Epoch, MessageCryptoService, NetworkId};
use gossip_comm::TlsMaterial;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, TransportConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use sha2::{Digest, Sha256};

use super::Person;

/// Certificate chain and key of a raw endpoint, in a form that rustls takes.
pub(crate) struct RawTls {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Vec<u8>,
}

impl RawTls {
    /// A fresh certificate of `authority`.
    pub(crate) fn of(authority: &super::Authority) -> Self {
        Self::made(authority, |_| {})
    }

    /// A certificate that is valid until then.
    pub(crate) fn until(authority: &super::Authority, unix_seconds: i64) -> Self {
        Self::made(authority, |params| {
            let until =
                std::time::Duration::from_secs(u64::try_from(unix_seconds).expect("after 1970"));
            params.not_after = (std::time::SystemTime::UNIX_EPOCH + until).into();
        })
    }

    /// A certificate of `authority` with something changed.
    pub(crate) fn made(
        authority: &super::Authority,
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Self {
        let mut params = rcgen::CertificateParams::new(vec!["raw.test".into()]).expect("a name");
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("key");
        let leaf = params.signed_by(&key, &authority.issuer).expect("leaf");
        Self { chain: vec![leaf.der().clone()], key: key.serialize_der() }
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.key.clone()).expect("pkcs8")
    }

    pub(crate) fn leaf_hash(&self) -> [u8; 32] {
        Sha256::digest(self.chain.first().expect("a leaf")).into()
    }
}

/// The ALPN of the real thing.
pub(crate) const ALPN: &[u8] = b"fabric-gossip/1";

/// An endpoint that trusts anybody, showing `tls` or nothing.
pub(crate) fn client(tls: Option<&RawTls>, alpn: &[u8]) -> Endpoint {
    client_with(tls, alpn, None)
}

/// The same, with a transport of its own.
pub(crate) fn client_with(
    tls: Option<&RawTls>,
    alpn: &[u8],
    transport: Option<TransportConfig>,
) -> Endpoint {
    let mut config = client_config(tls, alpn);
    transport.into_iter().for_each(|transport| {
        config.transport_config(Arc::new(transport));
    });
    let mut endpoint =
        Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("client endpoint");
    endpoint.set_default_client_config(config);
    endpoint
}

/// Makes first flights to `to`, each of a connection of its own, that nothing will follow.
pub(crate) fn first_flights(to: SocketAddr) -> impl FnMut() -> Vec<u8> {
    let config = client_config(None, ALPN);
    let mut endpoint = quinn_proto::Endpoint::new(Arc::default(), None, true, None);
    move || {
        let now = std::time::Instant::now();
        let connecting = endpoint.connect(now, config.clone(), to, "gossip");
        let (_, mut connection) = connecting.expect("valid parameters");
        let mut flight = Vec::new();
        let sent = connection.poll_transmit(now, 1, &mut flight).expect("a first flight");
        assert_eq!(sent.size, flight.len());
        flight
    }
}

fn client_config(tls: Option<&RawTls>, alpn: &[u8]) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("tls 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let mut config = match tls {
        Some(tls) => {
            builder.with_client_auth_cert(tls.chain.clone(), tls.key()).expect("certificate")
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = true;
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).expect("quic")))
}

/// An endpoint that takes anybody in without asking for a certificate... or asks `asks`.
pub(crate) fn server(tls: &RawTls, asks: bool) -> Endpoint {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("tls 1.3");
    let builder = if asks {
        builder.with_client_cert_verifier(Arc::new(Anybody(provider)))
    } else {
        builder.with_no_client_auth()
    };
    let mut config = builder.with_single_cert(tls.chain.clone(), tls.key()).expect("certificate");
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = QuicServerConfig::try_from(config).expect("quic");
    let config = quinn::ServerConfig::with_crypto(Arc::new(config));
    Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0))).expect("server endpoint")
}

/// Connects and hands back the connection, or why there is none.
pub(crate) async fn connect(
    endpoint: &Endpoint,
    to: SocketAddr,
) -> Result<Connection, ConnectionError> {
    endpoint.connect(to, "gossip").expect("valid parameters").await
}

/// The session as `role` speaks of it.
pub(crate) fn binding(
    connection: &Connection,
    role: Role,
    network: &NetworkId,
    own_leaf: [u8; 32],
) -> HelloBinding {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .expect("a certificate");
    let peer_leaf = Sha256::digest(chain.first().expect("a leaf")).into();
    let mut exporter = [0; 32];
    connection
        .export_keying_material(&mut exporter, Hello::EXPORTER_LABEL, network.as_str().as_bytes())
        .expect("an exporter");
    HelloBinding { role, exporter, own_leaf, peer_leaf }
}

/// A signed hello of `person` for the session that `binding` describes.
pub(crate) fn hello(person: &Person, binding: &HelloBinding, network: &NetworkId) -> Vec<u8> {
    let hello = Hello {
        identity: person.identity.clone(),
        epoch: Epoch::new(1),
        wire_version: WIRE_VERSION,
        features: Features::default(),
        limits: HelloLimits { block_frame_max: 100 << 20 },
        signature: Default::default(),
    };
    let mcs: &dyn MessageCryptoService = person;
    hello.sign(binding, network, mcs).expect("signature").encode().expect("encoding")
}

/// Sends `hello` on a first stream and hands back where the answer comes.
pub(crate) async fn speak(connection: &Connection, hello: &[u8]) -> RecvStream {
    let (mut send, recv) = connection.open_bi().await.expect("a first stream");
    send.write_all(hello).await.expect("room for a hello");
    send.finish().expect("an open stream");
    recv
}

/// A connection on which `person` has been believed.
pub(crate) async fn join(
    endpoint: &Endpoint,
    tls: &RawTls,
    person: &Person,
    network: &NetworkId,
    to: SocketAddr,
) -> Connection {
    let connection = connect(endpoint, to).await.expect("tls");
    let binding = binding(&connection, Role::Dialler, network, tls.leaf_hash());
    let mut answer = speak(&connection, &hello(person, &binding, network)).await;
    answer.read_to_end(1 << 16).await.expect("an answer");
    connection
}

/// The application code with which the other side closes the connection.
pub(crate) async fn close_code(connection: &Connection) -> Option<u64> {
    let closed = tokio::time::timeout(super::SOON, connection.closed()).await;
    match closed.expect("closed in time") {
        ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
        _ => None,
    }
}

/// Certificate material in the form that the transport's own configuration takes.
pub(crate) fn material(tls: &RawTls, root: &[u8]) -> TlsMaterial {
    TlsMaterial {
        chain: tls.chain.iter().map(|der| der.to_vec()).collect(),
        key: gossip_comm::SecretBytes::new(tls.key.clone()),
        roots: vec![root.to_vec()],
    }
}

/// Believes every certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("tls 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl rustls::server::danger::ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<rustls::server::danger::ClientCertVerified, Error> {
        Ok(rustls::server::danger::ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("tls 1.3 only".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

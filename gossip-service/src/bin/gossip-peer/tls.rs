//! Mutual TLS of the operations endpoint, and of those who ask it: the one place of this crate that names
//! rustls.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    ServerConfig, SignatureScheme, StreamOwned, version,
};

use crate::Failure;
use crate::config::OperationsTls;
use crate::material::{certificates, private_key};

/// A connection whose client has shown a certificate.
pub(crate) type ServerStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

/// The server's side; its files can be read again.
pub(crate) struct Acceptor {
    files: OperationsTls,
    config: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Reads the files.
    pub(crate) fn open(files: &OperationsTls) -> Result<Self, Failure> {
        let config = RwLock::new(server_config(files)?);
        Ok(Self { files: files.clone(), config })
    }

    /// Reads the files again; on failure what was read before holds.
    pub(crate) fn reload(&self) -> Result<(), Failure> {
        let fresh = server_config(&self.files)?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Shakes hands; fails if the client shows no certificate of the known authorities.
    pub(crate) async fn accept(&self, stream: tokio::net::TcpStream) -> io::Result<ServerStream> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }
}

/// Asks the endpoint whose files these are, with the endpoint's own certificate, and believes no other.
pub(crate) fn connect(
    files: &OperationsTls,
    address: SocketAddr,
    patience: Duration,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let text = |failure: Failure| failure.sentence().to_owned();
    let (chain, key) = own(files).map_err(text)?;
    let expected = chain.first().cloned().ok_or("no certificate")?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Pinned { expected, provider: Arc::clone(&provider) };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned))
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())?;
    let name = ServerName::IpAddress(address.ip().into());
    let connection =
        ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let stream =
        TcpStream::connect_timeout(&address, patience).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(patience)).map_err(|error| error.to_string())?;
    Ok(StreamOwned::new(connection, stream))
}

fn server_config(files: &OperationsTls) -> Result<Arc<ServerConfig>, Failure> {
    let refuse = |error: &dyn std::fmt::Display| {
        Failure::Config(format!("operations.tls cannot be used: {error}"))
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for file in &files.client_roots {
        for root in der(file)? {
            roots.add(root).map_err(|error| refuse(&error))?;
        }
    }
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
    let (chain, key) = own(files)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .map_err(|error| refuse(&error))?
        .with_client_cert_verifier(clients.build().map_err(|error| refuse(&error))?)
        .with_single_cert(chain, key)
        .map_err(|error| refuse(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(files: &OperationsTls) -> Result<Identity, Failure> {
    let key = private_key(&files.key)?;
    let key = PrivateKeyDer::try_from(key).map_err(|reason| {
        Failure::Config(format!("{} is not readable: {reason}", files.key.display()))
    })?;
    Ok((der(&files.cert)?, key))
}

fn der(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    Ok(certificates(file)?.into_iter().map(CertificateDer::from).collect())
}

/// Believes one certificate, whatever names it holds: the file lies beside us.
#[derive(Debug)]
struct Pinned {
    expected: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *shown == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, shown, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, shown, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

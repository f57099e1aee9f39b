//! Why the transport does not start, and why a peer is not let in.

use std::io;
use std::net::SocketAddr;

use gossip_api::{CryptoError, WireError};

/// Why the transport could not be set up or changed. Nothing has changed in that case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommError {
    /// The certificate, key or an authority's certificate cannot be used.
    #[error("tls material: {0}")]
    Tls(String),
    /// The socket could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
    /// Our own identity is not usable.
    #[error("own identity")]
    Identity(#[from] CryptoError),
    /// A metric of the same name is registered already.
    #[error("metrics")]
    Metrics(#[from] prometheus::Error),
    /// There is no tokio runtime to run on.
    #[error("not inside a tokio runtime")]
    NoRuntime,
    /// The transport has been stopped.
    #[error("transport is stopped")]
    Stopped,
}

/// Why a peer was not let in. The other side learns nothing of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloError {
    #[error("no hello in time")]
    Silent,
    #[error("connection lost before its hello: {0}")]
    Lost(String),
    #[error("hello is malformed: {0}")]
    Malformed(#[from] WireError),
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    #[error("tls session shows no certificate")]
    NoCertificate,
    #[error("hello of this peer itself")]
    Itself,
    #[error("identity refused: {0}")]
    Identity(CryptoError),
    #[error("hello is not signed for this session: {0}")]
    Signature(CryptoError),
    #[error("cannot sign our own hello: {0}")]
    Own(CryptoError),
}

impl HelloError {
    /// The label of counters and logs.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Lost(_) => "lost",
            Self::Malformed(_) => "malformed",
            Self::Version(_) => "version",
            Self::NoCertificate => "no_certificate",
            Self::Itself => "itself",
            Self::Identity(CryptoError::Expired) => "expired",
            Self::Identity(_) => "identity",
            Self::Signature(_) => "signature",
            Self::Own(_) => "own",
        }
    }
}

//! Why the transport does not start.

use std::io;
use std::net::SocketAddr;

use gossip_api::CryptoError;

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

//! TLS material as gRPC wants it, read from the files when it is needed, so that renewed files take effect.

use std::path::PathBuf;

use bytes::Bytes;
use peer_mcs::read_key_file;
use tonic::transport::Identity;

use crate::material::certificates;

/// Where a certificate and its key are kept.
#[derive(Clone, Debug)]
pub(crate) struct TlsPair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// Certificate and key, and the hash of the leaf that requests are bound to.
pub(crate) struct Loaded {
    pub(crate) identity: Identity,
    pub(crate) leaf_hash: Bytes,
}

impl TlsPair {
    /// Reads the files as they are now.
    pub(crate) fn load(&self) -> Result<Loaded, String> {
        let chain = certificates(&self.cert).map_err(|failure| failure.sentence().to_owned())?;
        let leaf_hash = peer_mcs::sha256(chain.first().map_or(&[], Vec::as_slice));
        let key = read_key_file(&self.key).map_err(|error| error.to_string())?;
        Ok(Loaded {
            identity: Identity::from_pem(bundle(chain.iter().map(Vec::as_slice)), key.as_bytes()),
            leaf_hash: Bytes::copy_from_slice(&leaf_hash),
        })
    }
}

/// Certificates as one PEM text.
pub(crate) fn bundle<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> String {
    certificates.into_iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der))).collect()
}

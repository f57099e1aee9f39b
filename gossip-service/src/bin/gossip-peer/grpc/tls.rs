//! TLS material as gRPC wants it, read from the files when it is needed, so that renewed files take effect.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use peer_mcs::read_key_file;
use tonic::transport::Identity;

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
        let cert = std::fs::read_to_string(&self.cert)
            .map_err(|error| format!("cannot read {}: {error}", self.cert.display()))?;
        let leaf = certificates(&cert, &self.cert)?
            .into_iter()
            .next()
            .ok_or_else(|| format!("{} holds no certificate", self.cert.display()))?;
        let key = read_key_file(&self.key).map_err(|error| error.to_string())?;
        Ok(Loaded {
            identity: Identity::from_pem(cert, key.as_bytes()),
            leaf_hash: Bytes::copy_from_slice(&peer_mcs::sha256(&leaf)),
        })
    }
}

/// The certificates of a PEM text, as DER.
pub(crate) fn certificates(text: &str, file: &Path) -> Result<Vec<Vec<u8>>, String> {
    let blocks = pem::parse_many(text)
        .map_err(|error| format!("{} is not a PEM file: {error}", file.display()))?;
    let certificates = blocks.into_iter().filter(|block| block.tag() == "CERTIFICATE");
    Ok(certificates.map(pem::Pem::into_contents).collect())
}

/// Certificates as one PEM text.
pub(crate) fn bundle<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> String {
    certificates.into_iter().map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der))).collect()
}

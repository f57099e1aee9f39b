//! An identity that an MSP knows, with everything that can be said about it once and for all.

use crate::error::{IdentityError, SignatureError};
use crate::msp::certificate::Certificate;
use crate::msp::pem::Pem;
use std::sync::Arc;

/// An identity whose certificate was issued under an MSP (or would have been, had it not been revoked,
/// or carried the right organisational units: see [`validated`](Self::validated)).
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) msp: Arc<str>,
    /// In Fabric's low-s form.
    pub(crate) certificate: Arc<Certificate>,
    /// SHA-256 of the certificate: what makes two identities one.
    pub(crate) fingerprint: [u8; 32],
    /// Hash over the certificates above its own; nothing if it has no chain.
    pub(crate) certifiers: Option<[u8; 32]>,
    /// Whether its bytes are in the one form allowed, which only some callers ask for.
    pub(crate) well_formed: Result<(), IdentityError>,
    /// Whether it is valid in its MSP.
    pub(crate) validated: Result<(), IdentityError>,
}

impl Identity {
    /// Checks its signature over a message. Does not ask whether it is valid.
    // fabric: msp/identities.go identity.Verify
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        self.certificate.key.verify(message, signature)
    }

    /// Its organisational units; none if it has no chain, as in Fabric.
    // fabric: msp/identities.go GetOrganizationalUnits
    pub(crate) fn organizational_units(&self) -> &[String] {
        if self.certifiers.is_some() { &self.certificate.organizational_units } else { &[] }
    }
}

/// The certificate in an identity's bytes, and whether they are well formed.
///
/// # Errors
/// What is wrong, for an error's text.
// fabric: msp/mspimpl.go deserializeIdentityInternal, IsWellFormed
pub(crate) fn read(id_bytes: &[u8]) -> Result<(Certificate, Result<(), IdentityError>), String> {
    let pem = Pem::find(id_bytes).ok_or("no PEM block in the identity")?;
    let certificate = Certificate::parse(&pem.contents)?;
    let well_formed = if pem.trailing {
        Err(IdentityError::Malformed("bytes follow the PEM block".into()))
    } else if pem.label != CERTIFICATE && !pem.label.is_empty() {
        Err(IdentityError::Malformed("the PEM block is no CERTIFICATE".into()))
    } else if !certificate.is_canonically_signed() {
        Err(IdentityError::Malformed("signature in the certificate is not canonical".into()))
    } else {
        Ok(())
    };
    Ok((certificate, well_formed))
}

const CERTIFICATE: &[u8] = b"CERTIFICATE";

//! Certificate revocation lists.

use bytes::Bytes;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::der::oid::ObjectIdentifier;

use super::certificate::Certificate;
use super::der::{CONTEXT_0_PRIMITIVE, Der, SEQUENCE};
use super::pem::Pem;
use crate::error::IdentityError;
use crate::key::SignatureAlgorithm;

/// A list as an MSP's configuration carries it. Counts from its config block on, whatever its dates say.
#[derive(Debug)]
pub(crate) struct RevocationList {
    /// Key id of the issuer; a list without it makes every identity of the MSP invalid, as in Fabric.
    authority_key_id: Option<Vec<u8>>,
    serials: std::collections::BTreeSet<Vec<u8>>,
    algorithm: SignatureAlgorithm,
    signed: Bytes,
    signature: Vec<u8>,
}

impl RevocationList {
    /// Parses PEM or DER.
    ///
    /// # Errors
    /// What is wrong, for an error's text.
    // fabric: msp/mspimplsetup.go setupCRLs
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let der = match Pem::find(bytes) {
            Some(pem) if pem.label == PEM_LABEL => Bytes::from(pem.contents),
            _ => Bytes::copy_from_slice(bytes),
        };
        let list: CertificateList =
            CertificateList::from_der(&der).map_err(|error| format!("revocation list: {error}"))?;
        let signed = signed_part(&der).ok_or("revocation list is not DER")?;
        let extensions = list.tbs_cert_list.crl_extensions.unwrap_or_default();
        let authority = extensions.iter().find(|extension| extension.extn_id == AUTHORITY_KEY_ID);
        let revoked = list.tbs_cert_list.revoked_certificates.unwrap_or_default();
        Ok(Self {
            authority_key_id: authority.and_then(|ext| key_id(ext.extn_value.as_bytes())),
            serials: revoked
                .iter()
                .map(|revoked| revoked.serial_number.as_bytes().to_vec())
                .collect(),
            algorithm: SignatureAlgorithm::from_oid(list.signature_algorithm.oid),
            signed,
            signature: list.signature.raw_bytes().to_vec(),
        })
    }

    fn is_of(&self, issuer: &Certificate) -> bool {
        issuer.key.verify_issued(self.algorithm, &self.signed, &self.signature)
    }
}

/// Refuses a certificate that its `issuer` has revoked in one of `lists`.
///
/// # Errors
/// [`IdentityError::Revoked`], or [`IdentityError::Chain`] if a list or the issuer lacks a key id.
// fabric: msp/mspimplvalidate.go validateCertAgainstChain
pub(crate) fn check(
    certificate: &Certificate,
    issuer: &Certificate,
    lists: &[RevocationList],
) -> Result<(), IdentityError> {
    let Some(issuer_id) = &issuer.extensions.subject_key_id else {
        return Err(IdentityError::Chain("the issuer has no subject key id".into()));
    };
    for list in lists {
        let Some(authority) = &list.authority_key_id else {
            return Err(IdentityError::Chain("a revocation list has no authority key id".into()));
        };
        if authority == issuer_id
            && list.serials.contains(&certificate.serial)
            && list.is_of(issuer)
        {
            return Err(IdentityError::Revoked);
        }
    }
    Ok(())
}

fn signed_part(der: &Bytes) -> Option<Bytes> {
    let outer = Der::new(der).expect(SEQUENCE).ok()?;
    let signed = Der::new(outer.contents).expect(SEQUENCE).ok()?;
    Some(der.slice_ref(signed.whole))
}

/// The key id of an authority key identifier.
fn key_id(extension: &[u8]) -> Option<Vec<u8>> {
    let sequence = Der::new(extension).expect(SEQUENCE).ok()?;
    let id = Der::new(sequence.contents).expect(CONTEXT_0_PRIMITIVE).ok()?;
    Some(id.contents.to_vec())
}

const PEM_LABEL: &[u8] = b"X509 CRL";
const AUTHORITY_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

//! A membership service provider: who belongs to an organisation, and in which role.

pub(crate) mod certificate;
pub(crate) mod chain;
pub(crate) mod der;
pub(crate) mod directory;
pub(crate) mod identity;
pub(crate) mod pem;
pub(crate) mod revocation;
pub(crate) mod roles;
mod setup;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use self::certificate::Certificate;
use self::chain::{Chain, Pools};
use self::identity::Identity;
use self::revocation::RevocationList;
use self::roles::{NodeOus, OuIdentifier};
use crate::cache::Cache;
use crate::error::IdentityError;
use crate::fabric::block::SerializedIdentity;
use crate::key::{KeyKind, sha256, sha256_of};

/// Which of Fabric's generations of rules an MSP follows; a channel's capabilities decide.
// fabric: msp/factory.go MSPVersion
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum MspVersion {
    /// Before NodeOUs.
    V1_0,
    /// Clients and peers are told apart.
    V1_1,
    /// Combined principals.
    V1_3,
    /// Admins and orderers are told apart too.
    V1_4_3,
    /// Ed25519.
    V3_0,
}

/// An MSP of X.509 certificates, set up and ready to judge.
#[derive(Debug)]
pub(crate) struct Msp {
    pub(crate) id: Arc<str>,
    pub(crate) version: MspVersion,
    pools: Pools,
    admins: Vec<Arc<Identity>>,
    revoked: Vec<RevocationList>,
    /// Units that identities must have one of, where NodeOUs are not enforced.
    units: Vec<OuIdentifier>,
    node_ous: NodeOus,
    /// CAs that issued intermediate CAs: they may not issue identities.
    inner_nodes: BTreeSet<Bytes>,
    pub(crate) tls_roots: Vec<Arc<Certificate>>,
    pub(crate) tls_intermediates: Vec<Arc<Certificate>>,
    known: Cache<Box<[u8]>, Arc<Identity>>,
    unknown: Cache<Box<[u8]>, IdentityError>,
}

impl Msp {
    /// The identity in `serialized`, if it claims to be of this MSP and its certificate was issued under it.
    ///
    /// It need not be valid: see [`Identity::validated`].
    ///
    /// # Errors
    /// [`IdentityError::Undecodable`] or [`IdentityError::NoMsp`].
    // fabric: msp/mspimpl.go DeserializeIdentity
    pub(crate) fn deserialize(&self, serialized: &[u8]) -> Result<Arc<Identity>, IdentityError> {
        let identity = SerializedIdentity::decode(serialized)
            .map_err(|error| IdentityError::Undecodable(error.to_string()))?;
        if identity.mspid != &*self.id {
            return Err(IdentityError::NoMsp(format!("it claims to be of {:?}", identity.mspid)));
        }
        self.deserialize_bytes(identity.id_bytes)
    }

    /// As [`deserialize`](Self::deserialize), for the bytes behind the MSP id. Remembers verdicts.
    pub(crate) fn deserialize_bytes(
        &self,
        id_bytes: &[u8],
    ) -> Result<Arc<Identity>, IdentityError> {
        if let Some(identity) = self.known.get(id_bytes) {
            return Ok(identity);
        }
        if let Some(error) = self.unknown.get(id_bytes) {
            return Err(error);
        }
        let identity = self.judge(id_bytes);
        if id_bytes.len() <= MAX_CACHED_LEN {
            match &identity {
                Ok(identity) => self.known.insert(id_bytes.into(), identity.clone()),
                Err(error) => self.unknown.insert(id_bytes.into(), error.clone()),
            }
        }
        identity
    }

    fn judge(&self, id_bytes: &[u8]) -> Result<Arc<Identity>, IdentityError> {
        let (certificate, well_formed) = identity::read(id_bytes).map_err(IdentityError::NoMsp)?;
        let (certificate, chain) = self.sanitize(certificate).map_err(IdentityError::NoMsp)?;
        let mut identity = self.identity(certificate, well_formed);
        identity.validated = self.validate(&mut identity, chain);
        Ok(Arc::new(identity))
    }

    /// An identity about whose validity nothing is known yet.
    fn identity(
        &self,
        certificate: Arc<Certificate>,
        well_formed: Result<(), IdentityError>,
    ) -> Identity {
        Identity {
            msp: self.id.clone(),
            fingerprint: sha256(&certificate.raw),
            certificate,
            certifiers: None,
            well_formed,
            validated: Ok(()),
        }
    }

    /// Brings an ECDSA-signed certificate to low s, for which its chain must be known.
    // fabric: msp/mspimpl.go sanitizeCert
    fn sanitize(&self, certificate: Certificate) -> Result<(Arc<Certificate>, Found), String> {
        if !certificate.signature_algorithm.is_ecdsa() {
            let certificate = Arc::new(certificate);
            let chain = self.pools.unique_chain(&certificate);
            return Ok((certificate, chain));
        }
        if certificate.is_ca() && certificate.is_signed_by(&certificate) {
            let root = match certificate.sanitized(&certificate)? {
                Some(sanitized) => Arc::new(sanitized),
                None => Arc::new(certificate),
            };
            let alone = Pools { roots: vec![root.clone()], ..self.pools.clone() };
            let chain = alone.unique_chain(&root)?;
            return Ok((root, Ok(chain)));
        }
        let certificate = Arc::new(certificate);
        let mut chain = self.pools.unique_chain(&certificate)?;
        let [_, parent, ..] = chain.as_slice() else {
            return Err("certificate is a root that did not sign itself".into());
        };
        match certificate.sanitized(parent)? {
            None => Ok((certificate, Ok(chain))),
            Some(sanitized) => {
                let sanitized = Arc::new(sanitized);
                if let Some(leaf) = chain.first_mut() {
                    *leaf = sanitized.clone();
                }
                Ok((sanitized, Ok(chain)))
            }
        }
    }

    // fabric: msp/mspimplvalidate.go validateIdentity
    fn validate(&self, identity: &mut Identity, chain: Found) -> Result<(), IdentityError> {
        let admitted = match identity.certificate.key.kind() {
            KeyKind::P256 | KeyKind::P384 | KeyKind::P521 => true,
            KeyKind::Ed25519 => self.version >= MspVersion::V3_0,
            KeyKind::Rsa => false,
        };
        let chain = self.identity_chain(&identity.certificate, chain);
        identity.certifiers = chain.as_ref().ok().map(|chain| certifiers(chain.get(1..)));
        if !admitted {
            return Err(IdentityError::KeyKind { msp: self.id.to_string() });
        }
        let chain = chain.map_err(IdentityError::Chain)?;
        if let Some(issuer) = chain.get(1) {
            revocation::check(&identity.certificate, issuer, &self.revoked)?;
        }
        self.check_units(identity)
    }

    /// `chain`, if it may be an identity's.
    // fabric: msp/mspimpl.go getCertificationChainForBCCSPIdentity
    fn identity_chain(&self, certificate: &Certificate, chain: Found) -> Found {
        if certificate.is_ca() {
            return Err("a ca cannot be used as an identity".into());
        }
        let chain = chain?;
        match chain.get(1) {
            None => Err("a root cannot be used as an identity".into()),
            Some(issuer) if self.inner_nodes.contains(&issuer.raw) => {
                Err("the issuer has issued other cas and may not issue identities".into())
            }
            Some(_) => Ok(chain),
        }
    }

    /// Forgets every verdict, for measurements.
    pub(crate) fn forget_cached(&self) {
        self.known.clear();
        self.unknown.clear();
    }
}

/// A chain, or why there is none.
type Found = Result<Chain, String>;

/// The hash by which organisational units name those who certified them.
// fabric: msp/mspimpl.go getCertificationChainIdentifierFromChain
fn certifiers(chain: Option<&[Arc<Certificate>]>) -> [u8; 32] {
    sha256_of(chain.unwrap_or_default().iter().map(|certificate| &certificate.raw[..]))
}

/// Identities remembered per MSP; at 5 KiB each some 10 MiB.
const MAX_KNOWN: usize = 2048;
/// Refused bytes remembered per MSP, so that repeating them costs nothing.
const MAX_UNKNOWN: usize = 256;
/// Longer identities are judged each time. The gossip layer refuses them before.
const MAX_CACHED_LEN: usize = 16 << 10;

#[cfg(test)]
mod tests;

//! Setting up an MSP from its configuration, with every check that Fabric makes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::certificate::Certificate;
use super::chain::Pools;
use super::identity::Identity;
use super::pem::Pem;
use super::revocation::{self, RevocationList};
use super::roles::{NodeOus, OuIdentifier, Role};
use super::{MAX_KNOWN, MAX_UNKNOWN, Msp, MspVersion, certifiers};
use crate::cache::Cache;
use crate::error::MspError;
use crate::fabric::msp::{FabricCryptoConfig, FabricMspConfig, FabricNodeOus, FabricOuIdentifier};

impl Msp {
    /// Sets up the MSP that `config` describes.
    ///
    /// # Errors
    /// If Fabric would not set it up; the text says why.
    // fabric: msp/mspimplsetup.go setupV3, setupV142, setupV11, setupV1
    pub(crate) fn new(config: &FabricMspConfig, version: MspVersion) -> Result<Self, MspError> {
        Self::set_up(config, version)
            .map_err(|reason| MspError::Invalid { msp: config.name.clone(), reason })
    }

    fn set_up(config: &FabricMspConfig, version: MspVersion) -> Result<Self, String> {
        check_crypto(config.crypto_config.as_ref())?;
        let mut msp = Self {
            id: config.name.as_str().into(),
            version,
            pools: Pools { roots: read_all(&config.root_certs)?, intermediates: Vec::new() },
            admins: Vec::new(),
            revoked: Vec::new(),
            units: Vec::new(),
            node_ous: NodeOus::default(),
            inner_nodes: BTreeSet::new(),
            tls_roots: read_all(&config.tls_root_certs)?,
            tls_intermediates: read_all(&config.tls_intermediate_certs)?,
            known: Cache::new(MAX_KNOWN),
            unknown: Cache::new(MAX_UNKNOWN),
        };
        msp.set_up_cas(&config.intermediate_certs)?;
        msp.revoked = config
            .revocation_list
            .iter()
            .map(|list| RevocationList::parse(list))
            .collect::<Result<_, _>>()?;
        msp.finalize_cas()?;
        check_tls_cas(&msp.tls_roots, &msp.tls_intermediates)?;
        for unit in &config.organizational_unit_identifiers {
            let known = msp.ou_identifier(unit, true)?;
            msp.units.push(known);
        }
        if version >= MspVersion::V1_1 {
            msp.set_up_node_ous(config.fabric_node_ous.as_ref())?;
        }
        msp.set_up_admins(&config.admins)?;
        Ok(msp)
    }

    /// Roots first, then intermediates, each in its low-s form.
    // fabric: msp/mspimplsetup.go setupCAs
    fn set_up_cas(&mut self, intermediates: &[Bytes]) -> Result<(), String> {
        if self.pools.roots.is_empty() {
            return Err("at least one ca certificate is needed".into());
        }
        self.pools.roots = distinct(std::mem::take(&mut self.pools.roots));
        self.pools.intermediates = distinct(read_all(intermediates)?);
        let sanitize = |certificates: &[Arc<Certificate>]| {
            certificates
                .iter()
                .map(|ca| self.sanitize(Certificate::parse(&ca.raw)?).map(|(ca, _)| ca))
                .collect::<Result<Vec<_>, String>>()
        };
        let roots = distinct(sanitize(&self.pools.roots)?);
        let intermediates = distinct(sanitize(&self.pools.intermediates)?);
        self.pools = Pools { roots, intermediates };
        Ok(())
    }

    // fabric: msp/mspimplsetup.go finalizeSetupCAs
    fn finalize_cas(&mut self) -> Result<(), String> {
        for ca in self.pools.roots.iter().chain(&self.pools.intermediates) {
            let chain = check_ca(ca, &self.pools)?;
            if let Some(issuer) = chain.get(1) {
                revocation::check(ca, issuer, &self.revoked).map_err(|error| error.to_string())?;
            }
        }
        for ca in &self.pools.intermediates {
            let chain = self.pools.unique_chain(ca)?;
            self.inner_nodes.extend(chain.iter().skip(1).map(|above| above.raw.clone()));
        }
        Ok(())
    }

    /// The unit of a configuration entry; without a certificate any certifier will do, if it need not be named.
    // fabric: msp/mspimplsetup.go getCertifiersIdentifier
    fn ou_identifier(
        &self,
        entry: &FabricOuIdentifier,
        certified: bool,
    ) -> Result<OuIdentifier, String> {
        let unit = entry.organizational_unit_identifier.clone();
        if entry.certificate.is_empty() && !certified {
            return Ok(OuIdentifier { unit, certifiers: None });
        }
        let (ca, _) = self.sanitize(read_certificate(&entry.certificate)?)?;
        let chain = if self.pools.roots.iter().any(|root| root.raw == ca.raw) {
            vec![ca]
        } else if self.pools.intermediates.iter().any(|known| known.raw == ca.raw) {
            if self.inner_nodes.contains(&ca.raw) {
                return Err(format!("the ca of unit {unit} has issued other cas"));
            }
            self.pools.unique_chain(&ca)?
        } else {
            return Err(format!("the ca of unit {unit} is none of the msp's"));
        };
        Ok(OuIdentifier { unit, certifiers: Some(certifiers(Some(&chain))) })
    }

    // fabric: msp/mspimplsetup.go setupNodeOUsV142, setupNodeOUs
    fn set_up_node_ous(&mut self, config: Option<&FabricNodeOus>) -> Result<(), String> {
        let Some(config) = config else { return Ok(()) };
        let read = |entry: &Option<FabricOuIdentifier>| {
            entry.as_ref().map(|entry| self.ou_identifier(entry, false)).transpose()
        };
        let mut units = NodeOus {
            enforced: config.enable,
            client: read(&config.client_ou_identifier)?,
            peer: read(&config.peer_ou_identifier)?,
            ..NodeOus::default()
        };
        if self.version >= MspVersion::V1_4_3 {
            units.admin = read(&config.admin_ou_identifier)?;
            units.orderer = read(&config.orderer_ou_identifier)?;
            let all = [&units.client, &units.peer, &units.admin, &units.orderer];
            units.enforced &= all.iter().any(|unit| unit.is_some());
        } else {
            let named =
                |unit: &Option<OuIdentifier>| unit.as_ref().is_some_and(|u| !u.unit.is_empty());
            if !named(&units.client) || !named(&units.peer) {
                return Err("node OUs need a client and a peer unit".into());
            }
        }
        self.node_ous = units;
        Ok(())
    }

    // fabric: msp/mspimplsetup.go setupAdminsV142, setupAdminsPreV142, postSetupV142, postSetupV11, postSetupV1
    fn set_up_admins(&mut self, admins: &[Bytes]) -> Result<(), String> {
        self.admins = admins
            .iter()
            .map(|admin| self.deserialize_bytes(admin).map_err(|error| error.to_string()))
            .collect::<Result<_, _>>()?;
        if self.version >= MspVersion::V1_4_3
            && self.admins.is_empty()
            && (!self.node_ous.enforced || self.node_ous.admin.is_none())
        {
            return Err("admins must be named where no unit tells them".into());
        }
        match self.admins.iter().position(|admin| !self.may_be_admin(admin)) {
            Some(position) => Err(format!("admin {position} is not one")),
            None => Ok(()),
        }
    }

    fn may_be_admin(&self, admin: &Identity) -> bool {
        if !self.node_ous.enforced {
            return admin.validated.is_ok();
        }
        if self.version >= MspVersion::V1_4_3 {
            self.has_role_unit(admin, Role::Client) || self.has_role_unit(admin, Role::Admin)
        } else {
            admin.validated.is_ok() && self.has_role_unit(admin, Role::Client)
        }
    }
}

fn check_crypto(config: Option<&FabricCryptoConfig>) -> Result<(), String> {
    let Some(config) = config else { return Ok(()) };
    if !matches!(config.signature_hash_family.as_str(), "" | "SHA2") {
        return Err(format!("hash family {} is not supported", config.signature_hash_family));
    }
    if !matches!(config.identity_identifier_hash_function.as_str(), "" | "SHA256") {
        let function = &config.identity_identifier_hash_function;
        return Err(format!("identity hash {function} is not supported"));
    }
    Ok(())
}

/// A CA must say that it is one, have a key id, and lead to a root of `pools`.
fn check_ca(ca: &Arc<Certificate>, pools: &Pools) -> Result<super::Chain, String> {
    if !ca.is_ca() {
        return Err("a ca certificate lacks the ca attribute".into());
    }
    if ca.extensions.subject_key_id.is_none() {
        return Err("a ca certificate lacks a subject key id".into());
    }
    pools.unique_chain(ca)
}

// fabric: msp/mspimplsetup.go setupTLSCAs
fn check_tls_cas(
    roots: &[Arc<Certificate>],
    intermediates: &[Arc<Certificate>],
) -> Result<(), String> {
    let pools =
        Pools { roots: distinct(roots.to_vec()), intermediates: distinct(intermediates.to_vec()) };
    for ca in roots.iter().chain(intermediates) {
        check_ca(ca, &pools).map_err(|reason| format!("tls: {reason}"))?;
    }
    Ok(())
}

/// Each certificate once: the same one twice would make two chains.
fn distinct(certificates: Vec<Arc<Certificate>>) -> Vec<Arc<Certificate>> {
    let mut seen = BTreeSet::new();
    certificates.into_iter().filter(|certificate| seen.insert(certificate.raw.clone())).collect()
}

fn read_all(texts: &[Bytes]) -> Result<Vec<Arc<Certificate>>, String> {
    texts.iter().map(|text| read_certificate(text).map(Arc::new)).collect()
}

// fabric: msp/mspimpl.go getCertFromPem
fn read_certificate(text: &[u8]) -> Result<Certificate, String> {
    Certificate::parse(&Pem::find(text).ok_or("a certificate is not PEM")?.contents)
}

//! One X.509 certificate: what Go's `crypto/x509` would know about it, and Fabric's low-s form of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use x509_cert::Certificate as Parsed;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Tagged};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};
use x509_cert::name::Name;

use super::der::{BIT_STRING, CONTEXT_0, Der, INTEGER, SEQUENCE, encode};
use crate::key::{PublicKey, SignatureAlgorithm, to_low_s};

/// A parsed certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// The DER it was parsed from.
    pub(crate) raw: Bytes,
    /// The part that the issuer signed.
    tbs: Bytes,
    pub(crate) signature: Bytes,
    pub(crate) signature_algorithm: SignatureAlgorithm,
    pub(crate) subject: Bytes,
    pub(crate) issuer: Bytes,
    pub(crate) serial: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    /// Seconds since 1970.
    pub(crate) not_after: i64,
    pub(crate) key: PublicKey,
    /// The key with its algorithm, as it stands in the certificate.
    pub(crate) spki: Bytes,
    pub(crate) organizational_units: Vec<String>,
    is_version_3: bool,
    pub(crate) extensions: Extensions,
}

/// What the extensions say.
#[derive(Debug, Default)]
pub(crate) struct Extensions {
    /// CA flag and path length of basic constraints, if the extension is there.
    basic_constraints: Option<(bool, Option<u8>)>,
    /// Whether the key may sign certificates; unlimited without the extension.
    may_sign_certificates: Option<bool>,
    /// Whether an extended key usage forbids what Go checks by default (TLS server).
    pub(crate) excludes_server_auth: bool,
    pub(crate) subject_key_id: Option<Vec<u8>>,
    pub(crate) subject_alt_name: Option<Vec<u8>>,
    pub(crate) has_name_constraints: bool,
    /// A critical extension that Go does not handle.
    pub(crate) unhandled_critical: Option<ObjectIdentifier>,
}

/// When a certificate (DER) runs out; the instant is still good.
///
/// # Errors
/// In words for people, if it is not readable as one that we accept.
pub fn certificate_expires(der: &[u8]) -> Result<gossip_api::Wall, String> {
    let certificate = Certificate::parse(der)?;
    Ok(gossip_api::Wall::from_unix_seconds(certificate.not_after))
}

impl Certificate {
    /// Parses DER.
    ///
    /// # Errors
    /// What is wrong, for an error's text.
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        if der.len() > MAX_CERTIFICATE_LEN {
            return Err(format!("certificate of {} bytes is too large", der.len()));
        }
        let raw = Bytes::copy_from_slice(der);
        let parsed = Parsed::from_der(&raw).map_err(|error| format!("certificate: {error}"))?;
        let tbs = parsed.tbs_certificate();
        if tbs.signature() != parsed.signature_algorithm() {
            return Err("certificate names two signature algorithms".into());
        }
        let slices = Slices::find(&raw).ok_or("certificate is not DER")?;
        let signature = parsed.signature().as_bytes().ok_or("signature is not whole bytes")?;
        Ok(Self {
            tbs: raw.slice_ref(slices.tbs),
            subject: raw.slice_ref(slices.subject),
            issuer: raw.slice_ref(slices.issuer),
            spki: raw.slice_ref(slices.spki),
            signature: Bytes::copy_from_slice(signature),
            signature_algorithm: SignatureAlgorithm::from_oid(parsed.signature_algorithm().oid),
            serial: tbs.serial_number().as_bytes().to_vec(),
            not_before: unix_seconds(tbs.validity().not_before),
            not_after: unix_seconds(tbs.validity().not_after),
            key: PublicKey::from_spki(tbs.subject_public_key_info())?,
            organizational_units: organizational_units(tbs.subject())?,
            is_version_3: tbs.version() == x509_cert::Version::V3,
            extensions: Extensions::parse(tbs.extensions().map_or(&[], Vec::as_slice))?,
            raw,
        })
    }

    /// Whether basic constraints make it a CA.
    pub(crate) fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|(ca, _)| ca)
    }

    /// The number of CAs that may stand between it and a leaf, if limited.
    pub(crate) fn path_len_max(&self) -> Option<u8> {
        self.extensions.basic_constraints.and_then(|(_, len)| len)
    }

    /// Whether `parent` signed it and was allowed to.
    // fabric: Go crypto/x509 CheckSignatureFrom
    pub(crate) fn is_signed_by(&self, parent: &Self) -> bool {
        let may_issue = match parent.extensions.basic_constraints {
            Some((ca, _)) => ca,
            None => !parent.is_version_3,
        };
        may_issue
            && parent.extensions.may_sign_certificates != Some(false)
            && parent.key.verify_issued(self.signature_algorithm, &self.tbs, &self.signature)
    }

    /// The same certificate with the lower value of s in its issuer's signature; nothing if it has it already.
    ///
    /// # Errors
    /// If the signature does not decode.
    // fabric: msp/cert.go sanitizeECDSASignedCert
    pub(crate) fn sanitized(&self, parent: &Self) -> Result<Option<Self>, String> {
        let low = to_low_s(parent.key.kind(), &self.signature)
            .ok_or("signature in the certificate does not decode")?;
        if low == self.signature {
            return Ok(None);
        }
        let mut outer = Der::new(&self.raw);
        let mut fields = Der::new(outer.expect(SEQUENCE).map_err(|bad| bad.0)?.contents);
        let tbs = fields.element().map_err(|bad| bad.0)?.whole;
        let algorithm = fields.element().map_err(|bad| bad.0)?.whole;
        let mut bits = vec![0];
        bits.extend_from_slice(&low);
        let contents = [tbs, algorithm, &encode(BIT_STRING, &bits)].concat();
        Self::parse(&encode(SEQUENCE, &contents)).map(Some)
    }

    /// Whether the signature in it is the one DER encoding of its integers; other algorithms have one form only.
    // fabric: msp/mspimpl.go isIdentitySignedInCanonicalForm
    pub(crate) fn is_canonically_signed(&self) -> bool {
        !self.signature_algorithm.is_ecdsa()
            || super::der::EcdsaIntegers::decode(&self.signature)
                .is_ok_and(|integers| integers.encode() == self.signature)
    }
}

impl Extensions {
    fn parse(extensions: &[Extension]) -> Result<Self, String> {
        let mut seen = BTreeSet::new();
        let mut parsed = Self::default();
        for extension in extensions {
            if !seen.insert(extension.extn_id) {
                return Err(format!("certificate has extension {} twice", extension.extn_id));
            }
            parsed
                .add(extension)
                .map_err(|error| format!("extension {}: {error}", extension.extn_id))?;
        }
        Ok(parsed)
    }

    fn add(&mut self, extension: &Extension) -> Result<(), x509_cert::der::Error> {
        let value = extension.extn_value.as_bytes();
        match extension.extn_id {
            BASIC_CONSTRAINTS => {
                let constraints = BasicConstraints::from_der(value)?;
                self.basic_constraints = Some((constraints.ca, constraints.path_len_constraint));
            }
            KEY_USAGE => {
                let usage = KeyUsage::from_der(value)?;
                // Go takes an extension without any bit for one that is not there.
                let any = !usage.0.is_empty();
                self.may_sign_certificates = any.then(|| usage.key_cert_sign());
            }
            EXTENDED_KEY_USAGE => {
                let usages = ExtendedKeyUsage::from_der(value)?.0;
                self.excludes_server_auth =
                    !usages.iter().any(|usage| matches!(*usage, SERVER_AUTH | ANY_USAGE));
            }
            SUBJECT_KEY_ID => {
                self.subject_key_id =
                    Some(SubjectKeyIdentifier::from_der(value)?.0.as_bytes().to_vec());
            }
            SUBJECT_ALT_NAME => {
                if extension.critical && !names_anything(value) {
                    self.unhandled_critical = Some(SUBJECT_ALT_NAME);
                }
                self.subject_alt_name = Some(value.to_vec());
            }
            NAME_CONSTRAINTS => self.has_name_constraints = true,
            other if extension.critical && !HANDLED.contains(&other) => {
                self.unhandled_critical.get_or_insert(other);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The pieces whose exact bytes matter.
struct Slices<'a> {
    tbs: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    spki: &'a [u8],
}

impl<'a> Slices<'a> {
    fn find(raw: &'a [u8]) -> Option<Self> {
        let mut outer = Der::new(Der::new(raw).expect(SEQUENCE).ok()?.contents);
        let tbs = outer.expect(SEQUENCE).ok()?;
        let mut fields = Der::new(tbs.contents);
        if fields.peek() == Some(CONTEXT_0) {
            fields.element().ok()?;
        }
        fields.expect(INTEGER).ok()?;
        fields.expect(SEQUENCE).ok()?;
        let issuer = fields.expect(SEQUENCE).ok()?.whole;
        fields.expect(SEQUENCE).ok()?;
        let subject = fields.expect(SEQUENCE).ok()?.whole;
        let spki = fields.expect(SEQUENCE).ok()?.whole;
        Some(Self { tbs: tbs.whole, issuer, subject, spki })
    }
}

fn unix_seconds(time: x509_cert::time::Time) -> i64 {
    i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX)
}

/// Whether alternative names hold one that Go reads: e-mail, DNS, URI or IP address.
fn names_anything(value: &[u8]) -> bool {
    let Ok(sequence) = Der::new(value).expect(SEQUENCE) else { return false };
    let mut names = Der::new(sequence.contents);
    while let Ok(name) = names.element() {
        if matches!(name.tag, 0x81 | 0x82 | 0x86 | 0x87) {
            return true;
        }
    }
    false
}

/// The OU attributes of a name, in order.
fn organizational_units(name: &Name) -> Result<Vec<String>, String> {
    let mut units = Vec::new();
    for attribute in name.iter().filter(|attribute| attribute.oid == ORGANIZATIONAL_UNIT) {
        use x509_cert::der::Tag;
        let tag = attribute.value.tag();
        if tag == Tag::Utf8String
            || tag == Tag::PrintableString
            || tag == Tag::Ia5String
            || tag == Tag::TeletexString
            || tag == Tag::NumericString
        {
            let text = std::str::from_utf8(attribute.value.value())
                .map_err(|_| "organisational unit is not text")?;
            units.push(text.to_owned());
        }
    }
    Ok(units)
}

/// A certificate with a thousand names is some 30 KiB; nothing honest comes near this.
pub(crate) const MAX_CERTIFICATE_LEN: usize = 1 << 20;

const ORGANIZATIONAL_UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const SUBJECT_KEY_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Extensions beyond those read above that Go handles when they are critical: CRL distribution points,
/// authority key id, certificate policies, policy mappings, policy constraints, inhibit any-policy,
/// authority information access.
const HANDLED: [ObjectIdentifier; 7] = [
    ObjectIdentifier::new_unwrap("2.5.29.31"),
    ObjectIdentifier::new_unwrap("2.5.29.35"),
    ObjectIdentifier::new_unwrap("2.5.29.32"),
    ObjectIdentifier::new_unwrap("2.5.29.33"),
    ObjectIdentifier::new_unwrap("2.5.29.36"),
    ObjectIdentifier::new_unwrap("2.5.29.54"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1"),
];

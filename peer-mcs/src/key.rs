//! Public keys and signatures: Fabric's rules, the fastest well-kept arithmetic.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self as lc, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::referenced::OwnedToRef;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::error::SignatureError;
use crate::msp::der::EcdsaIntegers;

/// SHA-256 with the processor's best instructions.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    array(&digest::digest(&digest::SHA256, bytes))
}

/// SHA-256 over the concatenation of `parts`, without joining them.
pub(crate) fn sha256_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(part);
    }
    array(&context.finish())
}

fn array(digest: &digest::Digest) -> [u8; 32] {
    digest.as_ref().try_into().expect("invariant: SHA-256 gives 32 bytes")
}

/// A key that an identity or an issuer signs with.
#[derive(Debug)]
pub(crate) struct PublicKey {
    kind: KeyKind,
    /// As in the certificate: an uncompressed point, 32 bytes of Ed25519, an RSA key in DER.
    bytes: Vec<u8>,
    fast: Fast,
}

/// Which keys may stand in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521: issues certificates, signs no messages here.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA: issues certificates, signs no messages.
    Rsa,
}

#[derive(Debug)]
enum Fast {
    Ecdsa(ParsedPublicKey),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    None,
}

impl PublicKey {
    /// Reads a certificate's key.
    ///
    /// # Errors
    /// For algorithms and curves that Go's x509 or Fabric's crypto provider do not take.
    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, String> {
        let bytes = spki.subject_public_key.as_bytes().ok_or("public key is not whole bytes")?;
        match spki.algorithm.oid {
            EC_PUBLIC_KEY => {
                let parameters = spki.algorithm.parameters.as_ref().ok_or("curve is missing")?;
                let curve: ObjectIdentifier = parameters
                    .owned_to_ref()
                    .decode_as()
                    .map_err(|_| "curve is not named by its identifier")?;
                Self::ecdsa(curve, bytes)
            }
            ED25519 => Self::ed25519(bytes),
            RSA_ENCRYPTION => {
                Ok(Self { kind: KeyKind::Rsa, bytes: bytes.to_vec(), fast: Fast::None })
            }
            other => Err(format!("public keys of algorithm {other} are not known")),
        }
    }

    fn ecdsa(curve: ObjectIdentifier, bytes: &[u8]) -> Result<Self, String> {
        let (kind, algorithm, len): (_, &'static dyn VerificationAlgorithm, _) = match curve {
            SECP256R1 => (KeyKind::P256, &lc::ECDSA_P256_SHA256_ASN1, 65),
            SECP384R1 => (KeyKind::P384, &lc::ECDSA_P384_SHA256_ASN1, 97),
            SECP521R1 => (KeyKind::P521, &lc::ECDSA_P521_SHA256_ASN1, 133),
            other => return Err(format!("curve {other} is not known")),
        };
        if bytes.len() != len || bytes.first() != Some(&UNCOMPRESSED) {
            return Err("public key is not an uncompressed point".into());
        }
        let key = ParsedPublicKey::new(algorithm, bytes)
            .map_err(|_| "public key is not a point of its curve")?;
        Ok(Self { kind, bytes: bytes.to_vec(), fast: Fast::Ecdsa(key) })
    }

    fn ed25519(bytes: &[u8]) -> Result<Self, String> {
        let array: [u8; 32] = bytes.try_into().map_err(|_| "an Ed25519 key has 32 bytes")?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&array)
            .map_err(|_| "public key is not a point of its curve")?;
        Ok(Self {
            kind: KeyKind::Ed25519,
            bytes: bytes.to_vec(),
            fast: Fast::Ed25519(Box::new(key)),
        })
    }

    pub(crate) fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key's bytes as in the certificate.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks a message's signature: ECDSA over its SHA-256 with low s, Ed25519 over the message itself.
    ///
    /// # Errors
    /// What is wrong, in the order in which Fabric looks.
    // fabric: fabric-lib-go bccsp/sw Verify
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if signature.is_empty() {
            return Err(SignatureError::Empty);
        }
        match (self.kind, &self.fast) {
            (KeyKind::P256, Fast::Ecdsa(key)) => verify_ecdsa(key, &HALF_P256, message, signature),
            (KeyKind::P384, Fast::Ecdsa(key)) => verify_ecdsa(key, &HALF_P384, message, signature),
            (KeyKind::Ed25519, Fast::Ed25519(key)) => {
                let signature = ed25519_dalek::Signature::from_slice(signature)
                    .map_err(|_| SignatureError::Invalid)?;
                ed25519_dalek::Verifier::verify(key.as_ref(), message, &signature)
                    .map_err(|_| SignatureError::Invalid)
            }
            _ => Err(SignatureError::UnsupportedKey),
        }
    }

    /// Checks an issuer's signature over a certificate or CRL; s may be high, bytes may not trail.
    // fabric: Go crypto/x509 checkSignature
    pub(crate) fn verify_issued(
        &self,
        algorithm: SignatureAlgorithm,
        signed: &[u8],
        signature: &[u8],
    ) -> bool {
        if let (SignatureAlgorithm::Ed25519, Fast::Ed25519(key)) = (algorithm, &self.fast) {
            return ed25519_dalek::Signature::from_slice(signature).is_ok_and(|sig| {
                ed25519_dalek::Verifier::verify(key.as_ref(), signed, &sig).is_ok()
            });
        }
        let Some(algorithm) = issuing_algorithm(self.kind, algorithm) else { return false };
        UnparsedPublicKey::new(algorithm, &self.bytes).verify(signed, signature).is_ok()
    }
}

/// How a key of this kind makes a signature of that algorithm, if it can.
fn issuing_algorithm(
    key: KeyKind,
    algorithm: SignatureAlgorithm,
) -> Option<&'static dyn VerificationAlgorithm> {
    use SignatureAlgorithm as A;
    Some(match (key, algorithm) {
        (KeyKind::P256, A::EcdsaSha256) => &lc::ECDSA_P256_SHA256_ASN1,
        (KeyKind::P256, A::EcdsaSha384) => &lc::ECDSA_P256_SHA384_ASN1,
        (KeyKind::P256, A::EcdsaSha512) => &lc::ECDSA_P256_SHA512_ASN1,
        (KeyKind::P384, A::EcdsaSha256) => &lc::ECDSA_P384_SHA256_ASN1,
        (KeyKind::P384, A::EcdsaSha384) => &lc::ECDSA_P384_SHA384_ASN1,
        (KeyKind::P384, A::EcdsaSha512) => &lc::ECDSA_P384_SHA512_ASN1,
        (KeyKind::P521, A::EcdsaSha256) => &lc::ECDSA_P521_SHA256_ASN1,
        (KeyKind::P521, A::EcdsaSha384) => &lc::ECDSA_P521_SHA384_ASN1,
        (KeyKind::P521, A::EcdsaSha512) => &lc::ECDSA_P521_SHA512_ASN1,
        (KeyKind::Rsa, A::RsaSha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, A::RsaSha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, A::RsaSha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

fn verify_ecdsa(
    key: &ParsedPublicKey,
    half_order: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureError> {
    let integers =
        EcdsaIntegers::decode(signature).map_err(|bad| SignatureError::Encoding(bad.0))?;
    if exceeds(integers.s, half_order) {
        return Err(SignatureError::HighS);
    }
    // Only the bytes that were looked at reach the library: what trails behind them is ignored.
    key.verify_sig(message, &integers.encode()).map_err(|_| SignatureError::Invalid)
}

/// Whether a big-endian integer without leading zeros is greater than `bound`.
fn exceeds(integer: &[u8], bound: &[u8]) -> bool {
    (integer.len(), integer) > (bound.len(), bound)
}

/// The signatures that certificates and CRLs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureAlgorithm {
    /// ECDSA over SHA-256.
    EcdsaSha256,
    /// ECDSA over SHA-384.
    EcdsaSha384,
    /// ECDSA over SHA-512.
    EcdsaSha512,
    /// RSA PKCS#1 v1.5 over SHA-256.
    RsaSha256,
    /// RSA PKCS#1 v1.5 over SHA-384.
    RsaSha384,
    /// RSA PKCS#1 v1.5 over SHA-512.
    RsaSha512,
    /// Ed25519.
    Ed25519,
    /// ECDSA over SHA-1: known to be one of ECDSA's, never accepted.
    EcdsaSha1,
    /// Anything else: never accepted.
    Other,
}

impl SignatureAlgorithm {
    pub(crate) fn from_oid(oid: ObjectIdentifier) -> Self {
        match oid {
            ECDSA_SHA1 => Self::EcdsaSha1,
            ECDSA_SHA256 => Self::EcdsaSha256,
            ECDSA_SHA384 => Self::EcdsaSha384,
            ECDSA_SHA512 => Self::EcdsaSha512,
            RSA_SHA256 => Self::RsaSha256,
            RSA_SHA384 => Self::RsaSha384,
            RSA_SHA512 => Self::RsaSha512,
            ED25519 => Self::Ed25519,
            _ => Self::Other,
        }
    }

    /// Whether it is one of ECDSA's, whose certificates Fabric brings to low s.
    // fabric: msp/cert.go isECDSASignedCert
    pub(crate) fn is_ecdsa(self) -> bool {
        match self {
            Self::EcdsaSha1 | Self::EcdsaSha256 | Self::EcdsaSha384 | Self::EcdsaSha512 => true,
            Self::RsaSha256 | Self::RsaSha384 | Self::RsaSha512 | Self::Ed25519 | Self::Other => {
                false
            }
        }
    }
}

/// `signature` with the lower of its two values of s, for a key of `kind`; nothing if it is none of ECDSA's.
// fabric: fabric-lib-go bccsp/utils/ecdsa.go SignatureToLowS
pub(crate) fn to_low_s(kind: KeyKind, signature: &[u8]) -> Option<Vec<u8>> {
    let integers = EcdsaIntegers::decode(signature).ok()?;
    let (half, order): (&[u8], &[u8]) = match kind {
        KeyKind::P256 => (&HALF_P256, &ORDER_P256),
        KeyKind::P384 => (&HALF_P384, &ORDER_P384),
        KeyKind::P521 | KeyKind::Ed25519 | KeyKind::Rsa => return Some(signature.to_vec()),
    };
    if !exceeds(integers.s, half) {
        return Some(signature.to_vec());
    }
    let low = subtract(order, integers.s)?;
    Some(EcdsaIntegers { r: integers.r, s: &low }.encode())
}

/// `order - value`, big-endian without leading zeros; nothing unless it is positive.
fn subtract(order: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut borrow = 0i16;
    let padded = value.iter().rev().copied().chain(std::iter::repeat(0));
    let mut digits: Vec<u8> = order
        .iter()
        .rev()
        .zip(padded)
        .map(|(minuend, subtrahend)| {
            let digit = i16::from(*minuend) - i16::from(subtrahend) - borrow;
            borrow = i16::from(digit < 0);
            digit.rem_euclid(256) as u8
        })
        .collect();
    digits.reverse();
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..zeros);
    (borrow == 0 && value.len() <= order.len() && !digits.is_empty()).then_some(digits)
}

const UNCOMPRESSED: u8 = 4;

// SEC 2, section 2: orders of the base points, and their halves rounded down.
const ORDER_P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
const HALF_P256: [u8; 32] = halved(ORDER_P256);
const ORDER_P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf,
    0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
const HALF_P384: [u8; 48] = halved(ORDER_P384);

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks the bounds")]
const fn halved<const N: usize>(order: [u8; N]) -> [u8; N] {
    let mut half = order;
    let mut index = N;
    while index > 0 {
        index -= 1;
        half[index] = order[index] >> 1 | if index > 0 { order[index - 1] << 7 } else { 0 };
    }
    half
}

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ECDSA_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_orders_are_half() {
        assert_eq!(HALF_P256[..5], [0x7f, 0xff, 0xff, 0xff, 0x80]);
        assert_eq!(HALF_P256[28..], [0x7e, 0x31, 0x92, 0xa8]);
        assert_eq!(subtract(&ORDER_P256, &ORDER_P256), None);
        let upper = subtract(&ORDER_P256, &HALF_P256).unwrap();
        assert_eq!(subtract(&ORDER_P256, &upper).unwrap(), HALF_P256);
        assert!(exceeds(&upper, &HALF_P256) && !exceeds(&HALF_P256, &HALF_P256));
    }

    #[test]
    fn a_high_s_becomes_the_low_one_that_verifies_too() {
        let high = EcdsaIntegers { r: &[7], s: &ORDER_P256[..31] }.encode();
        assert_eq!(to_low_s(KeyKind::P256, &high).unwrap(), high);
        let s = subtract(&ORDER_P256, &[9]).unwrap();
        let high = EcdsaIntegers { r: &[7], s: &s }.encode();
        let low = EcdsaIntegers { r: &[7], s: &[9] }.encode();
        assert_eq!(to_low_s(KeyKind::P256, &high).unwrap(), low);
    }

    #[test]
    fn hashing_in_parts_is_hashing_the_whole() {
        assert_eq!(sha256_of([&b"ab"[..], b"c"]), sha256(b"abc"));
        assert_eq!(hex::encode(sha256(b"abc"))[..8], *"ba7816bf");
    }
}

//! Private keys: read from PEM, kept in zeroised memory, signing as Fabric wants it.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use ed25519_dalek::Signer as _;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use zeroize::Zeroizing;

use crate::key::KeyKind;

/// A key that signs messages: P-256 with low s, or Ed25519.
///
/// `Debug` tells its kind only. Both libraries overwrite the key when it is dropped.
pub(crate) struct SigningKey(Kind);

enum Kind {
    P256 { pair: Box<EcdsaKeyPair>, public: Vec<u8> },
    Ed25519(Box<ed25519_dalek::SigningKey>),
}

impl SigningKey {
    /// Reads PKCS#8 (P-256, Ed25519) or SEC 1 (P-256) in PEM.
    ///
    /// # Errors
    /// What is wrong, without anything of the key.
    pub(crate) fn from_pem(text: &str) -> Result<Self, String> {
        if let Ok(secret) = p256::SecretKey::from_pkcs8_pem(text) {
            return Self::p256(&secret);
        }
        if let Ok(key) = ed25519_dalek::SigningKey::from_pkcs8_pem(text) {
            return Ok(Self(Kind::Ed25519(Box::new(key))));
        }
        match p256::SecretKey::from_sec1_pem(text) {
            Ok(secret) => Self::p256(&secret),
            Err(_) => Err("not a P-256 or Ed25519 private key in unencrypted PEM".into()),
        }
    }

    fn p256(secret: &p256::SecretKey) -> Result<Self, String> {
        let scalar = Zeroizing::new(<[u8; 32]>::from(secret.to_bytes()));
        let public = secret.public_key().to_sec1_point(false).as_bytes().to_vec();
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            scalar.as_slice(),
            &public,
        )
        .map_err(|error| format!("private key is refused: {error}"))?;
        Ok(Self(Kind::P256 { pair: Box::new(pair), public }))
    }

    /// Whether the key in a certificate is this key's other half.
    pub(crate) fn belongs_to(&self, kind: KeyKind, public: &[u8]) -> bool {
        match &self.0 {
            Kind::P256 { public: own, .. } => kind == KeyKind::P256 && own == public,
            Kind::Ed25519(key) => {
                kind == KeyKind::Ed25519 && key.verifying_key().as_bytes() == public
            }
        }
    }

    /// Signs: ECDSA over the message's SHA-256, as minimal DER with low s, or Ed25519 over the message.
    ///
    /// # Errors
    /// If the operating system gives no randomness.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Bytes, String> {
        match &self.0 {
            Kind::Ed25519(key) => Ok(Bytes::copy_from_slice(&key.sign(message).to_bytes())),
            Kind::P256 { pair, .. } => {
                let signature = pair
                    .sign(&SystemRandom::new(), message)
                    .map_err(|error| format!("no randomness: {error}"))?;
                let signature = p256::ecdsa::Signature::from_slice(signature.as_ref())
                    .map_err(|error| format!("library made no signature: {error}"))?;
                Ok(Bytes::copy_from_slice(signature.normalize_s().to_der().as_bytes()))
            }
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::P256 { .. } => "SigningKey(P-256)",
            Kind::Ed25519(_) => "SigningKey(Ed25519)",
        })
    }
}

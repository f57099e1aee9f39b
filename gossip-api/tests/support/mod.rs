//! A host that believes whoever knows the word: enough to walk through every door.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "each test file uses its part"
)]

pub mod random;
mod samples;

pub use samples::*;

use bytes::Bytes;
use gossip_api::{
    Block, BlockError, ChannelId, CryptoError, Expiration, MessageCryptoService, Mono, Now, OrgId,
    PeerIdentity, PkiId, SecurityAdvisor, SeqNum, Signature, Wall,
};
use sha2::{Digest, Sha256};

/// Signs as one identity. A signature is 64 bytes that pass as Ed25519: a hash, and zeros.
pub struct Host {
    pub identity: PeerIdentity,
}

impl Host {
    pub fn named(name: &str) -> Self {
        Self { identity: identity(name) }
    }

    pub fn pki_id(&self) -> PkiId {
        self.pki_id_of_cert(&self.identity).unwrap()
    }
}

/// `name` may end in `@seconds`: when the identity expires.
pub fn identity(name: &str) -> PeerIdentity {
    PeerIdentity::new(name.as_bytes().to_vec()).unwrap()
}

pub fn at(seconds: u64) -> Now {
    Now {
        mono: Mono::from_nanos(seconds * 1_000_000_000),
        wall: Wall::from_unix_seconds(i64::try_from(seconds).unwrap()),
    }
}

fn tag(identity: &PeerIdentity, message: &[u8]) -> Signature {
    let mut signature =
        Sha256::new().chain_update(identity.as_bytes()).chain_update(message).finalize().to_vec();
    signature.extend([0; 32]);
    Bytes::from(signature)
}

impl MessageCryptoService for Host {
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId> {
        (!identity.is_empty())
            .then(|| PkiId::from_bytes(Sha256::digest(identity.as_bytes()).into()))
    }

    fn verify_block(&self, _: &ChannelId, _: SeqNum, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn verify_block_attestation(&self, _: &ChannelId, _: &Block) -> Result<(), BlockError> {
        Ok(())
    }

    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError> {
        Ok(tag(&self.identity, message))
    }

    fn verify(&self, id: &PeerIdentity, sig: &[u8], message: &[u8]) -> Result<(), CryptoError> {
        if tag(id, message) == sig { Ok(()) } else { Err(CryptoError::BadSignature) }
    }

    fn verify_by_channel(
        &self,
        _: &ChannelId,
        id: &PeerIdentity,
        sig: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError> {
        self.verify(id, sig, message)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError> {
        if identity.as_bytes().starts_with(b"bad") {
            return Err(CryptoError::InvalidIdentity("nobody vouches for it".into()));
        }
        Ok(())
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError> {
        let text = std::str::from_utf8(identity.as_bytes()).unwrap_or_default();
        Ok(match text.split_once('@').and_then(|(_, end)| end.parse().ok()) {
            Some(end) => Expiration::At(Wall::from_unix_seconds(end)),
            None => Expiration::Never,
        })
    }
}

impl SecurityAdvisor for Host {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        let text = std::str::from_utf8(identity.as_bytes()).ok()?;
        OrgId::new(text.split('.').next()?).ok()
    }
}

//! Whom to believe: the host's cryptography.

use bytes::Bytes;

use crate::error::{BlockError, CryptoError};
use crate::id::{ChannelId, PkiId, SeqNum};
use crate::identity::PeerIdentity;
use crate::ledger::Block;
use crate::machine::Wall;

/// A signature as it travels: ASN.1 DER for ECDSA, 64 bytes for Ed25519.
pub type Signature = Bytes;

/// Cryptography and channel policies, supplied by the host.
///
/// Every method is callable concurrently and gives Fabric's verdict on Fabric's bytes, no more and no
/// less. Methods may take a millisecond of processor time (`verify_block`: more); none does I/O.
// fabric: gossip/api/crypto.go MessageCryptoService
pub trait MessageCryptoService: Send + Sync {
    /// The fingerprint of an identity, or nothing if it is empty or cannot be decoded.
    ///
    /// Pure and deterministic; does not validate the identity.
    // fabric: internal/peer/gossip/mcs.go GetPKIidOfCert
    fn pki_id_of_cert(&self, identity: &PeerIdentity) -> Option<PkiId>;

    /// Accepts `block` as number `number` of `channel`: number, channel, transactions, data hash, and
    /// the orderers' signatures under the channel's BlockValidation policy. The previous hash is not looked at.
    ///
    /// # Errors
    /// The first check that fails, in Fabric's order.
    // fabric: internal/peer/gossip/mcs.go VerifyBlock
    fn verify_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError>;

    /// Accepts header and signatures of a block whose data is not at hand.
    ///
    /// # Errors
    /// The first check that fails. Number, channel and data are not looked at.
    // fabric: internal/peer/gossip/mcs.go VerifyBlockAttestation
    fn verify_block_attestation(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError>;

    /// As [`verify_block_attestation`](Self::verify_block_attestation), under the channel's present
    /// configuration, even if the block is older than that.
    ///
    /// What two headers with one number are judged by: signatures of orderers that were dismissed since prove
    /// less than those of orderers in office.
    ///
    /// # Errors
    /// As `verify_block_attestation`.
    fn verify_block_attestation_presently(
        &self,
        channel: &ChannelId,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.verify_block_attestation(channel, block)
    }

    /// Accepts the data of a block whose header and signatures were accepted by
    /// [`verify_block_attestation`](Self::verify_block_attestation), byte for byte: what
    /// [`verify_block`](Self::verify_block) checks, but for the signatures.
    ///
    /// # Errors
    /// The first check that fails, in Fabric's order.
    fn verify_attested_block(
        &self,
        channel: &ChannelId,
        number: SeqNum,
        block: &Block,
    ) -> Result<(), BlockError> {
        self.verify_block(channel, number, block)
    }

    /// Signs `message` with this peer's key.
    ///
    /// # Errors
    /// [`CryptoError::Sign`].
    fn sign(&self, message: &[u8]) -> Result<Signature, CryptoError>;

    /// Checks `signature` over `message` under `identity`, which must be valid (in the local MSP if it
    /// is of our organisation, else in a channel's, whose Readers policy it must satisfy).
    ///
    /// # Errors
    /// If the identity is empty, malformed or not valid, or the signature does not verify.
    fn verify(
        &self,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError>;

    /// As [`verify`](Self::verify), under the Readers policy of `channel`.
    ///
    /// # Errors
    /// As `verify`, and if the channel is not joined.
    fn verify_by_channel(
        &self,
        channel: &ChannelId,
        identity: &PeerIdentity,
        signature: &[u8],
        message: &[u8],
    ) -> Result<(), CryptoError>;

    /// Accepts an identity that the local MSP or a joined channel's MSP accepts.
    ///
    /// The clock is not looked at: who must not be expired is the caller's question.
    ///
    /// # Errors
    /// If it is malformed, of no known issuer, or revoked.
    fn validate_identity(&self, identity: &PeerIdentity) -> Result<(), CryptoError>;

    /// When the identity's certificate runs out.
    ///
    /// # Errors
    /// As [`validate_identity`](Self::validate_identity).
    fn expiration(&self, identity: &PeerIdentity) -> Result<Expiration, CryptoError>;
}

/// Until when an identity is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// Until this instant, included.
    At(Wall),
    /// Identities of this kind do not expire.
    Never,
}

impl Expiration {
    /// Whether the identity has run out at `now`.
    pub fn is_past(self, now: Wall) -> bool {
        match self {
            Self::At(end) => now > end,
            Self::Never => false,
        }
    }
}

/// Our own gate in front of [`MessageCryptoService::verify`]: exactly one byte string is a signature.
///
/// Fabric ignores bytes behind a DER signature; for our own messages that would let a relay change the
/// bytes of a signed message without breaking it. Accepted are minimal DER of two integers in 1..n of
/// P-256 with low s and nothing behind, and 64 bytes of Ed25519 with reduced S.
///
/// # Errors
/// [`CryptoError::NonCanonicalSignature`] with what is wrong.
pub fn check_signature_form(signature: &[u8]) -> Result<(), CryptoError> {
    if is_reduced_ed25519(signature) {
        return Ok(());
    }
    let parsed = p256::ecdsa::Signature::from_der(signature)
        .map_err(|_| CryptoError::NonCanonicalSignature("neither minimal DER nor ed25519"))?;
    if parsed.normalize_s() != parsed {
        return Err(CryptoError::NonCanonicalSignature("s is not the lower of its two values"));
    }
    if parsed.to_der().as_bytes() != signature {
        return Err(CryptoError::NonCanonicalSignature("another encoding of the same integers"));
    }
    Ok(())
}

/// Whether these are 64 bytes whose second half is, little-endian, below the order of the Ed25519 group.
fn is_reduced_ed25519(signature: &[u8]) -> bool {
    // 2^252 + 27742317777372353535851937790883648493, big-endian (RFC 8032, 5.1).
    const ORDER: [u8; 32] = [
        0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7,
        0x9c, 0xd6, 0x58, 0x12, 0x63, 0x1a, 0x5c, 0xf5, 0xd3, 0xed,
    ];
    let Some((_, s)) = signature.split_at_checked(32) else { return false };
    s.len() == 32 && s.iter().rev().lt(ORDER.iter())
}

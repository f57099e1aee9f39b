//! One enum per thing that a caller may do.

use std::time::Duration;

use crate::id::{ChannelId, PkiId, SeqNum};

/// Why bytes are not a message. They are dropped and counted; the sender is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Fewer bytes than the length in front of them promises.
    #[error("message ends early: {needed} bytes announced, {found} present")]
    Truncated {
        /// Bytes announced.
        needed: usize,
        /// Bytes present.
        found: usize,
    },
    /// The length in front exceeds the class's cap. Nothing was allocated.
    #[error("frame of {found} bytes exceeds the cap of {max}")]
    TooLarge {
        /// Length claimed, in bytes.
        found: usize,
        /// The cap, in bytes.
        max: usize,
    },
    /// A wire version that this build does not speak.
    #[error("wire version {0} is not spoken here")]
    Version(u8),
    /// A class byte without meaning.
    #[error("unknown message class {0}")]
    Class(u8),
    /// The body does not decode, or not canonically.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// The frame's class is not the one the message belongs to, or its raw part is missing or forbidden.
    #[error("message does not fit its frame: {0}")]
    Misplaced(&'static str),
}

/// Why a block is not believed. Never stored, never forwarded.
///
/// The variants are the classes in which Fabric's own texts fall; [`BlockError::class`] names them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The bytes are no block.
    #[error("block does not decode: {0}")]
    Decode(String),
    /// A block without header.
    #[error("block has no header")]
    HeaderMissing,
    /// The number in the header is not the one claimed.
    #[error("block claimed to be number {claimed} says {found}")]
    NumberMismatch {
        /// The number the caller expected.
        claimed: SeqNum,
        /// The number in the header.
        found: SeqNum,
    },
    /// The first transaction does not tell a channel.
    #[error("block {number} does not tell its channel: {reason}")]
    ChannelIdUnreadable {
        /// Number in the header.
        number: SeqNum,
        /// What is missing.
        reason: String,
    },
    /// The first transaction belongs to another channel.
    #[error("block is of channel {found:?}, not of {expected}")]
    ChannelIdMismatch {
        /// The channel the caller expected.
        expected: ChannelId,
        /// The channel in the block, as found.
        found: String,
    },
    /// No metadata, so no signatures.
    #[error("block {0} has no metadata")]
    MetadataMissing(SeqNum),
    /// A transaction that is not the one canonical encoding of itself.
    #[error("transaction {index} of block {number} is malformed: {reason}")]
    TransactionsMalformed {
        /// Number in the header.
        number: SeqNum,
        /// Position of the transaction, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The data is not what the header commits to.
    #[error("data of block {0} does not match the hash in its header")]
    DataHashMismatch(SeqNum),
    /// The header does not continue the block before.
    #[error("block {0} does not continue the chain: its previous hash differs")]
    PreviousHashMismatch(SeqNum),
    /// The channel is not known here.
    #[error("channel {0} is not joined")]
    NoSuchChannel(ChannelId),
    /// The metadata's signature entry does not decode.
    #[error("signatures of block {number} do not decode: {reason}")]
    SignaturesMalformed {
        /// Number in the header.
        number: SeqNum,
        /// The decoder's words.
        reason: String,
    },
    /// A signature's header does not decode; rejects the block even beside enough good ones.
    #[error("a signature header of block {number} does not decode: {reason}")]
    SignatureHeaderMalformed {
        /// Number in the header.
        number: SeqNum,
        /// The decoder's words.
        reason: String,
    },
    /// The valid signatures do not satisfy the channel's BlockValidation policy.
    #[error("signatures of block {number} do not satisfy {policy}")]
    PolicyNotSatisfied {
        /// Number in the header.
        number: SeqNum,
        /// Path of the policy.
        policy: String,
    },
}

impl BlockError {
    /// The class of the error, in `snake_case`; the label of drop counters.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Decode(_) => "decode_error",
            Self::HeaderMissing => "header_missing",
            Self::NumberMismatch { .. } => "number_mismatch",
            Self::ChannelIdUnreadable { .. } => "channel_id_unreadable",
            Self::ChannelIdMismatch { .. } => "channel_id_mismatch",
            Self::MetadataMissing(_) => "metadata_missing",
            Self::TransactionsMalformed { .. } => "transactions_malformed",
            Self::DataHashMismatch(_) => "data_hash_mismatch",
            Self::PreviousHashMismatch(_) => "previous_hash_mismatch",
            Self::NoSuchChannel(_) => "no_such_channel",
            Self::SignaturesMalformed { .. } => "signatures_malformed",
            Self::SignatureHeaderMalformed { .. } => "signature_header_malformed",
            Self::PolicyNotSatisfied { .. } => "policy_not_satisfied",
        }
    }
}

/// Why an identity or a signature is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// No identity at all.
    #[error("identity is empty")]
    EmptyIdentity,
    /// The identity is not a serialized identity with a readable certificate.
    #[error("identity is malformed: {0}")]
    MalformedIdentity(String),
    /// No MSP known here accepts it; the reason is the last one's.
    #[error("identity is not valid in any known msp: {0}")]
    InvalidIdentity(String),
    /// The identity's certificate has run out by the wall clock.
    #[error("identity expired")]
    Expired,
    /// The signature does not verify under the identity.
    #[error("signature does not verify")]
    BadSignature,
    /// The signature's form is not the one canonical one; see [`crate::check_signature_form`].
    #[error("signature is not canonical: {0}")]
    NonCanonicalSignature(&'static str),
    /// The channel is not known here.
    #[error("channel {0} is not joined")]
    NoSuchChannel(ChannelId),
    /// The identity does not satisfy the policy.
    #[error("policy {0} is not satisfied")]
    PolicyNotSatisfied(String),
    /// The local key could not sign.
    #[error("signing failed: {0}")]
    Sign(String),
}

/// Why a [`SignedMessage`](crate::SignedMessage) did not become [`Verified`](crate::Verified).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The kind has no originator's signature; it is vouched for by its connection.
    #[error("messages of kind {0} are not signed by an originator")]
    NotSignedKind(&'static str),
    /// The kind needs its originator's signature; the connection does not vouch for it.
    #[error("messages of kind {0} need their originator's signature")]
    NotSenderKind(&'static str),
    /// The originator's identity is not known here (yet).
    #[error("identity of {0} is not known")]
    UnknownIdentity(PkiId),
    /// The message names another peer than the connection it came over.
    #[error("message claims to be from {claimed}, its connection is {actual}'s")]
    WrongSender {
        /// Who the message says sent it.
        claimed: PkiId,
        /// Whose connection it came over.
        actual: PkiId,
    },
    /// Identity or signature were refused.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Why the ledger did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The block is not the next one. The ledger is unchanged.
    #[error("ledger of {channel} waits for block {expected}, was given {found}")]
    OutOfOrder {
        /// The channel.
        channel: ChannelId,
        /// Number the ledger waits for.
        expected: SeqNum,
        /// Number given.
        found: SeqNum,
    },
    /// Reading or writing failed; the text names the file. Not retried without an operator.
    #[error("ledger of {channel}: {reason}")]
    Storage {
        /// The channel.
        channel: ChannelId,
        /// What failed.
        reason: String,
    },
    /// The ledger is being closed.
    #[error("ledger of {0} is closed")]
    Closed(ChannelId),
    /// The ledger has no way to replace a block that it holds.
    #[error("this kind of ledger cannot take block {0} again")]
    CannotMend(SeqNum),
}

/// Why a source of blocks gave none. The caller retries; sources are never given up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The source does not serve the channel.
    #[error("source {name} does not serve channel {channel}")]
    NoSuchChannel {
        /// Which source.
        name: String,
        /// Which channel.
        channel: ChannelId,
    },
    /// The source could not be reached or broke off.
    #[error("source {name}: {reason}")]
    Unavailable {
        /// Which source.
        name: String,
        /// What happened.
        reason: String,
        /// How long the source asks to be left alone, if it does.
        retry_after: Option<Duration>,
    },
    /// The source gave something that is not the next block.
    #[error("source {name} gave a bad block: {error}")]
    BadBlock {
        /// Which source.
        name: String,
        /// What is wrong with it.
        error: BlockError,
    },
}

impl SourceError {
    /// How long the source asks to be left alone, if it does.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            Self::NoSuchChannel { .. } | Self::BadBlock { .. } => None,
        }
    }
}

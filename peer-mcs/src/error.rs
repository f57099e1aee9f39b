//! Why something is not believed, and why something cannot be set up.

use std::path::PathBuf;

use gossip_api::{ChannelId, CryptoError, SeqNum};

/// Why an identity is not believed.
///
/// The variants are the classes in which Fabric's own texts fall; [`class`](Self::class) names them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// No bytes at all.
    #[error("identity is empty")]
    Empty,
    /// The bytes are no `SerializedIdentity`.
    #[error("identity does not decode: {0}")]
    Undecodable(String),
    /// The certificate is one that an MSP knows, in a form that is not the one form allowed.
    #[error("identity is not well formed: {0}")]
    Malformed(String),
    /// No MSP known here accepts it; the reason is the last one's.
    #[error("no msp accepts the identity: {0}")]
    NoMsp(String),
    /// The key is of a kind that the channel's capabilities do not admit.
    #[error("keys of this kind are not admitted by {msp}")]
    KeyKind {
        /// The MSP.
        msp: String,
    },
    /// No chain of certificates leads to a root, or a CA poses as a peer.
    #[error("no certification chain: {0}")]
    Chain(String),
    /// The issuer's revocation list names the certificate.
    #[error("certificate is revoked")]
    Revoked,
    /// The organisational units tell no role, or more than one.
    #[error("organisational units do not tell one role: {0}")]
    OrganizationalUnits(String),
}

impl IdentityError {
    /// The class of the error, in `snake_case`; the label of drop counters.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Empty => "identity_empty",
            Self::Undecodable(_) => "identity_undecodable",
            Self::Malformed(_) => "identity_malformed",
            Self::NoMsp(_) => "identity_no_msp",
            Self::KeyKind { .. } => "identity_key_kind",
            Self::Chain(_) => "identity_chain",
            Self::Revoked => "identity_revoked",
            Self::OrganizationalUnits(_) => "identity_ou",
        }
    }
}

/// Why a signature is not a key's over a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// No bytes at all.
    #[error("signature is empty")]
    Empty,
    /// Not DER of two positive integers.
    #[error("signature does not decode: {0}")]
    Encoding(&'static str),
    /// The higher of the two values of s.
    #[error("s is not the lower of its two values")]
    HighS,
    /// The arithmetic says no.
    #[error("signature does not verify")]
    Invalid,
    /// Keys of this kind sign no messages.
    #[error("keys of this kind sign no messages")]
    UnsupportedKey,
}

impl SignatureError {
    /// The class of the error, in `snake_case`; the label of drop counters.
    pub fn class(self) -> &'static str {
        match self {
            Self::Empty => "signature_empty",
            Self::Encoding(_) => "signature_der",
            Self::HighS => "signature_high_s",
            Self::Invalid => "signature_invalid",
            Self::UnsupportedKey => "signature_key_kind",
        }
    }
}

/// Why an identity's word is not believed: Fabric's verdict with its class, finer than [`CryptoError`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Disbelief {
    /// The identity is not valid.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature is not the identity's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The channel is not joined.
    #[error("channel {0} is not joined")]
    NoSuchChannel(ChannelId),
    /// Identity and signature do not satisfy the policy.
    #[error("policy {0} is not satisfied")]
    PolicyNotSatisfied(&'static str),
}

impl Disbelief {
    /// The class of the error, in `snake_case`; the label of drop counters.
    pub fn class(&self) -> &'static str {
        match self {
            Self::Identity(error) => error.class(),
            Self::Signature(error) => error.class(),
            Self::NoSuchChannel(_) => "no_such_channel",
            Self::PolicyNotSatisfied(_) => "policy_not_satisfied",
        }
    }
}

impl From<Disbelief> for CryptoError {
    fn from(disbelief: Disbelief) -> Self {
        match disbelief {
            Disbelief::Identity(IdentityError::Empty) => Self::EmptyIdentity,
            Disbelief::Identity(
                error @ (IdentityError::Undecodable(_) | IdentityError::Malformed(_)),
            ) => Self::MalformedIdentity(error.to_string()),
            Disbelief::Identity(error) => Self::InvalidIdentity(error.to_string()),
            Disbelief::Signature(_) => Self::BadSignature,
            Disbelief::NoSuchChannel(channel) => Self::NoSuchChannel(channel),
            Disbelief::PolicyNotSatisfied(policy) => Self::PolicyNotSatisfied(policy.into()),
        }
    }
}

/// Why an MSP or a key cannot be used. One sentence for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// A file or directory cannot be read.
    #[error("{path} cannot be read: {source}")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A directory that must hold something is empty or missing.
    #[error("{path} holds no {what}: put one there")]
    Missing {
        /// The directory.
        path: PathBuf,
        /// What is looked for.
        what: &'static str,
    },
    /// Others than the owner may read a private key.
    #[error("key file {path} is open to others (mode {mode:04o}): run chmod 600 on it")]
    KeyExposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// No key of the keystore belongs to the signing certificate.
    #[error("no key in {keystore} belongs to the certificate in {certificate}")]
    KeyMismatch {
        /// The directory of keys.
        keystore: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A file's contents are not what they must be.
    #[error("{path}: {reason}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The MSP as a whole is not one that Fabric would set up.
    #[error("msp {msp}: {reason}")]
    Invalid {
        /// Its id.
        msp: String,
        /// What is wrong.
        reason: String,
    },
}

/// Why a block does not give a channel's trust.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The block carries no configuration.
    #[error("block {0} is not a config block")]
    NotConfig(SeqNum),
    /// The block's bytes or its configuration do not decode, or contradict themselves.
    #[error("config block {number}: {reason}")]
    Malformed {
        /// Number in the header.
        number: SeqNum,
        /// What is wrong.
        reason: String,
    },
    /// One of the channel's MSPs cannot be set up.
    #[error("config block {number}")]
    Msp {
        /// Number in the header.
        number: SeqNum,
        /// Why.
        #[source]
        source: MspError,
    },
    /// The configuration belongs to another channel.
    #[error("config block of channel {found}, not of {expected}")]
    OtherChannel {
        /// The channel it was applied to.
        expected: ChannelId,
        /// The channel it is of.
        found: ChannelId,
    },
    /// The configuration does not follow the one in force.
    #[error("configuration {found} of channel {channel} does not follow {current}")]
    OutOfOrder {
        /// The channel.
        channel: ChannelId,
        /// Sequence number in force.
        current: u64,
        /// Sequence number given.
        found: u64,
    },
    /// The channel is not joined.
    #[error("channel {0} is not joined")]
    NoSuchChannel(ChannelId),
    /// The channel is joined already.
    #[error("channel {0} is joined already")]
    AlreadyJoined(ChannelId),
}

//! Identifiers and counters.
//!
//! Each is a type of its own, so that none can stand in another's place. `Debug` prints the first
//! eight hex digits of a hash, `Display` all of them.

use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::bounded::TooLong;

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(#[serde(with = "crate::words")] [u8; 32]);

        impl $name {
            /// Wraps 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Reads exactly 32 bytes; nothing for any other length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "("))?;
                for byte in self.0.iter().take(4) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str(")")
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    };
}

hash_type! {
    /// Fingerprint of a peer's identity: SHA-256 over MSP id and certificate bytes.
    ///
    /// The only key by which peers are indexed.
    // fabric: gossip/common/common.go PKIidType
    PkiId
}

hash_type! {
    /// SHA-256 of a block header's ASN.1 form; the next block's `previous_hash`.
    BlockHash
}

hash_type! {
    /// What a message carries instead of a channel's name, so that a reader who does not know the
    /// channel's genesis block cannot tell which channel it is about.
    // fabric-differs: Fabric's channel_MAC is an unkeyed hash that anybody can check a guessed name against.
    ChannelTag
}

hash_type! {
    /// Root of the tree over a block's shares.
    ShareRoot
}

impl ChannelTag {
    /// The tag under which `peer` speaks of the channel `channel` with genesis header hash `genesis`.
    ///
    /// SHA-256 over a domain string, the genesis header hash, the channel's name and the peer.
    pub fn derive(channel: &ChannelId, genesis: &BlockHash, peer: &PkiId) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(b"fabric-gossip/1 channel tag\0");
        hasher.update(genesis.as_bytes());
        hasher.update(peer.as_bytes());
        hasher.update(channel.as_str().as_bytes());
        Self(hasher.finalize().into())
    }
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Greatest length in bytes of UTF-8.
            pub const MAX_LEN: usize = $max;

            /// Wraps a name.
            ///
            /// # Errors
            /// If it is longer than [`Self::MAX_LEN`].
            pub fn new(name: &str) -> Result<Self, TooLong> {
                if name.len() > Self::MAX_LEN {
                    return Err(TooLong { found: name.len(), max: Self::MAX_LEN });
                }
                Ok(Self(name.into()))
            }

            /// The name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Name;

                impl Visitor<'_> for Name {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a name of at most {} bytes", $name::MAX_LEN)
                    }

                    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<$name, E> {
                        $name::new(name).map_err(E::custom)
                    }
                }

                deserializer.deserialize_str(Name)
            }
        }
    };
}

name_type! {
    /// Name of a channel; at most 249 bytes, Fabric's own limit.
    ChannelId, 249
}

name_type! {
    /// An organisation, named by its MSP id.
    OrgId, 255
}

name_type! {
    /// `host:port` of a peer, an IPv6 host in brackets. Not resolved, not trusted.
    Endpoint, 255
}

name_type! {
    /// Fabric's `peer.networkId`; part of everything signed, so that networks cannot be mixed.
    NetworkId, 64
}

name_type! {
    /// Why a remote peer refused, in its words: for logs, not for decisions.
    ErrorText, 256
}

impl ErrorText {
    /// As much of `text` as fits.
    pub fn cut(text: &str) -> Self {
        let mut end = text.len().min(Self::MAX_LEN);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self(text.get(..end).unwrap_or_default().into())
    }
}

macro_rules! counter_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number.
            pub const fn new(value: u64) -> Self {
                Self(value)
            }

            /// The number.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

counter_type! {
    /// Number of a block in a channel's ledger, from 0. [`Height`] is one past the last.
    SeqNum
}

counter_type! {
    /// Number of blocks in a ledger, which is the number of the next one.
    Height
}

counter_type! {
    /// Which life of a peer this is: a counter kept on disk, one more at every start; no clock.
    Epoch
}

counter_type! {
    /// A 64-bit random value that ties an answer to its question.
    Nonce
}

impl SeqNum {
    /// The block after this one; saturates.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The height of a ledger whose last block this is; saturates.
    pub const fn height(self) -> Height {
        Height(self.0.saturating_add(1))
    }
}

impl Height {
    /// The block a ledger of this height is waiting for.
    pub const fn next_block(self) -> SeqNum {
        SeqNum(self.0)
    }

    /// The last block of a ledger of this height; nothing for an empty one.
    pub const fn last_block(self) -> Option<SeqNum> {
        match self.0.checked_sub(1) {
            Some(last) => Some(SeqNum(last)),
            None => None,
        }
    }
}

//! The words and contracts of the gossip layer: identifiers, messages, traits; no I/O.
//!
//! Every other crate of the workspace imports this one and none of its siblings. It holds
//!
//! * the nouns that travel between layers ([`PkiId`], [`RemotePeer`], [`Block`], [`Message`]);
//! * the contracts with the host: who is believed ([`MessageCryptoService`], [`SecurityAdvisor`]), where
//!   blocks come from ([`BlockSource`]) and where they go ([`Ledger`]);
//! * the shape of every protocol core ([`Machine`]): told the time and one input, answers with actions;
//! * the wire form of messages ([`message::codec`] inside), and the doors from bytes to trust:
//!   [`Envelope`] -> [`SignedMessage`] -> [`Verified`];
//! * what invalidates what ([`Message::replaces`]), and the store that acts on it ([`MessageStore`]).
//!
//! It does not hold sockets, clocks, tasks or protocol state.
//!
//! ```text
//!   bytes --Envelope::decode--> Envelope --open--> SignedMessage --Verified::signed / sender--> Verified
//! ```
//!
//! # Invariants
//! - No function here panics, whatever bytes it is given.
//! - `decode(b) = Ok(m)` implies `encode(m) = b`.
//! - Decoding allocates at most four times the bytes given and 8 KiB; every sequence is [`Bounded`].
//! - A [`Verified`] message holds no memory of the buffer it came in, but for a large payload.
//! - A [`MessageStore`] holds no more than its bounds, whoever fills it.
//! - Only this crate makes a [`Verified`].

mod bounded;
mod channel;
mod config;
mod criteria;
mod crypto;
mod error;
mod gossip;
mod id;
mod identity;
mod ledger;
mod machine;
mod member;
mod merkle;
pub mod message;
mod security;
mod select;
mod store;
mod verify;
mod words;

pub use bounded::{Blob, Bounded, TooLong};
pub use channel::{AnchorPeer, ChannelNotifier, JoinChannelMessage};
pub use config::{Checked, ConfigError};
pub use criteria::{
    Acks, Answer, Handed, PeerIdentityInfo, PeerIdentitySet, PeerSignature, RoutingFilter,
    SendCriteria, SubChannelSelectionCriteria,
};
pub use crypto::{Expiration, MessageCryptoService, Signature, check_signature_form};
pub use error::{BlockError, CryptoError, LedgerError, SourceError, VerifyError, WireError};
pub use gossip::{
    Accepted, Gossip, GossipError, GossipService, PassedThrough, PeerSuspector, Predicate,
};
pub use id::{
    BlockHash, ChannelId, ChannelTag, Endpoint, Epoch, ErrorText, Height, NetworkId, Nonce, OrgId,
    PkiId, SeqNum, ShareRoot,
};
pub use identity::{IdentityMap, IdentityMapConfig, PeerIdentity};
pub use ledger::{Block, BlockCodec, BlockHeader, BlockSource, BlockStream, Ledger};
pub use machine::{Machine, Mono, Now, Wakeup, Wall, earliest};
pub use member::{NetworkMember, RemotePeer};
pub use merkle::MerkleTree;
pub use message::{Envelope, Message, MessageHeader, SignedMessage, Tag};
pub use security::SecurityAdvisor;
pub use select::select_peers;
pub use store::{Added, Evict, Left, MessageStore, Refusal, Storable, StoreConfig};
pub use verify::{Admit, Verified};

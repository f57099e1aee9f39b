//! Whom to believe: Fabric identities, policies and blocks, verified as Fabric verifies them.
//!
//! A peer believes exactly what a genuine Hyperledger Fabric peer believes: the same identities, the same
//! policies, the same blocks, the same refusals, with the same classes of errors. The fixtures under
//! `tests/` hold verdicts of Fabric's own code, and every one of them is checked.
//!
//! It does no input or output but reading an MSP's directory at start, has no clock, and knows nothing of
//! gossip: it can be embedded alone to verify blocks (`examples/verify_block.rs`).
//!
//! ```text
//!   genesis block --Channel::from_config_block--> Channel --Channels::join--> Channels
//!   config block  --Channels::apply (at commit)------------------------------> |
//!   msp directory --LocalMsp::from_dir--> LocalMsp --+                         |
//!                                                    +--> Mcs, Advisor <-------+
//!   bytes --FabricCodec::split--> Block --Mcs::verify_block--> believed, or why not
//! ```
//!
//! Begin with [`Mcs`] and [`Channels`].
//!
//! # Invariants
//! - No function panics, whatever bytes it is given, and its work is bounded by their number.
//! - A verdict depends on the bytes and on the configuration in force alone: never on the clock, on the
//!   order of a hash map, or on what was asked before.
//! - A cached verdict is dropped with the configuration under which it was made.
//! - Verdicts on Fabric's bytes are Fabric's, leniencies included; the stricter gate in front of our own
//!   messages stands in `gossip-api`.
//!
//! # Where it differs from Fabric
//! - TLS CAs are judged as the other CAs are, without the clock; Fabric refuses expired ones at start.
//! - CAs with name constraints are refused; Fabric applies the constraints.
//! - A block with more than 1,024 signatures is refused.
//! - MSPs of Idemix credentials are known by name and accept nobody.
//! - SHA-3 as hash family of an MSP or of a channel is refused.
//! - A block is verified under the newest configuration before it, not under the newest of all: the two
//!   differ for blocks that are older than the ledger's last config block.
//! - A channel with a capability that is not known here is refused; Fabric's peer ends.
//! - Whether a configuration update was authorised is left to the orderers, who signed its block.

mod advisor;
mod block;
mod cache;
mod channel;
mod channels;
mod config;
mod error;
mod evidence;
mod fabric;
#[doc(hidden)]
pub mod fuzz;
mod key;
mod mcs;
mod msp;
mod policy;
mod signer;

pub use advisor::Advisor;
pub use block::{FabricCodec, channel_of, check_link, data_hash, last_config, verify_block};
pub use channel::{Channel, Consenter, Signed, TlsCa};
pub use channels::Channels;
pub use error::{ChannelError, Disbelief, IdentityError, MspError, SignatureError};
pub use evidence::{Contradiction, EvidenceError, check_contradiction};
pub use key::sha256;
pub use mcs::{Mcs, Tip, pki_id};
pub use msp::certificate::certificate_expires;
pub use msp::directory::{LocalMsp, read_key_file};

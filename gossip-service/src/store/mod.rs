//! The crash-safe block store: one embedded database per channel, behind [`Ledger`](gossip_api::Ledger).
//!
//! ```text
//!   <data dir>/            0700, held by one process at a time
//!     LOCK                 the lock
//!     epoch                which life of the peer this is
//!     transport.secret     0600: what the transport derives reset tokens from
//!     <channel>.redb       0600: blocks and small values of one channel
//!     <channel>.key        0600: with it the channel's records are sealed
//! ```
//!
//! A block is kept in Fabric's own serialized form, sealed by a keyed hash over number and bytes. A
//! commit is one transaction, on disk when it is acknowledged. Whatever happened to a file, opening it
//! gives the longest chain from block 0 on whose records are whole; what is cut off is fetched again.
//!
//! # Invariants
//! - A block is returned as it was committed, or not at all.
//! - What was acknowledged survives the death of the process and of the machine.
//! - One process has a data directory; another is told so.

mod blocks;
mod dir;
mod epoch;
mod error;
mod open;
mod record;
mod salvage;

pub use blocks::BlockStore;
pub use dir::DataDir;
pub use epoch::EpochFile;
pub use error::StoreError;

#[cfg(test)]
mod tests;

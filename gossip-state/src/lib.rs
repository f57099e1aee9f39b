//! State transfer: blocks in order, exactly once, and how the late catch up.
//!
//! One [`StateTransfer`] per channel takes blocks from wherever they come (the ordering service, a
//! push, a pull, a range asked of a peer), has each verified once, and hands them to the ledger in
//! order. Following the tip and catching up are the same thing: whatever number is missing between
//! the ledger's height and what the neighbours claim is asked for, in ranges bounded by bytes. One
//! [`Server`] per channel answers such ranges for others.
//!
//! It does not verify, read or write blocks, and it sends nothing: those are its [`Action`]s. It does
//! not decide who may ask for blocks, nor which peers may be asked; its parent tells it of the ones
//! that may.
//!
//! ```text
//!   source, push, pull, range          Verify            Commit
//!   ----- Offered ----> window of slots ----> parent     ------> ledger
//!                        | ^                    |                  |
//!                        | '---- Verified ------'                  |
//!                 Request|           (a config block: nothing      |
//!                        v            above it is verified         |
//!                   other peers       until it is committed) <-----' Committed
//! ```
//!
//! Begin with [`StateTransfer::handle`](gossip_api::Machine::handle).
//!
//! # Invariants
//! - The cursor is the ledger's height; there is no second one.
//! - A number is committed once, after every lower one, and only if its previous hash fits.
//! - Nothing is committed that was not verified under the configuration in force right below it.
//! - The window holds at most `window_blocks` numbers. Its bytes and those asked for stay within
//!   `budget_bytes`; only the very next block may exceed them, or no block larger than the budget
//!   could ever pass.
//! - A claimed height is a hint: it costs its author a request that fails, and then its rank.

mod catchup;
mod commit;
mod config;
mod conflict;
mod intake;
pub mod invariants;
mod mend;
mod metrics;
mod payloads;
mod serve;
mod sources;
mod stall;
mod stats;
mod transfer;
mod words;

pub use config::{ServeConfig, StateConfig};
pub use conflict::{Conflict, Evidence};
pub use metrics::StateMetrics;
pub use serve::{ServeAction, ServeDrop, ServeInput, ServeStats, Server};
pub use stall::StalledReason;
pub use stats::{ByOrigin, Stats};
pub use transfer::StateTransfer;
pub use words::{Action, BlockOrigin, DropReason, Input, RequestOutcome};

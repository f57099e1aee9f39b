//! Leader election among the peers of one organisation in one channel.
//!
//! The leader pulls blocks from the ordering service; all others get them from their neighbours.
//! Leadership is an optimisation and never a dependency: without a leader peers fetch for themselves,
//! with two an organisation pulls twice.
//!
//! It is not consensus, it sends nothing and it does not pull: those are its [`Action`]s, and its
//! parent tells it who is alive, how high the ledger is and what was proved to exist.
//!
//! ```text
//!             view stable             nobody better
//! Stabilizing -----------> Proposing ---------------> Leading --- lease not renewed,
//!      |                    |     ^                      |        better leader, yield
//!      | declaration heard  |     | too few leaders      v
//!      '--------------------+---> Following <------------'
//! ```
//!
//! Which of two candidates is the better one: who is not under suspicion of withholding blocks; then
//! who is not far behind; then the smaller hash of channel, a recent block's hash and peer, so that
//! nobody can choose a key that always wins. Leaders declare themselves four times per lease; one that
//! falls silent is replaced when its lease is over, one that says goodbye at once.
//!
//! Begin with [`Election::handle`](gossip_api::Machine::handle).
//!
//! # Invariants
//! - [`Action::Lead`] and [`Action::Follow`] alternate, and [`Input::Stop`] is the last thing that does
//!   anything.
//! - A lease that ran out ends leadership before anything else is looked at.
//! - A term never falls, is on disk before it is spoken, and never decides who leads.

mod claims;
mod config;
mod election;
mod metrics;
mod rank;
mod term;
mod watch;
mod words;

pub use config::{ElectionConfig, Mode};
pub use election::Election;
pub use metrics::ElectionMetrics;
pub use words::{Action, Claim, ClaimKind, Input, Leadership};

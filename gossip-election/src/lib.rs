//! Leader election among the peers of one organisation in one channel.
//!
//! The leader pulls blocks from the ordering service; all others get them from their neighbours.
//! Leadership is an optimisation and never a dependency: with no leader peers fetch for themselves,
//! with two an organisation pulls twice.
//!
//! It is not consensus, it sends nothing and it does not pull: those are its [`Action`]s, and its
//! parent tells it who is alive.
//!
//! ```text
//!   membership, heights ----> Election ----> Lead / Follow (to whoever pulls)
//! ```
//!
//! Who leads is named by configuration: [`Mode::Static`].
//!
//! # Invariants
//! - [`Action::Lead`] and [`Action::Follow`] alternate, and nothing follows [`Input::Stop`] but one
//!   [`Action::Follow`].

mod config;
mod election;
mod metrics;

pub use config::{ElectionConfig, Mode};
pub use election::{Action, Election, Input, Leadership};
pub use metrics::ElectionMetrics;

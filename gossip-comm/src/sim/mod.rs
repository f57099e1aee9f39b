//! The simulated network: any machine, virtual time, one thread, one seed.
//!
//! A [`Cluster`] owns the machines, the network between them and the clock, and does one thing after
//! another in the order of their times. It serves the same [`Command`](crate::Command) and
//! [`Event`](crate::Event) as QUIC does, through the same [`Host`](crate::Host):
//!
//! ```text
//!   machine --action--> Host::perform --Command--> network --(time, order)--> queue
//!      ^                                                                        |
//!      '------input---- Host::receive <---Event--------------------------------'
//! ```
//!
//! It models connections (handshake, whose identity is let in, one per pair, idle time-out, close,
//! stateless reset), streams and their priorities, latency, loss, bandwidth, bounded outboxes, dials that
//! back off, and the faults of [`Cluster`]'s methods. It does not model congestion control, flow
//! control, packet headers or the cost of cryptography; what only packets can show is tested with real
//! endpoints.
//!
//! # Invariants
//! - The same seed and the same calls give the same history, and the same [`Cluster::history_hash`].
//! - Time never goes back, and nothing happens between two events.
//! - A peer hears from a neighbour only between `Connected` and `Disconnected`.

mod check;
mod cluster;
pub mod crypto;
mod faults;
mod history;
pub(crate) mod link;
pub(crate) mod net;
mod plans;
pub(crate) mod queue;
pub(crate) mod rng;

pub use check::check;
pub use cluster::Cluster;
pub use history::{DropCause, PeerStats, Stats, Tally};
pub use link::Link;
pub use net::{PeerSpec, Timing};
pub use plans::{Shape, partition};
pub use rng::seeded;

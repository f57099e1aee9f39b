//! The whole peer: push, pull and channels over the layers below, and the `gossip-peer` daemon.
//!
//! [`Peer`] is a machine like any other: a whole peer is one value that can be simulated by the thousand.
//! [`Service`] runs one of them over a real transport, and does in the world what it asks for.
//!
//! ```text
//!   Service ---- driver: one loop ---- Peer ---- Node        channels, push, pull
//!      |             |                   |------ Discovery   who is alive
//!   Effects      Comm events             |------ per channel: StateTransfer, Server, Election
//! ```
//!
//! It does not know Fabric's formats: whom to believe and how blocks are encoded are the host's
//! (`gossip-api`'s traits), which the `gossip-peer` binary fills with `peer-mcs`.
//!
//! # Invariants
//! - The loop never waits for a remote peer, a disk or a signature.
//! - A config block is in force before any later block is verified.
//! - When [`Service::stop`] returns no task is left.

mod anchors;
mod backlog;
mod configure;
mod conflicts;
mod delivery;
mod driver;
mod effects;
mod eventer;
mod hosting;
mod joining;
mod metrics;
pub mod node;
mod peer;
mod roll;
mod service;
#[cfg(feature = "store")]
pub mod store;
mod traffic;
mod verify;

pub use conflicts::{ConflictProof, ConflictStore, SourceProof};
pub use driver::Status;
pub use eventer::ConfigEventer;
pub use joining::{
    Channel, ConfigHost, DeliveryFactory, EpochStore, FixedConfig, MemoryTerms, TermStore,
};
pub use peer::{
    Action, ChannelStatus, Input, JoinRequest, Peer, PeerConfig, PeerSelf, ReadPurpose,
};
pub use service::{Host, Parts, Service, ServiceBuilder, StartError};
pub use traffic::OrgTraffic;
pub use verify::{Judged, Trust, judge};

//! The authenticated transport between peers: QUIC, and a simulated network over the same contract.
//!
//! [`Command`] and [`Event`] are the whole contract. The layer above is a
//! [`Machine`](gossip_api::Machine) and never knows which of the two serves it:
//!
//! ```text
//!                Command                    Command
//!   machine ----------------> quic     machine ----------------> sim
//!           <----------------  |               <----------------  |
//!                 Event      packets                 Event     one event queue, virtual time, one seed
//! ```
//!
//! It does not decide whom to connect to, verifies no message beyond the connection's own hello, and
//! keeps nothing about peers that are not connected.

mod acks;
#[cfg(any(feature = "quic", feature = "sim"))]
mod backoff;
mod bounds;
#[cfg(feature = "quic")]
mod clock;
mod comm;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod config;
#[cfg(feature = "quic")]
mod drive;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod duplicate;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod error;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod framing;
pub mod hello;
mod host;
#[cfg(feature = "quic")]
mod metrics;
#[cfg(feature = "quic")]
pub mod quic;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg(feature = "sim-quic")]
pub mod sim_quic;
#[cfg(feature = "quic")]
mod switchboard;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod tls;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
mod transport;

pub use acks::{AckId, AckOutcome, AckReport, AckedSend, AckedSends, acknowledge};
pub use bounds::OutboxConfig;
#[cfg(feature = "quic")]
pub use clock::{Clock, wall};
pub use comm::{
    Comm, Command, Connected, DisconnectCause, Event, InboundId, RequestId, ResponseOutcome,
};
#[cfg(any(feature = "quic", feature = "sim-quic"))]
pub use config::{CommConfig, InboxConfig, QuotaConfig, SecretBytes, StreamConfig, TlsMaterial};
#[cfg(feature = "quic")]
pub use drive::drive;
#[cfg(any(feature = "quic", feature = "sim-quic"))]
pub use error::CommError;
pub use host::{Effect, Host};
#[cfg(feature = "quic")]
pub use switchboard::{CallError, Incoming, Subscription, Switchboard};

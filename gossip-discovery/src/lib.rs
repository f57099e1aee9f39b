//! Membership: who is alive, told by signed records and hash-chain beats.
//!
//! A machine ([`Discovery`]) that is told the time and one input, and answers with actions. It finds the
//! other peers from a few addresses, keeps connections to them, tells them of us, and tells the layers
//! above who is alive: never because somebody else says so, and never that somebody is dead because
//! somebody else says so.
//!
//! It does not sign, verify, dial or keep time: these are actions, and their results are inputs. It knows
//! nothing of channels.
//!
//! ```text
//!            Connect, Connected, Disconnected, DialFailed, Received, Checked, Signed, Proved, Tick
//!                                              |
//!    connect ------ links, anchors, dials      |      sync ------- request, page, judge, learn
//!                                          discovery
//!    probe -------- nonce, helper, proof       |      alive ------ beat, relay, record
//!            '----- health: is it us?          |              '--- own: record, chain, secret
//!                                              v
//!            Dial, Disconnect, Send, Forward, Sign, Prove, Check, Notify, Drop
//! ```
//!
//! A member says of itself what it is in a *record*, signed when something changes, and that it lives by
//! *beats*: preimages of a hash chain whose end the record names. A beat costs its receiver one hash, and
//! nobody else can make it. Beats are flooded over a sparse symmetric graph of neighbours, a frame per
//! neighbour and 200 ms. Records come by exchange: a request says what is known, the answer what is not.
//!
//! A member that is new, late, or lost its connection has to sign a nonce: in its hello, or asked directly,
//! or through others. Begin reading in `discovery.rs`.
//!
//! # Invariants
//! - A member is alive only after a proof of life over our own nonce, and dead only after it failed to
//!   give one, to us and through others.
//! - A member is either alive or dead, and the layers above hear of each change once.
//! - We are never in our own view.
//! - A record is checked once, however many neighbours bring it; a beat that is known is not hashed.
//! - Nothing is passed on that was not verified.
//! - Every message but our own hello passes one of two functions that know who may learn of whom.
//! - Everything that grows has a bound: see [`invariants`].

mod alive;
mod config;
mod connect;
mod disclose;
mod discovery;
mod error;
mod health;
pub mod invariants;
mod limit;
mod member;
mod metrics;
mod own;
mod probe;
mod row;
mod sync;
mod timers;
mod view;

pub use config::DiscoveryConfig;
pub use discovery::{Action, CheckedMember, Discovery, Input, MembershipEvent};
pub use error::DropReason;
pub use metrics::{Counters, Metrics, Stats};
pub use own::Me;

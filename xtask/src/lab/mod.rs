//! The laboratory: what simulates or measures, and therefore links the crates.
//!
//! All of it sits behind the feature `lab`, in release. The everyday build of xtask knows only the
//! names and arguments of its commands; when one is called it starts `again_in_release`, once.
//!
//! A simulation is one module here, with its clap `Args` (always built) and its `run` (under
//! `#[cfg(feature = "lab")]`), and one variant of the command in `main.rs`:
//!
//! ```text
//! #[cfg(feature = "lab")]
//! { lab::spread::run(&args) }
//! #[cfg(not(feature = "lab"))]
//! { lab::again_in_release() }
//! ```

pub(crate) mod bench_spread;
pub(crate) mod catchup;
pub(crate) mod comm;
pub(crate) mod connections;
pub(crate) mod crypto;
pub(crate) mod election;
pub(crate) mod late;
/// A late peer and its sources; `gossip-state` tests itself with the same.
#[cfg(feature = "lab")]
#[path = "../../../gossip-state/tests/late/mod.rs"]
mod late_peers;
/// Peers that do nothing but membership; `gossip-discovery` tests itself with the same.
#[cfg(feature = "lab")]
#[path = "../../../gossip-discovery/tests/support/mod.rs"]
#[allow(clippy::wildcard_enum_match_arm, reason = "tests")]
mod members;
pub(crate) mod membership;
pub(crate) mod membership_swarm;
#[cfg(feature = "lab")]
mod meter;
#[cfg(feature = "lab")]
mod percentiles;
#[cfg(feature = "lab")]
mod plot;
pub(crate) mod spread;
#[cfg(feature = "lab")]
mod whole;
/// Whole peers in the simulated network; `gossip-service` tests itself with the same.
#[cfg(feature = "lab")]
#[path = "../../../gossip-service/tests/support/mod.rs"]
mod world;

#[cfg(any(test, not(feature = "lab")))]
mod again;
#[cfg(not(feature = "lab"))]
pub(crate) use again::again_in_release;

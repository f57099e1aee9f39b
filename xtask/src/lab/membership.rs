//! `cargo xtask sim membership`: only discovery, virtual time: views, deaths, partitions, and their price.
//!
//! The whole of a run up to the first crash takes `--seconds` of virtual time, its start included.

#[cfg(feature = "lab")]
mod simulation;

use std::ops::RangeInclusive;

use super::spread::latency;

/// What is simulated, in this order: a start, a quiet time, crashes one after the other, a partition and
/// its heal.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Peers in all; all start at the same instant.
    #[arg(long, default_value_t = 50)]
    pub(crate) peers: usize,
    /// Organisations; the first peers of each know one another.
    #[arg(long, default_value_t = 1)]
    pub(crate) orgs: usize,
    /// From the start until the first crash; at least until a while after the views are full.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Probability that a packet of 1,200 bytes is lost.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// Probability that a stream's message is lost whole.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) drop: f64,
    /// Share of the peers that handle nothing for 0.1 to 20 s, work for 10 s, and so on.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) slow: f64,
    /// Peers do not wait longer before they accuse when they are slow themselves.
    #[arg(long)]
    pub(crate) no_local_health: bool,
    /// Share of the peers without external endpoint.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) org_hide: f64,
    /// One-way latency between two peers, drawn once per pair.
    #[arg(long, default_value = "1..5", value_parser = latency)]
    pub(crate) latency_ms: RangeInclusive<u64>,
    /// Peers that crash, one after the other.
    #[arg(long, default_value_t = 1)]
    pub(crate) kill: usize,
    /// Peers on the smaller side of a partition; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub(crate) partition: usize,
    /// How long it lasts, in seconds.
    #[arg(long, default_value_t = 30)]
    pub(crate) heal_after: u64,
    /// All randomness comes from here.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds from this one on are simulated: deaths, leaks and peer-hours of all are added up, the
    /// other figures are the first one's.
    #[arg(long, default_value_t = 1)]
    pub(crate) seeds: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
pub(crate) use simulation::run;

//! `cargo xtask bench spread`: how a block reaches everybody over real QUIC.
//!
//! All peers are whole ones, as the daemon assembles them, in one process and on loopback: an organisation
//! made on the spot, every peer with an identity of its own, blocks that a genuine orderer's key signed, each
//! of them verified by every peer. Only the ledgers are lists in memory.

use super::spread::Mode;

/// What is measured.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Peers in all; the first takes the blocks from their source.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(2..=200))]
    pub(crate) peers: u32,
    /// Blocks.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) blocks: u32,
    /// Size of a block's data.
    #[arg(long, default_value_t = 160, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) block_kib: u32,
    /// Time between two blocks.
    #[arg(long, default_value_t = 500)]
    pub(crate) interval_ms: u64,
    /// How blocks spread.
    #[arg(long, value_enum, default_value = "header-first")]
    pub(crate) mode: Mode,
    /// How often, each time with new peers; the figures are those of all runs together.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) runs: u32,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
mod counted;
#[cfg(feature = "lab")]
mod ledger;
#[cfg(feature = "lab")]
mod network;
#[cfg(feature = "lab")]
mod peer;
#[cfg(feature = "lab")]
mod run;

#[cfg(feature = "lab")]
pub(crate) use run::run;

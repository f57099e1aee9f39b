//! `cargo xtask bench catchup`: how fast an empty peer catches up with others, over real QUIC.
//!
//! All peers are whole ones, as the daemon assembles them, in one process and on loopback: genuine
//! identities, blocks that a genuine orderer's key signed, the real store. What a catch-up consists of is
//! measured beside it, each part alone, so that what is lost between the parts can be told.

/// What to catch up with.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Blocks that the late peer lacks.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) blocks: u64,
    /// Size of a block in KiB.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) block_kib: u32,
    /// Peers that have all of them; from the third on they are of another organisation.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=4))]
    pub(crate) sources: u8,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
mod meter;
#[cfg(feature = "lab")]
mod node;
#[cfg(feature = "lab")]
mod parts;
#[cfg(feature = "lab")]
mod run;

#[cfg(feature = "lab")]
pub(crate) use run::run;

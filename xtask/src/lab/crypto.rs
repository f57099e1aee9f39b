//! `cargo xtask bench crypto`: what verification costs, beside the fastest well-kept libraries.
//!
//! Ours and theirs run in alternating batches of one process and are told apart by processor time, so
//! that a busy machine slows both. A row gives operations per second of one core, as medians of all rounds.

/// How long to measure.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Rounds per row; each is a batch of ours and a batch of theirs.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
pub(in crate::lab) mod blocks;
#[cfg(feature = "lab")]
mod race;
#[cfg(feature = "lab")]
mod rows;
#[cfg(feature = "lab")]
pub(in crate::lab) mod signers;

#[cfg(feature = "lab")]
pub(crate) use rows::run;

//! `cargo xtask sim catchup`: a peer far behind catches up with default settings while the tip moves.

/// What is simulated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How many blocks the late peer lacks at the start.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) behind: u64,
    /// Peers that have all blocks.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub(crate) sources: u8,
    /// Peers that claim a height of 2^63 and have nothing.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=50))]
    pub(crate) liars: u8,
    /// Bytes of data in a block.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) block_bytes: usize,
    /// Time between two new blocks.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) interval_ms: u64,
    /// Probability that a packet of 1,200 bytes is lost.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds are run; each figure is the worst of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seeds: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// The few seconds that the gate spends on it, as a command line.
    pub(crate) fn quick() -> Vec<String> {
        ["--behind", "20000", "--loss", "0.01", "--seeds", "3", "--json"]
            .map(str::to_owned)
            .to_vec()
    }
}

#[cfg(feature = "lab")]
mod run;

#[cfg(feature = "lab")]
pub(crate) use run::run;

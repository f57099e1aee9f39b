//! `cargo xtask sim election`: one organisation's election, and everything that may befall its leader.

/// What is simulated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Peers of the organisation.
    #[arg(long, default_value_t = 5, value_parser = peers)]
    pub(crate) peers: usize,
    /// Probability that a packet of 1,200 bytes is lost.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// How many seconds the partition lasts.
    #[arg(long, default_value_t = 30)]
    pub(crate) partition: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How many seeds are run; each figure is the worst of them.
    #[arg(long, default_value_t = 200)]
    pub(crate) seeds: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Fewer cannot lose one and still disagree.
fn peers(text: &str) -> Result<usize, String> {
    let peers: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if (3..=1_000).contains(&peers) { Ok(peers) } else { Err("3 to 1000 peers".to_owned()) }
}

impl Args {
    /// The few seconds that the gate spends on it, as a command line.
    pub(crate) fn quick() -> Vec<String> {
        ["--seeds", "20", "--loss", "0.01", "--json"].map(str::to_owned).to_vec()
    }
}

#[cfg(feature = "lab")]
mod candidate;
#[cfg(feature = "lab")]
mod course;
#[cfg(feature = "lab")]
mod host;

#[cfg(feature = "lab")]
pub(crate) use course::run;

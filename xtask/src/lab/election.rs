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
    /// How many seconds the partition lasts, or `A..B`: each seed another length in between.
    #[arg(long, default_value = "30", value_parser = lengths)]
    pub(crate) partition: Lengths,
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

/// Of a partition, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lengths {
    pub(crate) min: u64,
    pub(crate) max: u64,
}

fn lengths(text: &str) -> Result<Lengths, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| format!("{text:?} is no number"));
    let (min, max) = text.split_once("..").unwrap_or((text, text));
    let (min, max) = (number(min)?, number(max)?);
    if min <= max && max <= 600 {
        Ok(Lengths { min, max })
    } else {
        Err("lengths rise and are at most 600 seconds".to_owned())
    }
}

/// Fewer cannot lose one and still disagree.
fn peers(text: &str) -> Result<usize, String> {
    let peers: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if (3..=1_000).contains(&peers) { Ok(peers) } else { Err("3 to 1000 peers".to_owned()) }
}

impl Args {
    /// The few seconds that the gate spends on it, as a command line.
    pub(crate) fn quick() -> Vec<String> {
        ["--seeds", "20", "--loss", "0.01", "--partition", "1..30", "--json"]
            .map(str::to_owned)
            .to_vec()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_has_one_length_or_a_range_of_them() {
        assert_eq!(lengths("30"), Ok(Lengths { min: 30, max: 30 }));
        assert_eq!(lengths("1..30"), Ok(Lengths { min: 1, max: 30 }));
        for wrong in ["", "x", "5..1", "1..", "1..601"] {
            assert!(lengths(wrong).is_err(), "{wrong}");
        }
    }
}

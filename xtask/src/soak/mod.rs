//! `cargo xtask soak`: real peers, and what they have to survive.

pub(crate) mod crash;
mod damage;
pub(crate) mod dice;
mod round;

use anyhow::Result;

/// What is done to the peers.
#[derive(clap::Subcommand)]
pub(crate) enum Ordeal {
    /// Kill a peer at random instants while blocks arrive; check that it keeps what it acknowledged
    Crash(crash::Args),
}

/// Does it.
pub(crate) fn run(ordeal: &Ordeal) -> Result<()> {
    match ordeal {
        Ordeal::Crash(args) => crash::run(args),
    }
}

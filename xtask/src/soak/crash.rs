//! `cargo xtask soak crash`: what a peer acknowledged is there after SIGKILL, whenever that comes.
//!
//! A leader and a follower run as processes of their own while recorded blocks arrive. The follower is
//! killed at random instants and started again, until every block has arrived; then the next round
//! begins with empty directories. Now and then it is the leader that is killed, or the follower finds its
//! store torn or with flipped bits: what is lost that way has to be found and fetched again.

use std::path::PathBuf;
use std::process;
use std::time::{Instant, SystemTime};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::dice::Dice;
use super::round::Round;
use crate::demo::interrupt::Interrupt;
use crate::demo::layout;
use crate::demo::ports::Ports;
use crate::demo::run::CHANNEL;
use crate::{demo, shell};

/// How often, and when.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How often the peer is killed.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// The instants are drawn from this; of the clock's making if left out.
    #[arg(long)]
    seed: Option<u64>,
    /// Keep the peers' directories under target/soak.
    #[arg(long)]
    keep: bool,
    /// End with one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// Run this executable instead of building gossip-peer.
    #[arg(long, value_name = "FILE")]
    gossip_peer: Option<PathBuf>,
}

impl Args {
    /// What the gate spends on it.
    pub(crate) const fn quick() -> Self {
        Self { kills: 20, seed: None, keep: false, json: true, gossip_peer: None }
    }
}

/// What was found; the last line with `--json`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Tally {
    /// Kills.
    pub(crate) kills: u64,
    /// How many of them met the leader.
    pub(crate) of_leaders: u64,
    /// Stores of which a piece was overwritten or cut off before the next start.
    pub(crate) torn: u64,
    /// Stores in which bits were flipped before the next start.
    pub(crate) flipped: u64,
    /// Rounds of all recorded blocks.
    pub(crate) rounds: u64,
    /// Blocks that were acknowledged and were not there after the kill or the restart.
    pub(crate) lost: u64,
    /// Blocks that were committed although the ledger held them, or that nobody ordered.
    pub(crate) duplicated: u64,
    /// Ledgers with a broken chain, an altered or missing block, or a store that had to be rebuilt.
    pub(crate) damaged: u64,
    seconds: f64,
}

impl Tally {
    const fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.damaged == 0
    }
}

/// Kills, restarts, judges; an error unless nothing is lost, duplicated or damaged.
pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let target = shell::target()?;
    let program = demo::executable(args.gossip_peer.as_deref(), &target, &interrupt)?;
    let seed = args.seed.unwrap_or_else(clock_seed);
    println!("seed {seed}");
    let home = target.join("soak").join(demo::run_id());
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut dice = Dice::new(seed);
    let result = loop {
        let end = perform(args, &program, &home, &interrupt, (&mut dice, &mut tally));
        if end.is_err() || tally.kills >= args.kills {
            break end.and_then(|()| verdict(&tally));
        }
    };
    tally.seconds = (started.elapsed().as_secs_f64() * 10.0).round() / 10.0;
    let result = demo::leave(&home, args.keep, result, &interrupt);
    if args.json {
        println!("{}", serde_json::to_string(&tally)?);
    }
    result
}

fn verdict(tally: &Tally) -> Result<()> {
    let Tally { kills, lost, duplicated, damaged, .. } = tally;
    println!(
        "{kills} kills, {} of them of leaders, {} stores torn and {} with flipped bits: {lost} blocks lost, {duplicated} duplicated, {damaged} ledgers damaged",
        tally.of_leaders, tally.torn, tally.flipped
    );
    ensure!(tally.is_clean(), "a killed peer did not come back as it should");
    Ok(())
}

/// One round.
fn perform(
    args: &Args,
    program: &std::path::Path,
    home: &std::path::Path,
    interrupt: &Interrupt,
    (dice, tally): (&mut Dice, &mut Tally),
) -> Result<()> {
    tally.rounds += 1;
    let mut ports = Ports::claim(process::id())?;
    let home = home.join(format!("round{:03}", tally.rounds));
    layout::private_dir(&home)?;
    let fixtures = shell::root().join("peer-mcs/tests/fixtures");
    let recorded = fixtures.join(CHANNEL).join("blocks");
    let round = Round::new(&fixtures, &recorded, &home, &mut ports)?;
    round.run(program, interrupt, args.kills, (dice, tally))
}

fn clock_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() ^ u64::from(since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tally_is_one_line_of_json() {
        let tally = Tally { kills: 20, torn: 2, rounds: 3, seconds: 30.5, ..Tally::default() };
        let line = serde_json::to_string(&tally).unwrap();
        let expect = r#"{"kills":20,"of_leaders":0,"torn":2,"flipped":0,"rounds":3,"lost":0,"duplicated":0,"damaged":0,"seconds":30.5}"#;
        assert_eq!(line, expect);
    }

    #[test]
    fn any_loss_spoils_the_verdict() {
        let clean = Tally::default();
        assert!(verdict(&clean).is_ok());
        for bad in [
            Tally { lost: 1, ..clean },
            Tally { duplicated: 1, ..clean },
            Tally { damaged: 1, ..clean },
        ] {
            assert!(verdict(&bad).is_err());
        }
    }
}

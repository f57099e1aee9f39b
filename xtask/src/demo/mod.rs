//! `cargo xtask demo`: real blocks cross a real network, on one machine, in about a minute.
//!
//! Seven peers of three organisations run as processes of their own. A development orderer cuts the blocks,
//! elected leaders take them, and the others get them by gossip ([`live`]). With `--source fixtures` the blocks
//! and identities are those of a genuine Fabric network, read from a directory by named leaders ([`mod@run`]).
//! In the end every ledger is compared, byte by byte, with the blocks of the source.

pub(crate) mod feed;
pub(crate) mod interrupt;
pub(crate) mod layout;
pub(crate) mod live;
pub(crate) mod peers;
pub(crate) mod ports;
pub(crate) mod run;
pub(crate) mod status;
mod table;
pub(crate) mod tool;
pub(crate) mod verdict;

use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::shell::{self, cargo};
use feed::Feed;
use interrupt::Interrupt;
use layout::{Place, Shared};
use live::Live;
use peers::{Part, Peer};
use ports::Ports;
use run::{CHANNEL, Run};
use table::Screen;
use verdict::{Check, Events};

/// How to run the demo.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Where the blocks come from.
    #[arg(long, value_enum, default_value_t = Source::Orderer)]
    source: Source,
    /// Time between two blocks.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.75, value_parser = pace)]
    seconds_per_block: f64,
    /// Keep the peers' directories under target/demo.
    #[arg(long)]
    keep: bool,
    /// End with one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// Run this executable instead of building gossip-peer.
    #[arg(long, value_name = "FILE")]
    gossip_peer: Option<PathBuf>,
}

/// Where the blocks come from.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A development orderer, which orders while the demo runs.
    Orderer,
    /// A directory of blocks that a genuine Fabric network ordered.
    Fixtures,
}

/// Builds, runs, judges; an error unless every ledger is identical and complete.
pub(crate) fn run(args: &Args) -> Result<()> {
    let interrupt = Interrupt::listen()?;
    let target = shell::target()?;
    let program = executable(args.gossip_peer.as_deref(), &target, &interrupt)?;
    let home = target.join("demo").join(run_id());
    let result = match args.source {
        Source::Orderer => perform_live(args, &program, &home, &interrupt),
        Source::Fixtures => perform(args, &program, &home, &interrupt),
    };
    let summary = leave(&home, args.keep, result, &interrupt)?;
    println!("{}", summary.sentence());
    if args.json {
        println!("{}", serde_json::to_string(&summary)?);
    }
    ensure!(summary.identical, "not every ledger is identical and complete");
    Ok(())
}

/// Removes the directory of a run, unless it failed or is wanted.
pub(crate) fn leave<T>(
    home: &Path,
    keep: bool,
    result: Result<T>,
    interrupt: &Interrupt,
) -> Result<T> {
    let failed = result.is_err() && interrupt.check().is_ok();
    if keep || failed {
        println!("the peers' directories and logs are in {}", home.display());
    } else if home.exists() {
        std::fs::remove_dir_all(home)
            .with_context(|| format!("cannot remove {}", home.display()))?;
    }
    result
}

/// `program` if one is named, else the daemon of this workspace, built in release.
pub(crate) fn executable(
    program: Option<&Path>,
    target: &Path,
    interrupt: &Interrupt,
) -> Result<PathBuf> {
    match program {
        Some(program) => {
            program.canonicalize().with_context(|| format!("no {}", program.display()))
        }
        None => build(target, interrupt),
    }
}

fn perform(
    args: &Args,
    program: &Path,
    home: &Path,
    interrupt: &Interrupt,
) -> Result<verdict::Summary> {
    let mut ports = Ports::claim(process::id())?;
    let fixtures = shell::root().join("peer-mcs/tests/fixtures");
    let recorded = fixtures.join(CHANNEL).join("blocks");
    let source = home.join("source");
    layout::private_dir(&source)?;
    let peers = network(home, &Shared { fixtures: &fixtures, source: &source }, &mut ports)?;
    let every = Duration::from_secs_f64(args.seconds_per_block);
    let feed = Feed::new(&recorded, &source, every)?;
    let blocks = feed.len() + 1;
    let mut run = Run { program, peers, feed, screen: Screen::new(), interrupt };
    let events = run.spread()?;
    judge((program, interrupt), &run.peers, (&recorded, blocks), &events)
}

fn perform_live(
    args: &Args,
    program: &Path,
    home: &Path,
    interrupt: &Interrupt,
) -> Result<verdict::Summary> {
    let mut ports = Ports::claim(process::id())?;
    let every = Duration::from_secs_f64(args.seconds_per_block);
    let mut live = Live::prepare(program, home, &mut ports, (every, interrupt))?;
    let recorded = home.join("recorded");
    let events = live.spread(&recorded)?;
    let blocks = std::fs::read_dir(&recorded)?.count();
    judge((program, interrupt), &live.peers, (&recorded, blocks), &events)
}

/// Checks every ledger and tells the verdict.
fn judge(
    (program, interrupt): (&Path, &Interrupt),
    peers: &[Peer],
    (recorded, blocks): (&Path, usize),
    events: &Events,
) -> Result<verdict::Summary> {
    let started = Instant::now();
    let mut checks = Vec::new();
    for peer in peers {
        interrupt.check()?;
        let check = verdict::check(program, peer, CHANNEL, recorded)?;
        println!("{:<18}{}", peer.place.name, sentence(&check));
        checks.push(check);
    }
    let events = Events { took: events.took + started.elapsed(), ..*events };
    Ok(verdict::summary(peers, &checks, blocks, &events))
}

fn sentence(check: &Check) -> String {
    let Check { height, chain_ok, identical, complete } = check;
    let word = |good: &bool, yes: &'static str, no: &'static str| if *good { yes } else { no };
    format!(
        "{height} blocks, {}, {}, {}",
        word(chain_ok, "hash chain verified", "HASH CHAIN BROKEN"),
        word(identical, "identical to the source", "NOT IDENTICAL to the source"),
        word(complete, "complete", "INCOMPLETE"),
    )
}

/// Directories and ports for every peer.
fn network(home: &Path, shared: &Shared<'_>, ports: &mut Ports) -> Result<Vec<Peer>> {
    let mut peers: Vec<Peer> = Vec::new();
    for (number, org, part) in CAST {
        let place = Place::claim(home, (number, org), ports)?;
        let leader = peers.iter().find(|peer| peer.part == Part::Leader && peer.place.org == org);
        layout::lay_out(&place, leader.map_or(&place, |leader| &leader.place), shared)?;
        peers.push(Peer::new(place, part));
    }
    Ok(peers)
}

/// Builds the daemon in release and returns its path.
fn build(target: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
    println!("building gossip-peer in release");
    let what = ["build", "--release", "--package", "gossip-service", "--features", "peer"];
    let mut cargo =
        cargo(what).args(["--bin", "gossip-peer"]).spawn().context("cannot start cargo")?;
    let status = loop {
        if let Some(status) = cargo.try_wait()? {
            break status;
        }
        if let Err(interrupted) = interrupt.rest(Duration::from_millis(100)) {
            let _ = cargo.kill();
            let _ = cargo.wait();
            return Err(interrupted);
        }
    };
    ensure!(status.success(), "gossip-peer does not build ({status})");
    Ok(target.join("release/gossip-peer"))
}

/// A name that no other run has.
pub(crate) fn run_id() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}", since.as_secs(), process::id())
}

fn pace(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=60.0).contains(&seconds) { Ok(seconds) } else { Err("0 to 60 seconds".to_owned()) }
}

/// Number and organisation of each peer, and its part; leaders come first.
const CAST: [(u8, u8, Part); 6] = [
    (0, 1, Part::Leader),
    (1, 1, Part::Victim),
    (2, 1, Part::Late),
    (0, 2, Part::Leader),
    (1, 2, Part::Follower),
    (2, 2, Part::Revoked),
];

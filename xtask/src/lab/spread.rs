//! `cargo xtask sim spread`: whole peers, virtual time, one block after the other.

use std::ops::RangeInclusive;
#[cfg(feature = "lab")]
use std::time::Duration;

use anyhow::{Context, Result};

/// What is simulated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Peers in all.
    #[arg(long, default_value_t = 50)]
    pub(crate) peers: usize,
    /// Organisations; the first peer of each gets every block from its source.
    #[arg(long, default_value_t = 1)]
    pub(crate) orgs: usize,
    /// Blocks.
    #[arg(long, default_value_t = 10)]
    pub(crate) blocks: usize,
    /// Size of a block's data.
    #[arg(long, default_value_t = 160)]
    pub(crate) block_kib: usize,
    /// Time between two blocks.
    #[arg(long, default_value_t = 500)]
    pub(crate) interval_ms: u64,
    /// One-way latency between two peers, drawn once per pair.
    #[arg(long, default_value = "5..50", value_parser = latency)]
    pub(crate) latency_ms: RangeInclusive<u64>,
    /// What each peer can send.
    #[arg(long, default_value_t = 1000)]
    pub(crate) uplink_mbit: u64,
    /// Probability that a packet of 1,200 bytes is lost.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// Probability that a stream's message is lost whole.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) drop: f64,
    /// All randomness comes from here.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// `A..B` in milliseconds.
pub(super) fn latency(text: &str) -> Result<RangeInclusive<u64>> {
    let (from, to) = text.split_once("..").context("must be A..B, in milliseconds")?;
    let range = from.trim().parse()?..=to.trim().parse()?;
    anyhow::ensure!(range.start() <= range.end(), "must not be empty");
    Ok(range)
}

impl Args {
    /// The few seconds that the gate spends on it.
    pub(crate) fn quick() -> Self {
        Self {
            peers: 50,
            orgs: 2,
            blocks: 10,
            block_kib: 16,
            interval_ms: 500,
            latency_ms: 5..=50,
            uplink_mbit: 1000,
            loss: 0.01,
            drop: 0.01,
            seed: 1,
            json: true,
        }
    }

    /// The same on a command line.
    pub(crate) fn to_words(&self) -> Vec<String> {
        let latency = format!("{}..{}", self.latency_ms.start(), self.latency_ms.end());
        let pairs = [
            ("--peers", self.peers.to_string()),
            ("--orgs", self.orgs.to_string()),
            ("--blocks", self.blocks.to_string()),
            ("--block-kib", self.block_kib.to_string()),
            ("--interval-ms", self.interval_ms.to_string()),
            ("--latency-ms", latency),
            ("--uplink-mbit", self.uplink_mbit.to_string()),
            ("--loss", self.loss.to_string()),
            ("--drop", self.drop.to_string()),
            ("--seed", self.seed.to_string()),
        ];
        let mut words: Vec<String> =
            pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        words.extend(self.json.then(|| "--json".to_owned()));
        words
    }

    #[cfg(feature = "lab")]
    fn latency(&self) -> RangeInclusive<Duration> {
        Duration::from_millis(*self.latency_ms.start())
            ..=Duration::from_millis(*self.latency_ms.end())
    }
}

#[cfg(feature = "lab")]
pub(crate) use lab::run;

#[cfg(feature = "lab")]
mod lab {
    use std::collections::BTreeMap;
    use std::time::{Duration, Instant};

    use anyhow::{Result, ensure};
    use gossip_api::{Mono, SeqNum};
    use gossip_comm::sim::Link;
    use serde::Serialize;

    use super::Args;
    use crate::lab::world::Consortium;

    /// What is printed; the words are explained in docs/simulation.md.
    #[derive(Serialize)]
    struct Report {
        peers: usize,
        reached_by_push: f64,
        p50_ms: f64,
        p95_ms: f64,
        p99_ms: f64,
        max_ms: f64,
        bytes_per_block_copy: f64,
        verifications_per_block_and_peer: f64,
        undelivered: usize,
        history: String,
        wall_s: f64,
    }

    /// Simulates, prints, and fails if a block did not arrive somewhere.
    pub(crate) fn run(args: &Args) -> Result<()> {
        let report = simulate(args);
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}", serde_json::to_string_pretty(&report)?);
        }
        ensure!(report.undelivered == 0, "{} deliveries are missing", report.undelivered);
        Ok(())
    }

    fn simulate(args: &Args) -> Report {
        let started = Instant::now();
        let link = Link::wan()
            .latency(args.latency())
            .bandwidth(args.uplink_mbit * 1_000_000)
            .loss(args.loss)
            .drop(args.drop);
        let mut consortium = Consortium::new(args.seed, args.orgs, link, args.block_kib << 10);
        for _ in 0..args.peers {
            consortium.add_peer();
        }
        consortium.cluster.run_for(Duration::from_secs(10));
        let checked_before = consortium.authority.block_checks();
        let mut ordered: BTreeMap<SeqNum, Mono> = BTreeMap::new();
        for _ in 0..args.blocks {
            let at = consortium.cluster.now().mono;
            ordered.insert(consortium.order_block(), at);
            consortium.cluster.run_for(Duration::from_millis(args.interval_ms));
        }
        consortium.cluster.run_for(Duration::from_secs(10));
        let checks = consortium.authority.block_checks() - checked_before;
        report(args, &consortium, &ordered, checks, started.elapsed())
    }

    fn report(
        args: &Args,
        consortium: &Consortium,
        ordered: &BTreeMap<SeqNum, Mono>,
        checks: u64,
        wall: Duration,
    ) -> Report {
        // Sources hold every block from the start: they are not counted.
        let receivers = args.orgs.min(args.peers)..args.peers;
        let expected = receivers.len() * args.blocks;
        let mut latencies: Vec<f64> = Vec::with_capacity(expected);
        let (mut pushed, mut bytes) = (0, 0);
        for peer in receivers {
            let outside = consortium.outside(peer);
            pushed += outside.by_push;
            bytes += outside.block_bytes;
            latencies.extend(ordered.iter().filter_map(|(number, at)| {
                let valid = outside.valid_at.get(number)?;
                Some(valid.since(*at).as_secs_f64() * 1e3)
            }));
        }
        latencies.sort_by(f64::total_cmp);
        let copies = (expected.max(1) * (args.block_kib << 10).max(1)) as f64;
        let all = (args.peers * args.blocks).max(1) as f64;
        Report {
            peers: args.peers,
            reached_by_push: pushed as f64 / expected.max(1) as f64,
            p50_ms: percentile(&latencies, 0.5),
            p95_ms: percentile(&latencies, 0.95),
            p99_ms: percentile(&latencies, 0.99),
            max_ms: percentile(&latencies, 1.0),
            bytes_per_block_copy: bytes as f64 / copies,
            verifications_per_block_and_peer: checks as f64 / all,
            undelivered: expected - latencies.len(),
            history: format!("{:016x}", consortium.cluster.history_hash()),
            wall_s: wall.as_secs_f64(),
        }
    }

    /// The smallest value that at least `share` of the sorted values do not exceed.
    fn percentile(sorted: &[f64], share: f64) -> f64 {
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

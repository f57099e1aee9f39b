//! `cargo xtask sim spread`: whole peers, virtual time, one block after the other.

use std::ops::RangeInclusive;
use std::path::PathBuf;
#[cfg(feature = "lab")]
use std::time::Duration;

use anyhow::{Context, Result};

/// What is simulated.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How blocks spread.
    #[arg(long, value_enum, default_value = "header-first")]
    pub(crate) mode: Mode,
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
    /// Share of the peers that receive, and give nothing; never a source.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) silent: f64,
    /// Share of the peers that crash at once, in the midst of the run; never a source.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) crash: f64,
    /// Data may cross organisations: one source in all instead of one in each.
    #[arg(long)]
    pub(crate) cross_org: bool,
    /// All randomness comes from here.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Runs all modes and draws their latencies side by side.
    #[arg(long)]
    pub(crate) plot: Option<PathBuf>,
    /// Prints a table of all modes at these numbers of peers, with faults and without.
    #[arg(long, value_delimiter = ',', value_name = "PEERS,...")]
    pub(crate) table: Vec<usize>,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How blocks spread.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To three random peers, infect and die; pull brings the rest.
    Push,
    /// By pull alone.
    Pull,
    /// By pull, and back again.
    PushPull,
    /// Headers first, data with them or down a planned tree.
    HeaderFirst,
    /// Headers first, data in shares that everybody relays.
    Coded,
    /// Headers first; the source chooses for each block.
    Auto,
}

impl Mode {
    #[cfg(feature = "lab")]
    pub(crate) const ALL: [Self; 6] =
        [Self::Push, Self::Pull, Self::PushPull, Self::HeaderFirst, Self::Coded, Self::Auto];

    /// As a peer's configuration has it.
    #[cfg(feature = "lab")]
    pub(crate) const fn to_config(self) -> gossip_service::node::SpreadMode {
        use gossip_service::node::SpreadMode;
        match self {
            Self::Push => SpreadMode::Push,
            Self::Pull => SpreadMode::Pull,
            Self::PushPull => SpreadMode::PushPull,
            Self::HeaderFirst => SpreadMode::HeaderFirst,
            Self::Coded => SpreadMode::Coded,
            Self::Auto => SpreadMode::Auto,
        }
    }

    /// The word on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::Pull => "pull",
            Self::PushPull => "push-pull",
            Self::HeaderFirst => "header-first",
            Self::Coded => "coded",
            Self::Auto => "auto",
        }
    }
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
            mode: Mode::HeaderFirst,
            peers: 50,
            orgs: 2,
            blocks: 10,
            block_kib: 16,
            interval_ms: 500,
            latency_ms: 5..=50,
            uplink_mbit: 1000,
            loss: 0.01,
            drop: 0.01,
            silent: 0.0,
            crash: 0.0,
            cross_org: false,
            seed: 1,
            plot: None,
            table: Vec::new(),
            json: true,
        }
    }

    /// The same on a command line; without what the gate does not use.
    pub(crate) fn to_words(&self) -> Vec<String> {
        let latency = format!("{}..{}", self.latency_ms.start(), self.latency_ms.end());
        let pairs = [
            ("--mode", self.mode.name().to_owned()),
            ("--peers", self.peers.to_string()),
            ("--orgs", self.orgs.to_string()),
            ("--blocks", self.blocks.to_string()),
            ("--block-kib", self.block_kib.to_string()),
            ("--interval-ms", self.interval_ms.to_string()),
            ("--latency-ms", latency),
            ("--uplink-mbit", self.uplink_mbit.to_string()),
            ("--loss", self.loss.to_string()),
            ("--drop", self.drop.to_string()),
            ("--silent", self.silent.to_string()),
            ("--crash", self.crash.to_string()),
            ("--seed", self.seed.to_string()),
        ];
        let mut words: Vec<String> =
            pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        words.extend(self.cross_org.then(|| "--cross-org".to_owned()));
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
mod table;

#[cfg(feature = "lab")]
mod lab {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use anyhow::{Result, ensure};
    use gossip_api::{Mono, SeqNum, select_peers};
    use gossip_comm::sim::{Link, seeded};
    use gossip_service::node::NodeConfig;
    use serde::Serialize;

    use super::{Args, Mode, table};
    use crate::lab::percentiles::percentile;
    use crate::lab::plot;
    use crate::lab::world::Consortium;

    /// What is printed; the words are explained in docs/simulation.md.
    #[derive(Serialize)]
    pub(super) struct Report {
        pub(super) mode: &'static str,
        pub(super) peers: usize,
        pub(super) reached_by_push: f64,
        pub(super) p50_ms: f64,
        pub(super) p95_ms: f64,
        pub(super) p99_ms: f64,
        pub(super) max_ms: f64,
        /// Mean over the blocks of when the last peer had each.
        pub(super) last_mean_ms: f64,
        pub(super) bytes_per_block_copy: f64,
        pub(super) upload_max_over_mean: f64,
        pub(super) upload_source_copies: f64,
        pub(super) upload_max_copies: f64,
        pub(super) border_copies_max: f64,
        pub(super) verifications_per_block_and_peer: f64,
        /// How the sources chose to send their blocks.
        pub(super) chosen: BTreeMap<&'static str, u64>,
        pub(super) undelivered: usize,
        pub(super) history: String,
        pub(super) wall_s: f64,
        #[serde(skip)]
        latencies: Vec<f64>,
        #[serde(skip)]
        drops: BTreeMap<&'static str, u64>,
    }

    /// Simulates, prints, and fails if a block did not arrive somewhere.
    pub(crate) fn run(args: &Args) -> Result<()> {
        if !args.table.is_empty() {
            let undelivered = table::print(args, &args.table);
            ensure!(undelivered == 0, "{undelivered} deliveries are missing");
            return Ok(());
        }
        let report = simulate(args);
        if let Some(path) = &args.plot {
            let others = Mode::ALL.into_iter().filter(|mode| *mode != args.mode);
            let mut curves = vec![(report.mode, report.latencies.clone())];
            curves.extend(others.map(|mode| {
                let other = simulate(&Args { mode, ..args.clone() });
                (other.mode, other.latencies)
            }));
            let title = format!(
                "{} peers, {} KiB, {}..{} ms one way, {} Mbit/s",
                args.peers,
                args.block_kib,
                args.latency_ms.start(),
                args.latency_ms.end(),
                args.uplink_mbit
            );
            plot::latencies(path, &title, &curves)?;
        }
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
        } else {
            println!("{}", serde_json::to_string_pretty(&report)?);
            println!("not acted upon: {:?}", report.drops);
        }
        ensure!(report.undelivered == 0, "{} deliveries are missing", report.undelivered);
        Ok(())
    }

    pub(super) fn simulate(args: &Args) -> Report {
        let started = Instant::now();
        let rate = args.uplink_mbit * 1_000_000;
        let link =
            Link::wan().latency(args.latency()).bandwidth(rate).loss(args.loss).drop(args.drop);
        let mut consortium = Consortium::new(args.seed, args.orgs, link, args.block_kib << 10)
            .with_node(NodeConfig {
                mode: args.mode.to_config(),
                data_cross_orgs: args.cross_org,
                uplink: rate,
                ..NodeConfig::default()
            });
        for _ in 0..args.peers {
            let peer = consortium.add_peer();
            consortium.cluster.set_uplink(peer, rate);
        }
        let silent = drawn(args, &consortium, 1, args.silent);
        silent.iter().for_each(|peer| consortium.silence(*peer));
        let crashing = drawn(args, &consortium, 2, args.crash);
        consortium.cluster.run_for(Duration::from_secs(10));
        let before: Vec<u64> = uploads(&consortium);
        let checked_before = consortium.authority.block_checks();
        let mut ordered: BTreeMap<SeqNum, Mono> = BTreeMap::new();
        for block in 0..args.blocks {
            let at = consortium.cluster.now().mono;
            ordered.insert(consortium.order_block(), at);
            let mut rest = Duration::from_millis(args.interval_ms);
            if block == args.blocks / 2 && !crashing.is_empty() {
                // Half of what a source of a wide tree uploads.
                let bits = (args.block_kib as u64) << 13;
                let half = Duration::from_secs_f64(5.0 * bits as f64 / rate as f64).min(rest);
                consortium.cluster.run_for(half);
                crashing.iter().for_each(|peer| consortium.cluster.crash(*peer));
                rest -= half;
            }
            consortium.cluster.run_for(rest);
        }
        consortium.cluster.run_for(Duration::from_secs(10));
        let checks = consortium.authority.block_checks() - checked_before;
        let dishonest: BTreeSet<usize> = silent.union(&crashing).copied().collect();
        let course = Course { ordered, before, dishonest, checks, wall: started.elapsed() };
        report(args, &consortium, &course)
    }

    /// What happened besides what the peers themselves know.
    struct Course {
        ordered: BTreeMap<SeqNum, Mono>,
        before: Vec<u64>,
        dishonest: BTreeSet<usize>,
        checks: u64,
        wall: Duration,
    }

    /// A share of the peers without a source, at random.
    fn drawn(args: &Args, consortium: &Consortium, stream: u64, share: f64) -> BTreeSet<usize> {
        let pool: Vec<usize> = (consortium.sources()..args.peers).collect();
        let count = (share * args.peers as f64).round() as usize;
        let mut rng = seeded(args.seed, u64::MAX - stream);
        select_peers(&mut rng, count, &pool, |_| true).into_iter().collect()
    }

    fn uploads(consortium: &Consortium) -> Vec<u64> {
        (0..consortium.cluster.peers()).map(|peer| consortium.outside(peer).uploaded).collect()
    }

    fn report(args: &Args, consortium: &Consortium, course: &Course) -> Report {
        // Sources hold every block from the start: they are not counted.
        let sources = consortium.sources().min(args.peers);
        let is_honest = |peer: &usize| !course.dishonest.contains(peer);
        let receivers: Vec<usize> = (sources..args.peers).filter(is_honest).collect();
        let expected = receivers.len() * args.blocks;
        let mut latencies: Vec<f64> = Vec::with_capacity(expected);
        let (mut pushed, mut bytes) = (0, 0);
        let mut last: BTreeMap<SeqNum, f64> = BTreeMap::new();
        for peer in &receivers {
            let outside = consortium.outside(*peer);
            pushed += outside.by_push;
            bytes += outside.block_bytes;
            for (number, at) in &course.ordered {
                let Some(valid) = outside.valid_at.get(number) else { continue };
                let took = valid.since(*at).as_secs_f64() * 1e3;
                latencies.push(took);
                let held = last.entry(*number).or_insert(took);
                *held = held.max(took);
            }
        }
        latencies.sort_by(f64::total_cmp);
        let block_len = (args.block_kib << 10).max(1) as f64;
        let blocks = args.blocks.max(1) as f64;
        let uploaded: Vec<f64> = uploads(consortium)
            .iter()
            .zip(&course.before)
            .map(|(after, before)| (after - before) as f64 / block_len / blocks)
            .collect();
        let of = |peer: &usize| uploaded.get(*peer).copied().unwrap_or_default();
        let busiest = receivers.iter().map(of).fold(0.0, f64::max);
        let mean = receivers.iter().map(of).sum::<f64>() / receivers.len().max(1) as f64;
        let source = (0..sources).map(|peer| of(&peer)).fold(0.0, f64::max);
        let across = (0..args.orgs).map(|org| {
            let members = (org..args.peers).step_by(args.orgs.max(1));
            members.map(|peer| consortium.outside(peer).across as f64).sum::<f64>()
        });
        let mut drops = BTreeMap::new();
        for peer in 0..args.peers {
            for (reason, count) in &consortium.outside(peer).drops {
                *drops.entry(*reason).or_default() += count;
            }
        }
        let mut chosen = BTreeMap::new();
        for peer in 0..sources {
            for (way, count) in &consortium.outside(peer).chosen {
                *chosen.entry(*way).or_default() += count;
            }
        }
        Report {
            mode: args.mode.name(),
            peers: args.peers,
            reached_by_push: pushed as f64 / expected.max(1) as f64,
            p50_ms: percentile(&latencies, 0.5),
            p95_ms: percentile(&latencies, 0.95),
            p99_ms: percentile(&latencies, 0.99),
            max_ms: percentile(&latencies, 1.0),
            last_mean_ms: last.values().sum::<f64>() / blocks,
            bytes_per_block_copy: bytes as f64 / (expected.max(1) as f64 * block_len),
            upload_max_over_mean: if mean > 0.0 { busiest / mean } else { 1.0 },
            upload_source_copies: source,
            upload_max_copies: busiest.max(source),
            border_copies_max: across.fold(0.0, f64::max) / block_len / blocks,
            verifications_per_block_and_peer: course.checks as f64
                / (args.peers as f64 * blocks).max(1.0),
            chosen,
            undelivered: expected - latencies.len(),
            history: format!("{:016x}", consortium.cluster.history_hash()),
            wall_s: course.wall.as_secs_f64(),
            latencies,
            drops,
        }
    }
}

//! The run: peers that find each other, then one block after the other.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gossip_api::Block;
use serde::Serialize;
use tokio::sync::mpsc;

use super::Args;
use super::network::Network;
use super::peer::{Running, channel};
use crate::lab::crypto::blocks::{Chain, Form};
use crate::lab::crypto::signers::Signer;
use crate::lab::meter::process_seconds;
use crate::lab::percentiles::percentile;

/// The last line: the words of `sim spread`, and what a process costs; docs/simulation.md explains them.
#[derive(Debug, Serialize)]
struct Report {
    mode: &'static str,
    peers: u32,
    runs: u32,
    reached_by_push: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    bytes_per_block_copy: f64,
    upload_max_over_mean: f64,
    upload_source_copies: f64,
    upload_max_copies: f64,
    border_copies_max: f64,
    verifications_per_block_and_peer: f64,
    undelivered: usize,
    history: Option<String>,
    wall_s: f64,
    cpu_ms_per_block_copy: f64,
    rss_mib_per_peer: f64,
}

/// Runs the benchmark, prints what it found, and fails if a block did not arrive somewhere.
pub(crate) fn run(args: &Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let started = Instant::now();
    let mut all = Measured::default();
    for run in 1..=args.runs {
        let measured = runtime.block_on(measure(args))?;
        if args.runs > 1 {
            let [p50, p99, max] =
                [0.5, 0.99, 1.0].map(|part| percentile(&measured.latencies, part));
            let missing = expected(args) - measured.latencies.len();
            println!("run {run}: p50 {p50:.1} p99 {p99:.1} max {max:.1} ms, undelivered {missing}");
        }
        all.add(measured);
    }
    let report = report(args, &all, started.elapsed());
    println!(
        "{}",
        if args.json {
            serde_json::to_string(&report)?
        } else {
            serde_json::to_string_pretty(&report)?
        }
    );
    ensure!(report.undelivered == 0, "{} deliveries are missing", report.undelivered);
    Ok(())
}

/// What one run, or several, gave.
#[derive(Default)]
struct Measured {
    /// In milliseconds, sorted.
    latencies: Vec<f64>,
    /// Bytes received and sent, blocks that came unasked and blocks verified, of each peer.
    spent: Vec<[u64; 4]>,
    cpu_seconds: f64,
    rss_mib: f64,
}

impl Measured {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.latencies.sort_by(f64::total_cmp);
        self.spent.resize(other.spent.len(), [0; 4]);
        for (sum, more) in self.spent.iter_mut().zip(other.spent) {
            sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
        }
        self.cpu_seconds += other.cpu_seconds;
        self.rss_mib = self.rss_mib.max(other.rss_mib);
    }
}

/// Deliveries of one run.
fn expected(args: &Args) -> usize {
    (args.peers as usize - 1) * args.blocks as usize
}

async fn measure(args: &Args) -> Result<Measured> {
    let network = Network::new()?;
    let mode = args.mode.to_config();
    let (feed, source) = mpsc::unbounded_channel();
    let mut peers = vec![Running::start(&network, 0, mode, Vec::new(), Some(source)).await?];
    for index in 1..args.peers {
        let bootstrap = peers.iter().take(1).map(|peer| peer.endpoint.clone()).collect();
        peers.push(Running::start(&network, index, mode, bootstrap, None).await?);
        tokio::time::sleep(START_EVERY).await;
    }
    acquainted(&peers).await?;
    // Round trips are measured meanwhile.
    tokio::time::sleep(SETTLE).await;
    let before: Vec<[u64; 4]> = peers.iter().map(counts).collect();
    let cpu = process_seconds();
    let sent = feed_all(args, &network, &feed).await?;
    let all = u64::from(args.blocks) + 1;
    let give_up = Instant::now() + GIVE_UP;
    while peers.iter().any(|peer| peer.ledger.current_height() < all) && Instant::now() < give_up {
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let cpu = process_seconds() - cpu;
    let spent: Vec<[u64; 4]> = peers.iter().map(counts).zip(before).map(minus).collect();
    let rss_mib = resident_mib()?;
    let mut latencies = Vec::new();
    for peer in peers.iter().skip(1) {
        for (number, at) in (1..).zip(&sent) {
            let committed = peer.ledger.committed_at(number);
            latencies.extend(committed.map(|then| then.duration_since(*at).as_secs_f64() * 1e3));
        }
    }
    for peer in &peers {
        peer.service.stop().await;
    }
    latencies.sort_by(f64::total_cmp);
    Ok(Measured { latencies, spent, cpu_seconds: cpu, rss_mib })
}

/// Waits until everybody knows everybody in the channel.
async fn acquainted(peers: &[Running]) -> Result<()> {
    let give_up = Instant::now() + ACQUAINTED_WITHIN;
    for peer in peers {
        loop {
            let status = peer.service.status().await?;
            let known = status.channels.first().map_or(0, |channel| channel.peers.len());
            if known + 1 >= peers.len() {
                break;
            }
            ensure!(Instant::now() < give_up, "a peer knows {known} of {}", peers.len() - 1);
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }
    Ok(())
}

/// Gives the source one block after the other; returns when it was given each.
async fn feed_all(
    args: &Args,
    network: &Network,
    feed: &mpsc::UnboundedSender<Block>,
) -> Result<Vec<Instant>> {
    let orderer = "ordererOrganizations/orderer.test/orderers/orderer1.orderer.test/msp";
    let orderers = [Signer::node(orderer, "OrdererMSP")?];
    let size = usize::try_from(args.block_kib)? << 10;
    let genesis = network.genesis.header().hash();
    let mut chain = Chain::new(&channel(), size, Form::Creator, &orderers).linked(genesis);
    let mut ticks = tokio::time::interval(Duration::from_millis(args.interval_ms.max(1)));
    let mut sent = Vec::new();
    for _ in 0..args.blocks {
        let (block, _) = chain.seal()?;
        ticks.tick().await;
        sent.push(Instant::now());
        feed.send(block).ok().context("the source is not read")?;
    }
    Ok(sent)
}

fn counts(peer: &Running) -> [u64; 4] {
    let counts = &peer.counts;
    [&counts.received, &counts.sent, &counts.pushed, &counts.verified]
        .map(|count| count.load(Ordering::Relaxed))
}

fn minus((after, before): ([u64; 4], [u64; 4])) -> [u64; 4] {
    let mut spent = after;
    spent.iter_mut().zip(before).for_each(|(count, before)| *count -= before);
    spent
}

fn report(args: &Args, all: &Measured, wall: Duration) -> Report {
    let Measured { latencies, spent, cpu_seconds, rss_mib } = all;
    let block_len = f64::from(args.block_kib << 10);
    let blocks = f64::from(args.blocks) * f64::from(args.runs);
    let expected = expected(args) * args.runs as usize;
    let sum = |index: usize, skipped: usize| -> f64 {
        let of = spent.iter().skip(skipped).filter_map(|counts| counts.get(index));
        of.sum::<u64>() as f64
    };
    let copies = |counts: &[u64; 4]| counts.get(1).copied().unwrap_or_default() as f64 / block_len;
    let source = spent.first().map_or(0.0, copies) / blocks;
    let busiest = spent.iter().skip(1).map(copies).fold(0.0, f64::max) / blocks;
    let mean = sum(1, 1) / block_len / blocks / (f64::from(args.peers) - 1.0);
    Report {
        mode: args.mode.name(),
        peers: args.peers,
        runs: args.runs,
        reached_by_push: sum(2, 1) / expected as f64,
        p50_ms: percentile(latencies, 0.5),
        p95_ms: percentile(latencies, 0.95),
        p99_ms: percentile(latencies, 0.99),
        max_ms: percentile(latencies, 1.0),
        bytes_per_block_copy: sum(0, 1) / (expected as f64 * block_len),
        upload_max_over_mean: if mean > 0.0 { busiest / mean } else { 1.0 },
        upload_source_copies: source,
        upload_max_copies: busiest.max(source),
        border_copies_max: 0.0,
        verifications_per_block_and_peer: sum(3, 0) / (f64::from(args.peers) * blocks),
        undelivered: expected - latencies.len(),
        history: None,
        wall_s: wall.as_secs_f64(),
        cpu_ms_per_block_copy: cpu_seconds * 1e3 / (latencies.len().max(1) as f64),
        rss_mib_per_peer: rss_mib / f64::from(args.peers),
    }
}

/// Memory of the whole process.
fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(kib.parse::<f64>()? / 1024.0)
}

const START_EVERY: Duration = Duration::from_millis(20);
const SETTLE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(10);
const GIVE_UP: Duration = Duration::from_secs(10);
const ACQUAINTED_WITHIN: Duration = Duration::from_secs(120);

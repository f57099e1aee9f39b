//! What befalls the leaders, in which order, and how long it takes the others.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use gossip_api::{
    BlockHash, ChannelId, Endpoint, Epoch, Height, Mono, OrgId, PeerIdentity, PkiId, SeqNum,
};
use gossip_comm::sim::{Cluster, Link, PeerSpec, Timing, seeded};
use gossip_election::{Election, ElectionConfig, Input as Told};
use serde::Serialize;

use super::candidate::{Candidate, Input, Start};
use super::host::{ORDERER_AWAY, Outside, World};
use super::{Args, Lengths};
use crate::soak::dice::Dice;

/// The last line; docs/simulation.md explains the words.
#[derive(Debug, Default, Serialize)]
struct Report {
    first_leader_ms: f64,
    failover_ms: f64,
    handover_ms: f64,
    two_leaders_ms: f64,
    withheld_extra_ms: f64,
    orderer_probes_per_org_s: f64,
    history: String,
}

/// Runs every seed and prints the worst of each figure.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut worst = Report::default();
    let mut history = 0_u64;
    for seed in (args.seed..).take(usize::try_from(args.seeds)?) {
        let mut course = Course::new(seed, args);
        let report = course.run(args).map_err(|error| error.context(format!("seed {seed}")))?;
        worst.first_leader_ms = worst.first_leader_ms.max(report.first_leader_ms);
        worst.failover_ms = worst.failover_ms.max(report.failover_ms);
        worst.handover_ms = worst.handover_ms.max(report.handover_ms);
        worst.two_leaders_ms = worst.two_leaders_ms.max(report.two_leaders_ms);
        worst.withheld_extra_ms = worst.withheld_extra_ms.max(report.withheld_extra_ms);
        let probes = report.orderer_probes_per_org_s;
        worst.orderer_probes_per_org_s = worst.orderer_probes_per_org_s.max(probes);
        history = history.rotate_left(1) ^ course.cluster.history_hash();
    }
    worst.history = format!("{history:016x}");
    let line = if args.json {
        serde_json::to_string(&worst)?
    } else {
        serde_json::to_string_pretty(&worst)?
    };
    println!("{line}");
    Ok(())
}

/// One run under one seed.
struct Course {
    cluster: Cluster<World>,
    seed: u64,
    specs: Vec<PeerSpec>,
    /// When each block was ordered and when each peer first had it.
    ordered: BTreeMap<Height, Mono>,
    had: BTreeMap<(Height, usize), Mono>,
}

impl Course {
    fn new(seed: u64, args: &Args) -> Self {
        let world = World { tip: Height::new(1), ..World::default() };
        let link = Link::lan().loss(args.loss);
        // A silent peer is dead to discovery after about four seconds.
        let timing = Timing { idle_after: secs(4), ..Timing::default() };
        let cluster = Cluster::new(seed, link, world).with_timing(timing);
        let specs = (0..args.peers).map(spec).collect();
        Self { cluster, seed, specs, ordered: BTreeMap::new(), had: BTreeMap::new() }
    }

    fn run(&mut self, args: &Args) -> Result<Report> {
        let first_leader_ms = self.start().context("the start")?;
        let orderer_probes_per_org_s = self.quiet().context("a quiet channel")?;
        self.order_for(secs(15));
        let failover_ms = self.crash().context("the crash")?;
        let handover_ms = self.stop().context("the graceful stop")?;
        let withheld_extra_ms = self.withhold().context("the withholding")?;
        let two_leaders_ms = self.partition(args.partition).context("the partition")?;
        Ok(Report {
            first_leader_ms,
            failover_ms,
            handover_ms,
            two_leaders_ms,
            withheld_extra_ms,
            orderer_probes_per_org_s,
            history: String::new(),
        })
    }

    /// All start within half a second; counts from when everybody sees everybody.
    fn start(&mut self) -> Result<f64> {
        let mut dice = Dice::new(self.seed);
        for peer in 0..self.specs.len() {
            let candidate = self.candidate(peer);
            let spec = self.spec(peer);
            self.cluster.host_mut().peers.push(Outside::default());
            self.cluster.add_peer(spec, candidate);
            self.cluster.run_for(Duration::from_millis(dice.below(500) / self.specs.len() as u64));
        }
        let everybody = |cluster: &Cluster<World>| {
            (0..cluster.peers()).all(|peer| cluster.machine(peer).sees_all())
        };
        ensure!(self.cluster.run_while(secs(20), |c| !everybody(c)), "not all see all");
        let took = self.until(secs(20), |leaders| !leaders.is_empty())?;
        self.cluster.run_for(secs(5));
        self.settle()?;
        Ok(took)
    }

    /// Nothing is ordered: how often is the ordering service asked?
    fn quiet(&mut self) -> Result<f64> {
        self.cluster.host_mut().probes = 0;
        self.cluster.run_for(QUIET);
        self.settle()?;
        Ok(self.cluster.host().probes as f64 / (QUIET + SETTLED).as_secs_f64())
    }

    fn crash(&mut self) -> Result<f64> {
        let leader = self.leader()?;
        self.cluster.crash(leader);
        let took = self.until(secs(30), |leaders| !leaders.is_empty())?;
        self.order_for(secs(8));
        self.settle()?;
        self.restart(leader);
        self.order_for(secs(5));
        Ok(took)
    }

    /// The leader says goodbye and ends 50 ms later.
    fn stop(&mut self) -> Result<f64> {
        let leader = self.leader()?;
        self.cluster.inject(leader, Input::Stop);
        let at = self.cluster.now().mono.after(Duration::from_millis(50));
        self.cluster.call_at(at, move |cluster| cluster.stop(leader));
        let took = self.until(secs(30), |leaders| leaders.iter().any(|other| *other != leader))?;
        self.order_for(secs(8));
        self.settle()?;
        self.restart(leader);
        self.order_for(secs(5));
        Ok(took)
    }

    /// The leader keeps blocks to itself: how much later than usual do the others have them?
    fn withhold(&mut self) -> Result<f64> {
        let usual_from = self.cluster.now().mono;
        self.order_for(secs(10));
        let leader = self.leader()?;
        let from = self.cluster.now().mono;
        self.cluster.machine_mut(leader).withholds = true;
        self.order_for(secs(20));
        self.cluster.machine_mut(leader).withholds = false;
        let until = self.cluster.now().mono;
        self.order_for(secs(25));
        let usual = self.slowest(usual_from, from, leader)?;
        let withheld = self.slowest(from, until, leader)?;
        self.settle()?;
        Ok(millis(withheld.saturating_sub(usual)))
    }

    /// Half of the peers cannot reach the other half; counts how long two lead that hear each other again.
    fn partition(&mut self, lengths: Lengths) -> Result<f64> {
        let half = u32::try_from(self.specs.len() / 2)?;
        let mut dice = Dice::new(self.seed ^ 0x5eed);
        let spread = lengths.max.saturating_sub(lengths.min).saturating_mul(1_000);
        let drawn = Dice::new(self.seed ^ 0x1e46).below(spread.saturating_add(1));
        let lasts = secs(lengths.min) + Duration::from_millis(drawn);
        let shift = u32::try_from(dice.below(self.specs.len() as u64))?;
        let peers = u32::try_from(self.specs.len())?;
        let side = move |peer: usize| {
            let peer = u32::try_from(peer).unwrap_or(0);
            u32::from((peer + shift) % peers < half)
        };
        self.cluster.split(side);
        self.order_for(lasts);
        let left: Vec<u32> = self.leaders().into_iter().map(side).collect();
        if lasts >= secs(10) {
            ensure!(left.len() == 2, "{} leaders in two parts", left.len());
            ensure!(left.first() != left.last(), "one part has no leader");
        }
        self.cluster.heal();
        let is_split = |cluster: &Cluster<World>| {
            let leaders = leaders(cluster);
            let hear = |a: &usize| leaders.iter().any(|b| cluster.is_connected(*a, *b));
            leaders.len() > 1 && !leaders.iter().any(hear)
        };
        ensure!(self.cluster.run_while(secs(30), is_split), "the leaders do not meet");
        let took = self.until(secs(30), |leaders| leaders.len() == 1)?;
        self.order_for(secs(10));
        self.settle()?;
        Ok(took)
    }

    /// After a while there is exactly one leader, and all the time from then on.
    fn settle(&mut self) -> Result<()> {
        let stray = self.cluster.run_while(SETTLED, |cluster| leaders(cluster).len() == 1);
        ensure!(!stray, "{} leaders after settling", self.leaders().len());
        Ok(())
    }

    /// Virtual time until `done` holds of the leaders.
    fn until(&mut self, limit: Duration, done: impl Fn(&[usize]) -> bool) -> Result<f64> {
        let begin = self.cluster.now().mono;
        let ended = self.cluster.run_while(limit, |cluster| !done(&leaders(cluster)));
        ensure!(ended, "leaders {:?} after {limit:?}", self.leaders());
        Ok(millis(self.cluster.now().mono.since(begin)))
    }

    /// A block a second, and a note of who has it when.
    fn order_for(&mut self, time: Duration) {
        let end = self.cluster.now().mono.after(time);
        while self.cluster.now().mono < end {
            let now = self.cluster.now().mono;
            let height = self.cluster.host().tip.get() + 1;
            self.cluster.host_mut().tip = Height::new(height);
            self.ordered.insert(Height::new(height), now);
            for peer in 0..self.specs.len() {
                let takes =
                    self.cluster.host().peers.get(peer).is_some_and(|p| p.leads || p.fetches);
                if takes && self.cluster.is_up(peer) {
                    let ordered = Input::Ordered(Height::new(height));
                    self.cluster.inject_at(now.after(ORDERER_AWAY), peer, ordered);
                }
            }
            let next = now.after(BLOCK_EVERY);
            while self.cluster.now().mono < next {
                self.cluster.run_for(LOOK_EVERY);
                self.look();
            }
        }
    }

    fn look(&mut self) {
        let now = self.cluster.now().mono;
        for peer in (0..self.specs.len()).filter(|peer| self.cluster.is_up(*peer)) {
            let height = self.cluster.machine(peer).height();
            let lacked = self.ordered.range(..=height).rev().map(|(height, _)| *height);
            let lacked: Vec<Height> =
                lacked.take_while(|height| !self.had.contains_key(&(*height, peer))).collect();
            self.had.extend(lacked.into_iter().map(|height| ((height, peer), now)));
        }
    }

    /// The longest way to any peer but `leader` of a block ordered in `from..until`.
    fn slowest(&self, from: Mono, until: Mono, leader: usize) -> Result<Duration> {
        let mut slowest = Duration::ZERO;
        let blocks = self.ordered.iter().filter(|(_, at)| (from..until).contains(*at));
        for (height, at) in blocks {
            for peer in (0..self.specs.len()).filter(|peer| *peer != leader) {
                let had = self.had.get(&(*height, peer));
                ensure!(had.is_some(), "peer {peer} lacks block {}", height.get());
                slowest = slowest.max(had.map_or(Duration::ZERO, |had| had.since(*at)));
            }
        }
        Ok(slowest)
    }

    fn restart(&mut self, peer: usize) {
        if let Some(spec) = self.specs.get_mut(peer) {
            spec.epoch = Epoch::new(spec.epoch.get() + 1);
        }
        if let Some(outside) = self.cluster.host_mut().peers.get_mut(peer) {
            *outside = Outside { term: outside.term, ..Outside::default() };
        }
        let candidate = self.candidate(peer);
        let spec = self.spec(peer);
        self.cluster.restart(peer, spec, candidate);
    }

    fn spec(&self, peer: usize) -> PeerSpec {
        self.specs.get(peer).expect("peers are numbered in order").clone()
    }

    fn leaders(&self) -> Vec<usize> {
        leaders(&self.cluster)
    }

    fn leader(&self) -> Result<usize> {
        let leaders = self.leaders();
        ensure!(leaders.len() == 1, "{} leaders", leaders.len());
        leaders.first().copied().ok_or_else(|| anyhow::anyhow!("no leader"))
    }

    /// A peer as it starts; what its disk holds is there again.
    fn candidate(&self, peer: usize) -> Candidate {
        let now = self.cluster.now();
        let spec = self.spec(peer);
        let life = 1_000 * spec.epoch.get() + peer as u64;
        let channel = ChannelId::new("trade").expect("short");
        let config = ElectionConfig::dynamic().checked().expect("defaults");
        let rng = seeded(self.seed, 1_000_000 + life);
        let others = self.specs.iter().filter(|other| other.pki_id != spec.pki_id);
        let others = others.map(|other| (other.pki_id, other.endpoint.clone())).collect();
        let had = self.had.keys().filter(|(_, who)| *who == peer).map(|(height, _)| *height);
        let height = had.max().unwrap_or(Height::new(1));
        let election = Election::new(channel.clone(), spec.pki_id, config, rng, now);
        let dice = Dice::new(self.seed.wrapping_mul(1_000_003) ^ life);
        let start = Start { election, channel, others, height, dice };
        let mut candidate = Candidate::new(start, now.mono);
        let stored = self.cluster.host().peers.get(peer).and_then(|outside| outside.term);
        if let Some(term) = stored {
            candidate.prepare(now, Told::Term { term });
        }
        candidate.prepare(now, Told::Beacon { number: SeqNum::new(0), hash: genesis(self.seed) });
        candidate.prepare(now, Told::Height { height });
        candidate
    }
}

fn leaders(cluster: &Cluster<World>) -> Vec<usize> {
    let peers = cluster.host().peers.iter().enumerate();
    let leading = peers.filter(|(peer, outside)| outside.leads && cluster.is_up(*peer));
    leading.map(|(peer, _)| peer).collect()
}

fn spec(index: usize) -> PeerSpec {
    let mut id = [0x11; 32];
    let number = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    id.iter_mut().zip(number).for_each(|(byte, of)| *byte = of);
    PeerSpec {
        pki_id: PkiId::from_bytes(id),
        identity: PeerIdentity::new(format!("peer {index}").into_bytes()).expect("short"),
        org: Some(OrgId::new("org0").expect("short")),
        endpoint: Endpoint::new(&format!("peer{index}:7051")).expect("short"),
        epoch: Epoch::new(1),
    }
}

/// Another genesis block for each seed, and therefore other ranks.
fn genesis(seed: u64) -> BlockHash {
    let mut hash = [0x22; 32];
    hash.iter_mut().zip(seed.to_be_bytes()).for_each(|(byte, of)| *byte = of);
    BlockHash::from_bytes(hash)
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e4).round() / 10.0
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const BLOCK_EVERY: Duration = secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const QUIET: Duration = secs(195);
const SETTLED: Duration = secs(5);

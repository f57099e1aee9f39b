//! What is simulated, and what is printed of it.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gossip_api::{Mono, PkiId};
use gossip_comm::sim::{Link, seeded};
use gossip_discovery::{DiscoveryConfig, MembershipEvent};
use rand_core::Rng;
use serde::{Serialize, Serializer};

use super::Args;
use crate::lab::members::{Net, Person};

/// What is printed; a key that does not apply is null.
#[derive(Serialize)]
struct Report {
    peers: usize,
    full_view_ms: Option<f64>,
    detect_ms_median: Option<f64>,
    detect_ms_max: Option<f64>,
    false_deaths: usize,
    slow_deaths: usize,
    first_link_ms: Option<f64>,
    heal_ms: Option<f64>,
    messages_per_peer_s: f64,
    bytes_per_peer_s: f64,
    signatures_checked_per_message: f64,
    leaks: usize,
    #[serde(serialize_with = "as_hex")]
    history: u64,
    peer_hours: f64,
    wall_s: f64,
}

/// Simulates, prints, and fails if a view never came right or something was told that must not be.
pub(crate) fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let mut report = simulate_all(args)?;
    report.wall_s = started.elapsed().as_secs_f64();
    println!(
        "{}",
        if args.json {
            serde_json::to_string(&report)?
        } else {
            serde_json::to_string_pretty(&report)?
        }
    );
    ensure!(report.leaks == 0, "{} members were told to who must not know them", report.leaks);
    ensure!(report.full_view_ms.is_some(), "the views never became full");
    Ok(())
}

/// One simulation per seed, as many at a time as there are processors.
fn simulate_all(args: &Args) -> Result<Report> {
    let seeds: Vec<u64> = (args.seed..args.seed.saturating_add(args.seeds.max(1))).collect();
    let next = AtomicUsize::new(0);
    let workers = available_parallelism().map_or(1, NonZeroUsize::get).min(seeds.len());
    let work = || {
        let mut reports = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let args = Args { seed: *seed, ..args.clone() };
            reports.push((*seed, Simulation::new(&args).run()));
        }
        reports
    };
    let mut reports: Vec<(u64, Report)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    ensure!(reports.len() == seeds.len(), "a simulation broke off");
    reports.sort_by_key(|(seed, _)| *seed);
    let mut reports = reports.into_iter().map(|(_, report)| report);
    let first = reports.next().context("at least one seed")?;
    Ok(reports.fold(first, |sum, report| Report {
        false_deaths: sum.false_deaths + report.false_deaths,
        slow_deaths: sum.slow_deaths + report.slow_deaths,
        leaks: sum.leaks + report.leaks,
        history: sum.history.rotate_left(1) ^ report.history,
        peer_hours: sum.peer_hours + report.peer_hours,
        full_view_ms: sum.full_view_ms.and(report.full_view_ms).and(sum.full_view_ms),
        ..sum
    }))
}

fn as_hex<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{hash:016x}"))
}

struct Simulation<'a> {
    args: &'a Args,
    net: Net,
    slow: BTreeSet<usize>,
    hidden: BTreeSet<usize>,
}

impl<'a> Simulation<'a> {
    fn new(args: &'a Args) -> Self {
        let millis = Duration::from_millis;
        let latency = millis(*args.latency_ms.start())..=millis(*args.latency_ms.end());
        let link = Link::lan().latency(latency).loss(args.loss).drop(args.drop);
        let config =
            DiscoveryConfig { local_health: !args.no_local_health, ..DiscoveryConfig::default() };
        let mut draws = seeded(args.seed, 7);
        let mut chosen = |share: f64, from: usize| -> BTreeSet<usize> {
            let wanted = (share * args.peers as f64).round() as usize;
            let mut pool: Vec<usize> = (from..args.peers).collect();
            let mut chosen = BTreeSet::new();
            while chosen.len() < wanted && !pool.is_empty() {
                let at = draws.next_u64() as usize % pool.len();
                chosen.insert(pool.swap_remove(at));
            }
            chosen
        };
        let (slow, hidden) = (chosen(args.slow, args.orgs), chosen(args.org_hide, args.orgs));
        let net = Net::new(args.seed, link, config);
        Self { args, net, slow, hidden }
    }

    fn run(mut self) -> Report {
        self.start();
        let full_view = self.wait_full(Duration::from_secs(60));
        let price = self.quiet_time();
        let killed_at = self.kill();
        let detected = self.detections(&killed_at);
        let (first_link, heal) = self.partition();
        let (false_deaths, slow_deaths) = self.wrong_deaths(&killed_at);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        Report {
            peers: self.args.peers,
            full_view_ms: full_view.map(ms),
            detect_ms_median: detected.get(detected.len() / 2).copied().map(ms),
            detect_ms_max: detected.last().copied().map(ms),
            false_deaths,
            slow_deaths,
            first_link_ms: first_link.map(ms),
            heal_ms: heal.map(ms),
            messages_per_peer_s: price.0,
            bytes_per_peer_s: price.1,
            signatures_checked_per_message: price.2,
            leaks: self.net.cluster.host().leaks.len(),
            history: self.net.cluster.history_hash(),
            peer_hours: self.peer_hours(),
            wall_s: 0.0,
        }
    }

    fn start(&mut self) {
        let orgs = self.args.orgs.max(1);
        for index in 0..self.args.peers {
            let number = u32::try_from(index / orgs).unwrap_or(u32::MAX);
            let person = Person::new(&format!("O{}", index % orgs), number);
            let hide = self.hidden.contains(&index);
            self.net.add(if hide { person.hidden() } else { person });
        }
        for index in 0..self.args.peers {
            let first = index % orgs;
            if index != first {
                self.net.connect(index, first);
            } else {
                (0..orgs).filter(|org| *org != first).for_each(|org| self.net.connect(first, org));
            }
        }
        for peer in self.slow.clone() {
            self.stumble(peer);
        }
    }

    /// Lets a peer handle nothing and work in turns, from the tenth second on. One time the whole process is
    /// stopped; another time it gets to handle no messages while its timers run, as in the experiments of
    /// Lifeguard (Dadgar, Phillips and Currey, 2017).
    fn stumble(&mut self, peer: usize) {
        let mut draws = seeded(self.args.seed, 100_000 + peer as u64);
        let end = Mono::ZERO.after(Duration::from_secs(self.args.seconds));
        let mut at = Mono::ZERO.after(Duration::from_secs(10));
        while at < end {
            let pause = Duration::from_millis(100 + draws.next_u64() % 19_900);
            let resume = at.after(pause);
            if draws.next_u64().is_multiple_of(2) {
                self.net.cluster.call_at(at, move |cluster| cluster.pause(peer));
                self.net.cluster.call_at(resume, move |cluster| cluster.resume(peer));
            } else {
                self.net.cluster.call_at(at, move |cluster| {
                    cluster.host_mut().deaf.insert(peer, resume);
                });
            }
            at = resume.after(Duration::from_secs(10));
        }
    }

    /// Virtual time of all peers together.
    fn peer_hours(&self) -> f64 {
        let time = self.net.cluster.now().mono.since(Mono::ZERO);
        self.args.peers as f64 * time.as_secs_f64() / 3600.0
    }

    /// Whether `observer` may know `subject`.
    fn may_know(&self, observer: usize, subject: usize) -> bool {
        let orgs = self.args.orgs.max(1);
        observer % orgs == subject % orgs
            || !(self.hidden.contains(&observer) || self.hidden.contains(&subject))
    }

    /// Whether every running peer sees those running ones that it may; the slow are not counted.
    fn views_are_right(&self) -> bool {
        let up: Vec<usize> = (0..self.args.peers)
            .filter(|peer| self.net.cluster.is_up(*peer) && !self.slow.contains(peer))
            .collect();
        up.iter().all(|observer| {
            let expected =
                up.iter().filter(|peer| *peer != observer && self.may_know(*observer, **peer));
            // Counting first: a look at every name is dear among a thousand.
            let machine = self.net.cluster.machine(*observer);
            machine.stats().alive >= expected.clone().count() && {
                let members = machine.members();
                let seen: BTreeSet<PkiId> = members.iter().map(|m| m.pki_id).collect();
                expected.into_iter().all(|peer| seen.contains(&self.net.pki_id(*peer)))
            }
        })
    }

    fn wait_full(&mut self, limit: Duration) -> Option<Duration> {
        let since = self.net.cluster.now().mono;
        while !self.views_are_right() {
            if self.net.cluster.now().mono.since(since) > limit {
                return None;
            }
            self.net.run(Duration::from_millis(10));
        }
        Some(self.net.cluster.now().mono.since(since))
    }

    /// Messages and bytes per peer and second, signatures checked per message: from ten seconds after
    /// the views were full until the seconds are over.
    fn quiet_time(&mut self) -> (f64, f64, f64) {
        self.net.run(SETTLING);
        let begin = self.net.cluster.now().mono;
        let end = Mono::ZERO.after(Duration::from_secs(self.args.seconds));
        let end = end.max(begin.after(SETTLING));
        let before = self.net.cluster.stats().clone();
        let checks = self.checks();
        self.net.run(end.since(begin));
        let after = self.net.cluster.stats();
        let per = (self.args.peers.max(1) as f64) * end.since(begin).as_secs_f64();
        let messages = (after.messages - before.messages) as f64;
        let checks = (self.checks() - checks) as f64;
        let bytes = (after.bytes - before.bytes) as f64;
        (messages / per, bytes / per, checks / messages.max(1.0))
    }

    /// Signatures that peers had to check, those whose verdict the host had at hand included.
    fn checks(&self) -> u64 {
        self.net.authority.signature_checks() + self.net.cluster.host().checks_saved
    }

    /// Crashes peers, each when the one before is known to be dead.
    fn kill(&mut self) -> Vec<(usize, Mono)> {
        let last = (self.args.orgs..self.args.peers).rev();
        let victims: Vec<usize> =
            last.filter(|peer| !self.slow.contains(peer)).take(self.args.kill).collect();
        let mut draws = seeded(self.args.seed, 9);
        let mut killed = Vec::new();
        for victim in victims {
            // Crashes fall anywhere between two beats.
            self.net.run(Duration::from_millis(draws.next_u64() % 2000));
            killed.push((victim, self.net.cluster.now().mono));
            self.net.cluster.crash(victim);
            for _ in 0..DETECTION.as_secs() {
                self.net.run(Duration::from_secs(1));
                if (0..self.args.peers).all(|peer| !self.sees(peer, victim)) {
                    break;
                }
            }
        }
        killed
    }

    fn sees(&self, observer: usize, victim: usize) -> bool {
        self.net.cluster.is_up(observer)
            && !self.slow.contains(&observer)
            && self.net.sees_peer(observer, victim)
    }

    /// How long each running peer took to notice each crash.
    fn detections(&self, killed: &[(usize, Mono)]) -> Vec<Duration> {
        let mut took = Vec::new();
        for (victim, at) in killed {
            let victim = self.net.pki_id(*victim);
            for observer in (0..self.args.peers).filter(|peer| self.net.cluster.is_up(*peer)) {
                let events = self.net.events(observer).iter();
                let death = events.filter(|(when, _)| when >= at).find(
                    |(_, event)| matches!(event, MembershipEvent::Dead(who) if *who == victim),
                );
                took.extend(death.map(|(when, _)| when.since(*at)));
            }
        }
        took.sort();
        took
    }

    fn partition(&mut self) -> (Option<Duration>, Option<Duration>) {
        let small = self.args.partition;
        if small == 0 {
            return (None, None);
        }
        let border = self.args.peers.saturating_sub(small);
        self.net.cluster.split(|peer| u32::from(peer >= border));
        self.net.run(Duration::from_secs(self.args.heal_after));
        self.net.cluster.heal();
        let healed = self.net.cluster.now().mono;
        let crossed = |net: &Net| {
            (0..border).any(|a| (border..net.people.len()).any(|b| net.cluster.is_connected(a, b)))
        };
        while !crossed(&self.net) {
            if self.net.cluster.now().mono.since(healed) > Duration::from_secs(60) {
                return (None, None);
            }
            self.net.run(Duration::from_millis(5));
        }
        let first_link = self.net.cluster.now().mono.since(healed);
        (Some(first_link), self.wait_full(Duration::from_secs(60)))
    }

    /// Deaths of running peers that were not cut off, by whether the dead one is slow.
    fn wrong_deaths(&self, killed: &[(usize, Mono)]) -> (usize, usize) {
        let killed: BTreeSet<PkiId> =
            killed.iter().map(|(peer, _)| self.net.pki_id(*peer)).collect();
        let slow: BTreeSet<PkiId> = self.slow.iter().map(|peer| self.net.pki_id(*peer)).collect();
        let (mut wrong, mut of_slow) = (BTreeSet::new(), BTreeSet::new());
        // A partition makes deaths that are right; its figures are its own.
        if self.args.partition > 0 {
            return (0, 0);
        }
        for observer in 0..self.args.peers {
            for (_, event) in self.net.events(observer) {
                if let MembershipEvent::Dead(who) = event {
                    if slow.contains(who) {
                        of_slow.insert((observer, *who));
                    } else if !killed.contains(who) {
                        wrong.insert((observer, *who));
                    }
                }
            }
        }
        (wrong.len(), of_slow.len())
    }
}

/// Between the first full view and the quiet time; the quiet time is no shorter.
const SETTLING: Duration = Duration::from_secs(10);
/// A crash that not everybody has noticed by then is given up.
const DETECTION: Duration = Duration::from_secs(15);

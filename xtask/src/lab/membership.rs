//! `cargo xtask sim membership`: only discovery, virtual time: views, deaths, partitions, and their price.
//!
//! The whole of a run up to the first crash takes `--seconds` of virtual time, its start included.

use std::ops::RangeInclusive;

use super::spread::latency;

/// What is simulated, in this order: a start, a quiet time, crashes one after the other, a partition and
/// its heal.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Peers in all; all start at the same instant.
    #[arg(long, default_value_t = 50)]
    pub(crate) peers: usize,
    /// Organisations; the first peers of each know one another.
    #[arg(long, default_value_t = 1)]
    pub(crate) orgs: usize,
    /// From the start until the first crash; at least until a while after the views are full.
    #[arg(long, default_value_t = 30)]
    pub(crate) seconds: u64,
    /// Probability that a packet of 1,200 bytes is lost.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) loss: f64,
    /// Probability that a stream's message is lost whole.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) drop: f64,
    /// Share of the peers that stand still for 0.1 to 20 s, work for 10 s, and so on.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) slow: f64,
    /// Peers do not wait longer before they accuse when they are slow themselves.
    #[arg(long)]
    pub(crate) no_local_health: bool,
    /// Share of the peers without external endpoint.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) org_hide: f64,
    /// One-way latency between two peers, drawn once per pair.
    #[arg(long, default_value = "1..5", value_parser = latency)]
    pub(crate) latency_ms: RangeInclusive<u64>,
    /// Peers that crash, one after the other.
    #[arg(long, default_value_t = 1)]
    pub(crate) kill: usize,
    /// Peers on the smaller side of a partition; 0 for none.
    #[arg(long, default_value_t = 0)]
    pub(crate) partition: usize,
    /// How long it lasts, in seconds.
    #[arg(long, default_value_t = 30)]
    pub(crate) heal_after: u64,
    /// All randomness comes from here.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// One JSON object on the last line.
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(feature = "lab")]
pub(crate) use lab::run;

#[cfg(feature = "lab")]
mod lab {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::{Duration, Instant};

    use anyhow::{Result, ensure};
    use gossip_api::{Mono, PkiId};
    use gossip_comm::sim::{Link, seeded};
    use gossip_discovery::{DiscoveryConfig, MembershipEvent};
    use rand_core::Rng;
    use serde::Serialize;

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
        history: String,
        wall_s: f64,
    }

    /// Simulates, prints, and fails if a view never came right or something was told that must not be.
    pub(crate) fn run(args: &Args) -> Result<()> {
        let report = Simulation::new(args).run();
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

    struct Simulation<'a> {
        args: &'a Args,
        net: Net,
        slow: BTreeSet<usize>,
        hidden: BTreeSet<usize>,
        started: Instant,
    }

    impl<'a> Simulation<'a> {
        fn new(args: &'a Args) -> Self {
            let started = Instant::now();
            let millis = Duration::from_millis;
            let latency = millis(*args.latency_ms.start())..=millis(*args.latency_ms.end());
            let link = Link::lan().latency(latency).loss(args.loss).drop(args.drop);
            let config = DiscoveryConfig {
                local_health: !args.no_local_health,
                ..DiscoveryConfig::default()
            };
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
            Self { args, net, slow, hidden, started }
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
                leaks: self.leaks(),
                history: format!("{:016x}", self.net.cluster.history_hash()),
                wall_s: self.started.elapsed().as_secs_f64(),
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
                    (0..orgs)
                        .filter(|org| *org != first)
                        .for_each(|org| self.net.connect(first, org));
                }
            }
            for peer in self.slow.clone() {
                self.stumble(peer);
            }
        }

        /// Lets a peer stand still and work in turns, from the tenth second on.
        fn stumble(&mut self, peer: usize) {
            let mut draws = seeded(self.args.seed, 100_000 + peer as u64);
            let end = Mono::ZERO.after(Duration::from_secs(self.args.seconds));
            let mut at = Mono::ZERO.after(Duration::from_secs(10));
            while at < end {
                let pause = Duration::from_millis(100 + draws.next_u64() % 19_900);
                let resume = at.after(pause);
                self.net.cluster.call_at(at, move |cluster| cluster.pause(peer));
                self.net.cluster.call_at(resume, move |cluster| cluster.resume(peer));
                at = resume.after(Duration::from_secs(10));
            }
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
                (0..border)
                    .any(|a| (border..net.people.len()).any(|b| net.cluster.is_connected(a, b)))
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
            let slow: BTreeSet<PkiId> =
                self.slow.iter().map(|peer| self.net.pki_id(*peer)).collect();
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

        /// Members that were named to somebody who must not know them.
        fn leaks(&self) -> usize {
            let index: BTreeMap<PkiId, usize> =
                (0..self.args.peers).map(|peer| (self.net.pki_id(peer), peer)).collect();
            let told = &self.net.cluster.host().told;
            told.iter()
                .filter(|(to, about)| match (index.get(to), index.get(about)) {
                    (Some(to), Some(about)) => to != about && !self.may_know(*to, *about),
                    _ => true,
                })
                .count()
        }
    }

    /// Between the first full view and the quiet time; the quiet time is no shorter.
    const SETTLING: Duration = Duration::from_secs(10);
    /// A crash that not everybody has noticed by then is given up.
    const DETECTION: Duration = Duration::from_secs(15);
}

//! One seed, one network, one story: who there is and what befalls them are drawn, and invariants hold after
//! every step. In the end all faults are over, and everybody has to see everybody again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use gossip_api::{Epoch, Mono, OrgId, PkiId};
use gossip_comm::sim::{Link, seeded};
use gossip_discovery::{DiscoveryConfig, MembershipEvent, invariants};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::byzantine::Evil;
use super::{Net, Person, ms, secs};

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) virtual_time: Duration,
    pub(crate) steps: u64,
    pub(crate) history: u64,
    pub(crate) healed_in: Duration,
}

/// What is checked; the numbers are those of docs/simulation.md.
pub(crate) const INVARIANTS: [&str; 9] = [
    "V2 nothing is believed that its member did not sign",
    "V4 after the faults every view is right within a minute",
    "V5 nobody dies whom nothing befell",
    "V6 nobody is told of whom it must not know",
    "V7 nothing outgrows its bound",
    "V10 nothing panics",
    "V11 no epoch and no beat goes back",
    "V12 the same seed gives the same history (one seed in twenty)",
    "V15 nothing is passed on that was not verified",
];

/// Tells the story of one seed; panics where an invariant breaks.
pub(crate) fn tell(seed: u64) -> Told {
    let told = Story::new(seed).tell();
    if seed.is_multiple_of(TOLD_TWICE) {
        assert_eq!(Story::new(seed).tell().history, told.history, "V12: two histories");
    }
    told
}

/// What may befall.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Crash { peer: usize, back: Option<Duration>, with_disk: bool },
    Stop { peer: usize, back: Duration },
    Pause { peer: usize, time: Duration },
    Split { time: Duration, salt: u64 },
    Cut { from: usize, to: usize, time: Duration },
    Skew { peer: usize, seconds: i64 },
}

/// What ends one.
#[derive(Clone, Debug)]
enum End {
    Restart { peer: usize, with_disk: bool },
    Resume { peer: usize },
    Whole,
    Mended { from: usize, to: usize },
}

struct Story {
    net: Net,
    draws: ChaCha8Rng,
    orgs: usize,
    evil: BTreeSet<usize>,
    /// Crashed for good.
    gone: BTreeSet<usize>,
    down: BTreeSet<usize>,
    paused: BTreeSet<usize>,
    split: bool,
    cuts: BTreeSet<(usize, usize)>,
    /// Until when something befell a peer.
    harmed: BTreeMap<usize, Mono>,
    ends: Vec<(Mono, End)>,
    /// How many events of each peer were judged.
    judged: Vec<usize>,
}

impl Story {
    fn new(seed: u64) -> Self {
        let mut draws = seeded(seed, 77);
        let mut below = |bound: u64| draws.next_u64() % bound;
        let (orgs, peers) = (1 + below(3) as usize, 3 + below(18) as usize);
        let share = |permille: u64| permille as f64 / 1000.0;
        let base = if below(2) == 0 { Link::lan() } else { Link::wan() };
        let link = base
            .loss(share(below(100)))
            .reorder(share(below(100)))
            .duplicate(share(below(100)))
            .corrupt(share(below(20)))
            .jitter(ms(below(10)));
        let hidden: Vec<bool> = (0..peers).map(|peer| peer >= orgs && below(5) == 0).collect();
        let evil: BTreeSet<usize> =
            (orgs..peers).filter(|_| below(10) == 0).take(peers / 4).collect();
        let mut net = Net::new(seed, link, DiscoveryConfig::default());
        for (index, hidden) in hidden.into_iter().enumerate() {
            let number = u32::try_from(index / orgs).unwrap();
            let person = Person::new(&format!("O{}", index % orgs), number);
            net.add(if hidden { person.hidden() } else { person });
        }
        for peer in &evil {
            let rng = seeded(seed, 9_000 + *peer as u64);
            net.cluster.host_mut().evil.insert(*peer, Evil::new(rng));
        }
        for index in 0..peers {
            introduce(&mut net, orgs, index);
        }
        watch_progress(&mut net);
        Self {
            net,
            draws,
            orgs,
            evil,
            gone: BTreeSet::new(),
            down: BTreeSet::new(),
            paused: BTreeSet::new(),
            split: false,
            cuts: BTreeSet::new(),
            harmed: BTreeMap::new(),
            ends: Vec::new(),
            judged: vec![0; peers],
        }
    }

    fn tell(mut self) -> Told {
        self.pass(secs(8));
        for _ in 0..3 + self.below(6) {
            let fault = self.draw();
            self.befall(fault);
            let wait = ms(200 + self.below(8_000));
            self.pass(wait);
        }
        self.heal();
        let healed = self.now();
        while !self.views_are_right() {
            let took = self.now().since(healed);
            assert!(took < HEALED, "V4: {}", self.wrong_view());
            self.pass(ms(100));
        }
        let healed_in = self.now().since(healed);
        self.pass(secs(10));
        assert!(self.views_are_right(), "V4, after it was right: {}", self.wrong_view());
        Told {
            virtual_time: self.now().since(Mono::ZERO),
            steps: self.net.cluster.stats().steps,
            history: self.net.cluster.history_hash(),
            healed_in,
        }
    }

    fn now(&self) -> Mono {
        self.net.cluster.now().mono
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draws.next_u64() % bound
    }

    fn peers(&self) -> usize {
        self.net.people.len()
    }

    fn draw(&mut self) -> Fault {
        let peer = self.below(self.peers() as u64) as usize;
        let other = (peer + 1 + self.below(self.peers() as u64 - 1) as usize) % self.peers();
        let time = ms(100 + self.below(20_000));
        match self.below(12) {
            0 | 1 => Fault::Crash { peer, back: Some(time), with_disk: true },
            2 => Fault::Crash { peer, back: Some(time), with_disk: false },
            3 => Fault::Crash { peer, back: None, with_disk: true },
            4 => Fault::Stop { peer, back: time },
            5..=7 => Fault::Pause { peer, time },
            8 | 9 => Fault::Split { time, salt: self.below(u64::MAX) },
            10 => Fault::Cut { from: peer, to: other, time },
            _ => Fault::Skew { peer, seconds: self.below(2_000_000) as i64 - 1_000_000 },
        }
    }

    fn befall(&mut self, fault: Fault) {
        let now = self.now();
        let idle = |story: &Self, peer: usize| {
            !story.down.contains(&peer) && !story.paused.contains(&peer)
        };
        match fault {
            // Somebody has to stay whom the others know.
            Fault::Crash { peer, back: None, .. } if peer < self.orgs => {}
            Fault::Crash { peer, back, with_disk } if idle(self, peer) => {
                self.net.cluster.crash(peer);
                self.down.insert(peer);
                match back {
                    Some(time) => {
                        self.ends.push((now.after(time), End::Restart { peer, with_disk }))
                    }
                    None => drop(self.gone.insert(peer)),
                }
            }
            Fault::Stop { peer, back } if idle(self, peer) => {
                self.net.cluster.stop(peer);
                self.down.insert(peer);
                self.ends.push((now.after(back), End::Restart { peer, with_disk: true }));
            }
            Fault::Pause { peer, time } if idle(self, peer) => {
                self.net.cluster.pause(peer);
                self.paused.insert(peer);
                self.ends.push((now.after(time), End::Resume { peer }));
            }
            Fault::Split { time, salt } if !self.split => {
                self.net.cluster.split(|peer| ((salt >> (peer % 64)) & 1) as u32);
                self.split = true;
                self.ends.push((now.after(time), End::Whole));
            }
            Fault::Cut { from, to, time } => {
                self.net.cluster.cut_one_way(from, to, true);
                self.cuts.insert((from, to));
                self.ends.push((now.after(time), End::Mended { from, to }));
            }
            Fault::Skew { peer, seconds } => self.net.cluster.set_wall_ahead(peer, seconds),
            Fault::Crash { .. }
            | Fault::Stop { .. }
            | Fault::Pause { .. }
            | Fault::Split { .. } => {}
        }
    }

    fn end(&mut self, end: End) {
        match end {
            End::Restart { peer, with_disk } => {
                let before = self.net.people[peer].clone();
                let epoch = if with_disk { before.epoch.get() + 1 } else { 1 };
                self.net.restart(peer, Person { epoch: Epoch::new(epoch), ..before });
                self.down.remove(&peer);
                introduce(&mut self.net, self.orgs, peer);
            }
            End::Resume { peer } => {
                self.net.cluster.resume(peer);
                self.paused.remove(&peer);
            }
            End::Whole => {
                self.net.cluster.heal();
                self.split = false;
                self.cuts.clear();
            }
            End::Mended { from, to } => {
                self.net.cluster.cut_one_way(from, to, false);
                self.cuts.remove(&(from, to));
            }
        }
    }

    /// Everything ends that can.
    fn heal(&mut self) {
        for (_, end) in std::mem::take(&mut self.ends) {
            self.end(end);
        }
        self.net.cluster.heal();
        self.net.cluster.set_default_link(Link::lan());
        self.note_harm();
    }

    /// Lets time pass, with the ends of faults that fall into it.
    fn pass(&mut self, time: Duration) {
        let until = self.now().after(time);
        loop {
            self.note_harm();
            let next = self.ends.iter().map(|(at, _)| *at).min().filter(|at| *at <= until);
            let at = next.unwrap_or(until);
            self.net.cluster.run_until(at.max(self.now()));
            self.note_harm();
            self.judge();
            if next.is_none() {
                return;
            }
            let (due, rest) = self.ends.drain(..).partition(|(when, _)| *when <= at);
            self.ends = rest;
            let due: Vec<(Mono, End)> = due;
            due.into_iter().for_each(|(_, end)| self.end(end));
        }
    }

    /// Whom something befalls at this moment.
    fn note_harm(&mut self) {
        let now = self.now();
        let everybody = if self.split { 0..self.peers() } else { 0..0 };
        let cut = self.cuts.iter().flat_map(|(from, to)| [*from, *to]);
        let others = self.down.iter().chain(&self.paused).copied();
        for peer in everybody.chain(cut).chain(others) {
            self.harmed.insert(peer, now);
        }
    }

    /// V5 and V6, from what happened since the last look.
    fn judge(&mut self) {
        let harmed_since = |peer: usize, at: Mono| {
            self.harmed.get(&peer).is_some_and(|when| at.since(*when) < AFTERMATH)
        };
        for observer in 0..self.peers() {
            for (at, event) in &self.net.events(observer)[self.judged[observer]..] {
                let MembershipEvent::Dead(who) = event else { continue };
                let dead = (0..self.peers()).find(|peer| self.net.pki_id(*peer) == *who);
                let dead = dead.expect("V2: somebody died who never lived");
                // Whom it knows from a traitor alone, it can neither reach nor ask others about.
                let excused = !self.expected(observer, dead)
                    || [observer, dead]
                        .iter()
                        .any(|peer| harmed_since(*peer, *at) || self.evil.contains(peer));
                assert!(excused, "V5: {observer} buries {dead} at {at}");
            }
        }
        for observer in 0..self.peers() {
            self.judged[observer] = self.net.events(observer).len();
        }
        let leak = self.net.cluster.host().leaks.first();
        assert_eq!(leak, None, "V6");
        let unverified = self.net.cluster.host().unverified.first();
        assert_eq!(unverified, None, "V15");
    }

    fn honest(&self) -> Vec<usize> {
        (0..self.peers()).filter(|p| !self.down.contains(p) && !self.evil.contains(p)).collect()
    }

    /// Whom `observer` has to see, and whom it may.
    fn expected(&self, observer: usize, subject: usize) -> bool {
        let (a, b) = (&self.net.people[observer], &self.net.people[subject]);
        a.org == b.org || (a.external.is_some() && b.external.is_some())
    }

    fn views_are_right(&self) -> bool {
        self.honest().into_iter().all(|observer| self.view_of(observer).is_ok())
    }

    fn wrong_view(&self) -> String {
        let views = self.honest().into_iter().map(|observer| self.view_of(observer));
        let wrong: Vec<String> = views.filter_map(Result::err).collect();
        format!("{} peers, {} orgs: {}", self.peers(), self.orgs, wrong.join("; "))
    }

    fn view_of(&self, observer: usize) -> Result<(), String> {
        let members = self.net.cluster.machine(observer).members();
        let seen: BTreeSet<PkiId> = members.iter().map(|member| member.pki_id).collect();
        for subject in self.honest().into_iter().filter(|subject| *subject != observer) {
            if self.expected(observer, subject) && !seen.contains(&self.net.pki_id(subject)) {
                return Err(format!("{observer} does not see {subject}"));
            }
        }
        for peer in &self.down {
            if seen.contains(&self.net.pki_id(*peer)) {
                return Err(format!("{observer} sees {peer}, who is gone"));
            }
        }
        for member in members {
            let who = (0..self.peers()).find(|peer| self.net.pki_id(*peer) == member.pki_id);
            let who = who.ok_or_else(|| format!("V2: {observer} sees one whom nobody made"))?;
            let person = &self.net.people[who];
            let genuine = member.endpoint == person.external
                && member.org == Some(OrgId::new(person.org.as_str()).unwrap())
                && member.internal_endpoint.is_none_or(|endpoint| endpoint == person.internal);
            if !genuine {
                return Err(format!("V2: {observer} believes of {who} what it never said"));
            }
        }
        Ok(())
    }
}

/// Each peer knows the first one of its organisation, and the first ones know each other.
fn introduce(net: &mut Net, orgs: usize, index: usize) {
    let first = index % orgs;
    if index == first {
        (0..orgs).filter(|org| *org != first).for_each(|org| net.connect(first, org));
    } else {
        net.connect(index, first);
    }
}

/// V11: within one life of an observer nothing that it knows of a member goes back.
fn watch_progress(net: &mut Net) {
    type Known = BTreeMap<(usize, PkiId), (Epoch, u64)>;
    let known: Rc<RefCell<(Known, Vec<u64>)>> = Rc::default();
    net.cluster.on_step(move |cluster| {
        let observer = cluster.host().touched;
        let machine = cluster.machine(observer);
        let (known, starts) = &mut *known.borrow_mut();
        starts.resize(cluster.peers(), 0);
        let start = cluster.host().peers[observer].start;
        if std::mem::replace(&mut starts[observer], start) != start {
            known.retain(|(peer, _), _| *peer != observer);
        }
        for (member, epoch, beats) in invariants::progress(machine) {
            let before = known.insert((observer, member), (epoch, beats)).unwrap_or_default();
            assert!((epoch, beats) >= before, "V11: {observer} goes back on {member:?}");
        }
    });
}

/// After this long without faults, what befell a peer explains nothing.
const AFTERMATH: Duration = Duration::from_secs(20);
/// After the end of all faults views are right within this.
const HEALED: Duration = Duration::from_secs(60);
/// One seed in so many is told twice.
const TOLD_TWICE: u64 = 20;

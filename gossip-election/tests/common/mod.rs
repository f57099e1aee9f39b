//! One organisation on virtual time: claims travel with delay and loss, and whoever leads spreads blocks.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{ChannelId, Height, Machine, Mono, Now, PkiId, Wall};
use gossip_election::{Action, Claim, Election, ElectionConfig, Input};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub fn pki(index: usize) -> PkiId {
    let mut bytes = [index as u8; 32];
    bytes[0] = 0xee;
    PkiId::from_bytes(bytes)
}

pub struct Peer {
    pub election: Election,
    pub alive: bool,
    /// Handles nothing; what comes meanwhile waits.
    pub paused: bool,
    pub leads: bool,
    pub fetches: bool,
    /// Leads and keeps the blocks to itself.
    pub withholds: bool,
    pub side: u8,
    pub height: u64,
    pub said: u64,
    pub persisted: Vec<u64>,
    pub changes: Vec<(Mono, bool)>,
    backlog: Vec<Input>,
}

enum Event {
    Claim { from: usize, to: usize, claim: Claim },
    Members { to: usize },
    Block,
    Height { to: usize, height: u64 },
    Delivered { to: usize, height: u64 },
    Proved { to: usize, height: u64 },
}

pub struct Org {
    pub peers: Vec<Peer>,
    pub now: Mono,
    pub loss_percent: u32,
    pub block_every: Option<Duration>,
    pub tip: u64,
    pub probes: u64,
    config: ElectionConfig,
    queue: BTreeMap<(Mono, u64), Event>,
    order: u64,
    rng: ChaCha8Rng,
}

impl Org {
    pub fn of(count: usize, seed: u64) -> Self {
        Self::with(count, seed, ElectionConfig::dynamic())
    }

    pub fn with(count: usize, seed: u64, config: ElectionConfig) -> Self {
        let mut org = Self {
            peers: Vec::new(),
            now: Mono::ZERO,
            loss_percent: 0,
            block_every: None,
            tip: 1,
            probes: 0,
            config,
            queue: BTreeMap::new(),
            order: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
        };
        for _ in 0..count {
            org.add();
        }
        org
    }

    pub fn add(&mut self) -> usize {
        let index = self.peers.len();
        let rng = ChaCha8Rng::from_rng(&mut self.rng);
        self.peers.push(Peer {
            election: self.election(index, rng),
            alive: true,
            paused: false,
            leads: false,
            fetches: false,
            withholds: false,
            side: 0,
            height: self.tip,
            said: 0,
            persisted: Vec::new(),
            changes: Vec::new(),
            backlog: Vec::new(),
        });
        let height = Height::new(self.tip);
        self.tell(index, Input::Height { height });
        self.tell(index, Input::Tick);
        self.announce_members();
        index
    }

    fn election(&self, index: usize, rng: ChaCha8Rng) -> Election {
        let channel = ChannelId::new("trade").unwrap();
        let config = self.config.clone().checked().unwrap();
        Election::new(channel, pki(index), config, rng, self.time())
    }

    fn time(&self) -> Now {
        Now { mono: self.now, wall: Wall::default() }
    }

    fn draw(&mut self, below: u32) -> u32 {
        self.rng.next_u32() % below
    }

    fn after(&mut self, wait: Duration, event: Event) {
        self.order += 1;
        self.queue.insert((self.now.after(wait), self.order), event);
    }

    pub fn reaches(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.peers[from], &self.peers[to]);
        from.alive && to.alive && from.side == to.side
    }

    /// Membership notices changes after a while, each peer at its own time.
    pub fn announce_members(&mut self) {
        for to in 0..self.peers.len() {
            let wait = ms(u64::from(self.draw(200)));
            self.after(wait, Event::Members { to });
        }
    }

    pub fn tell(&mut self, index: usize, input: Input) {
        if !self.peers[index].alive {
            return;
        }
        if self.peers[index].paused {
            self.peers[index].backlog.push(input);
            return;
        }
        let now = self.time();
        let actions = self.peers[index].election.handle(now, input);
        for action in actions {
            self.perform(index, action);
        }
    }

    fn perform(&mut self, index: usize, action: Action) {
        match action {
            Action::Lead { .. } | Action::Follow { .. } => {
                let leads = matches!(action, Action::Lead { .. });
                assert_ne!(self.peers[index].leads, leads, "lead and follow alternate");
                self.peers[index].leads = leads;
                let now = self.now;
                self.peers[index].changes.push((now, leads));
            }
            Action::Say(claim) => self.say(index, claim),
            Action::Persist { term } => {
                assert!(self.peers[index].persisted.last().is_none_or(|last| *last < term));
                self.peers[index].persisted.push(term);
            }
            Action::Fetch { wanted } => self.peers[index].fetches = wanted,
            Action::Probe => {
                self.probes += 1;
                self.prove(index);
            }
        }
    }

    fn say(&mut self, from: usize, claim: Claim) {
        self.peers[from].said += 1;
        for to in 0..self.peers.len() {
            let is_lost = self.draw(100) < self.loss_percent;
            let wait = ms(1 + u64::from(self.draw(4)));
            if to != from && !is_lost {
                self.after(wait, Event::Claim { from, to, claim });
            }
        }
    }

    /// Spreads the newest header.
    fn prove(&mut self, from: usize) {
        let height = self.tip;
        for to in 0..self.peers.len() {
            if self.reaches(from, to) {
                self.after(ms(20), Event::Proved { to, height });
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Claim { from, to, claim } => {
                if self.reaches(from, to) {
                    self.tell(to, Input::Heard { from: pki(from), claim });
                }
            }
            Event::Members { to } => {
                let others = (0..self.peers.len()).filter(|other| self.reaches(*other, to));
                let alive = others.filter(|other| *other != to).map(pki).collect();
                self.tell(to, Input::Members { alive });
            }
            Event::Block => {
                self.tip += 1;
                if let Some(every) = self.block_every {
                    self.after(every, Event::Block);
                }
                self.spread();
            }
            Event::Height { to, height } => {
                if self.peers[to].height < height {
                    self.peers[to].height = height;
                    self.tell(to, Input::Height { height: Height::new(height) });
                }
            }
            Event::Delivered { to, height } => {
                self.tell(to, Input::Delivered { height: Height::new(height) });
            }
            Event::Proved { to, height } => {
                self.tell(to, Input::Proved { height: Height::new(height) });
            }
        }
    }

    /// Whoever pulls gets what there is; a leader passes it on.
    fn spread(&mut self) {
        let height = self.tip;
        for from in 0..self.peers.len() {
            let peer = &self.peers[from];
            if !peer.alive || peer.paused || !(peer.leads || peer.fetches) {
                continue;
            }
            self.after(ms(5), Event::Delivered { to: from, height });
            self.after(ms(5), Event::Height { to: from, height });
            if self.peers[from].withholds {
                continue;
            }
            for to in 0..self.peers.len() {
                if self.reaches(from, to) {
                    self.after(ms(20), Event::Height { to, height });
                }
            }
        }
    }

    pub fn start_blocks(&mut self, every: Duration) {
        self.block_every = Some(every);
        self.after(every, Event::Block);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    /// Lets time pass until `done`; tells how long it took.
    pub fn run_until(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let begin = self.now;
        let end = self.now.after(time);
        loop {
            if done(self) {
                return Some(self.now.since(begin));
            }
            let event = self.queue.first_key_value().map(|(key, _)| key.0);
            let woken = (0..self.peers.len())
                .filter(|index| self.peers[*index].alive && !self.peers[*index].paused)
                .filter_map(|index| Some((self.peers[index].election.next_wakeup()?.at, index)))
                .min();
            let next = [event, woken.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return None;
            };
            self.now = self.now.max(next);
            if event == Some(next) {
                if let Some((_, event)) = self.queue.pop_first() {
                    self.on_event(event);
                }
            } else if let Some((_, index)) = woken {
                self.tell(index, Input::Tick);
            }
        }
    }

    pub fn leaders(&self) -> Vec<usize> {
        let peers = self.peers.iter().enumerate();
        peers.filter(|(_, peer)| peer.alive && peer.leads).map(|(index, _)| index).collect()
    }

    pub fn crash(&mut self, index: usize) {
        self.peers[index].alive = false;
        self.peers[index].leads = false;
    }

    pub fn stop(&mut self, index: usize) {
        self.tell(index, Input::Stop);
        let wait = ms(50);
        self.run(wait);
        self.crash(index);
        self.announce_members();
    }

    pub fn pause(&mut self, index: usize) {
        self.peers[index].paused = true;
    }

    /// The peer goes on with what came meanwhile.
    pub fn resume(&mut self, index: usize) {
        self.peers[index].paused = false;
        for input in std::mem::take(&mut self.peers[index].backlog) {
            self.tell(index, input);
        }
    }

    pub fn split(&mut self, is_left: impl Fn(usize) -> bool) {
        for index in 0..self.peers.len() {
            self.peers[index].side = u8::from(is_left(index));
        }
        self.announce_members();
    }

    pub fn heal(&mut self) {
        self.split(|_| false);
    }
}

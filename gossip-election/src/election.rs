//! The machine: who leads, since when and why.

use std::collections::{BTreeMap, BTreeSet};

use gossip_api::{ChannelId, Checked, Height, Machine, Mono, Now, PkiId, Wakeup};
use rand_chacha::ChaCha8Rng;

use crate::config::{ElectionConfig, Mode};
use crate::rank::{Candidate, Order};
use crate::term::Terms;
use crate::watch::{SUSPECT_LEASES, Watch};
use crate::words::{Action, Claim, ClaimKind, Input, Leadership};

/// Decides whether this peer leads its organisation in one channel.
// fabric: gossip/election/election.go leaderElectionSvcImpl
// fabric-differs: the lowest id wins there; an attacker chooses its key, so here a hash decides that nobody
// can choose, and first of all who can serve what the others have.
#[derive(Debug)]
pub struct Election {
    channel: ChannelId,
    pub(crate) me: PkiId,
    pub(crate) config: Checked<ElectionConfig>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) phase: Phase,
    leadership: Leadership,
    pub(crate) members: BTreeSet<PkiId>,
    /// Who declared itself, its height, and when.
    pub(crate) leaders: BTreeMap<PkiId, Declared>,
    pub(crate) order: Order,
    pub(crate) terms: Terms,
    pub(crate) watch: Watch,
    /// First number of which nothing has arrived.
    pub(crate) arrived: Height,
    /// How far our own source has delivered, or what had arrived when we began to lead.
    pub(crate) delivered: Height,
    persisted: u64,
    last: Mono,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Declared {
    pub(crate) height: Height,
    pub(crate) heard_at: Mono,
    /// Since when it has been declaring a height far below what we have.
    pub(crate) lagging_since: Option<Mono>,
}

/// Phases exclude one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not told anything yet.
    New,
    /// Waits for the membership view to stop changing.
    Stabilizing {
        until: Mono,
        quiet_since: Mono,
    },
    /// Collects proposals; the best candidate leads at `until`.
    Proposing {
        until: Mono,
        rivals: BTreeMap<PkiId, Height>,
    },
    /// Leads until `lease_until`, unless it declares itself again before.
    Leading {
        declared_at: Mono,
        lease_until: Mono,
    },
    /// Follows whoever leads; does not propose before `not_before`.
    Following {
        not_before: Mono,
    },
    /// Named by configuration: no claims are made or heard.
    Named {
        leads: bool,
    },
    Stopped,
}

impl Election {
    /// Headers whose numbers are multiples of this are beacons, from which ranks are drawn.
    pub const BEACON_EVERY: u64 = 256;

    /// An election that has not decided yet: its first [`Input::Tick`] makes it.
    // fabric: gossip/election/election.go NewLeaderElectionService
    pub fn new(
        channel: ChannelId,
        me: PkiId,
        config: Checked<ElectionConfig>,
        rng: ChaCha8Rng,
        now: Now,
    ) -> Self {
        let leadership = Leadership {
            leader: None,
            is_own: false,
            term: 0,
            since: now.mono,
            why: "just started",
        };
        Self {
            order: Order::new(channel.clone()),
            channel,
            me,
            config,
            rng,
            phase: Phase::New,
            leadership,
            members: BTreeSet::new(),
            leaders: BTreeMap::new(),
            terms: Terms::new(now.mono),
            watch: Watch::new(now.mono),
            arrived: Height::default(),
            delivered: Height::default(),
            persisted: 0,
            last: now.mono,
        }
    }

    /// Whether this peer leads.
    // fabric: gossip/election/election.go IsLeader
    pub fn is_leader(&self) -> bool {
        matches!(self.phase, Phase::Leading { .. } | Phase::Named { leads: true })
    }

    /// Who leads, since when and why.
    pub const fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The channel.
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    pub(crate) const fn me(&self) -> Candidate {
        Candidate { peer: self.me, height: self.order.height() }
    }

    /// A lease that ran out comes before anything else: the process or the whole machine slept.
    fn check_lease(&mut self, now: Mono) -> Vec<Action> {
        if matches!(self.phase, Phase::Leading { lease_until, .. } if lease_until <= now) {
            return self.step_down(now, "its lease ran out while it could not renew it");
        }
        Vec::new()
    }

    fn forget_silent(&mut self, now: Mono) {
        let lease = self.config.lease;
        self.leaders.retain(|peer, leader| {
            let is_lagging = leader.lagging_since.is_some_and(|since| now.since(since) >= lease);
            leader.heard_at.after(lease) > now && !is_lagging && !self.order.is_suspect(peer, now)
        });
    }

    fn on_tick(&mut self, now: Mono) -> Vec<Action> {
        match &self.phase {
            Phase::New => self.begin(now),
            Phase::Stabilizing { until, quiet_since } => {
                let stable_at = quiet_since.after(self.config.stable_for).min(*until);
                if !self.leaders.is_empty() {
                    self.terms.settle(now);
                    self.follow(now, "a leader was there already")
                } else if stable_at <= now {
                    self.terms.settle(now);
                    self.propose(now, &[])
                } else {
                    Vec::new()
                }
            }
            Phase::Proposing { .. } if self.leaders.len() >= self.config.gateways => {
                self.follow(now, "another peer declared itself first")
            }
            Phase::Proposing { until, rivals } if *until <= now => {
                let rivals = rivals.clone();
                self.conclude(now, &rivals)
            }
            Phase::Leading { declared_at, .. }
                if declared_at.after(self.config.renew_every) <= now =>
            {
                self.declare(now)
            }
            Phase::Following { not_before }
                if self.leaders.len() < self.config.gateways && *not_before <= now =>
            {
                self.propose(now, &[])
            }
            Phase::Proposing { .. }
            | Phase::Leading { .. }
            | Phase::Following { .. }
            | Phase::Named { .. }
            | Phase::Stopped => Vec::new(),
        }
    }

    fn begin(&mut self, now: Mono) -> Vec<Action> {
        match self.config.mode {
            Mode::Static { leads: true } => {
                self.phase = Phase::Named { leads: true };
                self.lead(now, "named leader by peer.gossip.orgLeader")
            }
            Mode::Static { leads: false } | Mode::Nobody => {
                self.phase = Phase::Named { leads: false };
                self.leadership.why = "leaders are named, and this peer is not";
                Vec::new()
            }
            Mode::Dynamic => {
                let until = now.after(self.config.grace);
                self.phase = Phase::Stabilizing { until, quiet_since: now };
                Vec::new()
            }
        }
    }

    // fabric: gossip/election/election.go leaderElection
    pub(crate) fn propose(&mut self, now: Mono, rivals: &[Candidate]) -> Vec<Action> {
        let rivals = rivals.iter().map(|rival| (rival.peer, rival.height)).collect();
        self.phase = Phase::Proposing { until: now.after(self.config.propose_for), rivals };
        vec![Action::Say(self.claim(ClaimKind::Propose))]
    }

    /// The proposals are in: leads if too few are better.
    fn conclude(&mut self, now: Mono, rivals: &BTreeMap<PkiId, Height>) -> Vec<Action> {
        let rivals = rivals.iter().filter(|(peer, _)| self.members.contains(peer));
        let rivals = rivals.map(|(peer, height)| Candidate { peer: *peer, height: *height });
        let rivals: Vec<Candidate> = rivals.collect();
        let better = self.better_than_me(now, self.me(), &rivals);
        if better.saturating_add(self.leaders.len()) >= self.config.gateways {
            let actions = self.follow(now, "a better candidate proposed itself");
            let patience = self.config.propose_for.saturating_mul(4);
            self.phase = Phase::Following { not_before: now.after(patience) };
            return actions;
        }
        self.terms.take_over(now);
        self.watch.give_time(now);
        let mut actions = self.declare(now);
        actions.extend(self.lead(now, "elected: no better candidate is alive"));
        actions
    }

    pub(crate) fn declare(&mut self, now: Mono) -> Vec<Action> {
        let lease_until = now.after(self.config.lease);
        self.phase = Phase::Leading { declared_at: now, lease_until };
        vec![Action::Say(self.claim(ClaimKind::Declare))]
    }

    fn claim(&self, kind: ClaimKind) -> Claim {
        Claim { kind, term: self.terms.own(), height: self.order.height() }
    }

    fn lead(&mut self, now: Mono, why: &'static str) -> Vec<Action> {
        self.delivered = self.delivered.max(self.has_arrived());
        let term = self.terms.own();
        self.leadership = Leadership { leader: Some(self.me), is_own: true, term, since: now, why };
        vec![Action::Lead { why }]
    }

    // fabric: gossip/election/election.go stopBeingLeader
    pub(crate) fn step_down(&mut self, now: Mono, why: &'static str) -> Vec<Action> {
        let mut actions = self.follow(now, why);
        actions.push(Action::Say(self.claim(ClaimKind::Resign)));
        let patience = self.config.propose_for.saturating_mul(2);
        self.phase = Phase::Following { not_before: now.after(patience) };
        actions
    }

    pub(crate) fn follow(&mut self, now: Mono, why: &'static str) -> Vec<Action> {
        let was_leader = self.is_leader();
        self.phase = Phase::Following { not_before: now };
        if !was_leader {
            return Vec::new();
        }
        let term = self.terms.own();
        self.leadership = Leadership { leader: None, is_own: false, term, since: now, why };
        vec![Action::Follow { why }]
    }

    // fabric: gossip/election/election.go Yield
    pub(crate) fn on_yield(&mut self, now: Mono) -> Vec<Action> {
        if !matches!(self.phase, Phase::Leading { .. }) {
            return Vec::new();
        }
        let last_choice = self.config.lease.saturating_mul(SUSPECT_LEASES);
        self.order.suspect(self.me, now.after(last_choice));
        let actions = self.step_down(now, "it gets no blocks from the ordering service");
        let patience = if self.members.is_empty() { last_choice } else { self.config.lease };
        self.phase = Phase::Following { not_before: now.after(patience) };
        actions
    }

    // fabric: gossip/election/election.go Stop
    fn on_stop(&mut self, now: Mono) -> Vec<Action> {
        let was_elected = matches!(self.phase, Phase::Leading { .. });
        let mut actions = self.follow(now, "stopped");
        if was_elected {
            actions.push(Action::Say(self.claim(ClaimKind::Resign)));
        }
        self.phase = Phase::Stopped;
        actions
    }

    /// Keeps the visible leadership true while we follow.
    fn note_leader(&mut self, now: Mono) {
        if self.is_leader() || matches!(self.phase, Phase::Named { .. }) {
            return;
        }
        let leader = self.leaders.keys().next().copied();
        if leader != self.leadership.leader {
            let why = if leader.is_some() { "it declared itself" } else { "its lease ran out" };
            let term = self.terms.own();
            self.leadership = Leadership { leader, is_own: false, term, since: now, why };
        }
    }

    /// An adopted term is on disk before it is spoken.
    fn persist(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let term = self.terms.own();
        if term <= self.persisted {
            return actions;
        }
        self.persisted = term;
        std::iter::once(Action::Persist { term }).chain(actions).collect()
    }
}

impl Machine for Election {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        let now = now.mono;
        self.last = now;
        if self.phase == Phase::Stopped {
            return Vec::new();
        }
        self.order.forget(now);
        let mut actions = self.check_lease(now);
        match input {
            Input::Members { alive } => self.on_members(now, alive),
            Input::Heard { from, claim } => actions.extend(self.on_claim(now, from, claim)),
            Input::Height { height } => self.order.set_height(now, height),
            Input::Arrived { height } => self.arrived = height,
            Input::Delivered { height } => self.delivered = self.delivered.max(height),
            Input::Proved { height } => self.order.set_proved(height),
            Input::Beacon { number, hash } => self.order.beacon(number, hash),
            Input::Term { term } => {
                self.terms.restore(now, term);
                self.persisted = self.persisted.max(term);
            }
            Input::Yield => actions.extend(self.on_yield(now)),
            Input::Stop => {
                actions.extend(self.on_stop(now));
                return actions;
            }
            Input::Tick => {}
        }
        if !matches!(self.phase, Phase::Named { .. }) {
            self.forget_silent(now);
        }
        actions.extend(self.on_tick(now));
        if !matches!(self.phase, Phase::New | Phase::Named { .. }) {
            actions.extend(self.check_withholding(now));
            actions.extend(self.check_probe(now));
        }
        self.note_leader(now);
        self.persist(actions)
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        let lease = self.config.lease;
        let phase = match &self.phase {
            Phase::New => Some((self.last, "decide who leads")),
            Phase::Named { .. } | Phase::Stopped => return None,
            Phase::Stabilizing { until, quiet_since } => {
                let stable_at = quiet_since.after(self.config.stable_for).min(*until);
                Some((stable_at, "the membership has settled"))
            }
            Phase::Proposing { until, .. } => Some((*until, "the proposals are in")),
            Phase::Leading { declared_at, .. } => {
                Some((declared_at.after(self.config.renew_every), "renew the lease"))
            }
            Phase::Following { not_before } => {
                let silent = self.leaders.values().map(|leader| leader.heard_at.after(lease)).min();
                let lagging = self.leaders.values().filter_map(|leader| leader.lagging_since);
                let lagging = lagging.map(|since| since.after(lease)).min();
                let few = self.leaders.len() < self.config.gateways;
                let doubts = [silent, lagging, few.then_some(*not_before)];
                doubts.into_iter().flatten().min().map(|at| (at, "the leader's lease runs out"))
            }
        };
        let is_follower = matches!(self.phase, Phase::Following { .. });
        let probe = is_follower.then_some((self.watch.probe_at, "is the channel quiet"));
        let withheld = self.watch.suspicious_at(self.patience());
        let withheld = withheld.map(|at| (at, "proved blocks do not arrive"));
        let earliest = [phase, probe, withheld].into_iter().flatten().min_by_key(|(at, _)| *at);
        earliest.map(|(at, why)| Wakeup { at: at.max(self.last), why })
    }
}

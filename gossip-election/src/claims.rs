//! What peers hear from each other.

use std::collections::BTreeSet;

use gossip_api::{Height, Mono, PkiId};

use crate::election::{Declared, Election, Phase};
use crate::rank::Candidate;
use crate::words::{Action, Claim, ClaimKind};

impl Election {
    pub(crate) fn on_members(&mut self, now: Mono, alive: Vec<PkiId>) {
        let alive: BTreeSet<PkiId> = alive.into_iter().filter(|peer| *peer != self.me).collect();
        if let Phase::Stabilizing { quiet_since, .. } = &mut self.phase
            && alive != self.members
        {
            *quiet_since = now;
        }
        self.leaders.retain(|peer, _| alive.contains(peer));
        self.terms.retain(|peer| alive.contains(peer));
        self.members = alive;
    }

    // fabric: gossip/election/election.go handleMessage
    pub(crate) fn on_claim(&mut self, now: Mono, from: PkiId, claim: Claim) -> Vec<Action> {
        let is_heard = !matches!(self.phase, Phase::New | Phase::Named { .. } | Phase::Stopped);
        let is_possible = self.terms.accepts(now, claim.term, self.config.lease);
        if !is_heard || !self.members.contains(&from) || !is_possible {
            return Vec::new();
        }
        self.terms.heard(now, from, claim.term);
        let height = self.order.believable(claim.height);
        match claim.kind {
            ClaimKind::Propose => self.on_proposal(now, Candidate { peer: from, height }),
            ClaimKind::Declare => self.on_declaration(now, from, height),
            ClaimKind::Resign => {
                self.leaders.remove(&from);
                if let Phase::Following { not_before } = &mut self.phase {
                    *not_before = now;
                }
                Vec::new()
            }
        }
    }

    /// A leader answers a proposal by declaring itself, unless it is far behind the candidate. Who has
    /// no leader joins, so that all candidates are compared.
    pub(crate) fn on_proposal(&mut self, now: Mono, rival: Candidate) -> Vec<Action> {
        let is_behind = self.order.is_lower_class(self.order.height(), rival.height);
        match &mut self.phase {
            Phase::Leading { .. } if is_behind => self.step_down(now, "another peer is far ahead"),
            Phase::Leading { declared_at, .. } if now.since(*declared_at) >= DECLARE_GAP => {
                self.declare(now)
            }
            Phase::Proposing { rivals, .. } => {
                rivals.insert(rival.peer, rival.height);
                Vec::new()
            }
            Phase::Following { not_before } if self.leaders.len() < self.config.gateways => {
                let may_propose = *not_before <= now;
                if may_propose { self.propose(now, &[rival]) } else { Vec::new() }
            }
            Phase::Stabilizing { .. } => {
                self.terms.settle(now);
                self.propose(now, &[rival])
            }
            Phase::Leading { .. }
            | Phase::Following { .. }
            | Phase::New
            | Phase::Named { .. }
            | Phase::Stopped => Vec::new(),
        }
    }

    pub(crate) fn on_declaration(&mut self, now: Mono, from: PkiId, height: Height) -> Vec<Action> {
        let is_lagging = self.order.is_lower_class(height, self.order.height());
        let before = self.leaders.get(&from).and_then(|leader| leader.lagging_since);
        let lagging_since = is_lagging.then(|| before.unwrap_or(now));
        self.leaders.insert(from, Declared { height, heard_at: now, lagging_since });
        let Phase::Leading { declared_at, .. } = self.phase else { return Vec::new() };
        if self.better_leaders(now) >= self.config.gateways {
            return self.step_down(now, "a better leader declared itself");
        }
        if now.since(declared_at) >= DECLARE_GAP { self.declare(now) } else { Vec::new() }
    }

    /// How many live leaders are better than we are.
    pub(crate) fn better_leaders(&self, now: Mono) -> usize {
        let me = self.me();
        let others = self.leaders.iter();
        let others = others.map(|(peer, leader)| Candidate { peer: *peer, height: leader.height });
        let others: Vec<Candidate> = others.collect();
        self.better_than_me(now, me, &others)
    }

    pub(crate) fn better_than_me(&self, now: Mono, me: Candidate, others: &[Candidate]) -> usize {
        let best = others.iter().map(|other| other.height).fold(me.height, Height::max);
        others.iter().filter(|other| self.order.is_better(**other, me, best, now)).count()
    }
}

/// A declaration is not repeated sooner than this, however many claims provoke it.
const DECLARE_GAP: std::time::Duration = std::time::Duration::from_millis(50);

//! The machine: leads or follows, since when and why.

use gossip_api::{ChannelId, Checked, Machine, Mono, Now, PkiId, Wakeup};
use rand_chacha::ChaCha8Rng;

use crate::config::{ElectionConfig, Mode};

/// A fact for [`Election`].
#[derive(Clone, Debug)]
pub enum Input {
    /// The peer is being stopped.
    Stop,
    /// Time has passed; also the first thing a new election is told.
    Tick,
}

/// What [`Election`] asks its parent to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Pull blocks from the ordering service.
    Lead {
        /// Why we lead now, in a few words.
        why: &'static str,
    },
    /// Do not pull.
    Follow {
        /// Why we do not lead any more, in a few words.
        why: &'static str,
    },
}

/// Who leads as far as we know, since when, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, if one is known.
    pub leader: Option<PkiId>,
    /// Whether it is us.
    pub is_own: bool,
    /// Since when.
    pub since: Mono,
    /// Why, in a few words.
    pub why: &'static str,
}

/// Decides whether this peer leads its organisation in one channel.
// fabric: gossip/election/election.go leaderElectionSvcImpl
#[derive(Debug)]
pub struct Election {
    channel: ChannelId,
    me: PkiId,
    config: Checked<ElectionConfig>,
    #[allow(dead_code, reason = "an election among live candidates draws its waits from it")]
    rng: ChaCha8Rng,
    phase: Phase,
    leadership: Leadership,
}

/// Phases exclude one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not told anything yet.
    New,
    Leading,
    Following,
    Stopped,
}

impl Election {
    /// An election that has not decided yet: its first [`Input::Tick`] makes it.
    pub fn new(
        channel: ChannelId,
        me: PkiId,
        config: Checked<ElectionConfig>,
        rng: ChaCha8Rng,
        now: Now,
    ) -> Self {
        let leadership =
            Leadership { leader: None, is_own: false, since: now.mono, why: "just started" };
        Self { channel, me, config, rng, phase: Phase::New, leadership }
    }

    /// Whether this peer leads.
    // fabric: gossip/election/election.go IsLeader
    pub fn is_leader(&self) -> bool {
        self.phase == Phase::Leading
    }

    /// Who leads, since when and why.
    pub const fn leadership(&self) -> &Leadership {
        &self.leadership
    }

    /// The channel.
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    fn on_tick(&mut self, now: Mono) -> Vec<Action> {
        if self.phase != Phase::New {
            return Vec::new();
        }
        match self.config.mode {
            Mode::Static { leads: true } => self.lead(now, "named leader by peer.gossip.orgLeader"),
            Mode::Static { leads: false } => self.follow(now, "not named leader"),
            Mode::Nobody => self.follow(now, "nobody leads"),
        }
    }

    fn on_stop(&mut self, now: Mono) -> Vec<Action> {
        let actions = if self.is_leader() { self.follow(now, "stopped") } else { Vec::new() };
        self.phase = Phase::Stopped;
        actions
    }

    fn lead(&mut self, now: Mono, why: &'static str) -> Vec<Action> {
        self.phase = Phase::Leading;
        self.leadership = Leadership { leader: Some(self.me), is_own: true, since: now, why };
        vec![Action::Lead { why }]
    }

    fn follow(&mut self, now: Mono, why: &'static str) -> Vec<Action> {
        let was_leader = self.is_leader();
        self.phase = Phase::Following;
        self.leadership = Leadership { leader: None, is_own: false, since: now, why };
        if was_leader { vec![Action::Follow { why }] } else { Vec::new() }
    }
}

impl Machine for Election {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        match input {
            Input::Stop => self.on_stop(now.mono),
            Input::Tick => self.on_tick(now.mono),
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        None
    }
}

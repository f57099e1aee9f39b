//! The machine: what happens to a block between its arrival and the ledger.

use std::time::Duration;

use gossip_api::{
    Block, BlockHash, ChannelId, Checked, Height, Machine, Mono, Now, PkiId, SeqNum, Wakeup,
};
use rand_chacha::ChaCha8Rng;

use crate::catchup::Catchup;
use crate::commit::{Commits, Phase};
use crate::config::StateConfig;
use crate::conflict::Conflicts;
use crate::mend::Mending;
use crate::payloads::{Payloads, Slot, Stage};
use crate::sources::Sources;
use crate::stall::StalledReason;
use crate::stats::Stats;
use crate::words::{Action, Input, RequestOutcome};

/// Ordered delivery to the ledger and state transfer of one channel.
// fabric: gossip/state/state.go GossipStateProviderImpl
#[derive(Debug)]
pub struct StateTransfer {
    pub(crate) channel: ChannelId,
    pub(crate) config: Checked<StateConfig>,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) payloads: Payloads,
    pub(crate) sources: Sources,
    pub(crate) catchup: Catchup,
    pub(crate) commits: Commits,
    pub(crate) conflicts: Conflicts,
    pub(crate) mending: Mending,
    pub(crate) started: bool,
    /// Header hash of the ledger's last block.
    pub(crate) tip: Option<BlockHash>,
    /// What a header proved.
    pub(crate) proved: Height,
    /// Configurations committed since the start; what is verified under an older one is verified again.
    pub(crate) generation: u64,
    /// Next number that our own stream will bring, once it has brought one.
    pub(crate) source_next: Option<SeqNum>,
    pub(crate) largest_block: usize,
    pub(crate) stats: Stats,
    /// When the machine last did anything: deadlines up to here were looked at.
    pub(crate) last: Mono,
    /// When the height or the next missing number last moved.
    pub(crate) moved_at: Mono,
}

impl StateTransfer {
    /// A state transfer that waits for [`Input::Started`].
    // fabric: gossip/state/state.go NewGossipStateProvider
    pub fn new(channel: ChannelId, config: Checked<StateConfig>, rng: ChaCha8Rng) -> Self {
        Self {
            channel,
            rng,
            payloads: Payloads::new(Height::default(), config.window_blocks, config.budget_bytes),
            sources: Sources::new(config.penalty, config.penalty_max, config.requests_per_source),
            catchup: Catchup::default(),
            commits: Commits::new(config.commit_retry, config.commit_retry_max),
            conflicts: Conflicts::default(),
            mending: Mending::default(),
            started: false,
            tip: None,
            proved: Height::default(),
            generation: 0,
            source_next: None,
            largest_block: 0,
            stats: Stats::default(),
            last: Mono::ZERO,
            moved_at: Mono::ZERO,
            config,
        }
    }

    /// Whether a block with this number would be taken. Asked before any cryptography.
    pub fn wants(&self, number: SeqNum) -> bool {
        let is_missing = self.payloads.wants(number) || self.mending.awaits(number);
        self.started && self.conflicts.halted().is_none() && is_missing
    }

    /// Whether a block that is not wanted contradicts one that we have, so that it should be offered all
    /// the same.
    pub fn is_conflict(&self, block: &Block) -> bool {
        let kept = self.believed_hash(block.number);
        kept.is_some_and(|kept| self.conflicts.is_suspect(block, kept))
    }

    /// The ledger's height.
    pub const fn height(&self) -> Height {
        self.payloads.height()
    }

    /// The lowest number that is neither in the ledger nor in the window.
    // fabric: gossip/state/payloads_buffer.go Next
    pub fn next_missing(&self) -> SeqNum {
        self.payloads.next_missing()
    }

    /// Whether a block of this number waits for the ledger and was found valid.
    pub fn holds(&self, number: SeqNum) -> bool {
        self.payloads.get(number).is_some_and(Slot::is_verified)
    }

    /// Whether our own stream may be read one block further: back-pressure.
    // fabric: gossip/state/state.go addPayload
    pub fn room(&self) -> bool {
        let height = self.height().next_block();
        let next = self.source_next.map_or(height, |next| next.max(height));
        let is_next = next == height;
        let fits = self.payloads.fits(self.largest_block, self.catchup.reserved());
        self.started
            && self.conflicts.halted().is_none()
            && next < self.payloads.window_end()
            && (is_next || fits)
    }

    /// Whether a block of this number and length, handed in by the host, would be taken without making
    /// another one go.
    // fabric: gossip/state/state.go addPayload
    pub fn room_for(&self, number: SeqNum, len: usize) -> bool {
        let is_next = number == self.height().next_block();
        self.wants(number) && (is_next || self.payloads.fits(len, self.catchup.reserved()))
    }

    /// Numbers for metrics and status.
    pub fn stats(&self) -> Stats {
        Stats {
            height: self.height(),
            buffered_blocks: self.payloads.len(),
            buffered_bytes: self.payloads.bytes(),
            requests_in_flight: self.catchup.len(),
            damaged: self.mending.len(),
            ..self.stats.clone()
        }
    }

    /// The channel.
    pub const fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The number at which a conflict stopped the channel, until the operator decides.
    pub const fn halted(&self) -> Option<SeqNum> {
        self.conflicts.halted()
    }

    /// What the channel waits for, if it does not move although it should.
    pub fn stalled_reason(&self, now: Now) -> Option<StalledReason> {
        if !self.started {
            return Some(StalledReason::NotStarted);
        }
        if let Some(number) = self.conflicts.halted() {
            return Some(StalledReason::Halted { number });
        }
        self.stalled_by_ledger(now.mono).or_else(|| self.stalled_by_sources(now.mono))
    }

    fn stalled_by_ledger(&self, now: Mono) -> Option<StalledReason> {
        match self.commits.phase() {
            Phase::Waiting { until, reason } => Some(StalledReason::LedgerFails {
                number: self.height().next_block(),
                reason: reason.clone(),
                retry_in: until.since(now),
            }),
            Phase::InFlight { since, through } if now.since(*since) > SLOW_AFTER => {
                Some(StalledReason::LedgerSlow { number: *through, since: now.since(*since) })
            }
            Phase::InFlight { .. } | Phase::Idle => None,
        }
    }

    fn on_started(&mut self, now: Mono, height: Height, tip: Option<BlockHash>) {
        self.started = true;
        self.tip = tip;
        self.moved_at = now;
        if height < self.height() {
            self.payloads.retreat(height);
            self.source_next = None;
            self.commits.succeeded();
        } else {
            let _ = self.payloads.advance(height);
        }
    }

    fn on_committed(&mut self, now: Mono, height: Height) -> Vec<Action> {
        self.commits.succeeded();
        if height <= self.height() {
            return self.uncommit();
        }
        let mut is_configured = false;
        for slot in self.payloads.advance(height) {
            is_configured |= slot.is_config;
            self.stats.committed.count(&slot.origin);
            self.conflicts.committed(slot.block.number, slot.hash, slot.is_config);
            self.tip = (slot.block.number.height() == height).then_some(slot.hash);
        }
        self.uncommit();
        self.catchup.lift();
        self.moved_at = now;
        let mut actions = vec![Action::Announce { height }];
        if is_configured {
            self.generation = self.generation.saturating_add(1);
            self.hold_verified();
        }
        actions.extend(self.verify_next());
        actions
    }

    /// What the ledger did not take after all is simply verified.
    fn uncommit(&mut self) -> Vec<Action> {
        for (_, slot) in self.payloads.iter_mut() {
            if slot.stage == Stage::Committing {
                slot.stage = Stage::Verified;
            }
        }
        Vec::new()
    }

    /// Another configuration is in force: what was verified under the last one has to be again.
    fn hold_verified(&mut self) {
        for (_, slot) in self.payloads.iter_mut() {
            if slot.stage == Stage::Verified {
                slot.stage = Stage::Held;
            }
        }
    }

    fn on_commit_failed(&mut self, now: Mono, reason: String) -> Vec<Action> {
        self.commits.failed(now, reason);
        self.uncommit()
    }

    /// Begins the next commit if the ledger is free.
    // fabric: gossip/state/state.go deliverPayloads
    fn commit_next(&mut self, now: Mono) -> Option<Action> {
        if self.conflicts.halted().is_some() || !self.commits.may_begin(now) {
            return None;
        }
        let run = self.payloads.ready(self.config.commit_blocks, self.config.commit_bytes);
        let through = *run.last()?;
        let mut blocks = Vec::with_capacity(run.len());
        let mut origins = Vec::with_capacity(run.len());
        for number in run {
            if let Some(slot) = self.payloads.get_mut(number) {
                slot.stage = Stage::Committing;
                blocks.push(slot.block.clone());
                origins.push(slot.origin);
            }
        }
        self.commits.began(now, through);
        Some(Action::Commit { blocks, origins })
    }

    fn on_peer_gone(&mut self, peer: &PkiId) -> Vec<Action> {
        self.sources.gone(peer);
        Vec::new()
    }

    fn on_request_ended(&mut self, now: Mono, id: u64, outcome: RequestOutcome) -> Vec<Action> {
        self.request_ended(now, id, outcome);
        Vec::new()
    }
}

impl Machine for StateTransfer {
    type Input = Input;
    type Action = Action;

    fn handle(&mut self, now: Now, input: Input) -> Vec<Action> {
        let now = now.mono;
        self.last = now;
        let missing = self.next_missing();
        let mut actions = match input {
            Input::Started { height, tip } => {
                self.on_started(now, height, tip);
                vec![Action::Announce { height }]
            }
            Input::Offered { block, origin, is_config } => {
                self.on_offered(now, Slot::new(block, origin, is_config))
            }
            Input::Verified { block, origin } => self.on_verified(now, &block, origin),
            Input::Refused { number, origin, error } => self.on_refused(now, number, origin, error),
            Input::Header { header } => self.on_header(header),
            Input::Sighted { header, origin } => {
                self.on_sighted(header, origin).unwrap_or_default()
            }
            Input::Judged { number, origin, then, now: presently } => {
                self.on_judged(now, (number, origin), then, presently.is_ok())
            }
            Input::PeerHeight { peer, height, own_org } => {
                self.sources.claim(peer, height, own_org);
                Vec::new()
            }
            Input::PeerGone { peer } => self.on_peer_gone(&peer),
            Input::RequestEnded { id, outcome } => self.on_request_ended(now, id, outcome),
            Input::Committed { height } => self.on_committed(now, height),
            Input::CommitFailed { reason } => self.on_commit_failed(now, reason),
            Input::Damaged { number, hash } => self.on_damaged(number, hash),
            Input::Mended { number, done } => self.on_mended(now, number, done),
            Input::Halted { number, kept } => {
                self.conflicts.halt(number, kept);
                Vec::new()
            }
            Input::Resume { accept } => self.on_resume(accept),
            Input::Tick => Vec::new(),
        };
        if self.started {
            actions.extend(self.commit_next(now));
            self.note_progress(now, missing);
            actions.extend(self.plan(now));
        }
        self.stats.buffered_bytes_max = self.stats.buffered_bytes_max.max(self.payloads.bytes());
        crate::invariants::check(self);
        actions
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        self.deadlines()
            .into_iter()
            .filter(|(_, at)| *at > self.last)
            .min_by_key(|(_, at)| *at)
            .map(|(deadline, at)| Wakeup { at, why: deadline.why() })
    }
}

/// A commit takes milliseconds; one that takes this long is worth a word.
const SLOW_AFTER: Duration = Duration::from_secs(5);

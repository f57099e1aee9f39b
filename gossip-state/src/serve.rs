//! Answering others' range requests, block by block.

use std::collections::{BTreeMap, VecDeque};

use gossip_api::message::{StateRequest, StateResponse};
use gossip_api::{
    Block, ChannelId, Checked, Height, Machine, Message, Mono, Nonce, Now, PkiId, SeqNum, Wakeup,
};

use crate::config::ServeConfig;

/// A fact for [`Server`].
#[derive(Clone, Debug)]
pub enum ServeInput {
    /// A peer that may read the channel asks for a range.
    Asked {
        /// Who.
        from: PkiId,
        /// Names the exchange.
        inbound: u64,
        /// What it asks for.
        request: StateRequest,
        /// Our ledger's height.
        height: Height,
    },
    /// Answers [`ServeAction::Read`].
    Read {
        /// As in the action.
        inbound: u64,
        /// The block; nothing if the ledger has none or cannot be read.
        block: Option<Block>,
    },
    /// Who asked may no longer have the blocks.
    Withdrawn {
        /// Names the exchange.
        inbound: u64,
    },
    /// A peer is gone: whatever it asked for is void.
    Gone {
        /// Who.
        from: PkiId,
    },
    /// A deadline that `next_wakeup` reported has passed.
    Tick,
}

/// What [`Server`] asks its parent to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "most of them are responses, and they live briefly")]
pub enum ServeAction {
    /// Read a block; answer with [`ServeInput::Read`]. One in flight per exchange.
    Read {
        /// Names the exchange.
        inbound: u64,
        /// Which block.
        number: SeqNum,
    },
    /// Send one part of an answer.
    Respond {
        /// Names the exchange.
        inbound: u64,
        /// Who asked.
        to: PkiId,
        /// The part.
        message: Message,
    },
    /// The answer is complete.
    End {
        /// Names the exchange.
        inbound: u64,
    },
    /// The request was not served; an [`End`](Self::End) follows.
    Drop {
        /// Who asked.
        from: PkiId,
        /// Why not.
        reason: ServeDrop,
    },
}

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeDrop {
    /// It is for another channel.
    WrongChannel,
    /// Its end lies before its beginning; honest peers do not ask so.
    Reversed,
    /// It begins above our height.
    AboveHeight,
    /// Its author is being served in as many exchanges as it may have.
    PeerBusy,
    /// Too many requests wait.
    Busy,
    /// The ledger did not give the block.
    Unreadable,
}

impl ServeDrop {
    /// Label of drop counters.
    pub const fn label(self) -> &'static str {
        match self {
            Self::WrongChannel => "wrong_channel",
            Self::Reversed => "reversed",
            Self::AboveHeight => "above_height",
            Self::PeerBusy => "peer_busy",
            Self::Busy => "busy",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A look at the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServeStats {
    /// Requests being served.
    pub active: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Blocks served since the start.
    pub blocks: u64,
    /// Bytes of blocks served since the start.
    pub bytes: u64,
    /// Requests not served since the start.
    pub dropped: u64,
}

/// Serves ranges of one channel's ledger, bounded per requester and in total.
// fabric: gossip/state/state.go handleStateRequest
#[derive(Debug)]
pub struct Server {
    channel: ChannelId,
    config: Checked<ServeConfig>,
    active: BTreeMap<u64, Job>,
    waiting: VecDeque<(u64, Job)>,
    stats: ServeStats,
}

#[derive(Debug)]
struct Job {
    from: PkiId,
    nonce: Nonce,
    next: SeqNum,
    to: SeqNum,
    bytes_left: u64,
    is_first: bool,
    read_by: Mono,
}

impl Server {
    /// A server of one channel.
    pub const fn new(channel: ChannelId, config: Checked<ServeConfig>) -> Self {
        let stats = ServeStats { active: 0, waiting: 0, blocks: 0, bytes: 0, dropped: 0 };
        Self { channel, config, active: BTreeMap::new(), waiting: VecDeque::new(), stats }
    }

    /// Numbers for metrics and status.
    pub fn stats(&self) -> ServeStats {
        ServeStats { active: self.active.len(), waiting: self.waiting.len(), ..self.stats }
    }

    fn on_asked(
        &mut self,
        now: Mono,
        from: PkiId,
        inbound: u64,
        request: &StateRequest,
        height: Height,
    ) -> Vec<ServeAction> {
        if let Some(reason) = self.objection(from, request, height) {
            return self.refuse(from, inbound, reason);
        }
        let job = Job {
            from,
            nonce: request.nonce,
            next: request.from,
            to: request.to.min(height.last_block().unwrap_or_default()),
            bytes_left: request.bytes_max.min(self.config.bytes_max),
            is_first: true,
            read_by: now,
        };
        if self.active.len() >= self.config.active_max {
            self.waiting.push_back((inbound, job));
            return Vec::new();
        }
        vec![self.start(now, inbound, job)]
    }

    // fabric: gossip/state/state.go stateRequestValidator
    fn objection(&self, from: PkiId, request: &StateRequest, height: Height) -> Option<ServeDrop> {
        let active = self.active.values().filter(|job| job.from == from).count();
        let waiting = self.waiting.iter().filter(|(_, job)| job.from == from).count();
        let is_full = self.active.len() >= self.config.active_max;
        if request.channel != self.channel {
            Some(ServeDrop::WrongChannel)
        } else if request.to < request.from {
            Some(ServeDrop::Reversed)
        } else if request.from >= height.next_block() {
            Some(ServeDrop::AboveHeight)
        } else if active.saturating_add(waiting) >= self.config.per_peer {
            Some(ServeDrop::PeerBusy)
        } else if is_full && self.waiting.len() >= self.config.waiting_max {
            Some(ServeDrop::Busy)
        } else {
            None
        }
    }

    fn refuse(&mut self, from: PkiId, inbound: u64, reason: ServeDrop) -> Vec<ServeAction> {
        self.stats.dropped = self.stats.dropped.saturating_add(1);
        vec![ServeAction::Drop { from, reason }, ServeAction::End { inbound }]
    }

    fn start(&mut self, now: Mono, inbound: u64, job: Job) -> ServeAction {
        let number = job.next;
        let read_by = now.after(self.config.read_patience);
        self.active.insert(inbound, Job { read_by, ..job });
        ServeAction::Read { inbound, number }
    }

    fn on_read(&mut self, now: Mono, inbound: u64, block: Option<Block>) -> Vec<ServeAction> {
        let read_patience = self.config.read_patience;
        let Some(job) = self.active.get_mut(&inbound) else { return Vec::new() };
        let Some(block) = block.filter(|block| block.number == job.next) else {
            let from = job.from;
            let mut actions = vec![ServeAction::Drop { from, reason: ServeDrop::Unreadable }];
            self.stats.dropped = self.stats.dropped.saturating_add(1);
            actions.extend(self.end(now, inbound));
            return actions;
        };
        let len = block.len() as u64;
        if !job.is_first && len > job.bytes_left {
            return self.end(now, inbound);
        }
        job.bytes_left = job.bytes_left.saturating_sub(len);
        job.is_first = false;
        let is_last = job.next >= job.to || job.bytes_left == 0;
        job.next = job.next.next();
        job.read_by = now.after(read_patience);
        let (to, nonce, number) = (job.from, job.nonce, job.next);
        self.stats.blocks = self.stats.blocks.saturating_add(1);
        self.stats.bytes = self.stats.bytes.saturating_add(len);
        let response = StateResponse { nonce, channel: self.channel.clone(), block };
        let message = Message::StateResponse(response);
        let mut actions = vec![ServeAction::Respond { inbound, to, message }];
        if is_last {
            actions.extend(self.end(now, inbound));
        } else {
            actions.push(ServeAction::Read { inbound, number });
        }
        actions
    }

    /// Ends an exchange; the next one in the queue takes its place.
    fn end(&mut self, now: Mono, inbound: u64) -> Vec<ServeAction> {
        let mut actions = Vec::new();
        if self.active.remove(&inbound).is_some() {
            actions.push(ServeAction::End { inbound });
        }
        actions.extend(self.start_waiting(now));
        actions
    }

    fn start_waiting(&mut self, now: Mono) -> Vec<ServeAction> {
        let mut actions = Vec::new();
        while self.active.len() < self.config.active_max {
            let Some((inbound, job)) = self.waiting.pop_front() else { break };
            actions.push(self.start(now, inbound, job));
        }
        actions
    }

    fn on_gone(&mut self, now: Mono, from: PkiId) -> Vec<ServeAction> {
        self.waiting.retain(|(_, job)| job.from != from);
        self.active.retain(|_, job| job.from != from);
        self.start_waiting(now)
    }

    fn on_tick(&mut self, now: Mono) -> Vec<ServeAction> {
        let late = self.active.iter().filter(|(_, job)| job.read_by <= now);
        let late: Vec<u64> = late.map(|(inbound, _)| *inbound).collect();
        late.into_iter().flat_map(|inbound| self.end(now, inbound)).collect()
    }
}

impl Machine for Server {
    type Input = ServeInput;
    type Action = ServeAction;

    fn handle(&mut self, now: Now, input: ServeInput) -> Vec<ServeAction> {
        let now = now.mono;
        match input {
            ServeInput::Asked { from, inbound, request, height } => {
                self.on_asked(now, from, inbound, &request, height)
            }
            ServeInput::Read { inbound, block } => self.on_read(now, inbound, block),
            ServeInput::Withdrawn { inbound } => self.end(now, inbound),
            ServeInput::Gone { from } => self.on_gone(now, from),
            ServeInput::Tick => self.on_tick(now),
        }
    }

    fn next_wakeup(&self) -> Option<Wakeup> {
        let at = self.active.values().map(|job| job.read_by).min()?;
        Some(Wakeup { at, why: "give up a request that the ledger does not answer" })
    }
}

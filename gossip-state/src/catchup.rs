//! Whatever is missing is asked for: ranges in flight, and which to ask for next.

use std::collections::BTreeMap;

use gossip_api::{Mono, PkiId, RemotePeer, SeqNum};

use crate::config::StateConfig;
use crate::payloads::Slot;
use crate::stall::StalledReason;
use crate::transfer::StateTransfer;
use crate::words::{Action, BlockOrigin, DropReason, RequestOutcome};

/// Range requests in flight.
#[derive(Debug, Default)]
pub(crate) struct Catchup {
    active: BTreeMap<u64, Range>,
    last_id: u64,
    /// Average length of a block, for guessing how many fit into a range.
    block_len: Option<u64>,
    /// Since when blocks have been missing of which no usable peer has claimed to have them.
    unusable_since: Option<Mono>,
    /// Since when the next number has been missing.
    gap_since: Option<Mono>,
    /// Whether our parent was asked for an own stream.
    source_wanted: bool,
    /// A number that did not verify because a configuration is missing below it: not asked for again
    /// before something was committed.
    ceiling: Option<SeqNum>,
}

/// One request in flight.
#[derive(Debug)]
struct Range {
    peer: RemotePeer,
    from: SeqNum,
    /// Lowest number that may still come.
    next: SeqNum,
    through: SeqNum,
    bytes_max: u64,
    bytes: u64,
    began: Mono,
    /// When its last part came.
    progress: Mono,
    /// Whether others are asked for the rest of it.
    given_up: bool,
}

impl Range {
    fn covers(&self, number: SeqNum) -> bool {
        !self.given_up && self.next <= number && number <= self.through
    }
}

/// Why the machine wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    /// The ledger is asked again.
    CommitRetry,
    /// A small gap at the tip has lasted long enough.
    TipGap,
    /// The next block has been awaited from one source for long.
    Hedge,
    /// A source takes too long for its range.
    Overdue,
    /// A source that failed may be asked again.
    Unblocked,
    /// No peer has what is missing: the ordering service is asked.
    Source,
    /// A damaged block is asked for again.
    Mend,
}

impl Deadline {
    pub(crate) const fn why(self) -> &'static str {
        match self {
            Self::CommitRetry => "retry the commit",
            Self::TipGap => "ask for blocks missing at the tip",
            Self::Hedge => "ask a second source for the next block",
            Self::Overdue => "give up a slow source",
            Self::Unblocked => "ask a failed source again",
            Self::Source => "ask the ordering service",
            Self::Mend => "ask for a damaged block again",
        }
    }
}

impl Catchup {
    pub(crate) fn len(&self) -> usize {
        self.active.len()
    }

    /// Bytes promised to answers that have not come.
    pub(crate) fn reserved(&self) -> usize {
        let open = self.active.values().filter(|range| !range.given_up);
        let bytes: u64 = open.map(|range| range.bytes_max.saturating_sub(range.bytes)).sum();
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn note_size(&mut self, len: usize) {
        let len = len as u64;
        self.block_len = Some(self.block_len.map_or(len, |old| old - old / 8 + len / 8));
    }

    /// Nothing from `number` on is asked for until [`lift`](Self::lift).
    pub(crate) fn cap(&mut self, number: SeqNum) {
        self.ceiling = Some(self.ceiling.map_or(number, |old| old.min(number)));
    }

    pub(crate) const fn lift(&mut self) {
        self.ceiling = None;
    }

    fn covering(&self, number: SeqNum) -> impl Iterator<Item = &Range> {
        self.active.values().filter(move |range| range.covers(number))
    }

    /// How many blocks are worth asking for at once.
    fn blocks_per_range(&self, config: &StateConfig) -> u64 {
        let fit = self.block_len.map_or(config.range_blocks, |len| config.range_bytes / len.max(1));
        fit.clamp(1, config.range_blocks)
    }
}

impl StateTransfer {
    /// Matches a part of an answer with its request. An error is a part that is not to be looked at.
    pub(crate) fn note_part(&mut self, now: Mono, slot: &Slot) -> Result<(), Vec<Action>> {
        let number = slot.block.number;
        let BlockOrigin::Range { from, request } = slot.origin else { return Ok(()) };
        let Some(range) = self.catchup.active.get_mut(&request) else { return Ok(()) };
        let is_asked = range.peer.pki_id == from && range.next <= number && number <= range.through;
        if !is_asked {
            let drop = self.drop(number, slot.origin, DropReason::NotAsked);
            return Err(vec![drop, self.blame(now, from, "range_not_asked")]);
        }
        range.next = number.next();
        range.bytes = range.bytes.saturating_add(slot.block.len() as u64);
        range.progress = now;
        Ok(())
    }

    // fabric: gossip/state/state.go handleStateResponse
    pub(crate) fn request_ended(&mut self, now: Mono, id: u64, outcome: RequestOutcome) {
        self.mending.request_ended(id);
        let Some(range) = self.catchup.active.remove(&id) else { return };
        let peer = range.peer.pki_id;
        self.sources.ended(&peer);
        let is_empty = range.next == range.from;
        match outcome {
            RequestOutcome::Complete if !is_empty => {
                self.sources.delivered(&peer, range.bytes, now.since(range.began));
            }
            RequestOutcome::Complete => {
                self.sources.empty_handed(&peer, range.from, now);
            }
            RequestOutcome::TimedOut | RequestOutcome::Broken | RequestOutcome::Refused => {
                self.sources.failed(&peer, now);
            }
        }
    }

    /// Restarts the clocks that measure how long the next block has been missing.
    pub(crate) fn note_progress(&mut self, now: Mono, missing_before: SeqNum) {
        let missing = self.next_missing();
        if missing != missing_before {
            self.moved_at = now;
            self.catchup.gap_since = None;
        }
        if missing >= self.fetch_limit() {
            self.catchup.gap_since = None;
        } else if self.catchup.gap_since.is_none() {
            self.catchup.gap_since = Some(now);
        }
    }

    /// First number that nobody claims to have or that the window does not reach.
    fn fetch_limit(&self) -> SeqNum {
        let claimed = self.sources.highest_claim().next_block();
        let proved = self.payloads.last().unwrap_or_default();
        let ceiling = self.catchup.ceiling.unwrap_or_else(|| self.payloads.window_end());
        claimed.max(proved).min(self.payloads.window_end()).min(ceiling)
    }

    /// Whether the height is below what there is reason to believe.
    fn is_behind(&self) -> bool {
        let held = self.payloads.last().unwrap_or_default();
        let proved = held.max(self.proved.next_block());
        self.next_missing() < proved.max(self.sources.credible_claim().next_block())
    }

    /// Asks for whatever may be asked for now.
    // fabric: gossip/state/state.go antiEntropy
    pub(crate) fn plan(&mut self, now: Mono) -> Vec<Action> {
        let mut actions: Vec<Action> = self.plan_source(now).into_iter().collect();
        if !self.config.enabled || self.conflicts.halted().is_some() {
            return actions;
        }
        self.give_up_overdue(now);
        while self.catchup.active.len() < self.config.requests_max {
            let Some(action) = self.ask_next(now) else { break };
            actions.push(action);
        }
        actions.extend(self.hedge(now));
        if self.catchup.active.len() < self.config.requests_max {
            actions.extend(self.ask_for_damaged(now));
        }
        actions
    }

    /// Asks for the lowest range that is missing and not under way.
    fn ask_next(&mut self, now: Mono) -> Option<Action> {
        let limit = self.fetch_limit();
        let mut from = self.next_missing();
        while from < limit && (self.payloads.get(from).is_some() || self.is_covered(from)) {
            from = self.payloads.missing_from(from.next());
        }
        if from >= limit || self.is_tip_gap(now, limit) {
            return None;
        }
        let is_next = from == self.height().next_block();
        let range_bytes = usize::try_from(self.config.range_bytes).unwrap_or(usize::MAX);
        if !is_next && !self.payloads.fits(range_bytes, self.catchup.reserved()) {
            return None;
        }
        self.ask(now, from, limit, &[])
    }

    fn is_covered(&self, number: SeqNum) -> bool {
        self.catchup.covering(number).next().is_some()
    }

    /// Whether so few blocks are missing, for so short a time, that push will bring them.
    fn is_tip_gap(&self, now: Mono, limit: SeqNum) -> bool {
        let missing = limit.get().saturating_sub(self.next_missing().get());
        let since = self.catchup.gap_since;
        missing <= self.config.tip_blocks
            && since.is_none_or(|since| now.since(since) < self.config.tip_wait)
    }

    /// Asks the best source for a range from `from` on, which ends where something is there already.
    pub(crate) fn ask(
        &mut self,
        now: Mono,
        from: SeqNum,
        limit: SeqNum,
        exclude: &[PkiId],
    ) -> Option<Action> {
        let (peer, claimed) = self.sources.pick(from, now, exclude, &mut self.rng)?;
        let limit = limit.min(claimed.next_block());
        let most = self.catchup.blocks_per_range(&self.config);
        let mut through = from;
        for _ in 1..most {
            let next = through.next();
            let is_free = self.payloads.get(next).is_none()
                && (!exclude.is_empty() || !self.is_covered(next));
            if next >= limit || !is_free {
                break;
            }
            through = next;
        }
        self.sources.began(&peer.pki_id);
        self.stats.requests = self.stats.requests.saturating_add(1);
        self.catchup.last_id = self.catchup.last_id.saturating_add(1);
        let id = self.catchup.last_id;
        let bytes_max = self.config.range_bytes;
        let range = Range {
            peer: peer.clone(),
            from,
            next: from,
            through,
            bytes_max,
            bytes: 0,
            began: now,
            progress: now,
            given_up: false,
        };
        self.catchup.active.insert(id, range);
        let patience = self.config.patience;
        Some(Action::Request { to: peer, id, from, through, bytes_max, patience })
    }

    /// The very next block holds everything up: if one source is slow with it, another is asked too.
    fn hedge(&mut self, now: Mono) -> Option<Action> {
        let (_, at) = self.hedge_at()?;
        if at > now || self.catchup.active.len() > self.config.requests_max {
            return None;
        }
        let next = self.next_missing();
        let asked: Vec<PkiId> =
            self.catchup.covering(next).map(|range| range.peer.pki_id).collect();
        let few = SeqNum::new(next.get().saturating_add(HEDGE_BLOCKS));
        self.ask(now, next, self.fetch_limit().min(few), &asked)
    }

    /// The one range that the next missing block is awaited from, and when another may be asked.
    fn hedge_at(&self) -> Option<(SeqNum, Mono)> {
        let next = self.next_missing();
        let mut covering = self.catchup.covering(next);
        let range = covering.next()?;
        if covering.next().is_some() {
            return None;
        }
        Some((next, range.progress.after(self.config.hedge_after)))
    }

    /// A source that drips is left for another one, if there is another one.
    fn give_up_overdue(&mut self, now: Mono) {
        let overdue: Vec<(u64, PkiId, SeqNum)> = self
            .catchup
            .active
            .iter()
            .filter(|(_, range)| !range.given_up && self.overdue_at(range) <= now)
            .map(|(id, range)| (*id, range.peer.pki_id, range.next))
            .collect();
        for (id, peer, next) in overdue {
            if self.sources.pick(next, now, &[peer], &mut self.rng).is_none() {
                continue;
            }
            if let Some(range) = self.catchup.active.get_mut(&id) {
                range.given_up = true;
                self.sources.failed(&peer, now);
            }
        }
    }

    fn overdue_at(&self, range: &Range) -> Mono {
        range.began.after(self.config.patience.saturating_mul(OVERDUE_PATIENCES))
    }

    /// Opens an own stream if no peer can help, and closes it once nothing is missing.
    fn plan_source(&mut self, now: Mono) -> Option<Action> {
        let missing = self.next_missing();
        let is_behind = self.is_behind();
        let is_usable = self.config.enabled && self.sources.has_usable(missing, now);
        if !is_behind || is_usable {
            self.catchup.unusable_since = None;
        } else if self.catchup.unusable_since.is_none() {
            self.catchup.unusable_since = Some(now);
        }
        let since = self.catchup.unusable_since;
        let is_due = since.is_some_and(|since| now.since(since) >= self.config.source_after);
        let wanted = if self.catchup.source_wanted { is_behind } else { is_due };
        if wanted == self.catchup.source_wanted {
            return None;
        }
        self.catchup.source_wanted = wanted;
        Some(Action::Source { wanted })
    }

    /// Everything that a tick may be needed for.
    pub(crate) fn deadlines(&self) -> Vec<(Deadline, Mono)> {
        let catchup = &self.catchup;
        let open = catchup.active.values().filter(|range| !range.given_up);
        let overdue = open.map(|range| self.overdue_at(range)).filter(|at| *at > self.last).min();
        let source = catchup.unusable_since.map(|since| since.after(self.config.source_after));
        [
            (Deadline::CommitRetry, self.commits.retry_at()),
            (Deadline::TipGap, catchup.gap_since.map(|since| since.after(self.config.tip_wait))),
            (Deadline::Hedge, self.hedge_at().map(|(_, at)| at)),
            (Deadline::Overdue, overdue),
            (Deadline::Unblocked, self.sources.next_unblocked(self.next_missing(), self.last)),
            (Deadline::Source, source.filter(|_| !catchup.source_wanted)),
            (Deadline::Mend, self.mend_at()),
        ]
        .into_iter()
        .filter_map(|(deadline, at)| at.map(|at| (deadline, at)))
        .collect()
    }

    /// When a damaged block may be asked for again: it has waited, and somebody may be asked.
    fn mend_at(&self) -> Option<Mono> {
        let number = self.mending.waits_for()?;
        let unblocked = self.sources.next_unblocked(number, self.last);
        let due = self.mending.retry_at().filter(|at| *at > self.last);
        [unblocked, due].into_iter().flatten().min()
    }

    /// Why the next block is missing, once it has been for a while.
    pub(crate) fn stalled_by_sources(&self, now: Mono) -> Option<StalledReason> {
        let number = self.next_missing();
        let is_quiet = now.since(self.moved_at) > self.config.patience;
        if !is_quiet {
            return None;
        }
        let next = self.height().next_block();
        if number > next {
            // What is verified waits for the ledger, which has a reason of its own.
            let is_verified = self.payloads.get(next).is_some_and(Slot::is_verified);
            return (!is_verified).then_some(StalledReason::Verifying { number: next });
        }
        if !self.is_behind() {
            return None;
        }
        let claimants = self.sources.claimants(number);
        Some(match (self.config.enabled, claimants) {
            (false, 1..) => {
                StalledReason::FetchingOff { number, claimed: self.sources.credible_claim() }
            }
            (_, 0) => StalledReason::NoSource { number },
            (true, _) => StalledReason::SourcesFail { number, claimants },
        })
    }
}

/// Blocks asked for a second time when the next one is late.
const HEDGE_BLOCKS: u64 = 4;

/// A whole range may take this many times the patience, if somebody else could do better.
const OVERDUE_PATIENCES: u32 = 3;

//! What the peer holds per channel: a state transfer, a server of ranges, an election.

use std::collections::BTreeMap;

use gossip_api::{ChannelId, Height, Machine, Mono, Now, PkiId, SeqNum, Wakeup, earliest};
use gossip_election::Election;
use gossip_state::{ByOrigin, Server, StalledReason, StateTransfer};

use super::lead::Lead;
use crate::node::ChannelPeer;

/// The machines of one channel.
#[derive(Debug)]
pub(crate) struct PeerChannel {
    pub(crate) state: StateTransfer,
    pub(crate) server: Server,
    pub(crate) election: Election,
    pub(crate) lead: Lead,
    pub(crate) delivering: bool,
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// Height that a valid block or header proves.
    pub(crate) proved: Height,
}

/// How a channel stands, for people.
#[derive(Clone, Debug)]
pub struct ChannelStatus {
    /// Its name.
    pub name: ChannelId,
    /// Height of our ledger.
    pub height: Height,
    /// The number that is missing first.
    pub next: SeqNum,
    /// Height that a valid block or header proves; what others state is no more than a claim.
    pub proved: Height,
    /// Whether we lead.
    pub leader: bool,
    /// Who leads our organisation, as far as we know.
    pub leader_peer: Option<PkiId>,
    /// Since when that is so.
    pub leader_since: Mono,
    /// Why, in a few words.
    pub leader_why: &'static str,
    /// The number at which a conflict stopped the channel, until an operator decides.
    pub halted: Option<SeqNum>,
    /// Whether blocks are taken from our own source.
    pub delivering: bool,
    /// Blocks committed since the start, by how they came.
    pub committed: ByOrigin,
    /// Blocks refused since the start, by class.
    pub refused: BTreeMap<&'static str, u64>,
    /// Alive members in the channel, and what they state.
    pub peers: Vec<ChannelPeer>,
    /// What the channel waits for, if it does not get on.
    pub stalled_reason: Option<String>,
    /// Whether that takes an operator: a conflict, or a ledger that refuses.
    pub needs_operator: bool,
}

impl ChannelStatus {
    /// Whether the channel stands still until somebody does something about it.
    pub const fn is_failing(&self) -> bool {
        self.needs_operator
    }

    /// How many blocks are proved that our ledger lacks.
    pub const fn lag(&self) -> u64 {
        self.proved.get().saturating_sub(self.height.get())
    }
}

impl PeerChannel {
    pub(crate) fn next_wakeup(&self) -> Option<Wakeup> {
        earliest([self.state.next_wakeup(), self.server.next_wakeup(), self.election.next_wakeup()])
    }

    pub(crate) fn wants(&self, number: SeqNum) -> bool {
        self.state.wants(number)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.state.room()
    }

    pub(crate) fn room_for(&self, number: SeqNum, len: usize) -> bool {
        self.state.room_for(number, len)
    }

    /// Whether the block is in the ledger, or waits for it and was found valid.
    pub(crate) fn has(&self, number: SeqNum) -> bool {
        number < self.height().next_block() || self.state.holds(number)
    }

    pub(crate) fn next_missing(&self) -> SeqNum {
        self.state.next_missing()
    }

    pub(crate) fn height(&self) -> Height {
        self.state.height()
    }

    pub(crate) fn count_refusal(&mut self, class: &'static str) {
        let count = self.refused.entry(class).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn status(
        &self,
        now: Now,
        name: ChannelId,
        peers: Vec<ChannelPeer>,
    ) -> ChannelStatus {
        let stalled = self.state.stalled_reason(now);
        let needs_operator = matches!(
            stalled,
            Some(StalledReason::Halted { .. } | StalledReason::LedgerFails { .. })
        );
        ChannelStatus {
            name,
            height: self.state.height(),
            proved: self.proved.max(self.state.height()),
            leader_peer: self.election.leadership().leader,
            next: self.state.next_missing(),
            leader: self.lead.leading,
            leader_since: self.election.leadership().since,
            leader_why: self.election.leadership().why,
            halted: self.state.halted(),
            delivering: self.delivering,
            committed: self.state.stats().committed,
            refused: self.refused.clone(),
            peers,
            stalled_reason: stalled.map(|reason| reason.to_string()),
            needs_operator,
        }
    }
}

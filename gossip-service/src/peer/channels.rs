//! What the peer holds per channel: a state transfer, a server of ranges, an election.

use std::collections::BTreeMap;

use gossip_api::{ChannelId, Height, Machine, Mono, Now, SeqNum, Wakeup, earliest};
use gossip_election::Election;
use gossip_state::{ByOrigin, Server, StateTransfer};

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
    /// Whether we lead.
    pub leader: bool,
    /// Since when we lead, or do not.
    pub leader_since: Mono,
    /// Why we lead, or do not.
    pub leader_why: &'static str,
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
        ChannelStatus {
            name,
            height: self.state.height(),
            next: self.state.next_missing(),
            leader: self.lead.leading,
            leader_since: self.lead.since,
            leader_why: self.lead.why,
            delivering: self.delivering,
            committed: self.state.stats().committed,
            refused: self.refused.clone(),
            peers,
            stalled_reason: self.state.stalled_reason(now).map(|reason| reason.to_string()),
        }
    }
}

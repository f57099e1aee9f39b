//! What an operator may turn.

use std::time::Duration;

use gossip_api::{Checked, ConfigError};

use super::push::Course;

/// How the node spreads and fetches.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// How new blocks spread. Fabric: push, with pull for the rest.
    pub mode: SpreadMode,
    /// Data up to this length travels whole with its header, larger data down a tree.
    ///
    /// Whole is sooner there and costs several copies.
    pub whole_max: usize,
    /// What a peer can send, in bits per second, as far as trees and waits are planned by it.
    pub uplink: u64,
    /// Peers that headers are told to: two of them get them whole.
    pub mesh_peers: usize,
    /// Whether headers are told to peers of other organisations in the channel.
    pub headers_cross_orgs: bool,
    /// Whether the data of blocks leaves the organisation. Fabric's never does by gossip.
    pub data_cross_orgs: bool,
    /// Bytes that a block sent in shares may cost each peer, in hundredths of its data: at least 100.
    ///
    /// What lies above 100 is what silent relays may withhold before anybody has to ask.
    pub redundancy_max: u32,
    /// To how many peers a new block is pushed.
    ///
    /// More reach everybody sooner and cost as many copies. Fabric: `peer.gossip.propagatePeerNum`, 3.
    pub push_peers: usize,
    /// A batch of pushed items goes out when it has so many. Fabric: `peer.gossip.maxPropagationBurstSize`, 10.
    pub push_batch: usize,
    /// Or when its first item has waited this long.
    ///
    /// Longer makes fewer choices of peers and costs as much at each hop. Fabric:
    /// `peer.gossip.maxPropagationBurstLatency`, 10 ms.
    pub push_wait: Duration,
    /// How many batches an item is part of; with 1 it is passed on once. Fabric: `peer.gossip.propagateIterations`, 1.
    pub push_iterations: usize,
    /// A block is pushed only to peers whose height is less than this many blocks below it; others catch up.
    pub push_window: u64,
    /// How often missing blocks are asked for. Fabric: `peer.gossip.pullInterval`, 4 s.
    pub pull_every: Duration,
    /// How many peers are asked. Fabric: `peer.gossip.pullPeerNum`, 3.
    pub pull_peers: usize,
    /// How long digests are waited for; the wait ends early when all have come. Fabric: `peer.gossip.digestWaitTime`, 1 s.
    pub digest_wait: Duration,
    /// How long a hello is remembered by its receiver. Fabric: `peer.gossip.requestWaitTime`, 1.5 s.
    pub request_wait: Duration,
    /// How long updates are waited for. Fabric: `peer.gossip.responseWaitTime`, 2 s.
    pub response_wait: Duration,
    /// A changed height is announced this long after the last announcement at the earliest.
    ///
    /// Shorter makes heights known sooner and costs every peer a signature to check each time; who has a new
    /// block says so without one. Fabric: `peer.gossip.publishStateInfoInterval`, 4 s.
    pub announce_after: Duration,
    /// An unchanged height is announced again after this long, for those that missed it.
    pub announce_every: Duration,
}

/// How new blocks spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpreadMode {
    /// To a few random peers, who do the same: infect and die. Pull brings the rest.
    Push,
    /// By pull alone.
    Pull,
    /// By pull, and back again: who asks also gives what the other lacks.
    PushPull,
    /// Headers first, on a mesh; data with them if small, else down a tree that the source plans.
    #[default]
    HeaderFirst,
    /// Headers first; data with them if small, else in shares that everybody relays.
    Coded,
    /// Headers first; the source chooses for each block, by what it measures.
    Auto,
}

impl SpreadMode {
    /// Whether headers are told before data.
    pub const fn is_header_first(self) -> bool {
        matches!(self, Self::HeaderFirst | Self::Coded | Self::Auto)
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            mode: SpreadMode::HeaderFirst,
            whole_max: 4 << 10,
            uplink: 1_000_000_000,
            mesh_peers: 6,
            headers_cross_orgs: true,
            data_cross_orgs: false,
            redundancy_max: 160,
            push_peers: 3,
            push_batch: 10,
            push_wait: Duration::from_millis(10),
            push_iterations: 1,
            push_window: 256,
            pull_every: Duration::from_secs(4),
            pull_peers: 3,
            digest_wait: Duration::from_secs(1),
            request_wait: Duration::from_millis(1500),
            response_wait: Duration::from_secs(2),
            announce_after: Duration::from_secs(4),
            announce_every: Duration::from_secs(10),
        }
    }
}

impl NodeConfig {
    /// How pushed items are collected.
    pub(crate) const fn push_course(&self) -> Course {
        Course { items: self.push_batch, wait: self.push_wait, iterations: self.push_iterations }
    }

    /// Rules out contradictions.
    ///
    /// # Errors
    /// If a round of pulling cannot end before the next begins, or announcements contradict each other.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        let round = self.digest_wait.saturating_add(self.response_wait);
        if self.pull_every <= round {
            return Err(ConfigError(format!(
                "pullInterval ({:?}) must be longer than digestWaitTime ({:?}) and responseWaitTime ({:?}) together",
                self.pull_every, self.digest_wait, self.response_wait
            )));
        }
        if self.request_wait < self.digest_wait {
            return Err(ConfigError(format!(
                "requestWaitTime ({:?}) must not be shorter than digestWaitTime ({:?})",
                self.request_wait, self.digest_wait
            )));
        }
        if self.announce_every < self.announce_after {
            return Err(ConfigError(format!(
                "announce_every ({:?}) must not be shorter than announce_after ({:?})",
                self.announce_every, self.announce_after
            )));
        }
        if self.mesh_peers < 2 {
            return Err(ConfigError("mesh_peers must be at least 2".into()));
        }
        if self.uplink == 0 {
            return Err(ConfigError("uplink must be more than 0 bits per second".into()));
        }
        if self.push_batch == 0 {
            return Err(ConfigError("maxPropagationBurstSize must be at least 1".into()));
        }
        if self.redundancy_max < 100 {
            return Err(ConfigError("redundancy_max must be at least 100 hundredths".into()));
        }
        if self.push_window == 0 {
            return Err(ConfigError("push_window must be at least 1 block".into()));
        }
        Ok(Checked::assume(self))
    }
}

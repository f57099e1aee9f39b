//! What an operator may turn.

use std::time::Duration;

use gossip_api::{Checked, ConfigError};

/// How the node spreads and fetches.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// To how many peers a new block is pushed.
    ///
    /// More reach everybody sooner and cost as many copies. Fabric: `peer.gossip.propagatePeerNum`, 3.
    pub push_peers: usize,
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
    /// Shorter makes heights known sooner and costs a signature each. Fabric: `peer.gossip.publishStateInfoInterval`, 4 s.
    pub announce_after: Duration,
    /// An unchanged height is announced again after this long, for those that missed it.
    pub announce_every: Duration,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            push_peers: 3,
            push_window: 256,
            pull_every: Duration::from_secs(4),
            pull_peers: 3,
            digest_wait: Duration::from_secs(1),
            request_wait: Duration::from_millis(1500),
            response_wait: Duration::from_secs(2),
            announce_after: Duration::from_millis(200),
            announce_every: Duration::from_secs(10),
        }
    }
}

impl NodeConfig {
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
        if self.push_window == 0 {
            return Err(ConfigError("push_window must be at least 1 block".into()));
        }
        Ok(Checked::assume(self))
    }
}

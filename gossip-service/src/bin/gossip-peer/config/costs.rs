//! Values that an operator may choose, and what they cost beside ours.

use std::time::Duration;

use gossip_discovery::DiscoveryConfig;
use gossip_service::node::NodeConfig;
use gossip_state::StateConfig;

use super::Timings;

/// One sentence for each value that misses our figures.
pub(super) fn of(timings: &Timings) -> Vec<String> {
    let (members, node, state) =
        (DiscoveryConfig::default(), NodeConfig::default(), StateConfig::default());
    let mut costs = Vec::new();
    let mut slower = |key: &str, value: Option<Duration>, ours: Duration, cost: &str| {
        if let Some(value) = value.filter(|value| *value > ours) {
            costs.push(format!("{key} is {value:?}, ours {ours:?}: {cost}"));
        }
    };
    slower(
        "peer.gossip.aliveTimeInterval",
        timings.alive_every,
        members.beat_every,
        "a death is noticed later by as much",
    );
    slower(
        "peer.gossip.aliveExpirationTimeout",
        timings.alive_expiration,
        members.late_after,
        "a silent member counts as alive longer by as much",
    );
    slower(
        "peer.gossip.pullInterval",
        timings.pull_every,
        node.pull_every,
        "a block whose push was lost comes later by as much",
    );
    slower(
        "peer.gossip.dialTimeout",
        timings.dial_timeout,
        DIAL_TIMEOUT,
        "a peer that does not answer holds a dial longer",
    );
    slower(
        "peer.gossip.state.checkInterval",
        timings.state_check,
        state.tip_wait,
        "a gap at the tip is asked for later by as much",
    );
    slower(
        "peer.gossip.state.responseTimeout",
        timings.state_patience,
        state.patience,
        "a neighbour that does not answer holds up a range longer",
    );
    let mut fewer = |key: &str, value: Option<u64>, ours: u64, cost: &str| {
        if let Some(value) = value.filter(|value| *value < ours) {
            costs.push(format!("{key} is {value}, ours {ours}: {cost}"));
        }
    };
    let count = |value: Option<usize>| value.and_then(|value| u64::try_from(value).ok());
    fewer(
        "peer.gossip.propagatePeerNum",
        count(timings.propagate_peers),
        count(Some(node.push_peers)).unwrap_or(0),
        "fewer peers get a block by push, more wait for a pull",
    );
    fewer(
        "peer.gossip.pullPeerNum",
        count(timings.pull_peers),
        count(Some(node.pull_peers)).unwrap_or(0),
        "a missing block is found by fewer pulls",
    );
    fewer(
        "peer.gossip.state.batchSize",
        timings.state_batch,
        state.range_blocks,
        "catching up takes more round trips",
    );
    fewer(
        "peer.gossip.state.blockBufferSize",
        timings.state_buffer,
        state.window_blocks,
        "less is under way while catching up, and more that comes early is thrown away",
    );
    if let Some(more) = timings.propagate_peers.filter(|peers| *peers > node.push_peers) {
        costs.push(format!(
            "peer.gossip.propagatePeerNum is {more}, ours {}: each block crosses the network more often",
            node.push_peers
        ));
    }
    if timings.state_enabled == Some(false) {
        costs.push(
            "peer.gossip.state.enabled is false: who is further behind than a pull reaches gets its blocks from its own source alone".to_owned(),
        );
    }
    costs
}

/// As the transport has it when nobody says otherwise.
const DIAL_TIMEOUT: Duration = Duration::from_secs(3);

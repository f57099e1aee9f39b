//! Bounds that real QUIC and the simulated network share.

/// Bytes that may wait for one peer, by class.
///
/// Control and membership messages supersede one another, so when one does not fit, the oldest waiting
/// of its class is dropped. Blocks do not: one that does not fit is refused. Every drop is counted.
#[derive(Clone, Debug)]
pub struct OutboxConfig {
    /// Control messages. Fabric: `peer.gossip.sendBuffSize`, 20 messages in code and 200 in `core.yaml`.
    pub control_bytes: usize,
    /// Membership pages.
    pub membership_bytes: usize,
    /// Blocks; one larger than this waits alone.
    pub block_bytes: usize,
    /// Parts of one answer to a request; an answer that outgrows it is broken off.
    pub answer_bytes: usize,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            control_bytes: 256 << 10,
            membership_bytes: 1 << 20,
            block_bytes: 16 << 20,
            answer_bytes: 16 << 20,
        }
    }
}

/// Dials under way at once, unless an operator says otherwise.
pub(crate) const DIALS_MAX: usize = 128;

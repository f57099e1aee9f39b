//! Numbers for metrics and for `gossip-peer status`.

use std::collections::BTreeMap;

use gossip_api::Height;

use crate::words::BlockOrigin;

/// A look at one channel's state transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Ledger height.
    pub height: Height,
    /// Blocks ahead of the height.
    pub buffered_blocks: usize,
    /// Their bytes.
    pub buffered_bytes: usize,
    /// Largest number of bytes that were ever ahead of the height.
    pub buffered_bytes_max: usize,
    /// Range requests in flight.
    pub requests_in_flight: usize,
    /// Range requests made since the start.
    pub requests: u64,
    /// Blocks that the ledger holds and cannot read, as far as known.
    pub damaged: usize,
    /// Such blocks that were fetched again since the start.
    pub mended: u64,
    /// Blocks committed since the start, by where they came from.
    pub committed: ByOrigin,
    /// Blocks not taken since the start, by [`DropReason::label`](crate::DropReason::label).
    pub dropped: BTreeMap<&'static str, u64>,
}

/// Blocks by where they came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByOrigin {
    /// Our own stream.
    pub source: u64,
    /// Pushed by a peer.
    pub push: u64,
    /// Pulled from a peer.
    pub pull: u64,
    /// From a range asked of a peer.
    pub catch_up: u64,
    /// Handed in by the host.
    pub local: u64,
}

impl ByOrigin {
    /// Counts one more.
    pub(crate) const fn count(&mut self, origin: &BlockOrigin) {
        let counter = match origin {
            BlockOrigin::Source => &mut self.source,
            BlockOrigin::Push { .. } => &mut self.push,
            BlockOrigin::Pull { .. } => &mut self.pull,
            BlockOrigin::Range { .. } => &mut self.catch_up,
            BlockOrigin::Local => &mut self.local,
        };
        *counter = counter.saturating_add(1);
    }

    /// All of them.
    pub const fn total(&self) -> u64 {
        self.source
            .saturating_add(self.push)
            .saturating_add(self.pull)
            .saturating_add(self.catch_up)
            .saturating_add(self.local)
    }
}

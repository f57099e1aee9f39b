//! What limits how much passes in a second: control passes data.

use crate::sim::link::Rate;

/// What all that a peer sends, or all that it receives, has to pass.
#[derive(Debug, Default)]
pub(super) struct Bottleneck {
    pub(super) rate: Option<Rate>,
    pub(super) queues: Queues,
}

impl Bottleneck {
    pub(super) fn forget(&mut self) {
        self.queues = Queues::default();
    }
}

/// Until when two queues before one bottleneck are busy.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Queues {
    urgent: u64,
    bulk: u64,
}

impl Queues {
    /// When `len` bytes that queue up at `start` are through.
    pub(super) fn pass(&mut self, start: u64, len: usize, urgent: bool, rate: Option<Rate>) -> u64 {
        let Some(rate) = rate else { return start };
        let time = rate.time(len);
        if urgent {
            self.urgent = self.urgent.max(start) + time;
            // Bulk that is still queued gives way.
            if self.bulk > start {
                self.bulk += time;
            }
            self.urgent
        } else {
            self.bulk = self.bulk.max(self.urgent).max(start) + time;
            self.bulk
        }
    }

    /// Whether more is queued before the bottleneck than QUIC takes over.
    pub(super) fn overflows(&self, start: u64, urgent: bool, rate: Option<Rate>) -> bool {
        let Some(rate) = rate else { return false };
        let busy = if urgent { self.urgent } else { self.bulk.max(self.urgent) };
        busy.saturating_sub(start) > rate.window_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_waits_for_data_and_for_control_and_control_for_control_alone() {
        let rate = Some(Rate::of(8_000_000_000));
        let mut queues = Queues::default();
        assert_eq!(queues.pass(100, 50, false, rate), 150);
        assert_eq!(queues.pass(100, 50, false, rate), 200);
        assert_eq!(queues.pass(110, 5, true, rate), 115);
        assert_eq!(queues.pass(110, 5, true, rate), 120);
        assert_eq!(queues.pass(110, 10, false, rate), 220, "what is queued gave way twice");
        assert_eq!(queues.pass(300, 10, false, rate), 310);
        assert_eq!(queues.pass(300, 10, false, None), 300);
    }
}

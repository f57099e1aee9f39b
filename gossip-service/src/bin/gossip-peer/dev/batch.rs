//! When a block is full: by count, by bytes, or by time.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// A channel's limits: `BatchSize` and `BatchTimeout`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) count_max: usize,
    /// A longer transaction is not accepted.
    pub(super) bytes_max: usize,
    /// A longer transaction has a block of its own.
    pub(super) bytes_preferred: usize,
    pub(super) timeout: Duration,
}

/// Transactions that wait for their block.
#[derive(Debug)]
pub(super) struct Batch {
    limits: Limits,
    waiting: Vec<Bytes>,
    bytes: usize,
    /// When the block is cut at the latest.
    deadline: Option<Instant>,
}

impl Batch {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, waiting: Vec::new(), bytes: 0, deadline: None }
    }

    /// Takes new limits; what waits is cut by them from now on.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Adds a transaction; gives the blocks that are full by it, at most two.
    // fabric: orderer/common/blockcutter/blockcutter.go Ordered
    pub(super) fn push(&mut self, transaction: Bytes, now: Instant) -> Vec<Vec<Bytes>> {
        let mut full = Vec::new();
        if self.bytes.saturating_add(transaction.len()) > self.limits.bytes_preferred {
            full.extend(self.cut());
        }
        if self.waiting.is_empty() {
            self.deadline = Some(now + self.limits.timeout);
        }
        self.bytes = self.bytes.saturating_add(transaction.len());
        self.waiting.push(transaction);
        if self.waiting.len() >= self.limits.count_max || self.bytes > self.limits.bytes_preferred {
            full.extend(self.cut());
        }
        full
    }

    /// What waits, if anything does.
    pub(super) fn cut(&mut self) -> Option<Vec<Bytes>> {
        self.deadline = None;
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        (!waiting.is_empty()).then_some(waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lengths: &[usize], expect: &[&[usize]], waiting: usize) {
        let limits = Limits {
            count_max: 3,
            bytes_max: 1000,
            bytes_preferred: 100,
            timeout: Duration::from_secs(2),
        };
        let mut batch = Batch::new(limits);
        let mut cut: Vec<Vec<usize>> = Vec::new();
        for len in lengths {
            let blocks = batch.push(vec![0; *len].into(), Instant::now());
            cut.extend(blocks.iter().map(|block| block.iter().map(Bytes::len).collect()));
        }
        assert_eq!(cut, expect);
        assert_eq!(batch.deadline().is_some(), waiting > 0);
        assert_eq!(batch.cut().map_or(0, |rest| rest.len()), waiting);
        assert_eq!(batch.deadline(), None);
    }

    #[test]
    fn a_block_is_cut_by_count_and_by_bytes() {
        check(&[1, 1], &[], 2);
        check(&[1, 1, 1, 1], &[&[1, 1, 1]], 1);
        check(&[60, 60], &[&[60]], 1);
        check(&[10, 500, 10], &[&[10], &[500]], 1);
        check(&[500], &[&[500]], 0);
    }

    #[test]
    fn the_time_runs_from_the_first_transaction() {
        let limits = Limits {
            count_max: 3,
            bytes_max: 9,
            bytes_preferred: 9,
            timeout: Duration::from_secs(2),
        };
        let mut batch = Batch::new(limits);
        let start = Instant::now();
        batch.push(Bytes::from_static(b"a"), start);
        batch.push(Bytes::from_static(b"b"), start + Duration::from_secs(1));
        assert_eq!(batch.deadline(), Some(start + Duration::from_secs(2)));
    }
}

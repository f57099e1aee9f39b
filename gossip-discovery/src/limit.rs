//! Token buckets: how much one peer may ask of us.

use gossip_api::Mono;

/// A rate and a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    /// Tokens a second.
    pub(crate) per_second: u32,
    /// Tokens that may be saved up.
    pub(crate) burst: u32,
}

impl Rate {
    /// The rate of `count` peers together.
    pub(crate) const fn times(self, count: u32) -> Self {
        Self {
            per_second: self.per_second.saturating_mul(count),
            burst: self.burst.saturating_mul(count),
        }
    }
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Billionths of a token spent and not yet refilled.
    spent: u64,
    at: Mono,
}

impl Bucket {
    pub(crate) const fn full(now: Mono) -> Self {
        Self { spent: 0, at: now }
    }

    /// Takes `cost` tokens if they are there.
    pub(crate) fn take(&mut self, now: Mono, rate: Rate, cost: u32) -> bool {
        let elapsed = u64::try_from(now.since(self.at).as_nanos()).unwrap_or(u64::MAX);
        self.at = now;
        self.spent = self.spent.saturating_sub(elapsed.saturating_mul(u64::from(rate.per_second)));
        let after = self.spent.saturating_add(u64::from(cost) * TOKEN);
        let affordable = after <= u64::from(rate.burst) * TOKEN;
        if affordable {
            self.spent = after;
        }
        affordable
    }
}

const TOKEN: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { per_second: 2, burst: 3 };
        let start = Mono::ZERO;
        let mut bucket = Bucket::full(start);
        assert_eq!((0..10).filter(|_| bucket.take(start, rate, 1)).count(), 3);
        let later = start.after(Duration::from_secs(1));
        assert_eq!((0..10).filter(|_| bucket.take(later, rate, 1)).count(), 2);
        let much_later = later.after(Duration::from_secs(1_000_000));
        assert_eq!((0..10).filter(|_| bucket.take(much_later, rate, 1)).count(), 3);
    }
}

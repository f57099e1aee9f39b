//! How fast one peer may make us work, before anything it sends is verified.
//!
//! A bucket of units: a message costs one, and one more per KiB. Who has used up its bucket is not read
//! from for as long as it takes to fill what is missing; flow control then holds the other side back,
//! and its own outbox drops what is oldest there.

use std::time::Duration;

use gossip_api::Mono;

use crate::config::QuotaConfig;

/// What is left of one peer's allowance.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    burst: f64,
    left: f64,
    at: Mono,
}

impl Bucket {
    pub(super) fn new(config: &QuotaConfig, now: Mono) -> Self {
        let burst = f64::from(config.burst);
        Self { per_second: f64::from(config.per_second), burst, left: burst, at: now }
    }

    /// Takes the price of a message of `len` bytes; returns how long to wait before the next.
    pub(super) fn take(&mut self, len: usize, now: Mono) -> Duration {
        let filled = now.since(self.at).as_secs_f64() * self.per_second;
        self.at = now;
        let price = 1 + len / UNIT_BYTES;
        let price = f64::from(u32::try_from(price).unwrap_or(u32::MAX));
        self.left = (self.left + filled).min(self.burst) - price;
        if self.left >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.left / self.per_second).unwrap_or(Duration::MAX)
    }
}

const UNIT_BYTES: usize = 1 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let config = QuotaConfig { per_second: 100, burst: 10 };
        let mut bucket = Bucket::new(&config, Mono::ZERO);
        for _ in 0..10 {
            assert_eq!(bucket.take(100, Mono::ZERO), Duration::ZERO);
        }
        assert_eq!(bucket.take(100, Mono::ZERO), Duration::from_millis(10));
        let later = Mono::ZERO.after(Duration::from_millis(20));
        assert_eq!(bucket.take(100, later), Duration::ZERO);
        assert_eq!(bucket.take(9 << 10, later), Duration::from_millis(100));
    }
}

//! How long messages take, measured by our own questions and their answers.

use std::collections::VecDeque;
use std::time::Duration;

/// The newest round trips.
#[derive(Debug, Default)]
pub(crate) struct Latency {
    samples: VecDeque<Duration>,
}

impl Latency {
    pub(crate) fn note(&mut self, round_trip: Duration) {
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(round_trip.min(ROUND_TRIP_MAX));
    }

    /// A round trip that one in twenty exceeds.
    pub(crate) fn round_trip(&self) -> Duration {
        if self.samples.len() < SAMPLES_MIN {
            return UNMEASURED;
        }
        self.quantile(19, 20)
    }

    /// What `part` of `of` round trips do not exceed.
    fn quantile(&self, part: usize, of: usize) -> Duration {
        let mut sorted: Vec<Duration> = self.samples.iter().copied().collect();
        sorted.sort_unstable();
        let rank = (sorted.len() * part).div_ceil(of);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(UNMEASURED)
    }

    /// Half of it.
    pub(crate) fn one_way(&self) -> Duration {
        self.round_trip() / 2
    }

    /// Half of a round trip that every second one exceeds.
    pub(crate) fn usual_one_way(&self) -> Duration {
        if self.samples.len() < SAMPLES_MIN {
            return UNMEASURED / 2;
        }
        self.quantile(1, 2) / 2
    }
}

/// Round trips remembered.
const SAMPLES_MAX: usize = 64;

/// Fewer tell nothing.
const SAMPLES_MIN: usize = 4;

/// Assumed until enough are measured.
const UNMEASURED: Duration = Duration::from_millis(80);

/// Whoever takes longer does not slow down the waits for all others.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);

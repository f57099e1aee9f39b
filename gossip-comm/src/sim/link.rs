//! What lies between two peers.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::rng::Odds;

/// The properties of the way between two peers, the same in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// One-way latency. Each pair of peers draws its own from this range once, by the seed.
    pub latency: RangeInclusive<Duration>,
    /// Added to the latency of each message, uniformly from zero to this.
    pub jitter: Duration,
    /// Probability that a 1,200-byte packet is lost. A datagram is then gone; a stream's lost packets
    /// arrive 1.125 round trips later, or three one-way latencies if one alone was under way, repeatedly.
    pub loss: f64,
    /// Probability that a message on a stream is lost whole, as if the connection had broken under it.
    pub drop: f64,
    /// Probability that a message arrives twice.
    pub duplicate: f64,
    /// Probability that a message is held up for as long as it travelled, and that later ones overtake it
    /// even on the stream that they share.
    pub reorder: f64,
    /// Probability that a message arrives with one bit flipped. What then does not decode is dropped and
    /// counted.
    pub corrupt: f64,
    /// Bits per second in each direction; nothing for unlimited. Peers may have a narrower uplink.
    pub bandwidth: Option<u64>,
}

impl Link {
    /// A local network: 1 to 5 ms one way, nothing lost, 1 Gbit/s.
    pub const fn lan() -> Self {
        Self {
            latency: Duration::from_millis(1)..=Duration::from_millis(5),
            jitter: Duration::ZERO,
            loss: 0.0,
            drop: 0.0,
            duplicate: 0.0,
            reorder: 0.0,
            corrupt: 0.0,
            bandwidth: Some(1_000_000_000),
        }
    }

    /// Between sites: 5 to 50 ms one way, nothing lost, 1 Gbit/s.
    pub const fn wan() -> Self {
        let latency = Duration::from_millis(5)..=Duration::from_millis(50);
        Self { latency, ..Self::lan() }
    }

    /// The same with one-way latencies from this range.
    #[must_use]
    pub fn latency(self, latency: RangeInclusive<Duration>) -> Self {
        Self { latency, ..self }
    }

    /// The same with up to this much more latency per message.
    #[must_use]
    pub fn jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same with this probability of losing a packet.
    #[must_use]
    pub fn loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with this probability of losing a message whole.
    #[must_use]
    pub fn drop(self, drop: f64) -> Self {
        Self { drop, ..self }
    }

    /// The same with this probability of a message's arriving twice.
    #[must_use]
    pub fn duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// The same with this probability of a message's being overtaken.
    #[must_use]
    pub fn reorder(self, reorder: f64) -> Self {
        Self { reorder, ..self }
    }

    /// The same with this probability of a message's arriving damaged.
    #[must_use]
    pub fn corrupt(self, corrupt: f64) -> Self {
        Self { corrupt, ..self }
    }

    /// The same with this many bits per second in each direction; nothing for unlimited.
    #[must_use]
    pub fn bandwidth(self, bits_per_second: impl Into<Option<u64>>) -> Self {
        Self { bandwidth: bits_per_second.into(), ..self }
    }

    pub(crate) fn wire(&self) -> Wire {
        let least = nanos(*self.latency.start());
        Wire {
            latency_min: least,
            latency_spread: nanos(*self.latency.end()).saturating_sub(least),
            jitter: nanos(self.jitter),
            loss: Odds::of(self.loss),
            drop: Odds::of(self.drop),
            duplicate: Odds::of(self.duplicate),
            reorder: Odds::of(self.reorder),
            corrupt: Odds::of(self.corrupt),
            bandwidth: self.bandwidth.map(Rate::of),
        }
    }
}

/// A [`Link`] in the units that messages are timed with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire {
    pub(crate) latency_min: u64,
    pub(crate) latency_spread: u64,
    pub(crate) jitter: u64,
    pub(crate) loss: Odds,
    pub(crate) drop: Odds,
    pub(crate) duplicate: Odds,
    pub(crate) reorder: Odds,
    pub(crate) corrupt: Odds,
    pub(crate) bandwidth: Option<Rate>,
}

/// Whole nanoseconds; saturates.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How fast a bottleneck is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    bits_per_second: u64,
    /// How long a full window takes: what leaves within it is with QUIC, not in the outbox.
    pub(crate) window_time: u64,
}

impl Rate {
    pub(crate) fn of(bits_per_second: u64) -> Self {
        let unlimited = Self { bits_per_second: bits_per_second.max(1), window_time: 0 };
        Self { window_time: unlimited.time(WINDOW), ..unlimited }
    }

    /// How long `len` bytes take.
    pub(crate) fn time(self, len: usize) -> u64 {
        let bits = 8_000_000_000 * len as u128;
        u64::try_from(bits / u128::from(self.bits_per_second)).unwrap_or(u64::MAX)
    }
}

/// Bytes that QUIC takes over before they have left: half of a connection's send window.
pub(crate) const WINDOW: usize = 4 << 20;

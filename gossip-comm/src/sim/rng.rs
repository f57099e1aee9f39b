//! Draws, all from one seed.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// A generator of its own for part `stream` of the simulation with this seed: for a machine's own draws.
pub fn seeded(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// The network's draws.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: ChaCha8Rng,
}

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self { rng: seeded(seed, u64::MAX) }
    }

    /// Whether something of this probability happens. The certain and the impossible cost no draw.
    pub(crate) fn chance(&mut self, odds: Odds) -> bool {
        match odds.0 {
            0 => false,
            ONE.. => true,
            odds => u64::from(self.rng.next_u32()) < odds,
        }
    }

    /// A number in `0..=max`; the bias of at most `max / 2^64` does not matter here.
    pub(crate) fn up_to(&mut self, max: u64) -> u64 {
        match max {
            0 => 0,
            u64::MAX => self.rng.next_u64(),
            max => scale(self.rng.next_u64(), max + 1),
        }
    }
}

/// A probability in units of 2^-32, so that the same draw decides the same on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Odds(u64);

impl Odds {
    /// The nearest representable probability; what is out of 0 to 1 is cut to it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the value is between 0 and 2^32"
    )]
    pub(crate) fn of(probability: f64) -> Self {
        Self((probability.clamp(0.0, 1.0) * ONE as f64) as u64)
    }
}

/// Maps a uniform 64-bit number to `0..bound`.
pub(crate) fn scale(uniform: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(uniform) * u128::from(bound)) >> 64).unwrap_or(u64::MAX)
}

/// Stirs 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) const fn mix(mut value: u64) -> u64 {
    value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

const ONE: u64 = 1 << 32;

//! The one shape of every protocol core.

use std::fmt;
use std::time::Duration;

/// A protocol core: told the time and one input, answers with what is to be done.
///
/// Implementations own no clock, socket, task, lock or global randomness, and iterate over ordered
/// maps only: the same inputs at the same times give the same actions.
pub trait Machine {
    /// A fact in the past, or a request.
    type Input;
    /// What the driver is to do, an imperative.
    type Action;

    /// Applies `input` at `now` and returns the actions to carry out, in order.
    #[must_use]
    fn handle(&mut self, now: Now, input: Self::Input) -> Vec<Self::Action>;

    /// When [`handle`](Self::handle) next wants a tick, and why; nothing if only inputs matter.
    fn next_wakeup(&self) -> Option<Wakeup>;
}

/// The time a machine is told: timers use `mono`, certificate validity alone uses `wall`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Time since the driver started; never goes back.
    pub mono: Mono,
    /// The calendar's time; may jump either way.
    pub wall: Wall,
}

/// Nanoseconds since the driver's start. Saturates instead of overflowing (584 years).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(u64);

impl Mono {
    /// The driver's start.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time elapsed from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The instant `wait` later.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Mono {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1_000)
    }
}

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

impl Wall {
    /// The given number of seconds since 1970, negative before.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970.
    pub const fn as_unix_seconds(self) -> i64 {
        self.0
    }
}

/// A deadline a machine asked for, and the reason that appears in the driver's trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// When to tick.
    pub at: Mono,
    /// What the tick is for.
    pub why: &'static str,
}

/// The earliest of several optional wake-ups: how a parent merges its children's.
pub fn earliest(wakeups: impl IntoIterator<Item = Option<Wakeup>>) -> Option<Wakeup> {
    wakeups.into_iter().flatten().min_by_key(|wakeup| wakeup.at)
}

//! The one place that reads the machine's clocks.

use std::time::{Duration, SystemTime};

use gossip_api::{Mono, Now, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Tells a driver, its transport and its machine the same time.
///
/// One per process: clones share the start that [`Mono`] counts from. It runs on while the machine sleeps,
/// so that who wakes up knows how long it was gone: a lease that ran out meanwhile has run out.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// A clock whose zero is now.
    pub fn start() -> Self {
        Self { start: since_boot() }
    }

    /// The time, as machines are told it.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    /// Time since the start.
    pub fn mono(&self) -> Mono {
        Mono::ZERO.after(since_boot().saturating_sub(self.start))
    }
}

/// Time since the machine started, the time that it slept included.
fn since_boot() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Boottime)).unwrap_or_default()
}

/// The calendar's time; a clock set before 1970 reads as 1970.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

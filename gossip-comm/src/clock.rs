//! The one place that reads the machine's clocks.

use std::time::{Instant, SystemTime};

use gossip_api::{Mono, Now, Wall};

/// Tells a driver, its transport and its machine the same time.
///
/// One per process: clones share the start that [`Mono`] counts from.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose zero is now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    /// The time, as machines are told it.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: wall() }
    }

    /// Time since the start.
    pub fn mono(&self) -> Mono {
        Mono::ZERO.after(self.start.elapsed())
    }
}

/// The calendar's time; a clock set before 1970 reads as 1970.
pub fn wall() -> Wall {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Wall::from_unix_seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

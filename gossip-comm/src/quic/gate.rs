//! At most one line a second per reason, for whatever a remote can cause.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gossip_api::Mono;

/// Decides which lines are written.
#[derive(Debug, Default)]
pub(super) struct Gate {
    reasons: Mutex<BTreeMap<&'static str, Passed>>,
}

#[derive(Debug)]
struct Passed {
    at: Mono,
    suppressed: u64,
}

impl Gate {
    /// Whether a line may be written now, and how many of its kind were not written before it.
    pub(super) fn pass(&self, reason: &'static str, now: Mono) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        match reasons.get_mut(reason) {
            Some(last) if now.since(last.at) < INTERVAL => {
                last.suppressed += 1;
                None
            }
            Some(last) => {
                let suppressed = std::mem::take(&mut last.suppressed);
                last.at = now;
                Some(suppressed)
            }
            None => {
                reasons.insert(reason, Passed { at: now, suppressed: 0 });
                Some(0)
            }
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_reason() {
        let gate = Gate::default();
        let at = |millis| Mono::ZERO.after(Duration::from_millis(millis));
        assert_eq!(gate.pass("a", at(0)), Some(0));
        assert_eq!(gate.pass("a", at(500)), None);
        assert_eq!(gate.pass("b", at(500)), Some(0));
        assert_eq!(gate.pass("a", at(999)), None);
        assert_eq!(gate.pass("a", at(1000)), Some(2));
    }
}

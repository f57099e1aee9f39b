//! How long an endpoint that does not answer is left alone, and when that is worth a line in the log.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Endpoint, Mono};
use tracing::info;

/// Endpoints that did not answer the last dial.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    down: BTreeMap<Endpoint, Down>,
    /// When the log was last told of one that went down: others may make us dial, so once a second.
    told: Option<Mono>,
}

#[derive(Debug)]
struct Down {
    /// Whether the log was told.
    told: bool,
    failures: u32,
    until: Mono,
}

impl Backoff {
    /// Whether sending alone is no reason to dial `endpoint` yet.
    pub(crate) fn holds(&self, endpoint: &Endpoint, now: Mono) -> bool {
        self.down.get(endpoint).is_some_and(|down| now < down.until)
    }

    /// A dial failed. `luck` in 0..1 spreads retries over half to the whole of the wait.
    pub(crate) fn failed(&mut self, endpoint: &Endpoint, reason: &str, now: Mono, luck: f64) {
        if !self.down.contains_key(endpoint) {
            self.make_room();
        }
        let told = self.told.is_none_or(|told| now.since(told) >= LINE_INTERVAL);
        let fresh = Down { told, failures: 0, until: now };
        let down = self.down.entry(endpoint.clone()).or_insert(fresh);
        if down.failures == 0 && down.told {
            info!(%endpoint, reason, "endpoint does not answer");
            self.told = Some(now);
        }
        let wait = FIRST_WAIT.saturating_mul(1 << down.failures.min(DOUBLINGS_MAX));
        down.failures = down.failures.saturating_add(1);
        down.until = now.after(wait.mul_f64(0.5 + luck.clamp(0.0, 1.0) / 2.0));
    }

    /// A dial succeeded.
    pub(crate) fn succeeded(&mut self, endpoint: &Endpoint) {
        if let Some(down) = self.down.remove(endpoint).filter(|down| down.told) {
            info!(%endpoint, failures = down.failures, "endpoint answers again");
        }
    }

    fn make_room(&mut self) {
        if self.down.len() >= ENDPOINTS_MAX {
            let soonest = self.down.iter().min_by_key(|(_, down)| down.until);
            if let Some(endpoint) = soonest.map(|(endpoint, _)| endpoint.clone()) {
                self.down.remove(&endpoint);
            }
        }
    }
}

const FIRST_WAIT: Duration = Duration::from_millis(250);
/// 250 ms doubled seven times is 32 s.
const DOUBLINGS_MAX: u32 = 7;
/// Between two lines about endpoints that went down.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Endpoints remembered.
const ENDPOINTS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_limit_and_end_with_success() {
        let endpoint = Endpoint::new("peer:7051").expect("short");
        let mut backoff = Backoff::default();
        let mut now = Mono::ZERO;
        let mut waits = Vec::new();
        for _ in 0..9 {
            backoff.failed(&endpoint, "refused", now, 1.0);
            let mut wait = Duration::ZERO;
            while backoff.holds(&endpoint, now.after(wait)) {
                wait += Duration::from_millis(250);
            }
            waits.push(wait.as_millis());
            now = now.after(wait);
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 16000, 32000, 32000]);
        backoff.succeeded(&endpoint);
        assert!(!backoff.holds(&endpoint, Mono::ZERO));
    }
}

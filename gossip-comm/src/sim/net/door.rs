//! Who is let in: the part of the hello that a simulation can have without packets.

use std::fmt;

use gossip_api::message::CloseReason;
use gossip_api::{CryptoError, Expiration, Mono, PeerIdentity};

use super::{Net, NetTask, What};

type Check = dyn Fn(usize, &PeerIdentity) -> Result<Expiration, CryptoError>;

/// What identities are judged by; nothing lets in everybody.
#[derive(Default)]
pub(in crate::sim) struct Door(Option<Box<Check>>);

impl Door {
    pub(in crate::sim) fn set(
        &mut self,
        check: impl Fn(usize, &PeerIdentity) -> Result<Expiration, CryptoError> + 'static,
    ) {
        self.0 = Some(Box::new(check));
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Door({})", if self.0.is_some() { "guarded" } else { "open" })
    }
}

impl Net {
    /// What `at` thinks of `other`'s identity now.
    pub(super) fn judge(
        &self,
        now: Mono,
        at: usize,
        other: usize,
    ) -> Result<Expiration, CryptoError> {
        let Some(check) = &self.door.0 else { return Ok(Expiration::Never) };
        let expiration = check(at, &self.end(other).spec.identity)?;
        if expiration.is_past(self.wall(at, now)) {
            return Err(CryptoError::Expired);
        }
        Ok(expiration)
    }

    /// Whether the two let each other in; counted and noted if not.
    pub(super) fn admits(&mut self, now: Mono, dialler: usize, other: usize) -> bool {
        let both = [(dialler, other), (other, dialler)];
        let admitted = both.iter().all(|(at, whom)| self.judge(now, *at, *whom).is_ok());
        if !admitted {
            self.stats.refused += 1;
            self.record(now, dialler, other, What::Refused, 0);
        }
        admitted
    }

    /// Sees to it that `at` looks again when the identity of `other` runs out.
    pub(super) fn watch_expiry(&mut self, now: Mono, at: usize, other: usize, conn: u64) {
        if let Ok(Expiration::At(end)) = self.judge(now, at, other) {
            let left = end.as_unix_seconds().saturating_sub(self.wall(at, now).as_unix_seconds());
            let wait = u64::try_from(left).unwrap_or(0).saturating_add(1);
            let when = now.after(std::time::Duration::from_secs(wait));
            self.later.push((when, NetTask::Expiry { at, other, conn }));
        }
    }

    /// Ends a connection whose other side may not be let in any more.
    pub(super) fn check_expiry(&mut self, now: Mono, at: usize, other: usize, conn: u64) {
        if self.end(at).halves.get(&other).is_none_or(|half| half.conn != conn) {
            return;
        }
        if self.judge(now, at, other).is_ok() {
            return self.watch_expiry(now, at, other, conn);
        }
        let peer = self.end(other).spec.pki_id;
        self.close(now, at, &peer, CloseReason::Expelled);
    }

    /// The same for all connections of a peer.
    pub(in crate::sim) fn recheck(&mut self, now: Mono, at: usize) {
        if self.door.0.is_none() {
            return;
        }
        let halves: Vec<(usize, u64)> =
            self.end(at).halves.iter().map(|(other, half)| (*other, half.conn)).collect();
        halves.into_iter().for_each(|(other, conn)| self.check_expiry(now, at, other, conn));
    }
}

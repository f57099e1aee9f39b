//! What the machine waits for.

use gossip_api::{Mono, Wakeup};

/// Deadlines; each says why it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deadline {
    /// Our next beat is due.
    Beat,
    /// Collected beats are due to be relayed.
    Relay,
    /// A view is due to be compared with a neighbour's.
    Sync,
    /// A particular neighbour is to be asked.
    Ask,
    /// Connections are to be made.
    Connect,
    /// A random dead member gets another chance.
    RetryDead,
    /// Nonces wait for our signature.
    Prove,
    /// A probe has waited long enough.
    Probe,
    /// Questions for proofs of life are to be sent.
    Questions,
    /// Late members, forgotten ones, and everything else that only ages.
    Sweep,
}

impl Deadline {
    const ALL: [Self; 10] = [
        Self::Beat,
        Self::Relay,
        Self::Sync,
        Self::Ask,
        Self::Connect,
        Self::RetryDead,
        Self::Prove,
        Self::Probe,
        Self::Questions,
        Self::Sweep,
    ];

    const fn why(self) -> &'static str {
        match self {
            Self::Beat => "own beat due",
            Self::Relay => "collected beats due",
            Self::Sync => "view exchange due",
            Self::Ask => "neighbour to be asked",
            Self::Connect => "connections to be made",
            Self::RetryDead => "dead member to be dialled",
            Self::Prove => "proof of life due",
            Self::Probe => "probe has waited",
            Self::Questions => "questions to be sent",
            Self::Sweep => "late members to be looked for",
        }
    }
}

/// The table of deadlines.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    at: [Option<Mono>; Deadline::ALL.len()],
}

impl Timers {
    /// Sets a deadline, replacing the one there was.
    pub(crate) fn set(&mut self, deadline: Deadline, at: Mono) {
        if let Some(slot) = self.at.get_mut(deadline as usize) {
            *slot = Some(at);
        }
    }

    /// Sets a deadline unless it fires earlier already.
    pub(crate) fn at_latest(&mut self, deadline: Deadline, at: Mono) {
        let earlier = self.get(deadline).is_some_and(|set| set <= at);
        if !earlier {
            self.set(deadline, at);
        }
    }

    /// When a deadline fires.
    pub(crate) fn get(&self, deadline: Deadline) -> Option<Mono> {
        self.at.get(deadline as usize).copied().flatten()
    }

    /// Takes a deadline that has passed.
    pub(crate) fn expired(&mut self, now: Mono) -> Option<Deadline> {
        let due = Deadline::ALL
            .into_iter()
            .filter(|deadline| self.get(*deadline).is_some_and(|at| at <= now))
            .min_by_key(|deadline| self.get(*deadline))?;
        if let Some(slot) = self.at.get_mut(due as usize) {
            *slot = None;
        }
        Some(due)
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Wakeup> {
        Deadline::ALL
            .into_iter()
            .filter_map(|deadline| self.get(deadline).map(|at| Wakeup { at, why: deadline.why() }))
            .min_by_key(|wakeup| wakeup.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_fire_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set(Deadline::Beat, Mono::from_nanos(20));
        timers.set(Deadline::Sync, Mono::from_nanos(10));
        timers.at_latest(Deadline::Sync, Mono::from_nanos(15));
        assert_eq!(timers.next().map(|wakeup| wakeup.at), Some(Mono::from_nanos(10)));
        assert_eq!(timers.expired(Mono::from_nanos(9)), None);
        assert_eq!(timers.expired(Mono::from_nanos(20)), Some(Deadline::Sync));
        assert_eq!(timers.expired(Mono::from_nanos(20)), Some(Deadline::Beat));
        assert_eq!(timers.expired(Mono::from_nanos(20)), None);
        assert_eq!(timers.next(), None);
    }
}

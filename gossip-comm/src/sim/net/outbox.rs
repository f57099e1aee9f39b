//! What waits at its sender, as long as there is too much of it, bounded as it is with QUIC.
//!
//! As much as half of a connection's send window is QUIC's, and waits there without a bound of ours. What
//! leaves later than that stands in the outbox of its class. A message that does not fit there makes the
//! oldest of its class give way, whose place it takes; a block that does not fit is refused.

use std::collections::{BTreeSet, VecDeque};

use gossip_api::Mono;
use gossip_api::message::Class;

use super::transit::Parcel;
use crate::bounds::OutboxConfig;
use crate::sim::link::WINDOW;

/// The outbox of one neighbour.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    classes: [Waiting; 3],
    /// Tickets of those that gave way and are still on their way.
    given_up: BTreeSet<u64>,
}

/// What was sent over a link that is silent.
#[derive(Debug, Default)]
pub(super) struct Parked {
    pub(super) parcels: VecDeque<Parcel>,
    /// Of messages, by class.
    bytes: [usize; 3],
}

impl Parked {
    /// Adds a parcel; returns how many gave way to it, itself counted if it did not fit.
    pub(super) fn push(&mut self, parcel: Parcel, bounds: &OutboxConfig) -> usize {
        let Some(class) = parcel.message_class() else {
            self.parcels.push_back(parcel);
            return 0;
        };
        let max = WINDOW + cap(bounds, class);
        let mut dropped = 0;
        while *class_of(&mut self.bytes, class) + parcel.len > max {
            let same = |parked: &Parcel| parked.message_class() == Some(class);
            let oldest = self.parcels.iter().position(same);
            if class == Class::Block || oldest.is_none() {
                return dropped + 1;
            }
            if let Some(gone) = oldest.and_then(|oldest| self.parcels.remove(oldest)) {
                *class_of(&mut self.bytes, class) -= gone.len;
                dropped += 1;
            }
        }
        *class_of(&mut self.bytes, class) += parcel.len;
        self.parcels.push_back(parcel);
        dropped
    }
}

/// Messages of one class.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    held: VecDeque<Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    /// When QUIC takes it over.
    until: u64,
    len: usize,
    ticket: u64,
}

/// What becomes of a message that has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It waits; this many bytes gave way to it.
    Waits { freed: usize },
    /// It does not fit.
    Refused,
}

impl Outbox {
    /// Makes room for a message of `len` bytes.
    pub(super) fn admit(
        &mut self,
        now: Mono,
        class: Class,
        len: usize,
        bounds: &OutboxConfig,
    ) -> Admission {
        let waiting = class_of(&mut self.classes, class);
        waiting.prune(now);
        let mut freed = 0;
        let cap = cap(bounds, class);
        while waiting.bytes + len > cap {
            let Some(oldest) = waiting.held.front() else { break };
            if class == Class::Block {
                return Admission::Refused;
            }
            self.given_up.insert(oldest.ticket);
            if self.given_up.len() > GIVEN_UP_MAX {
                // Of those that the link lost nobody will ask.
                self.given_up.pop_first();
            }
            freed += oldest.len;
            waiting.pop();
        }
        Admission::Waits { freed }
    }

    /// Notes a message that was admitted and is QUIC's from `until` on.
    pub(super) fn hold(&mut self, class: Class, until: u64, len: usize, ticket: u64) {
        class_of(&mut self.classes, class).push(until, len, ticket);
    }

    /// Whether the message with this ticket gave way; asked once, when it would arrive.
    pub(super) fn gave_way(&mut self, ticket: u64) -> bool {
        self.given_up.remove(&ticket)
    }
}

impl Waiting {
    /// Whether `len` bytes more fit below `cap`; one message alone always does.
    pub(super) fn fits(&mut self, now: Mono, len: usize, cap: usize) -> bool {
        self.prune(now);
        self.held.is_empty() || self.bytes + len <= cap
    }

    pub(super) fn push(&mut self, until: u64, len: usize, ticket: u64) {
        self.bytes += len;
        self.held.push_back(Held { until, len, ticket });
    }

    fn prune(&mut self, now: Mono) {
        while self.held.front().is_some_and(|held| held.until <= now.as_nanos()) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(held) = self.held.pop_front() {
            self.bytes -= held.len;
        }
    }
}

/// The most bytes of a class that may wait.
const fn cap(bounds: &OutboxConfig, class: Class) -> usize {
    match class {
        Class::Control => bounds.control_bytes,
        Class::Membership => bounds.membership_bytes,
        Class::Block => bounds.block_bytes,
    }
}

const fn class_of<T>(classes: &mut [T; 3], class: Class) -> &mut T {
    let [control, membership, block] = classes;
    match class {
        Class::Control => control,
        Class::Membership => membership,
        Class::Block => block,
    }
}

/// Messages that gave way and have not arrived.
const GIVEN_UP_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_control_message_gives_way_and_a_block_does_not_fit() {
        let bounds = OutboxConfig { control_bytes: 30, block_bytes: 30, ..OutboxConfig::default() };
        let mut outbox = Outbox::default();
        let fits = Admission::Waits { freed: 0 };
        for ticket in 0..3 {
            assert_eq!(outbox.admit(Mono::ZERO, Class::Control, 10, &bounds), fits);
            outbox.hold(Class::Control, 100 + ticket, 10, ticket);
            assert_eq!(outbox.admit(Mono::ZERO, Class::Block, 10, &bounds), fits);
            outbox.hold(Class::Block, 100 + ticket, 10, 10 + ticket);
        }
        let gives_way = Admission::Waits { freed: 20 };
        assert_eq!(outbox.admit(Mono::ZERO, Class::Control, 20, &bounds), gives_way);
        assert_eq!([0, 1, 2].map(|ticket| outbox.gave_way(ticket)), [true, true, false]);
        assert_eq!(outbox.admit(Mono::ZERO, Class::Block, 10, &bounds), Admission::Refused);
        assert_eq!(outbox.admit(Mono::from_nanos(100), Class::Block, 10, &bounds), fits);
    }

    #[test]
    fn a_block_larger_than_the_bound_waits_alone() {
        let bounds = OutboxConfig { block_bytes: 5, ..OutboxConfig::default() };
        let mut outbox = Outbox::default();
        let fits = Admission::Waits { freed: 0 };
        assert_eq!(outbox.admit(Mono::ZERO, Class::Block, 50, &bounds), fits);
    }
}

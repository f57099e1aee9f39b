//! Push: items are collected for a moment and then passed on together, each so many times.
//!
//! Works on keyed, versioned items, as pull does: a newer version takes the place of the one that waits, an
//! older or equal one is not taken. Infect and die is one iteration.
//!
//! To whom a batch goes is its user's affair.

use std::collections::BTreeMap;
use std::time::Duration;

use gossip_api::{Mono, PkiId};

/// How items are collected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    /// A batch goes out when it has so many items.
    pub(crate) items: usize,
    /// Or when its first item has waited this long.
    pub(crate) wait: Duration,
    /// How many batches each item is part of.
    pub(crate) iterations: usize,
}

/// An item on its way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pushed<K, T> {
    pub(crate) key: K,
    pub(crate) value: T,
    /// Who gave it to us, and is not given it back.
    pub(crate) from: Option<PkiId>,
}

#[derive(Debug)]
struct Waiting<V, T> {
    version: V,
    value: T,
    from: Option<PkiId>,
    left: usize,
}

/// Items that wait for their batch.
#[derive(Debug)]
pub(crate) struct Push<K, V, T> {
    course: Course,
    waiting: BTreeMap<K, Waiting<V, T>>,
    emit_at: Option<Mono>,
}

impl<K: Clone + Ord, V: Ord, T: Clone> Push<K, V, T> {
    pub(crate) const fn new(course: Course) -> Self {
        Self { course, waiting: BTreeMap::new(), emit_at: None }
    }

    /// Takes an item, unless one as new waits; gives back a batch if that makes one.
    // fabric: gossip/gossip/batcher.go Add
    #[must_use]
    pub(crate) fn add(
        &mut self,
        now: Mono,
        key: K,
        version: V,
        value: T,
        from: Option<PkiId>,
    ) -> Vec<Pushed<K, T>> {
        let left = self.course.iterations;
        let held = self.waiting.get(&key);
        if left == 0 || held.is_some_and(|held| held.version >= version) {
            return Vec::new();
        }
        self.waiting.insert(key, Waiting { version, value, from, left });
        if self.waiting.len() >= self.course.items {
            return self.emit(now);
        }
        self.emit_at.get_or_insert(now.after(self.course.wait));
        Vec::new()
    }

    /// The batch that is due, if one is.
    #[must_use]
    pub(crate) fn on_tick(&mut self, now: Mono) -> Vec<Pushed<K, T>> {
        if self.emit_at.is_some_and(|at| now >= at) { self.emit(now) } else { Vec::new() }
    }

    pub(crate) const fn next_wakeup(&self) -> Option<Mono> {
        self.emit_at
    }

    // fabric: gossip/gossip/batcher.go emit
    fn emit(&mut self, now: Mono) -> Vec<Pushed<K, T>> {
        let pushed = self.waiting.iter_mut().map(|(key, item)| {
            item.left -= 1;
            Pushed { key: key.clone(), value: item.value.clone(), from: item.from }
        });
        let pushed = pushed.collect();
        self.waiting.retain(|_, item| item.left > 0);
        self.emit_at = (!self.waiting.is_empty()).then(|| now.after(self.course.wait));
        pushed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(10);

    fn push(items: usize, iterations: usize) -> Push<u64, u64, &'static str> {
        Push::new(Course { items, wait: WAIT, iterations })
    }

    fn at(millis: u64) -> Mono {
        Mono::ZERO.after(Duration::from_millis(millis))
    }

    fn keys(batch: &[Pushed<u64, &'static str>]) -> Vec<u64> {
        batch.iter().map(|item| item.key).collect()
    }

    #[test]
    fn a_batch_goes_out_when_it_is_full_or_old() {
        // fabric: gossip/gossip/batcher_test.go TestBatchingEmitterBurstSizeCap, TestBatchingEmitterExpiration
        let mut push = push(3, 1);
        assert!(push.add(at(0), 1, 0, "a", None).is_empty());
        assert!(push.add(at(1), 2, 0, "b", None).is_empty());
        assert_eq!(keys(&push.add(at(2), 3, 0, "c", None)), [1, 2, 3]);
        assert_eq!(push.next_wakeup(), None, "infect and die");
        assert!(push.add(at(5), 4, 0, "d", None).is_empty());
        assert!(push.add(at(14), 5, 0, "e", None).is_empty());
        assert!(push.on_tick(at(14)).is_empty());
        assert_eq!(push.next_wakeup(), Some(at(15)), "the first item's age counts");
        assert_eq!(keys(&push.on_tick(at(15))), [4, 5]);
        assert!(push.on_tick(at(100)).is_empty());
    }

    #[test]
    fn each_item_goes_out_as_often_as_there_are_iterations() {
        // fabric: gossip/gossip/batcher_test.go TestBatchingEmitterAddAndSize, TestBatchingEmitterZeroBurstSize
        for iterations in 0..4 {
            let mut push = push(100, iterations);
            assert!(push.add(at(0), 1, 0, "a", None).is_empty());
            let batches = (1..100).filter(|tick| !push.on_tick(at(tick * 10)).is_empty());
            assert_eq!(batches.count(), iterations);
            assert_eq!(push.next_wakeup(), None);
        }
    }

    #[test]
    fn a_newer_version_takes_the_place_of_the_one_that_waits() {
        let mut push = push(100, 1);
        let giver = PkiId::from_bytes([1; 32]);
        for (version, value) in [(2, "new"), (1, "old"), (2, "again"), (3, "newest")] {
            assert!(push.add(at(0), 7, version, value, Some(giver)).is_empty());
        }
        let newest = Pushed { key: 7, value: "newest", from: Some(giver) };
        assert_eq!(push.on_tick(at(10)), [newest]);
    }
}

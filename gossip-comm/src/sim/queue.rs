//! What is still to happen, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use gossip_api::Mono;

/// Tasks by time, and by order of arrival within one time.
///
/// The heap holds small keys only; tasks stay where they are until they are due.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Mono, u64, usize)>>,
    slots: Vec<Option<T>>,
    free: Vec<usize>,
    pushed: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), pushed: 0 }
    }

    pub(crate) fn push(&mut self, at: Mono, task: T) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(task);
        }
        self.heap.push(Reverse((at, self.pushed, slot)));
        self.pushed += 1;
    }

    /// The next task, if it is due by `limit`.
    pub(crate) fn pop_until(&mut self, limit: Mono) -> Option<(Mono, T)> {
        let Reverse((at, _, _)) = self.heap.peek()?;
        if *at > limit {
            return None;
        }
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let task = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some((at, task))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_come_by_time_and_then_in_the_order_they_were_pushed() {
        let mut queue = Queue::new();
        for (at, name) in [(2, "c"), (1, "a"), (2, "d"), (1, "b")] {
            queue.push(Mono::from_nanos(at), name);
        }
        let popped: Vec<_> = std::iter::from_fn(|| queue.pop_until(Mono::from_nanos(2)))
            .map(|(_, name)| name)
            .collect();
        assert_eq!(popped, ["a", "b", "c", "d"]);
    }

    #[test]
    fn what_is_not_due_stays_and_slots_are_used_again() {
        let mut queue = Queue::new();
        queue.push(Mono::from_nanos(5), ());
        assert!(queue.pop_until(Mono::from_nanos(4)).is_none());
        assert!(queue.pop_until(Mono::from_nanos(5)).is_some());
        queue.push(Mono::from_nanos(6), ());
        assert_eq!((queue.len(), queue.slots.len()), (1, 1));
    }
}

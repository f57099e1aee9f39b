//! A bounded map from which what is not used falls out first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use std::borrow::Borrow;

/// At most `max` entries; the clock rule evicts. A hit takes a shared lock and changes one flag.
#[derive(Debug)]
pub(crate) struct Cache<K, V> {
    max: usize,
    entries: RwLock<Entries<K, V>>,
}

#[derive(Debug)]
struct Entries<K, V> {
    by_key: BTreeMap<K, Entry<V>>,
    /// Keys in the order in which they will be looked at when room is needed.
    queue: VecDeque<K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    used: AtomicBool,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    pub(crate) fn new(max: usize) -> Self {
        let entries = Entries { by_key: BTreeMap::new(), queue: VecDeque::new() };
        Self { max, entries: RwLock::new(entries) }
    }

    pub(crate) fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.by_key.get(key)?;
        entry.used.store(true, Ordering::Relaxed);
        Some(entry.value.clone())
    }

    pub(crate) fn insert(&self, key: K, value: V) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        let entry = Entry { value, used: AtomicBool::new(false) };
        if entries.by_key.insert(key.clone(), entry).is_none() {
            entries.queue.push_back(key);
        }
        while entries.by_key.len() > self.max {
            entries.evict();
        }
    }

    pub(crate) fn clear(&self) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.by_key.clear();
        entries.queue.clear();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }
}

impl<K: Ord, V> Entries<K, V> {
    /// Removes the first entry in the queue that was not used since it was last looked at.
    fn evict(&mut self) {
        while let Some(key) = self.queue.pop_front() {
            match self.by_key.get(&key) {
                Some(entry) if entry.used.swap(false, Ordering::Relaxed) => {
                    self.queue.push_back(key);
                }
                _ => {
                    self.by_key.remove(&key);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_bound_holds() {
        let cache = Cache::new(8);
        cache.insert(0, "often");
        for key in 1..1_000 {
            assert_eq!(cache.get(&0), Some("often"));
            cache.insert(key, "once");
        }
        assert_eq!(cache.len(), 8);
        assert_eq!(cache.get(&1), None);
        cache.clear();
        assert_eq!((cache.len(), cache.get(&0)), (0, None));
    }
}

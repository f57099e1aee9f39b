//! Messages kept for as long as they are of use, within bounds.
//!
//! A message has a [`Slot`]: what it is about, where it stands, and what it outranks. At most one is held
//! in a place, so that adding, replacing and removing take time logarithmic in the number held. A message
//! that has lived its time leaves a *tombstone*, its slot alone: nobody sees it, it still refuses repeats,
//! and is gone after the same time again.
//!
//! # Invariants
//! - Never more live messages, bytes, messages of one owner, or tombstones than configured.
//! - What an owner adds at its own cap displaces nobody else's.
// fabric: gossip/gossip/msgstore/msgs.go messageStoreImpl
// fabric-differs: keyed instead of scanned; told the time instead of sweeping; bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::config::{Checked, ConfigError};
use crate::id::PkiId;
use crate::machine::Mono;
use crate::message::{Lane, Message, Slot};
use crate::verify::Verified;

/// What a [`MessageStore`] has to know of what it keeps.
pub trait Storable {
    /// What items are about; those of different lanes never affect each other.
    type Lane: Clone + Ord;
    /// On whose account an item is kept.
    type Owner: Clone + Ord;

    /// Where the item stands; nothing if it is not to be stored.
    fn slot(&self) -> Option<Slot<Self::Lane>>;

    /// On whose account it is kept.
    fn owner(&self) -> Self::Owner;

    /// Bytes that it holds; the same whenever asked.
    fn size(&self) -> usize;
}

impl Storable for Verified<Message> {
    type Lane = Lane;
    type Owner = PkiId;

    fn slot(&self) -> Option<Slot<Lane>> {
        self.message().slot(self.author())
    }

    fn owner(&self) -> PkiId {
        self.author()
    }

    fn size(&self) -> usize {
        self.envelope().encoded_len()
    }
}

/// Who makes room at a full store. At an owner's cap it is that owner's oldest, except with `Newcomer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evict {
    /// The newcomer is refused: for what comes again by itself.
    Newcomer,
    /// The oldest of all makes room: for what loses its worth with age.
    Oldest,
    /// The oldest of the owner that holds most makes room: for what anybody may send, so that a flood
    /// displaces itself.
    LargestOwner,
}

/// Bounds of a [`MessageStore`].
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// How long an item is seen; its tombstone stays as long again. Nothing: for ever.
    pub live_for: Option<Duration>,
    /// Live items; tombstones are kept up to the same number.
    pub items_max: usize,
    /// Bytes of live items.
    pub bytes_max: usize,
    /// Live items of one owner.
    pub items_per_owner_max: usize,
    /// How far two positions of a lane may lie apart. Fabric: `maxBlockCountToStore`, 10.
    pub window: u64,
    /// Who makes room.
    pub evict: Evict,
}

impl StoreConfig {
    /// Rules out contradictions.
    ///
    /// # Errors
    /// If nothing could be stored, or an owner may hold more than all together.
    pub fn checked(self) -> Result<Checked<Self>, ConfigError> {
        if self.items_per_owner_max == 0 || self.items_max < self.items_per_owner_max {
            return Err(ConfigError(format!(
                "items_per_owner_max ({}) must be at least 1 and at most items_max ({})",
                self.items_per_owner_max, self.items_max
            )));
        }
        if self.bytes_max == 0 || self.live_for == Some(Duration::ZERO) {
            return Err(ConfigError("bytes_max and live_for must not be zero".into()));
        }
        Ok(Checked::assume(self))
    }
}

/// Why an item was not stored. The store is unchanged, but for what had run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The same or a newer one is held, or was not long ago.
    Replaced,
    /// Its position lies too far below the highest of its lane.
    BelowWindow,
    /// Items of its kind are not stored.
    NoSlot,
    /// It is larger than all that may be held.
    TooLarge,
    /// There is no room, and nobody makes any.
    Full,
}

/// Why an item left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// A newer one took its place, or left it below the window.
    Replaced,
    /// It lived its time.
    Expired,
    /// It made room.
    Evicted,
}

/// What adding did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added<T> {
    /// Whether the item is held.
    pub outcome: Result<(), Refusal>,
    /// What left, in order; what ran out is named by whichever call notices it.
    pub left: Vec<(T, Left)>,
}

/// Keeps items by slot; see the module.
pub struct MessageStore<T: Storable> {
    config: Checked<StoreConfig>,
    entries: BTreeMap<Key<T>, Entry<T>>,
    /// Live items by arrival, which is by age.
    live: BTreeMap<u64, Key<T>>,
    /// Tombstones by arrival of what they stand for.
    tombs: BTreeMap<u64, Key<T>>,
    /// Live items by owner and arrival.
    owners: BTreeMap<T::Owner, BTreeMap<u64, Key<T>>>,
    /// Owners by the number of their items.
    by_count: BTreeSet<(usize, T::Owner)>,
    bytes: usize,
    arrivals: u64,
    now: Mono,
}

type Key<T> = (<T as Storable>::Lane, u64);

struct Entry<T> {
    /// Nothing in a tombstone.
    item: Option<T>,
    rank: (u64, u64),
    added: Mono,
    arrival: u64,
}

impl<T: Storable> MessageStore<T> {
    /// An empty store.
    pub fn new(config: Checked<StoreConfig>) -> Self {
        Self {
            config,
            entries: BTreeMap::new(),
            live: BTreeMap::new(),
            tombs: BTreeMap::new(),
            owners: BTreeMap::new(),
            by_count: BTreeSet::new(),
            bytes: 0,
            arrivals: 0,
            now: Mono::ZERO,
        }
    }

    /// Keeps `item` unless something held makes it void; takes out what it makes void, and who makes room.
    // fabric: gossip/gossip/msgstore/msgs.go Add
    pub fn add(&mut self, now: Mono, item: T) -> Added<T> {
        let mut left: Vec<(T, Left)> =
            self.expire(now).into_iter().map(|item| (item, Left::Expired)).collect();
        let outcome = self.check(now, &item).map(|slot| self.insert(slot, item, &mut left));
        Added { outcome, left }
    }

    /// Whether [`add`](Self::add) would keep `item`, if nothing more ran out before.
    ///
    /// # Errors
    /// What it would answer.
    // fabric: gossip/gossip/msgstore/msgs.go CheckValid
    pub fn check_valid(&self, now: Mono, item: &T) -> Result<(), Refusal> {
        self.check(now, item).map(drop)
    }

    /// Takes out what has lived its time by `now`; their tombstones stay as long again.
    // fabric: gossip/gossip/msgstore/msgs.go expireMessages
    pub fn expire(&mut self, now: Mono) -> Vec<T> {
        self.now = self.now.max(now);
        let mut expired = Vec::new();
        while let Some(key) = self.oldest_past(&self.live, 1) {
            expired.extend(self.bury(&key));
        }
        while let Some(key) = self.oldest_past(&self.tombs, 2) {
            self.forget(&key);
        }
        while self.tombs.len() > self.config.items_max {
            let Some(key) = self.tombs.values().next().cloned() else { break };
            self.forget(&key);
        }
        expired
    }

    /// When [`expire`](Self::expire) next takes something out.
    pub fn next_expiry(&self) -> Option<Mono> {
        let live_for = self.config.live_for?;
        let oldest = self.live.values().next().and_then(|key| self.entries.get(key))?;
        Some(oldest.added.after(live_for))
    }

    /// Takes out what `unwanted` picks, without a tombstone.
    // fabric: gossip/gossip/msgstore/msgs.go Purge
    pub fn purge(&mut self, mut unwanted: impl FnMut(&T) -> bool) -> Vec<T> {
        let picked = |(key, entry): (&Key<T>, &Entry<T>)| {
            entry.item.as_ref().is_some_and(&mut unwanted).then(|| key.clone())
        };
        let keys: Vec<Key<T>> = self.entries.iter().filter_map(picked).collect();
        keys.iter().filter_map(|key| self.forget(key)).collect()
    }

    /// The item in one place of a lane, as of the last time told.
    pub fn get(&self, lane: &T::Lane, position: u64) -> Option<&T> {
        self.entries.get(&(lane.clone(), position))?.item.as_ref()
    }

    /// All items, by lane and position, as of the last time told.
    // fabric: gossip/gossip/msgstore/msgs.go Get
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.values().filter_map(|entry| entry.item.as_ref())
    }

    /// How many items there are, tombstones not counted, as of the last time told.
    // fabric: gossip/gossip/msgstore/msgs.go Size
    pub fn len(&self) -> usize {
        self.live.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    /// Bytes that they hold.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many tombstones there are.
    pub fn tombstones(&self) -> usize {
        self.tombs.len()
    }

    fn check(&self, now: Mono, item: &T) -> Result<Slot<T::Lane>, Refusal> {
        let slot = item.slot().ok_or(Refusal::NoSlot)?;
        if item.size() > self.config.bytes_max {
            return Err(Refusal::TooLarge);
        }
        let mut lane = self
            .entries
            .range((slot.lane.clone(), slot.position)..=(slot.lane.clone(), u64::MAX))
            .filter(|(_, entry)| !self.has_lived(entry, now, 2));
        if let Some(((_, highest), _)) = lane.next_back()
            && *highest - slot.position > self.config.window
        {
            return Err(Refusal::BelowWindow);
        }
        match self.entries.get(&(slot.lane.clone(), slot.position)) {
            Some(held) if slot.rank <= held.rank && !self.has_lived(held, now, 2) => {
                Err(Refusal::Replaced)
            }
            _ if self.config.evict == Evict::Newcomer => self.check_room(slot, item),
            _ => Ok(slot),
        }
    }

    /// Whether there is room for `item` once what it makes void is gone.
    fn check_room(&self, slot: Slot<T::Lane>, item: &T) -> Result<Slot<T::Lane>, Refusal> {
        let owner = item.owner();
        let own = self.owners.get(&owner).map_or(0, BTreeMap::len);
        let (mut items, mut bytes, mut own) = (self.len() + 1, self.bytes + item.size(), own + 1);
        let void = self.void(&slot);
        for gone in void.iter().filter_map(|key| self.entries.get(key)?.item.as_ref()) {
            items -= 1;
            bytes -= gone.size();
            own -= usize::from(gone.owner() == owner);
        }
        let fits = items <= self.config.items_max
            && bytes <= self.config.bytes_max
            && own <= self.config.items_per_owner_max;
        if fits { Ok(slot) } else { Err(Refusal::Full) }
    }

    /// What an item in `slot` makes void: the one in its place, and those below the window.
    fn void(&self, slot: &Slot<T::Lane>) -> Vec<Key<T>> {
        let key = (slot.lane.clone(), slot.position);
        let lowest = slot.position.saturating_sub(self.config.window);
        let below = (slot.lane.clone(), 0)..(slot.lane.clone(), lowest);
        let below = self.entries.range(below).map(|(key, _)| key.clone());
        below.chain(self.entries.contains_key(&key).then_some(key)).collect()
    }

    fn insert(&mut self, slot: Slot<T::Lane>, item: T, left: &mut Vec<(T, Left)>) {
        let (owner, size) = (item.owner(), item.size());
        let void = self.void(&slot);
        let void = void.iter().filter_map(|key| self.forget(key));
        left.extend(void.map(|item| (item, Left::Replaced)));
        let key = (slot.lane, slot.position);
        while let Some(victim) = self.victim(&owner, size) {
            left.extend(self.forget(&victim).map(|item| (item, Left::Evicted)));
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += size;
        self.live.insert(arrival, key.clone());
        self.recount(&owner, |items| {
            items.insert(arrival, key.clone());
        });
        let entry = Entry { item: Some(item), rank: slot.rank, added: self.now, arrival };
        self.entries.insert(key, entry);
    }

    /// Who makes room for an item of `owner` with `size` bytes; nobody if there is room.
    fn victim(&self, owner: &T::Owner, size: usize) -> Option<Key<T>> {
        let own = self.owners.get(owner);
        if own.is_some_and(|own| own.len() >= self.config.items_per_owner_max) {
            return own.and_then(|own| own.values().next()).cloned();
        }
        let full =
            self.live.len() >= self.config.items_max || self.bytes + size > self.config.bytes_max;
        if !full {
            return None;
        }
        match self.config.evict {
            Evict::Newcomer => None,
            Evict::Oldest => self.live.values().next().cloned(),
            Evict::LargestOwner => {
                let (_, largest) = self.by_count.last()?;
                self.owners.get(largest).and_then(|items| items.values().next()).cloned()
            }
        }
    }

    /// Turns a live item into a tombstone.
    fn bury(&mut self, key: &Key<T>) -> Option<T> {
        let entry = self.entries.get_mut(key)?;
        let (item, arrival) = (entry.item.take()?, entry.arrival);
        self.unlist(&item, arrival);
        self.tombs.insert(arrival, key.clone());
        Some(item)
    }

    /// Takes out an item, or a tombstone.
    fn forget(&mut self, key: &Key<T>) -> Option<T> {
        let entry = self.entries.remove(key)?;
        match &entry.item {
            Some(item) => self.unlist(item, entry.arrival),
            None => drop(self.tombs.remove(&entry.arrival)),
        }
        entry.item
    }

    fn unlist(&mut self, item: &T, arrival: u64) {
        self.live.remove(&arrival);
        self.bytes -= item.size();
        self.recount(&item.owner(), |items| {
            items.remove(&arrival);
        });
    }

    fn recount(&mut self, owner: &T::Owner, change: impl FnOnce(&mut BTreeMap<u64, Key<T>>)) {
        let mut items = self.owners.remove(owner).unwrap_or_default();
        self.by_count.remove(&(items.len(), owner.clone()));
        change(&mut items);
        if !items.is_empty() {
            self.by_count.insert((items.len(), owner.clone()));
            self.owners.insert(owner.clone(), items);
        }
    }

    /// The oldest of `list` if it has lived `times` its time.
    fn oldest_past(&self, list: &BTreeMap<u64, Key<T>>, times: u32) -> Option<Key<T>> {
        let key = list.values().next()?;
        let entry = self.entries.get(key)?;
        self.has_lived(entry, self.now, times).then(|| key.clone())
    }

    fn has_lived(&self, entry: &Entry<T>, now: Mono, times: u32) -> bool {
        let live_for = self.config.live_for;
        live_for.is_some_and(|live_for| now.since(entry.added) >= live_for.saturating_mul(times))
    }
}

impl<T: Storable> fmt::Debug for MessageStore<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageStore({} items, {} bytes)", self.len(), self.bytes)
    }
}

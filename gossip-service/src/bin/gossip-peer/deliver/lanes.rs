//! Readers of one channel in groups, so that a block is read once for all of a group.
//!
//! ```text
//!   lane:   first [ block | block | ... | block ] end        at most so many bytes
//!            ^ the last reader                    ^ the first one: to read on, the oldest block has to go
//! ```
//!
//! Who is ahead waits until nobody of its lane, or close behind it, needs the oldest block. The wait has bounds: half of the lane
//! is held up for half of its time at most, and each reader as long as it has patience. Then the block goes,
//! and who needed it reads it again, in a lane of its own until it finds the others' blocks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::OnceCell;

/// A block that is at hand, or being read for whoever waits.
pub(super) type Slot = Arc<OnceCell<Bytes>>;

/// Where a reader finds the block it asks for.
#[derive(Debug)]
pub(super) enum Found {
    /// Here; whoever comes first reads it.
    Slot(Slot),
    /// There will be room for it when those behind have come on; look again after so long at the latest.
    NoRoomYet(Duration),
}

/// The lanes of one channel. Readers ask for one block after the other.
#[derive(Debug)]
pub(super) struct Lanes {
    bytes_max: usize,
    lanes: Vec<Lane>,
    readers: BTreeMap<u64, Place>,
    reader_ids: u64,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The block that it needs next.
    next: u64,
    /// It is held back.
    waits: bool,
}

/// Consecutive blocks.
#[derive(Debug)]
struct Lane {
    first: u64,
    /// With the length of the block, once it has been read.
    slots: VecDeque<(Slot, usize)>,
    bytes: usize,
    /// How long the half of the lane may still be held up.
    patience: Duration,
    /// As of when, and whether it is being held up since.
    counted: Instant,
    is_held: bool,
}

impl Lanes {
    /// No lane yet; each holds at most `bytes_max`, or one block.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, lanes: Vec::new(), readers: BTreeMap::new(), reader_ids: 0 }
    }

    /// A reader comes; its number.
    pub(super) fn enter(&mut self) -> u64 {
        self.reader_ids += 1;
        let nowhere = Place { next: u64::MAX, waits: false };
        self.readers.insert(self.reader_ids, nowhere);
        self.reader_ids
    }

    /// A reader goes; the last one takes all blocks with it. Whether somebody may wait for that.
    pub(super) fn leave(&mut self, reader: u64) -> bool {
        let was_at = self.readers.remove(&reader);
        if self.readers.is_empty() {
            self.lanes.clear();
        }
        was_at.is_some_and(|at| self.is_first(at.next))
    }

    /// A reader has its block, and needs `next`. Whether somebody may wait for that.
    pub(super) fn moved(&mut self, reader: u64, next: u64) -> bool {
        let was_at = self.readers.insert(reader, Place { next, waits: false });
        was_at.is_some_and(|at| self.is_first(at.next))
    }

    fn is_first(&self, number: u64) -> bool {
        self.lanes.iter().any(|lane| lane.first == number)
    }

    /// Block `number` for a reader. One that is not `patient` gets a place for it, whoever is left behind.
    pub(super) fn find(&mut self, reader: u64, number: u64, patient: bool, now: Instant) -> Found {
        self.readers.insert(reader, Place { next: number, waits: false });
        let found = self.look(reader, number, patient, now);
        if let Some(place) = self.readers.get_mut(&reader) {
            place.waits = matches!(found, Found::NoRoomYet(_));
        }
        found
    }

    fn look(&mut self, reader: u64, number: u64, patient: bool, now: Instant) -> Found {
        if let Some(slot) = self.lanes.iter().find_map(|lane| lane.get(number)) {
            return Found::Slot(slot);
        }
        let Some(at) = self.lanes.iter().position(|lane| lane.end() == number) else {
            return Found::Slot(self.begin(number, now));
        };
        let Self { lanes, readers, bytes_max, .. } = self;
        let Some(lane) = lanes.get_mut(at) else { return Found::Slot(Slot::default()) };
        while lane.bytes >= *bytes_max {
            if let Some(wait) = lane.wait(readers, reader, now).filter(|_| patient) {
                return Found::NoRoomYet(wait);
            }
            lane.drop_oldest();
        }
        lane.count(false, now);
        Found::Slot(lane.push(Slot::default(), 0))
    }

    /// A block was read, and takes so much room from now on.
    pub(super) fn account(&mut self, number: u64, slot: &Slot, len: usize) {
        for lane in &mut self.lanes {
            let Some((held, counted)) = lane.entry(number) else { continue };
            if Arc::ptr_eq(held, slot) {
                *counted = len;
                lane.bytes = lane.bytes.saturating_add(len);
            }
        }
    }

    /// A new block of the chain, for those who follow its tip. Nobody is waited for.
    pub(super) fn append(&mut self, number: u64, encode: impl FnOnce() -> Bytes) {
        if self.readers.is_empty() {
            return;
        }
        let encoded = encode();
        let len = encoded.len();
        let slot = Arc::new(OnceCell::new_with(Some(encoded)));
        let bytes_max = self.bytes_max;
        if let Some(lane) = self.lanes.iter_mut().find(|lane| lane.end() == number) {
            while lane.bytes >= bytes_max {
                lane.drop_oldest();
            }
            lane.push(slot, len);
        } else if let Some(place) = self.place_for_a_lane(Instant::now()) {
            place.first = number;
            place.push(slot, len);
        }
    }

    /// The slot of a new lane; of none if there are too many lanes.
    fn begin(&mut self, number: u64, now: Instant) -> Slot {
        let slot = Slot::default();
        if let Some(place) = self.place_for_a_lane(now) {
            place.first = number;
            place.push(Arc::clone(&slot), 0);
        }
        slot
    }

    /// An empty lane: a new one, or one that nobody goes through any more.
    fn place_for_a_lane(&mut self, now: Instant) -> Option<&mut Lane> {
        let Self { lanes, readers, .. } = self;
        let is_used = |lane: &Lane| readers.values().any(|place| lane.is_passed_by(place.next));
        let at = match lanes.iter().position(|lane| !is_used(lane)) {
            Some(at) => at,
            None if lanes.len() < LANES_MAX => lanes.len(),
            None => return None,
        };
        let fresh = Lane {
            first: 0,
            slots: VecDeque::new(),
            bytes: 0,
            patience: HELD_MAX,
            counted: now,
            is_held: false,
        };
        if at == lanes.len() {
            lanes.push(fresh);
        } else if let Some(lane) = lanes.get_mut(at) {
            *lane = fresh;
        }
        lanes.get_mut(at)
    }
}

impl Lane {
    /// How long `reader` may wait for somebody who needs the oldest block; nothing if it need not.
    fn wait(
        &mut self,
        readers: &BTreeMap<u64, Place>,
        reader: u64,
        now: Instant,
    ) -> Option<Duration> {
        let needs = |place: &Place| place.next <= self.first && self.is_near(place.next);
        if !readers.iter().any(|(other, place)| *other != reader && needs(place)) {
            self.count(false, now);
            return None;
        }
        let (mut all, mut waiting) = (0usize, 0usize);
        for (other, place) in readers.iter().filter(|(_, place)| self.is_near(place.next)) {
            all += 1;
            waiting += usize::from(place.waits || *other == reader);
        }
        self.count(waiting * 2 >= all, now);
        let wait = if self.is_held { self.patience } else { LOOK_AGAIN_AFTER };
        (!self.patience.is_zero()).then_some(wait.min(LOOK_AGAIN_AFTER))
    }

    /// The time since the last count takes of the lane's patience, or adds to it.
    fn count(&mut self, is_held: bool, now: Instant) {
        let since = now.saturating_duration_since(self.counted);
        self.patience = match self.is_held {
            true => self.patience.saturating_sub(since),
            false => self.patience.saturating_add(since).min(HELD_MAX),
        };
        (self.counted, self.is_held) = (now, is_held);
    }

    /// In the lane, or no farther behind than it is long: who began a moment later.
    fn is_near(&self, next: u64) -> bool {
        let near = self.first.saturating_sub(self.slots.len() as u64);
        (near..=self.end()).contains(&next)
    }

    fn is_passed_by(&self, next: u64) -> bool {
        (self.first..=self.end()).contains(&next)
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.slots.len() as u64)
    }

    fn get(&self, number: u64) -> Option<Slot> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get(at).map(|(slot, _)| Arc::clone(slot))
    }

    fn entry(&mut self, number: u64) -> Option<&mut (Slot, usize)> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.slots.get_mut(at)
    }

    fn push(&mut self, slot: Slot, len: usize) -> Slot {
        self.slots.push_back((Arc::clone(&slot), len));
        self.bytes = self.bytes.saturating_add(len);
        slot
    }

    /// A block that is still being read is not counted yet, nor taken off.
    fn drop_oldest(&mut self) {
        match self.slots.pop_front() {
            Some((_, len)) => {
                self.first = self.first.saturating_add(1);
                self.bytes = self.bytes.saturating_sub(len);
            }
            None => self.bytes = 0,
        }
    }
}

/// Groups of readers that blocks are kept for; who finds no place in one reads for itself.
const LANES_MAX: usize = 3;
/// Who waits looks that often whether the others wait too.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(50);
/// So long at a time the half of a lane is held up by the others.
const HELD_MAX: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

    use super::*;

    struct Bench {
        lanes: Lanes,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            Self { lanes: Lanes::new(30), now: Instant::now() }
        }

        fn pass(&mut self, milliseconds: u64) {
            self.now += Duration::from_millis(milliseconds);
        }

        /// Reads as the chain does; whether the store was asked, or nothing if there is no room yet.
        fn read(&mut self, reader: u64, number: u64, patient: bool) -> Option<bool> {
            let Self { lanes, now } = self;
            let Found::Slot(slot) = lanes.find(reader, number, patient, *now) else { return None };
            let is_read = !slot.initialized();
            if is_read {
                slot.set(Bytes::from_static(&[0; 10])).unwrap();
                lanes.account(number, &slot, 10);
            }
            lanes.moved(reader, number + 1);
            Some(is_read)
        }

        fn held(&self) -> usize {
            self.lanes.lanes.iter().map(|lane| lane.bytes).sum()
        }
    }

    #[test]
    fn who_is_ahead_waits_for_the_last_of_its_lane_and_no_longer_than_it_wants() {
        let mut bench = Bench::new();
        let (fast, slow) = (bench.lanes.enter(), bench.lanes.enter());
        assert_eq!(bench.read(slow, 0, true), Some(true));
        for number in 0..3 {
            assert_eq!(bench.read(fast, number, true), Some(number > 0));
        }
        assert_eq!(bench.read(slow, 1, true), Some(false), "the block is at hand");
        assert_eq!(bench.read(fast, 3, true), Some(true), "block 0 is needed by nobody");
        assert_eq!(bench.read(fast, 4, true), Some(true), "nor is block 1");
        assert_eq!(bench.read(fast, 5, true), None, "block 2 is");
        assert_eq!(bench.read(fast, 5, false), Some(true));
        assert_eq!(bench.read(slow, 2, true), Some(true), "who is left behind reads again");
        assert_eq!(bench.read(slow, 3, true), Some(false), "until it finds the others");
        assert!(bench.held() <= 40, "{:?}", bench.lanes);
    }

    #[test]
    fn a_few_wait_for_the_most_and_the_most_do_not_wait_long_for_a_few() {
        for (ahead, held_up) in [(2, false), (5, true), (9, true)] {
            let mut bench = Bench::new();
            let all: Vec<u64> = (0..10).map(|_| bench.lanes.enter()).collect();
            let (fast, slow) = all.split_at(ahead);
            for number in 0..3 {
                for reader in fast {
                    bench.read(*reader, number, true);
                }
            }
            for reader in slow {
                bench.read(*reader, 0, true);
            }
            bench.read(fast[0], 3, true);
            // Those behind move, each block later than the one before, and never stand still.
            let mut waited = 0;
            'wait: for next in 1.. {
                for _ in 0..4 {
                    bench.pass(100);
                    waited += 100;
                    for reader in fast {
                        if bench.read(*reader, 4, true).is_some() {
                            break 'wait;
                        }
                    }
                    if waited >= 4000 {
                        break 'wait;
                    }
                }
                // All but one of them come on: the oldest block stays needed.
                for reader in &slow[1..] {
                    bench.read(*reader, next, true);
                }
                bench.lanes.moved(slow[0], 1);
            }
            assert_eq!(waited <= 1200, held_up, "{ahead} ahead waited {waited} ms");
        }
    }

    #[test]
    fn who_begins_a_moment_later_is_waited_for_and_joins() {
        let mut bench = Bench::new();
        let (first, second) = (bench.lanes.enter(), bench.lanes.enter());
        for number in 0..5 {
            assert_eq!(bench.read(first, number, true), Some(true));
        }
        assert_eq!(bench.read(second, 0, true), Some(true), "in a lane of its own");
        assert_eq!(bench.read(first, 5, true), None, "the other one is close");
        assert_eq!(bench.read(second, 1, true), Some(true));
        assert_eq!(bench.read(second, 2, true), Some(false), "here they meet");
        assert_eq!(bench.read(first, 5, true), Some(true));
        assert_eq!(bench.lanes.lanes.len(), 2);
    }

    #[test]
    fn groups_far_apart_have_lanes_of_their_own_and_those_too_many_share_nothing() {
        let mut bench = Bench::new();
        let enter = |bench: &mut Bench| (bench.lanes.enter(), bench.lanes.enter());
        let pairs: Vec<(u64, u64)> = (0..5).map(|_| enter(&mut bench)).collect();
        for round in 0..10 {
            for (group, (one, other)) in (0..).zip(&pairs) {
                let number = group * 100 + round;
                assert_eq!(bench.read(*one, number, true), Some(true));
                let shared = group < LANES_MAX as u64;
                assert_eq!(bench.read(*other, number, true), Some(!shared), "{group}");
            }
        }
        assert_eq!(bench.held(), LANES_MAX * 30);
        for (one, other) in pairs {
            bench.lanes.leave(one);
            bench.lanes.leave(other);
        }
        assert_eq!(bench.held(), 0, "nobody reads, nothing is held");
    }

    #[test]
    fn new_blocks_are_at_hand_for_who_follows_the_tip_and_stop_for_nobody() {
        let mut bench = Bench::new();
        bench.lanes.append(7, || Bytes::from_static(&[0; 10]));
        assert_eq!(bench.held(), 0, "nobody reads");
        let reader = bench.lanes.enter();
        for number in 8..20 {
            bench.lanes.append(number, || Bytes::from_static(&[0; 10]));
        }
        assert_eq!(bench.held(), 30);
        assert_eq!(bench.read(reader, 17, true), Some(false));
        assert_eq!(bench.read(reader, 16, true), Some(true));
    }
}

//! What invalidates what, and the store that acts on it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use Relation::{NoAction, ReplacedBy, Replaces};
use bytes::Bytes;
use gossip_api::message::{
    Circumstances, DataMessage, LeadershipKind, LeadershipMessage, PullUpdate, Record, Relation,
    Slot, StateInfo,
};
use gossip_api::{
    Added, Blob, Block, ChannelId, ChannelTag, Envelope, Epoch, Evict, Height, Left, Message,
    MessageStore, Mono, NetworkId, Nonce, PkiId, Refusal, SeqNum, Storable, StoreConfig, Verified,
};
use proptest::prelude::*;
use support::{Host, at};

fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

fn record(peer: u8, epoch: u64, version: u32) -> Message {
    Message::Record(Record {
        pki_id: PkiId::from_bytes([peer; 32]),
        epoch: Epoch::new(epoch),
        version,
        endpoint: None,
        secret: [0; 32],
        metadata: Blob::default(),
        first_beat: 0,
        chain_len: 0,
        chain_end: [0; 32],
    })
}

fn info(peer: u8, tag: u8, epoch: u64, sequence: u64) -> Message {
    Message::StateInfo(StateInfo {
        tag: ChannelTag::from_bytes([tag; 32]),
        pki_id: PkiId::from_bytes([peer; 32]),
        epoch: Epoch::new(epoch),
        sequence,
        height: Height::new(1),
        left_channel: false,
    })
}

fn claim(name: &str, term: u64, kind: LeadershipKind) -> Message {
    let height = Height::new(1);
    Message::Leadership(LeadershipMessage { channel: channel(name), kind, term, height })
}

fn block(number: u64) -> Block {
    let number = SeqNum::new(number);
    let none = Bytes::new();
    Block {
        number,
        previous_hash: none.clone(),
        data_hash: none.clone(),
        data: none.clone(),
        metadata: none,
    }
}

fn data(name: &str, number: u64) -> Message {
    Message::Data(DataMessage { channel: channel(name), block: block(number) })
}

fn update(name: &str, number: u64) -> Message {
    let nonce = Nonce::new(1);
    Message::Update(PullUpdate { nonce, channel: channel(name), block: block(number) })
}

/// Both directions; `there` is what the second means for the first.
fn check(new: &Message, held: &Message, here: Relation, there: Relation) {
    let circumstances = Circumstances { same_sender: true, window: 10 };
    assert_eq!(new.replaces(held, circumstances), here, "{new:?} {held:?}");
    assert_eq!(held.replaces(new, circumstances), there, "{held:?} {new:?}");
}

#[test]
fn a_members_record_gives_way_to_its_newer_one_only() {
    // fabric: gossip/protoext/msgcomparator_test.go TestAliveMessageNoActionTaken
    check(&record(1, 5, 5), &record(2, 1, 1), NoAction, NoAction);
    // fabric: gossip/protoext/msgcomparator_test.go TestAliveMessageInvalidation
    check(&record(1, 1, 1), &record(1, 1, 1), ReplacedBy, ReplacedBy);
    check(&record(1, 1, 2), &record(1, 1, 1), Replaces, ReplacedBy);
    check(&record(1, 2, 0), &record(1, 1, u32::MAX), Replaces, ReplacedBy);
}

#[test]
fn a_state_info_gives_way_to_the_members_newer_one_in_the_same_channel() {
    // fabric: gossip/protoext/msgcomparator_test.go TestStateInfoMessageNoActionTaken
    check(&info(1, 1, 5, 5), &info(2, 1, 1, 1), NoAction, NoAction);
    check(&info(1, 1, 5, 5), &info(1, 2, 1, 1), NoAction, NoAction);
    // fabric: gossip/protoext/msgcomparator_test.go TestStateInfoMessagesInvalidation
    check(&info(1, 1, 1, 1), &info(1, 1, 1, 1), ReplacedBy, ReplacedBy);
    check(&info(1, 1, 1, 2), &info(1, 1, 1, 1), Replaces, ReplacedBy);
    check(&info(1, 1, 2, 0), &info(1, 1, 1, 9), Replaces, ReplacedBy);
}

#[test]
fn of_two_blocks_far_apart_the_higher_stays() {
    // fabric: gossip/protoext/msgcomparator_test.go TestDataMessageInvalidation
    check(&data("a", 7), &data("a", 7), ReplacedBy, ReplacedBy);
    check(&data("a", 7), &data("a", 17), NoAction, NoAction);
    check(&data("a", 18), &data("a", 7), Replaces, ReplacedBy);
    check(&update("a", 7), &data("a", 7), ReplacedBy, ReplacedBy);
    check(&data("a", u64::MAX), &data("a", 0), Replaces, ReplacedBy);
    check(&data("a", 18), &data("b", 7), NoAction, NoAction);
}

#[test]
fn a_claim_gives_way_to_the_candidates_later_one() {
    use LeadershipKind::{Declare, Propose, Resign};
    // fabric: gossip/protoext/msgcomparator_test.go TestLeadershipMessagesInvalidation
    check(&claim("a", 2, Propose), &claim("a", 1, Resign), Replaces, ReplacedBy);
    check(&claim("a", 1, Declare), &claim("a", 1, Propose), Replaces, ReplacedBy);
    check(&claim("a", 1, Resign), &claim("a", 1, Declare), Replaces, ReplacedBy);
    check(&claim("a", 1, Declare), &claim("a", 1, Declare), ReplacedBy, ReplacedBy);
    check(&claim("a", 2, Declare), &claim("b", 1, Declare), NoAction, NoAction);
    // fabric: gossip/protoext/msgcomparator_test.go TestLeadershipMessagesNoAction
    let others = Circumstances { same_sender: false, window: 10 };
    let (new, held) = (claim("a", 2, Declare), claim("a", 1, Declare));
    assert_eq!(new.replaces(&held, others), NoAction);
}

/// Every kind once, and more of those that are compared.
fn of_every_kind() -> Vec<Message> {
    let mut all = support::samples();
    all.extend([record(1, 1, 1), info(1, 1, 1, 1), claim("trade", 9, LeadershipKind::Resign)]);
    all.extend([data("trade", 7), data("trade", 700), update("trade", 7)]);
    all
}

#[test]
fn two_kinds_never_affect_each_other_but_for_blocks_pushed_and_pulled() {
    let all = of_every_kind();
    let circumstances = Circumstances { same_sender: true, window: 10 };
    let is_block = |message: &Message| matches!(message, Message::Data(_) | Message::Update(_));
    for new in &all {
        for held in &all {
            let (here, there) =
                (new.replaces(held, circumstances), held.replaces(new, circumstances));
            let related = new.kind() == held.kind() || (is_block(new) && is_block(held));
            assert!(related || here == NoAction, "{new:?} {held:?}");
            let mirrored = matches!(
                (here, there),
                (NoAction, NoAction) | (Replaces, ReplacedBy) | (ReplacedBy, Replaces | ReplacedBy)
            );
            assert!(mirrored, "{new:?} {held:?} {here:?} {there:?}");
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    lane: u8,
    position: u64,
    rank: u64,
    owner: u8,
    size: usize,
}

impl Storable for Item {
    type Lane = u8;
    type Owner = u8;

    fn slot(&self) -> Option<Slot<u8>> {
        (self.lane < 200).then_some(Slot {
            lane: self.lane,
            position: self.position,
            rank: (0, self.rank),
        })
    }

    fn owner(&self) -> u8 {
        self.owner
    }

    fn size(&self) -> usize {
        self.size
    }
}

fn item(lane: u8, rank: u64) -> Item {
    Item { lane, position: 0, rank, owner: lane, size: 1 }
}

fn config() -> StoreConfig {
    StoreConfig {
        live_for: Some(Duration::from_secs(10)),
        items_max: 100,
        bytes_max: 1000,
        items_per_owner_max: 100,
        window: 10,
        evict: Evict::Oldest,
    }
}

fn store(config: StoreConfig) -> MessageStore<Item> {
    MessageStore::new(config.checked().unwrap())
}

fn second(seconds: u64) -> Mono {
    at(seconds).mono
}

fn kept(added: Added<Item>) -> Vec<(Item, Left)> {
    added.outcome.unwrap();
    added.left
}

#[test]
fn unrelated_items_stand_side_by_side() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestSize
    // fabric: gossip/gossip/msgstore/msgs_test.go TestMessagesGet
    let mut store = store(config());
    for lane in 0..3 {
        assert_eq!(kept(store.add(Mono::ZERO, item(lane, 1))), []);
    }
    assert_eq!((store.len(), store.bytes()), (3, 3));
    assert_eq!(store.iter().map(|item| item.lane).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(store.get(&1, 0), Some(&item(1, 1)));
    assert_eq!(store.get(&1, 1), None);
}

#[test]
fn each_newer_item_replaces_the_one_before_and_hands_it_back() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestNewMessagesInvalidates
    let mut store = store(config());
    kept(store.add(Mono::ZERO, item(0, 0)));
    for rank in 1..50 {
        let left = kept(store.add(Mono::ZERO, item(0, rank)));
        assert_eq!(left, [(item(0, rank - 1), Left::Replaced)]);
        assert_eq!((store.len(), store.bytes()), (1, 1));
    }
}

#[test]
fn older_items_and_repeats_are_refused() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestNewMessagesInvalidated
    let mut store = store(config());
    kept(store.add(Mono::ZERO, item(0, 9)));
    for rank in (0..10).rev() {
        assert_eq!(store.check_valid(Mono::ZERO, &item(0, rank)), Err(Refusal::Replaced));
        assert_eq!(store.add(Mono::ZERO, item(0, rank)).outcome, Err(Refusal::Replaced));
    }
    assert_eq!(store.iter().collect::<Vec<_>>(), [&item(0, 9)]);
}

#[test]
fn an_expired_item_is_hidden_then_refuses_repeats_then_is_forgotten() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestExpiration
    let mut store = store(config());
    (0..5).for_each(|lane| drop(kept(store.add(Mono::ZERO, item(lane, 1)))));
    (5..10).for_each(|lane| drop(kept(store.add(second(5), item(lane, 1)))));
    assert_eq!(store.next_expiry(), Some(second(10)));
    assert_eq!(store.expire(second(9)), []);
    assert_eq!(store.expire(second(10)).len(), 5);
    assert_eq!((store.len(), store.tombstones()), (5, 5));
    assert_eq!(store.get(&0, 0), None);
    assert_eq!(store.add(second(11), item(0, 1)).outcome, Err(Refusal::Replaced), "a repeat");
    kept(store.add(second(11), item(1, 2)));
    assert_eq!(store.check_valid(second(20), &item(0, 1)), Ok(()));
    assert_eq!(store.expire(second(20)).len(), 5);
    kept(store.add(second(20), item(0, 1)));
    assert_eq!(store.len(), 2);
    assert_eq!(store.expire(second(1000)).len(), 2);
    store.expire(second(2000));
    assert_eq!((store.len(), store.bytes(), store.tombstones()), (0, 0, 0));
    assert_eq!(store.next_expiry(), None);
}

#[test]
fn nothing_expires_unless_the_time_is_told() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestExpirationConcurrency
    // fabric: gossip/gossip/msgstore/msgs_test.go TestStop
    let mut timeless = store(StoreConfig { live_for: None, ..config() });
    let mut timed = store(config());
    kept(timeless.add(Mono::ZERO, item(0, 1)));
    kept(timed.add(Mono::ZERO, item(0, 1)));
    assert_eq!((timed.len(), timeless.len()), (1, 1));
    assert_eq!(timeless.expire(second(1 << 30)), []);
    assert_eq!(timeless.next_expiry(), None);
    assert_eq!(timed.expire(second(10)), [item(0, 1)]);
    assert_eq!(timed.expire(second(3)), [], "a clock that goes back changes nothing");
}

#[test]
fn a_store_can_be_handed_to_another_thread() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestConcurrency
    fn is_send<T: Send + Sync>(_: &T) {}
    is_send(&store(config()));
    is_send(&MessageStore::<Verified<Message>>::new(config().checked().unwrap()));
}

#[test]
fn purging_takes_out_what_matches_and_hands_it_back() {
    // fabric: gossip/gossip/msgstore/msgs_test.go TestPurge
    let mut store = store(config());
    (0..10).for_each(|lane| drop(kept(store.add(Mono::ZERO, item(lane, 1)))));
    let purged = store.purge(|item| item.lane % 2 == 0);
    assert_eq!(purged.iter().map(|item| item.lane).collect::<Vec<_>>(), [0, 2, 4, 6, 8]);
    assert_eq!((store.len(), store.bytes()), (5, 5));
    kept(store.add(Mono::ZERO, item(0, 1)));
}

#[test]
fn blocks_stay_within_a_window_below_the_highest() {
    let mut store = store(config());
    let at = |position| Item { position, ..item(0, 0) };
    for position in [5, 3, 15] {
        let left = kept(store.add(Mono::ZERO, at(position)));
        let expected: &[(Item, Left)] = match position {
            15 => &[(at(3), Left::Replaced)],
            _ => &[],
        };
        assert_eq!(left, expected);
    }
    assert_eq!(store.add(Mono::ZERO, at(4)).outcome, Err(Refusal::BelowWindow));
    assert_eq!(kept(store.add(Mono::ZERO, at(u64::MAX))).len(), 2);
    assert_eq!(store.add(Mono::ZERO, at(0)).outcome, Err(Refusal::BelowWindow));
}

#[test]
fn each_eviction_rule_makes_its_own_room() {
    let small =
        |evict| store(StoreConfig { items_max: 3, items_per_owner_max: 3, evict, ..config() });
    let owned = |lane, owner| Item { owner, ..item(lane, 1) };
    let fill = |store: &mut MessageStore<Item>| {
        for (lane, owner) in [(0, 1), (1, 2), (2, 2)] {
            kept(store.add(Mono::ZERO, owned(lane, owner)));
        }
    };
    for (evict, expected) in [
        (Evict::Oldest, Ok(owned(0, 1))),
        (Evict::LargestOwner, Ok(owned(1, 2))),
        (Evict::Newcomer, Err(Refusal::Full)),
    ] {
        let mut store = small(evict);
        fill(&mut store);
        let added = store.add(Mono::ZERO, owned(3, 3));
        match expected {
            Ok(victim) => assert_eq!(added.left, [(victim, Left::Evicted)]),
            Err(refusal) => assert_eq!(added.outcome, Err(refusal)),
        }
        assert_eq!(store.len(), 3);
        let first = store.iter().next().unwrap().clone();
        kept(store.add(Mono::ZERO, Item { rank: 9, ..first }));
    }
}

#[test]
fn an_owner_at_its_cap_displaces_itself_only() {
    let mut store = store(StoreConfig { items_per_owner_max: 2, ..config() });
    kept(store.add(Mono::ZERO, Item { owner: 1, ..item(0, 1) }));
    for lane in 1..100 {
        kept(store.add(Mono::ZERO, Item { owner: 2, ..item(lane, 1) }));
    }
    assert_eq!(store.iter().map(|item| item.lane).collect::<Vec<_>>(), [0, 98, 99]);
}

#[test]
fn bytes_are_bounded_and_what_has_no_slot_is_refused() {
    let mut store = store(StoreConfig { bytes_max: 100, ..config() });
    let sized = |lane, size| Item { size, ..item(lane, 1) };
    assert_eq!(store.add(Mono::ZERO, sized(0, 101)).outcome, Err(Refusal::TooLarge));
    (0..10).for_each(|lane| drop(kept(store.add(Mono::ZERO, sized(lane, 10)))));
    assert_eq!(kept(store.add(Mono::ZERO, sized(10, 95))).len(), 10);
    assert_eq!(store.bytes(), 95);
    assert_eq!(store.add(Mono::ZERO, item(250, 1)).outcome, Err(Refusal::NoSlot));
    let contradiction = StoreConfig { items_per_owner_max: 101, ..config() };
    assert!(contradiction.checked().is_err());
}

#[test]
fn verified_messages_are_stored_by_what_they_are_about() {
    let mut store = MessageStore::new(config().checked().unwrap());
    let host = Host::named("org1.a");
    let network = NetworkId::new("dev").unwrap();
    let own = |message: Message, by: u8| {
        Verified::own(message, PkiId::from_bytes([by; 32]), &network, &host).unwrap()
    };
    let mut add = |message: Message, by: u8| store.add(Mono::ZERO, own(message, by)).outcome;
    let declare = LeadershipKind::Declare;
    add(record(1, 1, 1), 1).unwrap();
    add(record(1, 1, 2), 9).unwrap();
    add(claim("trade", 1, declare), 1).unwrap();
    add(claim("trade", 1, declare), 2).unwrap();
    assert_eq!(add(claim("trade", 1, declare), 2), Err(Refusal::Replaced));
    assert_eq!(add(support::samples().remove(1), 1), Err(Refusal::NoSlot));
    assert_eq!(store.len(), 3);
    let (a, b) = (own(claim("trade", 2, declare), 1), own(claim("trade", 1, declare), 2));
    assert_eq!(a.replaces(&b, 10), NoAction);
    assert_eq!(Envelope::unsigned(a.message()).encoded_len(), a.size());
}

/// Fabric's store: a list, scanned.
fn naive_add(held: &mut Vec<Item>, new: &Item, window: u64) -> bool {
    let relation = |held: &Item| new.slot().unwrap().relation(&held.slot().unwrap(), window);
    if held.iter().any(|held| relation(held) == ReplacedBy) {
        return false;
    }
    held.retain(|held| relation(held) != Replaces);
    held.push(new.clone());
    true
}

proptest! {
    #[test]
    fn a_keyed_store_does_what_a_scanned_list_does(
        items in proptest::collection::vec((0u8..3, 0u64..40, 0u64..4), 0..100)
    ) {
        let mut store = store(config());
        let mut list = Vec::new();
        for (lane, position, rank) in items {
            let new = Item { position, ..item(lane, rank) };
            let valid = store.check_valid(Mono::ZERO, &new).is_ok();
            let accepted = store.add(Mono::ZERO, new.clone()).outcome.is_ok();
            prop_assert_eq!(accepted, naive_add(&mut list, &new, config().window));
            prop_assert_eq!(accepted, valid);
            list.sort_by_key(|item| (item.lane, item.position));
            prop_assert_eq!(store.iter().collect::<Vec<_>>(), list.iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_cap_is_ever_exceeded_and_nothing_leaks(
        steps in proptest::collection::vec((0u8..9, 0u64..9, 0u8..4, 1usize..40, 0u64..8), 0..200),
        rule in 0usize..3,
    ) {
        let evict = [Evict::Newcomer, Evict::Oldest, Evict::LargestOwner][rule];
        let limits = StoreConfig { items_max: 8, bytes_max: 100, items_per_owner_max: 4, evict, ..config() };
        let mut store = store(limits);
        let mut now = 0;
        for (lane, rank, owner, size, wait) in steps {
            now += wait;
            store.add(second(now), Item { lane, position: 0, rank, owner, size });
            let bytes: usize = store.iter().map(|item| item.size).sum();
            prop_assert_eq!((bytes, store.iter().count()), (store.bytes(), store.len()));
            prop_assert!(bytes <= 100 && store.len() <= 8 && store.tombstones() <= 8);
            for owner in 0..4 {
                prop_assert!(store.iter().filter(|item| item.owner == owner).count() <= 4);
            }
        }
        store.expire(second(now + 10));
        store.expire(second(now + 20));
        prop_assert_eq!((store.len(), store.bytes(), store.tombstones()), (0, 0, 0));
    }
}

//! The coded relay: what it makes of data, of shares good and bad, of sources that lie, and how fast it is.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

#[path = "support/relay.rs"]
mod relay;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use gossip_api::message::{Share, ShareClass, ShareCommitment, ShareDuty, ShareReport, ShareSet};
use gossip_api::{
    Admit, Block, Bounded, ChannelId, Height, IdentityMap, IdentityMapConfig, Message,
    MessageCryptoService as _, Mono, NetworkId, Now, PkiId, SeqNum, ShareRoot, Verified, Wall,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, CheapCrypto};
use gossip_comm::sim::seeded;
use gossip_service::node::Outgoing;
use gossip_service::node::coded::{
    Acquittal, Assembly, CodeError, Coded, CodedConfig, Court, DecodeJob, Evidence, PeerView,
    ProvenShare, ShareTree, Shares, Step, Unwanted, View, branch_holds, decode,
};
use rand_core::Rng as _;
use relay::{Field, Setup};

const SIZES: [usize; 9] =
    [1, 2, 19, 4097, 128 << 10, (128 << 10) + 1, 300_001, (1 << 20) - 1, 1 << 20];

fn data(seed: u64, len: usize) -> Bytes {
    let mut data = vec![0; len];
    seeded(seed, 1).fill_bytes(&mut data);
    data.into()
}

fn trade() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

fn share_of(coded: &Coded, index: u8, duty: ShareDuty) -> Share {
    coded.share(&trade(), SeqNum::new(1), index, duty).unwrap()
}

fn payloads(coded: &Coded, indices: impl IntoIterator<Item = u8>) -> BTreeMap<u8, Bytes> {
    let share = |index| (index, share_of(coded, index, ShareDuty::Keep).payload);
    indices.into_iter().map(share).collect()
}

/// So many different shares, drawn.
fn drawn(seed: u64, class: ShareClass, count: u8) -> Vec<u8> {
    let mut all: Vec<u8> = (0..class.shares()).collect();
    let mut rng = seeded(seed, 2);
    for place in (1..all.len()).rev() {
        all.swap(place, (rng.next_u64() % (place as u64 + 1)) as usize);
    }
    all.truncate(count.into());
    all
}

#[test]
fn any_needed_number_of_shares_gives_the_data() {
    for (seed, len) in SIZES.into_iter().enumerate() {
        let data = data(seed as u64, len);
        let coded = Coded::of(&data).unwrap();
        let class = coded.class();
        for seed in 0..4 {
            let chosen = drawn(seed, class, class.needed());
            let given = payloads(&coded, chosen);
            assert_eq!(decode(class, coded.data_len(), &given).unwrap(), data, "{len} {seed}");
        }
        let own = payloads(&coded, 0..class.needed());
        assert_eq!(decode(class, coded.data_len(), &own).unwrap(), data);
        let spare = payloads(&coded, (0..class.shares()).rev().take(class.needed().into()));
        assert_eq!(decode(class, coded.data_len(), &spare).unwrap(), data);
    }
}

#[test]
fn every_source_makes_the_same_shares_for_ever() {
    // Frozen: another root for the same data would be a lie in the eyes of every older peer.
    for (len, root) in [(100, ROOTS[0]), (200_000, ROOTS[1]), (1 << 20, ROOTS[2])] {
        let data: Bytes = (0..len).map(|place| (place * 31 % 251) as u8).collect();
        assert_eq!(Coded::of(&data).unwrap().root().to_string(), root, "{len}");
    }
    assert_eq!(Coded::of(&Bytes::new()).unwrap_err(), CodeError::Empty);
}

#[test]
fn shares_that_no_honest_source_makes_give_no_data() {
    let coded = Coded::of(&data(1, 1003)).unwrap();
    let (class, len) = (coded.class(), coded.data_len());
    let few = payloads(&coded, 0..9);
    assert_eq!(decode(class, len, &few).unwrap_err(), CodeError::TooFew { found: 9, needed: 10 });
    let mut cut = payloads(&coded, 0..10);
    cut.insert(3, Bytes::from_static(b"short"));
    assert!(matches!(decode(class, len, &cut), Err(CodeError::ShareLength { index: 3, .. })));
    let whole = payloads(&coded, 0..10);
    assert!(matches!(decode(ShareClass::Large, len, &whole), Err(CodeError::Class { .. })));
    assert!(matches!(decode(class, 0, &whole), Err(CodeError::Class { .. })));
    // The last piece is not filled up with zeros.
    let mut padded = whole.clone();
    let mut last = padded[&9].to_vec();
    *last.last_mut().unwrap() = 1;
    padded.insert(9, last.into());
    assert_eq!(decode(class, len, &padded).unwrap_err(), CodeError::Padding);
    // Indices beyond the class are not looked at.
    let mut beyond = few;
    beyond.insert(200, share_of(&coded, 10, ShareDuty::Keep).payload);
    assert!(matches!(decode(class, len, &beyond), Err(CodeError::TooFew { .. })));
}

#[test]
fn a_branch_holds_for_its_share_at_its_place_alone() {
    for len in [1003, 200_000, 1 << 20] {
        let coded = Coded::of(&data(2, len)).unwrap();
        for index in [0, 1, coded.class().needed(), coded.class().shares() - 1] {
            let share = share_of(&coded, index, ShareDuty::Keep);
            assert!(branch_holds(&share));
            let mut flipped = share.payload.to_vec();
            flipped[0] ^= 1;
            assert!(!branch_holds(&Share { payload: flipped.into(), ..share.clone() }));
            assert!(!branch_holds(&Share { index: index ^ 1, ..share.clone() }));
            assert!(!branch_holds(&Share { data_len: share.data_len + 1, ..share.clone() }));
            assert!(!branch_holds(&Share { index: 255, ..share.clone() }));
            let shorter = Bounded::truncated(share.branch.as_slice()[1..].iter().copied());
            assert!(!branch_holds(&Share { branch: shorter, ..share.clone() }));
            for class in ShareClass::ALL.into_iter().filter(|class| *class != share.class) {
                assert!(!branch_holds(&Share { class, ..share.clone() }));
            }
            assert!(ProvenShare::check(share).is_some());
        }
        assert!(coded.share(&trade(), SeqNum::new(1), 255, ShareDuty::Keep).is_none());
    }
}

#[test]
fn an_assembly_refuses_what_has_no_place_in_it() {
    let (coded, other) = (Coded::of(&data(3, 1003)).unwrap(), Coded::of(&data(4, 1003)).unwrap());
    let mut tree = Assembly::new(coded.root(), coded.class(), coded.data_len()).unwrap();
    let good = share_of(&coded, 0, ShareDuty::Keep);
    let refuse = |tree: &Assembly, share: Share, why: Unwanted| {
        assert_eq!(tree.has_place_for(&share).unwrap_err(), why, "{share:?}");
    };
    refuse(&tree, share_of(&other, 0, ShareDuty::Keep), Unwanted::Tree);
    refuse(&tree, Share { class: ShareClass::Medium, ..good.clone() }, Unwanted::Class);
    refuse(&tree, Share { data_len: 1004, ..good.clone() }, Unwanted::Class);
    refuse(&tree, Share { index: 16, ..good.clone() }, Unwanted::Index);
    refuse(&tree, Share { branch: Bounded::default(), ..good.clone() }, Unwanted::Branch);
    refuse(&tree, Share { payload: Bytes::new(), ..good.clone() }, Unwanted::Length);
    let from = PkiId::from_bytes([1; 32]);
    let proven = |index| ProvenShare::check(share_of(&coded, index, ShareDuty::Keep)).unwrap();
    tree.keep(from, &proven(0)).unwrap();
    refuse(&tree, good, Unwanted::Duplicate);
    for index in 1..10 {
        assert!(!tree.is_enough());
        tree.keep(from, &proven(index)).unwrap();
    }
    assert!(tree.is_enough() && tree.lacking() == 0);
    assert_eq!(tree.keep(from, &proven(10)).unwrap_err(), Unwanted::Surplus);
    assert_eq!(tree.bytes(), 10 * 102);
    for (class, len) in
        [(ShareClass::Small, 0), (ShareClass::Small, 1 << 20), (ShareClass::Large, 5)]
    {
        assert!(Assembly::new(coded.root(), class, len).is_none(), "{class:?} {len}");
    }
}

/// One member, a source, and what the source gives out.
struct Desk {
    shares: Shares,
    view: View,
    source: CheapCrypto,
    identities: IdentityMap,
    network: NetworkId,
    block: Block,
    next: Block,
    coded: Coded,
}

const NOW: Mono = Mono::ZERO;

impl Desk {
    fn new(len: usize) -> Self {
        Self::with(len, CodedConfig::default())
    }

    fn with(len: usize, config: CodedConfig) -> Self {
        let authority = Authority::new(1);
        let mut blocks = BlockFactory::new(&authority, trade(), len);
        authority.add_channel(&trade(), (0..2).map(relay::org));
        let chain = blocks.chain(3);
        let crypto = |index: usize| {
            authority.crypto(authority.identity(&relay::org(index % 2), index as u32))
        };
        let (me, source) = (crypto(0), crypto(2));
        let others: Vec<CheapCrypto> = (3..9).map(crypto).collect();
        let now = Now { mono: NOW, wall: Wall::from_unix_seconds(1_700_000_000) };
        let map = IdentityMapConfig::default().checked().unwrap();
        let identities = IdentityMap::new(map, me.identity(), &me, &me, now).unwrap();
        let peer = |crypto: &CheapCrypto, org| {
            identities.put(crypto.identity(), &me, &me, now).unwrap();
            let (id, height) = (crypto.pki_id(), Height::new(1));
            PeerView { id, org, height, connected: true }
        };
        let mut peers = vec![peer(&source, 0)];
        // Numbers 3, 5, 7 are of the other organisation.
        let org = |place: usize| u32::from(place.is_multiple_of(2));
        peers.extend(others.iter().enumerate().map(|(place, other)| peer(other, org(place))));
        let mut shares = Shares::new(me.pki_id(), config, &mut seeded(1, 1));
        shares.on_height(&trade(), Height::new(1));
        Self {
            shares,
            view: View { peers, sources: vec![source.pki_id()] },
            source,
            identities,
            network: NetworkId::new("sim").unwrap(),
            block: chain[1].clone(),
            next: chain[2].clone(),
            coded: Coded::of(&chain[1].data).unwrap(),
        }
    }

    /// Some member of our organisation, or of the other one.
    fn member(&self, org: u32) -> PkiId {
        self.view.peers.iter().skip(1).find(|peer| peer.org == org).unwrap().id
    }

    fn words(&self) -> ShareCommitment {
        ShareCommitment {
            channel: trade(),
            source: self.source.pki_id(),
            number: self.block.number,
            header_hash: self.block.header().hash(),
            root: self.coded.root(),
            class: self.coded.class(),
            data_len: self.coded.data_len(),
        }
    }

    fn signed(&self, words: ShareCommitment) -> Verified<Message> {
        let (by, message) = (words.source, Message::ShareCommitment(words));
        Verified::own(message, by, &self.network, &self.source).unwrap()
    }

    fn commit(&mut self, words: ShareCommitment) -> Vec<Step> {
        let message = self.signed(words);
        let from = self.source.pki_id();
        self.shares.on_commitment(NOW, &self.view, from, message)
    }

    fn header(&mut self) -> Vec<Step> {
        let header = Block { data: Bytes::new(), ..self.block.clone() };
        self.shares.on_header(NOW, &self.view, &trade(), &header)
    }

    /// Header and commitment are here.
    fn ready(mut self) -> Self {
        self.header();
        let words = self.words();
        self.commit(words);
        self
    }

    fn give(&mut self, from: PkiId, share: Share) -> Vec<Step> {
        let share = ProvenShare::check(share).unwrap();
        self.shares.on_share(NOW, &self.view, from, share)
    }

    fn give_from_member(&mut self, index: u8) -> Vec<Step> {
        let from = self.member(0);
        self.give(from, share_of(&self.coded, index, ShareDuty::Keep))
    }

    fn assert_refused(&self, share: &Share, why: &str) {
        self.assert_refused_from(self.member(0), share, why);
    }

    fn assert_refused_from(&self, from: PkiId, share: &Share, why: &str) {
        match self.shares.admit(&from, share) {
            Admit::Drop(reason) => assert_eq!(reason, why, "{share:?}"),
            Admit::Accept => panic!("{share:?} is admitted, not refused as {why}"),
        }
    }

    fn court(&self) -> Court<'_> {
        let Self { network, identities, source, .. } = self;
        Court { network, identities, mcs: source, now: NOW }
    }
}

fn dropped(steps: &[Step]) -> Vec<&'static str> {
    let reason = |step: &Step| match step {
        Step::Drop { reason, .. } => Some(*reason),
        _ => None,
    };
    steps.iter().filter_map(reason).collect()
}

fn sent_shares(steps: &[Step]) -> Vec<(PkiId, ShareDuty)> {
    let share = |step: &Step| match step {
        Step::Send { to, message: Outgoing::Plain(Message::Share(share)) } => {
            Some((*to, share.duty))
        }
        _ => None,
    };
    steps.iter().filter_map(share).collect()
}

fn job(steps: Vec<Step>) -> DecodeJob {
    let job = steps.into_iter().find_map(|step| match step {
        Step::Decode(job) => Some(*job),
        _ => None,
    });
    job.expect("shares to decode")
}

#[test]
fn a_member_decodes_the_block_from_the_shares_it_needs() {
    let mut desk = Desk::new(4000).ready();
    for index in 3..12 {
        assert!(desk.give_from_member(index).is_empty());
    }
    let job = job(desk.give_from_member(15));
    assert_eq!(job.source, desk.source.pki_id());
    assert_eq!(job.run().unwrap(), desk.block);
    let steps = desk.shares.on_whole(NOW, &desk.view, &trade(), desk.block.number);
    let told = steps.iter().any(|step| match step {
        Step::Send { to, message: Outgoing::Plain(Message::ShareReport(report)) } => {
            *to == desk.source.pki_id() && report.wanted.is_empty() && report.held.len() == 10
        }
        _ => false,
    });
    assert!(told, "the source hears that the block is here: {steps:?}");
}

#[test]
fn a_share_of_another_channel_is_dropped() {
    let desk = Desk::new(4000).ready();
    let good = share_of(&desk.coded, 0, ShareDuty::Keep);
    let share = Share { channel: ChannelId::new("other").unwrap(), ..good };
    desk.assert_refused(&share, "share of another channel");
}

#[test]
fn a_share_of_another_block_is_dropped_whatever_tree_it_names() {
    let mut desk = Desk::new(4000).ready();
    let other = Coded::of(&desk.next.data).unwrap();
    desk.assert_refused(&share_of(&other, 0, ShareDuty::Keep), "share of another tree");
    // The right tree under a number that is not its block's.
    desk.shares.on_header(NOW, &desk.view, &trade(), &desk.next);
    let words = ShareCommitment {
        number: desk.next.number,
        header_hash: desk.next.header().hash(),
        root: other.root(),
        class: other.class(),
        data_len: other.data_len(),
        ..desk.words()
    };
    desk.commit(words);
    let share = share_of(&desk.coded, 0, ShareDuty::Keep);
    let share = Share { number: desk.next.number, ..share };
    desk.assert_refused(&share, "share of another tree");
}

#[test]
fn a_share_of_another_class_place_or_length_is_dropped() {
    let desk = Desk::new(4000).ready();
    let good = share_of(&desk.coded, 0, ShareDuty::Keep);
    let class = ShareClass::Large;
    desk.assert_refused(&Share { class, ..good.clone() }, "share of another class");
    desk.assert_refused(&Share { data_len: 3999, ..good.clone() }, "share of another class");
    desk.assert_refused(&Share { index: 16, ..good.clone() }, "share that does not exist");
    let branch = Bounded::default();
    desk.assert_refused(&Share { branch, ..good.clone() }, "share with a branch of another length");
    let payload = good.payload.slice(1..);
    desk.assert_refused(&Share { payload, ..good }, "share of another length");
}

#[test]
fn a_share_with_a_false_branch_is_not_proved_and_so_never_kept() {
    let desk = Desk::new(4000);
    let other = Coded::of(&desk.next.data).unwrap();
    let branch = share_of(&other, 0, ShareDuty::Keep).branch;
    let share = Share { branch, ..share_of(&desk.coded, 0, ShareDuty::Keep) };
    assert!(ProvenShare::check(share).is_none());
}

#[test]
fn a_duplicate_share_is_dropped() {
    let mut desk = Desk::new(4000).ready();
    desk.give_from_member(0);
    desk.assert_refused(&share_of(&desk.coded, 0, ShareDuty::Keep), "duplicate share");
    assert_eq!(dropped(&desk.give_from_member(0)), ["duplicate share"]);
}

#[test]
fn a_surplus_share_is_dropped_while_decoding_and_after() {
    let mut desk = Desk::new(4000).ready();
    (0..10).for_each(|index| drop(desk.give_from_member(index)));
    desk.assert_refused(&share_of(&desk.coded, 10, ShareDuty::Keep), "surplus share");
    desk.shares.on_whole(NOW, &desk.view, &trade(), desk.block.number);
    desk.assert_refused(&share_of(&desk.coded, 10, ShareDuty::Keep), "surplus share");
}

#[test]
fn a_late_share_is_dropped() {
    let mut desk = Desk::new(4000);
    desk.shares.on_height(&trade(), Height::new(2));
    desk.assert_refused(&share_of(&desk.coded, 0, ShareDuty::Keep), "late share");
    assert!(desk.header().is_empty());
    assert_eq!(desk.shares.bytes(), 0);
}

#[test]
fn a_share_beyond_the_window_is_dropped() {
    let desk = Desk::new(4000).ready();
    let share = share_of(&desk.coded, 0, ShareDuty::Keep);
    for number in [257, u64::MAX] {
        let share = Share { number: SeqNum::new(number), ..share.clone() };
        desk.assert_refused(&share, "share beyond the window");
    }
}

#[test]
fn early_shares_wait_in_a_small_room_and_are_used_when_header_and_commitment_come() {
    let mut desk = Desk::new(4000);
    for index in 0..4 {
        assert!(desk.give_from_member(index).is_empty());
    }
    desk.assert_refused(&share_of(&desk.coded, 4, ShareDuty::Keep), "early share");
    let other = desk.member(1);
    desk.assert_refused_from(other, &share_of(&desk.coded, 0, ShareDuty::Keep), "duplicate share");
    // A header alone justifies nothing: nobody has signed how the data is coded.
    desk.header();
    desk.assert_refused(&share_of(&desk.coded, 4, ShareDuty::Keep), "early share");
    let words = desk.words();
    desk.commit(words);
    for index in 0..4 {
        desk.assert_refused(&share_of(&desk.coded, index, ShareDuty::Keep), "duplicate share");
    }
    (4..9).for_each(|index| assert!(desk.give_from_member(index).is_empty()));
    assert_eq!(job(desk.give_from_member(9)).run().unwrap(), desk.block);
}

#[test]
fn early_shares_are_forgotten_after_a_second() {
    let mut desk = Desk::new(4000);
    desk.give_from_member(0);
    assert!(desk.shares.bytes() > 0);
    let at = desk.shares.next_wakeup().unwrap().at;
    assert_eq!(at, NOW.after(Duration::from_secs(1)));
    desk.shares.on_tick(at, |_| View::default().into());
    assert_eq!(desk.shares.bytes(), 0);
}

#[test]
fn early_shares_of_many_senders_stay_within_the_room() {
    let mut desk = Desk::new(10 << 20);
    let share = |index| share_of(&desk.coded, index, ShareDuty::Keep);
    let shares: Vec<Share> = (0..60).map(share).collect();
    for (sender, share) in shares.into_iter().enumerate() {
        let from = PkiId::from_bytes([sender as u8; 32]);
        if let Admit::Accept = desk.shares.admit(&from, &share) {
            desk.give(from, share);
        }
    }
    assert!(desk.shares.bytes() > 3 << 20, "{}", desk.shares.bytes());
    assert!(desk.shares.bytes() <= 4 << 20, "{}", desk.shares.bytes());
}

#[test]
fn shares_beyond_the_budget_are_dropped() {
    let budget = 3 * 400;
    let mut desk = Desk::with(4000, CodedConfig { budget, ..CodedConfig::default() }).ready();
    (0..3).for_each(|index| assert!(desk.give_from_member(index).is_empty()));
    desk.assert_refused(&share_of(&desk.coded, 3, ShareDuty::Keep), "share beyond the budget");
    assert!(desk.shares.bytes() <= budget);
}

#[test]
fn a_relay_serves_its_organisation_once_and_only_for_a_source() {
    let mut desk = Desk::new(4000).ready();
    let (source, member) = (desk.source.pki_id(), desk.member(0));
    // A member that is no source asks in vain.
    let steps = desk.give(member, share_of(&desk.coded, 0, ShareDuty::Relay));
    assert!(sent_shares(&steps).is_empty());
    // So does one of our organisation that calls us its entry.
    let steps = desk.give(member, share_of(&desk.coded, 1, ShareDuty::Entry));
    assert!(sent_shares(&steps).is_empty());
    let steps = desk.give(source, share_of(&desk.coded, 2, ShareDuty::Relay));
    let sent = sent_shares(&steps);
    let own: Vec<PkiId> =
        desk.view.peers.iter().skip(1).filter(|peer| peer.org == 0).map(|peer| peer.id).collect();
    assert_eq!(sent.len(), own.len());
    assert!(sent.iter().all(|(to, duty)| own.contains(to) && *duty == ShareDuty::Keep));
    let again = desk.give(source, share_of(&desk.coded, 2, ShareDuty::Relay));
    assert_eq!(dropped(&again), ["duplicate share"]);
    assert!(sent_shares(&again).is_empty());
}

#[test]
fn an_entry_serves_its_organisation_for_a_peer_of_another_one() {
    let config = CodedConfig { cross_orgs: true, ..CodedConfig::default() };
    let mut desk = Desk::with(4000, config).ready();
    let foreign = desk.member(1);
    let steps = desk.give(foreign, share_of(&desk.coded, 0, ShareDuty::Entry));
    let sent = sent_shares(&steps);
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|(to, duty)| {
        let org = desk.view.peers.iter().find(|peer| peer.id == *to).unwrap().org;
        org == 0 && *duty == ShareDuty::Keep
    }));
}

#[test]
fn a_share_that_comes_too_late_for_the_relay_is_forwarded_all_the_same() {
    let mut desk = Desk::new(4000).ready();
    (0..10).for_each(|index| drop(desk.give_from_member(index)));
    desk.shares.on_whole(NOW, &desk.view, &trade(), desk.block.number);
    let source = desk.source.pki_id();
    let steps = desk.give(source, share_of(&desk.coded, 11, ShareDuty::Relay));
    assert!(!sent_shares(&steps).is_empty());
    // But not to who has the block by now.
    let member = desk.member(0);
    let report = ShareReport {
        channel: trade(),
        number: desk.block.number,
        root: desk.coded.root(),
        held: ShareSet::all(desk.coded.class()),
        wanted: ShareSet::NONE,
    };
    desk.shares.on_report(&desk.view, member, &report);
    let steps = desk.give(source, share_of(&desk.coded, 12, ShareDuty::Relay));
    assert!(sent_shares(&steps).iter().all(|(to, _)| *to != member));
}

#[test]
fn commitments_that_nobody_may_make_are_dropped() {
    let mut desk = Desk::new(4000);
    desk.header();
    let words = desk.words();
    let check = |desk: &mut Desk, words: ShareCommitment, why: &str| {
        assert_eq!(dropped(&desk.commit(words)), [why]);
    };
    let stranger = PkiId::from_bytes([9; 32]);
    let channel = ChannelId::new("other").unwrap();
    check(
        &mut desk,
        ShareCommitment { source: stranger, ..words.clone() },
        "commitment of no member",
    );
    let (member, foreign) = (desk.member(0), desk.member(1));
    check(
        &mut desk,
        ShareCommitment { source: member, ..words.clone() },
        "commitment of no source",
    );
    let foreign = ShareCommitment { source: foreign, ..words.clone() };
    check(&mut desk, foreign, "commitment of another organisation");
    check(&mut desk, ShareCommitment { channel, ..words.clone() }, "commitment of another channel");
    for (class, data_len) in
        [(ShareClass::Large, 4000), (ShareClass::Small, 0), (ShareClass::Large, (100 << 20) + 1)]
    {
        let words = ShareCommitment { class, data_len, ..words.clone() };
        check(&mut desk, words, "commitment that contradicts itself");
    }
    let header_hash = desk.next.header().hash();
    check(
        &mut desk,
        ShareCommitment { header_hash, ..words.clone() },
        "commitment of another header",
    );
    for number in [0, 257, u64::MAX] {
        let words = ShareCommitment { number: SeqNum::new(number), ..words.clone() };
        let why = if number == 0 { "late commitment" } else { "commitment beyond the window" };
        check(&mut desk, words, why);
    }
    assert!(dropped(&desk.commit(words.clone())).is_empty());
    check(&mut desk, words, "duplicate commitment");
}

#[test]
fn commitments_without_headers_are_few() {
    let mut desk = Desk::new(4000);
    let words = desk.words();
    for number in 1..=8 {
        let words = ShareCommitment { number: SeqNum::new(number), ..words.clone() };
        assert!(dropped(&desk.commit(words)).is_empty());
    }
    let words = ShareCommitment { number: SeqNum::new(9), ..words };
    assert_eq!(dropped(&desk.commit(words)), ["too many commitments without header"]);
}

fn evidence(steps: Vec<Step>) -> Evidence {
    let found = steps.into_iter().find_map(|step| match step {
        Step::Convicted { evidence, .. } => Some(*evidence),
        _ => None,
    });
    found.expect("a conviction")
}

#[test]
fn a_source_that_signs_two_roots_is_convicted_before_anybody_who_knows_it() {
    let mut desk = Desk::new(4000).ready();
    let root = ShareRoot::from_bytes([7; 32]);
    let words = ShareCommitment { root, ..desk.words() };
    let evidence = evidence(desk.commit(words.clone()));
    let guilty = desk.source.pki_id();
    assert_eq!(evidence.accused(), Some(guilty));
    let bytes = evidence.to_bytes().unwrap();
    let read = Evidence::from_bytes(&bytes).unwrap();
    assert_eq!(read.check(&desk.court()), Ok(guilty));
    // It is believed no more.
    let later = ShareCommitment { number: SeqNum::new(2), ..words };
    assert_eq!(dropped(&desk.commit(later)), ["commitment of a convicted source"]);
    // Whoever repeats what was said once accuses in vain, and so does who changes a byte.
    let honest = desk.signed(desk.words()).envelope().clone();
    let twice = Evidence::TwoRoots { first: honest.clone(), second: honest };
    assert_eq!(twice.check(&desk.court()), Err(Acquittal::NoContradiction));
    for place in 0..bytes.len() {
        let mut forged = bytes.to_vec();
        forged[place] ^= 1;
        if let Ok(forged) = Evidence::from_bytes(&forged.into()) {
            assert!(forged.check(&desk.court()).is_err(), "byte {place}");
        }
    }
    assert!(Evidence::from_bytes(&bytes.slice(..bytes.len() - 1)).is_err());
}

/// A source that signs the root of shares of other data than the block's.
fn garbled() -> (Desk, Evidence) {
    let mut desk = Desk::new(4000);
    desk.coded = Coded::of(&data(66, 4000)).unwrap();
    let mut desk = desk.ready();
    (0..9).for_each(|index| drop(desk.give_from_member(index)));
    let block = job(desk.give_from_member(9)).run().unwrap();
    assert!(desk.source.verify_block(&trade(), block.number, &block).is_err());
    let steps = desk.shares.on_garbled(&trade(), block.number);
    (desk, evidence(steps))
}

#[test]
fn a_source_whose_shares_give_other_data_is_convicted_before_anybody_who_knows_it() {
    let (mut desk, evidence) = garbled();
    let guilty = desk.source.pki_id();
    let bytes = evidence.to_bytes().unwrap();
    let read = Evidence::from_bytes(&bytes).unwrap();
    assert_eq!(read.check(&desk.court()), Ok(guilty));
    assert_eq!(desk.shares.bytes(), 0, "its shares are forgotten");
    let words = ShareCommitment { number: SeqNum::new(2), ..desk.words() };
    assert_eq!(dropped(&desk.commit(words)), ["commitment of a convicted source"]);
}

#[test]
fn an_honest_source_is_acquitted() {
    let (desk, _) = garbled();
    let honest = Desk::new(4000);
    let commitment = honest.signed(honest.words()).envelope().clone();
    let header = Block { data: Bytes::new(), ..honest.block.clone() };
    let shares: Vec<Share> =
        (4..14).map(|index| share_of(&honest.coded, index, ShareDuty::Keep)).collect();
    let accuse = |commitment, header, shares| Evidence::Garbled { commitment, header, shares };
    let check = |evidence: &Evidence| evidence.check(&honest.court());
    let all = accuse(commitment.clone(), header.clone(), shares.clone());
    assert_eq!(check(&all), Err(Acquittal::Honest));
    let few = accuse(commitment.clone(), header.clone(), shares[1..].to_vec());
    assert_eq!(check(&few), Err(Acquittal::Shares("too few")));
    // Shares of another tree, put under the honest commitment.
    let foreign = (0..10).map(|index| share_of(&desk.coded, index, ShareDuty::Keep)).collect();
    let foreign = accuse(commitment.clone(), header.clone(), foreign);
    assert!(matches!(check(&foreign), Err(Acquittal::Shares(_))));
    let mut forged = shares.clone();
    forged[0].payload = Bytes::from(vec![0; forged[0].payload.len()]);
    let forged = accuse(commitment.clone(), header.clone(), forged);
    assert!(matches!(check(&forged), Err(Acquittal::Shares(_))));
    // Another header, and the right one without the orderers' signatures.
    let next = Block { data: Bytes::new(), ..honest.next.clone() };
    let other = accuse(commitment.clone(), next, shares.clone());
    assert!(matches!(check(&other), Err(Acquittal::Header(_))));
    let unsigned = Block { metadata: Bytes::from(vec![0; 1024]), ..header.clone() };
    let unsigned = accuse(commitment, unsigned, shares.clone());
    assert!(matches!(check(&unsigned), Err(Acquittal::Header(_))));
    // A commitment that somebody else signed in the source's name.
    let other = Desk::new(4000);
    let words = ShareCommitment { source: honest.member(0), ..honest.words() };
    let envelope = other.signed(words).envelope().clone();
    let named = accuse(envelope, header, shares);
    assert!(matches!(check(&named), Err(Acquittal::NotSigned(_))));
}

#[test]
fn after_a_liar_the_block_comes_from_an_honest_source() {
    let mut desk = Desk::new(4000);
    let honest = desk.coded.clone();
    let second = desk.member(0);
    desk.view.sources.push(second);
    desk.coded = Coded::of(&data(66, 4000)).unwrap();
    let mut desk = desk.ready();
    let words = ShareCommitment { source: second, root: honest.root(), ..desk.words() };
    assert!(dropped(&desk.commit(words)).is_empty());
    for index in 0..9 {
        desk.give_from_member(index);
        let share = share_of(&honest, index, ShareDuty::Keep);
        desk.give(second, share);
    }
    job(desk.give_from_member(9));
    // Meanwhile the honest tree is not filled up; after the verdict it is.
    let steps = desk.shares.on_garbled(&trade(), desk.block.number);
    assert_eq!(evidence(steps).accused(), Some(desk.source.pki_id()));
    let steps = desk.give(second, share_of(&honest, 9, ShareDuty::Keep));
    assert_eq!(job(steps).run().unwrap(), desk.block);
}

#[test]
fn two_sources_of_one_organisation_begin_at_different_places_and_share_the_work() {
    let first_shares = |own: u8, others: bool| {
        let mut desk = Desk::new(1 << 20);
        let me = PkiId::from_bytes([own; 32]);
        let mut shares = Shares::new(me, CodedConfig::default(), &mut seeded(1, 9));
        shares.on_height(&trade(), Height::new(1));
        desk.view.sources = vec![PkiId::from_bytes([1; 32]), PkiId::from_bytes([2; 32])];
        if others {
            let header = Block { data: Bytes::new(), ..desk.block.clone() };
            shares.on_header(NOW, &desk.view, &trade(), &header);
            let (by, view) =
                (desk.source.pki_id(), View { sources: Vec::new(), ..desk.view.clone() });
            let message = desk.signed(desk.words());
            shares.on_commitment(NOW, &view, by, message);
        }
        shares.on_source(NOW, &trade(), &desk.block);
        shares.on_encoded(&desk.view, &trade(), desk.block.number, desk.coded.clone());
        let words = ShareCommitment { source: me, ..desk.words() };
        let steps = shares.on_committed(NOW, &desk.view, desk.signed(words));
        let index = |step: &Step| match step {
            Step::Send { message: Outgoing::Plain(Message::Share(share)), .. } => Some(share.index),
            _ => None,
        };
        let first = steps.iter().filter_map(index).collect::<ShareSet>();
        let later = NOW.after(Duration::from_millis(60));
        let rest = shares.on_tick(later, |_| desk.view.clone().into());
        (first, rest.iter().filter_map(index).collect::<ShareSet>())
    };
    for others in [false, true] {
        let ((one, _), (two, _)) = (first_shares(1, others), first_shares(2, others));
        assert_eq!((one.len(), two.len()), (49, 49), "half of what one would give out alone");
        assert!(one.contains(0) && two.contains(64) && one.and(two).is_empty());
    }
    // The rest follows if the other one does not show itself.
    assert_eq!(first_shares(1, false).1.len(), 49);
    assert_eq!(first_shares(1, true).1.len(), 0);
}

#[test]
fn who_lacks_shares_asks_holders_and_sources_and_gives_up_in_the_end() {
    let mut desk = Desk::new(4000).ready();
    (0..5).for_each(|index| drop(desk.give_from_member(index)));
    let (mut asked, mut sources) = (0, 0);
    let view = desk.view.clone();
    let gave_up = loop {
        let now = desk.shares.next_wakeup().unwrap().at;
        let steps = desk.shares.on_tick(now, |_| view.clone().into());
        for step in &steps {
            if let Step::Send { to, message: Outgoing::Plain(Message::ShareReport(report)) } = step
            {
                assert_eq!(report.held.len(), 5);
                assert!(report.wanted.and(report.held).is_empty());
                asked += 1;
                sources += u32::from(*to == desk.source.pki_id());
            }
        }
        if steps.iter().any(|step| matches!(step, Step::GiveUp { .. })) {
            break now;
        }
        assert!(now < NOW.after(Duration::from_secs(3)));
    };
    assert!(sources == 3 && asked > sources, "{asked} {sources}");
    assert!(gave_up < NOW.after(Duration::from_millis(1500)), "{gave_up:?}");
    desk.shares.on_tick(NOW.after(Duration::from_secs(60)), |_| view.clone().into());
    assert_eq!(desk.shares.bytes(), 0);
    assert!(desk.shares.next_wakeup().is_none());
}

#[test]
fn reports_of_unknown_blocks_and_trees_are_dropped() {
    let mut desk = Desk::new(4000).ready();
    let from = desk.member(0);
    let report = ShareReport {
        channel: trade(),
        number: desk.block.number,
        root: ShareRoot::from_bytes([8; 32]),
        held: ShareSet::NONE,
        wanted: ShareSet::all(ShareClass::Large),
    };
    let steps = desk.shares.on_report(&desk.view, from, &report);
    assert_eq!(dropped(&steps), ["report of another tree"]);
    let report = ShareReport { number: SeqNum::new(77), ..report };
    let steps = desk.shares.on_report(&desk.view, from, &report);
    assert_eq!(dropped(&steps), ["report of no block"]);
}

#[test]
fn who_is_no_member_is_told_nothing_and_a_member_a_few_times() {
    let mut desk = Desk::new(4000).ready();
    (0..9).for_each(|index| drop(desk.give_from_member(index)));
    let report = ShareReport {
        channel: trade(),
        number: desk.block.number,
        root: desk.coded.root(),
        held: ShareSet::NONE,
        wanted: ShareSet::all(desk.coded.class()),
    };
    for stranger in [PkiId::from_bytes([9; 32]), desk.member(1)] {
        let steps = desk.shares.on_report(&desk.view, stranger, &report);
        assert_eq!(dropped(&steps), ["report of no member"]);
        assert!(sent_shares(&steps).is_empty());
    }
    let member = desk.member(0);
    for _ in 0..3 {
        assert!(!sent_shares(&desk.shares.on_report(&desk.view, member, &report)).is_empty());
    }
    let steps = desk.shares.on_report(&desk.view, member, &report);
    assert_eq!(dropped(&steps), ["too many reports"]);
}

#[test]
fn nothing_is_asked_for_once_the_block_is_here_though_its_commitment_comes_later() {
    let mut desk = Desk::new(4000);
    desk.header();
    desk.shares.on_whole(NOW, &desk.view, &trade(), desk.block.number);
    let words = desk.words();
    desk.commit(words);
    let later = NOW.after(Duration::from_secs(1));
    assert!(desk.shares.on_tick(later, |_| desk.view.clone().into()).is_empty());
    assert!(desk.shares.next_wakeup().unwrap().at > later, "no deadline stays behind");
}

#[test]
fn a_holder_answers_with_what_it_has_and_no_more_than_is_lacking() {
    let mut desk = Desk::new(4000).ready();
    (0..9).for_each(|index| drop(desk.give_from_member(index)));
    let from = desk.member(0);
    let report = ShareReport {
        channel: trade(),
        number: desk.block.number,
        root: desk.coded.root(),
        held: (0..6).collect(),
        wanted: (6..16).collect(),
    };
    let steps = desk.shares.on_report(&desk.view, from, &report);
    assert_eq!(sent_shares(&steps), [(from, ShareDuty::Keep); 2], "half of the four that it lacks");
}

#[test]
fn a_tree_of_all_shares_has_the_root_that_the_coding_has() {
    let coded = Coded::of(&data(5, 5000)).unwrap();
    let all: Vec<Bytes> = payloads(&coded, 0..16).into_values().collect();
    let tree = ShareTree::over(coded.class(), coded.data_len(), &all);
    assert_eq!(tree.root(), coded.root());
    assert_eq!(tree.branch(5), share_of(&coded, 5, ShareDuty::Keep).branch);
}

fn run(setup: Setup, blocks: usize) -> Field {
    let mut field = Field::new(setup);
    field.connect();
    field.spread(blocks, Duration::from_millis(500));
    field.cluster.run_for(Duration::from_secs(3));
    // `--no-capture` shows the figures.
    println!(
        "last peer of each block, ms: {:.0?}; copies received {:.3}, busiest upload {:.2}, across a border {:.2}",
        field.last_ms().into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(),
        field.copies_in(),
        field.upload_max(),
        field.border_max(),
    );
    field
}

fn worst(field: &Field) -> f64 {
    let last =
        field.last_ms().into_iter().map(|last| last.expect("every block arrives everywhere"));
    last.fold(0.0, f64::max)
}

#[test]
fn a_mebibyte_reaches_a_hundred_peers_in_little_more_than_two_latencies() {
    let field = run(Setup::new(100, 1 << 20), 2);
    assert!(worst(&field) <= 110.0, "{}", worst(&field));
    assert!(field.copies_in() <= 1.4, "{}", field.copies_in());
    assert!(field.upload_max() <= 2.5, "{}", field.upload_max());
}

#[test]
fn silent_relays_cost_time_once_and_lose_their_turn() {
    for (silent, most) in [(0.2, 130.0), (0.33, 280.0)] {
        let field = run(Setup { silent, ..Setup::new(100, 1 << 20) }, 6);
        assert!(worst(&field) <= most, "{silent}: {:?}", field.last_ms());
        let late = field.last_ms().last().copied().flatten().unwrap();
        assert!(
            late <= 110.0,
            "{silent}: those who were silent are passed by: {:?}",
            field.last_ms()
        );
    }
}

#[test]
fn a_share_crosses_a_border_once() {
    let setup = Setup { orgs: 8, cross_orgs: true, ..Setup::new(80, 1 << 20) };
    let field = run(setup, 2);
    assert!(worst(&field) <= 140.0, "{:?}", field.last_ms());
    assert!(field.border_max() <= 2.0, "{}", field.border_max());
    assert!(field.upload_max() <= 4.0, "{}", field.upload_max());
}

#[test]
fn without_crossing_nothing_leaves_the_organisation() {
    let setup = Setup { orgs: 2, ..Setup::new(40, 1 << 20) };
    let field = run(setup, 1);
    assert!(worst(&field) <= 110.0, "{:?}", field.last_ms());
    assert_eq!(field.border_max(), 0.0);
}

const ROOTS: [&str; 3] = [
    "77fc6ae660f8073451962567e9c96ef60ff2eecdadb5e10fe820af6052617331",
    "b3f718edd296b81fb91d167375a858ca2d2f831f5f1d65b022182a7e09b29136",
    "1b1ca90fbbcb245a557002028625855010c2fdf828c9d17e1b869d8abf77f529",
];

//! Scenarios of one node: who is told what, and what is not listened to.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::message::{
    DataMessage, ItemId, PullDigest, PullHello, PullKind, PullRequest, PullUpdate, StateInfo,
};
use gossip_api::{
    Admit, Block, BlockHash, Bounded, ChannelId, ChannelTag, Endpoint, Envelope, Epoch, Height,
    Machine as _, Message, Mono, NetworkId, NetworkMember, Nonce, Now, OrgId, PkiId, SeqNum,
    SignedMessage, Tag, Verified, Wall,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, CheapCrypto};
use gossip_comm::sim::seeded;

use super::{Action, ChannelView, Input, Me, Node, NodeConfig, Outgoing, SpreadMode, Via};

pub(super) const GENESIS: BlockHash = BlockHash::from_bytes([7; 32]);

pub(super) struct World {
    authority: Arc<Authority>,
    pub(super) node: Node,
    me: CheapCrypto,
    pub(super) now: Now,
    pub(super) blocks: BlockFactory,
}

pub(super) fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

pub(super) fn trade() -> ChannelId {
    ChannelId::new("trade").unwrap()
}

impl World {
    /// A node of org1 in channel trade (org1, org2) at height 1.
    pub(super) fn new() -> Self {
        Self::with(NodeConfig::default())
    }

    pub(super) fn with(config: NodeConfig) -> Self {
        Self::of(config, true)
    }

    /// A node without external endpoint.
    pub(super) fn hidden() -> Self {
        Self::of(NodeConfig::default(), false)
    }

    fn of(config: NodeConfig, is_external: bool) -> Self {
        let authority = Authority::new(1);
        authority.add_channel(&trade(), [org("org1"), org("org2")]);
        let me = authority.crypto(authority.identity(&org("org1"), 0));
        let node_me =
            Me { pki_id: me.pki_id(), org: org("org1"), is_external, epoch: Epoch::new(1) };
        let node = Node::new(node_me, config.checked().unwrap(), seeded(1, 0));
        let now = Now { mono: Mono::ZERO, wall: Wall::from_unix_seconds(0) };
        let blocks = BlockFactory::new(&authority, trade(), 100);
        let mut world = Self { authority, node, me, now, blocks };
        let actions = world.handle(Input::Join(view(0)));
        world.sign(actions);
        world
    }

    pub(super) fn handle(&mut self, input: Input) -> Vec<Action> {
        self.node.handle(self.now, input)
    }

    /// Answers every `Sign` in `actions`; returns what comes of it.
    pub(super) fn sign(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let mut out = Vec::new();
        for action in actions {
            if let Action::Sign(message) = action {
                let network = NetworkId::new("dev").unwrap();
                let own = Verified::own(message, self.me.pki_id(), &network, &self.me).unwrap();
                out.extend(self.handle(Input::Signed(own)));
            }
        }
        out
    }

    pub(super) fn member(&self, org_name: &str, index: u32) -> (CheapCrypto, NetworkMember) {
        let crypto = self.authority.crypto(self.authority.identity(&org(org_name), index));
        let member = NetworkMember {
            pki_id: crypto.pki_id(),
            org: Some(org(org_name)),
            endpoint: Some(Endpoint::new(&format!("{org_name}-{index}:7051")).unwrap()),
            internal_endpoint: None,
            metadata: bytes::Bytes::new(),
            height: None,
        };
        (crypto, member)
    }

    /// An alive member that has announced itself at `height`.
    pub(super) fn peer(&mut self, org_name: &str, index: u32, height: u64) -> PkiId {
        let (crypto, member) = self.member(org_name, index);
        let peer = member.pki_id;
        self.handle(Input::MemberUp(member));
        let message = announcement(&crypto, 0, height);
        self.handle(Input::Received { from: peer, message });
        peer
    }

    pub(super) fn own(&self) -> PkiId {
        self.me.pki_id()
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now.mono = self.now.mono.after(time);
    }
}

pub(super) fn view(sequence: u64) -> ChannelView {
    ChannelView {
        channel: trade(),
        genesis: GENESIS,
        orgs: BTreeSet::from([org("org1"), org("org2")]),
        sequence,
        height: Height::new(1),
    }
}

pub(super) fn announcement(crypto: &CheapCrypto, sequence: u64, height: u64) -> Verified<Message> {
    let info = StateInfo {
        tag: ChannelTag::derive(&trade(), &GENESIS, &crypto.pki_id()),
        pki_id: crypto.pki_id(),
        epoch: Epoch::new(1),
        sequence,
        height: Height::new(height),
        left_channel: false,
    };
    let network = NetworkId::new("dev").unwrap();
    Verified::own(Message::StateInfo(info), crypto.pki_id(), &network, crypto).unwrap()
}

/// What a member says of itself first.
pub(super) fn own_infos(world: &World, org_name: &str, index: u32, sequence: u64) -> Message {
    let (crypto, _) = world.member(org_name, index);
    announcement(&crypto, sequence, 1).message().clone()
}

pub(super) fn sent(message: Message) -> SignedMessage {
    let envelope = Envelope::unsigned(&message);
    SignedMessage { message, envelope }
}

pub(super) fn from(peer: PkiId, message: Message) -> Input {
    Input::Received { from: peer, message: Verified::sender(sent(message), peer).unwrap() }
}

/// Recipients and kinds of what is sent.
pub(super) fn sends(actions: &[Action]) -> Vec<(PkiId, &Message)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { to, message: Outgoing::Plain(message) } => Some((to.pki_id, message)),
            Action::Send { to, message: Outgoing::Signed(message) } => {
                Some((to.pki_id, message.message()))
            }
            _ => None,
        })
        .collect()
}

pub(super) fn drops(actions: &[Action]) -> Vec<&'static str> {
    let reason = |action: &Action| match action {
        Action::Drop { reason, .. } => Some(*reason),
        _ => None,
    };
    actions.iter().filter_map(reason).collect()
}

#[test]
fn an_accepted_block_is_pushed_to_three_of_our_organisation_that_can_use_it() {
    let mut world = World::with(NodeConfig { mode: SpreadMode::Push, ..NodeConfig::default() });
    let near: BTreeSet<PkiId> = (1..=5).map(|i| world.peer("org1", i, 1)).collect();
    let far_behind = world.peer("org1", 6, 0);
    world.peer("org2", 1, 1);
    let mut block = world.blocks.next_block();
    block.number = SeqNum::new(256);
    let input =
        |block: &Block, via| Input::Accepted { channel: trade(), block: block.clone(), via };
    let accept = |world: &mut World, via| {
        assert!(world.handle(input(&block, via)).is_empty(), "a batch is awaited for a moment");
        world.advance(Duration::from_millis(10));
        world.handle(Input::Tick)
    };
    let actions = accept(&mut world, Via::Source);
    let to: BTreeSet<PkiId> = sends(&actions).iter().map(|(to, _)| *to).collect();
    assert_eq!(to.len(), 3);
    assert!(to.is_subset(&near), "nobody too far behind, nobody of another organisation");
    assert!(!to.contains(&far_behind));
    // fabric: gossip/gossip/gossip_test.go TestDissemination, and never back to the sender
    let sender = *near.first().unwrap();
    for _ in 0..20 {
        let actions = accept(&mut world, Via::Push(sender));
        assert!(sends(&actions).iter().all(|(to, _)| *to != sender));
    }
    assert!(world.handle(input(&block, Via::Range(sender))).is_empty(), "no news to anybody");
}

#[test]
fn messages_about_unknown_channels_or_by_strangers_get_one_answer() {
    let mut world = World::new();
    let known = world.peer("org1", 1, 1);
    let (stranger, _) = world.member("org1", 9);
    let hello = |channel: &str| {
        let channel = ChannelId::new(channel).unwrap();
        Message::Hello(PullHello { nonce: Nonce::new(1), channel, kind: PullKind::Block })
    };
    let admit =
        |peer: &PkiId, message: &Message| world.node.admit(world.now, peer, &message.header());
    assert_eq!(admit(&known, &hello("trade")), Admit::Accept);
    let refused = Admit::Drop("channel");
    assert_eq!(admit(&known, &hello("nosuch")), refused);
    assert_eq!(admit(&stranger.pki_id(), &hello("trade")), refused, "not a member we know");
}

#[test]
fn a_state_info_counts_once_and_an_older_one_not_at_all() {
    // fabric: gossip/gossip/channel/channel_test.go TestChannelAddToMessageStore
    let mut world = World::new();
    let (crypto, member) = world.member("org1", 1);
    let peer = member.pki_id;
    let first = announcement(&crypto, 5, 10);
    let dropped = world.handle(Input::Received { from: peer, message: first.clone() });
    assert_eq!(drops(&dropped), ["stale or of no member"], "not a member yet");
    world.handle(Input::MemberUp(member));
    let actions = world.handle(Input::Received { from: peer, message: first.clone() });
    assert!(
        matches!(&actions[..], [Action::PeerHeight { height, own_org: true, .. }] if height.get() == 10)
    );
    assert_eq!(world.node.admit(world.now, &peer, &first.message().header()), Admit::Drop("stale"));
    let again = world.handle(Input::Received { from: peer, message: first });
    assert_eq!(drops(&again), ["stale or of no member"]);
    let older = announcement(&crypto, 4, 99);
    assert_eq!(drops(&world.handle(Input::Received { from: peer, message: older })).len(), 1);
    assert_eq!(world.node.peers_of_channel(&trade())[0].member.height, Some(Height::new(10)));
}

#[test]
fn a_tag_of_another_genesis_is_no_channel_of_ours() {
    let mut world = World::new();
    let (crypto, member) = world.member("org1", 1);
    let peer = member.pki_id;
    world.handle(Input::MemberUp(member));
    let tag = ChannelTag::derive(&trade(), &BlockHash::from_bytes([8; 32]), &peer);
    let good = announcement(&crypto, 1, 3);
    let Message::StateInfo(info) = good.message().clone() else { panic!("another kind") };
    let header = Message::StateInfo(StateInfo { tag, ..info }).header();
    assert_eq!(world.node.admit(world.now, &peer, &header), Admit::Drop("channel"));
}

#[test]
fn who_may_be_told_what_follows_from_the_tag_and_the_configuration() {
    let mut world = World::new();
    let (ours, theirs) = (world.peer("org1", 1, 1), world.peer("org2", 2, 1));
    let stranger = PkiId::from_bytes([9; 32]);
    let may = |world: &World, to, tag| world.node.may_be_told(&trade(), &to, tag);
    for (tag, told) in [
        (Tag::Empty, [true, true]),
        (Tag::OrgOnly, [true, false]),
        (Tag::ChanOnly, [true, true]),
        (Tag::ChanOrOrg, [true, true]),
        (Tag::ChanAndOrg, [true, false]),
    ] {
        assert_eq!([may(&world, ours, tag), may(&world, theirs, tag)], told, "{tag:?}");
        assert!(!may(&world, stranger, tag), "nobody knows whose {tag:?} this would be");
    }
    let only_ours = ChannelView { orgs: [org("org1")].into(), ..view(2) };
    world.handle(Input::Join(only_ours));
    assert!(may(&world, ours, Tag::ChanOnly));
    for tag in [Tag::ChanOnly, Tag::ChanOrOrg, Tag::ChanAndOrg] {
        assert!(!may(&world, theirs, tag), "a removed organisation hears nothing more");
    }
}

#[test]
fn a_new_configuration_leaves_only_those_who_pass_it_again() {
    // fabric: gossip/gossip/channel/channel_test.go TestChannelReconfigureChannel
    let mut world = World::new();
    let stays = world.peer("org1", 1, 1);
    let leaves = world.peer("org1", 2, 1);
    assert!(world.node.is_entitled(&trade(), &leaves));
    let stale = world.handle(Input::Join(ChannelView { orgs: BTreeSet::new(), ..view(9) }));
    assert!(stale.is_empty(), "a configuration without members is no configuration");
    let mut actions = world.handle(Input::Join(view(2)));
    assert!(!world.node.is_entitled(&trade(), &stays), "nobody until it is checked");
    let Some(Action::Recheck { infos, .. }) = actions.pop() else { panic!("no recheck") };
    assert_eq!(actions.len(), 2, "both are gone for now");
    let held = infos.into_iter().filter(|info| info.author() == stays).collect();
    let actions = world.handle(Input::Rechecked { channel: trade(), sequence: 2, held });
    assert!(matches!(actions[..], [Action::PeerHeight { .. }]));
    assert!(world.node.is_entitled(&trade(), &stays));
    assert!(!world.node.is_entitled(&trade(), &leaves));
    let older = world.handle(Input::Join(view(1)));
    assert!(older.is_empty(), "an older configuration changes nothing");
}

#[test]
fn what_passed_under_one_configuration_is_looked_at_again_under_the_next() {
    let mut world = World::new();
    let peer = world.peer("org1", 1, 1);
    let mut first = world.handle(Input::Join(view(1)));
    let Some(Action::Recheck { sequence: 1, infos, .. }) = first.pop() else {
        panic!("no recheck")
    };
    world.handle(Input::Join(view(2)));
    let late = Input::Rechecked { channel: trade(), sequence: 1, held: infos };
    let mut again = world.handle(late);
    assert!(!world.node.is_entitled(&trade(), &peer), "not by the old configuration's word");
    let Some(Action::Recheck { sequence: 2, infos, .. }) = again.pop() else {
        panic!("no recheck")
    };
    world.handle(Input::Rechecked { channel: trade(), sequence: 2, held: infos });
    assert!(world.node.is_entitled(&trade(), &peer));
}

#[test]
fn an_organisation_that_left_is_served_nothing() {
    let mut world = World::new();
    let peer = world.peer("org2", 1, 1);
    let orgs = BTreeSet::from([org("org1")]);
    let mut actions = world.handle(Input::Join(ChannelView { orgs, ..view(1) }));
    let Some(Action::Recheck { infos, .. }) = actions.pop() else { panic!("no recheck") };
    world.handle(Input::Rechecked { channel: trade(), sequence: 1, held: infos });
    assert!(!world.node.is_entitled(&trade(), &peer));
    assert!(world.node.peers_of_channel(&trade()).is_empty());
}

#[test]
fn a_changed_height_is_announced_soon_and_once() {
    let announce_after = Duration::from_millis(200);
    let mut world = World::with(NodeConfig { announce_after, ..NodeConfig::default() });
    world.peer("org1", 1, 1);
    for height in 2..=5 {
        world.handle(Input::Height { channel: trade(), height: Height::new(height) });
    }
    assert!(world.handle(Input::Tick).is_empty(), "not at once");
    world.advance(Duration::from_millis(200));
    assert!(world.node.next_wakeup().unwrap().at <= world.now.mono);
    let actions = world.handle(Input::Tick);
    assert!(
        matches!(&actions[..], [Action::Sign(Message::StateInfo(info))] if info.height.get() == 5)
    );
    let actions = world.sign(actions);
    assert_eq!(sends(&actions).len(), 1);
    world.advance(Duration::from_millis(400));
    assert!(world.handle(Input::Tick).is_empty(), "nothing new");
}

#[test]
fn a_pull_round_fetches_what_is_missing_from_one_owner_each() {
    // fabric: gossip/gossip/algo/pull_test.go TestPullEngineSelectiveUpdates
    let mut world = World::new();
    let peers: Vec<PkiId> = (1..=2).map(|i| world.peer("org1", i, 4)).collect();
    world.advance(Duration::from_secs(4));
    let actions = world.handle(Input::Tick);
    let hellos: Vec<(PkiId, Nonce)> = sends(&actions)
        .into_iter()
        .filter_map(|(to, message)| match message {
            Message::Hello(hello) if hello.kind == PullKind::Block => Some((to, hello.nonce)),
            _ => None,
        })
        .collect();
    assert_eq!(hellos.len(), 2);
    let digest = |nonce, numbers: &[u64]| {
        let items = numbers.iter().map(|number| ItemId::block(SeqNum::new(*number))).collect();
        let items = Bounded::new(items).unwrap();
        Message::Digest(PullDigest { nonce, channel: trade(), kind: PullKind::Block, items })
    };
    assert!(sends(&world.handle(from(hellos[0].0, digest(hellos[0].1, &[0, 1, 2])))).is_empty());
    let actions = world.handle(from(hellos[1].0, digest(hellos[1].1, &[1, 1, 2, 3])));
    let requests = sends(&actions);
    let asked: usize = requests
        .iter()
        .map(|(_, message)| match message {
            Message::Request(request) => request.items.as_slice().len(),
            _ => 0,
        })
        .sum();
    assert_eq!(asked, 3, "1, 2 and 3 once each, block 0 is held");
    assert!(requests.iter().all(|(to, _)| peers.contains(to)));
}

#[test]
fn what_was_not_asked_for_is_dropped_with_its_reason() {
    let mut world = World::new();
    let peer = world.peer("org1", 1, 4);
    let nonce = Nonce::new(99);
    let (channel, kind) = (trade(), PullKind::Block);
    let items = Bounded::new(vec![ItemId::block(SeqNum::new(1))]).unwrap();
    let block = world.blocks.next_block();
    let digest = PullDigest { nonce, channel: channel.clone(), kind, items: items.clone() };
    let request = PullRequest { nonce, channel: channel.clone(), kind, items };
    for (message, reason) in [
        (Message::Digest(digest), "unsolicited digest"),
        (Message::Request(request), "unsolicited request"),
        (Message::Update(PullUpdate { nonce, channel, block }), "unsolicited update"),
    ] {
        assert_eq!(drops(&world.handle(from(peer, message))), [reason]);
    }
}

#[test]
fn a_hello_is_answered_from_the_ledger_and_a_flood_of_them_is_not() {
    let mut world = World::new();
    let peer = world.peer("org1", 1, 1);
    let hello = |nonce| {
        let (channel, kind) = (trade(), PullKind::Block);
        Message::Hello(PullHello { nonce: Nonce::new(nonce), channel, kind })
    };
    let actions = world.handle(from(peer, hello(1)));
    assert!(matches!(sends(&actions)[..], [(_, Message::Digest(_))]));
    let items = Bounded::new(vec![ItemId::block(SeqNum::new(0)), ItemId::block(SeqNum::new(50))]);
    let (channel, kind) = (trade(), PullKind::Block);
    let request = PullRequest { nonce: Nonce::new(1), channel, kind, items: items.unwrap() };
    let actions = world.handle(from(peer, Message::Request(request)));
    assert!(
        matches!(actions[..], [Action::Read { number, .. }] if number == SeqNum::new(0)),
        "what is not held is not promised"
    );
    let answered =
        (2..100).filter(|nonce| !sends(&world.handle(from(peer, hello(*nonce)))).is_empty());
    assert_eq!(answered.count(), 4);
}

#[test]
fn a_pushed_block_is_offered_and_blocks_of_other_channels_are_not_admitted() {
    let mut world = World::new();
    let peer = world.peer("org1", 1, 1);
    let block = world.blocks.next_block();
    let data = |channel: ChannelId| Message::Data(DataMessage { channel, block: block.clone() });
    let actions = world.handle(from(peer, data(trade())));
    assert!(matches!(&actions[..], [Action::Offer { via: Via::Push(from), .. }] if *from == peer));
    let other = data(ChannelId::new("other").unwrap());
    assert_eq!(world.node.admit(world.now, &peer, &other.header()), Admit::Drop("channel"));
}

#[test]
fn leaving_is_announced_and_then_nothing_is_known_of_the_channel() {
    // fabric: gossip/gossip/channel/channel_test.go TestLeaveChannel
    let mut world = World::new();
    let peer = world.peer("org1", 1, 1);
    let actions = world.handle(Input::Leave(trade()));
    assert!(matches!(&actions[..], [Action::Sign(Message::StateInfo(info))] if info.left_channel));
    let told = world.sign(actions);
    assert!(matches!(sends(&told)[..], [(to, Message::StateInfo(_))] if to == peer));
    assert!(world.node.channels().next().is_none());
    let header =
        Message::Hello(PullHello { nonce: Nonce::new(1), channel: trade(), kind: PullKind::Block })
            .header();
    assert_eq!(world.node.admit(world.now, &peer, &header), Admit::Drop("channel"));
}

#[test]
fn a_digest_that_is_never_served_costs_one_wait() {
    // Z12
    let mut world = World::new();
    let liar = world.peer("org1", 1, 4);
    world.advance(Duration::from_secs(4));
    let round = |world: &mut World| -> Vec<Nonce> {
        let actions = world.handle(Input::Tick);
        let hellos = sends(&actions).into_iter().filter_map(|(_, message)| match message {
            Message::Hello(hello) if hello.kind == PullKind::Block => Some(hello.nonce),
            _ => None,
        });
        hellos.collect()
    };
    let nonce = round(&mut world)[0];
    let items = Bounded::new(vec![ItemId::block(SeqNum::new(2))]).unwrap();
    let (channel, kind) = (trade(), PullKind::Block);
    let digest = Message::Digest(PullDigest { nonce, channel, kind, items });
    let asked = world.handle(from(liar, digest));
    assert!(matches!(sends(&asked)[..], [(_, Message::Request(_))]));
    world.advance(Duration::from_secs(2));
    assert!(round(&mut world).is_empty(), "the wait is over, the next round is not due");
    world.advance(Duration::from_secs(4));
    assert_eq!(round(&mut world).len(), 1, "and then it begins as if nothing had happened");
}

#[test]
fn push_pull_gives_back_what_a_digest_lacks_and_pull_does_not() {
    for (mode, given) in [(SpreadMode::PushPull, 1), (SpreadMode::Pull, 0)] {
        let mut world = World::with(NodeConfig { mode, ..NodeConfig::default() });
        let peer = world.peer("org1", 1, 1);
        world.handle(Input::Height { channel: trade(), height: Height::new(2) });
        world.advance(Duration::from_secs(4));
        let actions = world.handle(Input::Tick);
        let nonce = sends(&actions).into_iter().find_map(|(_, message)| match message {
            Message::Hello(hello) if hello.kind == PullKind::Block => Some(hello.nonce),
            _ => None,
        });
        let items = Bounded::new(vec![ItemId::block(SeqNum::new(0))]).unwrap();
        let (nonce, channel, kind) = (nonce.unwrap(), trade(), PullKind::Block);
        let digest = Message::Digest(PullDigest { nonce, channel, kind, items });
        let actions = world.handle(from(peer, digest));
        let reads: Vec<(SeqNum, Nonce)> = actions
            .iter()
            .filter_map(|action| match action {
                Action::Read { number, nonce, .. } => Some((*number, *nonce)),
                _ => None,
            })
            .collect();
        assert_eq!(reads.len(), given, "{mode:?}");
        for (number, nonce) in reads {
            assert_eq!(number, SeqNum::new(1));
            world.blocks.next_block();
            let block = Some(world.blocks.next_block());
            let read = Input::Read { channel: trade(), to: peer, nonce, block };
            let actions = world.handle(read);
            assert!(matches!(sends(&actions)[..], [(to, Message::Data(_))] if to == peer));
        }
    }
}

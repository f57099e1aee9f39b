//! Headers, plans and wants of one node: what is done, and what is dropped, with its reason.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::time::Duration;

use gossip_api::message::{
    BlockNote, BlockWord, HeaderMessage, HeaderNote, HeaderWord, Plan, PlanPart, PlannedBlock,
    StateInfoPullRequest,
};
use gossip_api::{
    Admit, Block, BlockError, BlockHash, Bounded, ChannelTag, Height, MerkleTree, Message,
    NetworkId, Nonce, PkiId, SeqNum, Verified,
};

use crate::node::tests::{World, drops, from, sends, trade};
use crate::node::{Action, Input, NodeConfig, Via};

/// A node at height 1 with six neighbours, the first of which leads.
struct Scene {
    world: World,
    peers: Vec<PkiId>,
    block: Block,
}

impl Scene {
    fn new() -> Self {
        let mut world = World::with(NodeConfig::default());
        let peers: Vec<PkiId> = (1..=6).map(|index| world.peer("org1", index, 1)).collect();
        world.blocks.set_data_len(64 << 10);
        world.blocks.next_block();
        let block = world.blocks.next_block();
        let mut scene = Self { world, peers, block };
        scene.lease(0, 60);
        scene
    }

    fn lease(&mut self, peer: usize, seconds: u64) {
        let until = self.world.now.mono.after(Duration::from_secs(seconds));
        let (channel, peer) = (trade(), self.peers[peer]);
        self.world.handle(Input::Lease { channel, peer, until: Some(until) });
    }

    fn own(&self) -> PkiId {
        self.world.own()
    }

    fn header(&self) -> Block {
        Block { data: bytes::Bytes::new(), ..self.block.clone() }
    }

    fn tell_header(&mut self, peer: usize, header: Block) -> Vec<Action> {
        let message = HeaderMessage { channel: trade(), block: header, data_len: 65_536 };
        self.world.handle(from(self.peers[peer], Message::Header(message)))
    }

    fn judge_header(&mut self, actions: Vec<Action>, holds: bool) -> Vec<Action> {
        let mut out = Vec::new();
        for action in actions {
            let Action::CheckHeader { channel, sequence, from, header } = action else { continue };
            let number = header.number;
            let policy = "BlockValidation".to_owned();
            let error = BlockError::PolicyNotSatisfied { number, policy };
            let verdict = if holds { Ok(()) } else { Err(error) };
            let input = Input::HeaderChecked { channel, sequence, from, header, verdict };
            out.extend(self.world.handle(input));
        }
        out
    }

    /// A plan of the first neighbour for us and the others but itself, fan-out 2; we are given the first run.
    fn planned(&self) -> (Vec<PkiId>, PlannedBlock) {
        let list: Vec<PkiId> =
            std::iter::once(self.own()).chain(self.peers[1..].iter().copied()).collect();
        let tree = MerkleTree::new(list.iter().map(PkiId::as_bytes));
        let plan = Plan {
            channel: trade(),
            number: self.block.number,
            header: self.block.header().hash(),
            source: self.peers[0],
            issued: 1,
            members: 6,
            fan_out: 2,
            root: tree.root(),
        };
        let whole = PlanPart::whole(list.clone()).unwrap();
        let part = whole.cut(&tree, 0, 3).unwrap();
        (list, PlannedBlock { plan, part, block: self.block.clone() })
    }

    fn receive_plan(&mut self, planned: PlannedBlock) -> Vec<Action> {
        let network = NetworkId::new("dev").unwrap();
        let source = planned.plan.source;
        let index = self.peers.iter().position(|peer| *peer == source).unwrap_or(0);
        let (crypto, _) = self.world.member("org1", u32::try_from(index).unwrap() + 1);
        let message = Verified::own(Message::Plan(planned), source, &network, &crypto).unwrap();
        let from = self.peers[index];
        self.world.handle(Input::Received { from, message })
    }

    fn accept(&mut self, via: Via) -> Vec<Action> {
        let (channel, block) = (trade(), self.block.clone());
        self.world.handle(Input::Accepted { channel, block, via })
    }
}

/// To whom the block itself is sent, down a tree.
fn planned_to(actions: &[Action]) -> Vec<PkiId> {
    let sent = sends(actions).into_iter();
    sent.filter(|(_, message)| matches!(message, Message::Plan(_))).map(|(to, _)| to).collect()
}

#[test]
fn a_header_is_verified_once_told_on_and_proves_the_height() {
    let mut scene = Scene::new();
    let header = scene.header();
    let asked = scene.tell_header(1, header.clone());
    assert!(matches!(asked[..], [Action::CheckHeader { .. }]));
    assert_eq!(drops(&scene.tell_header(2, header.clone())), ["header in flight"]);
    let told = scene.judge_header(asked, true);
    assert!(told.iter().any(|action| matches!(action, Action::Proved { .. })));
    let whole = sends(&told).iter().filter(|(_, m)| matches!(m, Message::Header(_))).count();
    let words = sends(&told).iter().filter(|(_, m)| matches!(m, Message::HeaderNote(_))).count();
    assert!(whole <= 2 && whole + words == 4, "never back to who has it: {whole} {words}");
    assert_eq!(drops(&scene.tell_header(3, header)), ["header known"]);
    assert!(scene.world.node.is_attested(&trade(), &scene.block));
    let other = Block { metadata: bytes::Bytes::from_static(b"x"), ..scene.block.clone() };
    assert!(!scene.world.node.is_attested(&trade(), &other), "other signatures");
}

#[test]
fn whose_header_does_not_hold_is_cut_off_and_not_heard_for_ten_minutes() {
    let mut scene = Scene::new();
    let header = scene.header();
    let asked = scene.tell_header(1, header.clone());
    let judged = scene.judge_header(asked, false);
    assert!(
        judged.iter().any(|a| matches!(a, Action::Blame { peer, .. } if *peer == scene.peers[1]))
    );
    let message = HeaderMessage { channel: trade(), block: header, data_len: 1 };
    let header = Message::Header(message).header();
    assert_eq!(
        scene.world.node.admit(scene.world.now, &scene.peers[1], &header),
        Admit::Drop("shunned")
    );
    assert_eq!(scene.world.node.admit(scene.world.now, &scene.peers[2], &header), Admit::Accept);
    scene.world.advance(Duration::from_secs(601));
    scene.world.handle(Input::Tick);
    assert_eq!(scene.world.node.admit(scene.world.now, &scene.peers[1], &header), Admit::Accept);
}

#[test]
fn headers_outside_the_window_off_the_chain_or_too_many_are_dropped_unverified() {
    let mut scene = Scene::new();
    let numbered = |number: u64| Block { number: SeqNum::new(number), ..Scene::new().header() };
    let headers = |number| {
        let block = numbered(number);
        Message::Header(HeaderMessage { channel: trade(), block, data_len: 1 }).header()
    };
    let admit = |scene: &Scene, number| {
        scene.world.node.admit(scene.world.now, &scene.peers[1], &headers(number))
    };
    assert_eq!(admit(&scene, 0), Admit::Drop("old header"));
    assert_eq!(admit(&scene, 1), Admit::Accept);
    assert_eq!(admit(&scene, 256), Admit::Accept);
    assert_eq!(admit(&scene, 257), Admit::Drop("header beyond the window"));
    assert_eq!(drops(&scene.tell_header(1, numbered(u64::MAX))), ["header beyond the window"]);
    for number in 10..14 {
        let asked = scene.tell_header(2, numbered(number));
        assert!(matches!(asked[..], [Action::CheckHeader { .. }]), "{number}");
    }
    assert_eq!(drops(&scene.tell_header(2, numbered(14))), ["too many unverified headers"]);
    let header = scene.header();
    let asked = scene.tell_header(1, header.clone());
    scene.judge_header(asked, true);
    assert_eq!(drops(&scene.tell_header(3, numbered(2))), ["header breaks the chain"]);
    let mut forked = header;
    forked.data_hash = bytes::Bytes::from(vec![9; 32]);
    assert_eq!(drops(&scene.tell_header(3, forked)), ["another header"]);
}

#[test]
fn a_new_configuration_takes_back_every_verdict_on_a_header() {
    let mut scene = Scene::new();
    let header = scene.header();
    let asked = scene.tell_header(1, header);
    scene.judge_header(asked, true);
    assert!(scene.world.node.is_attested(&trade(), &scene.block));
    scene.world.handle(Input::Join(crate::node::tests::view(1)));
    assert!(!scene.world.node.is_attested(&trade(), &scene.block));
}

#[test]
fn a_plan_is_served_once_its_block_is_verified_and_a_second_one_never() {
    let mut scene = Scene::new();
    let (list, planned) = scene.planned();
    let offered = scene.receive_plan(planned.clone());
    assert!(planned_to(&offered).is_empty(), "nothing is forwarded before it is verified");
    assert!(matches!(offered[..], [Action::Offer { via: Via::Push(_), .. }]));
    let served = scene.accept(Via::Push(scene.peers[0]));
    assert_eq!(planned_to(&served), list[1..3], "our run, each once");
    let told: Vec<PkiId> = sends(&served)
        .into_iter()
        .filter(|(_, m)| matches!(m, Message::BlockNote(_)))
        .map(|(to, _)| to)
        .collect();
    assert!(told.contains(&scene.peers[0]), "the source hears that we have it");
    let again = scene.receive_plan(planned);
    assert_eq!(drops(&again), ["second plan"]);
    assert!(planned_to(&again).is_empty());
}

#[test]
fn a_member_that_says_it_has_the_block_is_not_sent_it() {
    let mut scene = Scene::new();
    let (list, planned) = scene.planned();
    scene.receive_plan(planned);
    let number = scene.block.number;
    let note = BlockNote { channel: trade(), word: BlockWord::Have { number } };
    scene.world.handle(from(list[1], Message::BlockNote(note)));
    assert_eq!(planned_to(&scene.accept(Via::Push(scene.peers[0]))), [list[2]]);
}

#[test]
fn a_plan_that_is_not_in_order_is_dropped_with_its_reason_and_its_block_still_looked_at() {
    type Change = fn(&Scene, &mut PlannedBlock);
    let cases: [(&str, Change); 8] = [
        ("foreign planner", |scene, planned| planned.plan.source = scene.own()),
        ("planner without a lease", |scene, planned| planned.plan.source = scene.peers[1]),
        ("plan of another block", |_, planned| {
            planned.plan.header = BlockHash::from_bytes([1; 32]);
        }),
        ("plan of another block", |_, planned| planned.plan.number = SeqNum::new(2)),
        ("fan-out of a plan", |_, planned| planned.plan.fan_out = 65),
        // A list of everybody, for one.
        ("too long a list", |scene, planned| {
            planned.part = PlanPart::whole(scene.planned().0).unwrap();
        }),
        ("list without us", |scene, planned| {
            let whole = PlanPart::whole(scene.planned().0).unwrap();
            planned.part = whole.cut(&whole.tree(&planned.plan).unwrap(), 3, 3).unwrap();
        }),
        ("list of another plan", |_, planned| planned.plan.root = [1; 32]),
    ];
    for (reason, change) in cases {
        let mut scene = Scene::new();
        let (_, mut planned) = scene.planned();
        change(&scene, &mut planned);
        let actions = scene.receive_plan(planned);
        assert_eq!(drops(&actions), [reason]);
        assert!(actions.iter().any(|action| matches!(action, Action::Offer { .. })), "{reason}");
        let accepted = scene.accept(Via::Push(scene.peers[0]));
        assert!(planned_to(&accepted).is_empty(), "{reason}");
    }
}

#[test]
fn a_list_with_repeats_is_not_served() {
    let mut scene = Scene::new();
    let (_, mut planned) = scene.planned();
    let list = vec![scene.own(), scene.peers[1], scene.peers[1]];
    planned.part.members = Bounded::new(list).unwrap();
    assert_eq!(drops(&scene.receive_plan(planned)), ["list with repeats"]);
}

#[test]
fn a_plan_under_an_expired_lease_is_not_served() {
    let mut scene = Scene::new();
    scene.lease(0, 2);
    scene.world.advance(Duration::from_secs(3));
    let (_, planned) = scene.planned();
    assert_eq!(drops(&scene.receive_plan(planned)), ["planner without a lease"]);
    let gone = Input::Lease { channel: trade(), peer: scene.peers[0], until: None };
    scene.world.handle(gone);
    let (_, planned) = scene.planned();
    assert_eq!(drops(&scene.receive_plan(planned)), ["planner without a lease"]);
}

#[test]
fn the_leader_plans_for_who_can_use_the_block_and_leaves_out_who_is_behind() {
    let mut scene = Scene::new();
    let behind = scene.peers[5];
    let word = BlockWord::Behind { height: Height::new(0) };
    let note = BlockNote { channel: trade(), word };
    scene.world.handle(from(behind, Message::BlockNote(note)));
    assert!(scene.accept(Via::Source).iter().all(|a| !matches!(a, Action::Sign(_))));
    let mut scene = Scene { world: scene.world, peers: scene.peers, block: scene.block };
    scene.world.handle(Input::Leading { channel: trade(), leading: true });
    let actions = scene.accept(Via::Source);
    let plan = actions.iter().find_map(|action| match action {
        Action::Sign(Message::Plan(planned)) => Some(planned.clone()),
        _ => None,
    });
    let plan = plan.expect("a plan to sign");
    let members = plan.part.members.as_slice();
    assert_eq!(members.len(), 5);
    assert!(!members.contains(&behind));
    // The ledger is quicker than the signature.
    scene.world.handle(Input::Height { channel: trade(), height: scene.block.number.height() });
    let sent = scene.world.sign(vec![Action::Sign(Message::Plan(plan))]);
    assert!(!planned_to(&sent).is_empty());
    for (_, message) in sends(&sent) {
        let Message::Plan(planned) = message else { continue };
        assert_eq!(planned.block, scene.block, "the block goes along");
    }
}

#[test]
fn what_is_late_is_wanted_from_a_holder_then_from_the_next() {
    let mut scene = Scene::new();
    let (header, number) = (scene.header(), scene.block.number);
    let asked = scene.tell_header(1, header);
    scene.judge_header(asked, true);
    for holder in [2, 3] {
        let note = BlockNote { channel: trade(), word: BlockWord::Have { number } };
        scene.world.handle(from(scene.peers[holder], Message::BlockNote(note)));
    }
    let wants = |actions: &[Action]| -> Vec<(PkiId, Nonce)> {
        let words = sends(actions).into_iter();
        words
            .filter_map(|(to, message)| match message {
                Message::BlockNote(BlockNote { word: BlockWord::Want { nonce, .. }, .. }) => {
                    Some((to, *nonce))
                }
                _ => None,
            })
            .collect()
    };
    scene.world.advance(Duration::from_millis(149));
    assert!(wants(&scene.world.handle(Input::Tick)).is_empty(), "not before the plan's time");
    scene.world.advance(Duration::from_millis(600));
    let first = wants(&scene.world.handle(Input::Tick));
    assert_eq!(first.len(), 1);
    let lack = BlockWord::Lack { nonce: first[0].1 };
    let note = |word| Message::BlockNote(BlockNote { channel: trade(), word });
    assert_eq!(
        drops(&scene.world.handle(from(scene.peers[4], note(lack)))),
        ["unsolicited lack"],
        "another's nonce"
    );
    let second = wants(&scene.world.handle(from(first[0].0, note(lack))));
    assert_eq!(second.len(), 1, "at once");
    assert_ne!(second[0].0, first[0].0);
    let holders = [scene.peers[2], scene.peers[3]];
    assert!(holders.contains(&first[0].0) && holders.contains(&second[0].0));
}

#[test]
fn a_flood_of_wants_or_of_questions_who_is_here_is_not_answered() {
    let mut scene = Scene::new();
    scene.accept(Via::Source);
    let (peer, number) = (scene.peers[1], scene.block.number);
    let mut reasons = Vec::new();
    for nonce in 0..70 {
        let word = BlockWord::Want { nonce: Nonce::new(nonce), number };
        let note = Message::BlockNote(BlockNote { channel: trade(), word });
        reasons.extend(drops(&scene.world.handle(from(peer, note))));
    }
    assert_eq!(reasons, ["too many wants"; 6]);
    let tag = ChannelTag::derive(&trade(), &BlockHash::from_bytes([7; 32]), &peer);
    let mut reasons = Vec::new();
    for _ in 0..10 {
        let ask = Message::StateInfoPullRequest(StateInfoPullRequest { tag });
        reasons.extend(drops(&scene.world.handle(from(peer, ask))));
    }
    assert_eq!(reasons, ["too many state info pulls"; 2]);
}

#[test]
fn copies_of_one_block_are_given_twice_to_each_and_so_many_in_all() {
    let mut scene = Scene::new();
    scene.accept(Via::Source);
    let number = scene.block.number;
    let mut given = 0;
    let mut askers = scene.peers.clone();
    askers.extend((7..=20).map(|index| scene.world.peer("org1", index, 1)));
    for (peer, nonce) in askers.iter().flat_map(|peer| (0..3).map(move |nonce| (*peer, nonce))) {
        let word = BlockWord::Want { nonce: Nonce::new(nonce), number };
        let note = Message::BlockNote(BlockNote { channel: trade(), word });
        let actions = scene.world.handle(from(peer, note));
        let sent = sends(&actions).iter().filter(|(_, m)| matches!(m, Message::Update(_))).count();
        assert!(sent == 0 || nonce < 2, "one peer is given a block twice at most");
        given += sent;
    }
    assert_eq!(given, 32);
}

#[test]
fn words_of_who_has_not_announced_itself_or_is_of_another_organisation_are_dropped() {
    let mut scene = Scene::new();
    let (_, stranger) = scene.world.member("org1", 20);
    let stranger_id = stranger.pki_id;
    scene.world.handle(Input::MemberUp(stranger));
    let foreign = scene.world.peer("org2", 1, 1);
    let number = scene.block.number;
    for peer in [stranger_id, foreign] {
        let word = BlockWord::Want { nonce: Nonce::new(1), number };
        let note = Message::BlockNote(BlockNote { channel: trade(), word });
        assert_eq!(drops(&scene.world.handle(from(peer, note))), ["not entitled"]);
        let (_, planned) = scene.planned();
        let network = NetworkId::new("dev").unwrap();
        let (crypto, _) = scene.world.member("org1", 1);
        let message = Verified::own(Message::Plan(planned), peer, &network, &crypto).unwrap();
        let received = Input::Received { from: peer, message };
        assert_eq!(drops(&scene.world.handle(received)), ["not entitled"]);
    }
    let word = HeaderWord::Want { number };
    let note = Message::HeaderNote(HeaderNote { channel: trade(), word });
    assert_eq!(drops(&scene.world.handle(from(stranger_id, note))), ["not entitled"]);
    let word = HeaderWord::TipIs { nonce: Nonce::new(5), height: Height::new(9) };
    let note = Message::HeaderNote(HeaderNote { channel: trade(), word });
    assert_eq!(drops(&scene.world.handle(from(foreign, note))), ["unsolicited tip"]);
}

#[test]
fn a_header_that_was_missed_is_asked_of_who_told_of_the_next_one() {
    let mut scene = Scene::new();
    let missed = scene.block.clone();
    let next = scene.world.blocks.next_block();
    let header = Block { data: bytes::Bytes::new(), ..next };
    let told = scene.tell_header(3, header);
    let proved = scene.judge_header(told, true);
    assert!(proved.iter().any(|action| matches!(action, Action::Proved { .. })));
    scene.world.advance(Duration::from_millis(10));
    let asked = scene.world.handle(Input::Tick);
    let wanted: Vec<PkiId> = sends(&asked)
        .into_iter()
        .filter(|(_, message)| {
            let Message::HeaderNote(note) = message else { return false };
            note.word == HeaderWord::Want { number: missed.number }
        })
        .map(|(to, _)| to)
        .collect();
    assert_eq!(wanted, [scene.peers[3]]);
}

#[test]
fn of_two_gateways_one_plans_and_the_other_only_if_nobody_has() {
    let mut planned_first = 0;
    for number in 0..8 {
        for is_told in [false, true] {
            let mut scene = Scene::new();
            let channel = trade();
            scene.world.handle(Input::Leading { channel, leading: true });
            (0..number).for_each(|_| {
                scene.block = scene.world.blocks.next_block();
            });
            let at_once = scene.accept(Via::Source);
            if is_signed(&at_once) {
                planned_first += 1;
                continue;
            }
            if is_told {
                let header = scene.header();
                scene.tell_header(2, header);
            }
            scene.world.advance(Duration::from_secs(1));
            let later = scene.world.handle(Input::Tick);
            assert_eq!(is_signed(&later), !is_told, "block {number}");
        }
    }
    assert!((2..=14).contains(&planned_first), "the turn changes with the number");
}

fn is_signed(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Sign(Message::Plan(_))))
}

#[test]
fn where_a_leader_is_appointed_who_caught_up_tells_the_one_who_planned_last() {
    let mut scene = Scene::new();
    let (_, planned) = scene.planned();
    scene.receive_plan(planned);
    scene.accept(Via::Push(scene.peers[0]));
    let (channel, peer) = (trade(), scene.peers[0]);
    scene.world.handle(Input::Lease { channel, peer, until: None });
    scene.block = scene.world.blocks.next_block();
    let told = scene.accept(Via::Range(scene.peers[1]));
    let heard: Vec<PkiId> = sends(&told)
        .into_iter()
        .filter(|(_, message)| matches!(message, Message::BlockNote(_)))
        .map(|(to, _)| to)
        .collect();
    assert!(heard.contains(&scene.peers[0]), "{heard:?}");
}

#[test]
fn a_word_of_a_block_makes_its_speaker_a_source_up_to_what_is_proved() {
    let mut scene = Scene::new();
    let header = scene.header();
    let number = header.number;
    let told = scene.tell_header(1, header);
    scene.judge_header(told, true);
    let say = |number| {
        let word = BlockWord::Have { number };
        Message::BlockNote(BlockNote { channel: trade(), word })
    };
    for stated in [number, SeqNum::new(u64::MAX)] {
        let from = from(scene.peers[4], say(stated));
        let actions = scene.world.handle(from);
        let claim = actions.iter().find_map(|action| match action {
            Action::PeerHeight { peer, height, .. } => Some((peer.pki_id, *height)),
            _ => None,
        });
        assert_eq!(claim, Some((scene.peers[4], number.height())), "{stated}");
    }
}

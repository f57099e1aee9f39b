//! Who is in a channel, who may hear of it, and what is exchanged there.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

use std::time::Duration;

use gossip_api::message::{
    ItemId, PullDigest, PullHello, PullKind, PullRequest, StateInfo, StateInfoPullRequest,
};
use gossip_api::{
    Admit, Bounded, ChannelId, ChannelTag, Epoch, Height, Message, NetworkMember, Nonce, PkiId,
};

use crate::node::tests::{
    GENESIS, World, announcement, drops, from, org, own_infos, sends, trade, view,
};
use crate::node::{Action, ChannelView, Input};

fn hello(kind: PullKind, nonce: u64) -> Message {
    Message::Hello(PullHello { nonce: Nonce::new(nonce), channel: trade(), kind })
}

/// Whose state infos a digest lists.
fn listed(actions: &[Action]) -> Vec<PkiId> {
    let digest = sends(actions).into_iter().find_map(|(_, message)| match message {
        Message::Digest(digest) => Some(digest.items.clone()),
        _ => None,
    });
    let items = digest.map(Bounded::into_iter).into_iter().flatten();
    items.map(|item| item.as_state_info().unwrap().0).collect()
}

#[test]
fn our_own_state_info_carries_our_name_and_height_under_our_tag() {
    // fabric: gossip/gossip/channel/channel_test.go TestSelf
    let mut world = World::new();
    let own = world.own();
    let announced: Vec<_> = world.node.announcements(&trade()).collect();
    let [info] = announced[..] else { panic!("one") };
    let Message::StateInfo(info) = info.message().clone() else { panic!("another kind") };
    let tag = ChannelTag::derive(&trade(), &GENESIS, &own);
    assert_eq!((info.pki_id, info.height, info.tag), (own, Height::new(1), tag));
    let peer = world.peer("org1", 1, 1);
    let told = world.handle(Input::Connected(peer));
    assert!(
        matches!(sends(&told)[..], [(to, Message::StateInfo(said))] if to == peer && *said == info)
    );
}

#[test]
fn blocks_are_pulled_and_given_within_the_organisation_alone() {
    // fabric: gossip/gossip/channel/channel_test.go TestChannelPullAccessControl
    let mut world = World::new();
    let (near, far) = (world.peer("org1", 1, 9), world.peer("org2", 2, 9));
    let refused = world.handle(from(far, hello(PullKind::Block, 1)));
    assert_eq!((drops(&refused), sends(&refused).len()), (vec!["not entitled"], 0));
    assert_eq!(sends(&world.handle(from(near, hello(PullKind::Block, 1)))).len(), 1);
    for _ in 0..20 {
        world.advance(Duration::from_secs(8));
        let actions = world.handle(Input::Tick);
        let asked = sends(&actions).into_iter().filter(|(_, message)| {
            matches!(message, Message::Hello(hello) if hello.kind == PullKind::Block)
        });
        assert!(asked.map(|(to, _)| to).all(|to| to == near));
    }
}

#[test]
fn who_is_not_in_the_channel_gets_the_answer_of_a_channel_that_does_not_exist() {
    // fabric: gossip/gossip/channel/channel_test.go TestChannelPeerNotInChannel
    let mut world = World::new();
    let (_, stranger) = world.member("org3", 1);
    world.handle(Input::MemberUp(stranger.clone()));
    let nosuch = ChannelId::new("nosuch").unwrap();
    let about = |channel: &ChannelId| {
        let channel = channel.clone();
        let tag = ChannelTag::derive(&channel, &GENESIS, &stranger.pki_id);
        let (nonce, kind) = (Nonce::new(1), PullKind::Block);
        [
            Message::Hello(PullHello { nonce, channel, kind }),
            Message::StateInfoPullRequest(StateInfoPullRequest { tag }),
        ]
    };
    for (known, unknown) in about(&trade()).iter().zip(about(&nosuch).iter()) {
        let verdict =
            |message: &Message| world.node.admit(world.now, &stranger.pki_id, &message.header());
        assert_eq!(verdict(known), Admit::Drop("channel"));
        assert_eq!(verdict(known), verdict(unknown));
    }
}

#[test]
fn a_foreign_organisation_hears_nothing_of_ours_without_external_endpoint() {
    // fabric: gossip/gossip/channel/channel_test.go TestInterOrgExternalEndpointDisclosure
    let mut world = World::new();
    let open = world.peer("org1", 1, 1);
    let (crypto, member) = world.member("org1", 2);
    let hidden = member.pki_id;
    let internal = member.endpoint.clone();
    let member = NetworkMember { endpoint: None, internal_endpoint: internal, ..member };
    world.handle(Input::MemberUp(member));
    let message = announcement(&crypto, 0, 1);
    world.handle(Input::Received { from: hidden, message });
    let (near, far) = (world.peer("org1", 3, 1), world.peer("org2", 4, 1));
    let to_near = listed(&world.handle(from(near, hello(PullKind::StateInfo, 1))));
    let to_far = listed(&world.handle(from(far, hello(PullKind::StateInfo, 1))));
    assert!(to_near.contains(&open) && to_near.contains(&hidden));
    assert!(to_far.contains(&open) && !to_far.contains(&hidden), "{to_far:?}");
    // Nor if it asks for it by name.
    let items = Bounded::new(vec![ItemId::state_info(hidden, Epoch::new(1), 0)]).unwrap();
    let (nonce, channel, kind) = (Nonce::new(1), trade(), PullKind::StateInfo);
    let request = Message::Request(PullRequest { nonce, channel, kind, items });
    assert!(sends(&world.handle(from(far, request.clone()))).is_empty());
    let served = world.handle(from(near, request));
    assert!(matches!(sends(&served)[..], [(_, Message::StateInfo(info))] if info.pki_id == hidden));
}

#[test]
fn without_external_endpoint_we_do_not_announce_ourselves_to_others() {
    let mut world = World::hidden();
    let (near, far) = (world.peer("org1", 1, 1), world.peer("org2", 2, 1));
    assert_eq!(sends(&world.handle(Input::Connected(near))).len(), 1);
    assert!(sends(&world.handle(Input::Connected(far))).is_empty());
}

#[test]
fn what_an_author_could_not_tell_us_comes_by_exchange_and_goes_on() {
    let mut world = World::new();
    let near: Vec<PkiId> = (1..=6).map(|index| world.peer("org1", index, 1)).collect();
    let (crypto, member) = world.member("org1", 9);
    let author = member.pki_id;
    world.handle(Input::MemberUp(member));
    world.advance(Duration::from_secs(4));
    let actions = world.handle(Input::Tick);
    let asked = sends(&actions).into_iter().find_map(|(to, message)| match message {
        Message::Hello(hello) if hello.kind == PullKind::StateInfo => Some((to, hello.nonce)),
        _ => None,
    });
    let (partner, nonce) = asked.unwrap();
    let newest = ItemId::state_info(author, Epoch::new(1), 3);
    let older = ItemId::state_info(author, Epoch::new(1), 2);
    let items = Bounded::new(vec![older, newest.clone()]).unwrap();
    let (channel, kind) = (trade(), PullKind::StateInfo);
    let digest = Message::Digest(PullDigest { nonce, channel, kind, items });
    let actions = world.handle(from(partner, digest));
    let mut requested = sends(&actions).into_iter().filter_map(|(_, message)| match message {
        Message::Request(request) => Some(request.items.as_slice().to_vec()),
        _ => None,
    });
    assert_eq!(requested.next().unwrap(), [newest]);
    let given = sends(&actions).into_iter().filter(|(_, m)| matches!(m, Message::StateInfo(_)));
    assert_eq!(given.count(), 7, "the partner's digest lacks all the others, and us");
    let message = announcement(&crypto, 3, 7);
    let learned = world.handle(Input::Received { from: partner, message });
    assert!(matches!(learned[..], [Action::PeerHeight { .. }]), "{learned:?}");
    assert!(world.node.is_entitled(&trade(), &author));
    world.advance(Duration::from_millis(10));
    let passed = world.handle(Input::Tick);
    let to: Vec<PkiId> = sends(&passed)
        .into_iter()
        .filter(|(_, message)| matches!(message, Message::StateInfo(info) if info.pki_id == author))
        .map(|(to, _)| to)
        .collect();
    assert_eq!(to.len(), 3, "a few hear of it, who may not be reached by its author either");
    assert!(to.iter().all(|peer| near.contains(peer) && *peer != partner));
}

#[test]
fn a_flood_of_state_infos_is_not_verified() {
    let mut world = World::new();
    let (crypto, member) = world.member("org1", 1);
    let (flooder, other) = (member.pki_id, world.peer("org1", 2, 1));
    world.handle(Input::MemberUp(member));
    let said = |world: &mut World, sequence: u64| {
        let message = announcement(&crypto, sequence, sequence);
        let verdict = world.node.admit(world.now, &flooder, &message.message().header());
        if verdict == Admit::Accept {
            world.handle(Input::Received { from: flooder, message });
        }
        verdict
    };
    let verdicts: Vec<Admit> = (1..100).map(|sequence| said(&mut world, sequence)).collect();
    let accepted = verdicts.iter().filter(|verdict| **verdict == Admit::Accept).count();
    assert_eq!((accepted, *verdicts.last().unwrap()), (8, Admit::Drop("too many state infos")));
    let message = own_infos(&world, "org1", 2, 1);
    assert_eq!(world.node.admit(world.now, &other, &message.header()), Admit::Accept);
    world.advance(Duration::from_secs(4));
    assert_eq!(said(&mut world, 100), Admit::Accept, "and then it is heard again");
}

#[test]
fn a_state_info_under_the_tag_of_another_peer_is_of_no_channel() {
    let mut world = World::new();
    let (crypto, member) = world.member("org1", 1);
    let (liar, other) = (member.pki_id, world.peer("org1", 2, 1));
    world.handle(Input::MemberUp(member));
    let Message::StateInfo(info) = announcement(&crypto, 1, 3).message().clone() else {
        panic!("another kind")
    };
    let tag = ChannelTag::derive(&trade(), &GENESIS, &other);
    let header = Message::StateInfo(StateInfo { tag, ..info }).header();
    assert_eq!(world.node.admit(world.now, &liar, &header), Admit::Drop("channel"));
}

#[test]
fn an_item_of_another_kind_or_an_endless_digest_costs_nothing() {
    let mut world = World::new();
    let peer = world.peer("org1", 1, 4);
    world.advance(Duration::from_secs(4));
    let actions = world.handle(Input::Tick);
    let nonce = sends(&actions).into_iter().find_map(|(_, message)| match message {
        Message::Hello(hello) if hello.kind == PullKind::Block => Some(hello.nonce),
        _ => None,
    });
    let names = (0..2000).map(|_| ItemId::identity(peer));
    assert!(Bounded::<ItemId, 1024>::new(names.clone().collect()).is_err(), "does not decode");
    let (nonce, channel, kind) = (nonce.unwrap(), trade(), PullKind::Block);
    let items = Bounded::truncated(names);
    let digest = Message::Digest(PullDigest { nonce, channel, kind, items });
    assert!(world.handle(from(peer, digest)).is_empty(), "nothing in it is a block");
}

#[test]
fn an_organisation_without_anchor_peers_is_in_the_channel_and_a_removed_one_is_not() {
    // fabric: gossip/gossip/channel/channel_test.go TestChannelNoAnchorPeers, TestChannelIsInChannel
    let mut world = World::new();
    let (far, _) = (world.peer("org2", 1, 1), world.peer("org1", 2, 1));
    assert!(world.node.is_entitled(&trade(), &far));
    world.handle(Input::Join(ChannelView { orgs: [org("org1")].into(), ..view(1) }));
    assert!(!world.node.is_entitled(&trade(), &far));
    let refused = world.node.admit(world.now, &far, &hello(PullKind::StateInfo, 1).header());
    assert_eq!(refused, Admit::Drop("channel"));
}

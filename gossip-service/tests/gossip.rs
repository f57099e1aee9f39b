//! Fabric's interfaces of the core and of the service, over whole services on loopback QUIC.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "tests"
)]

#[path = "support/services.rs"]
mod services;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use gossip_api::message::{LeadershipKind, PrivateData, PrivateDataRequest};
use gossip_api::{
    BlockSource, ChannelId, Gossip as _, GossipError, GossipService as _, Height,
    JoinChannelMessage, Ledger as _, Message, Nonce, SendCriteria, SeqNum,
};
use gossip_service::{DeliveryFactory, Service};
use services::{
    CountingSource, MemoryLedger, TestChannel, TestConfig, World, channel_id, endpoint, eventually,
    led_by,
};

/// Two peers of one organisation in one channel, the first of which leads.
async fn pair(world: &World, channel: &Arc<TestChannel>) -> Pair {
    let first = world.peer("a", 0, None).config(led_by(true)).start().unwrap();
    let second = world.peer("a", 1, Some(&first)).config(led_by(false)).start().unwrap();
    let (joining, first_ledger) = channel.join();
    first.join(joining).await.unwrap();
    let (joining, second_ledger) = channel.join();
    second.join(joining).await.unwrap();
    sees_peers(&first, &channel.id, 1).await;
    sees_peers(&second, &channel.id, 1).await;
    Pair { first, second, first_ledger, second_ledger }
}

struct Pair {
    first: Service,
    second: Service,
    first_ledger: Arc<MemoryLedger>,
    second_ledger: Arc<MemoryLedger>,
}

impl Pair {
    async fn stop(self) {
        self.first.stop().await;
        self.second.stop().await;
    }
}

async fn sees_peers(service: &Service, channel: &ChannelId, count: usize) {
    eventually("peers of the channel", || async {
        service.peers_of_channel(channel).await.len() == count
    })
    .await;
}

async fn reaches(ledger: &MemoryLedger, height: u64) {
    eventually("the height", || async { ledger.len() == height }).await;
}

fn private(channel: &ChannelId, payload: &'static [u8]) -> Message {
    Message::PrivateData(PrivateData {
        nonce: Nonce::new(0),
        channel: channel.clone(),
        payload: Bytes::from_static(payload),
    })
}

fn criteria(channel: &ChannelId, min_ack: usize, max_peers: usize) -> SendCriteria {
    SendCriteria {
        timeout: Duration::from_secs(10),
        min_ack,
        max_peers,
        channel: Some(channel.clone()),
        eligible: None,
    }
}

// fabric: gossip/service/gossip_service_test.go TestInitGossipService
#[tokio::test(flavor = "multi_thread")]
async fn several_services_in_one_process_know_each_other_and_themselves() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let members = pair.first.peers().await;
    assert_eq!(members.len(), 1, "never ourselves");
    assert_eq!(members[0].pki_id, pair.second.me().pki_id);
    assert!(pair.first.is_in_my_org(&members[0]));
    let own = pair.first.self_membership_info().await.unwrap();
    assert_eq!(own.pki_id, pair.first.me().pki_id);
    assert_eq!(own.internal_endpoint, None, "not told to strangers");
    let known = pair.first.identity_info();
    assert_eq!(known.by_org()[&services::org("a")].0.len(), 2);
    let info = pair.first.self_channel_info(&channel.id).await.unwrap();
    assert_eq!(info.author(), pair.first.me().pki_id);
    assert!(pair.first.self_channel_info(&channel_id("other")).await.is_none());
    assert!(pair.first.peers_of_channel(&channel_id("other")).await.is_empty());
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_reaches_the_others() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    pair.first.update_metadata(Bytes::from_static(b"new")).await.unwrap();
    eventually("the metadata", || async {
        pair.second.peers().await.iter().any(|member| member.metadata == b"new"[..])
    })
    .await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_handed_in_is_committed_here_and_there_and_both_hosts_hear_of_it() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let blocks = |message: &Message| matches!(message, Message::Data(_));
    let mut here = pair.first.accept(Arc::new(blocks)).await;
    let mut there = pair.second.accept(Arc::new(blocks)).await;
    let block = channel.next_block();
    pair.first
        .gossip(Message::Data(gossip_api::message::DataMessage {
            channel: channel.id.clone(),
            block: block.clone(),
        }))
        .await
        .unwrap();
    reaches(&pair.second_ledger, 2).await;
    reaches(&pair.first_ledger, 2).await;
    assert_eq!(here.next().await.unwrap().0, pair.first.me().pki_id);
    assert_eq!(there.next().await.unwrap().0, pair.first.me().pki_id);
    let read = pair.second.block(&channel.id, SeqNum::new(1)).await.unwrap();
    assert_eq!(read, Some(block));
    assert_eq!(pair.second.block(&channel.id, SeqNum::new(9)).await.unwrap(), None);
    let unknown = channel_id("other");
    let refused = pair.second.block(&unknown, SeqNum::new(1)).await;
    assert_eq!(refused, Err(GossipError::NoSuchChannel(unknown)));
    pair.stop().await;
    assert!(there.next().await.is_none(), "the stream ends with the service");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_hosts_to_spread_is_refused() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let (joining, _) = channel.join();
    let service = world.peer("a", 0, None).start().unwrap();
    service.join(joining).await.unwrap();
    let told = service.gossip(private(&channel.id, b"x")).await;
    assert_eq!(told, Err(GossipError::NotSpread("private-data")));
    let foreign = TestChannel::new(&world, "other", &["a"]);
    let told = service.add_payload(&foreign.id, foreign.next_block()).await;
    assert_eq!(told, Err(GossipError::NoSuchChannel(foreign.id.clone())));
    service.stop().await;
    assert_eq!(service.update_metadata(Bytes::new()).await, Err(GossipError::Stopped));
    assert!(service.peers().await.is_empty());
    let mut nothing = service.accept(Arc::new(|_| true)).await;
    assert!(nothing.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_block_handed_in_is_neither_committed_nor_spread() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let good = channel.next_block();
    let mut forged = good.clone();
    forged.data = Bytes::from_static(b"other");
    pair.first.add_payload(&channel.id, forged).await.unwrap();
    eventually("the refusal", || async {
        let status = pair.first.status().await.unwrap();
        status.channels[0].refused.values().sum::<u64>() == 1
    })
    .await;
    assert_eq!((pair.first_ledger.len(), pair.second_ledger.len()), (1, 1));
    pair.first.add_payload(&channel.id, good).await.unwrap();
    reaches(&pair.second_ledger, 2).await;
    pair.stop().await;
}

// fabric: gossip/state/state_test.go TestNonBlockingCommit
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_faster_than_the_ledger_waits_and_loses_nothing() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let service = world.peer("a", 0, None).start().unwrap();
    let (joining, ledger) = channel.join();
    service.join(joining).await.unwrap();
    ledger.set_open(false);
    let (feeder, feeding) = (service.clone(), Arc::clone(&channel));
    let fed = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = Arc::clone(&fed);
    let feeding = tokio::spawn(async move {
        for _ in 0..600 {
            feeder.add_payload(&feeding.id, feeding.next_block()).await.unwrap();
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    eventually("a full buffer", || async { fed.load(Ordering::SeqCst) >= 200 }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let held = fed.load(Ordering::SeqCst);
    assert!(held < 600, "it waits at {held}");
    assert_eq!(ledger.len(), 1);
    ledger.set_open(true);
    feeding.await.unwrap();
    reaches(&ledger, 601).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_loses_the_oldest_and_delays_nobody() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let registry = prometheus::Registry::new();
    let service = world.peer("a", 0, None).registry(registry.clone()).start().unwrap();
    let (joining, ledger) = channel.join();
    service.join(joining).await.unwrap();
    let mut slow = service.accept(Arc::new(|message| matches!(message, Message::Data(_)))).await;
    for _ in 0..300 {
        service.add_payload(&channel.id, channel.next_block()).await.unwrap();
    }
    reaches(&ledger, 301).await;
    let (_, first) = slow.next().await.unwrap();
    let Message::Data(first) = first else { panic!("a block was wanted") };
    // Blocks are found valid by several workers, so that neighbours may have changed places.
    assert!(first.block.number.get() > 150, "the oldest went, not {}", first.block.number);
    let lost = registry.gather().into_iter().find(|f| f.name() == "gossip_subscriptions_lost");
    let lost = lost.unwrap().get_metric()[0].get_counter().get_value();
    assert!((lost - 172.0).abs() < f64::EPSILON, "{lost} counted");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_and_state_infos_are_heard_of_and_predicates_choose() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let first = world.peer("a", 0, None).start().unwrap();
    let second = world.peer("a", 1, Some(&first)).start().unwrap();
    let heard = |message: &Message| match message {
        Message::Leadership(claim) => claim.kind == LeadershipKind::Declare,
        Message::StateInfo(_) => true,
        _ => false,
    };
    let mut here = first.accept(Arc::new(heard)).await;
    let mut there = second.accept(Arc::new(heard)).await;
    first.join(channel.join().0).await.unwrap();
    second.join(channel.join().0).await.unwrap();
    let listen = async {
        let (mut infos, mut claims) = (0, 0);
        while infos == 0 || claims == 0 {
            let (_, message) = tokio::select! {
                Some(item) = here.next() => item,
                Some(item) = there.next() => item,
            };
            match message {
                Message::Leadership(_) => claims += 1,
                Message::StateInfo(_) => infos += 1,
                other => panic!("not chosen: {other:?}"),
            }
        }
    };
    tokio::time::timeout(services::SOON, listen).await.expect("both are heard of");
    first.stop().await;
    second.stop().await;
}

// fabric: gossip/gossip/gossip_test.go TestSendByCriteria
#[tokio::test(flavor = "multi_thread")]
async fn a_message_sent_by_criteria_counts_who_took_it_and_who_did_not() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let data = || private(&channel.id, b"secret");
    let mut inbox = pair.second.accept_passed_through(Arc::new(|_| true)).await;
    let answering = tokio::spawn(async move {
        for outcome in [Ok(()), Err("no room")] {
            let handed = inbox.next().await.unwrap();
            assert!(
                matches!(handed.message(), Message::PrivateData(d) if d.payload == b"secret"[..])
            );
            handed.ack(outcome);
        }
        inbox
    });
    let acks = pair.first.send_by_criteria(data(), criteria(&channel.id, 1, 1)).await.unwrap();
    assert_eq!((acks.successes, acks.nacks()), (1, 0));
    let refused = pair.first.send_by_criteria(data(), criteria(&channel.id, 1, 1)).await;
    let Err(GossipError::TooFewAcks(acks)) = refused else { panic!("{refused:?}") };
    assert_eq!(acks.failures["no room"], 1);
    let _unanswered = answering.await.unwrap();
    let soon = SendCriteria { timeout: Duration::from_millis(200), ..criteria(&channel.id, 1, 1) };
    let refused = pair.first.send_by_criteria(data(), soon).await;
    let Err(GossipError::TooFewAcks(acks)) = refused else { panic!("{refused:?}") };
    assert_eq!(acks.failures["timed out"], 1);
    let none = pair.first.send_by_criteria(data(), criteria(&channel.id, 1, 0)).await;
    assert_eq!(none.unwrap().successes, 0, "nobody to send to is a success");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn criteria_that_cannot_be_met_are_refused_at_once() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let send = |message, criteria| pair.first.send_by_criteria(message, criteria);
    let data = || private(&channel.id, b"x");
    let told = send(data(), criteria(&channel.id, 2, 5)).await;
    assert!(matches!(told, Err(GossipError::Criteria(_))), "two of one: {told:?}");
    let nobody =
        SendCriteria { eligible: Some(Arc::new(|_| false)), ..criteria(&channel.id, 1, 1) };
    let told = send(data(), nobody).await;
    assert!(matches!(told, Err(GossipError::Criteria(_))), "none eligible: {told:?}");
    let unknown = channel_id("other");
    let told = send(data(), criteria(&unknown, 1, 1)).await;
    assert_eq!(told, Err(GossipError::NoSuchChannel(unknown)));
    let never = SendCriteria { timeout: Duration::ZERO, ..criteria(&channel.id, 1, 1) };
    assert!(matches!(send(data(), never).await, Err(GossipError::Criteria(_))));
    let request = PrivateDataRequest::new(Nonce::new(1), channel.id.clone(), Bytes::new());
    let told = send(Message::PrivateDataRequest(request.unwrap()), criteria(&channel.id, 1, 1));
    assert_eq!(told.await, Err(GossipError::NotAcknowledged("private-data-request")));
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_answered_and_nothing_is_sent_to_who_is_not_in_the_channel() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let stranger = world.peer("a", 2, Some(&pair.first)).start().unwrap();
    eventually("the stranger", || async { pair.first.peers().await.len() == 2 }).await;
    let mut outside = stranger.accept_passed_through(Arc::new(|_| true)).await;
    let mut asked = pair.second.accept_passed_through(Arc::new(|_| true)).await;
    let mut answers = pair.first.accept_passed_through(Arc::new(|_| true)).await;
    let question = PrivateDataRequest::new(Nonce::new(5), channel.id.clone(), Bytes::new());
    let question = Message::PrivateDataRequest(question.unwrap());
    let all = pair.first.peers().await.iter().map(gossip_api::NetworkMember::remote).collect();
    pair.first.send(question, all).await.unwrap();
    let handed = asked.next().await.unwrap();
    assert_eq!(handed.from(), pair.first.me().pki_id);
    handed.respond(Message::PrivateDataResponse(gossip_api::message::PrivateDataResponse {
        nonce: Nonce::new(5),
        channel: channel.id.clone(),
        payload: Bytes::from_static(b"here"),
    }));
    let answer = answers.next().await.unwrap();
    assert!(
        matches!(answer.message(), Message::PrivateDataResponse(r) if r.payload == b"here"[..])
    );
    let nothing = tokio::time::timeout(Duration::from_millis(300), outside.next()).await;
    assert!(nothing.is_err(), "the stranger heard {nothing:?}");
    stranger.stop().await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_takes_the_members_whose_signed_state_info_the_criteria_accept() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let wanted = pair.second.me().identity.clone();
    let filter = pair.first.peer_filter(
        &channel.id,
        Arc::new(move |signed| {
            !signed.signature.is_empty() && !signed.message.is_empty() && signed.identity == wanted
        }),
    );
    let filter = filter.await.unwrap();
    let members = pair.first.peers_of_channel(&channel.id).await;
    assert!(filter(&members[0]));
    let own = pair.first.self_membership_info().await.unwrap();
    assert!(!filter(&own));
    let unknown = pair.first.peer_filter(&channel_id("other"), Arc::new(|_| true)).await;
    assert!(matches!(unknown, Err(GossipError::NoSuchChannel(_))));
    pair.stop().await;
}

// fabric: gossip/gossip/channel/channel_test.go TestLeaveChannel
#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_a_channel_is_seen_there_no_longer_gets_nothing_and_can_come_back() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    pair.second.leave_chan(&channel.id).await.unwrap();
    assert!(pair.second.peers_of_channel(&channel.id).await.is_empty());
    let again = pair.second.leave_chan(&channel.id).await;
    assert_eq!(again, Err(GossipError::NoSuchChannel(channel.id.clone())));
    sees_peers(&pair.first, &channel.id, 0).await;
    assert_eq!(pair.first.peers().await.len(), 1, "it is a member of the network still");
    pair.first.add_payload(&channel.id, channel.next_block()).await.unwrap();
    reaches(&pair.first_ledger, 2).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(pair.second_ledger.len(), 1);
    let (joining, ledger) = channel.join_with(Arc::clone(&pair.second_ledger));
    pair.second.join(joining).await.unwrap();
    sees_peers(&pair.first, &channel.id, 1).await;
    reaches(&ledger, 2).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_the_host_moved_is_followed_and_none_above_it_is_claimed() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    let told = pair.first.update_ledger_height(&channel.id, Height::new(9)).await;
    assert!(matches!(told, Err(GossipError::AboveLedger { .. })), "{told:?}");
    let blocks = [channel.next_block(), channel.next_block()];
    blocks.iter().for_each(|block| pair.first_ledger.put(block.clone()));
    pair.first.update_ledger_height(&channel.id, Height::new(3)).await.unwrap();
    reaches(&pair.second_ledger, 3).await;
    pair.first.add_payload(&channel.id, channel.next_block()).await.unwrap();
    reaches(&pair.second_ledger, 4).await;
    pair.stop().await;
}

/// K4: a record goes bad while the peer runs; its reader gets nothing of it, and a neighbour gives it back.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_cannot_be_read_any_more_is_fetched_from_who_has_it_and_served_again() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let Pair { first, second, first_ledger, second_ledger } = pair(&world, &channel).await;
    for _ in 0..5 {
        first.add_payload(&channel.id, channel.next_block()).await.unwrap();
    }
    reaches(&second_ledger, 6).await;
    second.stop().await;
    let whole = first_ledger.block(SeqNum::new(3)).await.unwrap();
    first_ledger.rot(SeqNum::new(3));
    let third = world.peer("a", 2, Some(&first)).config(led_by(false)).start().unwrap();
    let (joining, third_ledger) = channel.join();
    third.join(joining).await.unwrap();
    reaches(&third_ledger, 3).await;
    // Only the second has block 3.
    let second = world.peer("a", 3, Some(&first)).config(led_by(false)).start().unwrap();
    let (joining, _) = channel.join_with(second_ledger);
    second.join(joining).await.unwrap();
    eventually("the block again", || async {
        first_ledger.block(SeqNum::new(3)).await.is_ok_and(|block| block == whole)
    })
    .await;
    reaches(&third_ledger, 6).await;
    for service in [first, second, third] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_lost_its_end_is_filled_again_without_a_restart() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    for _ in 0..5 {
        pair.first.add_payload(&channel.id, channel.next_block()).await.unwrap();
    }
    reaches(&pair.second_ledger, 6).await;
    pair.second_ledger.truncate(3);
    pair.first.add_payload(&channel.id, channel.next_block()).await.unwrap();
    reaches(&pair.second_ledger, 7).await;
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_that_is_revoked_is_cut_off_and_one_that_is_not_stays() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let pair = pair(&world, &channel).await;
    pair.first.suspect_peers(Arc::new(|_| true)).await;
    assert_eq!(pair.first.peers().await.len(), 1);
    world.authority.revoke(&pair.second.me().identity);
    pair.first.suspect_peers(Arc::new(|_| false)).await;
    assert_eq!(pair.first.peers().await.len(), 1, "nobody was suspected");
    pair.first.suspect_peers(Arc::new(|_| true)).await;
    eventually("the cut", || async {
        let status = pair.first.status().await.unwrap();
        status.members.is_empty() && status.connections == 0
    })
    .await;
    pair.stop().await;
}

// fabric: gossip/service/gossip_service_test.go TestWithStaticDeliverClientLeader
#[tokio::test(flavor = "multi_thread")]
async fn a_named_leader_takes_blocks_from_what_the_factory_makes_and_others_do_not() {
    struct Factory(Arc<CountingSource>);
    impl DeliveryFactory for Factory {
        fn source(&self, _: &dyn JoinChannelMessage) -> Option<Arc<dyn BlockSource>> {
            Some(Arc::clone(&self.0) as Arc<dyn BlockSource>)
        }
    }
    let world = World::new();
    for (leads, opened) in [(true, 2), (false, 0)] {
        let source = Arc::new(CountingSource::default());
        let builder = world.peer("a", 0, None).config(led_by(leads));
        let service = builder.delivery(Arc::new(Factory(Arc::clone(&source)))).start().unwrap();
        for name in ["trade", "bonds"] {
            let channel = TestChannel::new(&world, name, &["a"]);
            service.join(channel.join().0).await.unwrap();
        }
        eventually("the sources", || async { source.opened.load(Ordering::SeqCst) == opened })
            .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(source.opened.load(Ordering::SeqCst), opened, "no more and no fewer later");
        let delivering = service.status().await.unwrap();
        assert!(delivering.channels.iter().all(|channel| channel.delivering == leads));
        service.stop().await;
    }
}

// fabric: gossip/service/gossip_service_test.go TestChannelConfig
#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_names_anchor_peers_and_an_equal_one_is_not_handed_on() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a"]);
    let service = world.open_peer("a", 0, None);
    let other = world.open_peer("a", 1, None);
    service.join(channel.join().0).await.unwrap();
    let anchored = |sequence, anchors: Vec<_>| {
        let orgs = vec![(services::org("a"), anchors)];
        let config = TestConfig { channel: channel.id.clone(), sequence, orgs };
        Arc::new(config) as Arc<dyn JoinChannelMessage>
    };
    let mut eventer = service.config_eventer(channel.id.clone());
    let named = endpoint(&other);
    assert!(eventer.process(anchored(1, vec![named.clone()])).await.unwrap());
    eventually("the anchor peer", || async { service.peers().await.len() == 1 }).await;
    assert!(service.is_anchor_peer(&named));
    assert!(!service.is_anchor_peer(&endpoint(&service)));
    assert!(!eventer.process(anchored(2, vec![named.clone()])).await.unwrap(), "nothing changed");
    assert!(eventer.process(anchored(3, Vec::new())).await.unwrap());
    eventually("no anchor", || async { !service.is_anchor_peer(&named) }).await;
    let foreign = TestConfig { channel: channel_id("other"), sequence: 9, orgs: Vec::new() };
    assert!(eventer.process(Arc::new(foreign)).await.is_err());
    service.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_is_not_ours_is_refused_at_join() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["b", "c"]);
    let service = world.peer("a", 0, None).start().unwrap();
    assert!(!service.am_i_in_channel(&*channel.config()));
    let told = service.join(channel.join().0).await;
    assert_eq!(told, Err(GossipError::NotAMember(channel.id.clone())));
    let told = service.join_chan(channel.config()).await;
    assert_eq!(told, Err(GossipError::NotAMember(channel.id.clone())));
    let ours = TestChannel::new(&world, "bonds", &["a"]);
    let told = service.join_chan(ours.config()).await;
    assert_eq!(told, Err(GossipError::NoSuchChannel(ours.id.clone())), "it takes a ledger");
    service.stop().await;
}

/// I5 and P4 of the hardening: an organisation is removed by a configuration block.
#[tokio::test(flavor = "multi_thread")]
async fn i5_p4_a_removed_organisation_gets_not_one_block_more() {
    let world = World::new();
    let channel = TestChannel::new(&world, "trade", &["a", "b"]);
    let stays = world.open_peer("a", 0, None);
    let goes = world.open_peer("b", 0, None);
    let (joining, kept) = channel.join();
    stays.join(joining).await.unwrap();
    let (joining, cut) = channel.join();
    goes.join(joining).await.unwrap();
    let both = [endpoint(&stays), endpoint(&goes)];
    let config = channel.next_config(&[("a", &both[..1]), ("b", &both[1..])]);
    for service in [&stays, &goes] {
        service.add_payload(&channel.id, config.clone()).await.unwrap();
    }
    sees_peers(&stays, &channel.id, 1).await;
    sees_peers(&goes, &channel.id, 1).await;
    stays.add_payload(&channel.id, channel.next_block()).await.unwrap();
    reaches(&cut, 3).await;
    assert!(stays.is_anchor_peer(&both[1]), "organisations are added by configuration blocks");
    // The configuration without it comes to the one that stays alone, and right behind it more blocks.
    stays.add_payload(&channel.id, channel.next_config(&[("a", &both[..1])])).await.unwrap();
    for _ in 0..20 {
        stays.add_payload(&channel.id, channel.next_block()).await.unwrap();
    }
    reaches(&kept, 24).await;
    assert!(!stays.is_anchor_peer(&both[1]));
    assert!(stays.peers_of_channel(&channel.id).await.is_empty());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(cut.len() <= 4, "it got block {} of those after its removal", cut.len() - 1);
    stays.stop().await;
    goes.stop().await;
}

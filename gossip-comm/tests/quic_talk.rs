//! Two honest peers over real QUIC.
#![cfg(feature = "quic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing at a time")]

mod support;

use std::time::Duration;

use gossip_api::message::{CloseReason, Message, StateRequest, StateResponse};
use gossip_api::{ChannelId, Endpoint, Envelope, Epoch, Nonce, RemotePeer, SeqNum};
use gossip_comm::{Comm, Command, DisconnectCause, Event, InboundId, RequestId, ResponseOutcome};
use support::{SOON, TestPeer, World, block_of, control, data, eventually, number_of};

// fabric: gossip/comm/comm_test.go TestBasic
// fabric: gossip/comm/comm_test.go TestGetConnectionInfo
#[tokio::test]
async fn two_peers_talk() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.dial(&b);
    let there = a.until(connected).await;
    assert_eq!((there.peer, there.dialled.as_ref()), (b.id, Some(&b.endpoint())));
    assert_eq!(there.org.as_ref().map(|org| org.as_str()), Some("org0"));
    let here = b.until(connected).await;
    assert_eq!((here.peer, here.dialled, here.epoch), (a.id, None, Epoch::new(1)));
    assert!(b.identities.get(&a.id, gossip_api::Mono::ZERO).is_some());

    for number in 0..100 {
        a.send(&b, &control(number));
        b.send(&a, &control(number));
    }
    for number in 0..100 {
        assert_eq!(number_of(&b.received().await), number);
        assert_eq!(number_of(&a.received().await), number);
    }
    assert_eq!(b.metric("gossip_comm_messages_received"), 100.0);
    assert_eq!(a.metric("gossip_comm_overflow_count"), 0.0);
}

#[tokio::test]
async fn blocks_of_every_size_arrive_as_they_were() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.dial(&b);
    a.connected(&b).await;
    for (number, len) in [0, 1, 1_200, 70_000, 300_000, 2 << 20, 20 << 20].into_iter().enumerate() {
        let sent = data(number as u64, len);
        a.send(&b, &sent);
        assert_eq!(b.received().await, sent);
    }
}

#[tokio::test]
async fn sending_dials() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    for number in 0..10 {
        a.send(&b, &control(number));
    }
    for number in 0..10 {
        assert_eq!(number_of(&b.received().await), number);
    }
    assert_eq!(b.metric("gossip_comm_connections"), 1.0);
}

#[tokio::test]
async fn a_second_dial_finds_the_connection() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    for expect in [None, Some(b.id), None] {
        a.comm.command(Command::Dial { endpoint: b.endpoint(), expect });
        let found = a.until(connected).await;
        assert_eq!((found.peer, found.dialled), (b.id, Some(b.endpoint())));
    }
    // The other side, too, finds what it did not dial.
    b.dial(&a);
    let found = b.until(|event| connected(event).filter(|found| found.dialled.is_some())).await;
    assert_eq!(found.peer, a.id);
    assert_eq!(a.metric("gossip_comm_connections"), 1.0);
}

// fabric: gossip/comm/comm_test.go TestConnectUnexpectedPeer
#[tokio::test]
async fn somebody_else_at_an_endpoint_is_not_used() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    let absent = world.person(3).id;
    let to = RemotePeer { pki_id: absent, endpoint: Some(b.endpoint()) };
    a.comm.command(Command::Send { to, envelope: Envelope::unsigned(&control(1)) });
    let reason = a.until(dial_failed).await;
    assert!(reason.contains("another peer was expected"), "{reason}");
    assert_eq!(a.metric_where("gossip_comm_messages_dropped", Some("not_reached")), 1.0);
    b.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
}

// fabric: gossip/comm/comm_test.go TestNonResponsivePing
#[tokio::test]
async fn a_dead_endpoint_is_reported_and_left_alone() {
    let world = World::new();
    let a = world.peer_with(1, |config| config.dial_timeout = Duration::from_millis(200));
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let endpoint = Endpoint::new(&nobody.local_addr().expect("bound").to_string()).expect("short");
    a.comm.command(Command::Dial { endpoint: endpoint.clone(), expect: None });
    a.until(dial_failed).await;
    let to = RemotePeer { pki_id: world.person(2).id, endpoint: Some(endpoint) };
    a.comm.command(Command::Send { to, envelope: Envelope::unsigned(&control(1)) });
    assert_eq!(a.metric_where("gossip_comm_messages_dropped", Some("not_dialled")), 1.0);
    a.comm.stop().await;
}

// fabric: gossip/comm/comm_test.go TestResponses
#[tokio::test]
async fn an_answer_comes_in_parts() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    ask(&a, &b, RequestId(7), SOON);
    let (id, from) = b.until(asked).await;
    assert_eq!(from, a.id);
    for number in 0..20 {
        b.comm.command(Command::Respond { to: id, envelope: part(number, 100_000) });
    }
    b.comm.command(Command::EndResponse { to: id });
    for number in 0..20 {
        let (request, message) = a.until(response).await;
        assert_eq!((request, message), (RequestId(7), answer(number, 100_000)));
    }
    assert_eq!(a.until(response_end).await, (RequestId(7), ResponseOutcome::Complete));
}

#[tokio::test]
async fn silence_ends_a_request() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    ask(&a, &b, RequestId(1), Duration::from_millis(300));
    b.until(asked).await;
    assert_eq!(a.until(response_end).await, (RequestId(1), ResponseOutcome::TimedOut));
    b.comm.stop().await;
    let gone = RemotePeer { endpoint: None, ..b.remote() };
    a.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    let envelope = Envelope::unsigned(&control(1));
    let id = RequestId(2);
    a.comm.command(Command::Request { to: gone, id, envelope, patience: SOON });
    assert_eq!(a.until(response_end).await, (RequestId(2), ResponseOutcome::Broken));
}

#[tokio::test]
async fn an_answer_that_outgrows_its_bound_is_broken_off() {
    let world = World::new();
    let a = world.peer(1);
    let b = world.peer_with(2, |config| config.outbox.answer_bytes = 1 << 20);
    ask(&a, &b, RequestId(7), SOON);
    let (id, _) = b.until(asked).await;
    for number in 0..64 {
        b.comm.command(Command::Respond { to: id, envelope: part(number, 1 << 20) });
    }
    assert_eq!(a.until(response_end).await, (RequestId(7), ResponseOutcome::Refused));
    assert!(b.metric("gossip_comm_overflow_count") > 0.0);
}

// fabric: gossip/comm/comm_test.go TestCloseConn
#[tokio::test]
async fn closing_tells_both_sides_why() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.dial(&b);
    a.connected(&b).await;
    b.connected(&a).await;
    a.comm.command(Command::Close { peer: b.id, reason: CloseReason::Expelled });
    assert_eq!(a.until(disconnected).await, DisconnectCause::Local(CloseReason::Expelled));
    assert_eq!(b.until(disconnected).await, DisconnectCause::Remote(CloseReason::Expelled));
}

// fabric: gossip/comm/comm_test.go TestReConnections
#[tokio::test]
async fn a_restarted_peer_is_found_again() {
    let world = World::new();
    let a = world.peer(1);
    let mut config = world.config();
    let b = TestPeer::start(world.person(2), config.clone(), Epoch::new(1));
    config.listen = b.comm.local_addr();
    a.send(&b, &control(1));
    b.received().await;
    b.comm.stop().await;
    a.until(disconnected).await;
    let b = TestPeer::start(world.person(2), config, Epoch::new(2));
    a.send(&b, &control(2));
    assert_eq!(number_of(&b.received().await), 2);
    assert_eq!(a.until(connected).await.epoch, Epoch::new(2));
}

#[tokio::test]
async fn stopping_leaves_nothing_running() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    ask(&a, &b, RequestId(1), SOON);
    b.until(asked).await;
    a.send(&b, &data(1, 4 << 20));
    b.send(&a, &control(1));
    a.received().await;
    assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() > before);
    tokio::join!(a.comm.stop(), b.comm.stop());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), before);
    a.comm.stop().await;
    a.send(&b, &control(2));
    while a.comm.next_event().await.is_some() {}
    assert!(a.comm.next_event().await.is_none());
    let address = b.comm.local_addr();
    assert!(std::net::UdpSocket::bind(address).is_ok(), "the socket is given back");
}

#[tokio::test]
async fn dropping_ends_everything() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.send(&b, &control(1));
    b.received().await;
    drop((a, b));
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    eventually("every task ends", || alive() == before).await;
}

fn ask(from: &TestPeer, to: &TestPeer, id: RequestId, patience: Duration) {
    let envelope = Envelope::unsigned(&Message::StateRequest(StateRequest {
        nonce: Nonce::new(1),
        channel: ChannelId::new("trade").expect("short"),
        from: SeqNum::new(0),
        to: SeqNum::new(9),
        bytes_max: 1 << 20,
    }));
    from.comm.command(Command::Request { to: to.remote(), id, envelope, patience });
}

fn answer(number: u64, len: usize) -> Message {
    Message::StateResponse(StateResponse {
        nonce: Nonce::new(1),
        channel: ChannelId::new("trade").expect("short"),
        block: block_of(number, len),
    })
}

fn part(number: u64, len: usize) -> Envelope {
    Envelope::unsigned(&answer(number, len))
}

fn connected(event: Event) -> Option<gossip_comm::Connected> {
    match event {
        Event::Connected(connected) => Some(connected),
        _ => None,
    }
}

fn disconnected(event: Event) -> Option<DisconnectCause> {
    match event {
        Event::Disconnected { cause, .. } => Some(cause),
        _ => None,
    }
}

fn dial_failed(event: Event) -> Option<String> {
    match event {
        Event::DialFailed { reason, .. } => Some(reason),
        _ => None,
    }
}

fn asked(event: Event) -> Option<(InboundId, gossip_api::PkiId)> {
    match event {
        Event::Request { id, from, .. } => Some((id, from)),
        _ => None,
    }
}

fn response(event: Event) -> Option<(RequestId, Message)> {
    match event {
        Event::Response { id, message, .. } => Some((id, message.message)),
        _ => None,
    }
}

fn response_end(event: Event) -> Option<(RequestId, ResponseOutcome)> {
    match event {
        Event::ResponseEnd { id, outcome } => Some((id, outcome)),
        _ => None,
    }
}

//! Calls and subscriptions over real QUIC: acknowledgements, handshakes, probes, notices.
#![cfg(feature = "quic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing at a time")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use gossip_api::message::{Message, PrivateData, Probe};
use gossip_api::{Bounded, ChannelId, Endpoint, Envelope, ErrorText, Nonce, PkiId, RemotePeer};
use gossip_comm::{AckOutcome, AckedSend, CallError, Comm, Command, Event, RequestId, Switchboard};
use support::{SOON, TestPeer, World, control, eventually, number_of};

/// A peer behind a switchboard that runs.
struct Desk {
    id: PkiId,
    remote: RemotePeer,
    board: Arc<Switchboard>,
}

impl Desk {
    fn open(peer: TestPeer) -> Self {
        let (id, remote) = (peer.id, peer.remote());
        let board = Arc::new(Switchboard::new(Arc::new(peer.comm), RequestId(1 << 32)));
        let running = Arc::clone(&board);
        tokio::spawn(async move { running.run().await });
        Self { id, remote, board }
    }

    /// Accepts every message that wants it, or refuses.
    fn answer_all(&self, refused: Option<&'static str>) {
        let mut questions = self.board.accept(|incoming| incoming.answer_to.is_some());
        let board = Arc::clone(&self.board);
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                board.acknowledge(&question, refused);
            }
        });
    }

    fn endpoint(&self) -> Endpoint {
        self.remote.endpoint.clone().expect("it listens")
    }
}

fn private_data() -> Envelope {
    Envelope::unsigned(&Message::PrivateData(PrivateData {
        nonce: Nonce::new(1),
        channel: ChannelId::new("trade").expect("short"),
        payload: vec![7; 100_000].into(),
    }))
}

fn acked(to: &[&Desk], accepted_min: usize, patience: Duration) -> AckedSend {
    let to = to.iter().map(|desk| desk.remote.clone()).collect();
    AckedSend { to, envelope: private_data(), accepted_min, patience }
}

#[tokio::test]
async fn a_message_is_acknowledged_by_enough_peers_or_it_is_said_who_did_not() {
    let world = World::new();
    let [a, good, bad, silent] = [1, 2, 3, 4].map(|seed| Desk::open(world.peer(seed)));
    good.answer_all(None);
    bad.answer_all(Some("no room"));
    let _unread = silent.board.accept(|_| true);

    let one = a.board.send_with_ack(acked(&[&good, &silent], 1, SOON)).await;
    assert_eq!(one.outcomes, [(good.id, AckOutcome::Accepted)], "nobody waits for the silent one");

    let report = a.board.send_with_ack(acked(&[&good, &bad, &silent], 3, Duration::from_secs(1)));
    let report = report.await;
    assert_eq!((report.accepted(), report.failed()), (1, 2));
    let refused = AckOutcome::Refused(ErrorText::cut("no room"));
    assert!(report.outcomes.contains(&(bad.id, refused)));
    assert!(report.outcomes.contains(&(silent.id, AckOutcome::TimedOut)));
    assert_eq!(report.to_string(), "1 accepted, 1: no room, 1: timed out");

    let none = a.board.send_with_ack(acked(&[], 1, SOON)).await;
    assert!(none.outcomes.is_empty());
}

#[tokio::test]
async fn peers_that_are_not_there_do_not_acknowledge() {
    let world = World::new();
    let (a, gone) = (Desk::open(world.peer(1)), Desk::open(world.peer(2)));
    gone.board.stop().await;
    let report = a.board.send_with_ack(acked(&[&gone], 1, SOON)).await;
    assert_eq!(report.outcomes, [(gone.id, AckOutcome::Broken)]);
}

// fabric: gossip/comm/comm_test.go TestProbe
// fabric: gossip/comm/comm_test.go TestPresumedDead
#[tokio::test]
async fn handshakes_and_probes_say_who_is_there() {
    let world = World::new();
    let (a, b) = (Desk::open(world.peer(1)), Desk::open(world.peer(2)));
    let mut dead = a.board.presumed_dead();
    let found = a.board.handshake(&b.endpoint(), None, SOON).await.expect("b answers");
    assert_eq!(found.peer, b.id);
    assert!(a.board.probe(&b.endpoint(), SOON).await.is_ok());
    let stranger = world.person(9).id;
    let other = a.board.handshake(&b.endpoint(), Some(stranger), SOON).await;
    assert!(matches!(other, Err(CallError::NotReached(_))), "{other:?}");
    assert_eq!(dead.next().await, Some(stranger));
    b.board.stop().await;
    assert_eq!(dead.next().await, Some(b.id), "its connection was lost");
    let gone = a.board.probe(&b.endpoint(), SOON).await;
    assert!(matches!(gone, Err(CallError::NotReached(_))), "{gone:?}");
    a.board.stop().await;
    assert_eq!(dead.next().await, None, "subscriptions end");
    assert_eq!(a.board.probe(&b.endpoint(), SOON).await, Err(CallError::Stopped));
}

#[tokio::test]
async fn another_identity_at_an_endpoint_is_told() {
    let world = World::new();
    let a = Desk::open(world.peer(1));
    let mut switched = a.board.identity_switch();
    let first = world.peer(2);
    let (old, endpoint, address) = (first.id, first.endpoint(), first.comm.local_addr());
    a.board.probe(&endpoint, SOON).await.expect("the first answers");
    first.comm.stop().await;
    drop(first);
    let _second = world.peer_with(3, |config| config.listen = address);
    a.board.probe(&endpoint, SOON).await.expect("the second answers");
    assert_eq!(switched.next().await, Some(old));
}

#[tokio::test]
async fn a_slow_subscriber_loses_the_oldest_and_delays_nobody() {
    let world = World::new();
    let sender = world.peer_with(1, |config| config.outbox.control_bytes = 4 << 20);
    let desk = Desk::open(world.peer(2));
    let slow = desk.board.accept(|_| true);
    let mut odd = desk.board.accept(|incoming| number_of(&incoming.message.message) % 2 == 1);
    let to = RemotePeer { pki_id: desk.id, endpoint: Some(desk.endpoint()) };
    for number in 0..2_000 {
        let envelope = Envelope::unsigned(&control(number));
        sender.comm.command(Command::Send { to: to.clone(), envelope });
    }
    for number in (1..2_000).step_by(2) {
        let next = odd.next().await.expect("it runs");
        assert_eq!(number_of(&next.message.message), number);
    }
    eventually("the slow one loses", || slow.lost() == 2_000 - 1_024).await;
    let kept: Vec<u64> =
        slow.take(1_024).map(|kept| number_of(&kept.message.message)).collect().await;
    assert_eq!(kept, (2_000 - 1_024..2_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn probes_fly_as_datagrams_once_there_is_a_connection() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    let probe = |asks: u64| {
        let ask = |nonce| gossip_api::message::Ask {
            target: gossip_api::message::ShortId::of(&b.id),
            nonce: Nonce::new(nonce),
            hops: 0,
        };
        Message::Probe(Probe { asks: Bounded::new((0..asks).map(ask).collect()).expect("few") })
    };
    a.send(&b, &probe(1));
    assert_eq!(b.received().await, probe(1));
    assert_eq!(a.metric("gossip_comm_datagrams_sent"), 0.0, "there was no connection yet");
    a.send(&b, &probe(2));
    assert_eq!(b.received().await, probe(2));
    assert_eq!(a.metric("gossip_comm_datagrams_sent"), 1.0);
    a.send(&b, &probe(64));
    assert_eq!(b.received().await, probe(64), "the longest there is fits a packet");
    assert_eq!(a.metric("gossip_comm_datagrams_sent"), 2.0);
    a.send(&b, &control(3));
    assert_eq!(number_of(&b.received().await), 3);
    assert_eq!(a.metric("gossip_comm_datagrams_sent"), 2.0);
}

#[tokio::test]
async fn a_datagram_that_is_none_ends_its_connection() {
    use support::raw::{self, RawTls};
    let world = World::new();
    let victim = world.peer(1);
    let tls = RawTls::of(&world.tls);
    let endpoint = raw::client(Some(&tls), raw::ALPN);
    let to = victim.comm.local_addr();
    let block = Envelope::unsigned(&support::data(1, 10)).encode().expect("small").concat();
    let control = Envelope::unsigned(&control(1)).encode().expect("small").concat();
    for (seed, frame) in [(2, block), (3, control), (4, vec![0xff; 40]), (5, Vec::new())] {
        let person = world.person(seed);
        let connection = raw::join(&endpoint, &tls, &person, &world.network, to).await;
        connection.send_datagram(frame.into()).expect("they are taken");
        let malformed = gossip_api::message::CloseReason::Malformed.code();
        assert_eq!(raw::close_code(&connection).await, Some(u64::from(malformed)), "{seed}");
    }
    victim.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
}

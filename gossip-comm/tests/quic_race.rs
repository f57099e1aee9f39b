//! Two things at once: dials that cross, and streams that do not move.
#![cfg(feature = "quic")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    reason = "a test looks for one thing at a time, and fails by panicking"
)]

mod support;

use std::collections::BTreeSet;

use gossip_api::Envelope;
use gossip_api::message::{CloseReason, Message};
use gossip_comm::{Comm, Command, Event, RequestId, ResponseOutcome};
use support::{TestPeer, World, control, data, eventually, is_control, number_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn crossing_dials_leave_one_connection_and_lose_nothing() {
    let mut crossed = 0.0;
    for round in 0..50 {
        let world = World::new();
        let (a, b) = (world.peer(1), world.peer(2));
        tokio::join!(talk(&a, &b), talk(&b, &a));
        let settled = || {
            let open = |peer: &TestPeer| peer.metric("gossip_comm_connections");
            open(&a) == 1.0 && open(&b) == 1.0
        };
        eventually("one connection is left", settled).await;
        // It carries messages both ways, and nobody was ever told of a loss.
        a.send(&b, &control(1_000));
        b.send(&a, &control(1_000));
        for peer in [&a, &b] {
            loop {
                match peer.next().await {
                    Event::Received { message, .. } => {
                        assert_eq!(number_of(&message.message), 1_000, "round {round}");
                        break;
                    }
                    Event::Connected(_) => {}
                    other => unreachable!("round {round}: {other:?}"),
                }
            }
            assert_eq!(peer.metric("gossip_comm_messages_dropped"), 0.0, "round {round}");
        }
        crossed += a.metric("gossip_comm_duplicate_connections");
        tokio::join!(a.comm.stop(), b.comm.stop());
    }
    assert!(crossed > 10.0, "only {crossed} of 50 dials crossed");
}

/// Sends a burst without being connected; reads until the other's burst is complete.
async fn talk(from: &TestPeer, to: &TestPeer) {
    from.dial(to);
    for number in 0..COUNT {
        from.send(to, &control(number));
        from.send(to, &data(number + COUNT, 3_000));
        if number % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 2 * usize::try_from(COUNT).expect("few") {
        let message = from.received().await;
        assert!(seen.insert(number_of(&message)), "twice: {}", number_of(&message));
    }
}

const COUNT: u64 = 40;

/// H11, between the same two processes again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h11_a_thousand_crossing_dials_leave_one_connection_and_lose_nothing() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    for round in 0..1_000 {
        tokio::join!(cross(&a, &b, round), cross(&b, &a, round));
        let settled = || {
            let open = |peer: &TestPeer| peer.metric("gossip_comm_connections");
            open(&a) == 1.0 && open(&b) == 1.0
        };
        eventually("one connection is left", settled).await;
        a.comm.command(Command::Close { peer: b.id, reason: CloseReason::Done });
        tokio::join!(gone(&a), gone(&b));
    }
    let crossed = a.metric("gossip_comm_duplicate_connections");
    assert!(crossed > 200.0, "only {crossed} of 1,000 dials crossed");
}

/// Dials and sends at once; reads until the dial is answered and all of this round has come, and nothing else
/// has happened.
async fn cross(from: &TestPeer, to: &TestPeer, round: u64) {
    from.dial(to);
    let numbers = 10 * round..10 * round + 4;
    for number in numbers.clone() {
        from.send(to, &control(number));
        from.send(to, &data(number + 4, 3_000));
    }
    let mut missing: BTreeSet<u64> = (numbers.start..numbers.end + 4).collect();
    let mut answered = false;
    while !(answered && missing.is_empty()) {
        let next = tokio::time::timeout(support::SOON, from.comm.next_event()).await;
        match next.unwrap_or_else(|_| panic!("round {round}: {missing:?} never came")) {
            Some(Event::Received { message, .. }) => {
                let number = number_of(&message.message);
                assert!(missing.remove(&number), "round {round}: {number} again");
            }
            Some(Event::Connected(connected)) => answered |= connected.dialled.is_some(),
            other => panic!("round {round}: {other:?} of {}", from.id),
        }
    }
}

/// Reads until the connection is gone.
async fn gone(peer: &TestPeer) {
    peer.until(|event| match event {
        Event::Connected(_) => None,
        Event::Disconnected { .. } => Some(()),
        other => panic!("{other:?}"),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn questions_asked_while_dials_cross_are_answered() {
    for round in 0..20 {
        let world = World::new();
        let (a, b) = (world.peer(1), world.peer(2));
        tokio::join!(converse(&a, &b, round), converse(&b, &a, round));
        tokio::join!(a.comm.stop(), b.comm.stop());
    }
}

/// Asks without being connected, answers what is asked, until both have their answers.
async fn converse(from: &TestPeer, to: &TestPeer, round: u64) {
    let id = RequestId(round);
    let envelope = Envelope::unsigned(&control(round));
    from.comm.command(Command::Request { to: to.remote(), id, envelope, patience: support::SOON });
    let (mut answered, mut parts, mut ended, mut farewell) = (false, 0, false, false);
    while !answered || !ended {
        match from.next().await {
            Event::Request { id, .. } => {
                for number in 0..10 {
                    let envelope = Envelope::unsigned(&data(number, 20_000));
                    from.comm.command(Command::Respond { to: id, envelope });
                }
                from.comm.command(Command::EndResponse { to: id });
                answered = true;
            }
            Event::Response { .. } => parts += 1,
            Event::ResponseEnd { outcome, .. } => {
                assert_eq!((outcome, parts), (ResponseOutcome::Complete, 10), "round {round}");
                ended = true;
            }
            Event::Connected(_) => {}
            Event::Received { .. } => farewell = true,
            other => unreachable!("round {round}: {other:?}"),
        }
    }
    // Until the other side has read its answer to the end, the connection must stand.
    from.send(to, &control(round));
    if !farewell {
        from.received().await;
    }
}

#[tokio::test]
async fn one_side_dialling_two_endpoints_of_a_peer_keeps_one() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    let port = b.comm.local_addr().port();
    let aliases = ["127.0.0.1", "localhost"];
    for alias in aliases {
        let endpoint = gossip_api::Endpoint::new(&format!("{alias}:{port}")).expect("short");
        a.comm.command(Command::Dial { endpoint, expect: None });
    }
    let mut dialled = 0;
    let mut answers = 0;
    while dialled < 2 || answers < 2 {
        match a.next().await {
            Event::Connected(_) => {
                dialled += 1;
                a.send(&b, &control(dialled));
                assert_eq!(number_of(&b.received().await), dialled);
                b.send(&a, &control(dialled));
            }
            Event::Received { .. } => answers += 1,
            other => unreachable!("{other:?}"),
        }
    }
    let connections = || a.metric("gossip_comm_connections") + b.metric("gossip_comm_connections");
    eventually("one connection is left", || connections() == 2.0).await;
    assert_eq!(a.metric("gossip_comm_duplicate_connections"), 1.0);
    assert_eq!(a.metric("gossip_comm_messages_dropped"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_blocks_do_not_hold_up_control_messages() {
    let world = World::new();
    let a = world.peer(1);
    let b = world.peer_with(2, |config| config.inbox.block_bytes = 2 << 20);
    a.send(&b, &control(0));
    b.received().await;
    for number in 0..12 {
        a.send(&b, &data(number, 1 << 20));
    }
    let blocks = || b.metric_where("gossip_comm_frames_received", Some("block"));
    eventually("blocks wait for the layer above", || blocks() >= 1.0).await;
    a.send(&b, &control(1));
    // Nobody reads, and still it arrives.
    let controls = || b.metric_where("gossip_comm_frames_received", Some("control"));
    eventually("the control message arrives", || controls() == 2.0).await;
    assert!(blocks() <= 2.0, "{} blocks in an inbox for two", blocks());
    let mut blocks_before = 0;
    while !is_control(&b.received().await) {
        blocks_before += 1;
    }
    assert!(blocks_before <= 2, "{blocks_before}");
    // Once read, the rest follows.
    for _ in blocks_before..12 {
        assert!(matches!(b.received().await, Message::Data(_)));
    }
}

#[tokio::test]
async fn a_peer_that_floods_waits_for_itself_alone() {
    let world = World::new();
    let flooder = world.peer_with(1, |config| config.outbox.control_bytes = 4 << 20);
    let quiet = world.peer(2);
    let victim = world.peer_with(3, |config| config.inbox.control_bytes = 64 << 10);
    flooder.send(&victim, &control(0));
    victim.received().await;
    for number in 0..20_000 {
        flooder.send(&victim, &control(number));
    }
    let waiting = || victim.metric("gossip_comm_messages_received");
    eventually("the inbox fills", || waiting() > 100.0).await;
    quiet.send(&victim, &control(77_777));
    let mut before = 0u64;
    while number_of(&victim.received().await) != 77_777 {
        before += 1;
    }
    assert!(before < 20_000, "{before} messages of the flood came first");
}

#[tokio::test]
async fn a_peer_over_its_quota_is_shed_then_paused_and_nobody_else_is() {
    let world = World::new();
    // Of different organisations, so that neither pays for the other.
    let (eager, quiet) = (world.peer(1), world.peer(4));
    let victim = world.peer_with(2, |config| {
        config.quota.burst = 50;
        config.quota.per_second = 100;
    });
    eager.send(&victim, &control(0));
    victim.received().await;
    let shed = || victim.metric_where("gossip_comm_messages_dropped", Some("shed"));
    let paused = || victim.metric_where("gossip_comm_offences", Some("over_quota"));
    let flood = async {
        while paused() == 0.0 {
            (0..10).for_each(|number| eager.send(&victim, &control(number)));
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(support::SOON, flood).await.expect("a pause in time");
    assert!(shed() >= 40.0, "{} shed before the pause", shed());
    quiet.send(&victim, &control(77_777));
    while number_of(&victim.received().await) != 77_777 {}
    assert_eq!(victim.metric("gossip_comm_connections"), 2.0, "nobody was closed for it yet");
}

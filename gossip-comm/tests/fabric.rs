//! Scenarios of Fabric's own tests of its transport that no other test here plays.
#![cfg(feature = "quic")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    reason = "a test looks for one thing at a time, and fails by panicking"
)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use gossip_api::{Envelope, RemotePeer};
use gossip_comm::{AckedSend, Comm as _, Command, Event, Incoming, RequestId, Switchboard};
use support::{SOON, TestPeer, World, control, number_of};
use tokio::task::JoinHandle;

/// A switchboard that runs until its transport stops.
fn open(peer: TestPeer) -> (RemotePeer, Arc<Switchboard>, JoinHandle<()>) {
    let remote = peer.remote();
    let board = Arc::new(Switchboard::new(Arc::new(peer.comm), RequestId(1 << 32)));
    let running = Arc::clone(&board);
    (remote, board, tokio::spawn(async move { running.run().await }))
}

fn send(board: &Switchboard, to: &RemotePeer, number: u64) {
    board.send(to.clone(), Envelope::unsigned(&control(number)));
}

fn number(incoming: &Incoming) -> u64 {
    number_of(&incoming.message.message)
}

// fabric: gossip/comm/comm_test.go TestAccept
// fabric: gossip/comm/demux_test.go TestChannelDeMultiplexer_EvenOddChannels
#[tokio::test]
async fn subscribers_get_their_own_kind_and_what_waits_survives_the_end() {
    let world = World::new();
    let (_, sender, _) = open(world.peer(1));
    let (to, receiver, running) = open(world.peer(2));
    let even = receiver.accept(|incoming| number(incoming).is_multiple_of(2));
    let odd = receiver.accept(|incoming| !number(incoming).is_multiple_of(2));
    let mut all = receiver.accept(|_| true);
    (0..20).for_each(|number| send(&sender, &to, number));
    for expected in 0..20 {
        assert_eq!(all.next().await.as_ref().map(number), Some(expected));
    }
    receiver.stop().await;
    receiver.stop().await;
    running.await.expect("no panic");
    let even: Vec<_> = even.map(|incoming| number(&incoming)).collect().await;
    let odd: Vec<_> = odd.map(|incoming| number(&incoming)).collect().await;
    assert_eq!(even, (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(odd, (1..20).step_by(2).collect::<Vec<_>>());
    assert!(all.next().await.is_none());
}

// fabric: gossip/comm/demux_test.go TestChannelDeMultiplexer_OperationsAfterClose
// fabric: gossip/comm/demux_test.go TestChannelDeMultiplexer_Close
#[tokio::test]
async fn after_the_end_a_subscription_is_empty_and_nobody_is_asked() {
    let world = World::new();
    let (_, sender, _) = open(world.peer(1));
    let (to, receiver, running) = open(world.peer(2));
    receiver.stop().await;
    running.await.expect("no panic");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let mut late = receiver.accept(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    send(&sender, &to, 1);
    assert!(late.next().await.is_none());
    assert!(receiver.presumed_dead().next().await.is_none());
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

// fabric: gossip/comm/demux_test.go TestChannelDeMultiplexer_ShouldCloseWithFullChannel
// fabric: gossip/comm/demux_test.go TestChannelDeMultiplexer_InterleaveOperations
#[tokio::test]
async fn a_full_subscriber_holds_up_neither_messages_nor_the_end() {
    let world = World::new();
    let (_, sender, _) = open(world.peer(1));
    let (to, receiver, running) = open(world.peer(2));
    let full = receiver.accept(|_| true);
    let mut read = receiver.accept(|_| true);
    for number in 0..1_200 {
        send(&sender, &to, number);
        assert!(read.next().await.is_some());
        // Others come and go meanwhile.
        drop(receiver.accept(|_| true));
    }
    assert_eq!(full.lost(), 1_200 - 1_024);
    receiver.stop().await;
    running.await.expect("no panic");
    assert_eq!(full.count().await, 1_024);
}

// fabric: gossip/comm/comm_test.go TestMutualParallelSendWithAck
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_messages_each_way_at_once_are_all_acknowledged() {
    let world = World::new();
    let (a_remote, a, _) = open(world.peer(1));
    let (b_remote, b, _) = open(world.peer(2));
    for board in [&a, &b] {
        let mut questions = board.accept(|incoming| incoming.answer_to.is_some());
        let board = Arc::clone(board);
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                board.acknowledge(&question, None);
            }
        });
    }
    let send_all = |from: Arc<Switchboard>, to: RemotePeer| async move {
        let sends = (0..1_000).map(|number| {
            let envelope = Envelope::unsigned(&control(number));
            let to = vec![to.clone()];
            from.send_with_ack(AckedSend { to, envelope, accepted_min: 1, patience: SOON })
        });
        let reports = futures_util::future::join_all(sends).await;
        reports.iter().filter(|report| report.accepted() == 1).count()
    };
    let accepted =
        tokio::join!(send_all(Arc::clone(&a), b_remote), send_all(Arc::clone(&b), a_remote),);
    assert_eq!(accepted, (1_000, 1_000));
}

// fabric: gossip/comm/comm_test.go TestCommSend
// fabric: gossip/comm/comm_test.go TestParallelSend
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_tasks_send_both_ways_arrives() {
    let world = World::new();
    let (a, b) = (Arc::new(world.peer(1)), Arc::new(world.peer(2)));
    for (from, to) in [(&a, &b), (&b, &a)] {
        for task in 0..8 {
            let (from, to) = (Arc::clone(from), to.remote());
            tokio::spawn(async move {
                for number in 0..100 {
                    let envelope = Envelope::unsigned(&control(task * 100 + number));
                    from.comm.command(Command::Send { to: to.clone(), envelope });
                }
            });
        }
    }
    for peer in [&a, &b] {
        let mut seen = BTreeSet::new();
        while seen.len() < 800 {
            assert!(seen.insert(number_of(&peer.received().await)), "twice");
        }
    }
}

// fabric: gossip/comm/comm_test.go TestConcurrentCloseSend
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_while_the_other_side_stops_neither_hangs_nor_breaks() {
    let world = World::new();
    let (a, b) = (Arc::new(world.peer(1)), world.peer(2));
    a.send(&b, &control(0));
    b.received().await;
    let (from, to) = (Arc::clone(&a), b.remote());
    let sending = tokio::spawn(async move {
        for number in 0..5_000 {
            let envelope = Envelope::unsigned(&control(number));
            from.comm.command(Command::Send { to: to.clone(), envelope });
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
    });
    b.comm.stop().await;
    sending.await.expect("no panic");
    a.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
    a.comm.stop().await;
}

// fabric: gossip/comm/metrics_test.go TestMetrics
#[tokio::test]
async fn what_is_sent_and_received_is_counted() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    for number in 0..5 {
        a.send(&b, &control(number));
        b.received().await;
    }
    assert_eq!(a.metric("gossip_comm_messages_sent"), 5.0);
    assert_eq!(b.metric("gossip_comm_messages_received"), 5.0);
    assert_eq!(a.metric("gossip_comm_overflow_count"), 0.0);
}

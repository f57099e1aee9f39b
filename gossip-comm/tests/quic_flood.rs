//! Strangers in numbers, and members who do not play along: what they cost is bounded, and is theirs alone.
#![cfg(feature = "quic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "tests")]

mod support;

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use gossip_api::message::{CloseReason, Message};
use gossip_comm::{Comm as _, Command, Event};
use support::raw::{self, RawTls};
use support::{World, control, data, eventually, number_of};

/// H7: streams that are opened and reset, as fast as they can be.
#[tokio::test]
async fn h7_a_storm_of_resets_costs_nothing_that_stays() {
    let world = World::new();
    let victim = world.peer(1);
    let honest = world.peer(2);
    let tls = RawTls::of(&world.tls);
    let endpoint = raw::client(Some(&tls), raw::ALPN);
    let to = victim.comm.local_addr();
    let connection = raw::join(&endpoint, &tls, &world.person(3), &world.network, to).await;
    for number in 0..2_000u32 {
        let mut stream = connection.open_uni().await.expect("leave to open");
        stream.write_all(&100u32.to_le_bytes()).await.expect("room");
        if number % 2 == 0 {
            stream.reset(7u8.into()).expect("an open stream");
        } else {
            let (mut send, mut recv) = connection.open_bi().await.expect("leave to open");
            send.reset(7u8.into()).expect("an open stream");
            recv.stop(7u8.into()).expect("an open stream");
            stream.reset(7u8.into()).expect("an open stream");
        }
    }
    honest.send(&victim, &control(1));
    assert_eq!(number_of(&victim.received().await), 1);
    assert!(connection.close_reason().is_none(), "a reset is no offence");
    assert_eq!(victim.metric("gossip_comm_connections"), 2.0);
}

/// H6: whoever never says hello is gone after two seconds, however many they are.
#[tokio::test]
async fn h6_connections_without_hello_are_closed_in_time() {
    let world = World::new();
    let victim = world.peer(1);
    let tls = RawTls::of(&world.tls);
    let endpoint = raw::client(Some(&tls), raw::ALPN);
    let to = victim.comm.local_addr();
    let began = Instant::now();
    let dials = (0..60).map(|_| raw::connect(&endpoint, to));
    let connections = futures_util::future::join_all(dials).await;
    let connections: Vec<_> = connections.into_iter().flatten().collect();
    assert!(connections.len() >= 50, "{} stand", connections.len());
    for connection in &connections {
        let refused = u64::from(CloseReason::Refused.code());
        assert_eq!(raw::close_code(connection).await, Some(refused));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    eventually("no seat is taken", || victim.metric("gossip_comm_half_open") == 0.0).await;
}

/// What waits for a peer that does not read is bounded by class, and what does not fit is counted.
#[tokio::test]
async fn what_waits_for_one_peer_is_bounded_in_bytes_by_class() {
    let world = World::new();
    let sender = world.peer_with(1, |config| {
        config.outbox.control_bytes = 8 << 10;
        config.outbox.block_bytes = 1 << 20;
    });
    let nobody = world.person(9);
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let endpoint = silent.local_addr().expect("bound").to_string();
    let endpoint = gossip_api::Endpoint::new(&endpoint).expect("short");
    let to = gossip_api::RemotePeer { pki_id: nobody.id, endpoint: Some(endpoint) };
    let send = |message: &Message| {
        let envelope = gossip_api::Envelope::unsigned(message);
        let len = envelope.encoded_len();
        sender.comm.command(Command::Send { to: to.clone(), envelope });
        len
    };
    let dropped = || sender.metric("gossip_comm_overflow_count");
    let len = (0..1_000).fold(0, |_, number| send(&control(number)));
    let kept_control = (8 << 10) / len;
    assert_eq!(dropped(), 1_000.0 - kept_control as f64, "the newest {kept_control} stay");
    let before = dropped();
    let len = (0..20).fold(0, |_, number| send(&data(number, 200_000)));
    let kept = (1 << 20) / len;
    assert_eq!(dropped() - before, 20.0 - kept as f64, "the newest beyond {kept}");
    // Nobody answers; what waited is given up with the dial.
    sender.until(|event| matches!(event, Event::DialFailed { .. }).then_some(())).await;
    let lost = sender.metric_where("gossip_comm_messages_dropped", Some("not_reached"));
    assert_eq!(lost, (kept_control + kept) as f64);
}

//! Members who read nothing, take no datagrams or never stop sending, and strangers by the thousand: nobody
//! else notices.
#![cfg(feature = "quic")]
#![allow(
    clippy::wildcard_enum_match_arm,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test looks for one thing at a time, and fails by panicking"
)]

mod support;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gossip_api::message::{Ask, CloseReason, Message, Probe, ShortId};
use gossip_api::{Bounded, Envelope, Nonce, RemotePeer};
use gossip_comm::{Comm as _, Command, DisconnectCause, Event};
use quinn::{Connection, TransportConfig};
use support::raw::{self, RawTls};
use support::{Person, TestPeer, World, control, data, eventually, number_of};

/// The other side reads one of its streams not at all: blocks on others and control messages arrive.
#[tokio::test]
async fn a_stream_that_nobody_reads_delays_no_other() {
    let world = World::new();
    let sender = world.peer(1);
    let (reader, connection) = member(&world, 3, &sender, None).await;
    let send = |message: &Message| tell(&sender, &reader, message);
    // Larger than what may be under way on one stream.
    send(&control(0));
    let mut control_stream = connection.accept_uni().await.expect("the control stream");
    assert_eq!(number_of(&read(&mut control_stream).await), 0);
    send(&data(0, 2 << 20));
    let mut unread = connection.accept_uni().await.expect("a stream");
    for number in 1..=20 {
        send(&data(number, 200_000));
        let mut stream = connection.accept_uni().await.expect("another");
        assert_eq!(number_of(&read(&mut stream).await), number);
    }
    send(&control(77));
    assert_eq!(number_of(&read(&mut control_stream).await), 77);
    assert_eq!(number_of(&read(&mut unread).await), 0, "and the one that waited is whole");
}

/// Probes go over the control stream where datagrams do not go, or not so long ones.
#[tokio::test]
async fn probes_reach_peers_that_take_no_datagrams_or_short_ones_alone() {
    let world = World::new();
    let sender = world.peer(1);
    for (seed, room, asks) in [(3, None, 1), (5, Some(100), 64)] {
        let mut transport = TransportConfig::default();
        transport.datagram_receive_buffer_size(room);
        let (reader, connection) = member(&world, seed, &sender, Some(transport)).await;
        let ask = |nonce| Ask { target: ShortId::of(&reader), nonce: Nonce::new(nonce), hops: 0 };
        let asks = Bounded::new((0..asks).map(ask).collect()).expect("few");
        let probe = Message::Probe(Probe { asks });
        tell(&sender, &reader, &probe);
        let mut stream = connection.accept_uni().await.expect("the control stream");
        assert_eq!(read(&mut stream).await, probe, "{room:?}");
    }
    assert_eq!(sender.metric("gossip_comm_datagrams_sent"), 0.0);
}

/// After shedding and pausing comes the end, and then it is left alone; others are served all the while.
#[tokio::test]
async fn a_peer_that_never_stops_is_closed_and_left_alone() {
    let world = World::new();
    let victim = world.peer_with(2, |config| {
        config.quota.burst = 50;
        config.quota.per_second = 100;
    });
    // Of different organisations, so that neither pays for the other.
    let (eager, quiet) = (world.peer(1), world.peer(4));
    eager.send(&victim, &control(0));
    victim.received().await;
    let mut read = Vec::new();
    let closed = loop {
        (0..50).for_each(|number| eager.send(&victim, &control(number)));
        victim.comm.try_events(&mut read, usize::MAX);
        read.clear();
        let next = tokio::time::timeout(Duration::from_millis(20), eager.comm.next_event());
        if let Ok(Some(Event::Disconnected { cause, .. })) = next.await {
            break cause;
        }
    };
    assert_eq!(closed, DisconnectCause::Remote(CloseReason::Overload));
    assert!(victim.metric_where("gossip_comm_offences", Some("over_quota")) >= 10.0, "pauses");
    assert_eq!(victim.metric_where("gossip_comm_offences", Some("overload")), 1.0);
    eager.dial(&victim);
    eager.until(|event| matches!(event, Event::DialFailed { .. }).then_some(())).await;
    assert_eq!(victim.metric_where("gossip_comm_hellos_refused", Some("banned")), 1.0);
    quiet.send(&victim, &control(77_777));
    while number_of(&victim.received().await) != 77_777 {}
}

/// H5: first flights from addresses that are not the sender's, 20,000 of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn h5_spoofed_first_flights_keep_no_honest_peer_out() {
    let world = World::new();
    let victim = world.peer(1);
    let to = victim.comm.local_addr();
    let flood = tokio::task::spawn_blocking(move || spoof(20_000, to));
    let mut most = 0.0f64;
    let mut honest = Vec::new();
    for seed in 2..12 {
        let peer = world.peer(seed);
        let began = Instant::now();
        peer.send(&victim, &control(seed.into()));
        while number_of(&victim.received().await) != u64::from(seed) {}
        println!("connected in {:?} during the flood", began.elapsed());
        most = most.max(victim.metric("gossip_comm_half_open"));
        honest.push(peer);
    }
    let (sent, answered) = flood.await.expect("no panic");
    most = most.max(victim.metric("gossip_comm_half_open"));
    assert!(
        most <= 64.0 + 10.0,
        "{most} half-open: more than may be without proof of their address"
    );
    assert!(answered <= 3 * sent, "{answered} bytes for {sent}");
    // A busy machine's kernel drops some of them before anybody looks.
    let retries = victim.metric_where("gossip_comm_incoming_refused", Some("retry"));
    assert!(retries > 1_000.0, "{retries} had to prove their address");
    assert_eq!(victim.metric("gossip_comm_connections"), 10.0);
    eventually("no seat is taken", || victim.metric("gossip_comm_half_open") == 0.0).await;
}

/// Sends so many first flights from as many networks as there are sockets; bytes sent, and bytes answered.
fn spoof(count: usize, to: SocketAddr) -> (usize, usize) {
    let sockets: Vec<UdpSocket> = (0..=199)
        .map(|net| UdpSocket::bind((Ipv4Addr::new(127, 1, net, 1), 0)).expect("an address"))
        .collect();
    sockets.iter().for_each(|socket| socket.set_nonblocking(true).expect("a socket"));
    let mut client = raw::first_flights(to);
    let (mut sent, mut answered) = (0, 0);
    let mut buffer = vec![0; 2048];
    for (number, socket) in (0..count).zip(sockets.iter().cycle()) {
        sent += socket.send_to(&client(), to).unwrap_or_default();
        loop {
            match socket.recv(&mut buffer) {
                Ok(len) => answered += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        if number % 100 == 0 {
            std::thread::yield_now();
        }
    }
    (sent, answered)
}

/// A member over bare QUIC, connected to `to`, which has noticed.
async fn member(
    world: &World,
    seed: u8,
    to: &TestPeer,
    transport: Option<TransportConfig>,
) -> (gossip_api::PkiId, Connection) {
    let tls = RawTls::of(&world.tls);
    let endpoint = raw::client_with(Some(&tls), raw::ALPN, transport);
    let person: Person = world.person(seed);
    let target = to.comm.local_addr();
    let connection = raw::join(&endpoint, &tls, &person, &world.network, target).await;
    to.until(|event| match event {
        Event::Connected(connected) => (connected.peer == person.id).then_some(()),
        _ => None,
    })
    .await;
    (person.id, connection)
}

fn tell(from: &TestPeer, to: &gossip_api::PkiId, message: &Message) {
    let to = RemotePeer { pki_id: *to, endpoint: None };
    from.comm.command(Command::Send { to, envelope: Envelope::unsigned(message) });
}

/// The next frame of a stream.
async fn read(stream: &mut quinn::RecvStream) -> Message {
    let mut frame = vec![0; 4];
    stream.read_exact(&mut frame).await.expect("a length");
    let length = u32::from_le_bytes(frame.as_slice().try_into().expect("four bytes"));
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..]).await.expect("a frame");
    let mut frame = Bytes::from(frame);
    Envelope::take(&mut frame).and_then(Envelope::open).expect("a message").message
}

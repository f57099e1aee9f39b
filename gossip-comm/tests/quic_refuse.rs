//! Peers that are not let in, and what is left of them: nothing.
#![cfg(feature = "quic")]
#![allow(clippy::wildcard_enum_match_arm, reason = "a test looks for one thing at a time")]

mod support;

use std::time::{Duration, Instant};

use gossip_api::message::{CloseReason, Role};
use gossip_api::{Epoch, Mono};
use gossip_comm::{Comm, Command, DisconnectCause, Event, wall};
use quinn::{Connection, Endpoint};
use support::raw::{self, RawTls};
use support::{Authority, Person, TestPeer, World, control, eventually, number_of};

const REFUSED: Option<u64> = Some(CloseReason::Refused.code() as u64);

#[tokio::test]
async fn h4_no_certificate() {
    let world = World::new();
    let victim = world.peer(1);
    let endpoint = raw::client(None, raw::ALPN);
    expect_tls_failure(&endpoint, &victim).await;
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn h4_a_certificate_of_an_unknown_authority() {
    let world = World::new();
    let victim = world.peer(1);
    let endpoint = raw::client(Some(&RawTls::of(&Authority::new())), raw::ALPN);
    expect_tls_failure(&endpoint, &victim).await;
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn h4_another_protocol() {
    let world = World::new();
    let victim = world.peer(1);
    let tls = RawTls::of(&world.tls);
    for alpn in [&b"h3"[..], b"fabric-gossip/2"] {
        let endpoint = raw::client(Some(&tls), alpn);
        let tried = raw::connect(&endpoint, victim.comm.local_addr()).await;
        assert!(tried.is_err(), "{alpn:?}");
    }
    nothing_is_left(&victim).await;
}

/// H4, I12: there is nothing to resume a session with, so no certificate is ever believed without a look.
#[tokio::test]
async fn h4_no_ticket_and_no_early_data() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let first = attacker.join(&world, 2, &victim).await;
    // Tickets would come right after the handshake.
    tokio::time::sleep(Duration::from_millis(200)).await;
    first.close(0u8.into(), b"");
    let again = attacker.endpoint.connect(victim.comm.local_addr(), "gossip").expect("valid");
    assert!(again.into_0rtt().is_err(), "nothing to send early data with");
}

/// H4: an expired certificate, one that is not valid yet, and one for another use.
#[tokio::test]
async fn h4_certificates_that_are_not_valid_now_or_not_for_this() {
    let world = World::new();
    let victim = world.peer(1);
    let day = Duration::from_secs(86_400);
    let late = RawTls::until(&world.tls, wall().as_unix_seconds() - 60);
    let early = RawTls::made(&world.tls, |params| {
        params.not_before = (std::time::SystemTime::now() + day).into();
    });
    let server_only = RawTls::made(&world.tls, |params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    for tls in [late, early, server_only] {
        expect_tls_failure(&raw::client(Some(&tls), raw::ALPN), &victim).await;
    }
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_not_told_who_dials() {
    let world = World::new();
    let dialler = world.peer(1);
    let server = raw::server(&RawTls::of(&Authority::new()), true);
    let impostor = async { server.accept().await.expect("a dial").await };
    let (met, reason) = tokio::join!(impostor, dial_raw(&dialler, &server));
    assert!(met.is_err(), "the dialler breaks off before it shows anything");
    assert!(reason.contains("UnknownIssuer") || reason.contains("certificate"), "{reason}");
    assert_eq!(dialler.identities.len(), 1);
}

// fabric: gossip/comm/comm_test.go TestHandshake
#[tokio::test]
async fn h3_the_hello_of_somebody_else() {
    let world = World::new();
    let (victim, owner) = (world.peer(1), world.person(2));
    let attacker = Attacker::new(&world);
    // The owner's hello for a session of its own.
    let own = attacker.connect(&victim).await;
    let own = raw::binding(&own, Role::Dialler, &world.network, [9; 32]);
    let stolen = raw::hello(&owner, &own, &world.network);

    let connection = attacker.connect(&victim).await;
    raw::speak(&connection, &stolen).await;
    assert_eq!(raw::close_code(&connection).await, REFUSED);
    assert_eq!(victim.metric_where("gossip_comm_hellos_refused", Some("signature")), 1.0);
    assert!(victim.identities.get(&owner.id, Mono::ZERO).is_none(), "nothing stored");
}

#[tokio::test]
async fn h1_a_hello_replayed_on_another_session() {
    let world = World::new();
    let (victim, owner) = (world.peer(1), world.person(2));
    let attacker = Attacker::new(&world);
    let connection = attacker.connect(&victim).await;
    let binding = attacker.binding(&world, &connection);
    let hello = raw::hello(&owner, &binding, &world.network);
    raw::speak(&connection, &hello).await;
    victim.until(|event| matches!(event, Event::Connected(_)).then_some(())).await;

    let again = attacker.connect(&victim).await;
    raw::speak(&again, &hello).await;
    assert_eq!(raw::close_code(&again).await, REFUSED);
    assert_eq!(victim.metric("gossip_comm_connections"), 1.0, "the first one goes on");
}

#[tokio::test]
async fn h2_a_hello_with_the_other_role() {
    let world = World::new();
    let (victim, person) = (world.peer(1), world.person(2));
    let attacker = Attacker::new(&world);
    let connection = attacker.connect(&victim).await;
    let binding = attacker.binding(&world, &connection).other();
    raw::speak(&connection, &raw::hello(&person, &binding, &world.network)).await;
    assert_eq!(raw::close_code(&connection).await, REFUSED);
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn h2_its_own_hello_reflected() {
    let world = World::new();
    let dialler = world.peer(1);
    let server = raw::server(&RawTls::of(&world.tls), true);
    let mirror = async {
        let incoming = server.accept().await.expect("a dial");
        let connection = incoming.await.expect("tls");
        let (mut send, mut recv) = connection.accept_bi().await.expect("a first stream");
        let hello = recv.read_to_end(1 << 16).await.expect("a hello");
        send.write_all(&hello).await.expect("room");
        send.finish().expect("an open stream");
        raw::close_code(&connection).await
    };
    let (code, reason) = tokio::join!(mirror, dial_raw(&dialler, &server));
    assert_eq!(code, REFUSED);
    assert!(reason.contains("itself"), "{reason}");
}

#[tokio::test]
async fn h1_a_relay_between_two_sessions() {
    let world = World::new();
    let (victim, dialler) = (world.peer(1), world.peer(2));
    let server = raw::server(&RawTls::of(&world.tls), true);
    let attacker = Attacker::new(&world);
    let relay = async {
        let incoming = server.accept().await.expect("a dial");
        let towards_dialler = incoming.await.expect("tls");
        let (_, mut recv) = towards_dialler.accept_bi().await.expect("a first stream");
        let hello = recv.read_to_end(1 << 16).await.expect("a hello");
        let towards_victim = attacker.connect(&victim).await;
        raw::speak(&towards_victim, &hello).await;
        let code = raw::close_code(&towards_victim).await;
        towards_dialler.close(1u8.into(), b"");
        code
    };
    let (code, _) = tokio::join!(relay, dial_raw(&dialler, &server));
    assert_eq!(code, REFUSED);
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn another_network() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let connection = attacker.connect(&victim).await;
    let binding = attacker.binding(&world, &connection);
    let network = gossip_api::NetworkId::new("elsewhere").expect("short");
    raw::speak(&connection, &raw::hello(&world.person(2), &binding, &network)).await;
    assert_eq!(raw::close_code(&connection).await, REFUSED);
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn an_expired_identity() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let connection = attacker.connect(&victim).await;
    let binding = attacker.binding(&world, &connection);
    let late = world.person_until(2, wall().as_unix_seconds() - 1);
    raw::speak(&connection, &raw::hello(&late, &binding, &world.network)).await;
    assert_eq!(raw::close_code(&connection).await, REFUSED);
    assert_eq!(victim.metric_where("gossip_comm_hellos_refused", Some("expired")), 1.0);
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn i1_an_identity_that_runs_out_while_connected() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let connection = attacker.connect(&victim).await;
    let binding = attacker.binding(&world, &connection);
    let late = world.person_until(2, wall().as_unix_seconds() + 2);
    raw::speak(&connection, &raw::hello(&late, &binding, &world.network)).await;
    victim.until(|event| matches!(event, Event::Connected(_)).then_some(())).await;
    let expelled = CloseReason::Expelled.code();
    assert_eq!(raw::close_code(&connection).await, Some(u64::from(expelled)));
}

#[tokio::test]
async fn hellos_that_are_none() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let huge = u32::MAX.to_le_bytes().to_vec();
    let empty = 0u32.to_le_bytes().to_vec();
    let noise = [&64u32.to_le_bytes()[..], &[0xff; 64]].concat();
    for hello in [huge, empty, noise, Vec::new()] {
        let connection = attacker.connect(&victim).await;
        raw::speak(&connection, &hello).await;
        assert_eq!(raw::close_code(&connection).await, REFUSED, "{} bytes", hello.len());
    }
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn h6_a_hello_that_never_comes() {
    let world = World::new();
    let victim = world.peer(1);
    let attacker = Attacker::new(&world);
    let began = Instant::now();
    let connection = attacker.connect(&victim).await;
    assert_eq!(raw::close_code(&connection).await, REFUSED);
    let took = began.elapsed();
    assert!(took > Duration::from_millis(1_900) && took < Duration::from_secs(6), "{took:?}");
    assert_eq!(victim.metric_where("gossip_comm_hellos_refused", Some("silent")), 1.0);
    nothing_is_left(&victim).await;
}

#[tokio::test]
async fn h6_a_flood_of_half_open_connections_is_bounded() {
    let world = World::new();
    let (victim, honest) = (
        world.peer_with(1, |config| {
            config.retry_above = 8;
            config.half_open_max = 40;
            config.hello_timeout = Duration::from_secs(1);
        }),
        world.peer(2),
    );
    let attacker = Attacker::new(&world);
    let target = victim.comm.local_addr();
    let dials = (0..120).map(|_| raw::connect(&attacker.endpoint, target));
    let connections = futures_util::future::join_all(dials).await;
    let most = victim.metric("gossip_comm_half_open");
    assert!(most <= 40.0, "{most} half-open");
    assert!(victim.metric_where("gossip_comm_incoming_refused", Some("retry")) > 0.0);
    assert!(victim.metric_where("gossip_comm_incoming_refused", Some("full")) > 0.0);
    drop(connections);
    eventually("the flood drains", || victim.metric("gossip_comm_half_open") == 0.0).await;
    honest.send(&victim, &control(1));
    assert_eq!(number_of(&victim.received().await), 1);
}

// fabric: gossip/comm/comm_test.go TestReadFromStream
// fabric: gossip/comm/comm_test.go TestSendBadEnvelope
#[tokio::test]
async fn frames_that_are_none_end_their_connection_alone() {
    let world = World::new();
    let (victim, honest) = (world.peer(1), world.peer(2));
    honest.send(&victim, &control(0));
    victim.received().await;
    let attacker = Attacker::new(&world);
    let oversized_control = frame(70 << 10, 1, 1);
    let oversized_block = frame(u32::MAX, 1, 3);
    let unknown_class = frame(10, 1, 9);
    let unknown_version = frame(10, 7, 1);
    let cut_off = [&100u32.to_le_bytes()[..], &[1, 1, 0, 0]].concat();
    let noise = [&40u32.to_le_bytes()[..], &[1, 1], &[0xff; 38]].concat();
    let bad = [oversized_control, oversized_block, unknown_class, unknown_version, cut_off, noise];
    for (count, bytes) in bad.into_iter().enumerate() {
        let seed = 10 + u8::try_from(count).expect("few");
        let connection = attacker.join(&world, seed, &victim).await;
        let mut stream = connection.open_uni().await.expect("a stream");
        stream.write_all(&bytes).await.expect("room");
        stream.finish().expect("an open stream");
        let malformed = u64::from(CloseReason::Malformed.code());
        assert_eq!(raw::close_code(&connection).await, Some(malformed), "case {count}");
        let offences = victim.metric_where("gossip_comm_offences", Some("malformed"));
        assert_eq!(offences, count as f64 + 1.0);
    }
    honest.send(&victim, &control(1));
    assert_eq!(number_of(&victim.received().await), 1);
    assert_eq!(honest.metric("gossip_comm_connections"), 1.0);
}

#[tokio::test]
async fn h7_streams_that_are_opened_and_left_cost_their_owner_alone() {
    let world = World::new();
    let victim = world.peer_with(1, |config| {
        config.streams.patience = Duration::from_millis(500);
    });
    let honest = world.peer(2);
    let attacker = Attacker::new(&world);
    let connection = attacker.join(&world, 3, &victim).await;
    let mut left = Vec::new();
    for _ in 0..10 {
        let mut stream = connection.open_uni().await.expect("a stream");
        // Claims the largest block there is, and sends one byte of it.
        stream.write_all(&frame(100 << 20, 1, 3)).await.expect("room");
        left.push(stream);
    }
    honest.send(&victim, &control(1));
    assert_eq!(number_of(&victim.received().await), 1);
    let stalled = || victim.metric_where("gossip_comm_offences", Some("stalled"));
    eventually("the streams are given up", || stalled() >= 10.0).await;
}

#[tokio::test]
async fn i5_an_identity_revoked_while_connected() {
    let world = World::new();
    let (a, c) = (world.peer(1), world.peer(3));
    let bad = world.person(2);
    let b = TestPeer::start(bad.clone(), world.config(), Epoch::new(1));
    for peer in [&b, &c] {
        a.dial(peer);
        a.connected(peer).await;
    }
    world.revoke(&bad);
    a.comm.recheck();
    let cause = a.until(|event| match event {
        Event::Disconnected { peer, cause } => Some((peer, cause)),
        _ => None,
    });
    assert_eq!(cause.await, (bad.id, DisconnectCause::Local(CloseReason::Expelled)));
    assert_eq!(a.metric("gossip_comm_connections"), 1.0, "the other one stays");
    a.dial(&b);
    a.until(|event| matches!(event, Event::DialFailed { .. }).then_some(())).await;
}

/// I6: with an overlap of both authorities.
#[tokio::test]
async fn i6_certificates_and_authorities_change_without_a_restart() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    let other = Authority::new();
    a.send(&b, &control(1));
    b.received().await;
    // Both trust both authorities first, then show certificates of the other one, then forget the old one.
    for peer in [&a, &b] {
        let mut both = world.tls.material();
        both.roots.push(other.root.clone());
        peer.comm.set_tls(&both).expect("good material");
    }
    for peer in [&a, &b] {
        let mut both = other.material();
        both.roots.push(world.tls.root.clone());
        peer.comm.set_tls(&both).expect("good material");
    }
    a.send(&b, &control(2));
    assert_eq!(number_of(&b.received().await), 2);
    // The connection shows the new certificates without having been missed.
    let renewed =
        || a.metric("gossip_comm_connections") == 1.0 && b.metric("gossip_comm_connections") == 1.0;
    eventually("old connections give way", renewed).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    for peer in [&a, &b] {
        peer.comm.set_tls(&other.material()).expect("good material");
    }
    let (mut number, mut arrived) = (3, 0);
    while arrived < 3 {
        a.send(&b, &control(number));
        number += 1;
        let next = tokio::time::timeout(Duration::from_millis(500), b.received()).await;
        arrived = next.map_or(arrived, |message| number_of(&message));
    }
    // New sessions use the new one: a stranger of the old authority is not let in...
    let old = raw::client(Some(&RawTls::of(&world.tls)), raw::ALPN);
    expect_tls_failure(&old, &b).await;
    // ...and one of the new authority is.
    let mut config = world.config();
    config.tls = other.material();
    let c = TestPeer::start(world.person(3), config, Epoch::new(1));
    c.send(&b, &control(77_777));
    while number_of(&b.received().await) != 77_777 {}
}

/// I2: the new certificate is on the connection soon, and no message is lost meanwhile.
#[tokio::test]
async fn i2_a_renewed_certificate_is_shown_on_a_new_connection_and_loses_nothing() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.dial(&b);
    a.connected(&b).await;
    b.connected(&a).await;
    let began = Instant::now();
    a.comm.set_tls(&world.tls.material()).expect("good material");
    for number in 0..200 {
        a.send(&b, &control(number));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    for number in 0..200 {
        assert_eq!(number_of(&b.received().await), number);
    }
    assert!(b.metric("gossip_comm_duplicate_connections") >= 1.0, "a second connection was made");
    eventually("the old one has gone", || b.metric("gossip_comm_connections") == 1.0).await;
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

/// I3: another identity on the same endpoint, and nothing left of the old one.
#[tokio::test]
async fn i3_a_new_identity_is_known_by_those_who_are_connected_within_seconds() {
    let world = World::new();
    renew(&world, world.person(1), world.person(3)).await;
}

/// I4: the same, with the same key in the new certificate.
#[tokio::test]
async fn i4_a_new_identity_with_the_old_key_takes_the_place_of_the_old_one() {
    let world = World::new();
    let in_a_week = wall().as_unix_seconds() + 7 * 86_400;
    renew(&world, world.person(1), world.person_until(1, in_a_week)).await;
}

/// A peer that shows `old` shows `new` from some time on.
async fn renew(world: &World, old: Person, new: Person) {
    assert_ne!(old.id, new.id);
    let a = TestPeer::start(old.clone(), world.config(), Epoch::new(1));
    let b = world.peer(2);
    a.dial(&b);
    a.connected(&b).await;
    b.connected(&a).await;
    // In a process the host's key changes with the identity; here the old key signs for nobody new.
    a.change_person(&new);
    a.comm.set_identity(new.identity.clone()).expect("it has a fingerprint");
    let (mut came, mut went) = (false, false);
    while !(came && went) {
        match b.next().await {
            Event::Connected(connected) => came |= connected.peer == new.id,
            Event::Disconnected { peer, .. } => went |= peer == old.id,
            _ => {}
        }
    }
    assert_eq!(b.metric("gossip_comm_connections"), 1.0);
}

/// I1 for the TLS certificate: the identity is good for a day.
#[tokio::test]
async fn i1_a_certificate_that_runs_out_while_connected() {
    let world = World::new();
    let victim = world.peer(1);
    let tls = RawTls::until(&world.tls, wall().as_unix_seconds() + 3);
    let endpoint = raw::client(Some(&tls), raw::ALPN);
    let (person, to) = (world.person(2), victim.comm.local_addr());
    let connection = raw::join(&endpoint, &tls, &person, &world.network, to).await;
    let began = Instant::now();
    let expelled = CloseReason::Expelled.code();
    assert_eq!(raw::close_code(&connection).await, Some(u64::from(expelled)));
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

/// I5 for the TLS authority: whoever it vouched for is closed at once.
#[tokio::test]
async fn i5_roots_that_are_taken_away_close_whom_they_let_in() {
    let world = World::new();
    let (a, b) = (world.peer(1), world.peer(2));
    a.dial(&b);
    a.connected(&b).await;
    let began = Instant::now();
    a.comm.set_tls(&Authority::new().material()).expect("good material");
    let cause = a.until(|event| match event {
        Event::Disconnected { cause, .. } => Some(cause),
        _ => None,
    });
    assert_eq!(cause.await, DisconnectCause::Local(CloseReason::Expelled));
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// A raw endpoint with a certificate that is believed.
struct Attacker {
    endpoint: Endpoint,
    tls: RawTls,
}

impl Attacker {
    fn new(world: &World) -> Self {
        let tls = RawTls::of(&world.tls);
        Self { endpoint: raw::client(Some(&tls), raw::ALPN), tls }
    }

    async fn connect(&self, victim: &TestPeer) -> Connection {
        raw::connect(&self.endpoint, victim.comm.local_addr()).await.expect("tls")
    }

    fn binding(&self, world: &World, connection: &Connection) -> gossip_api::message::HelloBinding {
        raw::binding(connection, Role::Dialler, &world.network, self.tls.leaf_hash())
    }

    async fn join(&self, world: &World, seed: u8, victim: &TestPeer) -> Connection {
        let to = victim.comm.local_addr();
        raw::join(&self.endpoint, &self.tls, &world.person(seed), &world.network, to).await
    }
}

/// TLS 1.3 lets a client believe that all is well until the server has seen its certificate.
async fn expect_tls_failure(endpoint: &Endpoint, victim: &TestPeer) {
    if let Ok(connection) = raw::connect(endpoint, victim.comm.local_addr()).await {
        assert_eq!(raw::close_code(&connection).await, None, "ended by TLS, not by us");
    }
}

async fn nothing_is_left(victim: &TestPeer) {
    eventually("no half-open connection", || victim.metric("gossip_comm_half_open") == 0.0).await;
    assert_eq!(victim.identities.len(), 1, "its own identity alone");
    assert_eq!(victim.metric("gossip_comm_connections"), 0.0);
}

async fn dial_raw(dialler: &TestPeer, server: &Endpoint) -> String {
    let address = server.local_addr().expect("bound").to_string();
    let endpoint = gossip_api::Endpoint::new(&address).expect("short");
    dialler.comm.command(Command::Dial { endpoint, expect: None });
    dialler
        .until(|event| match event {
            Event::DialFailed { reason, .. } => Some(reason),
            _ => None,
        })
        .await
}

/// The front of a frame, and one byte of it.
fn frame(length: u32, version: u8, class: u8) -> Vec<u8> {
    [&length.to_le_bytes()[..], &[version, class, 0]].concat()
}

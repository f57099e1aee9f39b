//! Who gets in over real packets, and who does not.

#![cfg(feature = "sim-quic")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

mod packet_world;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use gossip_api::Epoch;
use gossip_api::message::{
    CloseReason, Features, Hello, HelloBinding, HelloLimits, Role, WIRE_VERSION,
};
use gossip_comm::sim::{Link, check};
use packet_world::*;
use quinn_proto::ClientConfig;
use quinn_proto::crypto::rustls::QuicClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[test]
fn peers_connect_and_talk_over_packets() {
    let mut world = star(1, 2, &plain());
    for number in 0..10 {
        world.net.send(0, 1, &note(number)).unwrap();
        world.net.send(1, 0, &data(number, 100_000)).unwrap();
    }
    world.net.run_for(ms(1000));
    assert_eq!(numbers(&world.net, 1), ((0..10).collect(), vec![]));
    let blocks: BTreeSet<u64> = numbers(&world.net, 0).1.into_iter().collect();
    assert_eq!(blocks, (0..10).collect());
    world.net.close(0, 1, CloseReason::Done);
    world.net.run_for(ms(1000));
    assert_eq!(words(&world.net, 0), ["lost: Local(Done)"]);
    assert_eq!(words(&world.net, 1), ["lost: Remote(Done)"]);
}

/// H1: the exporter of the other session does not match.
#[test]
fn a_hello_relayed_into_another_session_is_refused() {
    let mut world = world(2, 3, &plain());
    // 0 says hello to 1, and 1 says the same to 2.
    world.net.dial(0, 1);
    world.net.run_for(ms(1000));
    let hello = world.net.overheard(1).pop().unwrap();
    world.net.set_tamper(1, Box::new(move |_, _, _| hello.clone()));
    world.net.dial(1, 2);
    world.net.run_for(ms(1000));
    check_refused(&world, 2, "signature");
    // The other way round: 2 dials 0 and finds 1 with what 0 answers to 1.
    let mut world = packet_world::world(2, 3, &plain());
    world.net.dial(1, 0);
    world.net.run_for(ms(1000));
    let answer = world.net.overheard(1).pop().unwrap();
    world.net.set_tamper(1, Box::new(move |_, _, _| answer.clone()));
    let expect = Some(id(&world.authority, 0));
    world.net.dial_for(2, 1, expect, None);
    world.net.run_for(ms(1000));
    check_refused(&world, 2, "signature");
}

/// H2: a hello is worth nothing to its own speaker, nor in the other role.
#[test]
fn a_hello_reflected_or_in_the_other_role_is_refused() {
    let mut world = world(3, 3, &plain());
    world.net.set_tamper(1, Box::new(|_, heard, _| heard.to_vec()));
    world.net.dial_for(0, 1, None, None);
    world.net.run_for(ms(1000));
    check_refused(&world, 0, "itself");

    let mut world = packet_world::world(3, 3, &plain());
    let crypto = crypto(&world.authority, 1);
    let own = identity(&world.authority, 1);
    world.net.set_tamper(
        1,
        Box::new(move |binding, _, _| {
            let mut swapped = binding.clone();
            swapped.role = binding.role.other();
            signed(own.clone(), &swapped, &crypto)
        }),
    );
    world.net.dial(1, 2);
    world.net.run_for(ms(1000));
    check_refused(&world, 2, "signature");
}

/// H3: the identity of somebody else, over one's own session.
#[test]
fn a_stolen_identity_is_refused_and_nothing_is_kept_of_it() {
    let mut world = world(4, 3, &plain());
    let crypto = crypto(&world.authority, 1);
    let stolen = identity(&world.authority, 0);
    world
        .net
        .set_tamper(1, Box::new(move |binding, _, _| signed(stolen.clone(), binding, &crypto)));
    world.net.dial(1, 2);
    world.net.run_for(ms(1000));
    check_refused(&world, 2, "signature");
}

#[test]
fn half_a_hello_is_refused() {
    let mut world = world(5, 2, &plain());
    world.net.set_tamper(0, Box::new(|_, _, own| own[..own.len() / 2].to_vec()));
    world.net.dial(0, 1);
    world.net.run_for(ms(1000));
    check_refused(&world, 1, "malformed");
}

// fabric: gossip/comm/crypto_test.go TestCertificateExtraction
#[test]
fn both_ends_see_the_same_session_from_two_sides() {
    let mut world = world(5, 2, &plain());
    let seen: Rc<RefCell<Vec<HelloBinding>>> = Rc::default();
    for peer in 0..2 {
        let seen = Rc::clone(&seen);
        world.net.set_tamper(
            peer,
            Box::new(move |binding, _, own| {
                seen.borrow_mut().push(binding.clone());
                own
            }),
        );
    }
    world.net.dial(0, 1);
    world.net.run_for(ms(1000));
    let seen = seen.borrow();
    let [dialler, acceptor] = seen.as_slice() else { panic!("two hellos: {seen:?}") };
    assert_eq!((dialler.role, acceptor.role), (Role::Dialler, Role::Acceptor));
    assert_eq!(dialler.own_leaf, acceptor.peer_leaf);
    assert_eq!(dialler.peer_leaf, acceptor.own_leaf);
    assert_ne!(dialler.own_leaf, dialler.peer_leaf);
    assert_eq!(dialler.exporter, acceptor.exporter);
}

/// H6: TLS is done, and then nothing comes.
#[test]
fn a_peer_that_says_no_hello_is_closed_in_time() {
    let mut world = world_with(5, 2, &plain(), |config| {
        if config.listen == address(0) {
            config.hello_timeout = Duration::from_secs(10);
        }
    });
    world.net.set_tamper(0, Box::new(|_, _, _| Vec::new()));
    world.net.dial(0, 1);
    world.net.run_for(ms(1900));
    assert!(world.net.refused(1).is_empty(), "two seconds are not over");
    world.net.run_for(ms(300));
    check_refused(&world, 1, "silent");
}

/// H11: 1,000 times, with the two dials up to three latencies apart.
#[test]
fn two_peers_that_dial_each_other_keep_one_connection_and_lose_nothing() {
    check(0..1000, |seed| {
        let mut world = world(seed, 2, &Link::wan());
        let (first, second) = (seed as usize % 2, 1 - seed as usize % 2);
        world.net.dial(first, second);
        world.net.run_for(ms(seed % 150));
        world.net.dial(second, first);
        for number in 0..3 {
            for (from, to) in [(0, 1), (1, 0)] {
                world.net.send(from, to, &note(number)).unwrap();
                world.net.send(from, to, &data(number, 20_000)).unwrap();
                world.net.run_for(ms(seed % 40));
            }
        }
        world.net.run_for(ms(5000));
        for peer in 0..2 {
            assert_eq!(world.net.connections(peer), 1, "connections of {peer}");
            let (mut notes, mut blocks) = numbers(&world.net, peer);
            notes.sort_unstable();
            blocks.sort_unstable();
            assert_eq!((notes, blocks), (vec![0, 1, 2], vec![0, 1, 2]), "at {peer}");
            assert!(!words(&world.net, peer).iter().any(|word| word.starts_with("lost")));
        }
    });
}

/// I12: whoever comes back is looked at again.
#[test]
fn a_session_is_never_resumed() {
    let mut world = world(6, 2, &plain());
    let eager = eager_client(&world.tls);
    world.net.dial_for(0, 1, None, Some(eager.clone()));
    world.net.run_for(ms(1000));
    // The certificate on the session is another than the one the hello is bound to.
    check_refused(&world, 1, "signature");
    let before = world.net.traffic(address(1)).from;
    world.net.dial_for(0, 1, None, Some(eager.clone()));
    world.net.run_for(ms(1000));
    let again = world.net.traffic(address(1)).from - before;
    assert!(
        again >= before - 100,
        "a whole handshake again, certificate and all: {again} {before}"
    );
    // The certificate's authority is trusted no more: a ticket would have hidden that.
    world.net.set_tls(1, &TlsAuthority::new().material(1)).unwrap();
    world.net.clear_events(0);
    world.net.dial_for(0, 1, None, Some(eager));
    world.net.run_for(ms(1000));
    assert_eq!(words(&world.net, 0), ["dial failed"]);
    assert_eq!(world.net.refused(1)["signature"], 2, "it did not come to a third hello");

    // And who is revoked between two sessions does not get into the second.
    let mut world = star(7, 2, &plain());
    world.net.close(0, 1, CloseReason::Done);
    world.net.run_for(ms(1000));
    world.authority.revoke(&identity(&world.authority, 0));
    world.net.dial(0, 1);
    world.net.run_for(ms(1000));
    assert_eq!(world.net.refused(1)["identity"], 1);
    assert_eq!(world.net.connections(1), 0);
}

/// A client that would resume sessions and send early data if it could.
fn eager_client(tls: &TlsAuthority) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(tls.root.clone())).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let own = tls.certificate(&key, 9);
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![CertificateDer::from(own)], key)
        .unwrap();
    client.alpn_protocols = vec![b"fabric-gossip/1".to_vec()];
    client.resumption = rustls::client::Resumption::in_memory_sessions(8);
    client.enable_early_data = true;
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()))
}

fn signed(
    identity: gossip_api::PeerIdentity,
    binding: &gossip_api::message::HelloBinding,
    crypto: &gossip_comm::sim::crypto::CheapCrypto,
) -> Vec<u8> {
    let hello = Hello {
        identity,
        epoch: Epoch::new(1),
        wire_version: WIRE_VERSION,
        features: Features::default(),
        limits: HelloLimits { block_frame_max: 1 << 20 },
        signature: Default::default(),
    };
    hello.sign(binding, &network(), crypto).unwrap().encode().unwrap()
}

/// `peer` let nobody in for this reason, keeps nobody's identity and no connection.
fn check_refused(world: &World, peer: usize, reason: &str) {
    let refused: Vec<_> = world.net.refused(peer).iter().collect();
    assert_eq!(refused, [(&reason, &1)]);
    assert_eq!(world.net.identities(peer), 1, "its own alone");
    assert_eq!(world.net.connections(peer), 0);
    let connected = words(&world.net, peer).iter().any(|word| word != "dial failed");
    assert!(!connected, "nobody above heard of it");
}

//! What the fuzz targets start from, and what they once stumbled over, through the same doors.

#![cfg(feature = "sim-quic")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests fail by panicking"
)]

#[path = "../../fuzz/src/comm.rs"]
mod doors;
mod packet_world;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;
use std::rc::Rc;

use gossip_comm::sim_quic::Datagram;
use packet_world::{address, ms, plain, world};

fn corpus(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target)
}

#[test]
fn the_corpora_pass_their_doors() {
    for (target, door) in doors::DOORS {
        let inputs: Vec<_> = fs::read_dir(corpus(target)).unwrap().collect();
        assert!(!inputs.is_empty(), "{target} has a corpus");
        for input in inputs {
            let path = input.unwrap().path();
            println!("{target}: {}", path.display());
            door(&fs::read(path).unwrap());
        }
    }
}

/// Scripts for the exchange of hellos. With `UPDATE_SEEDS=1` they are written anew.
#[test]
fn the_scripts_are_those_that_the_code_makes() {
    let scripts: [(&str, &[u8]); 10] = [
        ("believed-by-the-dialler", &[0, 1, 4]),
        ("believed-by-the-acceptor", &[1, 1, 4]),
        ("in-three-pieces", &[0, 3, 0, 0, 7, 0, 3, 7, 0, 100, 0, 3, 100, 0, 0xe8, 3, 4]),
        ("damaged", &[1, 2, 44, 1, 8, 4]),
        ("behind-a-wrong-length", &[4, 2, 0, 0, 0xff, 4]),
        ("of-another-session", &[1, 5, 4]),
        ("reflected", &[0, 6, 4]),
        ("revoked", &[1, 1, 7, 4]),
        ("expired", &[1, 8, 10, 0, 1, 9, 11, 0, 4]),
        ("too-long", &[0, 0, 8, 255, 255, 255, 255, 1, 2, 3, 4, 4]),
    ];
    for (name, script) in scripts {
        seed("hello_machine", name, script);
    }
}

/// Datagrams that need no secret. With `UPDATE_SEEDS=1` they are written anew, and the first flight of a
/// client with them, which is another each time.
#[test]
fn the_datagrams_are_those_that_the_code_makes() {
    let raw = |bytes: &[u8]| step(0, bytes);
    let first = |frames: &[u8]| step(1, &[&NAMED, frames].concat());
    seed("packets", "garbage", &raw(&[0x5a; 1200]));
    seed("packets", "another-version", &raw(&[&[0xc0, 9, 9, 9, 9, 8], &[7; 1300][..]].concat()));
    seed("packets", "short-header", &raw(&[0x40; 60]));
    seed("packets", "ping", &first(&[1]));
    seed("packets", "no-client-hello", &first(&[6, 0, 4, 9, 9, 9, 9]));
    seed("packets", "far-ahead", &first(&[6, 0x80, 0, 0xff, 0xff, 4, 9, 9, 9, 9]));
    seed("packets", "closes", &first(&[0x1c, 0, 0, 0]));
    seed("packets", "acknowledges-nothing-sent", &first(&[2, 5, 0, 0, 5]));
    seed("packets", "token", &step(1, &[&NAMED[..9], &[8], &[3; 8], &[1]].concat()));
    seed("packets", "flipped", &step(2, &[&[1, 30, 0, 1], &NAMED[..], &[1]].concat()));
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        seed("packets", "first-flight", &first_flight());
    }
    assert!(corpus("packets").join("first-flight").exists());
}

/// The frames of a genuine client are understood: the endpoint answers with its own flight.
#[test]
fn a_genuine_first_flight_is_answered() {
    let script = fs::read(corpus("packets").join("first-flight")).unwrap();
    let mut net = gossip_comm::sim_quic::Packets::new(1, &plain());
    net.add_peer(doors::peer()).unwrap();
    let stranger = address(1);
    for datagram in doors::datagrams(&script) {
        net.inject(Datagram::new(stranger, doors::listen(), &datagram));
        net.run_for(ms(20));
    }
    assert_eq!(net.connections(0), 1);
    let answered = net.traffic(stranger).to;
    assert!(answered > 1000, "certificate and all: {answered} bytes");
}

/// What a client sends before it hears anything.
fn first_flight() -> Vec<u8> {
    let mut world = world(1, 2, &plain());
    let sent: Rc<RefCell<Vec<Datagram>>> = Rc::default();
    let seen = Rc::clone(&sent);
    world.net.set_tap(Some(Box::new(move |datagram| {
        seen.borrow_mut().push(datagram.clone());
        Vec::new()
    })));
    world.net.dial(0, 1);
    let flight = sent.borrow().clone();
    let packets = flight.iter().enumerate().map(|(number, datagram)| {
        let (id, frames) = doors::frames(&datagram.bytes).unwrap();
        // Without the padding at its end.
        let end = frames.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let number = u8::try_from(number << 2).unwrap();
        step(1, &[&[number], &id[..], &[0], &frames[..end]].concat())
    });
    packets.collect::<Vec<_>>().concat()
}

/// The second packet, the client's name, no token.
const NAMED: [u8; 10] = [4, 1, 2, 3, 4, 5, 6, 7, 8, 0];

fn step(kind: u8, body: &[u8]) -> Vec<u8> {
    let [low, high] = u16::try_from(body.len()).unwrap().to_le_bytes();
    [&[kind, low, high], body].concat()
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let path = corpus(target).join(name);
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        fs::create_dir_all(corpus(target)).unwrap();
        fs::write(&path, bytes).unwrap();
    }
    let held = fs::read(&path).unwrap_or_default();
    assert!(held == bytes, "{} is out of date: run with UPDATE_SEEDS=1", path.display());
}

//! The wire form does not change: many encodings of each kind, their hash frozen; and none has a second one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod support;

use bytes::Bytes;
use gossip_api::message::{Circumstances, Hello, Kind, Record};
use gossip_api::{Envelope, Message, PkiId};
use sha2::{Digest as _, Sha256};
use support::random::{Draw, EDGES};
use support::samples;

/// Encodings that go into one hash.
const ENCODINGS: u32 = 65_536;

const FROZEN: &str = include_str!("golden/conformance.txt");

fn kinds() -> Vec<Kind> {
    samples().iter().map(Message::kind).collect()
}

fn seed_of(name: &str) -> u64 {
    let digest = Sha256::digest(name.as_bytes());
    u64::from_le_bytes(digest[..8].try_into().unwrap())
}

fn frozen(name: &str) -> Option<&'static str> {
    let line = FROZEN.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(str::trim)
}

/// Hashes the frames of messages drawn from the kind's own seed; every sixteenth is read back.
fn hash_of(kind: Kind) -> String {
    let mut draw = Draw::seeded(seed_of(kind.name()));
    let mut hasher = Sha256::new();
    for index in 0..ENCODINGS {
        let message = draw.message(kind);
        let envelope = draw.envelope(&message);
        let parts = envelope.encode().unwrap();
        parts.iter().for_each(|part| hasher.update(part));
        if index % 16 == 0 {
            let frame = Bytes::from(parts.concat()).slice(4..);
            assert_eq!(Envelope::decode(&frame).unwrap().open().unwrap().message, message);
        }
    }
    hex::encode(hasher.finalize())
}

fn hash_of_hellos() -> String {
    let mut draw = Draw::seeded(seed_of("hello"));
    let mut hasher = Sha256::new();
    for index in 0..ENCODINGS {
        let hello = draw.hello();
        let bytes = hello.encode().unwrap();
        hasher.update(&bytes);
        if index % 16 == 0 {
            assert_eq!(Hello::decode(&bytes[4..]).unwrap(), hello);
        }
    }
    hex::encode(hasher.finalize())
}

/// F11. Two halves, so that they run side by side.
fn check_frozen(kinds: impl Iterator<Item = Kind>) {
    let found: Vec<(&str, String)> = kinds.map(|kind| (kind.name(), hash_of(kind))).collect();
    let changed: Vec<String> = found
        .iter()
        .filter(|(name, hash)| frozen(name) != Some(hash))
        .map(|(name, hash)| format!("{name} {hash}"))
        .collect();
    assert!(changed.is_empty(), "the wire form has changed:\n{}", changed.join("\n"));
}

#[test]
fn encodings_of_the_even_kinds_are_frozen() {
    check_frozen(kinds().into_iter().step_by(2));
}

#[test]
fn encodings_of_the_odd_kinds_are_frozen() {
    check_frozen(kinds().into_iter().skip(1).step_by(2));
}

#[test]
fn encodings_of_hellos_are_frozen() {
    let hash = hash_of_hellos();
    assert_eq!(frozen("hello"), Some(hash.as_str()));
}

#[test]
fn what_decodes_encodes_to_the_same_bytes() {
    // F2
    for kind in kinds() {
        let mut draw = Draw::seeded(!seed_of(kind.name()));
        let mut opened = 0;
        for _ in 0..4096 {
            let message = draw.message(kind);
            let bytes = draw.envelope(&message).encode().unwrap().concat();
            let frame = mutated(&mut draw, bytes[4..].to_vec());
            opened += u32::from(is_canonical_or_refused(&frame));
        }
        assert!(opened > 100, "{kind:?}: only {opened} of the changed frames still decode");
    }
}

#[test]
fn a_hello_that_decodes_encodes_to_the_same_bytes() {
    let mut draw = Draw::seeded(7);
    let mut opened = 0;
    for _ in 0..16_384 {
        let bytes = draw.hello().encode().unwrap();
        let body = mutated(&mut draw, bytes[4..].to_vec());
        if let Ok(hello) = Hello::decode(&body) {
            assert_eq!(hello.encode().unwrap()[4..], body);
            opened += 1;
        }
    }
    assert!(opened > 1000, "{opened}");
}

/// Whether the frame opens; if it does, both layers must give the same bytes again.
fn is_canonical_or_refused(frame: &Bytes) -> bool {
    let Ok(envelope) = Envelope::decode(frame) else { return false };
    assert_eq!(envelope.encode().unwrap().concat()[4..], frame[..]);
    let Ok(signed) = envelope.open() else { return false };
    let again = Envelope::unsigned(&signed.message);
    let again = again.with_signature(signed.envelope.signature().clone()).unwrap();
    assert_eq!(again.encode().unwrap().concat()[4..], frame[..]);
    true
}

/// Up to three bytes changed, inserted, removed or set to a telling value.
fn mutated(draw: &mut Draw, mut bytes: Vec<u8>) -> Bytes {
    for _ in 0..=draw.below(3) {
        let at = draw.below(bytes.len().max(1) as u64).min(bytes.len().saturating_sub(1));
        let value = [0, 1, 2, 0x7f, 0x80, 0xff][draw.below(6)];
        match draw.below(8) {
            0 => bytes.insert(at, value),
            1 if !bytes.is_empty() => drop(bytes.remove(at)),
            2..=4 if !bytes.is_empty() => bytes[at] = value,
            _ if !bytes.is_empty() => bytes[at] ^= 1 << draw.below(8),
            _ => {}
        }
    }
    bytes.into()
}

#[test]
fn no_number_that_a_peer_can_send_breaks_anything() {
    // F10: every numeric field of every kind takes every edge, in all sorts of company.
    let mut held: Vec<Message> = Vec::new();
    let mut draw = Draw::edges(10);
    for kind in kinds() {
        for _ in 0..256 {
            let message = draw.message(kind);
            let header = message.header();
            assert_eq!(header.kind, kind);
            let frame =
                Bytes::from(Envelope::unsigned(&message).encode().unwrap().concat()).slice(4..);
            assert_eq!(Envelope::decode(&frame).unwrap().open().unwrap().message, message);
            held.push(message);
        }
    }
    let slots = held.iter().filter_map(|message| message.slot(PkiId::from_bytes([0; 32])));
    let slots: Vec<_> = slots.collect();
    for window in EDGES {
        let circumstances = Circumstances { same_sender: true, window };
        for pair in held.windows(2) {
            pair[0].replaces(&pair[1], circumstances);
        }
        for new in slots.iter().step_by(7) {
            for held in slots.iter().step_by(5) {
                new.relation(held, window);
            }
        }
    }
}

#[test]
fn no_beat_at_an_edge_breaks_a_records_arithmetic() {
    // F10
    let mut draw = Draw::edges(11);
    let (record, beat) = (draw.record(), draw.beat());
    let near =
        |edge: u64| [edge, edge.wrapping_add(1), edge.wrapping_sub(1), edge.wrapping_sub(4096)];
    let numbers: Vec<u64> = EDGES.into_iter().flat_map(near).collect();
    for &first_beat in &numbers {
        for chain_len in [0, 1, 2, Record::CHAIN_MAX, Record::CHAIN_MAX + 1, u32::MAX] {
            let record = Record { first_beat, chain_len, epoch: beat.epoch, ..record.clone() };
            for &sequence in &numbers {
                let member = gossip_api::message::ShortId::of(&record.pki_id);
                let beat = gossip_api::message::Beat { member, sequence, ..beat.clone() };
                assert!(!record.accepts(&beat, None));
                for &known in &numbers {
                    record.accepts(&beat, Some((known, &[0; 32])));
                }
            }
        }
    }
}

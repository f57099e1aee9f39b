//! Doors of the coded relay: shares as they come in, and what collects and decodes them.
#![allow(unreachable_pub, dead_code, reason = "a module of several programs")]

use std::collections::BTreeMap;

use bytes::Bytes;
use gossip_api::message::{Share, ShareClass, ShareDuty};
use gossip_api::{ChannelId, Envelope, Message, PkiId, SeqNum};
use gossip_service::node::coded::{Assembly, Coded, Evidence, ProvenShare, decode};

/// A target's name and its body.
pub type Door = (&'static str, fn(&[u8]));

/// Every door.
pub const DOORS: [Door; 3] = [("share", share), ("assembler", assembler), ("evidence", evidence)];

/// A frame without its length: a share that opens is proved, and has a place in the tree that it names alone.
pub fn share(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    let Ok(signed) = Envelope::decode(&frame).and_then(Envelope::open) else { return };
    let Message::Share(share) = signed.message else { return };
    let tree = Assembly::new(share.root, share.class, share.data_len);
    let fits = tree.as_ref().is_some_and(|tree| tree.has_place_for(&share).is_ok());
    let Some(proven) = ProvenShare::check(share) else { return };
    let Some(mut tree) = tree else { return };
    let from = PkiId::from_bytes([1; 32]);
    assert_eq!(tree.keep(from, &proven).is_ok(), fits);
    let held = if fits { proven.share().payload.len() } else { 0 };
    assert_eq!(tree.bytes(), held);
    assert!(tree.keep(from, &proven).is_err(), "no share is kept twice");
}

/// The length of a block's data and what it is filled with, then three bytes for each share: what is done to
/// it, which it is, and a value.
pub fn assembler(bytes: &[u8]) {
    let [low, high, fill, orders @ ..] = bytes else { return };
    let len = usize::from(u16::from_le_bytes([*low, *high])) + 1;
    let data: Bytes = (0..len).map(|place| (place as u8).wrapping_mul(*fill)).collect();
    let coded = Coded::of(&data).expect("there is data");
    let (class, data_len) = (coded.class(), coded.data_len());
    let mut tree = Assembly::new(coded.root(), class, data_len).expect("the coding is its own");
    let most = usize::from(class.needed()) * class.share_len(data_len) as usize;
    let mut garbage: BTreeMap<u8, Bytes> = BTreeMap::new();
    for order in orders.chunks_exact(3).take(ORDERS_MAX) {
        let [what, index, value] = order else { return };
        let channel = ChannelId::new("trade").expect("short");
        let made = coded.share(&channel, SeqNum::new(1), *index, ShareDuty::Keep);
        let Some(good) = made else { continue };
        let share = changed(good, *what, *value);
        garbage.insert(*index, share.payload.clone());
        if let Some(share) = ProvenShare::check(share) {
            let _ = tree.keep(PkiId::from_bytes([*value; 32]), &share);
        }
        assert!(tree.bytes() <= most, "no more is held than the data justify");
    }
    assert_eq!(tree.is_enough(), tree.lacking() == 0);
    if tree.is_enough() {
        assert_eq!(decode(class, data_len, &tree.payloads()).as_ref(), Ok(&data));
    }
    // What was never proved is decoded too: it gives something, or an error.
    if let Ok(other) = decode(class, data_len, &garbage) {
        assert_eq!(other.len(), data.len());
    }
}

fn changed(share: Share, what: u8, value: u8) -> Share {
    let mut payload = share.payload.to_vec();
    match what % 8 {
        1 => payload.truncate(value.into()),
        2 => payload.push(value),
        3 => {
            if let Some(byte) = payload.get_mut(usize::from(value)) {
                *byte ^= 1;
            }
        }
        4 => return Share { index: value, ..share },
        5 => return Share { data_len: share.data_len ^ u64::from(value), ..share },
        6 => return Share { class: ShareClass::ALL[usize::from(value) % 3], ..share },
        7 => return Share { number: SeqNum::new(value.into()), ..share },
        _ => {}
    }
    Share { payload: payload.into(), ..share }
}

/// What somebody calls evidence: two roots are written in the same bytes again; shares, of which signatures
/// are not kept, in bytes that are.
pub fn evidence(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(evidence) = Evidence::from_bytes(&bytes) else { return };
    let _ = evidence.accused();
    let Ok(again) = evidence.to_bytes() else { return };
    match &evidence {
        Evidence::TwoRoots { .. } => assert_eq!(again, bytes),
        Evidence::Garbled { .. } => {
            let evidence = Evidence::from_bytes(&again).expect("its own writing");
            assert_eq!(evidence.to_bytes().expect("it was written before"), again);
        }
    }
}

/// Shares to one assembler.
const ORDERS_MAX: usize = 400;

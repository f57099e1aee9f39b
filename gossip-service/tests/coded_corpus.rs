//! What the fuzz targets of the coded relay start from, and what they once stumbled over, through the same doors.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "../../fuzz/src/coded.rs"]
mod doors;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use gossip_api::message::{HeaderMessage, ShareCommitment, ShareDuty};
use gossip_api::{Block, BlockHash, ChannelId, Envelope, Message, PkiId, SeqNum};
use gossip_service::node::coded::{Coded, Evidence};

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

/// After a change of the wire or of the coding, `UPDATE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_those_that_the_code_makes() {
    let channel = ChannelId::new("trade").unwrap();
    let number = SeqNum::new(1);
    let data: Bytes = (0..=255).collect();
    let coded = Coded::of(&data).unwrap();
    let share = |index| coded.share(&channel, number, index, ShareDuty::Relay).unwrap();
    for index in [0, 9, 15] {
        let frame = Envelope::unsigned(&Message::Share(share(index))).encode().unwrap().concat();
        seed("share", &format!("share-{index}"), &frame[4..]);
    }
    // 256 bytes of data, and every share as it is; then each sort of damage, and too few.
    let orders = |from: u8, what: u8| (from..16).flat_map(move |index| [what, index, 1]);
    let head = [255, 0, 1];
    seed("assembler", "all", &head.into_iter().chain(orders(0, 0)).collect::<Vec<u8>>());
    seed("assembler", "few", &head.into_iter().chain(orders(8, 0)).collect::<Vec<u8>>());
    let damaged = (1..8).flat_map(|what| orders(0, what));
    seed("assembler", "damaged", &head.into_iter().chain(damaged).collect::<Vec<u8>>());
    let words = ShareCommitment {
        channel: channel.clone(),
        source: PkiId::from_bytes([1; 32]),
        number,
        header_hash: BlockHash::from_bytes([2; 32]),
        root: coded.root(),
        class: coded.class(),
        data_len: coded.data_len(),
    };
    let sign = |words: ShareCommitment| {
        let envelope = Envelope::unsigned(&Message::ShareCommitment(words));
        envelope.with_signature(Bytes::from(vec![0x5a; 64])).unwrap()
    };
    let first = sign(words.clone());
    let second = sign(ShareCommitment { data_len: 255, ..words });
    let two = Evidence::TwoRoots { first: first.clone(), second };
    seed("evidence", "two-roots", &two.to_bytes().unwrap());
    let block = Block {
        number,
        previous_hash: Bytes::from(vec![3; 32]),
        data_hash: Bytes::from(vec![4; 32]),
        data: Bytes::new(),
        metadata: Bytes::from_static(b"metadata"),
    };
    let header = HeaderMessage { channel: channel.clone(), block, data_len: 256 }.block;
    let shares = (0..10).map(share).collect();
    let garbled = Evidence::Garbled { commitment: first, header, shares };
    seed("evidence", "garbled", &garbled.to_bytes().unwrap());
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

//! What the fuzz targets start from, and what they once stumbled over, through the same doors.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../fuzz/src/api.rs"]
mod doors;
mod support;

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use gossip_api::message::{Features, Hello, HelloLimits, WIRE_VERSION};
use gossip_api::{Blob, Envelope, Epoch};

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

/// One message of every kind, and a hello. After a change of the wire, `UPDATE_SEEDS=1` writes them anew.
#[test]
fn the_seeds_are_those_that_the_code_makes() {
    for message in support::samples() {
        let unsigned = Envelope::unsigned(&message);
        let name = message.kind().name();
        seed("message", name, &doors::message_seed(&unsigned.encode().unwrap().concat()).unwrap());
        let signed = unsigned.with_signature(Bytes::from(vec![0x5a; 64])).unwrap();
        seed("frame", name, &signed.encode().unwrap().concat().split_off(4));
    }
    let hello = Hello {
        identity: support::identity("org1.a"),
        epoch: Epoch::new(1),
        wire_version: WIRE_VERSION,
        features: Features::default(),
        limits: HelloLimits { block_frame_max: 1 << 20 },
        signature: Blob::new(vec![0x5a; 64]).unwrap(),
    };
    seed("hello", "hello", &hello.encode().unwrap().split_off(4));
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

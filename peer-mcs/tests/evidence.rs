//! Evidence of orderers that contradict themselves, checked by somebody who has nothing but the files.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests fail by panicking"
)]

#[path = "common/fork.rs"]
mod fork;

mod common;

use bytes::Bytes;
use common::copy_private;
use fork::{fork, recorded, resigned};
use gossip_api::{Block, MessageCryptoService as _, SeqNum};
use peer_mcs::{EvidenceError, check_contradiction, verify_block};

fn bare(block: &Block) -> Block {
    Block { data: Bytes::new(), ..block.clone() }
}

#[test]
fn two_signed_headers_with_one_number_are_proof_with_data_and_without() {
    let (config, kept, other) = (recorded(0), recorded(5), fork(5, 4));
    let channel = peer_mcs::Channel::from_config_block(&config).unwrap();
    verify_block(&channel, SeqNum::new(5), &other).unwrap();
    let proof = check_contradiction(&config, [&kept, &other]).unwrap();
    assert_eq!((proof.channel.as_str(), proof.number.get(), proof.config.get()), ("trade", 5, 0));
    assert_eq!(proof.headers, [kept.header().hash(), other.header().hash()]);
    assert_eq!(proof.config_header, config.header().hash());
    assert_eq!(check_contradiction(&config, [&bare(&kept), &bare(&other)]).unwrap(), proof);
}

#[test]
fn what_proves_nothing_is_refused_with_its_reason() {
    let (config, kept, other) = (recorded(0), recorded(5), fork(5, 4));
    let check = |one: &Block, two: &Block| check_contradiction(&config, [one, two]).unwrap_err();
    assert!(matches!(check(&kept, &recorded(6)), EvidenceError::Numbers(..)));
    assert!(matches!(check(&kept, &resigned(kept.clone())), EvidenceError::SameHeader(_)));
    let forged = Block { metadata: kept.metadata.clone(), ..other.clone() };
    assert!(matches!(check(&kept, &forged), EvidenceError::Unsigned { .. }));
    assert!(matches!(check(&forged, &kept), EvidenceError::Unsigned { .. }));
    let empty = Block { metadata: Bytes::new(), ..other.clone() };
    assert!(matches!(check(&kept, &empty), EvidenceError::Unsigned { .. }));
    let no_config = check_contradiction(&kept, [&kept, &other]).unwrap_err();
    assert!(matches!(no_config, EvidenceError::Config(_)));
}

/// Blocks name the configuration under which they were ordered, and orderers sign that too.
#[test]
fn a_configuration_that_was_not_in_force_does_not_judge() {
    let later = recorded(20);
    let config = peer_mcs::last_config(&later).unwrap();
    assert_ne!(config.get(), 0, "the channel was configured anew");
    let other = fork(20, 19);
    let wrong = check_contradiction(&recorded(0), [&later, &other]).unwrap_err();
    assert!(matches!(wrong, EvidenceError::OtherConfig { .. }), "{wrong}");
    let right = check_contradiction(&recorded(config.get()), [&later, &other]).unwrap();
    assert_eq!(right.config, config);
}

/// A header is judged under the policy at its number; what it is worth under the present one is told apart.
#[test]
fn both_policies_have_their_say() {
    let mcs = common::peer0("trade", 48);
    let channel = common::id("trade");
    let other = bare(&fork(5, 4));
    mcs.verify_block_attestation(&channel, &other).unwrap();
    mcs.verify_block_attestation_presently(&channel, &other).unwrap();
    let forged = Block { metadata: recorded(5).metadata, ..other.clone() };
    assert!(mcs.verify_block_attestation_presently(&channel, &forged).is_err());
    let unknown = common::id("other");
    assert!(mcs.verify_block_attestation_presently(&unknown, &other).is_err());
}

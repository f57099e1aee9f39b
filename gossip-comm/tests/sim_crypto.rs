//! The cheap cryptography refuses what the real one refuses.

#![cfg(feature = "sim")]
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use gossip_api::{
    Block, BlockCodec, BlockError, ChannelId, CryptoError, Expiration, MessageCryptoService, OrgId,
    PeerIdentity, SecurityAdvisor, SeqNum, Wall, check_signature_form,
};
use gossip_comm::sim::crypto::{Authority, BlockFactory, CheapCrypto, SimBlockCodec};

#[test]
fn a_signature_has_the_form_and_verifies_for_its_signer_and_message_alone() {
    let authority = Authority::new(1);
    let (alice, bob) = (peer(&authority, 0), peer(&authority, 1));
    for number in 0_u32..1000 {
        let message = number.to_le_bytes();
        let signature = alice.sign(&message).unwrap();
        check_signature_form(&signature).unwrap();
        bob.verify(alice.identity(), &signature, &message).unwrap();
        assert!(bob.verify(bob.identity(), &signature, &message).is_err());
        assert!(bob.verify(alice.identity(), &signature, b"other").is_err());
    }
    assert_eq!(bob.signature_checks(), 3000);
    assert_eq!(authority.signature_checks(), 3000);
}

#[test]
fn identities_are_the_same_for_the_same_peer_and_differ_otherwise() {
    let authority = Authority::new(1);
    let alice = peer(&authority, 0);
    assert_eq!(authority.identity(&org(), 0), *alice.identity());
    assert_ne!(authority.identity(&org(), 1), *alice.identity());
    assert_ne!(authority.renewed(&org(), 0, 1), *alice.identity());
    assert_eq!(alice.org_by_peer_identity(alice.identity()), Some(org()));
    assert_eq!(alice.pki_id_of_cert(alice.identity()), Some(alice.pki_id()));
}

#[test]
fn foreign_altered_empty_and_revoked_identities_are_refused() {
    let authority = Authority::new(1);
    let alice = peer(&authority, 0);
    let foreign = Authority::new(2).identity(&org(), 0);
    let mut altered = authority.identity(&org(), 1).as_bytes().to_vec();
    *altered.last_mut().unwrap() = 1;
    let altered = PeerIdentity::new(altered).unwrap();
    let empty = PeerIdentity::new(Bytes::new()).unwrap();
    assert!(matches!(alice.validate_identity(&foreign), Err(CryptoError::InvalidIdentity(_))));
    assert!(matches!(alice.validate_identity(&altered), Err(CryptoError::MalformedIdentity(_))));
    assert_eq!(alice.validate_identity(&empty), Err(CryptoError::EmptyIdentity));
    assert_eq!(alice.pki_id_of_cert(&empty), None);
    let revoked = authority.identity(&org(), 2);
    alice.validate_identity(&revoked).unwrap();
    authority.revoke(&revoked);
    assert!(matches!(alice.validate_identity(&revoked), Err(CryptoError::InvalidIdentity(_))));
}

#[test]
fn an_identity_runs_out_when_it_is_said_to() {
    let authority = Authority::new(1);
    let alice = peer(&authority, 0);
    assert_eq!(alice.expiration(alice.identity()), Ok(Expiration::Never));
    let end = Expiration::At(Wall::from_unix_seconds(5));
    authority.set_expiration(alice.identity(), end);
    assert_eq!(alice.expiration(alice.identity()), Ok(end));
}

#[test]
fn only_members_read_a_channel_that_has_members() {
    let authority = Authority::new(1);
    let alice = peer(&authority, 0);
    let signature = alice.sign(b"message").unwrap();
    let verify = |name: &str| {
        alice.verify_by_channel(&channel(name), alice.identity(), &signature, b"message")
    };
    authority.add_channel(&channel("open"), []);
    authority.add_channel(&channel("ours"), [org()]);
    authority.add_channel(&channel("theirs"), [OrgId::new("Org9").unwrap()]);
    assert_eq!(verify("open"), Ok(()));
    assert_eq!(verify("ours"), Ok(()));
    assert!(matches!(verify("theirs"), Err(CryptoError::PolicyNotSatisfied(_))));
    assert!(matches!(verify("unknown"), Err(CryptoError::NoSuchChannel(_))));
}

#[test]
fn a_chain_of_blocks_verifies_and_each_tampered_field_is_refused() {
    let authority = Authority::new(1);
    let alice = peer(&authority, 0);
    let chain = BlockFactory::new(&authority, channel("trade"), 4096).chain(3);
    for (number, block) in chain.iter().enumerate() {
        assert_eq!(block.data.len(), 4096);
        alice.verify_block(&channel("trade"), SeqNum::new(number as u64), block).unwrap();
    }
    let [_, first, second] = chain.as_slice() else { unreachable!("three were made") };
    assert_eq!(second.previous_hash, first.header().hash().as_bytes().as_slice());
    let verdict = |change: &dyn Fn(&mut Block)| {
        let mut block = second.clone();
        change(&mut block);
        let verdict = alice.verify_block(&channel("trade"), SeqNum::new(2), &block);
        verdict.expect_err("tampered").class()
    };
    assert_eq!(verdict(&|block| block.number = SeqNum::new(3)), "number_mismatch");
    assert_eq!(verdict(&|block| block.previous_hash = Bytes::new()), "policy_not_satisfied");
    assert_eq!(verdict(&|block| block.data = flipped(&block.data, 2000)), "data_hash_mismatch");
    assert_eq!(verdict(&|block| block.data = flipped(&block.data, 4)), "channel_id_mismatch");
    assert_eq!(
        verdict(&|block| block.metadata = flipped(&block.metadata, 0)),
        "policy_not_satisfied"
    );
    assert_eq!(verdict(&|block| block.metadata = Bytes::new()), "metadata_missing");
    let elsewhere = alice.verify_block_attestation(&channel("else"), second);
    assert!(matches!(elsewhere, Err(BlockError::NoSuchChannel(_))));
}

#[test]
fn a_block_survives_its_bytes_and_configurations_are_told_apart() {
    let authority = Authority::new(1);
    let mut factory = BlockFactory::new(&authority, channel("trade"), 100);
    for (block, config) in [(factory.next_block(), false), (factory.next_config(), true)] {
        let bytes = SimBlockCodec.join(&block);
        assert_eq!(SimBlockCodec.split(&bytes), Ok(block.clone()));
        assert!(SimBlockCodec.split(&bytes.slice(..bytes.len() - 1)).is_err());
        assert_eq!(SimBlockCodec.is_config(&block), config);
    }
}

fn peer(authority: &Arc<Authority>, index: u32) -> CheapCrypto {
    authority.crypto(authority.identity(&org(), index))
}

fn org() -> OrgId {
    OrgId::new("Org1").unwrap()
}

fn channel(name: &str) -> ChannelId {
    ChannelId::new(name).unwrap()
}

fn flipped(bytes: &Bytes, at: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    bytes.into()
}

